"""``eigenkms audit``: the log of what a node released.

It is read out of the node's folder, running or not, and exported to a file that anyone can verify.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from eigenkms.cli.support import client_runner
from eigenkms.cli.support.audit_entries import EntryFilter, print_entries, print_entries_json
from eigenkms.cli.support.audit_log_source import log_facts, open_log, verified_entries
from eigenkms.cli.support.options import json_option, print_result_fields, settings_options, verb
from eigenkms.cli.support.output import print_note, warn
from eigenkms.cli.support.output_file import OutputFile
from eigenkms.config.schema import CHAIN_SETTINGS
from eigenkms.errors import InputError, VerificationError

if TYPE_CHECKING:
    from eigenkms.config.settings import Settings

KEY_BYTES, HASH_BYTES = 128, 32


@click.group("audit")
def command() -> None:
    """Show, export and verify the log of released keys."""


def _hex(flag: str, text: str, size: int) -> bytes:
    try:
        value = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        value = b""
    if len(value) != size:
        raise InputError(f"read {flag}: {text[:20]!r} is not {size} bytes, {2 * size} hex digits")
    return value


# -- show --------------------------------------------------------------------------------------------------------


def _since(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"read --since: {text[:40]!r} is no time", hint="write 2026-01-31 or 2026-01-31T12:00:00Z"
        ) from error
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1000)


@verb("show", "eigenkms audit show --config node.toml --app-id my-app --since 2026-01-31")
@click.argument("file", required=False, metavar="[FILE]")
@settings_options("data_dir")
@click.option(
    "--app-id", "app", metavar="TEXT", help="Show this application only, in any spelling of its id."
)
@click.option("--since", metavar="TIME", help="Show releases since this date or time (UTC by default).")
@click.option("--last", type=click.IntRange(1), metavar="N", help="Show only the newest N of these.")
@json_option
def _show(
    *,
    file: str | None,
    settings: "Settings",
    app: str | None,
    since: str | None,
    last: int | None,
    as_json: bool,
) -> None:
    """Show the partial signatures that a node released.

    Reads the node's data folder, while the node runs or not, or a FILE of audit export. Prints one line for each release: number,
    time, method, ciphertext version, key version, application, and the evidence. Verifies nothing; use audit verify.
    """
    from eigenkms.crypto.app_ids import canonical

    choice = EntryFilter(None if app is None else canonical(app), 0 if since is None else _since(since), last)
    with open_log(file, settings) as log:
        wanted = choice.select(log)
        if as_json:
            print_entries_json(log_facts(log), wanted)
        else:
            print_entries(wanted)


# -- verify ------------------------------------------------------------------------------------------------------


def _with_key_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Declare the options that say whose log it must be.

    They are passed on as ``key`` (128 bytes or None) and ``online``.
    """

    @wraps(function)
    def wrapped(*args: Any, operator_key: str | None, online: bool, **kwargs: Any) -> Any:
        if operator_key is not None and online:
            raise InputError("verify release log: --operator-key and --online exclude each other")
        key = None if operator_key is None else _hex("--operator-key", operator_key, KEY_BYTES)
        return function(*args, key=key, online=online, **kwargs)

    declared = click.option("--online", is_flag=True, help="Compare operator and key with the chain.")(
        wrapped
    )
    return click.option(
        "--operator-key", metavar="HEX", help="BN254 key (G2, 128 bytes) that the log must be signed by."
    )(declared)


@verb("verify", "eigenkms audit verify --config node.toml --online")
@click.argument("file", required=False, metavar="[FILE]")
@click.option(
    "--head",
    "heads",
    multiple=True,
    metavar="HASH",
    help="A head noted earlier, in the log; may be repeated.",
)
@_with_key_options
@settings_options("data_dir", *CHAIN_SETTINGS)
@json_option
def _verify(
    *,
    file: str | None,
    heads: tuple[str, ...],
    key: bytes | None,
    online: bool,
    settings: "Settings",
    as_json: bool,
) -> None:
    """Verify that a release log is as its operator signed it.

    Reads the node's data folder, while the node runs or not, or a FILE of audit export. Exit code 4 names the first entry that is
    wrong. An older copy of a log verifies too: pass --head with a head noted earlier (eigenkms status --json) to detect one.
    """
    noted = [_hex("--head", text, HASH_BYTES) for text in heads]
    chain = client_runner.client_settings(settings) if online else None
    with open_log(file, settings) as log:
        if key is not None and log.header.key != key:
            raise VerificationError(
                "verify release log: it is signed by another key than --operator-key",
                hint="it is another operator's log, or of another key that it had",
            )
        for _ in verified_entries(log, noted):
            pass
        facts = log_facts(log)
        if chain is not None:
            from eigenkms.client.audit_log_key import check_key_on_chain

            client_runner.run(check_key_on_chain, chain, log.header)
    key_is = "chain" if online else "unchecked" if key is None else "given"
    print_result_fields({**facts, "key_is": key_is}, as_json=as_json)
    if key_is == "unchecked":
        warn("operator and key are the log's own claim: give --operator-key, or use --online")


# -- export ------------------------------------------------------------------------------------------------------


@verb("export", "eigenkms audit export --config node.toml -o releases.log")
@click.option("-o", "--output", metavar="FILE", help="Write here instead of to stdout.")
@settings_options("data_dir")
def _export(*, output: str | None, settings: "Settings") -> None:
    """Write a node's release log to a file.

    Anyone can verify the file with audit verify FILE. The log is verified first: if it is not as its operator signed it, the exit
    code is 4 and no file is written.
    """
    from eigenkms.protocols.records.audit_log_file import write_log

    sink = OutputFile(output)
    sink.check(binary=True)
    with open_log(None, settings) as log, sink.open() as target:
        for piece in write_log(log.header, log.signed, verified_entries(log)):
            target.write(piece)
    print_note(f"{log.signed.head.number} entries, head {log.signed.head.hash.hex()}, written to {sink}")


command.add_command(_show)
command.add_command(_verify)
command.add_command(_export)
