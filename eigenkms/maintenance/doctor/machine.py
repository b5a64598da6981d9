"""Checks of this machine: configuration, files, keys, disk, limits, certificate."""

import math
import os
import resource
import secrets
import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import trio

from eigenkms.config.presets import DEVNET_CHAIN_ID
from eigenkms.crypto.bn254 import KeyPair
from eigenkms.keys.keystores import PrivateKey, open_key, read_metadata
from eigenkms.maintenance.doctor.checks import Finding, failed, ok, skipped, warning
from eigenkms.maintenance.doctor.context import CheckContext
from eigenkms.maintenance.repair import Health, assess_store, damaged_files
from eigenkms.protocols.records.audit_log import BadLogError, LogHeader
from eigenkms.storage.audit_log import KEEP_HINT, check_end
from eigenkms.storage.data_dir import FolderLock, storage_error
from eigenkms.storage.open_store import DATABASE_NAME, LOCK_NAME, StoreOpener
from eigenkms.storage.replay_cache import SPENT_NAME
from eigenkms.storage.rows import StoreIdentity
from eigenkms.storage.snapshot import snapshot

SPACE_NEEDED, SPACE_WANTED = 64 * 2**20, 2**30
FILES_NEEDED, FILES_WANTED = 1024, 8192
RENEW_BEFORE: Final = timedelta(days=14)
_VOLATILE: Final = frozenset({"tmpfs", "ramfs", "devtmpfs"})
_REMOTE: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "glusterfs"})
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


async def configuration(case: CheckContext) -> Finding:
    config = case.config
    return ok(
        f"operator 0x{config.operator.hex()} on chain {config.chain.chain_id}, policy {config.policy.mode}"
    )


async def policy(case: CheckContext) -> Finding:
    """An open policy is what a devnet is for; whether versions are anchored is no policy."""
    config = case.config
    usual = (
        "versions are not anchored",
        *(("policy is open",) if config.chain.chain_id == DEVNET_CHAIN_ID else ()),
    )
    odd = [told for told in config.warnings if not told.startswith(usual)]
    if odd:
        return warning("; ".join(odd), "read docs/security.md on policies, and set what you mean")
    return ok(f"policy {config.policy.mode}")


async def issuers(case: CheckContext) -> Finding:
    """The keys of the attestation services, over HTTPS."""
    from eigenkms.attestation.jwks import KeySource

    attestation = case.config.policy.attestation
    services = attestation.services
    if case.config.policy.mode != "attested" or not services:
        return skipped("no attestation service is needed")
    found = []
    for name in (method for method in attestation.methods if method in services):
        service = services[name]
        count = await KeySource(service.keys, ca_file=attestation.ca).check()
        found.append(f"{name} serves {count} keys, images must be {' or '.join(service.support)}")
    return ok("; ".join(found))


# -- keys ----------------------------------------------------------------------------------------------------------


async def files(case: CheckContext) -> Finding:
    """Keystores and password: there, and for the node's user alone."""
    keys, anchor = case.config.keys, case.config.anchor
    wanted = {"bn254": keys.bn254_keystore, "p2p": keys.p2p_keystore}
    for kind, path in wanted.items():
        if path is not None and not path.exists():
            return failed(
                f"there is no keystore {path}",
                f"give the right path as {kind}_keystore; a new operator makes one with "
                f"eigenkms keys new --kind {kind} -o {path} --password-file FILE",
            )
    if keys.password_file is not None and not keys.password_file.exists():
        return failed(
            f"there is no password file {keys.password_file}", "give the right path as password_file"
        )
    named = [p for p in (*wanted.values(), keys.password_file) if p is not None]
    named += [p for p in (anchor.account_keystore, anchor.password_file) if p and p.exists()]
    exposed = [str(path) for path in named if path.stat().st_mode & _OTHERS]
    if exposed:
        return warning(
            f"others on this machine can read {', '.join(exposed)}", f"chmod 600 {' '.join(exposed)}"
        )
    return ok("only their owner can read keystores and password")


async def keystores(case: CheckContext) -> Finding:
    """Their kind, and what they say of their keys; no password is needed."""
    wanted = {"bn254": case.config.keys.bn254_keystore}
    if case.p2p_path.exists():
        wanted["p2p"] = case.p2p_path
    for kind, path in wanted.items():
        found, public = read_metadata(path)
        if found != kind:
            return failed(
                f"keystore {path} holds a {found} key, not a {kind} key",
                f"give another file as {kind}_keystore",
            )
        case.public[kind] = public
    if "p2p" not in wanted:
        return ok("BN254 keystore found; the node makes a p2p keystore at its first start")
    return ok(f"BN254 keystore, and p2p keystore of peer {case.public_value('p2p', 'peer_id')}")


