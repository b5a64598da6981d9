"""A version with its proof: what one who knows no version needs to accept it, besides the chain."""

from dataclasses import dataclass

from eigenkms.errors import VerificationError
from eigenkms.types import ClusterId
from eigenkms.wire.transcript import Transcript, check_self_consistent
from eigenkms.wire.votes import BadCertificateError, Certificate, Phase


@dataclass(frozen=True)
class CertifiedTranscript:
    """A version with its proof: the transcript and the commit certificate over it."""

    transcript: Transcript
    certificate: Certificate


def check_certified_transcript(epoch: CertifiedTranscript, cluster: ClusterId) -> None:
    """Raise ``VerificationError`` unless t' of its own recipients signed it, for ``cluster``.

    Whether those recipients are the operators the chain knew at that block is the caller's to check (chain/certificate_check).
    """
    transcript, certificate = epoch.transcript, epoch.certificate
    if transcript.cluster != cluster:
        raise VerificationError(
            "verify epoch certificate: it is of another cluster",
            hint="check the AVS address, the operator set id and the chain id",
        )
    check_self_consistent(transcript)
    if certificate.phase is not Phase.COMMIT or certificate.hash != transcript.hash:
        raise BadCertificateError("verify epoch certificate: it does not certify this transcript")
    if certificate.session != transcript.session:
        raise BadCertificateError("verify epoch certificate: it is of another session")
    certificate.verify(transcript.recipients, transcript.threshold)
