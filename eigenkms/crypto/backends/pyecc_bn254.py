"""BN254 in pure Python (py_ecc): the readable reference, and the fallback.

py_ecc raises to the whole final exponent at once; the easy part by Frobenius maps makes a check three times
faster and changes nothing else. Secret multiplications are blinded.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from py_ecc import optimized_bn128 as curve

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


class PyEccBn254:
    """The ``Bn254`` interface over py_ecc."""

    name: Final = "py_ecc"
    order: Final = N

    def __init__(self) -> None:
        self.g1: Point = curve.G1
        self.g2: Point = curve.G2
        self.minus_g2: Point = curve.neg(curve.G2)
        self._decoded_g2 = lru_cache(CACHED_POINTS)(self._decode_g2)
        self.hash_to_g1 = lru_cache(CACHED_POINTS)(self._hash_to_g1)

    def decode_g1(self, encoding: bytes, *, infinity: bool = False) -> Point:
        if infinity and encoding == BN_G1_INFINITY:
            return curve.Z1
        return _g1(*read_g1(encoding))

    def decode_g2(self, encoding: bytes, *, infinity: bool = False) -> Point:
        if infinity and encoding == BN_G2_INFINITY:
            return curve.Z2
        return self._decoded_g2(encoding)

    def _decode_g2(self, encoding: bytes) -> Point:
        x, y = read_g2(encoding)
        point = (curve.FQ2(x), curve.FQ2(y), curve.FQ2.one())
        if not curve.is_inf(curve.multiply(point, N)):
            raise InvalidPoint("decode point: not in the subgroup")
        return point

    def encode_g1(self, point: Point) -> bytes:
        if curve.is_inf(point):
            return BN_G1_INFINITY
        x, y = curve.normalize(point)
        return write_g1(int(x), int(y))

    def encode_g2(self, point: Point) -> bytes:
        if curve.is_inf(point):
            return BN_G2_INFINITY
        x, y = curve.normalize(point)
        return write_g2((int(x.coeffs[0]), int(x.coeffs[1])), (int(y.coeffs[0]), int(y.coeffs[1])))

    def _hash_to_g1(self, digest: bytes) -> Point:
        return _g1(*hash_to_xy(digest))

    def msm_g1(self, points: Sequence[Point], scalars: Sequence[int]) -> Point:
        return _msm(curve.Z1, points, scalars)

    def msm_g2(self, points: Sequence[Point], scalars: Sequence[int]) -> Point:
        return _msm(curve.Z2, points, scalars)

    def secret_mul_g1(self, point: Point, scalar: int) -> Point:
        return blinded_mul(curve.multiply, point, self.encode_g1(point), scalar, N)

    def secret_mul_g2(self, point: Point, scalar: int) -> Point:
        return blinded_mul(curve.multiply, point, self.encode_g2(point), scalar, N)

    def pairing_check(self, pairs: Sequence[tuple[Point, Point]]) -> bool:
        product = curve.FQ12.one()
        for a, b in pairs:
            product *= curve.pairing(b, a, final_exponentiate=False)
        return bool(_final_exponentiate(product) == curve.FQ12.one())


def _g1(x: int, y: int) -> Point:
    return curve.FQ(x), curve.FQ(y), curve.FQ.one()


def _msm(zero: Point, points: Sequence[Point], scalars: Sequence[int]) -> Point:
    check_same_length(points, scalars)
    total = zero
    for point, scalar in zip(points, scalars, strict=True):
        total = curve.add(total, curve.multiply(point, scalar % N))
    return total


_FROBENIUS = [curve.FQ12([0] * k + [1] + [0] * (11 - k)) ** P for k in range(12)]


def _frobenius(f: Any) -> Any:
    """f^p: coefficients stay, powers of w map to a table."""
    total = curve.FQ12.zero()
    for image, coefficient in zip(_FROBENIUS, f.coeffs, strict=True):
        total += image * int(coefficient)
    return total


def _final_exponentiate(f: Any) -> Any:
    """f^((p¹²−1)/r) = (f^((p⁶−1)(p²+1)))^((p⁴−p²+1)/r)."""
    f2 = _frobenius(_frobenius(f)) * f
    f6 = f2
    for _ in range(6):
        f6 = _frobenius(f6)
    return (f6 / f2) ** ((P**4 - P**2 + 1) // N)
