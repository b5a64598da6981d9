"""Verify many equations as one, and find the invalid ones if the sum fails.

Equations ``L_i = 0`` in a group of prime order all hold, but for a chance of 2^-128, if ``Σ ρ_i·L_i = 0`` for random
128-bit ρ_i (Bellare, Garay, Rabin 1998). If the sum is not 0, halving finds k invalid equations in about 2·k·log2(n)
checks.
"""

from collections.abc import Callable, Sequence

from eigenkms.crypto.hashing import Rng


def coefficients(count: int, rng: Rng) -> list[int]:
    """Return random coefficients in 1..2^128 for a linear combination."""
    return [1 + int.from_bytes(rng(16), "big") for _ in range(count)]


def find_failing(indexes: Sequence[int], holds: Callable[[Sequence[int]], bool]) -> tuple[int, ...]:
    """Return the indexes whose equation fails, in their order.

    ``holds`` returns whether a group passes together.
    """
    if not indexes or holds(indexes):
        return ()
    return _split(indexes, holds)


def _split(indexes: Sequence[int], holds: Callable[[Sequence[int]], bool]) -> tuple[int, ...]:
    """Return the invalid indexes of a group that fails.

    If its left half passes, the right half is not checked.
    """
    if len(indexes) == 1:
        return (indexes[0],)
    middle = len(indexes) // 2
    left, right = indexes[:middle], indexes[middle:]
    if holds(left):
        return _split(right, holds)
    return _split(left, holds) + find_failing(right, holds)
