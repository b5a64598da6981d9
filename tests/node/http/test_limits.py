"""Limits of one client and of all."""

from contextlib import ExitStack

import pytest

from eigenkms.node.http import limits
from eigenkms.node.http.limits import SMALL_BYTES, ByteBudget, InProgress, TooManyError
from eigenkms.p2p.prefixes import prefix_of


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
    assert prefix_of(address) == client


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
    assert progress.total == 0


def test_bytes_have_a_budget_and_a_client_its_share() -> None:
    """Taken piece by piece, given back as a whole."""
    budget = ByteBudget(10, 6)
    with budget.hold("a") as first:
        first(SMALL_BYTES + 5)
        with budget.hold("a") as second:
            second(SMALL_BYTES)
            with pytest.raises(TooManyError) as error:
                second(2)
        assert not error.value.everybody
        with budget.hold("b") as third:
            third(SMALL_BYTES + 5)
            with budget.hold("c") as fourth, pytest.raises(TooManyError) as error:
                fourth(SMALL_BYTES + 1)
            assert error.value.everybody
        first(1)
        assert budget.held == 6
    assert budget.held == 0


def test_small_transfers_need_no_budget() -> None:
    """So they go on when large ones have used it up."""
    budget = ByteBudget(0, 0)
    with budget.hold("a") as take:
        take(SMALL_BYTES - 1)
        take(1)
        with pytest.raises(TooManyError):
            take(1)
