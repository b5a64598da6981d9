"""How often each of many may do something."""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

REMEMBERED: Final = 8192
"""Names that are counted; beyond, the one that came the longest ago is forgotten."""


class Rates:
    """A token bucket for each name: ``rate`` a second, ``burst`` at once. ``clock`` is in seconds, monotonic."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: str) -> int:
        """0 if that was not too often; otherwise after how many seconds it will not be, at least 1."""
        now = self._clock()
        tokens, since = self._buckets.pop(name, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._rate)
        self._buckets[name] = (tokens - 1 if tokens >= 1 else tokens, now)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        return 0 if tokens >= 1 else math.ceil((1 - tokens) / self._rate)
