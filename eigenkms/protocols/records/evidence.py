"""Evidence: what an operator signed and no correct one signs; anybody can check it again (docs/protocol.md, Evidence).

*What convicts.* A fault is shown by frames of the accused alone. Beside them stand, if the fault needs them, the transcript that a
dealing is made from, and the dealing's body. Both are bound by hashes in the signed frames, so they cannot be made up: the accused
named them. The session is bound as its id stands in each frame. So nothing in evidence is the accuser's word.

*No correct operator is convicted.* It says one thing a slot (``signer``). Its dealings keep the terms (``dealing_terms``),
its proofs and signatures hold, and it passes on only certificates and transcripts that it verified. Whether a vote breaks a lock,
or a proposal should have been another one, depends on what the accused had received: no frame shows that, and none of it is a fault
here. A message of another operator convicts nobody, so relayed frames do not either.

*Nothing superfluous.* A check refuses what the fault does not need, so one proof has one form, and no byte of it can be changed.

*Bounds.* ``check_evidence`` verifies at most two signatures and then one fault. The dearest is a dealing with its body: 65 µs for
each of 16·n + 180 points, 1 ms for each newcomer. Bytes are bounded by frames and bodies (protocols/records/evidence_bundle).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from eigenkms.crypto import bn254, feldman, pvss
from eigenkms.crypto.backends.interface import InvalidPoint
from eigenkms.crypto.hashing import Rng, be64, keccak256
from eigenkms.errors import RemoteProtocolError, VerificationError
from eigenkms.protocols.wire.codec import MalformedError
from eigenkms.protocols.wire.dealing import BadDealingError, UnboundBytesError, read_body
from eigenkms.protocols.wire.dealing_header import DealingHeader, decode_header
from eigenkms.protocols.wire.dealing_terms import DealingTerms
from eigenkms.protocols.wire.frames import BadSignatureError, Frame, FrameKind, verify_frame
from eigenkms.protocols.wire.key_directory import BadKeyError, KeyDirectory, check_key_frame
from eigenkms.protocols.wire.messages import (
    GENESIS,
    Proposal,
    commitments_digest,
    read_certificate_frame,
    read_dealing,
    read_hash,
    read_proposal,
    read_view_change,
    read_vote,
    ref_of,
    slot_of,
    source_of,
)
from eigenkms.protocols.wire.session import Session
from eigenkms.protocols.wire.transcript import Transcript, check_self_consistent, decode_transcript
from eigenkms.protocols.wire.votes import BadCertificateError, Certificate, check_certificate, vote_digest
from eigenkms.types import OperatorAddress, SessionId


class Fault(StrEnum):
    EQUIVOCATION = "equivocation"
    """Two different frames in one slot."""
    BAD_DEALING = "bad-dealing"
    """A signed dealing that breaks the terms, has not the commitments that its dealer announced, or is not proven by its body."""
    BAD_KEY = "bad-key"
    """A signed encryption key whose proof of possession does not hold."""
    BAD_VOTE = "bad-vote"
    """A signed vote frame whose vote signature does not verify."""
    BAD_PROPOSAL = "bad-proposal"
    """A signed proposal with a transcript that is none of its session, or from another source than the proposal names."""
    BAD_CERTIFICATE = "bad-certificate"
    """A signed proposal, view change or certificate frame around a certificate that does not verify."""


@dataclass(frozen=True)
class Evidence:
    """``frames`` in the order the kind's check wants them.

    ``source`` is what the dealing in the first frame is made from, if the fault is a dealing's, or if that transcript alone makes
    the accused a party to the session. ``body`` is the dealing's, if its header convicts nobody.
    """

    fault: Fault
    accused: OperatorAddress
    session: SessionId
    frames: tuple[Frame, ...]
    source: Transcript | None = None
    body: bytes | None = None


def check_evidence(evidence: Evidence, session: Session) -> None:
    """Raise ``VerificationError`` unless this proves the fault of whoever has the accused's key of the session, or of the source.

    Whether those are the operators' keys is the caller's to check, with the chain.
    """
    name = f"check {evidence.fault.value} evidence against 0x{evidence.accused.hex()}"
    if evidence.session != session.id:
        raise VerificationError(f"{name}: it is from another session")
    if evidence.source is not None:
        if evidence.source.cluster != session.cluster:
            raise VerificationError(f"{name}: its source is of another cluster")
        check_self_consistent(evidence.source)
    key = _key_of_accused(evidence, session)
    for frame in evidence.frames:
        if (frame.session, frame.cluster, frame.sender) != (session.id, session.cluster, evidence.accused):
            raise VerificationError(f"{name}: a frame is from another session or sender")
        if key is None:
            raise VerificationError(f"{name}: it is no party to the session")
        try:
            verify_frame(frame, key)
        except BadSignatureError as error:
            raise VerificationError(f"{name}: {error}") from error
    if not proves(evidence, session):
        raise VerificationError(f"{name}: the frames do not prove it")


def _key_of_accused(evidence: Evidence, session: Session) -> bytes | None:
    """BN254 G2 key of a recipient, or else of a holder of the source."""
    member = session.recipients.get(evidence.accused)
    if member is None and evidence.source is not None:
        member = evidence.source.recipients.get(evidence.accused)
    return None if member is None else member.key


def proves(evidence: Evidence, session: Session) -> bool:
    """Whether the content proves the fault; the frames are the accused's and verified."""
    try:
        return _PROOFS[evidence.fault](evidence, session)
    except (RemoteProtocolError, VerificationError):
        return False


