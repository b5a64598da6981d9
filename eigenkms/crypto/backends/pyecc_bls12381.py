"""BLS12-381 in pure Python (py_ecc): the readable reference that the native libraries are compared with,
and the fallback.

py_ecc ignores the sign of the curve parameter and does not cube the final exponent, so its reduced pairing
f relates to the value on the wire as ``conj(f)³``. Secret multiplications are blinded: py_ecc's time tells
a scalar's length at a glance.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from py_ecc import optimized_bls12_381 as curve
from py_ecc.bls.g2_primitives import subgroup_check
from py_ecc.bls.hash_to_curve import hash_to_G1
from py_ecc.bls.point_compression import compress_G1, compress_G2, decompress_G1, decompress_G2

from eigenkms.crypto.backends.blinding import blinded_mul
from eigenkms.crypto.backends.interface import (
    BLS_G1_INFINITY,
    BLS_G1_SIZE,
    BLS_G2_INFINITY,
    BLS_G2_SIZE,
    CACHED_POINTS,
    Point,
    check_dst,
    check_same_length,
    decode_compressed,
)
from eigenkms.crypto.scalars import R

_HALF = 48


class PyEccBls12381:
    """The ``Bls12381`` interface over py_ecc."""

    name: Final = "py_ecc"
    order: Final = R

    def __init__(self) -> None:
        self.g1: Point = curve.G1
        self.g2: Point = curve.G2
        self.minus_g2: Point = curve.neg(curve.G2)
        self._decoded_g2 = lru_cache(CACHED_POINTS)(self._decode_g2)
        self.hash_to_g1 = lru_cache(CACHED_POINTS)(self._hash_to_g1)

    def decode_g1(self, encoding: bytes, *, infinity: bool = False) -> Point:
        if infinity and encoding == BLS_G1_INFINITY:
            return curve.Z1
        return decode_compressed(encoding, BLS_G1_SIZE, _load_g1, self.encode_g1)

    def decode_g2(self, encoding: bytes, *, infinity: bool = False) -> Point:
        if infinity and encoding == BLS_G2_INFINITY:
            return curve.Z2
        return self._decoded_g2(encoding)

    def _decode_g2(self, encoding: bytes) -> Point:
        return decode_compressed(encoding, BLS_G2_SIZE, _load_g2, self.encode_g2)

    def encode_g1(self, point: Point) -> bytes:
        return int(compress_G1(point)).to_bytes(BLS_G1_SIZE, "big")

    def encode_g2(self, point: Point) -> bytes:
        return b"".join(int(z).to_bytes(_HALF, "big") for z in compress_G2(point))

    def _hash_to_g1(self, message: bytes, dst: bytes) -> Point:
        return hash_to_G1(message, check_dst(dst), hashlib.sha256)

    def msm_g1(self, points: Sequence[Point], scalars: Sequence[int]) -> Point:
        return _msm(curve.Z1, points, scalars)

    def msm_g2(self, points: Sequence[Point], scalars: Sequence[int]) -> Point:
        return _msm(curve.Z2, points, scalars)

    def add_g1(self, a: Point, b: Point) -> Point:
        return curve.add(a, b)

    secret_add_g1 = add_g1

    def secret_mul_g1(self, point: Point, scalar: int) -> Point:
        return blinded_mul(curve.multiply, point, self.encode_g1(point), scalar, R)

    def secret_mul_g2(self, point: Point, scalar: int) -> Point:
        return blinded_mul(curve.multiply, point, self.encode_g2(point), scalar, R)

    def pairing_check(self, pairs: Sequence[tuple[Point, Point]]) -> bool:
        product = curve.FQ12.one()
        for a, b in pairs:
            product *= curve.pairing(b, a, final_exponentiate=False)
        return bool(curve.final_exponentiate(product) == curve.FQ12.one())

    def pairing_bytes(self, a: Point, b: Point) -> bytes:
        reduced = curve.final_exponentiate(curve.pairing(b, a, final_exponentiate=False))
        return _gt_bytes(_conjugate(reduced) ** 3)


def _load_g1(encoding: bytes) -> Point:
    return _in_subgroup(decompress_G1(int.from_bytes(encoding, "big")))


def _load_g2(encoding: bytes) -> Point:
    halves = int.from_bytes(encoding[:_HALF], "big"), int.from_bytes(encoding[_HALF:], "big")
    return _in_subgroup(decompress_G2(halves))


def _in_subgroup(point: Point) -> Point:
    if not subgroup_check(point):
        raise ValueError("point is not in the subgroup")
    return point


def _msm(zero: Point, points: Sequence[Point], scalars: Sequence[int]) -> Point:
    check_same_length(points, scalars)
    total = zero
    for point, scalar in zip(points, scalars, strict=True):
        total = curve.add(total, curve.multiply(point, scalar % R))
    return total


def _conjugate(f: Any) -> Any:
    """f^(p⁶): the sign of the odd powers of w changes.

    On the unit circle, where reduced pairings lie, this is 1/f.
    """
    return curve.FQ12([-c if k % 2 else c for k, c in enumerate(f.coeffs)])


def _gt_bytes(f: Any) -> bytes:
    """py_ecc writes Fp12 as a polynomial in w with ``u = w⁶ − 1``.

    The wire wants it in the tower, highest coefficient first.
    """
    coefficients = [int(c) for c in f.coeffs]
    limbs = []
    for k in (5, 3, 1, 4, 2, 0):  # the powers of w that stand at C1.B2, C1.B1, C1.B0, C0.B2, C0.B1, C0.B0
        a1 = coefficients[k + 6]
        limbs += [a1, (coefficients[k] + a1) % curve.field_modulus]
    return b"".join(limb.to_bytes(48, "big") for limb in limbs)
