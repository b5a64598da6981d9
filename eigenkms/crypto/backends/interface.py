"""What a curve library must offer, and the strict decoding that all of them share.

A point is opaque: whatever its backend made, to be given back to the same backend only. Everything above
``backends`` keeps points as bytes and decodes them where it computes. ``secret_mul_*`` is the only
operation that may see a secret scalar: constant time where the library offers it, else blinded.
``secret_add_g1`` adds points that are secret themselves. ``msm_*`` and the rest are for public values and
leak their scalars through time.

Decoding is strict in every backend: exact length, canonical (the point encodes to the same bytes), on the
curve, in the subgroup of order r, and not infinity unless the caller says that infinity has a meaning
there.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from eigenkms.errors import VerificationError

Point = Any
"""An element of G1 or G2 in a backend's own form."""

BLS_G1_SIZE = 48
BLS_G2_SIZE = 96
BLS_GT_SIZE = 576
BLS_G1_INFINITY = b"\xc0" + bytes(BLS_G1_SIZE - 1)
BLS_G2_INFINITY = b"\xc0" + bytes(BLS_G2_SIZE - 1)
BN_G1_SIZE = 64
BN_G2_SIZE = 128
BN_G1_INFINITY = bytes(BN_G1_SIZE)
BN_G2_INFINITY = bytes(BN_G2_SIZE)

CACHED_POINTS = 4096
"""How many decoded G2 points, and how many hashed messages, a backend remembers. Points of G1 are signatures and
application keys: they seldom come twice, and some are secret, so they are not kept.
"""


class InvalidPoint(VerificationError, ValueError):  # noqa: N818 - the field's own word for it
    """Bytes are not a point of the group: wrong length, not canonical, off the curve, off the subgroup, or
    infinity.
    """


class PairingCurve(Protocol):
    """Two groups of prime order and a pairing. Scalars are taken modulo the order."""

    @property
    def name(self) -> str: ...
    @property
    def order(self) -> int: ...
    @property
    def g1(self) -> Point: ...
    @property
    def g2(self) -> Point: ...
    @property
    def minus_g2(self) -> Point:
        """−G2: with it ``e(σ, G2) = e(H, Y)`` is the product check ``e(σ, −G2)·e(H, Y) = 1``."""

    def decode_g1(self, encoding: bytes, *, infinity: bool = False) -> Point:
        """Strict, as the module says; raises InvalidPoint.

        With ``infinity`` its canonical encoding is accepted as well.
        """

    def decode_g2(self, encoding: bytes, *, infinity: bool = False) -> Point: ...

    def encode_g1(self, point: Point) -> bytes: ...

    def encode_g2(self, point: Point) -> bytes: ...

    def msm_g1(self, points: Sequence[Point], scalars: Sequence[int]) -> Point:
        """``Σ scalars[i]·points[i]``, in variable time.

        Raises ValueError when the lengths differ.
        """

    def msm_g2(self, points: Sequence[Point], scalars: Sequence[int]) -> Point: ...

    def secret_mul_g1(self, point: Point, scalar: int) -> Point:
        """``scalar·point`` without telling the scalar by the time it takes."""

    def secret_mul_g2(self, point: Point, scalar: int) -> Point: ...

    def pairing_check(self, pairs: Sequence[tuple[Point, Point]]) -> bool:
        """Return whether ``Π e(a, b) = 1`` over the pairs (a in G1, b in G2)."""


class Bls12381(PairingCurve, Protocol):
    """BLS12-381, signatures in G1 and keys in G2."""

    def hash_to_g1(self, message: bytes, dst: bytes) -> Point:
        """RFC 9380, suite BLS12381G1_XMD:SHA-256_SSWU_RO_, domain separation tag of 1..255 bytes (else
        ValueError).
        """

    def add_g1(self, a: Point, b: Point) -> Point:
        """``a + b`` of two points of G1, in variable time; infinity is allowed."""

    def secret_add_g1(self, a: Point, b: Point) -> Point:
        """``a + b`` in the library that multiplies secrets: what ``secret_mul_g1`` returned stays in that library's form."""

    def pairing_bytes(self, a: Point, b: Point) -> bytes:
        """576 bytes: the pairing's value, 12 coefficients of 48 bytes big-endian, ``C1.B2.A1`` first and
        ``C0.B0.A0`` last in the tower ``Fp2[v]/(v³−(1+u))``, ``Fp6[w]/(w²−v)``; the final exponent is
        3(p¹²−1)/r.
        """


class Bn254(PairingCurve, Protocol):
    """BN254 (alt_bn128), as the EVM's precompiles have it."""

    def hash_to_g1(self, digest: bytes) -> Point:
        """EigenLayer's try-and-increment from a 32-byte digest.

        In variable time, for public digests.
        """


def check_dst(dst: bytes) -> bytes:
    """RFC 9380, section 5.3.1: 1..255 bytes.

    Libraries differ on longer tags, so none is let through.
    """
    if not 1 <= len(dst) <= 255:
        raise ValueError(f"domain separation tag has {len(dst)} bytes, not 1..255")
    return dst


def check_same_length(points: Sequence[Point], scalars: Sequence[int]) -> None:
    """Some libraries truncate silently to the shorter of the two."""
    if len(points) != len(scalars):
        raise ValueError(f"{len(points)} points, but {len(scalars)} scalars")


def decode_compressed(
    encoding: bytes, size: int, load: Callable[[bytes], Point], save: Callable[[Point], bytes]
) -> Point:
    """Decode a compressed BLS12-381 point strictly.

    ``load`` checks curve and subgroup and raises ValueError.

    Re-encoding refuses what some libraries let pass as infinity: ``ff…ff``, ``e0 00…``, ``c0 00…01``.
    """
    if len(encoding) != size:
        raise InvalidPoint(f"decode point: {len(encoding)} bytes, not {size}")
    if encoding[0] & 0x40:
        raise InvalidPoint("decode point: infinity where a point is expected")
    try:
        point = load(encoding)
    except ValueError:
        raise InvalidPoint("decode point: not canonical, not on the curve or not in the subgroup") from None
    if save(point) != encoding:
        raise InvalidPoint("decode point: encoding is not canonical")
    return point
