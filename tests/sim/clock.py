"""The clock of one operator: it runs at its own rate from its own zero, and shows its own time of day.

A node measures with a monotonic clock, the zero of which means nothing and changes with every start of the machine. What it
keeps on disk is the time of day, which may be wrong. So moments survive a restart only as precisely as both clocks allow.
"""

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Skew:
    """How wrong clocks may be: ``rate`` as a fraction of the time that passes, ``day`` in seconds."""

    rate: float = 0.0
    day: float = 0.0


class Clock:
    """One life of one machine. Times in seconds; ``true`` ones are the world's."""

    def __init__(self, rng: random.Random, skew: Skew, booted: float) -> None:
        exact = not skew.rate and not skew.day
        self._rate = 1 + rng.uniform(-skew.rate, skew.rate)
        self._offset = 0.0 if exact else rng.uniform(0, 1000) - booted * self._rate
        self._day = rng.uniform(-skew.day, skew.day)

    def monotonic(self, true: float) -> float:
        return true * self._rate + self._offset

    def time_of_day(self, true: float) -> float:
        return true + self._day

    def true(self, monotonic: float) -> float:
        """When the monotonic clock will show this."""
        return (monotonic - self._offset) / self._rate
