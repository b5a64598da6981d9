"""How many bytes an operator is served in a while."""

from eigenkms.node.network import byte_budget
from eigenkms.node.network.byte_budget import OperatorByteBudget
from eigenkms.types import OperatorAddress


def operators(n: int) -> list[OperatorAddress]:
    return [OperatorAddress(bytes([i]) * 20) for i in range(n)]


def test_an_operator_is_served_so_many_bytes_in_a_while() -> None:
    """It may overdraw by one answer; then it waits until it has paid, and nobody else does."""
    now = 100.0
    served = OperatorByteBudget(lambda: now)
    greedy, other = operators(2)
    for _ in range(byte_budget.BURST // (1 << 20)):
        assert served.allows(greedy)
        served.spend(greedy, 1 << 20)
    assert not served.allows(greedy)
    assert served.allows(other)
    now += 0.001
    assert served.allows(greedy)
    served.spend(greedy, 8 << 20)
    now += 1.9
    assert not served.allows(greedy)
    now += 0.2
    assert served.allows(greedy)


def test_short_answers_are_not_free() -> None:
    """They cost as if they were longer, and what is known of one that left is forgotten."""
    served = OperatorByteBudget(lambda: 0.0)
    one, two = operators(2)
    for _ in range(byte_budget.BURST // byte_budget.LEAST):
        assert served.allows(one)
        served.spend(one, 1)
    assert not served.allows(one)
    served.forget(frozenset({one}))
    assert not served.allows(one)
    served.forget(frozenset({two}))
    assert served.allows(one)


def test_an_answer_that_needs_a_check_costs_more() -> None:
    """So a flood of bad signatures ends after a while, as one of long answers does."""
    served = OperatorByteBudget(lambda: 0.0)
    one, _ = operators(2)
    for _ in range(byte_budget.BURST // byte_budget.CHECKED):
        assert served.allows(one)
        served.spend(one, 0, byte_budget.CHECKED)
    assert not served.allows(one)
