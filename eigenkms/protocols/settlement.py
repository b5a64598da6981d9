"""The settlement proof: how operators come to know that enough of them hold a version for the older ones to be erased.

An epoch certificate says that t' operators agreed on a version. It may count liars among them and leave
correct operators out, so it does not say that t' correct ones *hold* it, and erasing older shares on it could lose the key.
Whoever holds its share of a certified version therefore *confirms*: a signed promise to keep the share until a higher version is
settled, with a proof that it knows the share behind its public share. ``t' + ⌈n'/3⌉ − 1`` confirms, of which fewer than n'/3 are
of liars, are the *settlement proof*: t' correct operators hold the version. It alone erases what is older.

    confirm    = BN254 signature over keccak256("eigenkms/confirm/1" ‖ session ‖ transcript hash), which aggregates
    possession = Schnorr proof for Y_j in the context "eigenkms/confirm-proof/1" ‖ session ‖ transcript hash ‖ address
    proof      = msgpack [session, hash, bitmap, signature]      bitmap over R, first member the top bit

A genesis key is settled when it is certified, since all n prepared it (docs/protocol.md, Settled).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from eigenkms.crypto import bn254
from eigenkms.crypto.hashing import keccak256
from eigenkms.crypto.scalars import threshold
from eigenkms.protocols.codec import Fields, decode, encode
from eigenkms.protocols.transcript import Transcript
from eigenkms.protocols.votes import BadCertificateError, bitmap_of, signers_in
from eigenkms.types import OperatorAddress, SessionId

MAX_PROOF_BYTES = 512


def settlement_quorum(n: int) -> int:
    """``t' + ⌈n/3⌉ − 1``: confirms that show t' correct holders among n operators."""
    return threshold(n) + (n + 2) // 3 - 1


def confirm_digest(session: SessionId, transcript_hash: bytes) -> bytes:
    """The 32 bytes that a confirm signs."""
    return keccak256(b"eigenkms/confirm/1", session, transcript_hash)


def possession_context(session: SessionId, transcript_hash: bytes, holder: OperatorAddress) -> bytes:
    """What the proof of possession binds."""
    return b"eigenkms/confirm-proof/1" + session + transcript_hash + holder


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
    """Raises ``MalformedError``; the signature is not verified."""
    fields = Fields(decode(data, what="settlement proof", limit=MAX_PROOF_BYTES), 4, "settlement proof")
    return SettlementProof(SessionId(fields.fixed(32)), fields.fixed(32), fields.binary(64), fields.fixed(64))


def aggregate_confirms(transcript: Transcript, confirms: Mapping[OperatorAddress, bytes]) -> SettlementProof:
    """Add up ``confirms`` (address to signature). The result is not verified."""
    recipients = transcript.recipients
    ordered = [a for a in recipients.addresses if a in confirms]
    signature = bn254.aggregate_signatures([confirms[a] for a in ordered])
    return SettlementProof(transcript.session, transcript.hash, bitmap_of(ordered, recipients), signature)
