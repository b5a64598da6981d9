"""The audit log on disk, to which entries are only ever added.

Each addition is durable, with the signed head, before it returns. The log is a file of its own, without secrets. Other
processes may read it while the node runs, and see whole additions. It is read in pages, and never as a whole, neither at the
node's start nor when it is verified.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, Self

from eigenkms.errors import StorageError
from eigenkms.protocols.records.audit_log import (
    BadLogError,
    IssuedSignature,
    LogHead,
    LogHeader,
    SignedHead,
    check_signature,
    decode_entry,
    decode_head,
    decode_header,
    extend,
)
from eigenkms.storage.data_dir import make_file
from eigenkms.storage.database import Database
from eigenkms.storage.schema import RELEASES
from eigenkms.wire.codec import MalformedError

RELEASES_NAME: Final = "releases.db"
_PAGE: Final = 512
"""Entries that are read at once, at most a megabyte."""
_BEFORE_ALL: Final = -(2**63)
"""Also of what somebody put before entry 1."""
KEEP_HINT: Final = (
    "stop the node, keep this file as evidence, and move it out of the folder; then a new log begins"
)

Signer = Callable[[LogHead], SignedHead]


class AuditLog:
    """The log of one node, being written.

    Blocking, one call at a time; ``head`` may be read by anyone meanwhile.
    """

    def __init__(self, database: Database, header: LogHeader, head: LogHead) -> None:
        self._database = database
        self.header = header
        self.head = head

    @classmethod
    def open(cls, folder: Path, header: LogHeader, sign: Signer) -> Self:
        """Continue the log in ``folder``, or begin it with ``header``.

        Raises ``StorageError``, also where the log is another operator's or its end is not what was signed.
        """
        path = make_file(folder, RELEASES_NAME)
        database = Database(path, RELEASES)
        try:
            if database.is_blank():
                _begin(database, header, sign(LogHead(0, header.hash)))
            with database.reading("read release log"):
                return cls(database, *_read_end(database, header))
        except BadLogError as error:
            database.close()
            raise StorageError(f"continue {path}: {error}", hint=KEEP_HINT) from error
        except BaseException:
            database.close()
            raise

    def append(self, releases: Sequence[IssuedSignature], sign: Signer) -> None:
        """Add them all and sign the new head, durably, or none of them.

        Raises ``StorageError`` if the disk refuses.
        """
        entries = extend(self.head, releases)
        head = LogHead(entries[-1].number, entries[-1].hash)
        signed = sign(head)
        with self._database.transaction("write release log"):
            for entry in entries:
                self._database.execute("INSERT INTO entries VALUES (?, ?)", entry.number, entry.encoded)
            self._database.execute("UPDATE log SET head = ?", signed.encoded)
        self.head = head

    def close(self) -> None:
        self._database.close()


def _begin(database: Database, header: LogHeader, signed: SignedHead) -> None:
    with database.transaction("create database"):
        database.create_tables()
        database.execute("INSERT INTO log VALUES (1, ?, ?)", header.encoded, signed.encoded)


def _read_log(database: Database) -> tuple[LogHeader, SignedHead]:
    row = database.one("SELECT header, head FROM log")
    if row is None:
        raise BadLogError("verify release log: it has neither header nor head")
    try:
        return decode_header(row[0]), decode_head(row[1])
    except MalformedError as error:
        raise BadLogError(f"verify release log: header or head is damaged ({error})") from error


def _read_end(database: Database, mine: LogHeader) -> tuple[LogHeader, LogHead]:
    """Return header and head of this operator's log.

    Raises ``BadLogError`` unless the log is this operator's and ends as it signed. Entries are added only to such an end.
    """
    header, signed = _read_log(database)
    if (header.cluster, header.operator, header.key) != (mine.cluster, mine.operator, mine.key):
        raise BadLogError("verify release log: it is of another cluster, operator or key")
    check_signature(header, signed)
    if _last(database, header) != signed.head:
        raise BadLogError("verify release log: the last entry is not the one that was signed")
    return header, signed.head


def check_end(folder: Path, mine: LogHeader) -> None:
    """Raise ``BadLogError`` unless the log in ``folder`` can be continued.

    ``AuditLog.open`` makes the same checks. The folder is not changed.
    """
    path = folder / RELEASES_NAME
    if not path.is_file() or not path.stat().st_size:
        return
    with (
        closing(Database(path, RELEASES, read_only=True)) as database,
        database.reading("read release log"),
        database.snapshot(),
    ):
        if not database.is_blank():
            _read_end(database, mine)


def _last(database: Database, header: LogHeader) -> LogHead | None:
    """Return the head that follows from the last entry, or None."""
    row = database.one("SELECT number, entry FROM entries ORDER BY number DESC LIMIT 1")
    if row is None:
        return LogHead(0, header.hash)
    try:
        return LogHead(row[0], decode_entry(row[1]).hash)
    except MalformedError:
        return None


class AuditLogReader:
    """A log as it was when it was opened, without entries that are added later."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.reading("read release log"), database.snapshot():
            self.header, self.signed = _read_log(database)
            self._last = int(database.one("SELECT coalesce(max(number), 0) FROM entries")[0])

    def entries(self, after: int = _BEFORE_ALL) -> Iterator[bytes]:
        """Yield encoded entries above ``after`` in the order of their numbers.

        They are not verified.
        """
        while page := self._page(after):
            for number, entry in page:
                yield entry
                after = number

    def _page(self, after: int) -> list[tuple[int, bytes]]:
        with self._database.reading("read release log"):
            return self._database.all(
                "SELECT number, entry FROM entries WHERE number > ? AND number <= ? ORDER BY number LIMIT ?",
                after,
                self._last,
                _PAGE,
            )


@contextmanager
def read_releases(folder: Path) -> Iterator[AuditLogReader]:
    """Open the log in ``folder`` for reading, while its node runs or not.

    The folder is not changed. Raises ``StorageError`` if there is no log, and ``BadLogError`` if it does not name its operator.
    """
    path = folder / RELEASES_NAME
    if not path.is_file():
        raise StorageError(
            f"read release log in {folder}: there is no {RELEASES_NAME}", hint="give a node's data folder"
        )
    with closing(Database(path, RELEASES, read_only=True)) as database:
        if database.is_blank():
            raise StorageError(
                f"read release log in {folder}: nothing was ever written", hint="start the node"
            )
        yield AuditLogReader(database)
