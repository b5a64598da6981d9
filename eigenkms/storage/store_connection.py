"""The connection to an open store: database, vault and commit counter.

A transaction covers all three. It increments the counter in the database, and the mirror follows once it is durable
(``data_dir``). One lock serialises all callers, which may be in any thread.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from eigenkms.errors import StorageError
from eigenkms.storage.data_dir import GenerationFile
from eigenkms.storage.database import Database
from eigenkms.storage.vault import Vault

_log = logging.getLogger("eigenkms.storage.store")


class StoreConnection:
    """The connection through which each table of a store reads and writes.

    ``resources`` are closed with it.
    """

    def __init__(
        self, database: Database, vault: Vault, mirror: GenerationFile, resources: ExitStack
    ) -> None:
        self._database = database
        self._vault = vault
        self._mirror = mirror
        self._resources = resources
        self._lock = threading.RLock()
        self._closed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._database.path}>"

    @contextmanager
    def _reading(self, action: str) -> Iterator[None]:
        with self._lock, self._database.reading(action):
            self._check_open(action)
            yield

    @contextmanager
    def _writing(self, action: str) -> Iterator[None]:
        """Run one transaction that also counts itself.

        The mirror follows once it is durable.
        """
        with self._lock:
            self._check_open(action)
            with self._database.transaction(action):
                yield
                self._database.execute("UPDATE store SET generation = generation + 1")
                (generation,) = self._database.one("SELECT generation FROM store")
            self._follow(generation)

    def _follow(self, generation: int) -> None:
        try:
            self._mirror.write(generation)
        except StorageError as error:
            _log.warning("the commit counter's mirror lags: %s", error)

    def _truncate_log(self, action: str) -> None:
        with self._lock:
            self._database.truncate_log(action)

    def _check_open(self, action: str) -> None:
        if self._closed:
            raise StorageError(f"{action} {self._database.path}: the store is closed")

    def close(self) -> None:
        """Flush, close, and release the data folder for the next process.

        Again is no error.
        """
        with self._lock:
            if not self._closed:
                self._closed = True
                with self._resources:
                    self._mirror.sync()
