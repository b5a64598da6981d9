"""A dealing: one dealer's commitments, and the share it owes each recipient (docs/protocol.md, Dealing).

Encoded ``[1, session, dealer20, source T|0, source transcript hash|0³², [C_0 … C_{t'−1}], pok|nil]``, named by
``keccak256("eigenkms/dealing/1" ‖ bytes)``.

At *genesis* the source is zero and the proof of knowledge of ``f(0)`` is there; it binds session and dealer, so nobody can deal
with another's commitment (rogue key). In a *rotation* ``f(0)`` is the dealer's share of the source version, so everybody checks
``C_0`` against the dealer's public share in the source's transcript, and no proof is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from eigenkms.crypto import feldman, schnorr
from eigenkms.crypto.hashing import Rng, keccak256
from eigenkms.crypto.scalars import coordinates, lagrange_at_zero
from eigenkms.crypto.shamir import Polynomial
from eigenkms.errors import RemoteProtocolError
from eigenkms.protocols.codec import Fields, MalformedError, decode, encode
from eigenkms.protocols.session import MAX_THRESHOLD, ZERO32, Session
from eigenkms.protocols.transcript import Transcript
from eigenkms.types import OperatorAddress, SessionId

DEALING_VERSION = 1
PROOF_BYTES = schnorr.PROOF_SIZE


class BadDealingError(RemoteProtocolError):
    """A dealing whose content proves that its dealer is faulty."""

    default_hint = "the dealer is faulty; the signed dealing was kept as evidence"


class WrongConstantError(BadDealingError):
    """A rotation dealing that shares out something else than the dealer's share of the source: it would change the master key."""


@dataclass(frozen=True)
class Dealing:
    """Public part of a dealing; ``commitments`` are G2 points, 96 bytes each."""

    session: SessionId
    dealer: OperatorAddress
    source_version: int
    source_hash: bytes
    commitments: tuple[bytes, ...]
    proof: bytes | None

    @cached_property
    def encoded(self) -> bytes:
        value: list[Any] = [
            DEALING_VERSION,
            self.session,
            self.dealer,
            self.source_version,
            self.source_hash,
            list(self.commitments),
            self.proof,
        ]
        return encode(value)

    @cached_property
    def hash(self) -> bytes:
        return dealing_hash(self.encoded)


def dealing_hash(encoded: bytes) -> bytes:
    """The 32-byte name of an encoded dealing."""
    return keccak256(b"eigenkms/dealing/1", encoded)


def decode_dealing(data: bytes) -> Dealing:
    """Raises ``MalformedError``; checks shape only."""
    fields = Fields(decode(data, what="dealing"), 7, "dealing")
    if (version := fields.uint(16)) != DEALING_VERSION:
        raise MalformedError(f"decode dealing: version {version}")
    return Dealing(
        SessionId(fields.fixed(32)),
        OperatorAddress(fields.fixed(20)),
        fields.uint(64),
        fields.fixed(32),
        fields.fixed_items(96, MAX_THRESHOLD),
        fields.optional_fixed(PROOF_BYTES),
    )


def proof_context(session: SessionId, dealer: OperatorAddress) -> bytes:
    """What the proof of knowledge binds."""
    return b"eigenkms/dealing-proof/1" + session + dealer


def deal(session: Session, dealer: OperatorAddress, polynomial: Polynomial, rng: Rng) -> Dealing:
    """The genesis dealing of ``polynomial`` (degree t'−1)."""
    commitments = polynomial.commitments()
    proof = schnorr.prove(polynomial.constant, commitments[0], proof_context(session.id, dealer), rng)
    return Dealing(session.id, dealer, 0, ZERO32, commitments, proof)


def reshare(session: Session, dealer: OperatorAddress, polynomial: Polynomial, source: Transcript) -> Dealing:
    """The rotation dealing of ``polynomial``, whose constant term is ``dealer``'s share of ``source``."""
    commitments = polynomial.commitments()
    return Dealing(session.id, dealer, source.version, source.hash, commitments, None)


def check_dealing(
    dealing: Dealing, session: Session, dealer: OperatorAddress, source: Transcript | None = None
) -> None:
    """Raise ``BadDealingError`` unless this is ``dealer``'s well-formed dealing for ``session``, from ``source`` (genesis: none).

    In order: session, dealer, source, count, points, proof of knowledge or constant term.
    """
    name = f"check dealing of 0x{dealer.hex()}"
    if dealing.session != session.id:
        raise BadDealingError(f"{name}: made for session {dealing.session.hex()}")
    if dealing.dealer != dealer:
        raise BadDealingError(f"{name}: names dealer 0x{dealing.dealer.hex()}")
    expected = (0, ZERO32) if source is None else (source.version, source.hash)
    if (dealing.source_version, dealing.source_hash) != expected:
        raise BadDealingError(f"{name}: names source {dealing.source_version}, not {expected[0]}")
    if len(dealing.commitments) != session.threshold:
        raise BadDealingError(
            f"{name}: {len(dealing.commitments)} commitments, not the threshold {session.threshold}"
        )
    try:
        feldman.check_commitments(dealing.commitments, session.threshold)
    except ValueError as error:
        raise BadDealingError(f"{name}: {error}") from error
    if source is None:
        _check_proof(dealing, name)
    elif dealing.proof is not None:
        raise BadDealingError(f"{name}: carries a proof of knowledge, which only a genesis dealing does")
    elif dealing.commitments[0] != source.public_share(dealer):
        raise WrongConstantError(
            f"{name}: its constant term is not the dealer's share of version {source.version}"
        )


def _check_proof(dealing: Dealing, name: str) -> None:
    context = proof_context(dealing.session, dealing.dealer)
    if dealing.proof is None or not schnorr.verify(dealing.commitments[0], context, dealing.proof):
        raise BadDealingError(f"{name}: proof of knowledge does not verify")


def weights(dealers: Sequence[OperatorAddress], source: Transcript | None) -> tuple[int, ...]:
    """What each dealer's polynomial counts for in the sum: 1 at genesis, its Lagrange coefficient at zero in a rotation."""
    if source is None:
        return (1,) * len(dealers)
    return lagrange_at_zero(coordinates(dealers))


def combine(dealings: Sequence[Dealing], source: Transcript | None = None) -> tuple[bytes, ...]:
    """The combined commitment vector A: ``A_k = Σ_d λ_d·C_{d,k}`` over the dealers d that count."""
    factors = weights([d.dealer for d in dealings], source)
    return feldman.combine_commitments(factors, [d.commitments for d in dealings])
