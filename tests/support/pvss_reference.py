"""Publicly verifiable dealings a second time, from docs/dealing.md: plain loops, each equation by itself.

Shares nothing with ``eigenkms.crypto.pvss`` but numbers. ``failing_equations`` computes over py_ecc alone, whatever backend is in
use. ``forge`` makes dealings over the backend in use, and lets a test lie in every place where a dealer can.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import isqrt
from typing import Any

from Crypto.Hash import keccak
from py_ecc import optimized_bls12_381 as ecc
from py_ecc.bls.hash_to_curve import hash_to_G1
from py_ecc.bls.point_compression import decompress_G1, decompress_G2

from eigenkms.crypto import backends
from tests.crypto.support import counter_rng

R = ecc.curve_order
B, M, L = 2**16, 16, 128
MASK_DST = b"EIGENKMS-V01-PVSS-MASK-with-BLS12381G1_XMD:SHA-256_SSWU_RO_"


def response_bound(n: int) -> int:
    honest = 13 * (isqrt(n * M * B * B // 24) + 1) // 2
    return honest * 2**9 - honest


# --- hashing


def item(label: bytes, *parts: bytes) -> bytes:
    framed = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return len(label).to_bytes(4, "big") + label + len(parts).to_bytes(4, "big") + framed


def draw(items: bytes, label: bytes, size: int) -> bytes:
    asked = b"\xff" * 4 + len(label).to_bytes(4, "big") + label + size.to_bytes(8, "big")
    return hashlib.shake_256(items + asked).digest(size)


def integers(data: bytes, size: int) -> list[int]:
    return [int.from_bytes(data[i : i + size], "big") for i in range(0, len(data), size)]


@dataclass(frozen=True)
class Statement:
    """Everything but the encrypted part, as plain bytes."""

    cluster: bytes
    session: bytes
    dealer: bytes
    source: bytes
    recipients: tuple[tuple[bytes, bytes], ...]
    """Address and key of each."""
    commitments: tuple[bytes, ...]

    @property
    def xs(self) -> list[int]:
        digests = [keccak.new(digest_bits=256, data=address).digest() for address, _ in self.recipients]
        return [int.from_bytes(digest, "big") % R for digest in digests]

    def items(self, shared: Sequence[bytes], rows: Sequence[Sequence[bytes]]) -> bytes:
        sizes = (16, M, L, 9, len(self.recipients), len(self.commitments))
        return (
            item(b"eigenkms/fiat-shamir/1", b"eigenkms/pvss/dealing/1")
            + item(b"sizes", *(size.to_bytes(4, "big") for size in sizes))
            + item(b"context", self.cluster, self.session, self.dealer, self.source)
            + item(b"recipients", *(part for recipient in self.recipients for part in recipient))
            + item(b"commitments", *self.commitments)
            + item(b"randomness", *shared)
            + item(b"chunks", b"".join(b"".join(row) for row in rows))
        )


# --- the encrypted part


@dataclass
class Encrypted:
    """The encrypted part, cut by offsets."""

    shared: list[bytes]
    rows: list[list[bytes]]
    base: bytes
    masks: list[bytes]
    z: list[int]
    announced: list[bytes]
    """A_1..A_16, A_B, A_chunks, A_sharing, A_public."""
    u: list[int]
    """u_1..u_16, u_B, u_a."""

    @classmethod
    def cut(cls, data: bytes, n: int) -> "Encrypted":
        g1 = [data[48 * i : 48 * i + 48] for i in range(M + n * M + 1 + L)]
        at = 48 * len(g1)
        z = [int.from_bytes(data[at + 5 * j : at + 5 * j + 5], "big", signed=True) for j in range(L)]
        at += 5 * L
        announced = [data[at + 48 * k : at + 48 * k + 48] for k in range(M + 3)]
        at += 48 * (M + 3)
        announced.append(data[at : at + 96])
        u = integers(data[at + 96 :], 32)
        rows = [g1[M + M * i : 2 * M + M * i] for i in range(n)]
        return cls(g1[:M], rows, g1[M + n * M], g1[M + n * M + 1 :], z, announced, u)

    def join(self) -> bytes:
        points = [*self.shared, *(c for row in self.rows for c in row), self.base, *self.masks]
        responses = [z.to_bytes(5, "big", signed=True) for z in self.z]
        return b"".join([*points, *responses, *self.announced, *(u.to_bytes(32, "big") for u in self.u)])


@dataclass(frozen=True)
class Challenges:
    e: list[list[int]]
    """Of digit i·M + k, its L bits."""
    omega: list[int]
    gamma: list[int]
    chi: int


def masked_items(statement: Statement, part: Encrypted) -> bytes:
    return statement.items(part.shared, part.rows) + item(b"masks", part.base, *part.masks)


def bits(statement: Statement, part: Encrypted) -> list[list[int]]:
    count = len(part.rows) * M
    drawn = draw(masked_items(statement, part), b"bits", 16 * count)
    return [[drawn[16 * i + j // 8] >> j % 8 & 1 for j in range(L)] for i in range(count)]


def challenges(statement: Statement, part: Encrypted) -> Challenges:
    items = masked_items(statement, part)
    items += item(b"responses", *(z.to_bytes(5, "big", signed=True) for z in part.z))
    omega = integers(draw(items, b"omega", 16 * L), 16)
    gamma = integers(draw(items, b"gamma", 16 * len(part.rows)), 16)
    items += item(b"announcements", b"".join(part.announced))
    chi = int.from_bytes(draw(items, b"chi", 16), "big")
    return Challenges(bits(statement, part), omega, gamma, chi)


# --- the verifier, over py_ecc


def g1(encoding: bytes) -> Any:
    return decompress_G1(int.from_bytes(encoding, "big"))


def g2(encoding: bytes) -> Any:
    return decompress_G2((int.from_bytes(encoding[:48], "big"), int.from_bytes(encoding[48:], "big")))


def total(points: Sequence[Any], scalars: Sequence[int], zero: Any = ecc.Z1) -> Any:
    for point, scalar in zip(points, scalars, strict=True):
        zero = ecc.add(zero, ecc.multiply(point, scalar % R))
    return zero


def mask_key(j: int) -> Any:
    return hash_to_G1(b"mask key" + j.to_bytes(4, "big"), MASK_DST, hashlib.sha256)


def failing_equations(statement: Statement, part: Encrypted, mask_keys: Sequence[Any]) -> list[str]:
    """The names of the equations that do not hold, each checked alone. ``mask_keys`` are those of ``mask_key``."""
    n, drawn = len(part.rows), challenges(statement, part)
    c = [sum(a * b for a, b in zip(row, drawn.omega, strict=True)) for row in drawn.e]
    gamma, omega, chi, u = drawn.gamma, drawn.omega, drawn.chi, part.u
    y = [g1(key) for _, key in statement.recipients]
    C = [g1(chunk) for row in part.rows for chunk in row]
    Q = [g1(mask) for mask in part.masks]
    A = [g1(a) for a in part.announced[:-1]]

    def proven(image: Any, announced: Any, statement_: Any) -> bool:
        return bool(ecc.eq(image, ecc.add(announced, ecc.multiply(statement_, chi))))

    failing = []
    if any(abs(z) > response_bound(n) for z in part.z):
        failing.append("range")
    failing += [
        f"(1) {k}" for k in range(M) if not proven(ecc.multiply(ecc.G1, u[k]), A[k], g1(part.shared[k]))
    ]
    if not proven(ecc.multiply(ecc.G1, u[M]), A[M], g1(part.base)):
        failing.append("(2)")
    masked = -sum(o * z for o, z in zip(omega, part.z, strict=True))
    right = total([*C, *Q, ecc.G1], [*c, *omega, masked])
    left = total(y, [sum(u[k] * c[i * M + k] for k in range(M)) for i in range(n)])
    left = ecc.add(left, ecc.multiply(total(mask_keys, omega), u[M]))
    if not proven(left, A[M + 1], right):
        failing.append("(3)")
    right = total(C, [gamma[i] * B**k for i in range(n) for k in range(M)])
    left = ecc.multiply(total(y, gamma), sum(u[k] * B**k for k in range(M)) % R)
    if not proven(ecc.add(ecc.multiply(ecc.G1, u[M + 1]), left), A[M + 2], right):
        failing.append("(4)")
    xs = statement.xs
    powers = [sum(gamma[i] * pow(xs[i], j, R) for i in range(n)) for j in range(len(statement.commitments))]
    right = total([g2(com) for com in statement.commitments], powers, ecc.Z2)
    if not proven(ecc.multiply(ecc.G2, u[M + 1]), g2(part.announced[-1]), right):
        failing.append("(5)")
    return failing


# --- a dealer that may lie


def digits_of(share: int) -> list[int]:
    """Signed digits, by carrying."""
    rest, digits = share if share <= R // 2 else share - R, []
    for _ in range(M):
        digit = (rest + B // 2) % B - B // 2
        digits.append(digit)
        rest = (rest - digit) // B
    assert rest == 0
    return digits


@dataclass
class Lie:
    """Where a dealing differs from an honest one. By default nowhere."""

    digits: Sequence[Sequence[int]]
    """Encrypted in the place of the shares' digits; any integers."""
    combined: Callable[[Sequence[int]], int] | None = None
    """The a that is proven, of the weights γ; by default that of the digits."""
    sigma: Sequence[int] | None = None
    """The masks; by default those that centre the sums."""
    clamp: bool = False
    """Responses moved into the range."""
    tries: int = 1
    seed: str = "liar"
    used: int = field(default=0, init=False)
    """How many tries at the challenges it took."""


