"""``eigenkms backup``: an encrypted file of an operator's keys.

It is created, checked, and restored.
"""

import hashlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eigenkms.cli.support import client_runner
from eigenkms.cli.support.input_file import InputFile
from eigenkms.cli.support.options import json_option, print_result_fields, settings_options, verb
from eigenkms.cli.support.output import print_note, warn
from eigenkms.cli.support.passwords import BACKUP, read_password
from eigenkms.config.schema import CHAIN_SETTINGS
from eigenkms.errors import ChainError, EigenKmsError, InputError, StorageError
from eigenkms.types import to_hex

if TYPE_CHECKING:
    from eigenkms.client.network_snapshot import NetworkSnapshot
    from eigenkms.config.settings import Settings
    from eigenkms.maintenance.backup_file import Backup
    from eigenkms.maintenance.restore import RestoreTarget

_NODE = (*CHAIN_SETTINGS, "operator", "data_dir", "bn254_keystore", "p2p_keystore", "password_file")
_SECRET = ("backup_password_file",)


@click.group("backup")
def command() -> None:
    """Create, verify and restore a backup of a node.

    A backup holds the keystores and the configuration. With --with-share it also holds the share of the newest version.
    """


def _node_password(settings: "Settings") -> str:
    return read_password(
        "the node's keystores", file=settings.get("password_file"), environ=os.environ, confirm=False
    )


def _backup_password(settings: "Settings", *, confirm: bool = False) -> str:
    return read_password(
        "the backup",
        file=settings.get("backup_password_file"),
        environ=os.environ,
        confirm=confirm,
        ways=BACKUP,
    )


def _facts(backup: "Backup") -> dict[str, Any]:
    from eigenkms.maintenance.backup import public_values

    public = public_values(backup)
    return {
        "operator": to_hex(backup.identity.operator),
        "cluster": backup.identity.cluster_id.hex(),
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(backup.created)),
        "release": backup.release,
        "version": backup.settled,
        "share": None if backup.share is None else int(backup.share.row.version),
        "peer_id": public["p2p_keystore"].get("peer_id"),
        "keystores": sorted(backup.keystores),
        "config": None if backup.config is None else backup.config.path,
    }


@verb(
    "create",
    "eigenkms backup create --config node.toml --backup-password-file backup-password.txt -o node.backup",
)
@click.option("-o", "--output", metavar="FILE", required=True, help="File to create; it must not exist.")
@click.option("--with-share", is_flag=True, help="Add the share of the newest version.")
@settings_options(*_NODE, *_SECRET)
@json_option
def _create(*, output: str, with_share: bool, settings: "Settings", as_json: bool) -> None:
    """Write keystores and configuration to an encrypted file.

    The node may run. The keystores stay under their own password inside the file. Store both passwords apart from it. With
    --with-share the file is as secret as the node's disk until the next version. Destroy it afterwards.
    """
    import secrets

    from eigenkms.maintenance.backup import make_backup
    from eigenkms.storage.rebuild import write_new

    target = Path(output)
    if output == "-" or target.is_dir() or not target.resolve().parent.is_dir():
        raise InputError(
            f"write {output}: it must be a file in a folder that exists", hint="give another file with -o"
        )
    if target.exists():
        raise InputError(
            f"write {output}: it exists", hint="give another file with -o; backups are never replaced"
        )
    password = _node_password(settings)
    backup = make_backup(settings, settings.file, password, created=int(time.time()), with_share=with_share)
    sealing = _backup_password(settings, confirm=True)
    if sealing == password:
        raise InputError(
            "seal the backup: its password is the one of the node's keystores",
            hint="choose another one, so that nobody who learns one of them has the keys",
        )
    write_new(target, backup.seal(sealing, secrets.token_bytes))
    print_result_fields({"file": output, **_facts(backup)}, as_json=as_json)
    if backup.config is None:
        warn("there is no configuration file in the backup, as none was given with --config")
    if with_share:
        warn("the file holds a share of the master key: destroy it once there is a newer version")


def _open(file: str, settings: "Settings") -> tuple["Backup", bytes]:
    """Return the backup, checked without any network, and the digest of its file."""
    from eigenkms.maintenance.backup import check
    from eigenkms.maintenance.backup_file import MAX_BYTES, open_backup

    data = InputFile(file).read(MAX_BYTES, hint="no backup is so long")
    try:
        backup = open_backup(data, _backup_password(settings))
    except InputError as error:
        reason = str(error).removeprefix("open eigenkms-backup: ")
        raise InputError(f"open backup {file}: {reason}", hint=error.hint) from error
    check(backup)
    return backup, hashlib.sha256(data).hexdigest().encode()


