"""Checks of the data folder: space, file system, durability, and the stored state."""

import os
import secrets
import shutil
from pathlib import Path
from typing import Final

import trio

from eigenkms.crypto.bn254 import KeyPair
from eigenkms.maintenance.doctor.checks import OTHERS_PERMISSIONS, Finding, failed, ok, warning
from eigenkms.maintenance.doctor.context import CheckContext
from eigenkms.maintenance.repair import Health, assess_store, damaged_files
from eigenkms.protocols.records.audit_log import BadLogError, LogHeader
from eigenkms.storage.audit_log_store import KEEP_HINT, check_end
from eigenkms.storage.data_dir import FolderLock, storage_error
from eigenkms.storage.open_store import DATABASE_NAME, LOCK_NAME, StoreOpener
from eigenkms.storage.replay_cache import SPENT_NAME
from eigenkms.storage.rows import StoreIdentity
from eigenkms.storage.snapshot import snapshot

SPACE_NEEDED, SPACE_WANTED = 64 * 2**20, 2**30
_VOLATILE: Final = frozenset({"tmpfs", "ramfs", "devtmpfs"})
_REMOTE: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "glusterfs"})


def _existing(path: Path) -> Path:
    """Return the folder, or its nearest parent that exists."""
    return next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())


async def disk(case: CheckContext) -> Finding:
    """Check for free space, and for a file system that is durable."""
    place = _existing(case.config.data_dir)
    free, kind = shutil.disk_usage(place).free, file_system_type(place)
    if free < SPACE_NEEDED:
        return failed(
            f"{place} has {free // 2**20} MiB left, a node needs {SPACE_NEEDED // 2**20}",
            "free some disk space, or move the data folder to another disk (data_dir)",
        )
    if kind in _VOLATILE:
        return warning(
            f"{place} is in memory ({kind}): the share is lost when the machine stops",
            "choose a disk as data_dir",
        )
    if kind in _REMOTE:
        return warning(
            f"{place} is on a network file system ({kind}), whose locks and flushes are often not kept",
            "choose a local disk as data_dir",
        )
    if free < SPACE_WANTED:
        return warning(f"{place} has {free // 2**20} MiB left", "free some disk space")
    return ok(f"{free // 2**30} GiB free on {kind or 'the disk'}")


def file_system_type(path: Path) -> str:
    """Return the type of a path's file system, "" if it is not known.

    The source is mountinfo, see proc(5).
    """
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    best, kind, real = "", "", str(path.resolve())
    for line in lines:
        before, _, after = line.partition(" - ")
        point = before.split()[4]
        if (real == point or real.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, after.split()[0]
    return kind


async def data_folder(case: CheckContext) -> Finding:
    """Check that the data folder exists or can be made, and that writes are durable."""
    folder = case.config.data_dir
    case.lock_holder = None
    if folder.exists() and not folder.is_dir():
        return failed(f"the data folder {folder} is a file", "give a folder as data_dir; the node makes it")
    place = _existing(folder)
    if not place.is_dir():
        return failed(
            f"the data folder {folder} would be in a file", "give a folder as data_dir; the node makes it"
        )
    if place.absolute() != folder.absolute():
        if not os.access(place, os.W_OK | os.X_OK):
            return failed(
                f"the data folder {folder} cannot be made in {place}", f"let the node's user own {folder}"
            )
        return ok(f"{folder} will be made at the first start")
    await trio.to_thread.run_sync(_try_disk, folder)
    case.lock_holder = FolderLock.holder(folder / LOCK_NAME)
    if folder.stat().st_mode & OTHERS_PERMISSIONS:
        return warning(f"others on this machine can look into {folder}", f"chmod 700 {folder}")
    used = f", in use by process {case.pid}" if case.is_running else ""
    return ok(f"{folder} takes and keeps what is written{used}")


def _try_disk(folder: Path) -> None:
    """Write a file, make it durable, remove it. Raises StorageError."""
    path = folder / f".doctor-{secrets.token_hex(8)}"
    try:
        with path.open("xb") as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise storage_error("write a file into data folder", folder, error) from error
    finally:
        path.unlink(missing_ok=True)


async def stored_state(case: CheckContext) -> Finding:
    """Check that a node would start with the data folder.

    Its content must belong to this operator and cluster, and open with the password.
    """
    if case.is_running:
        return ok("a node has it open")
    return await trio.to_thread.run_sync(_inspect_store, case)


def _inspect_store(case: CheckContext) -> Finding:
    folder, identity = case.config.data_dir, StoreIdentity(case.cluster, case.config.operator)
    password, is_tried = case.password, True
    if (folder / DATABASE_NAME).exists():
        opening = StoreOpener(folder, password or "", identity, os.urandom)
        with snapshot(folder / DATABASE_NAME) as database:
            if password is None:
                is_tried = False
                opening.check_identity(database)
            else:
                opening.unlock(database)
    damaged = [
        name for name in damaged_files(folder) if name != SPENT_NAME or case.config.policy.mode == "attested"
    ]
    reasons = [f"{' and '.join(damaged)} cannot be read"] if damaged else []
    condition = assess_store(folder, identity, password or "") if is_tried else None
    if condition is not None and condition.health is Health.BROKEN:
        reasons.append(condition.reason)
    if reasons:
        return failed(
            f"no node starts with data folder {folder}: {'; '.join(reasons)}",
            f"eigenkms share repair --reset {case.flag} moves aside what is damaged; a share that goes with it comes back at the "
            "next rotation",
        )
    if "bn254" in case.keys:
        key = KeyPair.from_secret(case.keys["bn254"].secret)
        try:
            check_end(folder, LogHeader(case.cluster, case.config.operator, key.g2, 0))
        except BadLogError as error:
            return failed(f"no node starts with data folder {folder}: {error}", KEEP_HINT)
    if condition is None:
        return ok("it is this operator's; whether the password opens it was not tried")
    if condition.health is Health.EMPTY:
        return ok("nothing is stored yet")
    if condition.health is Health.OLD:
        return ok(
            f"{condition.reason}: a node that starts with it votes in no boundary up to the newest at its start"
        )
    return ok("it is this operator's, and the password opens it")
