"""Which frames of a session are worth a signature check.

A signature costs a pairing, and everything here costs less. A frame is dropped if it is out of scope, unreadable, known, too large,
one of a flood, or if its sender may not send such a thing: only the leader of a view proposes, only a holder of the source deals.

A frame of this operator that its journal does not have is worth the check, too: it proves that another copy of the operator signs.
"""

from eigenkms.protocols.ceremony.base_versions import BaseVersions
from eigenkms.protocols.ceremony.frame_log import FrameLog
from eigenkms.protocols.ceremony.membership import SessionMembership
from eigenkms.types import OperatorAddress
from eigenkms.wire.frames import Frame, FrameKind
from eigenkms.wire.messages import SESSION_KINDS, read_dealing, read_proposal, slot_of

BYTES_A_PARTY = 1024
"""A frame may have so many bytes for each party, and for four more. The largest, a proposal that shows everybody's key, has two
thirds of it. Frames of 256 operators fit any session otherwise, and a sender has twelve of the largest kinds in each that is kept.
"""


class FrameFilter:
    """The filter of operator ``me`` in one session."""

    def __init__(self, me: OperatorAddress, membership: SessionMembership, log: FrameLog) -> None:
        self._me = me
        self._membership = membership
        self._log = log

    def accepts(self, frame: Frame, sources: BaseVersions, *, is_silent: bool) -> bool:
        """Return whether to verify a decoded frame; note a dealing from an unknown source.

        ``is_silent`` says that this operator has stopped to sign here, so that another copy of it makes no difference.

        Raises ``WrongScopeError`` if it does not belong here, ``MalformedError`` if its body is not its kind's.
        """
        if frame.kind not in SESSION_KINDS or frame.recipient is not None:
            return False
        if len(frame.encoded) > BYTES_A_PARTY * (self._membership.count + 4):
            return False
        if _is_of_unknown_source(frame, sources):
            return False
        self._membership.check_scope(frame)
        if frame.sender == self._me:
            return self._is_own_frame_not_in_journal(frame, is_silent=is_silent)
        return self._log.accepts(frame) and _has_right_sender(frame, sources)

    def _is_own_frame_not_in_journal(self, frame: Frame, *, is_silent: bool) -> bool:
        """Return whether another copy of this operator signed it.

        It may be one with an older copy of the journal. For a view below those that the log keeps it cannot be decided.
        """
        return slot_of(frame) is not None and not is_silent and self._log.accepts(frame)


def _has_right_sender(frame: Frame, sources: BaseVersions) -> bool:
    """Return whether the sender may send such a proposal or dealing.

    A proposal is its view's leader's, and a dealing a holder's of its source. Other frames are any party's. Evidence of a bad
    dealing convicts nobody else.
    """
    if frame.kind is FrameKind.DEALING:
        dealings = sources.get(read_dealing(frame).source)
        return dealings is not None and frame.sender in dealings.dealers
    if frame.kind is not FrameKind.PROPOSAL:
        return True
    proposal = read_proposal(frame)
    return frame.sender == sources.leader(proposal.view, proposal.source)


def _is_of_unknown_source(frame: Frame, sources: BaseVersions) -> bool:
    if frame.kind is not FrameKind.DEALING:
        return False
    source = read_dealing(frame).source
    if sources.get(source) is not None:
        return False
    sources.note_unknown(frame.sender, source)
    return True
