"""One SQLite connection whose commits are durable, and whose errors are explained.

Write-ahead log with ``synchronous=FULL``: a commit returns after the log is fsynced.
``locking_mode=EXCLUSIVE`` keeps every other process out, even one that ignores our lock file; a log may be read by others.
``secure_delete`` zeroes deleted data, and temporary tables stay in memory, so no secret gets into a file
that is never cleaned.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

from eigenkms.errors import StorageError
from eigenkms.storage.schema import STORE, Schema
from eigenkms.storage.writer_version import read_release

_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = ON",
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA trusted_schema = OFF",
)
_LOG_TIMEOUT = 5.0
"""Seconds that a log's writer waits for whoever opens it for reading after a crash, and the other way round."""

_RESTORE = "stop the node and look at the disk; eigenkms share repair --reset moves what is broken aside, and deletes nothing"


class DamagedError(StorageError):
    """A database that is no database any more, or lacks what each one has.

    Nothing was changed.
    """

    default_hint = _RESTORE


def _explain(error: sqlite3.Error) -> tuple[str, str | None]:
    """Reason and next step for what SQLite says."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith("SQLITE_FULL"):
        return "the disk is full", "free some disk space and try again; what was stored before is intact"
    if name.startswith("SQLITE_IOERR"):
        return f"input/output error ({name.lower()})", (
            "check the disk's health and free space, then try again; what was stored before is intact"
        )
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return "the database is damaged", _RESTORE
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return "another program has the database open", "close that program and try again"
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_READONLY", "SQLITE_AUTH")):
        return "the file cannot be written", "let the node's user own the data folder and everything in it"
    return str(error).lower(), None


class Database:
    """The connection, its schema and its error messages.

    Not thread-safe by itself: Store holds the lock.
    """

    def __init__(
        self,
        path: Path,
        schema: Schema = STORE,
        *,
        read_only: bool = False,
        content: bytes | None = None,
    ) -> None:
        """Open the file, or a copy in memory of its ``content``."""
        self.path = path
        self._schema = schema
        with self._explained("open database"):
            self._connection = sqlite3.connect(
                path.absolute().as_uri() + f"?mode={'ro' if read_only else 'rwc'}"
                if content is None
                else ":memory:",
                uri=content is None,
                isolation_level=None,
                check_same_thread=False,
                timeout=_LOG_TIMEOUT if schema.is_log else 0,
            )
        try:
            with self._explained("open database"):
                if content:  # SQLite takes none that is empty
                    self._connection.deserialize(content)
                if not schema.is_log:
                    self._connection.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
                self._check_header()
                for pragma in () if read_only or content is not None else _PRAGMAS:
                    self._connection.execute(pragma).fetchall()
        except BaseException:
            self._connection.close()
            raise

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])

    def _check_header(self) -> None:
        version, application = self._pragma("user_version"), self._pragma("application_id")
        if self.is_blank():
            return
        if application != self._schema.application_id:
            raise StorageError(
                f"open database {self.path}: it was not written by eigenkms", hint="give another --data-dir"
            )
        if not 1 <= version <= self._schema.version:
            raise self._other_version(version)
        if self._schema.is_log:
            return
        rows = self._connection.execute("PRAGMA quick_check(1)").fetchall()
        if rows != [("ok",)]:
            raise DamagedError(f"open database {self.path}: the database is damaged")

    def _other_version(self, version: int) -> StorageError:
        kind = "a newer" if version > self._schema.version else "an older"
        release = read_release(self.path.parent)
        return StorageError(
            f"open database {self.path}: it was written by {kind} eigenkms (schema {version}, "
            f"this one knows {self._schema.version})"
            + (f"; the folder was last opened by release {release}" if release else ""),
            hint="install the eigenkms that wrote it, or a newer one; nothing was changed"
            if version > self._schema.version
            else "no release of eigenkms has written this schema; look at the disk; nothing was changed",
        )

    @property
    def is_old(self) -> bool:
        """Return whether it has to be migrated before it is used."""
        return self._pragma("user_version") < self._schema.version

    def is_blank(self) -> bool:
        """Return whether nothing was ever created in it."""
        return self.one("SELECT count(*) FROM sqlite_master")[0] == 0 and self._pragma("user_version") == 0

    def create_tables(self) -> None:
        """Inside a transaction, so a crash leaves either all of them or none."""
        self._run_all(self._schema.tables)
        self.execute(f"PRAGMA application_id = {self._schema.application_id}")
        self.execute("PRAGMA user_version = 1")
        self.migrate()

    def migrate(self) -> None:
        """Take the steps from the version that it has to that of the schema.

        Inside a transaction, so a crash leaves either version. The number of the version lies in the database's first page: it
        changes with the tables.
        """
        for step in self._schema.steps[self._pragma("user_version") - 1 :]:
            self._run_all(step)
        self.execute(f"PRAGMA user_version = {self._schema.version}")

    def _run_all(self, statements: Sequence[str]) -> None:
        for statement in statements:
            self.execute(dedent(statement).strip())

    @contextmanager
    def _explained(self, action: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            reason, hint = _explain(error)
            kind = DamagedError if hint == _RESTORE else StorageError
            raise kind(f"{action} {self.path}: {reason}", hint=hint) from error

    @contextmanager
    def reading(self, action: str) -> Iterator[None]:
        """Name ``action`` in errors of the block."""
        with self._explained(action):
            yield

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Read one moment's state inside the block."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    @contextmanager
    def transaction(self, action: str) -> Iterator[None]:
        """Commit the block durably as a whole, or raise StorageError and change nothing."""
        with self._explained(action):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def execute(self, sql: str, *values: Any) -> int:
        """Run one statement; the number of rows that it changed."""
        return self._connection.execute(sql, values).rowcount

    def all(self, sql: str, *values: Any) -> list[Any]:
        return self._connection.execute(sql, values).fetchall()

    def one(self, sql: str, *values: Any) -> Any:
        """Return the first row, or None."""
        return self._connection.execute(sql, values).fetchone()

    def truncate_log(self, action: str) -> None:
        """Move the write-ahead log, with its older page images, into the database.

        The log is cut to nothing. Raises ``StorageError``, also if another program reads the database.
        """
        with self._explained(action):
            busy, _, _ = self.one("PRAGMA wal_checkpoint(TRUNCATE)")
        if busy:
            raise StorageError(f"{action} {self.path}: another program reads the database", hint="close it")

    def close(self) -> None:
        with self._explained("close database"):
            self._connection.close()
