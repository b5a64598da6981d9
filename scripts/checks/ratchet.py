"""Findings of a check, and the stored numbers that they may not exceed.

A check yields findings. ``ratchet.json`` holds, for each check, how many findings of each rule each package has. The gate
fails if a number differs from the stored one. A higher number is new debt. A lower one is progress, which ``--lower``
stores, so that it is held from then on. A number that is not stored is zero.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
STORED: Final = Path(__file__).with_name("ratchet.json")

Numbers = dict[str, dict[str, int]]
"""How many findings each package has, by rule."""


@dataclass(frozen=True, order=True)
class Finding:
    """One place that breaks one rule."""

    path: Path
    line: int
    rule: str
    problem: str

    @property
    def package(self) -> str:
        """The first two folders of the path, such as ``eigenkms/chain``."""
        return "/".join(self.path.parent.parts[:2])

    def __str__(self) -> str:
        """Return the finding as ``file:line: rule: problem``."""
        return f"{self.path}:{self.line}: {self.rule}: {self.problem}"


def count(findings: Iterable[Finding]) -> Numbers:
    """Count ``findings`` by package and rule."""
    pairs = sorted(Counter((each.package, each.rule) for each in findings).items())
    packages = dict.fromkeys(package for (package, _), _ in pairs)
    return {name: {rule: number for (package, rule), number in pairs if package == name} for name in packages}


def differences(now: Numbers, stored: Numbers) -> list[tuple[str, str, int, int]]:
    """List package, rule, number and stored number wherever the numbers differ."""
    keys = {(package, rule) for numbers in (now, stored) for package in numbers for rule in numbers[package]}
    found = ((*key, _number(now, *key), _number(stored, *key)) for key in sorted(keys))
    return [each for each in found if each[2] != each[3]]


def _number(numbers: Numbers, package: str, rule: str) -> int:
    return numbers.get(package, {}).get(rule, 0)


def stored_numbers(check: str) -> Numbers | None:
    """Read the stored numbers of ``check``, or None if it has none yet."""
    numbers: Numbers | None = json.loads(STORED.read_text()).get(check)
    return numbers


def store(check: str, numbers: Numbers) -> None:
    """Write the numbers of ``check`` and keep those of the other checks."""
    kept = json.loads(STORED.read_text())
    STORED.write_text(json.dumps(kept | {check: numbers}, indent=2, sort_keys=True) + "\n")


def _compare(check: str, findings: Sequence[Finding]) -> int:
    """Compare the findings with the stored numbers; return the exit code."""
    changes = differences(count(findings), stored_numbers(check) or {})
    risen = {(package, rule) for package, rule, now, before in changes if now > before}
    _print(each for each in findings if (each.package, each.rule) in risen)
    for package, rule, now, before in changes:
        print(f"{package}: {rule}: {now}, stored {before}")
    if changes and not risen:
        print(f"hint: run scripts/{check}-check --lower and commit scripts/checks/ratchet.json")
    return bool(changes)


def _lower(check: str, findings: Sequence[Finding]) -> int:
    """Store the numbers of the findings unless one has risen; return the exit code."""
    numbers, before = count(findings), stored_numbers(check)
    if before is not None and any(now > then for _, _, now, then in differences(numbers, before)):
        return _compare(check, findings)
    store(check, numbers)
    return 0


def _print(lines: Iterable[object]) -> None:
    for line in lines:
        print(line)


def run(check: str, theory: str | None, find: Callable[[list[Path]], Iterable[Finding]]) -> int:
    """Run ``check`` on the command line's paths; return the exit code."""
    parser = argparse.ArgumentParser(
        prog=f"scripts/{check}-check", description=(theory or "").splitlines()[0]
    )
    parser.add_argument(
        "paths", nargs="*", type=Path, help="files and folders from the root (default: eigenkms)"
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--gate", action="store_true", help="compare the numbers with the stored ones")
    mode.add_argument("--lower", action="store_true", help="store the numbers, none of which may have risen")
    arguments = parser.parse_args()
    if arguments.paths and (arguments.gate or arguments.lower):
        parser.error("the stored numbers are those of eigenkms: give no path")
    findings = sorted(find(arguments.paths or [Path("eigenkms")]))
    if arguments.gate or arguments.lower:
        return (_compare if arguments.gate else _lower)(check, findings)
    _print(findings)
    return bool(findings)
