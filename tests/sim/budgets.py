"""What one sender may cost a correct operator at most, whatever it says and in however many sessions.

Each bound is a formula of the limits that the machines name. Limits are read when a bound is asked for, so a test may lower them.
"""

from eigenkms.crypto.pvss import encoded_size
from eigenkms.protocols.ceremony import early_frames, forgeries, frame_log, retention
from eigenkms.protocols.ceremony.ceremony import Ceremony
from eigenkms.protocols.ceremony.participant import Participant
from eigenkms.wire.frames import SIZE_LIMITS, FrameKind
from eigenkms.wire.messages import SESSION_KINDS
from eigenkms.wire.votes import Phase


def most_dealings(ceremony: Ceremony) -> int:
    """Of one dealer in a session: one a source, and one more, as a genesis that became a rotation had its own."""
    return len(ceremony.sources) + 1


def most_frames(kind: FrameKind, ceremony: Ceremony) -> int:
    """Of one sender that a session keeps: one a slot, in its highest views or of the known sources."""
    match kind:
        case FrameKind.PROPOSAL | FrameKind.VIEW_CHANGE:
            return frame_log.MAX_VIEWS
        case FrameKind.VOTE:
            return frame_log.MAX_VIEWS * len(Phase)
        case FrameKind.CERTIFICATE:
            return frame_log.MAX_REPEATS
        case FrameKind.DEALING:
            return most_dealings(ceremony)
        case _:
            return 1


def most_bytes(machine: Participant) -> int:
    """Of one sender over all sessions: slots full of the largest frames, bodies of its dealings, and early frames."""
    return early_frames.MAX_EARLY_BYTES + sum(
        sum(most_frames(kind, ceremony) * SIZE_LIMITS[kind] for kind in SESSION_KINDS)
        + most_dealings(ceremony) * encoded_size(ceremony.session.n)
        for ceremony in machine._all
    )


def most_sessions(machine: Participant, *, rotations: bool) -> int:
    """Once the superfluous ones are forgotten: some of each sort, those that made a version, and the genesis that binds."""
    others = retention.KEEP_ROTATIONS if rotations else retention.KEEP_IDLE + retention.KEEP_VOTED + 1
    return len(machine.versions) + others


def most_verified() -> int:
    """Signatures of one sender in a session; those of frames that came before its boundary are verified twice."""
    return frame_log.MAX_TAKEN + early_frames.MAX_EARLY_FRAMES


def most_verified_early() -> int:
    """Good signatures of one sender, from one boundary to the next, in all sessions that are not known here."""
    return early_frames.MAX_EARLY_FRAMES


def most_forged() -> int:
    """Bad signatures that one operator may hand over from one boundary to the next, in all sessions and in whoever's name."""
    return forgeries.MAX_FORGERIES
