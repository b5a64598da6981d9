"""The durable key store of one operator.

It holds ceremony journals, key versions, encryption keys, evidence and settings.

When a method returns, its writes are on disk, fsynced. A crash at any moment leaves the work of each call either whole or
absent. "Persist first, then send" (docs/protocol.md, Crashes) depends on that. Methods block on the disk (about a
millisecond) and are safe from any thread, one at a time. Asynchronous callers use a worker thread.

A store that was restored or copied may lack votes that its operator cast. :attr:`Store.rolled_back` is true then, and
stays true until :meth:`Store.acknowledge_rollback`. So a crash before the caller has acted loses nothing:

    if store.get_meta("vote-floor") is None or store.rolled_back:
        store.set_meta("vote-floor", <newest boundary seen>)
        store.acknowledge_rollback()

It detects an older database beside a younger mirror, and a missing mirror. It also detects a folder that was copied or restored, as
the birth file there has another ctime than at the last open. It cannot detect a restored snapshot of the whole machine.
"""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.keystore import ScryptCost
from eigenkms.storage.data_dir import FolderLock, GenerationFile, make_folder
from eigenkms.storage.database import Database
from eigenkms.storage.encryption_key_table import EncryptionKeyTable
from eigenkms.storage.evidence_table import EvidenceTable
from eigenkms.storage.open_store import LOCK_NAME, StoreOpener
from eigenkms.storage.rows import EvidenceRow, Record, SessionHeader, StoreIdentity, VersionRow
from eigenkms.storage.session_journal import SessionJournal
from eigenkms.storage.vault import Vault
from eigenkms.storage.version_table import VersionTable

__all__ = ["EvidenceRow", "Record", "ScryptCost", "SessionHeader", "Store", "StoreIdentity", "VersionRow"]


class Store(SessionJournal, VersionTable, EncryptionKeyTable, EvidenceTable):
    """See the module.

    Made by :meth:`open`, ended by :meth:`close` or as a context manager.
    """

    def __init__(
        self,
        database: Database,
        vault: Vault,
        mirror: GenerationFile,
        resources: ExitStack,
        *,
        is_new: bool,
        rolled_back: bool,
    ) -> None:
        super().__init__(database, vault, mirror, resources)
        self._is_new = is_new
        self._rolled_back = rolled_back

    @classmethod
    def open(
        cls, folder: Path, *, password: str, identity: StoreIdentity, rng: Rng, kdf: ScryptCost | None = None
    ) -> Self:
        """Open the store in ``folder``, or create it there.

        ``kdf`` is used only for a new one.

        Raises ``StorageError`` if the store is in use, damaged, of another operator or cluster, or of a newer eigenkms, and if the
        disk refuses. Raises InputError: the password is wrong. An error changes nothing.
        """
        make_folder(folder)
        with ExitStack() as resources:
            lock = FolderLock.acquire(folder / LOCK_NAME)
            resources.callback(lock.release)
            opener = StoreOpener(folder, password, identity, rng)
            database = opener.connect()
            resources.callback(database.close)
            is_new = database.is_blank()
            root = opener.create(database, kdf or ScryptCost()) if is_new else opener.unlock(database)
            opener.migrate(database)
            mirror = opener.open_mirror()
            resources.callback(mirror.close)
            rolled_back = opener.check_generation(database, mirror, is_new=is_new)
            vault = Vault(database, root, rng)
            return cls(database, vault, mirror, resources.pop_all(), is_new=is_new, rolled_back=rolled_back)

    @property
    def is_new(self) -> bool:
        """Return whether this open created the store.

        It does not stay true: record its consequence as shown above.
        """
        return self._is_new

    @property
    def rolled_back(self) -> bool:
        """Whether the database is an older or moved copy.

        It is so until ``acknowledge_rollback``.
        """
        return self._rolled_back

    def acknowledge_rollback(self) -> None:
        """Set :attr:`rolled_back` to false, after the caller has recorded its consequence."""
        with self._writing("acknowledge rollback in"):
            self._database.execute("UPDATE store SET rolled_back = 0")
        self._rolled_back = False

    # Settings

    def get_meta(self, key: str) -> bytes | None:
        """Return the setting under ``key``, or None. Settings are not sealed."""
        with self._reading("read a setting in"):
            row = self._database.one("SELECT value FROM meta WHERE key = ?", key)
        return None if row is None else bytes(row[0])

    def set_meta(self, key: str, value: bytes) -> None:
        """Store a setting under ``key``, in the place of an earlier one."""
        with self._writing("store a setting in"):
            self._database.execute(
                "INSERT INTO meta (key, value) VALUES (?, ?)"
                " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                key,
                value,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()