async def password(case: CheckContext) -> Finding:
    """It opens the keystores, and each holds the key that it says."""
    case.password = case.read_password(case.config)
    if case.password is None:
        return skipped(
            "no password was given", "give --password-file, set EIGENKMS_PASSWORD, or add --verify-keys"
        )
    paths = {"bn254": case.config.keys.bn254_keystore}
    if "p2p" in case.public:
        paths["p2p"] = case.p2p_path
    for kind, path in paths.items():
        case.keys[kind] = await trio.to_thread.run_sync(_open, path, kind, case.password)
    return ok(f"the password opens {' and '.join(str(path) for path in paths.values())}")


def _open(path: Path, kind: str, password: str) -> PrivateKey:
    return open_key(path, kind, password)


# -- disk ----------------------------------------------------------------------------------------------------------


def _existing(path: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())


async def disk(case: CheckContext) -> Finding:
    """Room, and a file system that keeps what it was given."""
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
    """The type of the file system, "" where this system does not tell (proc(5), mountinfo)."""
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
    """It is there or can be made, and takes and keeps what is written."""
    folder = case.config.data_dir
    case.is_running, case.pid = False, 0
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
    holder = FolderLock.holder(folder / LOCK_NAME)
    case.is_running, case.pid = holder is not None, int(holder) if holder and holder.isdecimal() else 0
    if folder.stat().st_mode & _OTHERS:
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
    """What is in the data folder is this operator's, of this cluster, opens with the password, and a node would start with it."""
    if case.is_running:
        return ok("a node has it open")
    return await trio.to_thread.run_sync(_look_at_store, case)


def _look_at_store(case: CheckContext) -> Finding:
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


# -- limits --------------------------------------------------------------------------------------------------------


def _limit(case: CheckContext, number: int, name: str) -> tuple[float, float, str]:
    """Soft and hard limit, and whose: of the node that runs if it can be seen, else of this command."""
    if case.pid:
        try:
            text = Path(f"/proc/{case.pid}/limits").read_text(encoding="ascii")
            line = next(line for line in text.splitlines() if line.startswith(name))
            soft, hard = line[len(name) :].split()[:2]
            return _number(soft), _number(hard), "the running node"
        except (OSError, StopIteration, ValueError):
            pass
    soft_, hard_ = resource.getrlimit(number)
    return _finite(soft_), _finite(hard_), "a command started like this one"


def _number(text: str) -> float:
    return math.inf if text == "unlimited" else int(text)


def _finite(limit: int) -> float:
    return math.inf if limit == resource.RLIM_INFINITY else limit


async def open_files(case: CheckContext) -> Finding:
    """A node raises its soft limit to 8192, as far as the hard one lets it."""
    _, hard, whose = _limit(case, resource.RLIMIT_NOFILE, "Max open files")
    sentence = f"{whose} may have {hard:g} files open"
    advice = f"set LimitNOFILE={FILES_WANTED} in the systemd unit, or ulimit -n {FILES_WANTED}"
    if hard < FILES_NEEDED:
        return failed(f"{sentence}, too few for peers and clients", advice)
    return warning(sentence, advice) if hard < FILES_WANTED else ok(sentence)


async def core_dumps(case: CheckContext) -> Finding:
    """A core file is a copy of the memory, keys included."""
    soft, _, whose = _limit(case, resource.RLIMIT_CORE, "Max core file size")
    if soft:
        return warning(
            f"a crash of {whose} may write its memory, keys included, to a core file",
            "set LimitCORE=0 in the systemd unit, or ulimit -c 0",
        )
    return ok("a crash writes no core file")


# -- listeners -----------------------------------------------------------------------------------------------------


async def certificate(case: CheckContext) -> Finding:
    """The HTTP API's: readable, with its key, and good for a while."""
    http = case.config.http
    if http.listen is None:
        return skipped("there is no HTTP API")
    if (files := http.tls) is None:
        return ok(f"HTTP without TLS at {http.listen}")
    files.load()
    begin, end = files.validity()
    path, now = files.certificate, datetime.fromtimestamp(case.clock(), UTC)
    renew = f"get a new certificate, write it to {path} with its chain, and start the node again"
    if now >= end:
        return failed(f"certificate {path} expired on {end:%Y-%m-%d}", renew)
    if now < begin:
        return failed(f"certificate {path} is not valid before {begin:%Y-%m-%d}", renew)
    if end - now < RENEW_BEFORE:
        return warning(f"certificate {path} expires on {end:%Y-%m-%d}", renew)
    return ok(f"certificate {path} is good until {end:%Y-%m-%d}")


async def monitor(case: CheckContext) -> Finding:
    """It has no login."""
    listen = case.config.monitor.listen
    if listen is None:
        return skipped("there is no monitoring listener")
    if not listen.host.is_loopback:
        return warning(
            f"the monitoring listener at {listen} has no login, and is not for this machine alone",
            f'set monitor_listen = "127.0.0.1:{listen.port}", or keep strangers from it by a firewall',
        )
    return ok(f"monitoring at {listen}, for this machine alone")
