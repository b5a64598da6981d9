"""The default plan of the rotation scenario asks of a network what that can bear, whatever its length and the operators."""

from collections import Counter

import pytest

from eigenkms.devnet.fault_schedule import MIN_OPERATORS, FaultKind, ScheduledFault, default_plan, due
from eigenkms.errors import InputError

SPARE = 25


def test_twenty_rotations_have_everything() -> None:
    """Three different operators are killed and come back, one joins, one leaves, two move, one of them with a word on chain."""
    acts = Counter(act.what for act in default_plan(20, 5, SPARE))
    assert acts == {
        FaultKind.KILL: 3,
        FaultKind.RESTART: 3,
        FaultKind.JOIN: 1,
        FaultKind.LEAVE: 1,
        FaultKind.MOVE: 1,
        FaultKind.MOVE_PUBLISHED: 1,
    }
    assert len({act.operator for act in default_plan(20, 5, SPARE) if act.what is FaultKind.KILL}) == 3


def test_some_are_killed_while_a_session_is_under_way() -> None:
    """And some between two sessions."""
    kills = [act.during for act in default_plan(20, 5, SPARE) if act.what is FaultKind.KILL]
    assert set(kills) == {True, False}


@pytest.mark.parametrize("operators", range(MIN_OPERATORS, 11))
def test_never_two_at_once(operators: int) -> None:
    """Only members are touched; who is down is restarted at the next rotation; then everybody is left alone for one, or longer."""
    members, down, untouchable_until = set(range(operators)), None, 0
    for act in default_plan(200, operators, SPARE):
        assert act.rotation >= untouchable_until or act.what is FaultKind.RESTART
        match act.what:
            case FaultKind.RESTART:
                assert act.operator == down
                down = None
            case FaultKind.JOIN:
                assert act.operator == max(members) + 1
                members.add(act.operator)
            case FaultKind.LEAVE:
                members.remove(act.operator)
            case FaultKind.KILL:
                down = act.operator
        assert act.what is FaultKind.JOIN or act.what is FaultKind.LEAVE or act.operator in members
        assert len(members) >= operators
        if act.what is not FaultKind.RESTART:
            untouchable_until = act.rotation + (2 if act.what in (FaultKind.JOIN, FaultKind.LEAVE) else 3)
    assert down is None


@pytest.mark.parametrize("rotations", range(1, 60))
def test_it_ends_whole(rotations: int) -> None:
    """Whatever is begun is ended, with a rotation to spare in which all take part."""
    acts = default_plan(rotations, 4, SPARE)
    assert all(act.rotation < rotations for act in acts)
    counts = Counter(act.what for act in acts)
    assert counts[FaultKind.KILL] == counts[FaultKind.RESTART]


def test_without_spare_accounts_nobody_joins() -> None:
    """The plan ends before the first that would."""
    assert FaultKind.JOIN not in {act.what for act in default_plan(100, 4, 0)}


def test_too_few_operators_are_refused() -> None:
    """With two, nobody may be missing."""
    with pytest.raises(InputError, match="none of them may be missing"):
        default_plan(20, 2, SPARE)


def test_what_is_due_at_a_moment() -> None:
    """Acts during a session and after it are told apart."""
    kill, leave = ScheduledFault(3, FaultKind.KILL, 1, during=True), ScheduledFault(3, FaultKind.LEAVE, 0)
    plan = (ScheduledFault(2, FaultKind.JOIN, 4), kill, leave)
    assert due(plan, 3, during=True) == (kill,)
    assert due(plan, 3, during=False) == (leave,)
    assert due(plan, 4, during=False) == ()
