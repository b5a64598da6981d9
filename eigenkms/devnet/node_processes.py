"""The operators of a devnet: keys and configuration on disk, registration on chain, one process each."""

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from eigenkms.chain import registration
from eigenkms.chain.config import Deployment
from eigenkms.chain.transactions import Sender
from eigenkms.chain.values import hexed
from eigenkms.crypto.bn254 import KeyPair
from eigenkms.crypto.keystore import ScryptCost
from eigenkms.devnet.anchor import DevnetAnchor
from eigenkms.devnet.nurseries import alongside
from eigenkms.errors import ChainError, NetworkError
from eigenkms.keys.keystores import PrivateKey, new_key, public_values
from eigenkms.types import OperatorAddress

STOP_SECONDS = 30.0
MAX_LINE_BYTES = 64 * 1024
TETHERED = ("-m", "eigenkms.devnet.parent_watchdog")
_LIGHT = ScryptCost(n=2**12, r=8, p=1)
"""Devnet passwords are random and on the same disk; strong stretching would only slow the start."""


@dataclass
class DevnetOperator:
    """One operator. ``folder`` holds its keystores, configuration, data and log; ``port`` is where its node listens."""

    index: int
    address: OperatorAddress
    folder: Path
    port: int
    peer_id: str
    socket: str
    """What the chain says: a multiaddr with the peer id."""
    key: KeyPair = field(repr=False)
    founder: bool = True
    """Whether its node may take part in genesis with a new data folder."""

    @property
    def name(self) -> str:
        return f"operator {self.index + 1}"

    @property
    def multiaddr(self) -> str:
        """Where its node listens."""
        return _multiaddr(self.port, self.peer_id)

    @property
    def config(self) -> Path:
        return self.folder / "node.toml"

    @property
    def log(self) -> Path:
        return self.folder / "node.log"


@dataclass(frozen=True)
class Timing:
    """Blocks between boundaries, seconds a block, and the protocol window in seconds.

    ``on_demand``: the chain makes a block for each transaction and on request, not by time. Nodes still expect ``block_seconds``.
    """

    interval_blocks: int = 10
    block_seconds: float = 1.0
    window_seconds: float = 1.0
    on_demand: bool = False


@dataclass(frozen=True)
class Access:
    """Who gets keys: the policy of all nodes, and their settings of attestation, by name, where they differ from the default."""

    policy: str = "open"
    attestation: Mapping[str, Any] = field(default_factory=dict)

    @property
    def methods(self) -> Sequence[str]:
        """The enabled methods of attestation."""
        return tuple(self.attestation.get("attestation_methods", ()))


def make_member(
    index: int, address: OperatorAddress, folder: Path, port: int, account_key: bytes | None = None
) -> DevnetOperator:
    """Make keystores under a random password, also one of the operator's account if its key (32 bytes) is given.

    CPU-bound: call in a worker thread.
    """
    folder.mkdir(mode=0o700, parents=True)
    password = secrets.token_urlsafe(24)
    write_private(folder / "password", password + "\n")
    bn254, p2p = new_key("bn254", secrets.token_bytes), new_key("p2p", secrets.token_bytes)
    named = [(bn254, "bn254.json"), (p2p, "p2p.json")]
    if account_key is not None:
        named.append(
            (PrivateKey("secp256k1", account_key, public_values("secp256k1", account_key)), "account.json")
        )
    for key, name in named:
        sealed = key.seal(password, secrets.token_bytes, cost=_LIGHT)
        write_private(folder / name, sealed.decode())
    peer_id = str(p2p.public["peer_id"])
    socket = _multiaddr(port, peer_id)
    return DevnetOperator(index, address, folder, port, peer_id, socket, KeyPair.from_secret(bn254.secret))


def _multiaddr(port: int, peer_id: str) -> str:
    return f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer_id}"


def write_private(path: Path, text: str) -> None:
    """A new file that its owner alone can read."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)


def contract_settings(contracts: Deployment) -> dict[str, str]:
    """The contracts of a devnet, by the keys of docs/configuration.md."""
    names = ("avs", "allocation_manager", "delegation_manager", "key_registrar", "app_controller")
    return {name: hexed(getattr(contracts, name)) for name in names}


def network_settings(
    rpc_url: str, contracts: Deployment, timing: Timing, access: Access, anchor: DevnetAnchor | None = None
) -> dict[str, object]:
    """What the configurations of all nodes of a devnet have in common, by the keys of docs/configuration.md."""
    return {
        "environment": "devnet",
        "rpc_url": rpc_url,
        **contract_settings(contracts),
        "interval_blocks": timing.interval_blocks,
        "block_seconds": timing.block_seconds,
        "window_seconds": timing.window_seconds,
        "poll_seconds": 0.25,
        "policy": access.policy,
        **access.attestation,
        **({} if anchor is None else anchor.settings),
    }


def toml(values: Mapping[str, object]) -> str:
    """A configuration file: texts, numbers, truth and lists of texts are written in TOML as they are in JSON."""
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())


def write_config(member: DevnetOperator, shared: Mapping[str, object]) -> None:
    """The node's TOML file, anew, with what all nodes share."""
    values = {
        **shared,
        "operator": "0x" + member.address.hex(),
        "data_dir": str(member.folder / "data"),
        "bn254_keystore": str(member.folder / "bn254.json"),
        "p2p_keystore": str(member.folder / "p2p.json"),
        "password_file": str(member.folder / "password"),
        "listen": [f"/ip4/127.0.0.1/tcp/{member.port}"],
        "genesis": member.founder,
        "log_format": "json",
    }
    if "anchor_registry" in shared:
        values["anchor_account_keystore"] = str(member.folder / "account.json")
    member.config.unlink(missing_ok=True)
    write_private(member.config, toml(values))


