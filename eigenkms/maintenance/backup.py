"""Make a backup of a node's files, and check one without a network.

The node may run meanwhile: its store is read through a snapshot. All keystores are opened once before they are saved, so no backup
has a keystore that the operator's password does not open.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from eigenkms import __version__
from eigenkms.config.paths import data_dir, p2p_keystore
from eigenkms.config.settings import Settings
from eigenkms.config.sources import gather
from eigenkms.crypto.feldman import verify_share
from eigenkms.crypto.scalars import SecretScalar, coordinate
from eigenkms.errors import EigenKmsError, InputError, StorageError
from eigenkms.keys.keystores import open_content, parse_metadata, read_file
from eigenkms.maintenance.backup_file import (
    ACCOUNTS,
    KEYSTORES,
    MAX_CONFIG_BYTES,
    NEW_BACKUP,
    Backup,
    SavedFile,
    SavedShare,
)
from eigenkms.plain_text import NotUtf8Error, decode_text
from eigenkms.storage.rows import StoreIdentity
from eigenkms.storage.store_reader import has_store, read_store
from eigenkms.types import Cluster, OperatorAddress, to_hex
from eigenkms.wire.certified_transcript import CertifiedTranscript, check_certified_transcript
from eigenkms.wire.session import cluster_id
from eigenkms.wire.settlement_proof import check_settled, decode_settlement_proof
from eigenkms.wire.transcript import decode_transcript
from eigenkms.wire.votes import decode_certificate

SHARE_READS: Final = 20
"""Reads of the store for a share of the newest version: a node decrypts it in the moments after the certificate."""


def pause() -> None:
    """Sleep between two reads of a store that another process writes."""
    time.sleep(0.5)


def check_keys(keystores: Mapping[str, SavedFile], password: str) -> dict[str, dict[str, str]]:
    """Open the node's keystores, and return their public values by setting.

    Raises ``InputError`` if one does not open.
    """
    return {
        name: dict(open_content(Path(saved.path), saved.content, KEYSTORES[name], password).public)
        for name, saved in keystores.items()
        if name not in ACCOUNTS
    }


def public_values(backup: Backup) -> dict[str, dict[str, str]]:
    """Return the public values that the node's keystores claim, by setting.

    No password is needed, so they are unproven. Raises ``InputError`` if one has a key of another kind.
    """
    found = {}
    for name, saved in backup.keystores.items():
        if name in ACCOUNTS:
            continue
        kind, public = parse_metadata(Path(saved.path), saved.content)
        if kind != KEYSTORES[name]:
            raise InputError(
                f"check backup: {name} holds a {kind} key, not a {KEYSTORES[name]} key", hint=NEW_BACKUP
            )
        found[name] = public
    return found


def config_settings(backup: Backup) -> Settings | None:
    """Read the configuration in the backup, or return None if there is none.

    Relative paths are relative to its former place. Raises ``InputError``.
    """
    if backup.config is None:
        return None
    return read_settings(Path(backup.config.path), backup.config.content)


def read_settings(path: Path, content: bytes) -> Settings:
    """Read the content of a configuration file, without flags and environment.

    Relative paths are relative to ``path``, where no file need be. Raises ``InputError``.
    """
    return gather({}, environ={}, file=path, text=_text(path, content))


def _text(path: Path, content: bytes) -> str:
    try:
        return decode_text(content)
    except NotUtf8Error as error:
        raise InputError(f"read configuration file {path}: {error}") from None


def identity_of(settings: Settings) -> StoreIdentity:
    """Return the operator and the cluster that ``settings`` name.

    Raises ``InputError`` if one of them is not set.
    """
    cluster = Cluster(settings.require("chain_id"), settings.require("avs"), settings.get("operator_set_id"))
    return StoreIdentity(cluster_id(cluster), OperatorAddress(settings.require("operator")))


def check(backup: Backup) -> None:
    """Check that the parts of a backup fit together.

    Keystores must have the kinds of their settings, the configuration must name the operator, and the share must be the operator's
    of the settled version. Raises ``InputError``.
    """
    public_values(backup)
    settings = config_settings(backup)
    if settings is not None and identity_of(settings) != backup.identity:
        raise InputError(
            "check backup: its configuration is of another operator or cluster than its store",
            hint=NEW_BACKUP,
        )
    if backup.share is not None:
        row = backup.share.row
        if (row.version, row.transcript_hash) != (backup.settled, backup.transcript_hash):
            raise InputError("check backup: its share is of another version than it says", hint=NEW_BACKUP)
        _check_share(backup.identity, backup.share)


def _check_share(identity: StoreIdentity, saved: SavedShare) -> None:
    """Check that a share is the operator's, of a version of this cluster.

    The version must be certified by its own recipients, and settled. Raises ``InputError``.
    """
    row = saved.row
    try:
        epoch = CertifiedTranscript(decode_transcript(row.transcript), decode_certificate(row.certificate))
        check_certified_transcript(epoch, identity.cluster_id)
        check_settled(epoch.transcript, None if row.proof is None else decode_settlement_proof(row.proof))
        share = SecretScalar.from_bytes(saved.share)
    except (EigenKmsError, ValueError) as error:
        raise InputError(f"check backup: its share proves nothing ({error})", hint=NEW_BACKUP) from None
    mine = epoch.transcript.recipients.get(identity.operator) is not None and verify_share(
        share, coordinate(identity.operator), epoch.transcript.commitments
    )
    if epoch.transcript.hash != row.transcript_hash or not mine:
        raise InputError("check backup: its share is not the operator's", hint=NEW_BACKUP)


# Reading a running or stopped node


def make_backup(
    settings: Settings,
    config_file: Path | None,
    password: str,
    *,
    created: int,
    with_share: bool = False,
    between_reads: Callable[[], None] = pause,
) -> Backup:
    """Make a backup of the node that ``settings`` describe.

    ``password`` opens the keystores and the store. ``created`` is in unix seconds. With ``with_share`` it waits up to 10 s for the
    share, if the newest version lacks it, and calls ``between_reads`` between two reads. Raises ``InputError`` and
    ``StorageError``.
    """
    identity = identity_of(settings)
    keystores = saved_keystores(settings)
    check_keys(keystores, password)
    config = None if config_file is None else _saved_config(config_file)
    folder = data_dir(settings)
    row, boundary, share = None, 0, None
    if has_store(folder):
        if with_share:
            _wait_for_share(folder, between_reads)
        with read_store(folder) as copy:
            if copy.identity != identity:
                raise StorageError(
                    f"back up {folder}: it belongs to operator {to_hex(copy.identity.operator)} in cluster "
                    f"{copy.identity.cluster_id.hex()[:16]}…, not to the one that the configuration names",
                    hint="check --config and --data-dir",
                )
            copy.check_password(password)
            row, boundary = copy.settled, copy.newest_session
            share = copy.share(row, password) if with_share and row is not None else None
    if with_share and (row is None or share is None):
        raise InputError(
            "back up the share: the node holds none of the newest version",
            hint="wait for the next boundary, or leave --with-share out",
        )
    backup = Backup(
        release=__version__,
        created=created,
        identity=identity,
        settled=None if row is None else row.version,
        transcript_hash=None if row is None else row.transcript_hash,
        boundary=boundary,
        keystores=keystores,
        config=config,
        share=None if row is None or share is None else SavedShare(row, share),
    )
    check(backup)
    return backup


def _wait_for_share(folder: Path, between_reads: Callable[[], None]) -> None:
    """Wait until the store has the share of its newest version.

    It gives up after ``SHARE_READS`` reads.
    """
    for _ in range(SHARE_READS):
        with read_store(folder) as copy:
            if copy.settled is None or copy.has_share(copy.settled):
                return
        between_reads()


def keystore_paths(settings: Settings) -> dict[str, Path]:
    """Return the paths of the node's keystores, by setting.

    Raises ``InputError`` if the BN254 keystore is not set.
    """
    paths = {
        "bn254_keystore": settings.require("bn254_keystore"),
        "p2p_keystore": p2p_keystore(settings),
    }
    return paths | {name: path for name in ACCOUNTS if (path := settings.get(name)) is not None}


def saved_keystores(settings: Settings) -> dict[str, SavedFile]:
    """Read the node's keystores, by setting.

    Raises ``InputError`` if one cannot be read.
    """
    return {
        name: SavedFile(str(path.absolute()), read_file(path))
        for name, path in keystore_paths(settings).items()
    }


def _saved_config(path: Path) -> SavedFile:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"read configuration file {path}: {reason}", hint="check --config") from error
    if len(content) > MAX_CONFIG_BYTES:
        raise InputError(f"read configuration file {path}: more than {MAX_CONFIG_BYTES} bytes")
    return SavedFile(str(path.absolute()), content)
