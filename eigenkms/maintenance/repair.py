"""Assess a node's data folder, and reset one that is damaged.

A reset deletes nothing: it moves damaged files aside. A node with a fresh store votes in no boundary that the old one may have
voted in.

A share needs no repair. A member publishes a key at the next boundary, and gets a share there or at the one after. A node is kept
from that only by a folder that it cannot open.
"""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.keystore import ScryptCost
from eigenkms.errors import InputError, StorageError
from eigenkms.protocols.records.audit_log import BadLogError
from eigenkms.storage.audit_log_store import RELEASES_NAME, read_releases
from eigenkms.storage.database import DamagedError
from eigenkms.storage.open_store import STAGING_NAME
from eigenkms.storage.rebuild import RebuildSpec, locked, replace, set_aside
from eigenkms.storage.replay_cache import SPENT_NAME
from eigenkms.storage.rows import StoreIdentity
from eigenkms.storage.schema import SPENT
from eigenkms.storage.snapshot import snapshot
from eigenkms.storage.store_reader import StoreReader, has_store, read_store
from eigenkms.types import Version, to_hex


class Health(Enum):
    """The condition of a data folder."""

    EMPTY = "empty"
    SOUND = "sound"
    OLD = "an older copy"
    """A node starts with it, but votes in no boundary that a newer copy may have voted in."""
    BROKEN = "broken"


@dataclass(frozen=True)
class StoreCondition:
    """The condition of a data folder, and its reason.

    ``broken`` are the names of damaged files beside the store. ``share`` is the newest version whose share is held and opens.
    """

    health: Health
    reason: str = ""
    broken: tuple[str, ...] = ()
    share: Version | None = None

    @property
    def needs_reset(self) -> bool:
        """Return whether the store or a file beside it is damaged."""
        return self.health is Health.BROKEN or bool(self.broken)


def assess_store(folder: Path, identity: StoreIdentity, password: str) -> StoreCondition:
    """Assess a data folder. Its node may run meanwhile.

    Raises ``StorageError`` if the folder is another operator's, was written by another release, or cannot be read.
    """
    broken = damaged_files(folder)
    if not has_store(folder):
        unfinished = (folder / STAGING_NAME).exists()
        return StoreCondition(
            Health.BROKEN if unfinished else Health.EMPTY, "a restore was broken off" * unfinished, broken
        )
    try:
        with read_store(folder) as copy:
            _check_identity(folder, copy, identity)
            rollback = copy.rollback()
            share = _newest_share(copy, password)
    except DamagedError as error:
        return StoreCondition(Health.BROKEN, str(error), broken)
    except _UnreadableError as error:
        return StoreCondition(Health.BROKEN, str(error), broken)
    if rollback is not None:
        return StoreCondition(Health.OLD, rollback.reason, broken, share)
    return StoreCondition(Health.SOUND, "", broken, share)


class _UnreadableError(Exception):
    """A sealed value of a store does not open."""


def _newest_share(copy: StoreReader, password: str) -> Version | None:
    held = [row for row in copy.versions() if row.share_held]
    try:
        copy.check_password(password)
        for row in held:
            copy.share(row, password)
    except (InputError, StorageError) as error:
        raise _UnreadableError(str(error)) from error
    return max((row.version for row in held), default=None)


def _check_identity(folder: Path, copy: StoreReader, identity: StoreIdentity) -> None:
    if copy.identity != identity:
        raise StorageError(
            f"repair data folder {folder}: it belongs to operator {to_hex(copy.identity.operator)} in cluster "
            f"{copy.identity.cluster_id.hex()[:16]}…, not to the one that the configuration names",
            hint="check --config and --data-dir; nothing was changed",
        )


def damaged_files(folder: Path) -> tuple[str, ...]:
    """Return the names of damaged files beside the store.

    Raises ``StorageError`` if one was written by another release.
    """
    return tuple(name for name in (SPENT_NAME, RELEASES_NAME) if _is_damaged(folder, name))


def _is_damaged(folder: Path, name: str) -> bool:
    if not (folder / name).exists() or not (folder / name).stat().st_size:
        return False
    try:
        if name == SPENT_NAME:
            with snapshot(folder / name, SPENT):
                pass
        else:
            with read_releases(folder) as log:
                next(iter(log.entries()), None)
    except (DamagedError, BadLogError):
        return True
    return False


def reset(
    folder: Path,
    identity: StoreIdentity,
    password: str,
    rng: Rng,
    *,
    aside: str,
    cost: ScryptCost | None = None,
) -> Path:
    """Move damaged files into the subfolder ``aside``, and return its path.

    A broken or older store is replaced by a fresh one. A sound store keeps its place and its share if only a file beside it is
    damaged. Raises ``StorageError`` if a node has the folder locked, or nothing is damaged.
    """
    with locked(folder):
        found = assess_store(folder, identity, password)
        if found.health in (Health.EMPTY, Health.SOUND) and not found.broken:
            raise StorageError(
                f"reset data folder {folder}: it is {found.health.value}, there is nothing to move aside",
                hint="start the node; it gets a share within two rotations",
            )
        broken = [name + suffix for name in found.broken for suffix in ("", "-wal", "-shm")]
        if found.health is Health.SOUND:
            return set_aside(folder, aside, broken)
        return replace(
            folder, RebuildSpec(identity, password, aside.encode(), None, cost), rng, aside, broken
        )
