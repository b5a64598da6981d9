"""What is wrong with a node's data folder, and how to begin it anew: nothing is deleted, and nothing that was forgotten votes.

A share needs no repair of its own: a member publishes a key at the next boundary, and is dealt a share there or at the one after.
What can keep a node from that is a folder that it cannot open.
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
    """Of a data folder."""

    EMPTY = "empty"
    SOUND = "sound"
    OLD = "an older copy"
    """A node starts with it, and knows not to trust its memory."""
    BROKEN = "broken"


@dataclass(frozen=True)
class StoreCondition:
    """``reason`` says what is wrong, ``broken`` which files beside the store are damaged; ``share`` is the newest version held."""

    health: Health
    reason: str = ""
    broken: tuple[str, ...] = ()
    share: Version | None = None

    @property
    def needs_reset(self) -> bool:
        return self.health is Health.BROKEN or bool(self.broken)


def assess_store(folder: Path, identity: StoreIdentity, password: str) -> StoreCondition:
    """Look at a folder, whose node may run. Raises ``StorageError`` for one that is another operator's, of another release, or that
    cannot be read.
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
    """What is sealed in a store does not open."""


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
    """Those beside the store that cannot be read. Raises ``StorageError`` for one of another release."""
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
    """Move a broken or older store, and what is damaged beside it, into the subfolder ``aside``, and begin anew. A sound store, and
    the share in it, stays where only something beside it is damaged.

    Raises ``StorageError`` where a node has the folder, or there is nothing wrong with it.
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
