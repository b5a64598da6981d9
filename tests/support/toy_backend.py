"""Toy curves: groups that are the integers modulo their order, a pairing that multiplies, a hash that
hashes to an integer.

Every equation of the real curves holds and fails alike, in about a microsecond an operation, so protocol
tests and the simulator run the unchanged code of ``eigenkms.crypto`` above them. There is no security
whatever: a point *is* its discrete logarithm. Encodings have the real lengths, a prefix that names the
group, and infinity as on the real curves, so strict decoding can be exercised too.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from eigenkms.crypto import backends, hashing
from eigenkms.crypto.backends.bn254_field import N
from eigenkms.crypto.backends.interface import (
    BLS_G1_INFINITY,
    BLS_G2_INFINITY,
    BLS_GT_SIZE,
    BN_G1_INFINITY,
    BN_G2_INFINITY,
    InvalidPoint,
    check_dst,
    check_same_length,
)
from eigenkms.crypto.hashing import hash_to_int
from eigenkms.crypto.scalars import R


class _Group:
    """How one toy group writes its elements: prefix, zeros, and the integer in the last 32 bytes."""

    def __init__(self, prefix: bytes, infinity: bytes, order: int) -> None:
        self.infinity = infinity
        self.order = order
        self._head = prefix.ljust(len(infinity) - 32, b"\x00")

    def encode(self, point: int) -> bytes:
        return self._head + point.to_bytes(32, "big") if point else self.infinity

    def decode(self, encoding: bytes, *, infinity: bool) -> int:
        if len(encoding) != len(self.infinity):
            raise InvalidPoint(f"decode point: {len(encoding)} bytes, not {len(self.infinity)}")
        if encoding == self.infinity:
            if infinity:
                return 0
            raise InvalidPoint("decode point: infinity where a point is expected")
        value = int.from_bytes(encoding[-32:], "big")
        if not encoding.startswith(self._head) or not 0 < value < self.order:
            raise InvalidPoint("decode point: not a toy point")
        return value


class ToyCurve:
    """The common part of both toy curves."""

    name = "toy"
    g1 = 1
    g2 = 1

    def __init__(self, order: int, g1: _Group, g2: _Group) -> None:
        self.order = order
        self.minus_g2 = order - 1
        self._g1 = g1
        self._g2 = g2
        self.encode_g1 = g1.encode
        self.encode_g2 = g2.encode

    def decode_g1(self, encoding: bytes, *, infinity: bool = False) -> int:
        return self._g1.decode(encoding, infinity=infinity)

    def decode_g2(self, encoding: bytes, *, infinity: bool = False) -> int:
        return self._g2.decode(encoding, infinity=infinity)

    def msm_g1(self, points: Sequence[int], scalars: Sequence[int]) -> int:
        check_same_length(points, scalars)
        return sum(p * k for p, k in zip(points, scalars, strict=True)) % self.order

    msm_g2 = msm_g1

    def secret_mul_g1(self, point: int, scalar: int) -> int:
        return point * scalar % self.order

    secret_mul_g2 = secret_mul_g1

    def pairing_check(self, pairs: Sequence[tuple[int, int]]) -> bool:
        return sum(a * b for a, b in pairs) % self.order == 0


class ToyBls12381(ToyCurve):
    """Stands in for BLS12-381."""

    def __init__(self) -> None:
        g1 = _Group(b"\x80toy-bls-g1", BLS_G1_INFINITY, R)
        super().__init__(R, g1, _Group(b"\x80toy-bls-g2", BLS_G2_INFINITY, R))

    def hash_to_g1(self, message: bytes, dst: bytes) -> int:
        return 1 + hash_to_int(R - 1, b"toy", check_dst(dst), message)

    def add_g1(self, a: int, b: int) -> int:
        return (a + b) % self.order

    secret_add_g1 = add_g1

    def pairing_bytes(self, a: int, b: int) -> bytes:
        return (a * b % R).to_bytes(BLS_GT_SIZE, "big")


class ToyBn254(ToyCurve):
    """Stands in for BN254."""

    def __init__(self) -> None:
        g1 = _Group(b"toy-bn-g1", BN_G1_INFINITY, N)
        super().__init__(N, g1, _Group(b"toy-bn-g2", BN_G2_INFINITY, N))

    def hash_to_g1(self, digest: bytes) -> int:
        if len(digest) != 32:
            raise ValueError(f"digest has {len(digest)} bytes, not 32")
        return 1 + int.from_bytes(digest, "big") % (N - 1)


TOY = backends.Backends(ToyBls12381(), ToyBn254())


@contextmanager
def toy_crypto() -> Iterator[backends.Backends]:
    """Inside the block, the whole process computes on the toy curves. Keys and points made outside do not
    decode inside.
    """
    with backends.use(TOY) as chosen:
        yield chosen


class _Sha3:
    """Answers like ``Crypto.Hash.keccak``, with the hash of the standard library that differs in its padding alone."""

    @staticmethod
    def new(*, digest_bits: int, data: bytes) -> "hashlib._Hash":
        if digest_bits != 256:
            raise ValueError(f"{digest_bits} bits, not 256")
        return hashlib.sha3_256(data)


@contextmanager
def toy_hashing() -> Iterator[None]:
    """Inside the block, SHA3-256 stands in for Keccak-256 in the whole process: as good, several times faster to call, and
    compatible with nothing outside.
    """
    former, hashing.keccak = hashing.keccak, _Sha3
    try:
        yield
    finally:
        hashing.keccak = former
