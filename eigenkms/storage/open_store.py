"""Open a store in a folder: the steps, in the order in which they may refuse.

The order is lock, presence of the database, schema, identity, password. Nothing is written before these checks, so each
refusal leaves the folder unchanged. A database of an older version is migrated after them, and then the open is counted.
"""

import logging
import os
from pathlib import Path

from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.keystore import ScryptCost
from eigenkms.errors import StorageError
from eigenkms.storage.data_dir import GenerationFile, storage_error, sync_folder
from eigenkms.storage.database import DamagedError, Database
from eigenkms.storage.rows import StoreIdentity
from eigenkms.storage.schema import STORE
from eigenkms.storage.vault import WrappedRoot
from eigenkms.storage.writer_version import note_release
from eigenkms.types import to_hex

_log = logging.getLogger(__name__)

DATABASE_NAME = "eigenkms.db"
LOCK_NAME = "lock"
MIRROR_NAME = "generation"
BIRTH_NAME = "born"
STAGING_NAME = ".restoring"
"""A folder in which a database is being rebuilt (``storage.rebuild``)."""


class StoreOpener:
    """The arguments of one call of ``Store.open``, and its steps."""

    def __init__(self, folder: Path, password: str, identity: StoreIdentity, rng: Rng) -> None:
        self._folder = folder
        self._password = password
        self._identity = identity
        self._rng = rng
        self._path = folder / DATABASE_NAME
        self._last_count = GenerationFile.read(folder / MIRROR_NAME)

    def __repr__(self) -> str:
        return f"<Opening {self._folder}>"

    def connect(self) -> Database:
        """Return the database, its header checked.

        It is a new file (mode 0600) if there never was one.
        """
        blank = not self._path.exists() or self._path.stat().st_size == 0
        if blank and (self._folder / STAGING_NAME).exists():
            raise StorageError(
                f"open database {self._path}: it is not there yet, a restore or reset of this folder was broken off",
                hint="do it again: eigenkms backup restore, or share repair --reset",
            )
        if blank and self._last_count:
            raise StorageError(
                f"open database {self._path}: it is missing or empty, but this folder has held one "
                f"({self._last_count} commits)",
                hint="eigenkms share repair --reset begins it anew; a share comes within two rotations",
            )
        self._touch()
        return Database(self._path)

    def _touch(self) -> None:
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            sync_folder(self._folder)
        except OSError as error:
            raise storage_error("open database", self._path, error) from error

    def create(self, database: Database, cost: ScryptCost) -> bytes:
        """Create tables, identity and a new root key in one transaction.

        Return the root key.
        """
        root = self._rng(32)
        wrapped = WrappedRoot.create(root, self._password, self._identity, cost, self._rng)
        with database.transaction("create database"):
            database.create_tables()
            database.execute(
                "INSERT INTO store VALUES (1, ?, ?, ?, ?, ?, ?, ?, 0, ?, 0)",
                self._identity.cluster_id,
                self._identity.operator,
                cost.n,
                cost.r,
                cost.p,
                wrapped.salt,
                wrapped.wrapped,
                self._inode_ctime(),
            )
        return root

    def unlock(self, database: Database) -> bytes:
        """Return the root key of an existing store.

        Checks identity and password before.
        """
        n, r, p, salt, wrapped = self.check_identity(database)
        return WrappedRoot(self._cost(n, r, p), salt, wrapped).open(self._password, self._identity)

    def _cost(self, n: int, r: int, p: int) -> ScryptCost:
        try:
            return ScryptCost(n, r, p)
        except ValueError as error:
            raise DamagedError(f"open database {self._path}: {error}") from error

    def migrate(self, database: Database) -> None:
        """Migrate a database of an older schema version, whole or not at all."""
        if database.is_old:
            with database.transaction("migrate database"):
                database.migrate()
            _log.info("database %s: migrated to schema %d", self._path, STORE.version)

    def check_identity(self, database: Database) -> tuple[int, int, int, bytes, bytes]:
        """Return how the root key of an existing store is wrapped.

        Raises StorageError for another operator's store.
        """
        with database.reading("open database"):
            row = database.one(
                "SELECT cluster_id, operator, scrypt_n, scrypt_r, scrypt_p, salt, wrapped_root FROM store"
            )
        if row is None:
            raise StorageError(
                f"open database {self._path}: its first row is missing", hint=DamagedError.default_hint
            )
        cluster_id, operator, *wrapping = row
        self._check_identity(cluster_id, operator)
        n, r, p, salt, wrapped = wrapping
        return n, r, p, salt, wrapped

    def _check_identity(self, cluster_id: bytes, operator: bytes) -> None:
        if operator != self._identity.operator:
            raise StorageError(
                f"open database {self._path}: it belongs to operator {to_hex(operator)}, "
                f"not to {to_hex(self._identity.operator)}",
                hint="give each operator its own --data-dir",
            )
        if cluster_id != self._identity.cluster_id:
            raise StorageError(
                f"open database {self._path}: it belongs to cluster {cluster_id.hex()}, "
                f"not to {self._identity.cluster_id.hex()}",
                hint="check --chain-id, --avs and --operator-set-id, or give this cluster its own --data-dir",
            )

    def open_mirror(self) -> GenerationFile:
        """Open the file that repeats the commit counter."""
        return GenerationFile.open(self._folder / MIRROR_NAME)

    def check_generation(self, database: Database, mirror: GenerationFile, *, is_new: bool) -> bool:
        """Count this open, in the database and then in the mirror.

        Return whether the store was rolled back.
        """
        note_release(self._folder)
        with database.transaction("open database"):
            generation, ctime, flag = database.one("SELECT generation, born, rolled_back FROM store")
            older = not is_new and (self._last_count is None or self._last_count > generation)
            rolled_back = bool(flag) or older or ctime != self._inode_ctime()
            generation = max(generation, self._last_count or 0) + 1
            database.execute(
                "UPDATE store SET generation = ?, born = ?, rolled_back = ?",
                generation,
                self._inode_ctime(),
                int(rolled_back),
            )
        database.truncate_log("open database")
        mirror.write(generation)
        mirror.sync()
        return rolled_back

    def _inode_ctime(self) -> int:
        """Return the ``st_ctime`` of this folder's birth file, in nanoseconds.

        The file is made if it is missing.

        Only the kernel sets this time, so a folder that was copied, restored or unpacked has another. An inode number would not do:
        it is used again.
        """
        path = self._folder / BIRTH_NAME
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            return path.stat().st_ctime_ns
        except OSError as error:
            raise storage_error("open", path, error) from error
