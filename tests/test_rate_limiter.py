"""How often each of many may do something."""

import pytest

from eigenkms import rate_limiter
from eigenkms.rate_limiter import Pace, RateLimiter


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_each_has_its_rate_and_its_burst() -> None:
    """And nobody else's."""
    clock = Clock()
    made = RateLimiter(2, 4, clock)
    assert [not made.acquire("a") for _ in range(5)] == [True] * 4 + [False]
    assert not made.acquire("b")
    clock.now = 0.5
    assert [not made.acquire("a") for _ in range(2)] == [True, False]
    clock.now = 1000
    assert [not made.acquire("a") for _ in range(5)] == [True] * 4 + [False]


def test_who_is_refused_hears_when_to_come_back() -> None:
    """In whole seconds, after which there is room."""
    clock = Clock()
    made = RateLimiter(1, 2, clock)
    assert [made.acquire("a") for _ in range(3)] == [0, 0, 1]
    clock.now += 1
    assert made.acquire("a") == 0
    slow = RateLimiter(0.1, 1, clock)
    assert [slow.acquire("a") for _ in range(2)] == [0, 10]


def test_turns_beyond_the_burst_are_as_far_apart_as_the_rate_says() -> None:
    """Each one's own, whether it waits for them or not; what it did not take adds up to the burst and no further."""
    clock = Clock()
    pace = Pace(2, 3, clock)
    assert [pace.wait("a") for _ in range(5)] == [0, 0, 0, 0.5, 1.0]
    assert pace.wait("b") == 0
    clock.now += 1.25
    assert pace.wait("a") == 0.25
    clock.now += 1000
    assert [pace.wait("a") for _ in range(4)] == [0, 0, 0, 0.5]


def test_nobody_waits_for_what_it_asked_for_long_ago() -> None:
    """Whoever shares an address with a flood waits no longer once it is over."""
    clock = Clock()
    pace = Pace(2, 3, clock, latest=5.0)
    assert max(pace.wait("a") for _ in range(1000)) == 5.0
    clock.now += 5.0
    assert pace.wait("a") == 0.5
    clock.now += 2.5
    assert [pace.wait("a") for _ in range(3)] == [0, 0, 0]


def test_names_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who came the longest ago is forgotten first."""
    monkeypatch.setattr(rate_limiter, "REMEMBERED", 2)
    made = RateLimiter(1, 2, Clock())
    for name in ("a", "a", "b", "b", "a", "c"):
        made.acquire(name)
    assert len(made) == 2
    assert made.acquire("a")
    assert not made.acquire("b"), "forgotten, so it begins anew"
    pace = Pace(1, 1, Clock())
    assert [pace.wait(name) for name in ("a", "a", "b", "c", "a")] == [0, 1, 0, 0, 0]
