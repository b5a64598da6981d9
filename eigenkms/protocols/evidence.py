"""Evidence: signed frames that prove an operator faulty to anyone (docs/protocol.md, Dealing: Evidence).

Each kind says which frames it needs and is re-checked from them alone by ``check_evidence``.
"""

from dataclasses import dataclass
from enum import StrEnum

from eigenkms.crypto import sealing
from eigenkms.crypto.feldman import verify_share
from eigenkms.errors import VerificationError
from eigenkms.protocols.codec import MalformedError
from eigenkms.protocols.dealing import BadDealingError, check_dealing, dealing_hash, decode_dealing
from eigenkms.protocols.frames import BadSignatureError, Frame, Kind, verify_frame
from eigenkms.protocols.messages import (
    open_answer,
    read_answer,
    read_dealing_frame,
    read_hash,
    read_opening,
    read_report,
    read_share,
    read_vote,
    slot_of,
)
from eigenkms.protocols.session import Session
from eigenkms.protocols.votes import vote_digest
from eigenkms.types import OperatorAddress, SessionId


class Fault(StrEnum):
    EQUIVOCATION = "equivocation"
    """Two different frames in one slot."""
    BAD_DEALING = "bad-dealing"
    """A signed dealing that is malformed, or does not have the hash its dealer announced."""
    BAD_SHARE = "bad-share"
    """A signed share that does not fit the dealer's own dealing."""
    BAD_ANSWER = "bad-answer"
    """A public answer whose sealed share does not open, or does not fit, with the one-time key opened."""
    BAD_VOTE = "bad-vote"
    """A signed vote frame whose vote signature does not verify."""


@dataclass(frozen=True)
class Evidence:
    """``frames`` in the order the kind's check wants them."""

    fault: Fault
    accused: OperatorAddress
    session: SessionId
    frames: tuple[Frame, ...]


def check_evidence(evidence: Evidence, session: Session) -> None:
    """Raise ``VerificationError`` unless the frames alone prove the fault."""
    name = f"check {evidence.fault.value} evidence against 0x{evidence.accused.hex()}"
    for frame in evidence.frames:
        member = session.recipients.get(frame.sender)
        if frame.session != session.id or frame.cluster != session.cluster or member is None:
            raise VerificationError(f"{name}: a frame is from another session")
        try:
            verify_frame(frame, member.key)
        except BadSignatureError as error:
            raise VerificationError(f"{name}: {error}") from error
    if not proves(evidence, session):
        raise VerificationError(f"{name}: the frames do not prove it")


def proves(evidence: Evidence, session: Session) -> bool:
    """Whether the content of the frames proves the fault; their signatures are taken as verified."""
    try:
        return _PROOFS[evidence.fault](evidence, session)
    except MalformedError:
        return False


def _all_by_accused(evidence: Evidence, count: int) -> bool:
    return len(evidence.frames) == count and all(f.sender == evidence.accused for f in evidence.frames)


def _proves_equivocation(evidence: Evidence, session: Session) -> bool:
    del session
    if not _all_by_accused(evidence, 2):
        return False
    first, second = evidence.frames
    slot = slot_of(first)
    return slot is not None and slot == slot_of(second) and first.payload != second.payload


def _proves_bad_dealing(evidence: Evidence, session: Session) -> bool:
    """Frames: one that carries the dealing (DEALING or ANSWER), and the HASH that announced it."""
    if not _all_by_accused(evidence, 2) or evidence.frames[1].kind is not Kind.HASH:
        return False
    carrier, announcement = evidence.frames
    if carrier.kind not in (Kind.DEALING, Kind.ANSWER):
        return False
    encoded = read_dealing_frame(carrier) if carrier.kind is Kind.DEALING else read_answer(carrier).dealing
    if dealing_hash(encoded) != read_hash(announcement):
        return True
    try:
        check_dealing(decode_dealing(encoded), session, evidence.accused)
    except (BadDealingError, MalformedError):
        return True
    return False


def _proves_bad_share(evidence: Evidence, session: Session) -> bool:
    if not _all_by_accused(evidence, 2):
        return False
    dealing = decode_dealing(read_dealing_frame(evidence.frames[0]))
    share = read_share(evidence.frames[1])
    recipient = evidence.frames[1].recipient
    if recipient is None or share.dealing_hash != dealing.hash:
        return False
    return not verify_share(share.scalar, session.x[recipient], dealing.commitments)


def _proves_bad_answer(evidence: Evidence, session: Session) -> bool:
    """Frames: the lacking recipient's report, the dealer's answer, the recipient's opening."""
    if [f.kind for f in evidence.frames] != [Kind.REPORT, Kind.ANSWER, Kind.OPENING]:
        return False
    report_frame, answer_frame, opening_frame = evidence.frames
    if answer_frame.sender != evidence.accused or report_frame.sender != opening_frame.sender:
        return False
    lack_key = read_report(report_frame).lacking.get(evidence.accused)
    answer, opening = read_answer(answer_frame), read_opening(opening_frame)
    if lack_key is None or answer.recipient != report_frame.sender or opening.dealer != evidence.accused:
        return False
    if sealing.x25519_public(opening.private_key) != lack_key:
        return False
    return open_answer(answer, opening.private_key, session, evidence.accused) is None


def _proves_bad_vote(evidence: Evidence, session: Session) -> bool:
    if not _all_by_accused(evidence, 1) or evidence.frames[0].kind is not Kind.VOTE:
        return False
    from eigenkms.crypto import bn254

    vote = read_vote(evidence.frames[0])
    (key,) = session.keys_of([evidence.accused])
    return not bn254.verify(vote_digest(session.id, vote.view, vote.phase, vote.hash), vote.signature, key)


_PROOFS = {
    Fault.EQUIVOCATION: _proves_equivocation,
    Fault.BAD_DEALING: _proves_bad_dealing,
    Fault.BAD_SHARE: _proves_bad_share,
    Fault.BAD_ANSWER: _proves_bad_answer,
    Fault.BAD_VOTE: _proves_bad_vote,
}
