"""Reading of a node's store from a snapshot, while the node runs or not.

Identity and versions are readable without the password, the share of a version with it. Nothing is written, no lock is taken.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from eigenkms.crypto.keystore import ScryptCost
from eigenkms.storage.data_dir import GenerationFile
from eigenkms.storage.database import DamagedError, Database
from eigenkms.storage.open_store import BIRTH_NAME, DATABASE_NAME, MIRROR_NAME
from eigenkms.storage.queries import SHARE_PURPOSE, all_versions
from eigenkms.storage.rows import StoreIdentity, VersionRow
from eigenkms.storage.snapshot import snapshot
from eigenkms.storage.vault import Owner, Vault, WrappedRoot
from eigenkms.types import ClusterId, OperatorAddress


@dataclass(frozen=True, slots=True)
class RollbackReason:
    """Why the next open takes a store for an older copy of itself."""

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
        cluster, operator, n, r, p, salt, wrapped, self._generation, self._ctime, self._flag = row
        self.identity = StoreIdentity(ClusterId(cluster), OperatorAddress(operator))
        self._root = WrappedRoot(self._cost(n, r, p), salt, wrapped)

    def _cost(self, n: int, r: int, p: int) -> ScryptCost:
        try:
            return ScryptCost(n, r, p)
        except ValueError as error:
            raise DamagedError(f"read database {self._database.path}: {error}") from error

    def __repr__(self) -> str:
        return f"<StoreReader {self._database.path}>"

    def versions(self) -> tuple[VersionRow, ...]:
        """Return all versions, as ``Store.versions``."""
        return all_versions(self._database)

    @property
    def settled(self) -> VersionRow | None:
        """Return the newest settled version, or None."""
        return max((row for row in self.versions() if row.settled), key=lambda row: row.version, default=None)

    @property
    def newest_session(self) -> int:
        """Return the block number of the newest boundary that has a journal, or 0."""
        return int(self._database.one("SELECT coalesce(max(block_number), 0) FROM sessions")[0])

    def meta(self, key: str) -> bytes | None:
        """Return a setting, as ``Store.get_meta``."""
        row = self._database.one("SELECT value FROM meta WHERE key = ?", key)
        return None if row is None else bytes(row[0])

    def check_password(self, password: str) -> None:
        """Raise ``InputError`` unless the password opens the store."""
        self._root.open(password, self.identity)

    def has_share(self, row: VersionRow) -> bool:
        """Return whether there is a sealed share of a version."""
        name = row.transcript_hash
        return bool(
            self._database.one(
                "SELECT 1 FROM versions WHERE transcript_hash = ? AND sealed_share NOT NULL", name
            )
        )

    def share(self, row: VersionRow, password: str) -> bytes | None:
        """Return the share of a version, as ``Store.share``. Secret: keep it short-lived.

        Raises ``InputError`` for another password.
        """
        sealed = self._database.one(
            "SELECT sealed_share FROM versions WHERE transcript_hash = ?", row.transcript_hash
        )
        if sealed is None or sealed[0] is None:
            return None
        vault = Vault(self._database, self._root.open(password, self.identity), _no_randomness)
        return vault.unseal(Owner.VERSION, row.transcript_hash, sealed[0], SHARE_PURPOSE)

    def rollback(self) -> RollbackReason | None:
        """Return why the next open will find a rolled-back store, None if it will not.

        ``StoreOpener.check_generation`` makes the same checks.
        """
        counted = GenerationFile.read(self._folder / MIRROR_NAME)
        try:
            ctime = (self._folder / BIRTH_NAME).stat().st_ctime_ns
        except OSError:
            ctime = None
        if counted is None or counted > self._generation:
            return RollbackReason("the database is older than its commit counter says")
        if ctime != self._ctime:
            return RollbackReason("the folder was copied or restored")
        return (
            RollbackReason("it was found to be an older copy, and not started since") if self._flag else None
        )


def _no_randomness(_size: int) -> bytes:
    raise AssertionError("a copy seals nothing")


def has_store(folder: Path) -> bool:
    """Return whether the folder has, or had, a database."""
    return any((folder / name).exists() for name in (DATABASE_NAME, MIRROR_NAME))


@contextmanager
def read_store(folder: Path) -> Iterator[StoreReader]:
    """Open a snapshot of the store in ``folder``.

    Raises ``StorageError`` as ``snapshot`` does.
    """
    with snapshot(folder / DATABASE_NAME) as database, database.reading("read database"):
        yield StoreReader(folder, database)
