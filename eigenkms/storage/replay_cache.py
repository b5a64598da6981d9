"""The replay cache: each piece of evidence buys one answer, also across restarts.

It is a file of its own beside the store, since it holds no secret, and is written with every request. An id is on the disk before
``spend`` returns, so a crash or a power failure loses none. Ids are dropped when the evidence has expired, since then it is refused
anyway. There is room for a bounded number. When it is used up, nothing is granted until some have expired, rather than something
twice.

A data folder that is restored from a copy lacks later uses. A replay then gets the answer that the first request got, sealed to the
same key.
"""

import threading
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple, Self

from eigenkms.storage.data_dir import make_file
from eigenkms.storage.database import Database
from eigenkms.storage.schema import SPENT

SPENT_NAME: Final = "spent.db"
MAX_SPENT: Final = 200_000
"""Of one application there are at most those of its own rate (authorisation/pipeline)."""
_FORGET: Final = "DELETE FROM spent WHERE id IN (SELECT id FROM spent WHERE expires_at <= ? LIMIT ?)"
"""A few for each that comes in, so no request waits for a great cleaning."""
_REMEMBER: Final = "INSERT INTO spent VALUES (?, ?) ON CONFLICT (id) DO NOTHING"


class TokenUse(NamedTuple):
    """The use of one piece of evidence.

    ``id`` has 32 bytes. It is remembered until ``expires_at`` (unix seconds).
    """

    id: bytes
    expires_at: int


class UseResult(Enum):
    """The result of a use."""

    FIRST = "first"
    AGAIN = "again"
    FULL = "full"
    """So many are remembered that no more can be, until some have expired."""


class ReplayCache:
    """The ids of used evidence. Safe for several threads."""

    def __init__(self, database: Database, limit: int) -> None:
        self._database = database
        self._limit = limit
        self._lock = threading.Lock()
        self._count = int(database.one("SELECT count(*) FROM spent")[0])

    @classmethod
    def open(cls, folder: Path, *, limit: int = MAX_SPENT) -> Self:
        """Open the file in ``folder``, or make it. Raises ``StorageError``."""
        path = make_file(folder, SPENT_NAME)
        database = Database(path, SPENT)
        try:
            if database.is_blank():
                with database.transaction("create database"):
                    database.create_tables()
            return cls(database, limit)
        except BaseException:
            database.close()
            raise

    def spend(self, uses: Sequence[TokenUse], now: float) -> list[UseResult]:
        """Return whether each is used for the first time; from now on it is used, durably.

        All of it in one transaction.

        Raises ``StorageError`` if the disk refuses; then none is.
        """
        with self._lock:
            with self._database.transaction("spend evidence in"):
                forgotten = self._database.execute(_FORGET, int(now), 8 * len(uses))
                count = self._count - forgotten
                found = []
                for use in uses:
                    if count >= self._limit:
                        found.append(UseResult.FULL)
                        continue
                    added = self._database.execute(_REMEMBER, use.id, use.expires_at)
                    count += added
                    found.append(UseResult.FIRST if added else UseResult.AGAIN)
            self._count = count
        return found

    def close(self) -> None:
        with self._lock:
            self._database.close()
