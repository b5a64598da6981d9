"""Rebuild a data folder: after a restore, or in the place of a broken store.

A rebuilt store may lack votes that its operator cast. It states so permanently (RESTORED), and a node with such a store takes
part in no genesis. As with any new folder, the node votes in no boundary up to the newest one at its start (docs/protocol.md,
Crashes). The store is made in a folder of its own inside the data folder and moved into place, its database last. The commit
counter is there before the database, and a node refuses to start beside a counter without a database. So a crash in between
leaves nothing that votes.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.keystore import ScryptCost
from eigenkms.errors import StorageError
from eigenkms.storage.data_dir import FolderLock, make_folder, storage_error, sync_folder
from eigenkms.storage.open_store import BIRTH_NAME, DATABASE_NAME, LOCK_NAME, MIRROR_NAME, STAGING_NAME
from eigenkms.storage.rows import StoreIdentity, VersionRow
from eigenkms.storage.store import Store
from eigenkms.storage.writer_version import RELEASE_NAME

RESTORED: Final = "restored"
"""The setting of a rebuilt store; its value identifies the rebuild."""
_LOG, _SHARED = DATABASE_NAME + "-wal", DATABASE_NAME + "-shm"
LEFTOVERS: Final = (STAGING_NAME, MIRROR_NAME, BIRTH_NAME, RELEASE_NAME, _LOG)
"""Files that an interrupted rebuild leaves behind."""


@dataclass(frozen=True, slots=True)
class RebuildSpec:
    """The contents of a rebuilt store.

    ``mark`` distinguishes rebuilds; ``version`` comes with its share.
    """

    identity: StoreIdentity
    password: str = field(repr=False)
    mark: bytes
    version: tuple[VersionRow, bytes] | None = field(default=None, repr=False)
    kdf: ScryptCost | None = None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of the data folder, which is made if it is missing.

    Raises ``StorageError`` that names the process which uses the folder.
    """
    make_folder(folder)
    lock = FolderLock.acquire(folder / LOCK_NAME)
    try:
        yield
    finally:
        lock.release()


def is_unfinished(folder: Path) -> bool:
    """Return whether a rebuild was interrupted there before it had a database."""
    return (folder / STAGING_NAME).exists() and not (folder / DATABASE_NAME).exists()


def rebuild(folder: Path, spec: RebuildSpec, rng: Rng) -> None:
    """Make the store in ``folder``, which has LEFTOVERS at most.

    The caller holds the lock, and calls ``roll_back`` if this raises.
    """
    roll_back(folder)
    _install(_stage(folder, spec, rng), folder)


def roll_back(folder: Path) -> None:
    """Undo a ``rebuild`` that was interrupted, perhaps in another process.

    The caller holds the lock.
    """
    try:
        for name in (DATABASE_NAME, *LEFTOVERS[1:]):
            (folder / name).unlink(missing_ok=True)
        _clear_staging(folder)
    except OSError as error:
        raise storage_error("clear data folder", folder, error) from error


def _clear_staging(folder: Path) -> None:
    if (folder / STAGING_NAME).exists():
        shutil.rmtree(folder / STAGING_NAME)


def replace(folder: Path, spec: RebuildSpec, rng: Rng, aside: str, broken: Sequence[str]) -> Path:
    """Move the store of ``folder`` into its new subfolder ``aside``, and rebuild it.

    The files in ``broken`` are moved too. The caller holds the lock. Returns the subfolder. Raises ``StorageError``: files
    that were moved by then stay moved, and a second call completes it.
    """
    kept = folder / aside
    try:
        _clear_staging(folder)
        staged = _stage(folder, spec, rng)
        set_aside(folder, aside, (_LOG, DATABASE_NAME, _SHARED, BIRTH_NAME, *broken))
        if (folder / MIRROR_NAME).exists() and not (kept / MIRROR_NAME).exists():
            os.link(folder / MIRROR_NAME, kept / MIRROR_NAME)
        sync_folder(kept)
    except OSError as error:
        raise storage_error("move the data folder's database aside", folder, error) from error
    _install(staged, folder)
    return kept


def set_aside(folder: Path, aside: str, names: Sequence[str]) -> Path:
    """Move those of ``names`` that exist into the subfolder ``aside``, and return it.

    The caller holds the lock.

    Raises ``StorageError``: files that were moved by then stay moved.
    """
    kept = folder / aside
    try:
        kept.mkdir(mode=0o700, exist_ok=True)
        for name in names:
            if (folder / name).exists():
                _move(folder / name, kept / name)
        sync_folder(kept)
        sync_folder(folder)
    except OSError as error:
        raise storage_error("move what is broken aside in", folder, error) from error
    return kept


def _move(path: Path, to: Path) -> None:
    if to.exists():
        raise StorageError(f"move {path} aside: {to} exists", hint="try again in a second; nothing was lost")
    path.replace(to)


def _stage(folder: Path, spec: RebuildSpec, rng: Rng) -> Path:
    staged = folder / STAGING_NAME
    with Store.open(staged, password=spec.password, identity=spec.identity, rng=rng, kdf=spec.kdf) as store:
        store.set_meta(RESTORED, spec.mark)
        if spec.version is not None:
            row, share = spec.version
            store.add_version(row, share)
            if row.proof is not None:
                store.set_settled(row.transcript_hash, row.proof)
    return staged


def _install(staged: Path, folder: Path) -> None:
    """Move the store into place, the database last.

    The birth file is left out, so the next start recognises a restored folder.
    """
    try:
        for name in (MIRROR_NAME, RELEASE_NAME, _LOG, DATABASE_NAME):
            if (staged / name).exists():
                (staged / name).replace(folder / name)
                sync_folder(folder)
        shutil.rmtree(staged)
        sync_folder(folder)
    except OSError as error:
        raise storage_error("move the new database into", folder, error) from error


def temporary(path: Path) -> Path:
    """Return the path of a file that ``write_new`` has not completed.

    It is left over if that was killed.
    """
    return path.with_name(f".{path.name}.new")


def write_new(path: Path, content: bytes) -> None:
    """Write a file that does not exist yet, mode 0600, whole or not at all.

    It is durable on return. Raises ``StorageError``.
    """
    fresh = temporary(path)
    try:
        fresh.unlink(missing_ok=True)
        try:
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
        sync_folder(path.parent)
    except FileExistsError as error:
        raise StorageError(f"write {path}: it exists", hint="give another name, or move it away") from error
    except OSError as error:
        raise storage_error("write", path, error) from error
