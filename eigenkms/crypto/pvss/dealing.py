"""What a dealer publishes beside its commitments, and its canonical encoding.

    encrypted part = R_1..R_16 ‖ rows ‖ range proof ‖ linear proof
    row i          = C_i1 ‖ … ‖ C_i16                            of recipient i, in the session's order
    range proof    = B ‖ Q_1..Q_128 ‖ z_1..z_128                 z as signed integers of 5 bytes, two's complement
    linear proof   = A_1..A_16 ‖ A_B ‖ A_chunks ‖ A_sharing ‖ A_public ‖ u_1..u_16 ‖ u_B ‖ u_a

Points of G1 have 48 bytes compressed, A_public is of G2 and has 96; u are scalars of 32 bytes below R. All
integers are big-endian. So the length follows from the number of recipients, and one byte string stands for
one value: ``decode`` refuses every other length and every scalar that is not reduced, and ``verifier``
decodes every point strictly. What the letters mean is told in ``eigenkms.crypto.pvss``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from eigenkms.crypto.backends.interface import BLS_G1_SIZE, BLS_G2_SIZE
from eigenkms.crypto.pvss.errors import InvalidDealing
from eigenkms.crypto.pvss.parameters import (
    CHUNKS,
    REPETITIONS,
    RESPONSE_SIZE,
    SCALAR_SIZE,
    SHARE_SIZE,
    encoded_size,
)
from eigenkms.crypto.scalars import R
from eigenkms.types import ClusterId, OperatorAddress, SessionId

ROW_SIZE = CHUNKS * BLS_G1_SIZE


@dataclass(frozen=True, slots=True)
class DealingContext:
    """What a dealing is for.

    ``source`` is the hash of the transcript that the dealer's share comes from, 32 bytes; it is empty at genesis.
    Raises ValueError for other sizes.
    """

    cluster: ClusterId
    session: SessionId
    dealer: OperatorAddress
    source: bytes

    def __post_init__(self) -> None:
        if (len(self.cluster), len(self.session), len(self.dealer)) != (32, 32, 20):
            raise ValueError("a dealing's context has a cluster and a session of 32 bytes and a dealer of 20")
        if len(self.source) not in (0, 32):
            raise ValueError(f"the source of a dealing has {len(self.source)} bytes, not 0 or 32")


@dataclass(frozen=True, slots=True)
class EncryptedShare:
    """All that one recipient needs beside its secret key.

    The shared randomness R_k and its row C_ik have 16 points each.
    """

    randomness: tuple[bytes, ...]
    row: tuple[bytes, ...]

    def encode(self) -> bytes:
        """1,536 bytes."""
        return b"".join(self.randomness + self.row)

    @classmethod
    def decode(cls, encoding: bytes) -> Self:
        """Cut an encoding; InvalidDealing for another length.

        Points are decoded when they are used.
        """
        if len(encoding) != SHARE_SIZE:
            raise InvalidDealing(f"decode encrypted share: {len(encoding)} bytes, not {SHARE_SIZE}")
        points = _cut(encoding, BLS_G1_SIZE)
        return cls(points[:CHUNKS], points[CHUNKS:])


@dataclass(frozen=True, slots=True)
class RangeProof:
    """Masked sums of digits: ``base`` B, ``masks`` Q_j, ``responses`` z_j."""

    base: bytes
    masks: tuple[bytes, ...]
    responses: tuple[int, ...]

    def encode(self) -> bytes:
        return b"".join((self.base, *self.masks, *map(encode_response, self.responses)))


@dataclass(frozen=True, slots=True)
class Announcements:
    """The first move of the linear proof: one point for each equation."""

    randomness: tuple[bytes, ...]
    base: bytes
    chunks: bytes
    sharing: bytes
    public: bytes
    """In G2, 96 bytes; the others are in G1."""

    def encode(self) -> bytes:
        return b"".join((*self.randomness, self.base, self.chunks, self.sharing, self.public))


@dataclass(frozen=True, slots=True)
class Answers:
    """The last move of the linear proof: scalars for r_1..r_16, β and a."""

    randomness: tuple[int, ...]
    base: int
    combined_share: int

    def encode(self) -> bytes:
        scalars = (*self.randomness, self.base, self.combined_share)
        return b"".join(scalar.to_bytes(SCALAR_SIZE, "big") for scalar in scalars)


@dataclass(frozen=True, slots=True)
class EncryptedShares:
    """The shares of all recipients, encrypted, and the proof that they are right."""

    randomness: tuple[bytes, ...]
    rows: tuple[tuple[bytes, ...], ...]
    range_proof: RangeProof
    announcements: Announcements
    answers: Answers

    def share(self, recipient: int) -> EncryptedShare:
        """What the recipient at this position decrypts."""
        return EncryptedShare(self.randomness, self.rows[recipient])

    def encode(self) -> bytes:
        """Canonical: equal dealings are equal bytes."""
        points = [*self.randomness, *(chunk for row in self.rows for chunk in row)]
        proofs = (self.range_proof.encode(), self.announcements.encode(), self.answers.encode())
        return b"".join((*points, *proofs))

    @classmethod
    def decode(cls, encoding: bytes, recipients: int) -> Self:
        """Cut the encoding of a dealing for so many recipients.

        InvalidDealing for another length and for a scalar that is not below R. Points are decoded by the verifier.
        Raises ValueError for an impossible number of recipients.
        """
        if len(encoding) != encoded_size(recipients):
            raise InvalidDealing(
                f"decode dealing: {len(encoding)} bytes, not the {encoded_size(recipients)} of {recipients} recipients"
            )
        rest = _ByteReader(encoding)
        return cls(
            rest.points(CHUNKS),
            tuple(rest.points(CHUNKS) for _ in range(recipients)),
            RangeProof(rest.point(), rest.points(REPETITIONS), rest.responses()),
            Announcements(
                rest.points(CHUNKS), rest.point(), rest.point(), rest.point(), rest.take(BLS_G2_SIZE)
            ),
            Answers(rest.scalars(CHUNKS), *rest.scalars(2)),
        )


def encode_response(response: int) -> bytes:
    """Return a masked sum as 5 bytes.

    Raises OverflowError outside ±2^39, which no accepted one is.
    """
    return response.to_bytes(RESPONSE_SIZE, "big", signed=True)


class _ByteReader:
    """What is left of an encoding whose whole length has been checked."""

    def __init__(self, encoding: bytes) -> None:
        self._encoding = encoding
        self._at = 0

    def take(self, size: int) -> bytes:
        self._at += size
        return self._encoding[self._at - size : self._at]

    def point(self) -> bytes:
        return self.take(BLS_G1_SIZE)

    def points(self, count: int) -> tuple[bytes, ...]:
        return _cut(self.take(count * BLS_G1_SIZE), BLS_G1_SIZE)

    def responses(self) -> tuple[int, ...]:
        parts = _cut(self.take(REPETITIONS * RESPONSE_SIZE), RESPONSE_SIZE)
        return tuple(int.from_bytes(part, "big", signed=True) for part in parts)

    def scalars(self, count: int) -> tuple[int, ...]:
        parts = _cut(self.take(count * SCALAR_SIZE), SCALAR_SIZE)
        scalars = tuple(int.from_bytes(part, "big") for part in parts)
        if any(scalar >= R for scalar in scalars):
            raise InvalidDealing("decode dealing: a scalar is not below R")
        return scalars


def _cut(encoding: bytes, size: int) -> tuple[bytes, ...]:
    return tuple(encoding[i : i + size] for i in range(0, len(encoding), size))


def flat(rows: Sequence[Sequence[bytes]]) -> bytes:
    """Return all points of all rows, one after another."""
    return b"".join(chunk for row in rows for chunk in row)
