"""The release log that a verb reads.

It is in a node's data folder, or in a file that ``audit export`` wrote.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from eigenkms.cli.support.input_file import InputFile
from eigenkms.cli.support.logs import timestamp
from eigenkms.errors import InputError, RemoteProtocolError
from eigenkms.types import to_hex

if TYPE_CHECKING:
    from eigenkms.config.settings import Settings
    from eigenkms.protocols.records.audit_log import LogHeader, SignedHead


class AuditLogSource(Protocol):
    """A release log, of whatever source; nothing of it is verified."""

    @property
    def header(self) -> "LogHeader": ...

    @property
    def signed(self) -> "SignedHead": ...

    def entries(self, after: int = ...) -> Iterable[bytes]: ...


@contextmanager
def open_log(file: str | None, settings: "Settings") -> Iterator[AuditLogSource]:
    """Open the log in ``file``, or for None that of the configured data folder.

    Raises ``InputError``.
    """
    if file is not None:
        with InputFile(file).open() as reader:
            yield _read_file(reader.read, file)
        return
    from eigenkms.config.paths import data_dir
    from eigenkms.storage.audit_log_store import read_releases

    with read_releases(data_dir(settings)) as log:
        yield log


def _read_file(read: Callable[[int], bytes], name: str) -> AuditLogSource:
    from eigenkms.protocols.records.audit_log_file import LogFile

    try:
        return LogFile(read)
    except RemoteProtocolError as error:
        raise InputError(
            f"read {name}: it is no exported release log",
            hint="give a file that eigenkms audit export wrote, or the node's folder with --data-dir",
        ) from error


def log_facts(log: AuditLogSource) -> dict[str, Any]:
    """Return the facts of the whole log, as ``--json`` has them."""
    header, head = log.header, log.signed.head
    return {
        "operator": to_hex(header.operator),
        "cluster": header.cluster.hex(),
        "key": header.key.hex(),
        "begun": timestamp(header.begun_ms / 1000),
        "entries": head.number,
        "head": head.hash.hex(),
    }


def verified_entries(log: AuditLogSource, noted: Iterable[bytes] = ()) -> Iterator[bytes]:
    """Yield the entries, each verified before; at the end the whole log is.

    ``noted``: heads that must be in the log. Raises ``BadLogError``.
    """
    from eigenkms.protocols.records.audit_log import LogVerifier

    verifier = LogVerifier(log.header, log.signed, noted)
    for encoded in log.entries():
        verifier.take(encoded)
        yield encoded
    verifier.finish()
