"""Which evidence was used: each piece may buy one answer, also across restarts, crashes and a cut of power.

A file of its own beside the store, since it holds no secret, and is written once a request. An id is on the disk before ``spend``
returns. Ids are forgotten when the evidence has expired, since then it is refused anyway. There is room for a bounded number; when
it is used up, nothing more is granted until some have expired, rather than something twice.

A data folder that is restored from a copy has forgotten what was spent since; a replay then gets the answer that the first one got,
sealed to the same key.
"""

import threading
from pathlib import Path
from typing import Final, Self

from eigenkms.errors import StorageError
from eigenkms.storage.database import Database
from eigenkms.storage.folder import make_file
from eigenkms.storage.schema import SPENT

SPENT_NAME: Final = "spent.db"
MAX_SPENT: Final = 200_000
"""More signatures than a node answers in the six minutes for which it remembers each."""
_FORGET: Final = "DELETE FROM spent WHERE id IN (SELECT id FROM spent WHERE expires_at <= ? LIMIT 8)"
"""A few each time: more than come in, and no request waits for a great cleaning."""
_REMEMBER: Final = "INSERT INTO spent VALUES (?, ?) ON CONFLICT (id) DO NOTHING"


class SpentFullError(StorageError):
    """So many pieces of evidence are remembered that no more can be; wait until some have expired."""


class SpentTokens:
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

    def spend(self, use_id: bytes, expires_at: int, now: float) -> bool:
        """Whether ``use_id`` (32 bytes) was not spent before; from now on it is, durably, until ``expires_at`` (unix seconds).

        Raises ``SpentFullError`` if there is no room, ``StorageError`` if the disk refuses; then it is not spent.
        """
        with self._lock:
            with self._database.transaction("spend evidence in"):
                forgotten = self._database.execute(_FORGET, int(now))
                if self._count - forgotten >= self._limit:
                    raise SpentFullError(
                        f"spend evidence in {self._database.path}: {self._limit} pieces are remembered already"
                    )
                added = self._database.execute(_REMEMBER, use_id, expires_at)
            self._count += added - forgotten
        return bool(added)

    def close(self) -> None:
        with self._lock:
            self._database.close()