async def register(member: DevnetOperator, account: Sender, owner: Sender, contracts: Deployment) -> None:
    """Everything from a bare account to membership. Raises ``ChainError``."""
    await registration.add_to_allowlist(owner, contracts, member.address)
    await registration.register_as_operator(account, contracts)
    await registration.register_bn254_key(account, contracts, member.key)
    await registration.register_for_operator_set(account, contracts, member.socket)


Listener = Callable[[DevnetOperator, Mapping[str, Any]], None]
"""What is called with each event of an operator's log; it must not block."""


class NodeProcess:
    """A running ``eigenkms node``. Its log lines are events; ``wait_event`` waits for one."""

    def __init__(
        self, member: DevnetOperator, process: trio.Process, listener: Listener | None = None
    ) -> None:
        self.member = member
        self.process = process
        self._seen: dict[str, dict[str, Any]] = {}
        self._news = trio.Event()
        self._listener = listener
        self._reading = trio.CancelScope(shield=True)
        self.ended = trio.Event()

    def has_said(self, name: str) -> bool:
        """Whether an event of that name was logged in this life."""
        return name in self._seen

    async def wait_event(self, name: str, seconds: float) -> dict[str, Any]:
        """The last event of that name, once there is one. Raises ``NetworkError`` if the node ends first or time is up."""
        with trio.move_on_after(seconds):
            while name not in self._seen:
                if self.ended.is_set():
                    raise NetworkError(
                        f"wait for {self.member.name} to be {name!r}: its process ended with code {self.process.returncode}",
                        hint=f"see {self.member.log}",
                    )
                await self._news.wait()
        if name not in self._seen:
            raise NetworkError(
                f"wait for {self.member.name} to be {name!r}: not within {seconds:g} seconds",
                hint=f"see {self.member.log}",
            )
        return self._seen[name]

    async def follow(self) -> None:
        """Copy the log to its file and take note of events, until the process ends; cancelled by ``abandon`` alone."""
        assert self.process.stderr is not None
        buffer = b""
        with self._reading, self.member.log.open("ab") as file:
            async for chunk in self.process.stderr:
                file.write(chunk)
                file.flush()
                *lines, buffer = (buffer + chunk).split(b"\n")
                buffer = buffer[-MAX_LINE_BYTES:]
                for line in lines:
                    self._take(line)
            await self.process.wait()
        self.ended.set()
        self._wake()

    def abandon(self) -> None:
        """Read the log no further."""
        self._reading.cancel()

    def _take(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            return
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            self._seen[event["event"]] = event
            if self._listener is not None:
                self._listener(self.member, event)
            self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def stop(self) -> int:
        """SIGTERM; SIGKILL if it takes longer than ``STOP_SECONDS``. The exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        with trio.move_on_after(STOP_SECONDS):
            await self.process.wait()
        return await self.kill()

    async def kill(self) -> int:
        """SIGKILL, as a crash."""
        if self.process.returncode is None:
            self.process.kill()
        return await self.process.wait()


@asynccontextmanager
async def run_node_process(
    member: DevnetOperator,
    *,
    arguments: Sequence[str] = (),
    environment: dict[str, str] | None = None,
    launcher: Sequence[str] = TETHERED,
    listener: Listener | None = None,
) -> AsyncIterator[NodeProcess]:
    """A node process for the length of the context; stopped at its end. ``launcher`` makes Python the ``eigenkms`` command."""
    command = [
        sys.executable,
        *launcher,
        "node",
        "--config",
        str(member.config),
        *arguments,
    ]
    process = await trio.lowlevel.open_process(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=None if environment is None else {**os.environ, **environment},
    )
    node = NodeProcess(member, process, listener)
    async with alongside(node.follow):
        try:
            yield node
        finally:
            with trio.CancelScope(shield=True):
                await node.stop()
                assert process.stdin is not None
                await process.stdin.aclose()
                with trio.move_on_after(1):
                    await node.ended.wait()
                node.abandon()


def checked_accounts(accounts: Sequence[bytes], operators: int) -> Sequence[bytes]:
    """Accounts of deployer, AVS owner and ``operators`` operators. Raises ``ChainError`` if the engine has fewer."""
    if len(accounts) < operators + 2:
        raise ChainError(
            f"start devnet: the engine has {len(accounts)} accounts, {operators + 2} needed",
            hint=f"use at most {len(accounts) - 2} operators",
        )
    return accounts[: operators + 2]
