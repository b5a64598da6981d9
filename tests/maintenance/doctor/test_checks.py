"""How checks follow from one another, and what the whole is worth."""

from dataclasses import dataclass, field

import pytest

from eigenkms.errors import InputError, NetworkError
from eigenkms.maintenance.doctor import checks
from eigenkms.maintenance.doctor.checks import (
    EXTERNAL,
    HEALTHY,
    LOCAL,
    Check,
    Finding,
    Result,
    Verdict,
    exit_code,
    failed,
    ok,
    run_checks,
    skipped,
    warning,
)
from eigenkms.maintenance.doctor.registry import CHECKS


@dataclass
class Calls:
    """Which checks were made."""

    made: list[str] = field(default_factory=list)


def check(name: str, outcome: Finding | Exception, *needs: str, external: bool = False) -> Check[Calls]:
    async def run(calls: Calls) -> Finding:
        calls.made.append(name)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return Check(name, "?", "the remedy", run, needs, external)


async def carried(*checks: Check[Calls]) -> tuple[Calls, dict[str, Finding], list[Result[Calls]]]:
    calls, told = Calls(), []
    results = await run_checks(checks, calls, told.append)
    assert told == results
    return calls, {result.check.name: result.finding for result in results}, results


async def test_what_needs_a_failed_check_is_skipped_for_its_sake() -> None:
    """However far up it is; a warning keeps nothing from being looked at."""
    calls, found, _ = await carried(
        check("a", failed("broken", "mend it")),
        check("b", ok("fine"), "a"),
        check("c", ok("fine"), "b"),
        check("d", warning("odd", "look")),
        check("e", ok("fine"), "d"),
        check("f", skipped("not wanted")),
        check("g", ok("fine"), "f"),
    )
    assert calls.made == ["a", "d", "e", "f"]
    assert found["b"] == found["c"] == skipped("because a failed")
    assert found["g"] == skipped("because f was skipped")
    assert found["e"].verdict is Verdict.OK


async def test_an_error_is_a_finding_and_its_hint_the_next_step() -> None:
    """Else that of the check."""
    _, found, _ = await carried(
        check("a", InputError("read x: it is y", hint="write z")), check("b", InputError("read x: it is y"))
    )
    assert found == {"a": failed("read x: it is y", "write z"), "b": failed("read x: it is y", "the remedy")}


async def test_a_strangers_words_command_no_terminal() -> None:
    """Neither in what is said nor in the next step."""
    _, found, _ = await carried(check("a", failed("it is \x1b[2J\n here", "do \x07 it")))
    assert found["a"] == failed("it is ?[2J? here", "do ? it")


async def test_a_check_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that hangs is one that failed."""
    import trio

    async def hang(_calls: Calls) -> Finding:
        await trio.sleep_forever()
        raise AssertionError("unreachable")

    monkeypatch.setattr(checks, "DEADLINE", 0.01)
    _, found, _ = await carried(Check("a", "?", "the remedy", hang))
    assert found["a"] == failed("not done within 0.01 s", "the remedy")


@pytest.mark.parametrize(
    ("checks", "code"),
    [
        ([check("a", ok("fine")), check("b", skipped("not wanted"))], HEALTHY),
        ([check("a", warning("odd", "look"))], LOCAL),
        ([check("a", failed("broken", "mend it")), check("b", NetworkError("gone"), external=True)], LOCAL),
        ([check("a", warning("odd", "look")), check("b", NetworkError("gone"), external=True)], EXTERNAL),
    ],
    ids=["well", "a warning", "here and elsewhere", "elsewhere"],
)
async def test_the_exit_code_says_whose_turn_it_is(checks: list[Check[Calls]], code: int) -> None:
    """What is to be mended here comes first."""
    _, _, results = await carried(*checks)
    assert exit_code(results) == code


def test_needs_are_further_up() -> None:
    """The table is in an order in which it can be carried out, and no name stands in it twice."""
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    for at, one in enumerate(CHECKS):
        assert set(one.needs) <= set(names[:at]), one.name