@verb("verify", "eigenkms backup verify node.backup --config node.toml")
@click.argument("file")
@settings_options(*client_runner.NETWORK_SETTINGS, "password_file", *_SECRET)
@json_option
@click.pass_context
def _verify(ctx: click.Context, *, file: str, settings: "Settings", as_json: bool) -> None:
    """Check everything in a backup.

    With --password-file the keystores are opened too. With --config the network is queried: a backup is stale if its share belongs
    to a superseded version, or if the chain has another BN254 key or peer id. Exit code 1 if it is stale.
    """
    backup, _ = _open(file, settings)
    facts = {"file": file, **_facts(backup), "keys_opened": False}
    if settings.get("password_file") is not None:
        from eigenkms.maintenance.backup import check_keys

        check_keys(backup.keystores, _node_password(settings))
        facts["keys_opened"] = True
    stale = None
    if settings.get("rpc_url"):
        from eigenkms.maintenance.backup_staleness import peer_id_mismatch, staleness_reason

        snapshot = _take_snapshot(backup, settings)
        newest = snapshot.newest
        stale = staleness_reason(backup, snapshot) or peer_id_mismatch(backup, snapshot)
        facts |= {
            "network_version": None if newest is None else int(newest.transcript.version),
            "stale": stale,
        }
    print_result_fields(facts, as_json=as_json)
    if stale is not None:
        print_note(f"this backup is stale: {stale}")
        print_note("hint: make a new one with eigenkms backup create, and destroy this one")
        ctx.exit(1)


def _take_snapshot(backup: "Backup", settings: "Settings") -> "NetworkSnapshot":
    """Take a snapshot of the configured network.

    Raises ``InputError`` if the backup is of another network; ``ChainError``.
    """
    from eigenkms.client.network_snapshot import take_snapshot

    if client_runner.cluster(settings) != backup.identity.cluster_id:
        raise InputError(
            f"compare the backup with the network: it is of cluster {backup.identity.cluster_id.hex()[:16]}…, "
            "and the configuration names another",
            hint="check chain_id, avs and operator_set_id",
        )
    return client_runner.run(take_snapshot, client_runner.client_settings(settings))


@verb(
    "restore",
    "eigenkms backup restore node.backup -d /var/lib/eigenkms --password-file password.txt",
)
@click.argument("file")
@click.option("-d", "--folder", type=click.Path(path_type=Path), help="New folder for all files.")
@click.option("--with-share", is_flag=True, help="Restore the share too, if no newer version exists.")
@settings_options(*_NODE, "known_clusters", "timeout", *_SECRET)
@json_option
def _restore(
    *, file: str, folder: Path | None, with_share: bool, settings: "Settings", as_json: bool
) -> None:
    """Restore a backup, either completely or not at all.

    Files go where --config says, or into the new folder given with -d. No file is overwritten. The node gets a new share by
    rotation. With --with-share the share is restored too, if enough other operators report that its version is the newest.
    """
    import secrets

    from eigenkms.maintenance.backup import config_settings
    from eigenkms.maintenance.restore import check_target, missing_files, restore, target_in, target_of

    backup, mark = _open(file, settings)
    target = target_of(backup, settings) if folder is None else target_in(backup, folder.absolute())
    _refuse_if_running(target)
    check_target(target, mark)
    password = _node_password(settings)
    refused = None
    if with_share:
        refused = _why_no_share(backup, settings if folder is None else config_settings(backup) or settings)
    wanted = with_share and refused is None
    held = restore(backup, target, password, mark, secrets.token_bytes, with_share=wanted)
    if wanted and held is None:
        refused = "this backup was restored there before, without it"
    facts = {
        "file": file,
        "operator": to_hex(backup.identity.operator),
        "cluster": backup.identity.cluster_id.hex(),
        "data_dir": str(target.data_dir),
        "files": [str(path) for path, _ in target.files],
        "share": held,
        "share_refused": refused,
        "missing": missing_files(backup),
    }
    print_result_fields(facts, as_json=as_json)
    if refused is not None:
        warn(f"keys were restored, the share was not: {refused}")
    _print_next_steps(facts, target)


def _refuse_if_running(target: "RestoreTarget") -> None:
    from eigenkms.storage.rebuild import locked

    if target.data_dir.is_dir():
        with locked(target.data_dir):
            pass


def _print_next_steps(facts: dict[str, Any], target: "RestoreTarget") -> None:
    if facts["missing"]:
        print_note(
            "note: put back what the backup has not, or change these settings: " + ", ".join(facts["missing"])
        )
    config = next((path for path, _ in target.files if path.suffix == ".toml"), "node.toml")
    print_note(f"hint: eigenkms share repair --config {config} says when the node has a share again")


def _why_no_share(backup: "Backup", settings: "Settings") -> str | None:
    """Return why the share must not be restored; None if it may be."""
    if backup.share is None:
        return "there is none in the backup"
    try:
        snapshot = _take_snapshot(backup, settings)
    except (ChainError, StorageError) as error:
        return f"whether its version is superseded cannot be found out ({error})"
    except EigenKmsError as error:
        return f"the network cannot be asked ({error})"
    from eigenkms.maintenance.backup_staleness import share_doubt

    return share_doubt(backup, backup.share.row.version, snapshot)


for each in (_create, _verify, _restore):
    command.add_command(each)
