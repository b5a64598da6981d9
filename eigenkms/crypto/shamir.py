"""Shamir's secret sharing over the scalars of BLS12-381.

A dealer's polynomial f of degree t−1 hides f(0); the share of an operator with coordinate x is f(x); any t
shares determine f.
"""

from collections.abc import Sequence
from typing import Self

from eigenkms.crypto import backends
from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.scalars import R, SecretScalar, random_scalar

MAX_COEFFICIENTS = 0xFFFF


class Polynomial:
    """A dealer's secret polynomial, coefficients from the constant term up.

    All are non-zero, so that no commitment is infinity.
    """

    __slots__ = ("_coefficients",)

    def __init__(self, coefficients: Sequence[SecretScalar]) -> None:
        if not 1 <= len(coefficients) <= MAX_COEFFICIENTS:
            raise ValueError(f"a polynomial has 1..{MAX_COEFFICIENTS} coefficients, not {len(coefficients)}")
        if not all(c.value for c in coefficients):
            raise ValueError("a coefficient of the polynomial is zero")
        self._coefficients = tuple(coefficients)

    @classmethod
    def random(cls, threshold: int, rng: Rng, constant: SecretScalar | None = None) -> Self:
        """Return a polynomial of ``threshold`` coefficients, uniform and non-zero.

        The constant term is ``constant`` if it is given.
        """
        if not 1 <= threshold <= MAX_COEFFICIENTS:
            raise ValueError(f"a polynomial has 1..{MAX_COEFFICIENTS} coefficients, not {threshold}")
        first = random_scalar(rng) if constant is None else constant
        return cls([first, *(random_scalar(rng) for _ in range(threshold - 1))])

    @property
    def threshold(self) -> int:
        """Return how many shares determine the polynomial."""
        return len(self._coefficients)

    @property
    def constant(self) -> SecretScalar:
        """f(0), what the polynomial hides."""
        return self._coefficients[0]

    def evaluate(self, x: int) -> SecretScalar:
        """Return the share at x.

        ValueError at x = 0 modulo R, where it would be the secret itself.
        """
        if x % R == 0:
            raise ValueError("a polynomial is not evaluated at zero")
        value = 0
        for coefficient in reversed(self._coefficients):
            value = (value * x + coefficient.value) % R
        return SecretScalar(value)

    def commitments(self) -> tuple[bytes, ...]:
        """Return ``C_k = a_k·G2``, 96 bytes each, by constant-time multiplication."""
        curve = backends.bls12381()
        return tuple(curve.encode_g2(curve.secret_mul_g2(curve.g2, a.value)) for a in self._coefficients)

    def to_bytes(self) -> bytes:
        """Return the number of coefficients (2 bytes big-endian), then 32 bytes each.

        The bytes are for sealed storage.
        """
        return len(self._coefficients).to_bytes(2, "big") + b"".join(a.to_bytes() for a in self._coefficients)

    @classmethod
    def from_bytes(cls, encoding: bytes) -> Self:
        """Read the bytes of ``to_bytes``; raise ValueError for any other bytes."""
        count = int.from_bytes(encoding[:2], "big")
        if len(encoding) != 2 + 32 * count:
            raise ValueError(
                f"polynomial has {len(encoding)} bytes, not the {2 + 32 * count} of {count} coefficients"
            )
        return cls([SecretScalar.from_bytes(encoding[i : i + 32]) for i in range(2, len(encoding), 32)])

    def __repr__(self) -> str:
        return f"<Polynomial of {self.threshold} coefficients redacted>"


def combine_shares(lambdas: Sequence[int], shares: Sequence[SecretScalar]) -> SecretScalar:
    """Return ``Σ λ_i·s_i mod R``.

    All λ are 1 at genesis, Lagrange coefficients of the dealers in a rotation. Raises ValueError for unequal lengths.
    """
    if len(lambdas) != len(shares):
        raise ValueError(f"{len(lambdas)} coefficients, but {len(shares)} shares")
    pairs = zip(lambdas, shares, strict=True)
    return SecretScalar(sum(factor * share.value for factor, share in pairs) % R)
