"""The data folder: its rights, its lock, and the mirror that reveals an old copy.

The mirror is a small file beside the database that repeats the database's commit counter. After every commit
the counter in the database is written first, then the mirror. So the mirror may lag (a crash in between,
harmless), but it is never ahead, unless the database is an older copy of itself. It costs one 21-byte write a
commit and no fsync: a mirror that lags hides a restored copy only where power failed as well.
"""

import errno
import fcntl
import os
from pathlib import Path
from typing import Self

from eigenkms.errors import StorageError

_MIRROR_BYTES = 21


def storage_error(action: str, path: Path, error: OSError) -> StorageError:
    """Return the operating system's refusal as one sentence with a next step."""
    hints = {
        errno.ENOSPC: "free some disk space and try again; what was stored before is intact",
        errno.EDQUOT: "free some disk space or raise the quota; what was stored before is intact",
        errno.EACCES: "let the node's user own the data folder",
        errno.EPERM: "let the node's user own the data folder",
        errno.EROFS: "mount the file system of the data folder for writing",
    }
    reason = (error.strerror or str(error)).lower()
    return StorageError(f"{action} {path}: {reason}", hint=hints.get(error.errno or 0))


def make_folder(folder: Path) -> None:
    """Create ``folder`` (mode 0700) where it is missing.

    Leave an existing one's mode alone.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error("create data folder", folder, error) from error


def make_file(folder: Path, name: str) -> Path:
    """Return a file in ``folder`` (made too), mode 0600, empty where it was missing.

    Its name is durable. Raises ``StorageError``.
    """
    make_folder(folder)
    path = folder / name
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        sync_folder(folder)
    except OSError as error:
        raise storage_error("open database", path, error) from error
    return path


def sync_folder(folder: Path) -> None:
    """Make new file names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FolderLock:
    """An exclusive ``flock``, held until :meth:`release` or the end of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, path: Path) -> Self:
        """Take the lock or raise StorageError that names the process which has it."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise storage_error("open lock file", path, error) from error
        try:
            cls._take(descriptor, path)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)

    @staticmethod
    def _take(descriptor: int, path: Path) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise StorageError(
                f"lock data folder {path.parent}: process {holder} is using it",
                hint="stop that process first, or give this node its own --data-dir",
            ) from error
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            raise storage_error("write lock file", path, error) from error

    @staticmethod
    def holder(path: Path) -> str | None:
        """Return the process that has the lock, as the file says; None where nobody has.

        Takes nothing and changes nothing.
        """
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error("open lock file", path, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        finally:
            os.close(descriptor)
        return None

    def release(self) -> None:
        os.close(self._descriptor)


class GenerationFile:
    """The commit counter, repeated outside the database."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path

    @staticmethod
    def read(path: Path) -> int | None:
        """Return the counter, None if the file is missing or not of this class.

        Raises ``StorageError``.
        """
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error("read", path, error) from error
        return int(text) if len(text) == _MIRROR_BYTES and text[:-1].isdigit() else None

    @classmethod
    def open(cls, path: Path) -> Self:
        try:
            return cls(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), path)
        except OSError as error:
            raise storage_error("open", path, error) from error

    def write(self, generation: int) -> None:
        """Overwrite in place: after the first time this needs no new disk space."""
        try:
            os.pwrite(self._descriptor, f"{generation:020d}\n".encode(), 0)
        except OSError as error:
            raise storage_error("write", self._path, error) from error

    def sync(self) -> None:
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise storage_error("flush", self._path, error) from error

    def close(self) -> None:
        os.close(self._descriptor)
