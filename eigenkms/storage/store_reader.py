"""What a node's store holds, read from a snapshot of it: whose it is, its versions, and with its password the share of one.

The node may run. Nothing is written, no lock is taken.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from eigenkms.crypto.keystore import ScryptCost
from eigenkms.storage.data_dir import GenerationFile
from eigenkms.storage.database import DamagedError, Database
from eigenkms.storage.key_versions import SHARE_PURPOSE, all_versions
from eigenkms.storage.open_store import BIRTH_NAME, DATABASE_NAME, MIRROR_NAME
from eigenkms.storage.rows import StoreIdentity, VersionRow
from eigenkms.storage.snapshot import snapshot
from eigenkms.storage.vault import Owner, Vault, WrappedRoot
from eigenkms.types import ClusterId, OperatorAddress


@dataclass(frozen=True, slots=True)
class RollbackReason:
    """Why a store would be taken for an older copy of itself."""

    reason: str


class StoreReader:
    """A snapshot that was opened by ``read_store``."""

    def __init__(self, folder: Path, database: Database) -> None:
        self._folder = folder
        self._database = database
        row = database.one(
            "SELECT cluster_id, operator, scrypt_n, scrypt_r, scrypt_p, salt, wrapped_root,"
            " generation, born, rolled_back FROM store"
        )
        if row is None:
            raise DamagedError(f"read database {database.path}: its first row is missing")
        cluster, operator, n, r, p, salt, wrapped, self._generation, self._born, self._flag = row
        self.identity = StoreIdentity(ClusterId(cluster), OperatorAddress(operator))
        self._root = WrappedRoot(self._cost(n, r, p), salt, wrapped)

    def _cost(self, n: int, r: int, p: int) -> ScryptCost:
        try:
            return ScryptCost(n, r, p)
        except ValueError as error:
            raise DamagedError(f"read database {self._database.path}: {error}") from error

    def __repr__(self) -> str:
        return f"<StoreCopy {self._database.path}>"

    def versions(self) -> tuple[VersionRow, ...]:
        """As ``Store.versions``."""
        return all_versions(self._database)

    @property
    def settled(self) -> VersionRow | None:
        """The newest settled version that is known."""
        return max((row for row in self.versions() if row.settled), key=lambda row: row.version, default=None)

    @property
    def newest_session(self) -> int:
        """Block number of the newest boundary that has a journal; 0 where none has."""
        return int(self._database.one("SELECT coalesce(max(block_number), 0) FROM sessions")[0])

    def meta(self, key: str) -> bytes | None:
        """As ``Store.get_meta``."""
        row = self._database.one("SELECT value FROM meta WHERE key = ?", key)
        return None if row is None else bytes(row[0])

    def check_password(self, password: str) -> None:
        """Raises ``InputError`` unless it opens the store."""
        self._root.open(password, self.identity)

    def has_share(self, row: VersionRow) -> bool:
        """Whether there is a share of a version, sealed."""
        name = row.transcript_hash
        return bool(
            self._database.one(
                "SELECT 1 FROM versions WHERE transcript_hash = ? AND sealed_share NOT NULL", name
            )
        )

    def share(self, row: VersionRow, password: str) -> bytes | None:
        """As ``Store.share``. Raises ``InputError`` for another password. Secret: keep it short-lived."""
        sealed = self._database.one(
            "SELECT sealed_share FROM versions WHERE transcript_hash = ?", row.transcript_hash
        )
        if sealed is None or sealed[0] is None:
            return None
        vault = Vault(self._database, self._root.open(password, self.identity), _no_randomness)
        return vault.unseal(Owner.VERSION, row.transcript_hash, sealed[0], SHARE_PURPOSE)

    def rollback(self) -> RollbackReason | None:
        """Whether it is an older copy, or was moved here, as its next opening will find (``Opening.count``)."""
        counted = GenerationFile.read(self._folder / MIRROR_NAME)
        try:
            born = (self._folder / BIRTH_NAME).stat().st_ctime_ns
        except OSError:
            born = None
        if counted is None or counted > self._generation:
            return RollbackReason("the database is older than its commit counter says")
        if born != self._born:
            return RollbackReason("the folder was copied or restored")
        return (
            RollbackReason("it was found to be an older copy, and not started since") if self._flag else None
        )


def _no_randomness(_size: int) -> bytes:
    raise AssertionError("a copy seals nothing")


def has_store(folder: Path) -> bool:
    """Whether a database lies there, or has lain there."""
    return any((folder / name).exists() for name in (DATABASE_NAME, MIRROR_NAME))


@contextmanager
def read_store(folder: Path) -> Iterator[StoreReader]:
    """The store in ``folder`` as of now. Raises ``StorageError`` as ``snapshot`` does."""
    with snapshot(folder / DATABASE_NAME) as database, database.reading("read database"):
        yield StoreReader(folder, database)
