"""Many equations checked as one, and the culprits found when the sum fails.

Equations ``L_i = 0`` in a group of prime order all hold, but for a chance of 2^-128, if ``Σ ρ_i·L_i = 0``
for random 128-bit ρ_i (Bellare, Garay, Rabin 1998). If not, halving names those that fail in about
2·k·log2(n) checks for k culprits.
"""

from collections.abc import Callable, Sequence

from eigenkms.crypto.hashing import Rng


def coefficients(count: int, rng: Rng) -> list[int]:
    """Random coefficients in 1..2^128 for a linear combination."""
    return [1 + int.from_bytes(rng(16), "big") for _ in range(count)]


def culprits(indexes: Sequence[int], holds: Callable[[Sequence[int]], bool]) -> tuple[int, ...]:
    """The indexes whose equation fails, ascending if they were. ``holds`` says whether a group of them
    passes together.
    """
    if not indexes or holds(indexes):
        return ()
    return _split(indexes, holds)


def _split(indexes: Sequence[int], holds: Callable[[Sequence[int]], bool]) -> tuple[int, ...]:
    """Culprits of a group known to fail; if its left half passes, the right half need not be asked."""
    if len(indexes) == 1:
        return (indexes[0],)
    middle = len(indexes) // 2
    left, right = indexes[:middle], indexes[middle:]
    if holds(left):
        return _split(right, holds)
    return _split(left, holds) + culprits(right, holds)
