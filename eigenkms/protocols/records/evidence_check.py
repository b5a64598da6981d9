"""The check of a piece of evidence by somebody who has nothing but its bytes and the session.

*Bounds.* ``check_evidence`` verifies at most two signatures and then one fault. The dearest is a dealing with its body: 65 µs for
each of 16·n + 180 points, 1 ms for each newcomer. Bytes are bounded by frames and bodies (protocols/records/evidence_bundle).
"""

from eigenkms.errors import VerificationError
from eigenkms.protocols.records.evidence import Evidence
from eigenkms.protocols.records.fault_proofs import proves
from eigenkms.types import to_hex
from eigenkms.wire.frames import BadSignatureError, verify_frame
from eigenkms.wire.session import Session
from eigenkms.wire.transcript import check_self_consistent


def check_evidence(evidence: Evidence, session: Session) -> None:
    """Raise ``VerificationError`` unless this proves the fault of the owner of the accused's key.

    The key is that of the session's recipient, or else of the source's.

    Whether those are the operators' keys is the caller's to check, with the chain.
    """
    name = f"check {evidence.fault.value} evidence against {to_hex(evidence.accused)}"
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
    """Return the BN254 G2 key of a recipient, or else of a holder of the source."""
    member = session.recipients.get(evidence.accused)
    if member is None and evidence.source is not None:
        member = evidence.source.recipients.get(evidence.accused)
    return None if member is None else member.key
