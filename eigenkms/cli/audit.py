"""``eigenkms audit``: what a node released to whom, out of its folder, running or not, and into a file that anyone can verify."""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, Protocol

import click

from eigenkms.cli.support import client_runner
from eigenkms.cli.support.files import InputFile, OutputFile
from eigenkms.cli.support.logs import timestamp
from eigenkms.cli.support.options import json_option, print_facts, verb, with_settings
from eigenkms.cli.support.output import note, print_data, print_result, warn
from eigenkms.config.schema import CHAIN_SETTINGS
from eigenkms.errors import InputError, RemoteProtocolError, VerificationError

if TYPE_CHECKING:
    from eigenkms.config.settings import Settings
    from eigenkms.protocols.records.audit_log import Entry, LogHeader, SignedHead

KEY_BYTES, HASH_BYTES = 128, 32


@click.group("audit")
def command() -> None:
    """Show, export and verify the log of released keys."""


class _Log(Protocol):
    """A release log, from wherever; nothing of it is verified."""

    @property
    def header(self) -> "LogHeader": ...

    @property
    def signed(self) -> "SignedHead": ...

    def entries(self, after: int = ...) -> Iterable[bytes]: ...


@contextmanager
def _opened(file: str | None, settings: "Settings") -> Iterator[_Log]:
    """The log in ``file``, else that of the configured data folder."""
    if file is not None:
        with InputFile(file).open() as reader:
            yield _file(reader.read, file)
        return
    from eigenkms.config.paths import data_dir
    from eigenkms.storage.audit_log import read_releases

    with read_releases(data_dir(settings)) as log:
        yield log


def _file(read: Callable[[int], bytes], name: str) -> _Log:
    from eigenkms.protocols.records.audit_log_file import LogFile

    try:
        return LogFile(read)
    except RemoteProtocolError as error:
        raise InputError(
            f"read {name}: it is no exported release log",
            hint="give a file that eigenkms audit export wrote, or the node's folder with --data-dir",
        ) from error


def _hex(flag: str, text: str, size: int) -> bytes:
    try:
        value = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        value = b""
    if len(value) != size:
        raise InputError(f"read {flag}: {text[:20]!r} is not {size} bytes, {2 * size} hex digits")
    return value


def _log_facts(log: _Log) -> dict[str, Any]:
    header, head = log.header, log.signed.head
    return {
        "operator": "0x" + header.operator.hex(),
        "cluster": header.cluster.hex(),
        "key": header.key.hex(),
        "begun": timestamp(header.begun_ms / 1000),
        "entries": head.number,
        "head": head.hash.hex(),
    }


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
@with_settings("data_dir")
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

    choice = _EntryChoice(
        None if app is None else canonical(app), 0 if since is None else _since(since), last
    )
    with _opened(file, settings) as log:
        wanted = choice.of(log)
        if as_json:
            _print_json(_log_facts(log), wanted)
        else:
            _print_lines(wanted)


@dataclass(frozen=True, slots=True)
class _EntryChoice:
    """The newest ``last`` of the entries of ``app`` since ``not_before`` (unix milliseconds); None: of all, or all of them."""

    app: str | None
    not_before: int
    last: int | None

    def of(self, log: _Log) -> Iterable["Entry"]:
        """Ascending. At most ``last`` are in memory."""
        total = log.signed.head.number
        if self.last is None:
            return filter(self._fits, map(_decoded, log.entries()))
        if self.app is None and not self.not_before:
            return map(_decoded, log.entries(max(0, total - self.last)))
        return deque(filter(self._fits, map(_decoded, log.entries())), maxlen=min(self.last, total))

    def _fits(self, entry: "Entry") -> bool:
        from eigenkms.crypto.app_ids import is_same

        release = entry.release
        return release.time_ms >= self.not_before and (self.app is None or is_same(self.app, release.app_id))


def _decoded(encoded: bytes) -> "Entry":
    from eigenkms.protocols.records.audit_log import BadLogError, decode_entry

    try:
        return decode_entry(encoded)
    except RemoteProtocolError as error:
        raise BadLogError(f"show release log: an entry is damaged ({error})") from error


