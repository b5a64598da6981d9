"""Limits of one client and of all."""

from contextlib import ExitStack

import pytest

from eigenkms.node.http import limits
from eigenkms.node.http.limits import BodyBudget, InProgress, TooManyError, client_of


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
    ],
)
def test_addresses_count_as_clients(address: str, client: str) -> None:
    """A whole /64 is one."""
    assert client_of(address) == client


def test_one_client_has_so_many_in_progress() -> None:
    """The next is refused, others are not, and what is done makes room."""
    progress = InProgress()
    with ExitStack() as stack:
        for _ in range(limits.IN_PROGRESS_OF_ONE):
            stack.enter_context(progress.one("a"))
        with pytest.raises(TooManyError), progress.one("a"):
            pass
        with progress.one("b"):
            pass
    with progress.one("a"):
        pass
    assert not progress._of


def test_bodies_have_a_budget() -> None:
    """Taken piece by piece, given back as a whole."""
    budget = BodyBudget(10)
    with budget.hold() as first:
        first(6)
        with budget.hold() as second:
            second(4)
            with pytest.raises(TooManyError) as error:
                second(1)
        assert error.value.everybody
        first(4)
    with budget.hold() as third:
        third(10)