def _frame_of(evidence: Evidence, *kinds: FrameKind) -> Frame | None:
    """The one frame of evidence that needs nothing else and only a recipient can give."""
    bare = evidence.source is None and evidence.body is None
    if not bare or len(evidence.frames) != 1 or evidence.frames[0].kind not in kinds:
        return None
    return evidence.frames[0]


# -- equivocation ----------------------------------------------------------------------------------------------


def _proves_equivocation(evidence: Evidence, session: Session) -> bool:
    if len(evidence.frames) != 2 or evidence.body is not None:
        return False
    first, second = evidence.frames
    slot = slot_of(first)
    if slot is None or slot != slot_of(second) or first.payload == second.payload:
        return False
    if session.recipients.get(evidence.accused) is not None:
        return evidence.source is None
    return first.kind is FrameKind.DEALING and _is_source_of(evidence.source, first)


def _is_source_of(source: Transcript | None, frame: Frame) -> bool:
    """Whether a DEALING frame names this transcript, or none for ``None``."""
    return read_dealing(frame).source == ref_of(source)


# -- dealings --------------------------------------------------------------------------------------------------


def _proves_bad_dealing(evidence: Evidence, session: Session) -> bool:
    """Frames: the DEALING, and at genesis the HASH if it is not that of the commitments."""
    frame, *announced = evidence.frames
    terms = DealingTerms(session, evidence.source)
    if frame.kind is not FrameKind.DEALING or not _is_source_of(evidence.source, frame):
        return False
    if evidence.accused not in terms.dealers:
        return False
    if announced:
        bare = evidence.source is None and evidence.body is None
        hashed = announced[0]
        is_one = len(announced) == 1 and hashed.kind is FrameKind.HASH
        return bare and is_one and is_not_announced(frame, hashed)
    return _is_bad_dealing(frame, terms, evidence.body)


def is_not_announced(dealing: Frame, announced: Frame) -> bool:
    """Whether a DEALING frame of a genesis has other commitments than those whose digest the HASH frame has.

    False for a header that does not decode: it convicts by itself.
    """
    try:
        header = decode_header(read_dealing(dealing).header)
    except MalformedError:
        return False
    return commitments_digest(header.commitments) != read_hash(announced)


def has_bad_commitment(header: DealingHeader) -> bool:
    """Whether a commitment is no point of the group, or infinity. CPU: 0.2 ms a commitment."""
    try:
        feldman.check_commitments(header.commitments, len(header.commitments))
    except InvalidPoint:
        return True
    return False


def _is_bad_dealing(frame: Frame, terms: DealingTerms, body: bytes | None) -> bool:
    """Whether a header breaks the terms by itself, or else its body does not prove it."""
    try:
        header = decode_header(read_dealing(frame).header)
        recipients = terms.check(header, frame.sender, KeyDirectory(terms.session).read)
    except RemoteProtocolError:
        return body is None
    if has_bad_commitment(header) or body is None:
        return body is None and has_bad_commitment(header)
    try:
        encrypted = read_body(header, body)
    except UnboundBytesError:
        return False
    except BadDealingError:
        return True
    return _is_refuted(terms.claim(header, encrypted), recipients, terms.session.threshold, header.name)