def _print_json(facts: dict[str, Any], entries: Iterable["Entry"]) -> None:
    """One object, written entry by entry."""
    print_data(json.dumps(facts, indent=2).removesuffix("\n}") + ',\n  "releases": [')
    before = None
    for entry in entries:
        if before is not None:
            print_data(f"    {before},")
        before = json.dumps(_entry_facts(entry))
    print_data("  ]\n}" if before is None else f"    {before}\n  ]\n}}")


def _entry_facts(entry: "Entry") -> dict[str, Any]:
    release = entry.release
    return {
        "number": entry.number,
        "time": timestamp(release.time_ms / 1000),
        "app_id": release.app_id,
        "ciphertext_version": release.ciphertext_version,
        "version": int(release.version),
        "transcript": release.transcript_hash.hex(),
        "method": release.method,
        "evidence": release.evidence_digest and release.evidence_digest.hex(),
        "subject": release.subject and _subject(release.subject),
        "reply_key": release.reply_key_digest.hex(),
    }


def _subject(subject: bytes) -> str:
    return ("0x" if len(subject) == 20 else "sha256:") + subject.hex()


def _print_lines(entries: Iterable["Entry"]) -> None:
    shown = False
    for entry in entries:
        shown = True
        release = entry.release
        print_result(
            f"{entry.number:>8}  {timestamp(release.time_ms / 1000)}  {_plain(release.method):<6}  "
            f"{release.ciphertext_version}  {release.version:>10}  {_plain(release.app_id)}  "
            f"{'-' if release.subject is None else _subject(release.subject)}"
        )
    if not shown:
        note("no release")


def _plain(text: str) -> str:
    """A stranger's text as one word that commands no terminal."""
    return text if text.isprintable() and text and " " not in text and '"' not in text else json.dumps(text)


# -- verify ------------------------------------------------------------------------------------------------------


def _with_key_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Whose log it must be: passed on as ``key`` (128 bytes or None) and ``online``."""

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
@with_settings("data_dir", *CHAIN_SETTINGS)
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
    with _opened(file, settings) as log:
        if key is not None and log.header.key != key:
            raise VerificationError(
                "verify release log: it is signed by another key than --operator-key",
                hint="it is another operator's log, or of another key that it had",
            )
        for _ in _verified(log, noted):
            pass
        facts = _log_facts(log)
        if chain is not None:
            from eigenkms.client.audit_log import check_key_on_chain

            client_runner.run(check_key_on_chain, chain, log.header)
    key_is = "chain" if online else "unchecked" if key is None else "given"
    print_facts({**facts, "key_is": key_is}, as_json=as_json)
    if key_is == "unchecked":
        warn("operator and key are the log's own claim: give --operator-key, or use --online")


def _verified(log: _Log, noted: Iterable[bytes] = ()) -> Iterator[bytes]:
    """The entries, each verified before it is given out; at the end all of it is. Raises ``BadLogError``."""
    from eigenkms.protocols.records.audit_log import LogVerifier

    verifier = LogVerifier(log.header, log.signed, noted)
    for encoded in log.entries():
        verifier.take(encoded)
        yield encoded
    verifier.finish()


# -- export ------------------------------------------------------------------------------------------------------


@verb("export", "eigenkms audit export --config node.toml -o releases.log")
@click.option("-o", "--output", metavar="FILE", help="Write here instead of to stdout.")
@with_settings("data_dir")
def _export(*, output: str | None, settings: "Settings") -> None:
    """Write a node's release log to a file.

    Anyone can verify the file with audit verify FILE. The log is verified first: if it is not as its operator signed it, the exit
    code is 4 and no file is written.
    """
    from eigenkms.protocols.records.audit_log_file import write_log

    sink = OutputFile(output)
    sink.check(binary=True)
    with _opened(None, settings) as log, sink.open() as target:
        for piece in write_log(log.header, log.signed, _verified(log)):
            target.write(piece)
    note(f"{log.signed.head.number} entries, head {log.signed.head.hash.hex()}, written to {sink}")


command.add_command(_show)
command.add_command(_verify)
command.add_command(_export)
