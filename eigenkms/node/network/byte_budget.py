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
"""What the shortest answer counts as: its cost is not in its bytes."""
CHECKED: Final = 128 << 10
"""What an answer counts as at least for which a signature is verified: 32 a second are 4 % of a processor. Honest operators ask for
so much 16 times a second, and each time another one."""


class OperatorByteBudget:
    """A bucket of bytes for each operator. It may be overdrawn by one answer; nothing is served then until it is full again so far.

    ``clock`` is in seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left: dict[OperatorAddress, tuple[float, float]] = {}

    def allows(self, operator: OperatorAddress) -> bool:
        """Whether the operator is served now."""
        return self._now_left(operator) > 0

    def spend(self, operator: OperatorAddress, size: int, least: int = LEAST) -> None:
        """The operator got an answer of so many bytes, 0 for a refusal, which counts as ``least`` at least."""
        self._left[operator] = (self._now_left(operator) - max(size, least), self._clock())

    def forget(self, operators: frozenset[OperatorAddress]) -> None:
        """Drop what is known of all but these."""
        self._left = {operator: left for operator, left in self._left.items() if operator in operators}

    def _now_left(self, operator: OperatorAddress) -> float:
        left, since = self._left.get(operator, (float(BURST), 0.0))
        return min(BURST, left + (self._clock() - since) * BYTES_A_SECOND)
