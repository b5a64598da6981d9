"""Evidence: signed frames that prove an operator faulty to anyone (docs/protocol.md, Dealing: Evidence).

Each kind says which frames it needs and is re-checked from them alone by ``check_evidence``.
"""

from dataclasses import dataclass
from enum import StrEnum

from eigenkms.crypto import bn254, schnorr, sealing
from eigenkms.crypto.feldman import verify_share
from eigenkms.errors import VerificationError
from eigenkms.protocols.codec import MalformedError
from eigenkms.protocols.dealing import (
    BadDealingError,
    WrongConstantError,
    check_dealing,
    dealing_hash,
    decode_dealing,
)
from eigenkms.protocols.frames import BadSignatureError, Frame, Kind, verify_frame
from eigenkms.protocols.messages import (
    GENESIS_SOURCE,
    open_answer,
    read_answer,
    read_confirm,
    read_dealing_frame,
    read_hash,
    read_opening,
    read_share,
    read_vote,
    slot_of,
    source_of,
)
from eigenkms.protocols.session import Session
from eigenkms.protocols.settlement import confirm_digest, possession_context
from eigenkms.protocols.transcript import Transcript
from eigenkms.protocols.votes import vote_digest
from eigenkms.types import OperatorAddress, SessionId


class Fault(StrEnum):
    EQUIVOCATION = "equivocation"
    """Two different frames in one slot, or two different dealings from one source, wherever they stand."""
    BAD_DEALING = "bad-dealing"
    """A signed dealing that is malformed, or (at genesis) does not have the hash its dealer announced."""
    WRONG_CONSTANT = "wrong-constant"
    """A signed rotation dealing whose constant term is not the dealer's share of the source."""
    BAD_SHARE = "bad-share"
    """A signed share that does not fit the dealer's own dealing."""
    BAD_ANSWER = "bad-answer"
    """A public answer whose sealed share does not open, or does not fit, with the private half of the key it names."""
    BAD_VOTE = "bad-vote"
    """A signed vote frame whose vote signature does not verify."""
    BAD_CONFIRM = "bad-confirm"
    """A signed confirm whose signature or proof of possession does not verify."""


@dataclass(frozen=True)
class Evidence:
    """``frames`` in the order the kind's check wants them. ``source`` is the version that a rotation deals from, or, for a confirm,
    the version that is confirmed: whoever checks the evidence checks first that it is certified.
    """

    fault: Fault
    accused: OperatorAddress
    session: SessionId
    frames: tuple[Frame, ...]
    source: Transcript | None = None

    @property
    def source_version(self) -> int:
        return GENESIS_SOURCE if self.source is None else self.source.version


def check_evidence(evidence: Evidence, session: Session) -> None:
    """Raise ``VerificationError`` unless the frames alone prove the fault."""
    name = f"check {evidence.fault.value} evidence against 0x{evidence.accused.hex()}"
    if evidence.session != session.id:
        raise VerificationError(f"{name}: it is from another session")
    for frame in evidence.frames:
        member = session.recipients.get(frame.sender)
        if member is None and evidence.source is not None:
            member = evidence.source.recipients.get(frame.sender)
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


def _kinds(evidence: Evidence) -> list[Kind]:
    return [frame.kind for frame in evidence.frames]


def _all_by_accused(evidence: Evidence) -> bool:
    return all(frame.sender == evidence.accused for frame in evidence.frames)


def _carried_dealing(carrier: Frame) -> bytes:
    """The encoded dealing in a DEALING or an ANSWER frame; ``MalformedError`` for other kinds."""
    match carrier.kind:
        case Kind.DEALING:
            return read_dealing_frame(carrier).encoded
        case Kind.ANSWER:
            return read_answer(carrier).dealing
        case _:
            raise MalformedError(f"read dealing: a {carrier.kind.name} frame carries none")


def _proves_equivocation(evidence: Evidence, session: Session) -> bool:
    del session
    if not _all_by_accused(evidence) or len(evidence.frames) != 2:
        return False
    first, second = evidence.frames
    slot = slot_of(first)
    if slot is not None and slot == slot_of(second):
        return first.payload != second.payload
    two_dealings = _carried_dealing(first) != _carried_dealing(second)
    return two_dealings and source_of(first) == source_of(second)


def _proves_bad_dealing(evidence: Evidence, session: Session) -> bool:
    """Frames: one that carries the dealing (DEALING or ANSWER), at genesis also the HASH that announced it."""
    at_genesis = evidence.source is None
    if not _all_by_accused(evidence) or not evidence.frames:
        return False
    if _kinds(evidence)[1:] != [Kind.HASH] * at_genesis:
        return False
    carrier = evidence.frames[0]
    encoded = _carried_dealing(carrier)
    if source_of(carrier) != evidence.source_version:
        return False
    if at_genesis and dealing_hash(encoded) != read_hash(evidence.frames[1]):
        return True
    if _is_from_a_namesake(encoded, evidence.source):
        return False
    return _dealing_error(encoded, evidence, session) is BadDealingError


