"""Token buckets: what is taken, what is owed, what is forgotten."""

import math

import pytest

from eigenkms.token_bucket import TokenBucket, TokenBuckets


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    """A refusal takes nothing, and its wait is as long as the next token takes."""
    bucket = TokenBucket.full(2, 3, 0.0)
    assert [bucket.try_take(0.0) for _ in range(5)] == [0, 0, 0, 0.5, 0.5]
    assert bucket.try_take(0.5) == 0
    assert bucket.try_take(1000) == 0
    assert bucket.tokens == 2


@pytest.mark.parametrize("rate", [0.1, 0.3, 7, 40])
def test_a_bucket_has_a_token_after_the_wait_that_it_gave(rate: float) -> None:
    """Rounding does not make a caller wait twice."""
    bucket = TokenBucket.full(rate, 1, 0.0)
    now = 0.0
    for _ in range(1000):
        assert bucket.try_take(now) == 0
        now += bucket.wait(now)


def test_a_bucket_is_in_debt_for_what_it_could_not_give() -> None:
    """All that is spent counts, up to a debt of the longest wait."""
    bucket = TokenBucket.full(1000, 1000, 0.0)
    assert [bucket.spend(0.0, 500) for _ in range(4)] == [0, 0, 0.5, 1.0]
    assert bucket.spend(0.0, 1e9, longest=2.0) == 2.0
    assert bucket.spend(3.0, 1500) == 0.5


def test_buckets_beyond_the_capacity_are_forgotten_least_recently_used_first() -> None:
    """A forgotten name has a full bucket again."""
    buckets = TokenBuckets(1, 1, capacity=2)
    first = buckets.get("a", 0.0)
    second = buckets.get("b", 0.0)
    assert buckets.get("a", 0.0) is first
    buckets.get("c", 0.0)
    assert len(buckets) == 2
    assert buckets.get("a", math.inf) is first
    assert buckets.get("b", 0.0) is not second