def _is_refuted(
    claim: pvss.DealingClaim, recipients: tuple[pvss.ShareRecipient, ...], threshold: int, name: bytes
) -> bool:
    """The verdict is the same for everybody: the verifier's weights are drawn from the dealing's name, which binds all of it.

    A dealer could try names until a false equation cancels out, with probability 2^-128 each. It would be acquitted. A correct
    dealing holds under any weights.
    """
    try:
        among = pvss.Recipients(recipients)
    except (pvss.InvalidEncryptionKey, ValueError):
        return False  # a source that lists keys which cannot be used: not the dealer's fault
    try:
        pvss.check_dealing(claim, among, threshold, _drawn_from(name))
    except pvss.InvalidDealing:
        return True
    return False


def _drawn_from(name: bytes) -> Rng:
    """A stream of bytes that a dealing's name determines."""
    drawn = 0

    def rng(count: int) -> bytes:
        nonlocal drawn
        stream = b""
        while len(stream) < count:
            stream += keccak256(b"eigenkms/evidence-weights/2", name, be64(drawn))
            drawn += 1
        return stream[:count]

    return rng


# -- what one frame shows --------------------------------------------------------------------------------------


def _proves_bad_key(evidence: Evidence, session: Session) -> bool:
    frame = _frame_of(evidence, FrameKind.KEY)
    if frame is None:
        return False
    try:
        check_key_frame(frame, session)
    except BadKeyError:
        return True
    return False


def _proves_bad_vote(evidence: Evidence, session: Session) -> bool:
    frame, member = _frame_of(evidence, FrameKind.VOTE), session.recipients.get(evidence.accused)
    if frame is None or member is None:
        return False
    vote = read_vote(frame)
    digest = vote_digest(session.id, vote.view, vote.phase, vote.hash)
    return not bn254.verify(digest, vote.signature, member.key)


def _proves_bad_proposal(evidence: Evidence, session: Session) -> bool:
    frame = _frame_of(evidence, FrameKind.PROPOSAL)
    return frame is not None and is_bad_proposal(read_proposal(frame), session)


def is_bad_proposal(proposal: Proposal, session: Session) -> bool:
    """Whether a proposal's transcript is none that this session could make, whatever the dealings are.

    CPU: 0.2 ms for each commitment and 0.1 ms for each operator.
    """
    if proposal.transcript is None:
        return proposal.source != GENESIS
    ours = (session.cluster, session.id, session.boundary, session.recipients)
    try:
        found = decode_transcript(proposal.transcript)
        check_self_consistent(found)
    except (MalformedError, VerificationError):
        return True
    of_session = (found.cluster, found.session, found.boundary, found.recipients) == ours
    return not (of_session and found.keys and source_of(found) == proposal.source)


def _proves_bad_certificate(evidence: Evidence, session: Session) -> bool:
    frame = _frame_of(evidence, FrameKind.PROPOSAL, FrameKind.VIEW_CHANGE, FrameKind.CERTIFICATE)
    certificate = None if frame is None else carried_certificate(frame)
    if certificate is None:
        return False
    try:
        check_certificate(certificate, session)
    except BadCertificateError:
        return True
    return False


def carried_certificate(frame: Frame) -> Certificate | None:
    """The certificate in a frame of agreement, if there is one."""
    match frame.kind:
        case FrameKind.PROPOSAL:
            return read_proposal(frame).justification
        case FrameKind.VIEW_CHANGE:
            return read_view_change(frame).prepared
        case FrameKind.CERTIFICATE:
            return read_certificate_frame(frame).certificate
        case _:
            return None


_PROOFS: dict[Fault, Callable[[Evidence, Session], bool]] = {
    Fault.EQUIVOCATION: _proves_equivocation,
    Fault.BAD_DEALING: _proves_bad_dealing,
    Fault.BAD_KEY: _proves_bad_key,
    Fault.BAD_VOTE: _proves_bad_vote,
    Fault.BAD_PROPOSAL: _proves_bad_proposal,
    Fault.BAD_CERTIFICATE: _proves_bad_certificate,
}
