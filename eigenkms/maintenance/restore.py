"""Restore a backup: all of it or nothing, and over no existing file.

If a configuration is given, the keystores and the data folder go to the places that it names. Otherwise all goes into one folder,
with the backup's own configuration, whose paths are rewritten. The data folder comes first, the configuration last. A restore that
was interrupted is completed by the next one.

The store is a fresh one that is marked as restored (``storage/rebuild``). So the node votes in no boundary up to the newest one at
its start, and in no genesis.
"""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from eigenkms.config.paths import P2P_KEYSTORE_NAME, data_dir
from eigenkms.config.schema import SETTINGS
from eigenkms.config.settings import Settings
from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.keystore import ScryptCost
from eigenkms.errors import InputError, StorageError
from eigenkms.maintenance.backup import check_keys, config_settings, identity_of, keystore_paths
from eigenkms.maintenance.backup_file import Backup
from eigenkms.plain_text import NotUtf8Error, decode_text
from eigenkms.storage.data_dir import storage_error, sync_folder
from eigenkms.storage.open_store import LOCK_NAME
from eigenkms.storage.rebuild import (
    LEFTOVERS,
    RESTORED,
    RebuildSpec,
    is_unfinished,
    locked,
    rebuild,
    roll_back,
    temporary,
    write_new,
)
from eigenkms.storage.store_reader import has_store, read_store
from eigenkms.types import Version, to_hex

CONFIG_NAME: Final = "node.toml"
_NAMES: Final = {
    "bn254_keystore": "bn254.json",
    "p2p_keystore": P2P_KEYSTORE_NAME,
    "account_keystore": "account.json",
    "anchor_account_keystore": "anchor-account.json",
}
_FLOOR: Final = "vote-floor"
"""The entry of a store that a node writes at its first start (``node.vote_guard``)."""


@dataclass(frozen=True, slots=True)
class RestoreTarget:
    """The places that a backup is restored to.

    ``files`` are paths and contents, in the order of writing. ``folder``, if it is given, may hold nothing else.
    """

    data_dir: Path
    files: Sequence[tuple[Path, bytes]]
    folder: Path | None = None


def target_of(backup: Backup, settings: Settings) -> RestoreTarget:
    """Return the places that a configuration on this machine names.

    Raises ``InputError`` if it is the configuration of another operator or cluster.
    """
    identity = identity_of(settings)
    if identity.operator != backup.identity.operator:
        raise InputError(
            f"restore: the backup is of operator {to_hex(backup.identity.operator)}, "
            f"the configuration of {to_hex(identity.operator)}",
            hint="give the configuration of the operator that was backed up, or -d FOLDER",
        )
    if identity != backup.identity:
        raise InputError(
            f"restore: the backup is of cluster {backup.identity.cluster_id.hex()[:16]}…, "
            f"the configuration names {identity.cluster_id.hex()[:16]}…",
            hint="check chain_id, avs and operator_set_id",
        )
    paths = keystore_paths(settings)
    files = [(paths[name], saved.content) for name, saved in backup.keystores.items() if name in paths]
    return RestoreTarget(data_dir(settings), files)


def target_in(backup: Backup, folder: Path) -> RestoreTarget:
    """Return places in one folder.

    Raises ``InputError`` if the backup has no configuration, or one that cannot be rewritten.
    """
    if backup.config is None:
        raise InputError(
            "restore into a folder: there is no configuration in the backup",
            hint="write one, and give it with --config",
        )
    values = {"data_dir": "data"} | {name: _NAMES[name] for name in backup.keystores}
    config = localised_config(backup.config.content, values, Path(backup.config.path))
    files = [(folder / _NAMES[name], saved.content) for name, saved in backup.keystores.items()]
    return RestoreTarget(folder / "data", [*files, (folder / CONFIG_NAME, config)], folder)


