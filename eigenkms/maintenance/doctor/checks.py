"""Checks of the doctor: findings, order and exit code.

A check returns a finding. A check that raises ``EigenKmsError`` has failed. If a check needs one that failed or was skipped, it is
skipped too, and its finding names the first cause. One fault therefore has one finding.
"""

import stat
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, TypeVar

import trio

from eigenkms.errors import EigenKmsError

DEADLINE: Final = 30.0
MAX_CHARACTERS: Final = 4000
OTHERS_PERMISSIONS: Final = stat.S_IRWXG | stat.S_IRWXO
"""Permissions of a file for users that are not its owner."""
_BECAUSE: Final = "because "
HEALTHY, LOCAL, EXTERNAL = 0, 1, 2
"""Exit codes: no fault, a fault or a warning on this machine, and a fault of the RPC or of the network."""


class Verdict(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict of one check, a sentence on it, and the next step if there is one."""

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
    """One check. ``question`` and ``remedy`` appear in docs/troubleshooting.md.

    ``needs`` names earlier checks. A failure of an ``external`` check is a fault of another machine.
    """

    name: str
    question: str
    remedy: str
    run: Callable[[T], Awaitable[Finding]]
    needs: tuple[str, ...] = ()
    external: bool = False


@dataclass(frozen=True, slots=True)
class Result(Generic[T]):
    check: Check[T]
    finding: Finding


async def run_checks(
    checks: Iterable[Check[T]], case: T, tell: Callable[[Result[T]], None]
) -> list[Result[T]]:
    """Run all checks in their order, and report each result through ``tell``."""
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
    """Return the reason for skipping, which names the first cause."""
    finding, name = result.finding, result.check.name
    if finding.verdict is Verdict.FAILED:
        return f"{_BECAUSE}{name} failed"
    return finding.sentence if finding.sentence.startswith(_BECAUSE) else f"{_BECAUSE}{name} was skipped"


async def _run(check: Check[T], case: T) -> Finding:
    return _plain(await _found(check, case))


def _plain(finding: Finding) -> Finding:
    """Remove terminal control characters, since other operators' texts may be quoted."""
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
    """Return the exit code.

    A local failure wins over an external one, and that over a warning.
    """
    found = list(results)
    broken = [r for r in found if r.finding.verdict is Verdict.FAILED]
    if any(not r.check.external for r in broken):
        return LOCAL
    if broken:
        return EXTERNAL
    return LOCAL if any(r.finding.verdict is Verdict.WARNING for r in found) else HEALTHY
