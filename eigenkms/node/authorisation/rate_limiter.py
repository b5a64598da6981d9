"""Token buckets and pacing, for each of many names."""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

REMEMBERED: Final = 8192
"""Names that are counted; beyond that, the name that was seen the longest ago is removed."""


class RateLimiter:
    """A token bucket for each name: ``rate`` a second, ``burst`` at once. ``clock`` is in seconds, monotonic."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def acquire(self, name: str) -> int:
        """Take a token: return 0, or the whole seconds until there is one, at least 1."""
        now = self._clock()
        tokens, since = self._buckets.pop(name, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._rate)
        self._buckets[name] = (tokens - 1 if tokens >= 1 else tokens, now)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        return 0 if tokens >= 1 else math.ceil((1 - tokens) / self._rate)


class Pace:
    """The next turn of each name: ``rate`` a second after ``burst`` at once, and at most ``latest`` seconds from now.

    A name that has flooded is therefore served as before after ``latest`` seconds. ``clock`` is in seconds, monotonic.
    """

    def __init__(
        self, rate: float, burst: int, clock: Callable[[], float], *, latest: float = math.inf
    ) -> None:
        self._step = 1 / rate
        self._ahead = burst / rate
        self._clock = clock
        self._latest = latest
        self._next: OrderedDict[str, float] = OrderedDict()

    def wait(self, name: str) -> float:
        """Take the next turn, and return the seconds until it, 0 within the burst."""
        now = self._clock()
        turn = max(self._next.pop(name, -math.inf), now - self._ahead) + self._step
        turn = min(turn, now + self._latest)
        self._next[name] = turn
        if len(self._next) > REMEMBERED:
            self._next.popitem(last=False)
        return max(0.0, turn - now)