def _parsed(content: bytes, path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(decode_text(content))
    except (tomllib.TOMLDecodeError, NotUtf8Error) as error:
        raise InputError(f"read configuration file {path}: {error}") from error


def localised_config(config: bytes, values: dict[str, str], path: Path) -> bytes:
    """Return a configuration with other values for these settings.

    Every other line stays. ``path`` is for messages. Raises ``InputError`` if a value is written over several lines.
    """
    before = _parsed(config, path)
    lines = decode_text(config).splitlines()
    for name, value in values.items():
        line = f"{name} = {json.dumps(value)}"
        at = next(
            (i for i, text in enumerate(lines) if re.match(rf"""\s*["']?{name}["']?\s*=""", text)), None
        )
        if at is None:
            lines.insert(0, line)
        else:
            lines[at] = line
    content = ("\n".join(lines) + "\n").encode()
    if _parsed(content, path) != {**before, **values}:
        raise InputError(
            f"rewrite configuration file {path}: a path in it is written over several lines",
            hint="write a configuration for this machine, and give it with --config",
        )
    return content


def missing_files(backup: Backup) -> list[str]:
    """Return the settings whose files the backup lacks, by name.

    The operator must restore these files by hand.
    """
    settings = config_settings(backup)
    if settings is None or backup.config is None:
        return []
    values = _parsed(backup.config.content, Path(backup.config.path))
    return sorted(
        name for name in values if SETTINGS[name].is_path and name not in {*backup.keystores, "data_dir"}
    )


def check_target(target: RestoreTarget, mark: bytes) -> bool:
    """Check that a restore would overwrite nothing.

    Returns whether an earlier restore of the same backup completed the data folder. ``mark`` names the backup file. Raises
    ``StorageError``.
    """
    ours = _is_ours(target.data_dir, mark)
    names = {path for path, _ in target.files}
    if not ours:
        leftovers = LEFTOVERS if is_unfinished(target.data_dir) else ()
        _check_empty(target.data_dir, names | {target.data_dir / name for name in (LOCK_NAME, *leftovers)})
    if target.folder is not None:
        _check_empty(target.folder, names | {temporary(path) for path in names} | {target.data_dir})
    for path, content in target.files:
        if path.exists() and path.read_bytes() != content:
            raise StorageError(
                f"restore {path}: another file is there",
                hint="move it away, or restore with -d into a new folder",
            )
    return ours


def _check_empty(folder: Path, allowed: set[Path]) -> None:
    try:
        found = sorted(path for path in folder.iterdir() if path not in allowed) if folder.exists() else []
    except OSError as error:
        raise storage_error("read folder", folder, error) from error
    if found:
        raise StorageError(
            f"restore into {folder}: it is not empty, there is {found[0].name}",
            hint="give another folder; where a node's database is broken, eigenkms share repair --reset moves it aside",
        )


def _is_ours(folder: Path, mark: bytes) -> bool:
    """Return whether this backup was restored there, and no node has started since."""
    if not has_store(folder) or is_unfinished(folder):
        return False
    with read_store(folder) as copy:
        return copy.meta(RESTORED) == mark and copy.meta(_FLOOR) is None


def restore(
    backup: Backup,
    target: RestoreTarget,
    password: str,
    mark: bytes,
    rng: Rng,
    *,
    with_share: bool,
    cost: ScryptCost | None = None,
) -> Version | None:
    """Restore a backup, and return the version whose share the store holds, if any.

    ``password`` is that of the keystores and of the new store. ``mark`` names the backup file. ``cost`` is the scrypt cost of the
    store. It returns None if an earlier restore, which this one completes, restored no share.

    Raises ``InputError`` and ``StorageError`` after it has removed all that it wrote.
    """
    check_keys(backup.keystores, password)
    made: list[Path] = []
    try:
        _make_folder(target.data_dir, made)
        with locked(target.data_dir):
            done = check_target(target, mark)
            try:
                if not done:
                    version = (backup.share.row, backup.share.share) if with_share and backup.share else None
                    rebuild(target.data_dir, RebuildSpec(backup.identity, password, mark, version, cost), rng)
                for path, content in target.files:
                    if path.exists():
                        temporary(path).unlink(missing_ok=True)
                        continue
                    _make_folder(path.parent, made)
                    write_new(path, content)
                    made.append(path)
            except BaseException:
                if not done:
                    roll_back(target.data_dir)
                raise
    except BaseException:
        for path in reversed(made):
            _move_aside(path)
        raise
    with read_store(target.data_dir) as copy:
        return max((row.version for row in copy.versions() if row.share_held), default=None)


def _make_folder(folder: Path, made: list[Path]) -> None:
    """Create a folder and its parents, and append those that are new to ``made``."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        try:
            each.mkdir(mode=0o700)
            sync_folder(each.parent)
        except OSError as error:
            raise storage_error("create folder", each, error) from error
        made.append(each)


def _move_aside(path: Path) -> None:
    """Remove a file that this restore made, or a folder with nothing but a lock in it."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
    elif not {each.name for each in path.iterdir()} - {LOCK_NAME}:
        (path / LOCK_NAME).unlink(missing_ok=True)
        path.rmdir()
