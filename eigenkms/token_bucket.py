"""Token buckets: the one mechanism behind every rate limit.

A bucket holds at most ``size`` tokens and gains ``rate`` of them a second. There are two ways to use one. *Refuse*: an
action takes a token if there is one, else the caller gets the time to wait (``try_take``). *Delay*: an action always takes
its tokens, and waits as long as the bucket is in debt (``spend``). The second is the generic cell rate algorithm.

The caller passes the time, in seconds of a monotonic clock. So the module has no clock of its own, and tests need none.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Self

_ONE: Final = 1.0 - 1e-6
"""One token, less the rounding between a wait and the take after it."""


@dataclass(slots=True)
class TokenBucket:
    """At most ``size`` tokens, ``rate`` more a second.

    ``tokens`` below zero are a debt. ``updated`` is in seconds.
    """

    rate: float
    size: float
    tokens: float
    updated: float

    @classmethod
    def full(cls, rate: float, size: float, now: float) -> Self:
        """Return a bucket that has all its tokens."""
        return cls(rate, size, size, now)

    def wait(self, now: float) -> float:
        """Return the seconds until there is a token, 0 if there is one."""
        self._refill(now)
        return 0.0 if self.tokens >= _ONE else (1.0 - self.tokens) / self.rate

    def try_take(self, now: float) -> float:
        """Take a token and return 0, or return the seconds until there is one."""
        wait = self.wait(now)
        if not wait:
            self.tokens -= 1
        return wait

    def spend(self, now: float, count: float = 1.0, *, longest: float = math.inf) -> float:
        """Take ``count`` tokens in any case.

        Returns the seconds until the debt is repaid. A debt that would take more than ``longest`` seconds is cut down to that.
        """
        self._refill(now)
        self.tokens = max(self.tokens - count, -longest * self.rate)
        return max(0.0, -self.tokens / self.rate)

    def _refill(self, now: float) -> None:
        self.tokens = min(self.size, self.tokens + (now - self.updated) * self.rate)
        self.updated = now


class TokenBuckets:
    """A bucket for each name.

    Beyond ``capacity`` the least recently used one is forgotten, and is full again.
    """

    def __init__(self, rate: float, size: float, capacity: int) -> None:
        self.rate: Final = rate
        self._size = size
        self._capacity = capacity
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def get(self, name: str, now: float) -> TokenBucket:
        """Return the bucket of a name, a full one if it is new or was forgotten."""
        if name not in self._buckets:
            self._buckets[name] = TokenBucket.full(self.rate, self._size, now)
            if len(self._buckets) > self._capacity:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(name)
        return self._buckets[name]
