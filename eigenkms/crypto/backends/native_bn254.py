"""BN254 from the zksnake wheel (arkworks inside), behind guards.

Left to itself it raises a panic, which is not an ``Exception``, on a point off the curve and on lists of
unequal length, and reduces large coordinates silently. Coordinates are therefore read and checked in
``bn254_field`` first; only what stands on the curve gets here, and the one test left to the library, the
subgroup of G2, is on its ValueError path.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from zksnake._algebra import ec_bn254 as ec

from eigenkms.crypto.backends.blinding import blinded_mul
from eigenkms.crypto.backends.bn254_field import N, P, hash_to_xy, read_g1, read_g2, write_g1, write_g2
from eigenkms.crypto.backends.interface import (
    BN_G1_INFINITY,
    BN_G2_INFINITY,
    CACHED_POINTS,
    InvalidPoint,
    Point,
    check_same_length,
)


class NativeBn254:
    """The ``Bn254`` interface over zksnake.

    Secret multiplications are blinded, not constant time.
    """

    name: Final = "zksnake"
    order: Final = N

    def __init__(self) -> None:
        self.g1: Point = ec.g1()
        self.g2: Point = ec.g2()
        self.minus_g2: Point = -ec.g2()
        self._one = ec.multi_pairing([], [])
        self._decoded_g2 = lru_cache(CACHED_POINTS)(self._decode_g2)
        self.hash_to_g1 = lru_cache(CACHED_POINTS)(self._hash_to_g1)

    def decode_g1(self, encoding: bytes, *, infinity: bool = False) -> Point:
        if infinity and encoding == BN_G1_INFINITY:
            return ec.PointG1.identity()
        return ec.PointG1(*read_g1(encoding))

    def decode_g2(self, encoding: bytes, *, infinity: bool = False) -> Point:
        if infinity and encoding == BN_G2_INFINITY:
            return self.g2 + self.minus_g2
        return self._decoded_g2(encoding)

    def _decode_g2(self, encoding: bytes) -> Point:
        compressed = _compress_g2(encoding)
        try:
            return ec.PointG2.from_bytes(compressed)
        except ValueError:
            raise InvalidPoint("decode point: not in the subgroup") from None

    def encode_g1(self, point: Point) -> bytes:
        return BN_G1_INFINITY if point.is_zero() else write_g1(point.x, point.y)

    def encode_g2(self, point: Point) -> bytes:
        return BN_G2_INFINITY if point.is_zero() else write_g2(tuple(point.x), tuple(point.y))

    def _hash_to_g1(self, digest: bytes) -> Point:
        return ec.PointG1(*hash_to_xy(digest))

    def msm_g1(self, points: Sequence[Point], scalars: Sequence[int]) -> Point:
        check_same_length(points, scalars)
        if all(scalar == 1 for scalar in scalars):
            return sum(points, start=ec.PointG1.identity())
        return ec.multiscalar_mul_g1(list(points), [scalar % N for scalar in scalars])

    def msm_g2(self, points: Sequence[Point], scalars: Sequence[int]) -> Point:
        check_same_length(points, scalars)
        if all(scalar == 1 for scalar in scalars):
            return sum(points, start=self.g2 + self.minus_g2)
        return ec.multiscalar_mul_g2(list(points), [scalar % N for scalar in scalars])

    def secret_mul_g1(self, point: Point, scalar: int) -> Point:
        return blinded_mul(_mul, point, self.encode_g1(point), scalar, N)

    def secret_mul_g2(self, point: Point, scalar: int) -> Point:
        return blinded_mul(_mul, point, self.encode_g2(point), scalar, N)

    def pairing_check(self, pairs: Sequence[tuple[Point, Point]]) -> bool:
        return bool(ec.multi_pairing([a for a, _ in pairs], [b for _, b in pairs]) == self._one)


def _mul(point: Point, scalar: int) -> Point:
    return point * scalar


def _compress_g2(encoding: bytes) -> bytes:
    """Arkworks' own form: x little-endian, real part first, top bit of the last byte set when y is the
    larger of ±y.
    """
    (x0, x1), (y0, y1) = read_g2(encoding)
    larger = (y1, y0) > (-y1 % P, -y0 % P)
    compressed = bytearray(x0.to_bytes(32, "little") + x1.to_bytes(32, "little"))
    compressed[-1] |= 0x80 if larger else 0
    return bytes(compressed)
