"""BLS12-381 from two wheels: arkworks for public operations, blst wherever a scalar is secret.

blst multiplies in constant time but offers neither multi-scalar multiplication nor the bytes of a pairing;
arkworks offers both but its multiplication leaks a scalar's length and weight. A point therefore keeps both
forms and converts when the other is first asked for (compress and decompress, some 60 µs).
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar, Final

import py_arkworks_bls12381 as ark
import pyblst

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


class _Dual:
    """One group element in the form of either library, the other made on demand.

    Always in the subgroup.
    """

    __slots__ = ("_ark", "_blst")
    ARK: ClassVar[Any]
    BLST: ClassVar[Any]
    FEW: ClassVar[int]
    """Up to so many points with full-size scalars are multiplied one by one with blst."""
    FEW_SHORT: ClassVar[int]
    """The same for scalars up to 2^128, of which arkworks' time takes advantage and blst's does not."""

    def __init__(self, arkworks: Any = None, blst: Any = None) -> None:
        self._ark = arkworks
        self._blst = blst

    def encode(self) -> bytes:
        return bytes(self._blst.compress() if self._ark is None else self._ark.to_compressed_bytes())

    @property
    def ark(self) -> Any:
        if self._ark is None:
            self._ark = self.ARK.from_compressed_bytes_unchecked(bytes(self._blst.compress()))
        return self._ark

    @property
    def blst(self) -> Any:
        if self._blst is None:
            self._blst = self.BLST.uncompress(bytes(self._ark.to_compressed_bytes()))
        return self._blst


class _G1(_Dual):
    __slots__ = ()
    ARK = ark.G1Point
    BLST = pyblst.BlstP1Element
    FEW = 1
    FEW_SHORT = 1


class _G2(_Dual):
    __slots__ = ()
    ARK = ark.G2Point
    BLST = pyblst.BlstP2Element
    # measured on x86-64, blst against arkworks in µs: full size 10 points 1,940 / 2,490, 20 points 3,370 / 4,000;
    # 128 bits 5 points 840 / 850, 10 points 1,710 / 1,260
    FEW = 20
    FEW_SHORT = 5


class NativeBls12381:
    """The ``Bls12381`` interface over py_arkworks_bls12381 and pyblst."""

    name: Final = "arkworks+pyblst"
    order: Final = R

    def __init__(self) -> None:
        self.g1: Point = _G1(ark.G1Point())
        self.g2: Point = _G2(ark.G2Point())
        self.minus_g2: Point = _G2(-ark.G2Point())
        self._decoded_g2 = lru_cache(CACHED_POINTS)(self._decode_g2)
        self.hash_to_g1 = lru_cache(CACHED_POINTS)(self._hash_to_g1)

    def decode_g1(self, encoding: bytes, *, infinity: bool = False) -> Point:
        if infinity and encoding == BLS_G1_INFINITY:
            return _G1(ark.G1Point.identity())
        return decode_compressed(encoding, BLS_G1_SIZE, _load_g1, self.encode_g1)

    def decode_g2(self, encoding: bytes, *, infinity: bool = False) -> Point:
        if infinity and encoding == BLS_G2_INFINITY:
            return _G2(ark.G2Point.identity())
        return self._decoded_g2(encoding)

    def _decode_g2(self, encoding: bytes) -> Point:
        return decode_compressed(encoding, BLS_G2_SIZE, _load_g2, self.encode_g2)

    def encode_g1(self, point: Point) -> bytes:
        return bytes(point.encode())

    def encode_g2(self, point: Point) -> bytes:
        return bytes(point.encode())

    def _hash_to_g1(self, message: bytes, dst: bytes) -> Point:
        return _G1(blst=pyblst.BlstP1Element.hash_to_group(message, check_dst(dst)))

    def msm_g1(self, points: Sequence[Point], scalars: Sequence[int]) -> Point:
        return _msm(_G1, points, scalars)

    def msm_g2(self, points: Sequence[Point], scalars: Sequence[int]) -> Point:
        return _msm(_G2, points, scalars)

    def add_g1(self, a: Point, b: Point) -> Point:
        return _G1(a.ark + b.ark)

    def secret_mul_g1(self, point: Point, scalar: int) -> Point:
        return _G1(blst=point.blst.scalar_mul(scalar % R))

    def secret_add_g1(self, a: Point, b: Point) -> Point:
        return _G1(blst=a.blst + b.blst)

    def secret_mul_g2(self, point: Point, scalar: int) -> Point:
        return _G2(blst=point.blst.scalar_mul(scalar % R))

    def pairing_check(self, pairs: Sequence[tuple[Point, Point]]) -> bool:
        return bool(ark.GT.pairing_check([a.ark for a, _ in pairs], [b.ark for _, b in pairs]))

    def pairing_bytes(self, a: Point, b: Point) -> bytes:
        # arkworks prints the same twelve limbs little-endian in the opposite order
        return bytes.fromhex(str(ark.GT.pairing(a.ark, b.ark)))[::-1]


def _load_g1(encoding: bytes) -> Point:
    return _G1(ark.G1Point.from_compressed_bytes(encoding))


def _load_g2(encoding: bytes) -> Point:
    return _G2(ark.G2Point.from_compressed_bytes(encoding))


def _msm(group: type[_Dual], points: Sequence[Point], scalars: Sequence[int]) -> Point:
    check_same_length(points, scalars)
    if all(scalar == 1 for scalar in scalars):
        return group(sum((point.ark for point in points), start=group.ARK.identity()))
    factors = [scalar % R for scalar in scalars]
    few = group.FEW if max(factors) > 1 << 128 else group.FEW_SHORT
    if len(points) <= few:
        return group(blst=_sum_of_products(points, factors))
    terms = [point.ark for point in points]
    return group(group.ARK.multiexp_unchecked(terms, [_scalar(factor) for factor in factors]))


def _sum_of_products(points: Sequence[Point], factors: Sequence[int]) -> Any:
    """Return each product by blst: for few points faster than arkworks' algorithm for many."""
    pairs = zip(points, factors, strict=True)
    products = [point.blst if factor == 1 else point.blst.scalar_mul(factor) for point, factor in pairs]
    return sum(products[1:], start=products[0])


def _scalar(k: int) -> Any:
    return ark.Scalar.from_be_bytes(k.to_bytes(32, "big"))
