"""The journals of ceremony sessions: records in order, some of them secret.

Secret records are sealed under a key of their session. To destroy that key is to destroy them, wherever a copy of the
database lies.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from eigenkms.errors import StorageError
from eigenkms.storage.rows import Record, SessionHeader
from eigenkms.storage.store_connection import StoreConnection
from eigenkms.storage.vault import Owner
from eigenkms.types import SessionId

_RECORD: Final = b"eigenkms/record/1"


def _record_purpose(position: int, kind: str) -> bytes:
    return _RECORD + position.to_bytes(8, "big") + len(kind.encode()).to_bytes(2, "big") + kind.encode()


class SessionJournal(StoreConnection):
    """Sessions that were opened, and their records."""

    def open_session(self, session: SessionId, block_number: int, header: bytes) -> None:
        """Begin the journal of ``session`` (32 bytes) at ``block_number``.

        To open the same again is no error.
        """
        with self._writing("open session in"):
            known = self._database.one("SELECT block_number, header FROM sessions WHERE session = ?", session)
            if known == (block_number, header):
                return
            if known is not None:
                raise StorageError(
                    f"open session {session.hex()}: it is already open with another block or header"
                )
            self._database.execute(
                "INSERT INTO sessions (session, block_number, header, opened) VALUES (?, ?, ?, ?)",
                session,
                block_number,
                header,
                int(time.time()),
            )
            self._vault.add_key(Owner.SESSION, session)

    def append(self, session: SessionId, records: Sequence[Record]) -> None:
        """Append ``records`` in one transaction: all or none, durable on return."""
        with self._writing("append to the journal in"):
            known = self._database.one("SELECT shredded FROM sessions WHERE session = ?", session)
            if known is None:
                raise StorageError(f"append to session {session.hex()}: it was never opened")
            if known[0] and any(r.secret for r in records):
                raise StorageError(f"append a secret to session {session.hex()}: its key was destroyed")
            (position,) = self._database.one(
                "SELECT coalesce(max(position) + 1, 0) FROM records WHERE session = ?", session
            )
            for offset, record in enumerate(records):
                self._insert(session, position + offset, record)

    def _insert(self, session: SessionId, position: int, record: Record) -> None:
        body = record.body
        if record.secret:
            body = self._vault.seal(Owner.SESSION, session, body, _record_purpose(position, record.kind))
        self._database.execute(
            "INSERT INTO records (session, position, kind, secret, body) VALUES (?, ?, ?, ?, ?)",
            session,
            position,
            record.kind,
            int(record.secret),
            body,
        )

    def records(self, session: SessionId) -> tuple[Record, ...]:
        """Return the journal in order, of a shredded session its public records.

        Empty for an unknown session.
        """
        with self._reading("read the journal in"):
            rows = self._database.all(
                "SELECT position, kind, secret, body FROM records WHERE session = ? ORDER BY position",
                session,
            )
            return tuple(self._record(session, *row) for row in rows)

    def _record(self, session: SessionId, position: int, kind: str, secret: int, body: bytes) -> Record:
        if secret:
            body = self._vault.unseal(Owner.SESSION, session, body, _record_purpose(position, kind))
        return Record(kind, body, bool(secret))

    def sessions(self) -> tuple[SessionHeader, ...]:
        """Return all sessions that were opened, in that order."""
        return self._sessions("ORDER BY rowid")

    def sessions_at(self, block_number: int) -> tuple[SessionHeader, ...]:
        """Return the sessions at a boundary number, several after a reorganisation."""
        return self._sessions("WHERE block_number = ? ORDER BY rowid", block_number)

    def _sessions(self, where: str, *values: Any) -> tuple[SessionHeader, ...]:
        sql = f"SELECT session, block_number, header, opened, shredded FROM sessions {where}"  # noqa: S608
        with self._reading("read sessions in"):
            return tuple(
                SessionHeader(SessionId(session), number, header, opened, bool(shredded))
                for session, number, header, opened, shredded in self._database.all(sql, *values)
            )

    def shred_session(self, session: SessionId) -> None:
        """Destroy the session's key and its sealed records; public records stay.

        Again is no error.
        """
        with self._destroying("destroy the key of a session in", session):
            self._database.execute("DELETE FROM records WHERE session = ? AND secret = 1", session)
            self._database.execute("UPDATE sessions SET shredded = 1 WHERE session = ?", session)

    def destroy_secrets(self, session: SessionId) -> None:
        """Destroy the session's key and its sealed records; the journal stays open.

        Again is no error.
        """
        with self._destroying("destroy the key of a session in", session):
            self._database.execute("DELETE FROM records WHERE session = ? AND secret = 1", session)

    def drop_session(self, session: SessionId) -> None:
        """Destroy the session's key and drop its whole journal; its header stays.

        Again is no error.
        """
        with self._destroying("drop the journal of a session in", session):
            self._database.execute("DELETE FROM records WHERE session = ?", session)
            self._database.execute("UPDATE sessions SET shredded = 1 WHERE session = ?", session)

    @contextmanager
    def _destroying(self, action: str, session: SessionId) -> Iterator[None]:
        """Destroy the session's key in the transaction of the block, then cut the log."""
        with self._writing(action):
            yield
            self._vault.destroy_key(Owner.SESSION, session)
        self._truncate_log(action)

    def forget_sessions(self, below: int) -> int:
        """Drop shredded sessions and the numbers of erased keys below a block number.

        Returns the count of sessions.
        """
        with self._writing("forget old sessions in"):
            self._database.execute("DELETE FROM encryption_keys WHERE sealed IS NULL AND number < ?", below)
            return self._database.execute(
                "DELETE FROM sessions WHERE shredded = 1 AND block_number < ?", below
            )
