"""The settlement proof of protocol 1, by which a version of that protocol is known to be safe to deal from.

In protocol 1 a certificate said that t' operators agreed on a version, not that t' correct ones hold a share of it. Whoever held
its share confirmed that, signed; ``t' + ⌈n'/3⌉ − 1`` confirms, of which fewer than n'/3 are of liars, are the proof. A version of
protocol 1 without it, other than a genesis, is no source and erases nothing. Nobody makes these proofs any more.

    confirm = BN254 signature over keccak256("eigenkms/confirm/1" ‖ session ‖ transcript hash), which aggregates
    proof   = msgpack [session, hash, bitmap, signature]      bitmap over R, first member the top bit
"""

from dataclasses import dataclass
from functools import cached_property

from eigenkms.crypto import bn254
from eigenkms.crypto.hashing import keccak256
from eigenkms.crypto.scalars import threshold
from eigenkms.types import SessionId
from eigenkms.wire.codec import Fields, decode, encode
from eigenkms.wire.transcript import Transcript
from eigenkms.wire.votes import BadCertificateError, signers_in

MAX_PROOF_BYTES = 512


def settlement_quorum(n: int) -> int:
    """Return ``t' + ⌈n/3⌉ − 1``: confirms that show t' correct holders among n operators."""
    return threshold(n) + (n + 2) // 3 - 1


def confirm_digest(session: SessionId, transcript_hash: bytes) -> bytes:
    """Return the 32 bytes that a confirm signs."""
    return keccak256(b"eigenkms/confirm/1", session, transcript_hash)


@dataclass(frozen=True)
class SettlementProof:
    """Confirms of one version, aggregated."""

    session: SessionId
    hash: bytes
    bitmap: bytes
    signature: bytes

    @cached_property
    def encoded(self) -> bytes:
        return encode([self.session, self.hash, self.bitmap, self.signature])

    def verify(self, transcript: Transcript) -> None:
        """Raise ``BadCertificateError`` unless enough recipients of ``transcript`` confirmed it."""
        if (self.session, self.hash) != (transcript.session, transcript.hash):
            raise BadCertificateError("verify settlement proof: it is of another version")
        recipients = transcript.recipients
        signers = set(signers_in(self.bitmap, recipients))
        needed = settlement_quorum(len(recipients))
        if len(signers) < needed:
            raise BadCertificateError(f"verify settlement proof: {len(signers)} signers, {needed} needed")
        keys = [m.key for m in recipients if m.address in signers]
        if not bn254.verify_aggregate(confirm_digest(self.session, self.hash), self.signature, keys):
            raise BadCertificateError("verify settlement proof: aggregate signature does not verify")


def decode_settlement_proof(data: bytes) -> SettlementProof:
    """Decode a settlement proof.

    Raises ``MalformedError``; the signature is not verified.
    """
    fields = Fields(decode(data, what="settlement proof", limit=MAX_PROOF_BYTES), 4, "settlement proof")
    return SettlementProof(SessionId(fields.fixed(32)), fields.fixed(32), fields.binary(64), fields.fixed(64))


def check_settled(transcript: Transcript, proof: SettlementProof | None) -> None:
    """Raise ``BadCertificateError`` unless a certified version may be dealt from.

    A version of protocol 2 and a genesis always may, another version of protocol 1 with its settlement proof.
    """
    if proof is not None:
        proof.verify(transcript)
    elif not transcript.keys and transcript.source_version:
        raise BadCertificateError("verify version of protocol 1: it has no settlement proof")
