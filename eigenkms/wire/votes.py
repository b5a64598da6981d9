"""Votes and the certificates they aggregate to (docs/protocol.md, Agreement).

A vote is a BN254 signature over ``keccak256("eigenkms/vote/1" ‖ session ‖ be32(view) ‖ phase ‖ hash)``; votes of one
(session, view, phase, hash) add up to one signature. A certificate is ``[session, view, phase, hash, bitmap, sig]``, the
bitmap over R with the first member as the top bit and spare bits zero. A *commit* certificate is the epoch certificate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

from eigenkms.crypto import bn254
from eigenkms.crypto.hashing import be32, keccak256
from eigenkms.errors import VerificationError
from eigenkms.types import OperatorAddress, OperatorSet, SessionId
from eigenkms.wire.codec import Fields, MalformedError, decode, encode
from eigenkms.wire.session import Session

MAX_CERTIFICATE_BYTES = 512
VOID_HASH = bytes(32)
"""The hash ∅ of "this genesis session ends without a key"."""


class Phase(IntEnum):
    PREPARE = 1
    COMMIT = 2


def vote_digest(session: SessionId, view: int, phase: Phase, transcript_hash: bytes) -> bytes:
    """Return the 32 bytes that a vote signs."""
    return keccak256(b"eigenkms/vote/1", session, be32(view), bytes([phase]), transcript_hash)


class BadCertificateError(VerificationError):
    """A certificate that proves nothing: too few, repeated or foreign signers, or a signature that does not verify."""

    default_hint = "whoever sent it is faulty or damaged it; ask another operator"


@dataclass(frozen=True)
class Certificate:
    """Votes of one (session, view, phase, hash), aggregated."""

    session: SessionId
    view: int
    phase: Phase
    hash: bytes
    bitmap: bytes
    signature: bytes

    @cached_property
    def encoded(self) -> bytes:
        return encode([self.session, self.view, int(self.phase), self.hash, self.bitmap, self.signature])

    def signers(self, recipients: OperatorSet) -> tuple[OperatorAddress, ...]:
        """Return the operators that signed.

        Raises ``BadCertificateError`` for a bitmap that does not fit ``recipients``.
        """
        return signers_in(self.bitmap, recipients)

    def verify(self, recipients: OperatorSet, quorum: int) -> None:
        """Raise ``BadCertificateError`` unless ``quorum`` members of ``recipients`` signed this."""
        signers = set(self.signers(recipients))
        if len(signers) < quorum:
            raise BadCertificateError(f"verify certificate: {len(signers)} signers, {quorum} needed")
        keys = [m.key for m in recipients if m.address in signers]
        digest = vote_digest(self.session, self.view, self.phase, self.hash)
        if not bn254.verify_aggregate(digest, self.signature, keys):
            raise BadCertificateError("verify certificate: aggregate signature does not verify")


def check_certificate(certificate: Certificate, session: Session) -> None:
    """Raise ``BadCertificateError`` unless ``certificate`` is one of ``session`` with t' signers: what protocol 2 asks for."""
    if certificate.session != session.id:
        raise BadCertificateError("verify certificate: it is for another session")
    certificate.verify(session.recipients, session.threshold)


def decode_certificate(data: bytes) -> Certificate:
    """Decode a certificate. Raises ``MalformedError``; the signature is not verified."""
    fields = Fields(decode(data, what="certificate", limit=MAX_CERTIFICATE_BYTES), 6, "certificate")
    session, view, number = SessionId(fields.fixed(32)), fields.uint(32), fields.uint(8)
    if number not in (Phase.PREPARE, Phase.COMMIT):
        raise MalformedError(f"decode certificate: unknown phase {number}")
    return Certificate(session, view, Phase(number), fields.fixed(32), fields.binary(64), fields.fixed(64))


def signers_in(bitmap: bytes, recipients: OperatorSet) -> tuple[OperatorAddress, ...]:
    """Return the members that a bitmap names.

    Raises ``BadCertificateError`` for one that does not fit ``recipients``.
    """
    n = len(recipients)
    if len(bitmap) != (n + 7) // 8:
        raise BadCertificateError(f"read certificate: bitmap of {len(bitmap)} bytes for {n} operators")
    bits = int.from_bytes(bitmap, "big")
    width = 8 * len(bitmap)
    if bits & ((1 << (width - n)) - 1):
        raise BadCertificateError("read certificate: spare bits of the bitmap are set")
    return tuple(a for i, a in enumerate(recipients.addresses) if bits >> (width - 1 - i) & 1)


def bitmap_of(signers: Sequence[OperatorAddress], recipients: OperatorSet) -> bytes:
    """First member is the top bit; spare bits are zero."""
    chosen = set(signers)
    width = 8 * ((len(recipients) + 7) // 8)
    bits = sum(1 << (width - 1 - i) for i, a in enumerate(recipients.addresses) if a in chosen)
    return bits.to_bytes(width // 8, "big")


def aggregate(
    session: SessionId,
    view: int,
    phase: Phase,
    transcript_hash: bytes,
    votes: Mapping[OperatorAddress, bytes],
    recipients: OperatorSet,
) -> Certificate:
    """Add up ``votes`` (address to vote signature). The result is not verified."""
    ordered = [a for a in recipients.addresses if a in votes]
    signature = bn254.aggregate_signatures([votes[a] for a in ordered])
    return Certificate(session, view, phase, transcript_hash, bitmap_of(ordered, recipients), signature)