def forge(statement: Statement, lie: Lie) -> Encrypted:
    """A dealing with the best proof for its digits, on the backend in use. It is returned as well if no try fits the range."""
    curve, rng = backends.bls12381(), counter_rng(lie.seed)
    n, limit = len(lie.digits), response_bound(len(lie.digits))
    flat = [digit for row in lie.digits for digit in row]

    def scalar() -> int:
        return int.from_bytes(rng(64), "big") % R

    def mul(scalar_: int, point: Any = curve.g1) -> Any:
        return curve.msm_g1([point], [scalar_])

    def pair(a: int, b: int, point: Any) -> bytes:
        return bytes(curve.encode_g1(curve.msm_g1([curve.g1, point], [a, b])))

    y = [curve.decode_g1(key) for _, key in statement.recipients]
    Y = [curve.hash_to_g1(b"mask key" + j.to_bytes(4, "big"), MASK_DST) for j in range(L)]
    r, sigma = [scalar() for _ in range(M)], list(lie.sigma or [-sum(flat) // 2] * L)
    shared = [curve.encode_g1(mul(k)) for k in r]
    rows = [[pair(lie.digits[i][k], r[k], y[i]) for k in range(M)] for i in range(n)]
    part = Encrypted(shared, rows, b"", [], [0] * L, [b""], [0] * (M + 2))
    for _ in range(lie.tries):
        lie.used += 1
        beta = scalar()
        part.base = curve.encode_g1(mul(beta))
        part.masks = [pair(sigma[j], beta, Y[j]) for j in range(L)]
        e = bits(statement, part)
        part.z = [sigma[j] + sum(d for d, row in zip(flat, e, strict=True) if row[j]) for j in range(L)]
        if all(abs(z) <= limit for z in part.z):
            break
    if lie.clamp:
        part.z = [max(-limit, min(limit, z)) for z in part.z]
    drawn = challenges(statement, part)
    c = [sum(a * b for a, b in zip(row, drawn.omega, strict=True)) for row in drawn.e]
    rho = [scalar() for _ in range(M + 2)]
    image = [sum(rho[k] * c[i * M + k] for k in range(M)) for i in range(n)]
    A_chunks = curve.msm_g1([*y, *Y], [*image, *(rho[M] * o for o in drawn.omega)])
    A_sharing = curve.msm_g1(
        [curve.g1, *y], [rho[M + 1], *(g * sum(rho[k] * B**k for k in range(M)) for g in drawn.gamma)]
    )
    part.announced = [curve.encode_g1(mul(k)) for k in rho[: M + 1]]
    part.announced += [curve.encode_g1(A_chunks), curve.encode_g1(A_sharing)]
    part.announced.append(curve.encode_g2(curve.msm_g2([curve.g2], [rho[M + 1]])))
    chi = challenges(statement, part).chi
    values = [sum(d * B**k for k, d in enumerate(row)) for row in lie.digits]
    a = lie.combined(drawn.gamma) if lie.combined else sum(map(int.__mul__, drawn.gamma, values))
    part.u = [(k + chi * s) % R for k, s in zip(rho, [*r, beta, a], strict=True)]
    return part
