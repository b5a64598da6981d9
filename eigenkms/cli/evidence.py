"""``eigenkms evidence``: signed frames that prove an operator faulty.

A running node has its database locked, so its evidence is read over the network, from it and from all others: a piece that verifies
does not depend on the operator that showed it. ``--data-dir`` reads the folder of a stopped node.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from eigenkms.cli.support import client_runner
from eigenkms.cli.support.evidence_options import EvidenceChoice, evidence_options, fetch_report
from eigenkms.cli.support.evidence_output import print_report, print_verdicts, report_facts
from eigenkms.cli.support.input_file import InputFile
from eigenkms.cli.support.options import json_option, print_result_fields, settings_options, verb
from eigenkms.cli.support.output import print_note, warn
from eigenkms.cli.support.output_file import OutputFile
from eigenkms.client.armor import EVIDENCE, armor
from eigenkms.config.schema import CHAIN_SETTINGS
from eigenkms.errors import InputError, RemoteProtocolError, VerificationError

if TYPE_CHECKING:
    from eigenkms.client.evidence_verdict import EvidenceVerdict
    from eigenkms.config.settings import Settings

Verb = Callable[..., Any]


@click.group("evidence")
def command() -> None:
    """Show, export and verify proofs of operators' faults."""


# -- list --------------------------------------------------------------------------------------------------------


@verb("list", "eigenkms evidence list --config cluster.toml")
@settings_options(*client_runner.NETWORK_SETTINGS)
@evidence_options
@json_option
def _list(*, settings: "Settings", choice: EvidenceChoice, as_json: bool) -> None:
    """List the evidence that operators hold against others.

    Each piece listed proves its fault, and names the operators and keys that the chain had at its block. With --data-dir no
    password is needed, and keys are not compared with the chain.
    """
    report = fetch_report(settings, choice)
    if as_json:
        print_result_fields(report_facts(report), as_json=True)
    elif report.pieces:
        print_report(report)
    else:
        print_note("no evidence")


# -- export ------------------------------------------------------------------------------------------------------


@verb("export", "eigenkms evidence export --config client.toml --fault equivocation -o evidence.bin")
@click.option("-o", "--output", metavar="FILE", help="Write here instead of to stdout.")
@click.option("-a", "--armor", "armored", is_flag=True, help="Write text instead of binary.")
@settings_options(*client_runner.NETWORK_SETTINGS)
@evidence_options
def _export(*, output: str | None, armored: bool, settings: "Settings", choice: EvidenceChoice) -> None:
    """Write evidence to a file that anyone can verify.

    Only evidence that verifies is written. Exit code 1 if there is none.
    """
    sink = OutputFile(output)
    sink.check(binary=not armored)
    pieces = fetch_report(settings, choice).pieces
    if not pieces:
        raise InputError("export evidence: there is none that fits", hint="nothing was written")
    from eigenkms.protocols.records.evidence_bundle import encode_bundles

    content = encode_bundles(piece.bundle for piece in pieces)
    sink.write(armor(content, EVIDENCE) if armored else content)
    print_note(f"{len(pieces)} {_pieces(len(pieces))} of evidence written to {sink}")


def _pieces(count: int) -> str:
    return "piece" if count == 1 else "pieces"


# -- verify ------------------------------------------------------------------------------------------------------


@verb("verify", "eigenkms evidence verify evidence.bin")
@click.argument("file", required=False, metavar="[FILE]")
@click.option("--online", is_flag=True, help="Compare the operators and their keys with the chain.")
@settings_options(*CHAIN_SETTINGS)
@json_option
def _verify(*, file: str | None, online: bool, settings: "Settings", as_json: bool) -> None:
    """Verify an evidence file, offline.

    Reads FILE or stdin, binary or armored. Exit code 4 if a piece does not hold. A piece proves that the owner of the BN254 key in
    the file broke the protocol. Only the chain knows whether that key is the operator's: use --online to compare.
    """
    chain = client_runner.client_settings(settings) if online else None
    from eigenkms.client.evidence_verdict import assess_piece

    verdicts: Sequence[EvidenceVerdict] = [assess_piece(encoded) for encoded in _read(file)]
    if chain is not None:
        from eigenkms.client.evidence_confirmation import confirm_on_chain

        verdicts = client_runner.run(confirm_on_chain, chain, verdicts)
    print_verdicts(verdicts, online=online, as_json=as_json)
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


command.add_command(_list)
command.add_command(_export)
command.add_command(_verify)
