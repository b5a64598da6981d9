"""Limits of one client and of all."""

from contextlib import ExitStack

import pytest

from eigenkms.node.http import limits
from eigenkms.node.http.limits import BodyBudget, InProgress, Rate, TooManyError, client_of


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def taken(rate: Rate, client: str = "a") -> bool:
    try:
        rate.take(client)
    except TooManyError:
        return False
    return True


def test_a_client_has_its_rate_and_twice_as_many_at_once() -> None:
    """And nobody else's."""
    clock = Clock()
    rate = Rate(2, clock=clock)
    assert [taken(rate) for _ in range(5)] == [True] * 4 + [False]
    assert taken(rate, "b")
    clock.now = 0.5
    assert [taken(rate) for _ in range(2)] == [True, False]
    clock.now = 1000
    assert [taken(rate) for _ in range(5)] == [True] * 4 + [False]


def test_who_is_refused_hears_when_to_come_back() -> None:
    """In whole seconds, after which there is room."""
    clock = Clock()
    rate = Rate(1, clock=clock)
    assert [taken(rate) for _ in range(2)] == [True] * 2
    with pytest.raises(TooManyError) as error:
        rate.take("a")
    assert (error.value.everybody, error.value.retry_after) == (False, 1)
    clock.now += error.value.retry_after
    assert taken(rate)


def test_clients_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asked the longest ago is forgotten first."""
    monkeypatch.setattr(limits, "CLIENTS", 2)
    rate = Rate(1, clock=Clock())
    for client in ("a", "a", "b", "b", "a", "c"):
        taken(rate, client)
    assert len(rate) == 2
    assert not taken(rate, "a")
    assert taken(rate, "b"), "forgotten, so it begins anew"


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