def _is_from_a_namesake(encoded: bytes, source: Transcript | None) -> bool:
    """Whether it is dealt from another transcript of the same version number than ``source``.

    Frames cannot say which of the two the dealer should have known: the accuser may have made up one of them, or have had it
    certified long after by keys of operators that are gone.
    """
    try:
        dealing = decode_dealing(encoded)
    except MalformedError:
        return False
    return source is not None and (
        dealing.source_version == source.version and dealing.source_hash != source.hash
    )


def _proves_wrong_constant(evidence: Evidence, session: Session) -> bool:
    """Frame: one that carries the dealing."""
    if not _all_by_accused(evidence) or len(evidence.frames) != 1 or evidence.source is None:
        return False
    carrier = evidence.frames[0]
    encoded = _carried_dealing(carrier)
    if source_of(carrier) != evidence.source_version:
        return False
    return _dealing_error(encoded, evidence, session) is WrongConstantError


def _dealing_error(encoded: bytes, evidence: Evidence, session: Session) -> type[BadDealingError] | None:
    """What is wrong with an encoded dealing of the accused; a malformed one is a bad one."""
    try:
        check_dealing(decode_dealing(encoded), session, evidence.accused, evidence.source)
    except WrongConstantError:
        return WrongConstantError
    except (BadDealingError, MalformedError):
        return BadDealingError
    return None


def _proves_bad_share(evidence: Evidence, session: Session) -> bool:
    """Frames: one that carries the dealing (DEALING or ANSWER), and the SHARE of it that does not fit."""
    if not _all_by_accused(evidence) or _kinds(evidence)[1:] != [Kind.SHARE]:
        return False
    carrier, share_frame = evidence.frames
    dealing = decode_dealing(_carried_dealing(carrier))
    share = read_share(share_frame)
    x = session.x.get(share_frame.recipient or OperatorAddress(b""))
    if x is None or share.dealing_hash != dealing.hash:
        return False
    return not verify_share(share.scalar, x, dealing.commitments)


def _proves_bad_answer(evidence: Evidence, session: Session) -> bool:
    """Frames: the dealer's answer, and an opening that holds the private half of the key that the answer names.

    What the recipient reported does not matter: the dealer chose to answer to this key.
    """
    if _kinds(evidence) != [Kind.ANSWER, Kind.OPENING]:
        return False
    answer_frame, opening_frame = evidence.frames
    answer, opening = read_answer(answer_frame), read_opening(opening_frame)
    if answer_frame.sender != evidence.accused or answer.recipient not in session.x:
        return False
    if sealing.x25519_public(opening.private_key) != answer.key:
        return False
    return open_answer(answer, opening.private_key, session, evidence.accused) is None


def _proves_bad_confirm(evidence: Evidence, session: Session) -> bool:
    """Frame: the CONFIRM; its signature and its proof of possession are of the very version that is ``source``."""
    transcript = evidence.source
    if not _all_by_accused(evidence) or _kinds(evidence) != [Kind.CONFIRM] or transcript is None:
        return False
    confirm, accused = read_confirm(evidence.frames[0]), evidence.accused
    if confirm.hash != transcript.hash or transcript.session != session.id:
        return False
    member = session.recipients.get(accused)
    if member is None:
        return False
    digest = confirm_digest(session.id, transcript.hash)
    context = possession_context(session.id, transcript.hash, accused)
    return not (
        bn254.verify(digest, confirm.signature, member.key)
        and schnorr.verify(transcript.public_share(accused), context, confirm.proof)
    )


def _proves_bad_vote(evidence: Evidence, session: Session) -> bool:
    if not _all_by_accused(evidence) or _kinds(evidence) != [Kind.VOTE]:
        return False
    vote, member = read_vote(evidence.frames[0]), session.recipients.get(evidence.accused)
    if member is None:
        return False
    digest = vote_digest(session.id, vote.view, vote.phase, vote.hash)
    return not bn254.verify(digest, vote.signature, member.key)


_PROOFS = {
    Fault.EQUIVOCATION: _proves_equivocation,
    Fault.BAD_DEALING: _proves_bad_dealing,
    Fault.BAD_SHARE: _proves_bad_share,
    Fault.BAD_ANSWER: _proves_bad_answer,
    Fault.WRONG_CONSTANT: _proves_wrong_constant,
    Fault.BAD_VOTE: _proves_bad_vote,
    Fault.BAD_CONFIRM: _proves_bad_confirm,
}
