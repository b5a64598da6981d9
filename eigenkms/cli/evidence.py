"""``eigenkms evidence``: signed frames that prove an operator faulty, out of the network and into a file that anyone can check.

A running node has its database locked, so its evidence is read over the network, from it and from all others: a piece that
verifies does not depend on who showed it. ``--data-dir`` reads the folder of a node that does not run.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eigenkms.cli.support import client_runner
from eigenkms.cli.support.files import InputFile, OutputFile
from eigenkms.cli.support.options import json_option, print_facts, verb, with_settings
from eigenkms.cli.support.output import note, print_result, warn
from eigenkms.cli.support.progress import Progress
from eigenkms.cli.support.tables import print_table
from eigenkms.client.armor import EVIDENCE, armor
from eigenkms.config import parsers
from eigenkms.config.schema import CHAIN_SETTINGS
from eigenkms.errors import InputError, NetworkError, RemoteProtocolError, VerificationError

if TYPE_CHECKING:
    from eigenkms.config.settings import Settings
    from eigenkms.protocols.records.evidence_bundle import Bundle
    from eigenkms.types import OperatorAddress

Verb = Callable[..., Any]


@click.group("evidence")
def command() -> None:
    """Show, export and verify proofs of operators' faults."""


# -- which evidence ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _EvidenceChoice:
    """Where evidence is read and which of it is wanted; empty means all."""

    operators: tuple["OperatorAddress", ...]
    folder: Path | None
    faults: tuple[str, ...]
    accused: tuple["OperatorAddress", ...]

    def wants(self, bundle: "Bundle") -> bool:
        evidence = bundle.evidence
        return (not self.faults or evidence.fault.value in self.faults) and (
            not self.accused or evidence.accused in self.accused
        )


@dataclass
class _Found:
    """One piece: who showed it, or when this folder's node noticed it (unix seconds)."""

    bundle: "Bundle"
    holders: tuple["OperatorAddress", ...] = ()
    noticed: int | None = None


@dataclass
class _Gathered:
    """``rejected`` are (operator, or nobody for a folder; what does not verify); ``silent`` (operator, why)."""

    pieces: list[_Found]
    rejected: list[tuple["OperatorAddress | None", str]] = field(default_factory=list)
    silent: dict["OperatorAddress", str] = field(default_factory=dict)
    asked: int = 0


def _fault_names(*_: object) -> list[str]:
    from eigenkms.protocols.records.evidence import Fault

    return [fault.value for fault in Fault]


