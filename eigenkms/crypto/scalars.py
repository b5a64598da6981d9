"""The scalar field of BLS12-381: coordinates, Lagrange coefficients, secrets."""

from collections.abc import Sequence
from hmac import compare_digest
from typing import Self

from eigenkms.crypto.hashing import Rng, keccak256
from eigenkms.types import OperatorAddress

R = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
"""Order of the groups G1, G2 and GT of BLS12-381, a prime of 255 bits."""


class SecretScalar:
    """A secret integer in 0..R-1.

    It is redacted in repr and str, compared in constant time, and not hashable. Python integers are neither constant time nor
    erasable; this type guards against leaks by log, message and traceback only.
    """

    __slots__ = ("_value",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: int) -> None:
        if not 0 <= value < R:
            raise ValueError("secret scalar is not in 0..R-1")
        self._value = value

    @property
    def value(self) -> int:
        return self._value

    def to_bytes(self) -> bytes:
        """Return 32 bytes, big-endian."""
        return self._value.to_bytes(32, "big")

    @classmethod
    def from_bytes(cls, encoding: bytes, *, allow_zero: bool = False) -> Self:
        """Strict: exactly 32 bytes, below R, not zero unless allowed.

        Raises ValueError otherwise.
        """
        if len(encoding) != 32:
            raise ValueError(f"secret scalar has {len(encoding)} bytes, not 32")
        scalar = cls(int.from_bytes(encoding, "big"))
        if not (allow_zero or scalar.value):
            raise ValueError("secret scalar is zero")
        return scalar

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretScalar):
            return NotImplemented
        return compare_digest(self.to_bytes(), other.to_bytes())

    def __repr__(self) -> str:
        return "<SecretScalar redacted>"


def random_scalar(rng: Rng) -> SecretScalar:
    """Uniform in 1..R-1, by rejection: no bias from a reduction."""
    while True:
        candidate = int.from_bytes(rng(32), "big") >> 1
        if 0 < candidate < R:
            return SecretScalar(candidate)


def coordinate(address: OperatorAddress) -> int:
    """Return the coordinate of an operator's share: ``keccak256(address) mod R``.

    Raises ValueError if the address is not 20 bytes or x is 0.
    """
    if len(address) != 20:
        raise ValueError(f"operator address has {len(address)} bytes, not 20")
    x = int.from_bytes(keccak256(address), "big") % R
    return _usable(x)


def coordinates(addresses: Sequence[OperatorAddress]) -> tuple[int, ...]:
    """Return the coordinates in the order of the addresses.

    Raises ValueError unless all are distinct and non-zero.
    """
    return _distinct([coordinate(address) for address in addresses])


def lagrange_at_zero(xs: Sequence[int]) -> tuple[int, ...]:
    """Return ``λ_i = Π_{j≠i} x_j / (x_j − x_i) mod R``.

    f(0) = Σ λ_i f(x_i) for every f of degree below len(xs). Raises ValueError unless the coordinates are distinct and
    non-zero modulo R.
    """
    xs = _distinct([_usable(x % R) for x in xs])
    total = _product(xs)
    denominators = [_product([x, *(other - x for other in xs if other != x)]) for x in xs]
    return tuple(total * inverse % R for inverse in _inverses(denominators))


def _product(factors: Sequence[int]) -> int:
    result = 1
    for factor in factors:
        result = result * factor % R
    return result


def _inverses(values: Sequence[int]) -> list[int]:
    """Return the inverses modulo R of non-zero values, by one inversion (Montgomery)."""
    products = [1]
    for value in values:
        products.append(products[-1] * value % R)
    inverse = pow(products[-1], -1, R)
    inverses = []
    for value, before in zip(reversed(values), reversed(products[:-1]), strict=True):
        inverses.append(inverse * before % R)
        inverse = inverse * value % R
    return inverses[::-1]


def _usable(x: int) -> int:
    if x == 0:
        raise ValueError("coordinate is zero: its share would be the master secret")
    return x


def _distinct(xs: list[int]) -> tuple[int, ...]:
    if len(set(xs)) != len(xs):
        raise ValueError("two coordinates are equal")
    return tuple(xs)


def threshold(n: int) -> int:
    """Return ``⌈2n/3⌉``, the threshold and the quorum of n operators.

    So many shares decrypt, and so many votes certify. A commitment vector has this length.
    """
    if n < 1:
        raise ValueError(f"an operator set has at least one member, not {n}")
    return (2 * n + 2) // 3
