"""The proof of each fault: whether frames, and what stands beside them, could be a correct operator's.

*Nothing superfluous.* A proof refuses what the fault does not need, so one proof has one form, and no byte of it can be changed.

*The same verdict for everybody.* Nothing is random here: the weights of a batch are drawn from the dealing's own name.
"""

from collections.abc import Callable

from eigenkms.crypto import bn254, feldman, pvss
from eigenkms.crypto.backends.interface import InvalidPoint
from eigenkms.crypto.hashing import Rng, be64, keccak256
from eigenkms.errors import RemoteProtocolError, VerificationError
from eigenkms.protocols.records.evidence import Evidence, Fault
from eigenkms.wire.codec import MalformedError
from eigenkms.wire.dealing import BadDealingError, UnboundBytesError, read_body
from eigenkms.wire.dealing_header import DealingHeader, decode_header
from eigenkms.wire.dealing_terms import DealingTerms
from eigenkms.wire.frames import Frame, FrameKind
from eigenkms.wire.key_directory import BadKeyError, KeyDirectory, check_key_frame
from eigenkms.wire.messages import (
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
from eigenkms.wire.session import Session
from eigenkms.wire.transcript import Transcript, check_self_consistent, decode_transcript
from eigenkms.wire.votes import BadCertificateError, Certificate, check_certificate, vote_digest


def proves(evidence: Evidence, session: Session) -> bool:
    """Return whether the content proves the fault.

    The frames are the accused's and verified.
    """
    try:
        return _PROOFS[evidence.fault](evidence, session)
    except (RemoteProtocolError, VerificationError):
        return False


def _frame_of(evidence: Evidence, *kinds: FrameKind) -> Frame | None:
    """Return the one frame of evidence that needs nothing else and only a recipient can give."""
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
    """Return whether a DEALING frame names this transcript, or none for ``None``."""
    return read_dealing(frame).source == ref_of(source)


# -- dealings --------------------------------------------------------------------------------------------------


def _proves_bad_dealing(evidence: Evidence, session: Session) -> bool:
    """Check the DEALING, and at genesis the HASH if it is of other commitments."""
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
    """Return whether a DEALING frame has other commitments than the HASH frame announced.

    False for a header that does not decode: it convicts by itself.
    """
    try:
        header = decode_header(read_dealing(dealing).header)
    except MalformedError:
        return False
    return commitments_digest(header.commitments) != read_hash(announced)


def has_bad_commitment(header: DealingHeader) -> bool:
    """Return whether a commitment is no point of the group, or infinity.

    CPU: 0.2 ms a commitment.
    """
    try:
        feldman.check_commitments(header.commitments, len(header.commitments))
    except InvalidPoint:
        return True
    return False


def _is_bad_dealing(frame: Frame, terms: DealingTerms, body: bytes | None) -> bool:
    """Return whether a header breaks the terms by itself, or else its body does not prove it."""
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
    """Return whether a dealing's proof does not hold.

    The verdict is the same for everybody: the verifier's weights are drawn from the dealing's name, which binds all of it. A dealer
    could try names until a false equation cancels out, with probability 2^-128 each. It would be acquitted. A correct dealing holds
    under any weights.
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
    """Return a stream of bytes that a dealing's name determines."""
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
    """Return whether this session could not make a proposal's transcript.

    The dealings do not matter. CPU: 0.2 ms for each commitment and 0.1 ms for each operator.
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
    """Return the certificate in a frame of agreement, if there is one."""
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
