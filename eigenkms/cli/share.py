"""``eigenkms share``: repair for an operator that lost its share, not its keys."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eigenkms.cli.support import client_runner
from eigenkms.cli.support.options import json_option, print_result_fields, settings_options, verb
from eigenkms.cli.support.output import print_note, warn
from eigenkms.cli.support.passwords import read_password
from eigenkms.cli.support.progress import Progress
from eigenkms.config.schema import CHAIN_SETTINGS
from eigenkms.errors import InputError, NetworkError, StorageError
from eigenkms.types import to_hex

if TYPE_CHECKING:
    from eigenkms.client.network_snapshot import NetworkSnapshot
    from eigenkms.config.settings import Settings
    from eigenkms.maintenance.repair import StoreCondition
    from eigenkms.storage.rows import StoreIdentity

_SETTINGS = (
    *CHAIN_SETTINGS,
    "operator",
    "data_dir",
    "bn254_keystore",
    "p2p_keystore",
    "password_file",
    "interval_blocks",
    "block_seconds",
    "known_clusters",
    "timeout",
)
_INTERVALS = 4
"""Boundaries that a wait lasts: one may pass while a node starts, one may fail; a key is published at one, dealt to at the next."""
_EXTRA_SECONDS = 30.0
_POLL_SECONDS = 0.5


@click.group("share")
def command() -> None:
    """Get a new share for an operator that lost one."""


@verb("repair", "eigenkms share repair --config node.toml --wait")
@click.option("--reset", is_flag=True, help="Move a broken database aside and create a new one.")
@click.option("--wait", is_flag=True, help="Wait until the running node holds the share.")
@settings_options(*_SETTINGS)
@json_option
def _repair(*, reset: bool, wait: bool, settings: "Settings", as_json: bool) -> None:
    """Report how and when this operator gets a share again.

    No secret is transferred: the node publishes a new encryption key at the next boundary and gets a share there or at the
    following one. --reset replaces a damaged or rolled-back database and keeps the old one in a subfolder. --wait waits until the
    node holds the share.
    """
    from eigenkms.config.paths import data_dir
    from eigenkms.maintenance.backup import check_keys, identity_of, saved_keystores

    identity, folder = identity_of(settings), data_dir(settings)
    password = read_password("the node's keystores", file=settings.get("password_file"), environ=os.environ)
    keys = check_keys(saved_keystores(settings), password)
    if not reset:
        _assess_store(folder, identity, password)
    snapshot = _take_snapshot(settings)
    _check_member(snapshot, identity, keys["bn254_keystore"]["g2"])
    aside = _reset(folder, identity, password) if reset else None
    found = _assess_store(folder, identity, password)
    facts = _facts(settings, identity, found, snapshot)
    facts |= {"data_dir": str(folder), "set_aside": None if aside is None else str(aside)}
    if wait and not facts["held"]:
        facts |= _wait_for_share(folder, facts, settings)
    print_result_fields(facts, as_json=as_json)
    _print_outlook(facts)


def _reset(folder: Path, identity: "StoreIdentity", password: str) -> Path:
    import secrets

    from eigenkms.maintenance.repair import reset

    name = time.strftime("set-aside-%Y%m%dT%H%M%SZ", time.gmtime())
    aside = reset(folder, identity, password, secrets.token_bytes, aside=name)
    print_note(f"what was there is in {aside}: keep it until the node holds a share again, then destroy it")
    return aside


def _assess_store(folder: Path, identity: "StoreIdentity", password: str) -> "StoreCondition":
    from eigenkms.maintenance.repair import Health, assess_store

    found = assess_store(folder, identity, password)
    if found.needs_reset:
        what = found.reason or f"{', '.join(found.broken)} is damaged"
        raise StorageError(
            f"repair the share in {folder}: {what}",
            hint="stop the node and add --reset: it moves what is broken aside, deletes nothing, and begins anew",
        )
    if found.health is Health.OLD:
        warn(
            f"{found.reason}: the node starts with it, and votes in no boundary up to the newest at its start"
        )
    return found


def _take_snapshot(settings: "Settings") -> "NetworkSnapshot":
    from eigenkms.client.network_snapshot import take_snapshot

    needed = client_runner.client_settings(settings)
    with Progress("asking the operators"):
        return client_runner.run(take_snapshot, needed)


def _check_member(snapshot: "NetworkSnapshot", identity: "StoreIdentity", g2: str) -> None:
    """Raise ``InputError`` unless the chain has this operator in the set.

    Its key there must be that of the keystore.
    """
    name = to_hex(identity.operator)
    if identity.operator in snapshot.rejected:
        raise InputError(
            f"repair the share of {name}: the chain's entry is unusable, {snapshot.rejected[identity.operator]}",
            hint="register a usable BN254 key for this operator and set",
        )
    mine = next((o for o in snapshot.operators if o.address == identity.operator), None)
    if mine is None:
        raise InputError(
            f"repair the share of {name}: it is not in the operator set, and only members are dealt shares",
            hint="register it for the operator set first, or correct operator or operator_set_id",
        )
    if mine.key.hex() != g2:
        raise InputError(
            f"repair the share of {name}: the chain has another BN254 key for it than the keystore",
            hint="give the keystore of the key that was registered; a lost one cannot be replaced, register anew",
        )


def _facts(
    settings: "Settings", identity: "StoreIdentity", found: "StoreCondition", snapshot: "NetworkSnapshot"
) -> dict[str, Any]:
    """Return the facts of the repair. Raises ``NetworkError`` if no share can come."""
    from eigenkms.config.paths import data_dir
    from eigenkms.storage.data_dir import FolderLock
    from eigenkms.storage.open_store import LOCK_NAME

    newest = snapshot.newest
    if newest is None:
        raise _without_version(snapshot, identity)
    version, threshold = int(newest.transcript.version), newest.transcript.threshold
    held = found.share is not None and found.share >= version
    holders = snapshot.holders(identity.operator)
    if not held and holders < threshold:
        raise NetworkError(
            f"repair the share of {to_hex(identity.operator)}: {holders} other operators answer and show version {version}, "
            f"and {threshold} must deal from it",
            hint="see eigenkms status for who is missing; the share comes when enough of them are back",
        )
    interval = settings.get("interval_blocks")
    boundary = snapshot.head - snapshot.head % interval + interval
    return {
        "operator": to_hex(identity.operator),
        "cluster": identity.cluster_id.hex(),
        "health": found.health.value,
        "running": FolderLock.holder(data_dir(settings) / LOCK_NAME),
        "version": version,
        "holders": holders,
        "threshold": threshold,
        "share": None if found.share is None else int(found.share),
        "held": held,
        "next_boundary": boundary,
        "next_boundary_seconds": round((boundary - snapshot.head) * settings.get("block_seconds")),
    }


def _without_version(snapshot: "NetworkSnapshot", identity: "StoreIdentity") -> NetworkError:
    others = snapshot.others(identity.operator)
    if others < snapshot.needed:
        return NetworkError(
            f"repair the share of {to_hex(identity.operator)}: {others} other operators answered, "
            f"{snapshot.needed} needed to know where the network stands",
            hint="see eigenkms status for who is missing, and check that this machine can reach them",
        )
    return NetworkError(
        f"repair the share of {to_hex(identity.operator)}: the operators that answered know no version",
        hint="there is no master key yet, or all have lost it: the first share comes with genesis (eigenkms node --genesis)",
    )


def _wait_for_share(folder: Path, facts: dict[str, Any], settings: "Settings") -> dict[str, Any]:
    """Wait until the node on this folder holds a share as new as the network's.

    Raises ``InputError`` if no node runs; ``NetworkError`` at the deadline.
    """
    if facts["running"] is None:
        raise InputError(
            f"wait for the share: no node runs on {folder}",
            hint="start it (eigenkms node), and do this again",
        )
    seconds = _INTERVALS * settings.get("interval_blocks") * settings.get("block_seconds") + _EXTRA_SECONDS
    deadline = time.monotonic() + seconds
    with Progress(f"waiting for the boundary at block {facts['next_boundary']}") as progress:
        progress(
            f"waiting for a share, which is dealt at block {facts['next_boundary']} or at the boundary after it"
        )
        while (share := _newest_share(folder)) is None or share < facts["version"]:
            _check_waiting(folder, deadline, seconds)
            time.sleep(_POLL_SECONDS)
    return {"share": share, "held": True}


def _newest_share(folder: Path) -> int | None:
    from eigenkms.storage.database import DamagedError
    from eigenkms.storage.store_reader import read_store

    try:
        with read_store(folder) as copy:
            return max((int(row.version) for row in copy.versions() if row.share_held), default=None)
    except DamagedError:
        return None  # a node that starts with an empty folder has not made its database yet


def _check_waiting(folder: Path, deadline: float, seconds: float) -> None:
    from eigenkms.storage.data_dir import FolderLock
    from eigenkms.storage.open_store import LOCK_NAME

    if FolderLock.holder(folder / LOCK_NAME) is None:
        raise NetworkError("wait for the share: the node has ended", hint="see its log, and start it again")
    if time.monotonic() > deadline:
        raise NetworkError(
            f"wait for the share: none came within {seconds:g} seconds",
            hint="the node's log says why a boundary gave none; eigenkms status says who is missing",
        )


def _print_outlook(facts: dict[str, Any]) -> None:
    if facts["held"]:
        return
    when = f"at block {facts['next_boundary']}, in about {facts['next_boundary_seconds']} seconds"
    if facts["running"] is None:
        print_note(
            f"hint: start the node; the share comes at the first or second boundary after its start, the next one is {when}"
        )
    else:
        print_note(f"note: the share comes {when}, or at the boundary after it; --wait waits for it")


command.add_command(_repair)
