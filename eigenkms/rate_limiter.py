"""Limit how often, or how fast, each of many names may act, by token buckets."""

import math
from collections.abc import Callable
from typing import Final

from eigenkms.token_bucket import TokenBuckets

REMEMBERED: Final = 8192
"""Names that are counted. Beyond that, the least recently used one is forgotten."""


class RateLimiter:
    """Refuses actions over ``rate`` a second after ``burst`` at once.

    ``clock`` is in seconds, monotonic.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets = TokenBuckets(rate, burst, REMEMBERED)

    def __len__(self) -> int:
        return len(self._buckets)

    def acquire(self, name: str) -> int:
        """Return 0 if the name may act now, else the whole seconds until it may."""
        now = self._clock()
        return math.ceil(self._buckets.get(name, now).try_take(now))


class Pace:
    """Delays actions over ``rate`` a second after ``burst`` at once.

    The delay is at most ``latest`` seconds. The bound serves a name again soon after a flood under it. ``clock`` is in
    seconds, monotonic.
    """

    def __init__(
        self, rate: float, burst: int, clock: Callable[[], float], *, latest: float = math.inf
    ) -> None:
        self._clock = clock
        self._latest = latest
        self._buckets = TokenBuckets(rate, burst, REMEMBERED)

    def wait(self, name: str) -> float:
        """Return the seconds to the turn that this call takes, 0 within the burst."""
        now = self._clock()
        return self._buckets.get(name, now).spend(now, longest=self._latest)
