"""What a check finds, and how checks follow from one another.

A check returns a finding, or raises ``EigenKmsError``, which is one that failed. It is skipped, with the reason, where a check
that it needs has failed or was skipped: one fault has one finding.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, TypeVar

import trio

from eigenkms.errors import EigenKmsError

DEADLINE: Final = 30.0
MAX_CHARACTERS: Final = 4000
_BECAUSE: Final = "because "
HEALTHY, MINE, ELSEWHERE = 0, 1, 2
"""Exit codes: all is well; something here is to be mended, or a warning; the chain's RPC or the network does not do it."""


class Verdict(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, in a sentence, and the next step where there is one."""

    verdict: Verdict
    sentence: str
    hint: str | None = None


def ok(sentence: str) -> Finding:
    return Finding(Verdict.OK, sentence)


def warning(sentence: str, hint: str) -> Finding:
    return Finding(Verdict.WARNING, sentence, hint)


def failed(sentence: str, hint: str) -> Finding:
    return Finding(Verdict.FAILED, sentence, hint)


def skipped(sentence: str, hint: str | None = None) -> Finding:
    return Finding(Verdict.SKIPPED, sentence, hint)


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Check(Generic[T]):
    """``asks`` and ``remedy`` are for the page; ``needs`` names checks further up; ``elsewhere``: it fails by no fault of ours."""

    name: str
    asks: str
    remedy: str
    run: Callable[[T], Awaitable[Finding]]
    needs: tuple[str, ...] = ()
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Result(Generic[T]):
    check: Check[T]
    finding: Finding


async def carry_out(
    checks: Iterable[Check[T]], case: T, tell: Callable[[Result[T]], None]
) -> list[Result[T]]:
    """All checks in their order; each result is told as it comes."""
    results: dict[str, Result[T]] = {}
    for check in checks:
        cause = next((n for n in check.needs if _is_missing(results[n])), None)
        finding = await _run(check, case) if cause is None else skipped(_because(results[cause]))
        results[check.name] = Result(check, finding)
        tell(results[check.name])
    return list(results.values())


def _is_missing(result: Result[T]) -> bool:
    return result.finding.verdict in (Verdict.FAILED, Verdict.SKIPPED)


def _because(result: Result[T]) -> str:
    """The first cause of all."""
    finding, name = result.finding, result.check.name
    if finding.verdict is Verdict.FAILED:
        return f"{_BECAUSE}{name} failed"
    return finding.sentence if finding.sentence.startswith(_BECAUSE) else f"{_BECAUSE}{name} was skipped"


async def _run(check: Check[T], case: T) -> Finding:
    return _plain(await _found(check, case))


def _plain(finding: Finding) -> Finding:
    """Without what commands a terminal: strangers' words may stand in it."""
    hint = None if finding.hint is None else _printable(finding.hint)
    return Finding(finding.verdict, _printable(finding.sentence), hint)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:MAX_CHARACTERS])


async def _found(check: Check[T], case: T) -> Finding:
    try:
        with trio.fail_after(DEADLINE):
            return await check.run(case)
    except trio.TooSlowError:
        return failed(f"not done within {DEADLINE:g} s", check.remedy)
    except EigenKmsError as error:
        return failed(str(error), error.hint or check.remedy)


def exit_code(results: Iterable[Result[T]]) -> int:
    """What is to be mended here comes first, then what is not in this machine's power, then warnings."""
    found = list(results)
    broken = [r for r in found if r.finding.verdict is Verdict.FAILED]
    if any(not r.check.elsewhere for r in broken):
        return MINE
    if broken:
        return ELSEWHERE
    return MINE if any(r.finding.verdict is Verdict.WARNING for r in found) else HEALTHY