def _chosen(function: Verb) -> Verb:
    """The options that make a ``_EvidenceChoice``, passed on as ``choice``."""

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
        choice = _EvidenceChoice(
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


def _gather(settings: "Settings", choice: _EvidenceChoice) -> _Gathered:
    """What is wanted and verifies, in one order; warns of what does not, and of who did not answer."""
    gathered = _from_folder(choice.folder) if choice.folder is not None else _from_network(settings, choice)
    gathered.pieces = [piece for piece in gathered.pieces if choice.wants(piece.bundle)]
    for operator, reason in gathered.rejected:
        who = f"the folder {choice.folder}" if operator is None else f"operator 0x{operator.hex()}"
        warn(f"{who} has evidence that does not verify: {reason}")
    for operator, reason in gathered.silent.items():
        warn(f"operator 0x{operator.hex()} did not give all its evidence: {reason}")
    return gathered


def _from_network(settings: "Settings", choice: _EvidenceChoice) -> _Gathered:
    needed = client_runner.client_settings(settings)
    from eigenkms.client import api

    with Progress("asking the operators") as progress:
        findings = client_runner.run(api.fetch_evidence, needed, choice.operators, progress)
    silent = {operator: str(error) for operator, error in sorted(findings.failures.items())}
    if len(silent) == findings.asked and not findings.pieces:
        reasons = "; ".join(f"0x{operator.hex()}: {reason}" for operator, reason in silent.items())
        raise NetworkError(f"read evidence: no operator gave all it has; {reasons or 'there are none'}")
    pieces = [_Found(piece.bundle, piece.holders) for piece in findings.pieces]
    return _Gathered(pieces, list(findings.rejected), silent, findings.asked)


def _from_folder(folder: Path) -> _Gathered:
    from eigenkms.client.evidence import in_order, read_and_check
    from eigenkms.storage.queries import read_evidence

    found: dict[object, _Found] = {}
    gathered = _Gathered([])
    for row in read_evidence(folder):
        try:
            bundle = read_and_check(row.bundle)
        except VerificationError as error:
            gathered.rejected.append((None, str(error)))
        else:
            found.setdefault(bundle.name, _Found(bundle, noticed=row.noticed))
    gathered.pieces = sorted(found.values(), key=lambda piece: in_order(piece.bundle))
    return gathered


# -- list --------------------------------------------------------------------------------------------------------


@verb("list", "eigenkms evidence list --environment sepolia --rpc-url https://rpc.example.org")
@with_settings(*client_runner.NETWORK_SETTINGS)
@_chosen
@json_option
def _list(*, settings: "Settings", choice: _EvidenceChoice, as_json: bool) -> None:
    """List the evidence that operators hold against others.

    Each piece listed proves its fault, and names the operators and keys that the chain had at its block. With --data-dir no
    password is needed, and keys are not compared with the chain.
    """
    gathered = _gather(settings, choice)
    if as_json:
        print_facts(_list_facts(gathered), as_json=True)
    elif gathered.pieces:
        _print_table(gathered)
    else:
        note("no evidence")


def _list_facts(gathered: _Gathered) -> dict[str, Any]:
    pieces = [
        {
            **_facts(piece.bundle),
            "noticed_by": [_hex(holder) for holder in piece.holders],
            "noticed": piece.noticed,
        }
        for piece in gathered.pieces
    ]
    rejected = [{"operator": o and _hex(o), "reason": reason} for o, reason in gathered.rejected]
    silent = {_hex(operator): reason for operator, reason in gathered.silent.items()}
    return {"evidence": pieces, "rejected": rejected, "silent": silent}


def _hex(value: bytes) -> str:
    return "0x" + value.hex()


def _facts(bundle: "Bundle") -> dict[str, Any]:
    evidence, boundary = bundle.evidence, bundle.session.boundary
    return {
        "fault": evidence.fault.value,
        "accused": _hex(evidence.accused),
        "block": boundary.number,
        "block_hash": _hex(boundary.hash),
        "version": int(bundle.session.version),
        "session": evidence.session.hex(),
        "cluster": bundle.session.cluster.hex(),
    }


def _print_table(gathered: _Gathered) -> None:
    columns = ("fault", "accused", "block", "version", "session", "noticed by")
    print_table(columns, (_cells(piece, gathered.asked) for piece in gathered.pieces))


def _cells(piece: _Found, asked: int) -> list[str]:
    facts = _facts(piece.bundle)
    words = [str(facts[name]) for name in ("fault", "accused", "block", "version")]
    return [*words, facts["session"][:16], _noticed_by(piece, asked)]


def _noticed_by(piece: _Found, asked: int) -> str:
    if piece.noticed is None:
        return f"{len(piece.holders)} of {asked} operators"
    from datetime import UTC, datetime

    return f"this node, {datetime.fromtimestamp(piece.noticed, UTC):%Y-%m-%dT%H:%M:%SZ}"


# -- export ------------------------------------------------------------------------------------------------------


@verb("export", "eigenkms evidence export --config client.toml --fault equivocation -o evidence.bin")
@click.option("-o", "--output", metavar="FILE", help="Write here instead of to stdout.")
@click.option("-a", "--armor", "armored", is_flag=True, help="Write text instead of binary.")
@with_settings(*client_runner.NETWORK_SETTINGS)
@_chosen
def _export(*, output: str | None, armored: bool, settings: "Settings", choice: _EvidenceChoice) -> None:
    """Write evidence to a file that anyone can verify.

    Only evidence that verifies is written. Exit code 1 if there is none.
    """
    sink = OutputFile(output)
    sink.check(binary=not armored)
    pieces = _gather(settings, choice).pieces
    if not pieces:
        raise InputError("export evidence: there is none that fits", hint="nothing was written")
    from eigenkms.protocols.records.evidence_bundle import encode_bundles

    content = encode_bundles(piece.bundle for piece in pieces)
    sink.write(armor(content, EVIDENCE) if armored else content)
    note(f"{len(pieces)} {_pieces(len(pieces))} of evidence written to {sink}")


def _pieces(count: int) -> str:
    return "piece" if count == 1 else "pieces"


# -- verify ------------------------------------------------------------------------------------------------------


@dataclass
class _EvidenceVerdict:
    """``bundle`` is missing where the bytes are none; ``reason`` where it does not hold."""

    bundle: "Bundle | None"
    reason: str | None


@verb("verify", "eigenkms evidence verify evidence.bin")
@click.argument("file", required=False, metavar="[FILE]")
@click.option("--online", is_flag=True, help="Compare the operators and their keys with the chain.")
@with_settings(*CHAIN_SETTINGS)
@json_option
def _verify(*, file: str | None, online: bool, settings: "Settings", as_json: bool) -> None:
    """Verify an evidence file, offline.

    Reads FILE or stdin, binary or armored. Exit code 4 if a piece does not hold. A piece proves that the owner of the BN254 key in
    the file broke the protocol. Only the chain knows whether that key is the operator's: use --online to compare.
    """
    chain = client_runner.client_settings(settings) if online else None
    verdicts = [_judge(encoded) for encoded in _read(file)]
    if chain is not None:
        from eigenkms.client.evidence import compare_with_chain

        held = [verdict for verdict in verdicts if verdict.reason is None]
        found = client_runner.run(compare_with_chain, chain, [verdict.bundle for verdict in held])
        for verdict, error in zip(held, found, strict=True):
            verdict.reason = None if error is None else str(error)
    _print_verdicts(verdicts, online=online, as_json=as_json)
    if not online:
        warn(
            "the operators' keys are the file's own claim: compare them with the chain at each block, or use --online"
        )
    failed = sum(verdict.reason is not None for verdict in verdicts)
    if failed:
        raise VerificationError(
            f"verify evidence: {failed} of {len(verdicts)} {_pieces(len(verdicts))} do not hold",
            hint="accuse nobody with what does not hold; export it anew",
        )


def _read(file: str | None) -> Sequence[bytes]:
    from eigenkms.protocols.records.evidence_bundle import decode_bundles

    source = InputFile(file)
    try:
        found = decode_bundles(source.read_unarmored(EVIDENCE))
    except RemoteProtocolError as error:
        raise InputError(
            f"read evidence from {source}: it is no list of evidence",
            hint="give a file that eigenkms evidence export wrote",
        ) from error
    if not found:
        raise InputError(f"read evidence from {source}: the list is empty")
    return found


def _judge(encoded: bytes) -> _EvidenceVerdict:
    from eigenkms.protocols.records.evidence_bundle import check_bundle, decode_bundle

    try:
        bundle = decode_bundle(encoded)
    except RemoteProtocolError as error:
        return _EvidenceVerdict(None, str(error))
    try:
        check_bundle(bundle)
    except VerificationError as error:
        return _EvidenceVerdict(bundle, str(error))
    return _EvidenceVerdict(bundle, None)


def _print_verdicts(verdicts: Sequence[_EvidenceVerdict], *, online: bool, as_json: bool) -> None:
    facts = [_verdict_facts(verdict) for verdict in verdicts]
    if as_json:
        print_facts({"online": online, "evidence": facts}, as_json=True)
        return
    for number, piece in enumerate(facts):
        if number:
            print_result("")
        print_facts(_for_people(piece, online=online), as_json=False)


def _for_people(piece: Mapping[str, Any], *, online: bool) -> dict[str, Any]:
    shown = {name: value for name, value in piece.items() if value is not None and name != "operators"}
    if piece["source"] is not None:
        source = piece["source"]
        shown["source"] = f"version {source['version']}, block {source['block']} {source['block_hash']}"
    if piece["operators"] is not None:
        where = "the chain's at that block" if online and piece["holds"] else "not compared with the chain"
        shown["operators"] = f"{len(piece['operators'])}, {where}"
    return shown


_NOTHING: Mapping[str, None] = dict.fromkeys(
    (
        "fault",
        "accused",
        "block",
        "block_hash",
        "version",
        "session",
        "cluster",
        "frames",
        "operators",
        "source",
    )
)


def _verdict_facts(verdict: _EvidenceVerdict) -> dict[str, Any]:
    facts: dict[str, Any] = {"holds": verdict.reason is None, "reason": verdict.reason}
    bundle = verdict.bundle
    if bundle is None:
        return {**facts, **_NOTHING}
    frames = [f"{frame.kind.name} by {_hex(frame.sender)}" for frame in bundle.evidence.frames]
    operators = [f"{_hex(m.address)} {_hex(m.key)}" for m in bundle.session.recipients]
    return {
        **facts,
        **_facts(bundle),
        "frames": frames,
        "operators": operators,
        "source": _source_facts(bundle),
    }


def _source_facts(bundle: "Bundle") -> dict[str, Any] | None:
    transcript = bundle.evidence.source
    if transcript is None:
        return None
    return {
        "version": int(transcript.version),
        "block": transcript.boundary.number,
        "block_hash": _hex(transcript.boundary.hash),
        "transcript_hash": transcript.hash.hex(),
        "operators": [f"{_hex(m.address)} {_hex(m.key)}" for m in transcript.recipients],
    }


command.add_command(_list)
command.add_command(_export)
command.add_command(_verify)
