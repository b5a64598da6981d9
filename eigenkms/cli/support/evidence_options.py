"""The evidence that a verb works on, and its retrieval.

Options say whose evidence it is, against which operators, and of which faults.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eigenkms.cli.support import client_runner
from eigenkms.cli.support.output import warn
from eigenkms.cli.support.progress import Progress
from eigenkms.config import parsers
from eigenkms.errors import InputError, NetworkError
from eigenkms.types import to_hex

if TYPE_CHECKING:
    from eigenkms.client.evidence import EvidenceReport
    from eigenkms.config.settings import Settings
    from eigenkms.protocols.records.evidence_bundle import Bundle
    from eigenkms.types import OperatorAddress

Verb = Callable[..., Any]


@dataclass(frozen=True)
class EvidenceChoice:
    """The source of evidence and the wanted pieces; an empty field does not restrict."""

    operators: tuple["OperatorAddress", ...]
    folder: Path | None
    faults: tuple[str, ...]
    accused: tuple["OperatorAddress", ...]

    def matches(self, bundle: "Bundle") -> bool:
        """Return whether a piece is wanted."""
        evidence = bundle.evidence
        return (not self.faults or evidence.fault.value in self.faults) and (
            not self.accused or evidence.accused in self.accused
        )


def _fault_names(*_: object) -> list[str]:
    from eigenkms.protocols.records.evidence import Fault

    return [fault.value for fault in Fault]


def evidence_options(function: Verb) -> Verb:
    """Declare the options that make an ``EvidenceChoice``, passed on as ``choice``."""

    @wraps(function)
    def wrapped(
        *args: Any,
        operator: tuple[str, ...],
        data_dir: str | None,
        fault: tuple[str, ...],
        accused: tuple[str, ...],
        **kwargs: Any,
    ) -> Any:
        unknown = [name for name in fault if name not in _fault_names()]
        if unknown:
            raise InputError(
                f"read --fault: there is no fault {unknown[0][:40]!r}",
                hint=f"one of {', '.join(_fault_names())}",
            )
        choice = EvidenceChoice(
            _addresses("--operator", operator),
            _folder(data_dir) if data_dir else None,
            fault,
            _addresses("--accused", accused),
        )
        if choice.operators and choice.folder is not None:
            raise InputError("choose evidence: --operator and --data-dir exclude each other")
        return function(*args, choice=choice, **kwargs)

    options = (
        click.option(
            "--operator", multiple=True, metavar="ADDRESS", help="Query this operator only; may be repeated."
        ),
        click.option(
            "--data-dir", metavar="FOLDER", help="Read the data folder of a stopped node; needs no network."
        ),
        click.option(
            "--fault",
            multiple=True,
            metavar="NAME",
            help="Show this kind of fault only; may be repeated.",
            shell_complete=lambda _ctx, _param, text: [n for n in _fault_names() if n.startswith(text)],
        ),
        click.option(
            "--accused",
            multiple=True,
            metavar="ADDRESS",
            help="Show evidence against this operator only; may be repeated.",
        ),
    )
    declared: Verb = wrapped
    for option in reversed(options):
        declared = option(declared)
    return declared


def _folder(text: str) -> Path:
    from eigenkms.config.home_folder import expanded

    try:
        return expanded(text)
    except ValueError as error:
        raise InputError(f"read --data-dir: {error}", hint="write the whole path") from error


def _addresses(flag: str, texts: Iterable[str]) -> tuple["OperatorAddress", ...]:
    from eigenkms.types import OperatorAddress

    try:
        return tuple(OperatorAddress(parsers.address(text)) for text in texts)
    except ValueError as error:
        raise InputError(f"read {flag}: {error}") from error


def fetch_report(settings: "Settings", choice: EvidenceChoice) -> "EvidenceReport":
    """Return the wanted pieces that verify.

    Warns of pieces that do not verify, and of operators whose evidence is missing.
    """
    report = _read_folder(choice.folder) if choice.folder is not None else _ask_network(settings, choice)
    for operator, reason in report.rejected:
        who = f"the folder {choice.folder}" if operator is None else f"operator {to_hex(operator)}"
        warn(f"{who} has evidence that does not verify: {reason}")
    for operator, error in sorted(report.failures.items()):
        warn(f"operator {to_hex(operator)} did not give all its evidence: {error}")
    return replace(report, pieces=tuple(piece for piece in report.pieces if choice.matches(piece.bundle)))


def _ask_network(settings: "Settings", choice: EvidenceChoice) -> "EvidenceReport":
    needed = client_runner.client_settings(settings)
    from eigenkms.client import one_shot

    with Progress("asking the operators") as progress:
        report = client_runner.run(one_shot.fetch_evidence, needed, choice.operators, progress)
    if len(report.failures) == report.asked and not report.pieces:
        reasons = "; ".join(
            f"{to_hex(operator)}: {error}" for operator, error in sorted(report.failures.items())
        )
        raise NetworkError(f"read evidence: no operator gave all it has; {reasons or 'there are none'}")
    return report


def _read_folder(folder: Path) -> "EvidenceReport":
    from eigenkms.client.evidence_folder import read_evidence_folder

    return read_evidence_folder(folder)
