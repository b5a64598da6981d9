"""How many bytes each of a few operators is served in a while.

Not each peer: an operator makes as many peer ids as it likes, and signs a record that it is one after another.
"""

from collections.abc import Callable
from typing import Final

from eigenkms.types import OperatorAddress

BYTES_A_SECOND: Final = 4 << 20
BURST: Final = 64 << 20
"""All dealings of the largest session that a transcript needs, which is 35 MB, and more: an honest peer meets no bound."""
LEAST: Final = 16 << 10
"""Bytes that the shortest answer counts as, since its cost is not in its bytes."""
CHECKED: Final = 128 << 10
"""Bytes that an answer counts as at least if a signature was verified for it. 32 a second take 4 % of a processor.

Honest operators ask for that 16 times a second, each time another one.
"""


class OperatorByteBudget:
    """A bucket of bytes for each operator.

    One answer may overdraw it; nothing is served then until it is filled again. ``clock`` is in seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left: dict[OperatorAddress, tuple[float, float]] = {}

    def allows(self, operator: OperatorAddress) -> bool:
        """Return whether the operator is served now."""
        return self._now_left(operator) > 0

    def spend(self, operator: OperatorAddress, size: int, least: int = LEAST) -> None:
        """Charge an answer of ``size`` bytes, at least ``least``; a refusal has 0."""
        self._left[operator] = (self._now_left(operator) - max(size, least), self._clock())

    def forget(self, operators: frozenset[OperatorAddress]) -> None:
        """Drop the buckets of all but these."""
        self._left = {operator: left for operator, left in self._left.items() if operator in operators}

    def _now_left(self, operator: OperatorAddress) -> float:
        left, since = self._left.get(operator, (float(BURST), 0.0))
        return min(BURST, left + (self._clock() - since) * BYTES_A_SECOND)
