"""Verification of many equations as one, and the search for those that fail."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from eigenkms.crypto.batch_verify import coefficients, find_failing
from tests.crypto.support import counter_rng


@hypothesis_settings(derandomize=True)
@given(count=st.integers(0, 40), data=st.data())
def test_halving_finds_all_and_asks_little(count: int, data: st.DataObject) -> None:
    """Every culprit, nobody else, one question when there is none, and few questions when there are few."""
    guilty = data.draw(st.sets(st.integers(0, count - 1), max_size=count)) if count else set()
    asked: list[tuple[int, ...]] = []

    def holds(group: Sequence[int]) -> bool:
        asked.append(tuple(group))
        return not guilty & set(group)

    assert tuple(sorted(guilty)) == find_failing(range(count), holds)
    assert len(asked) <= 1 + 2 * len(guilty) * count.bit_length()
    assert () not in asked


def test_weights_are_never_zero() -> None:
    """A weight of zero would let one equation go unchecked."""
    assert coefficients(2, bytes) == [1, 1]
    assert all(0 < c <= 2**128 for c in coefficients(50, counter_rng("w")))
