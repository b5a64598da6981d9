"""A running devnet on this machine: chain, contracts, and a process an operator.

``provisioning.open_network`` makes one. Operators are identified by their index, which they keep: first those that were
registered before the first start, then each that joined. An operator that left keeps its index and, until it is stopped, its
process.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from eigenkms.chain import registration
from eigenkms.chain.config import Deployment, Finality
from eigenkms.chain.rpc import JsonRpc
from eigenkms.chain.transactions import Sender
from eigenkms.client.settings import ClientSettings
from eigenkms.devnet.anchor import DevnetAnchor
from eigenkms.devnet.engines.launch import ChainProcess
from eigenkms.devnet.node_config import (
    Access,
    Timing,
    contract_settings,
    network_settings,
    toml,
    write_config,
)
from eigenkms.devnet.node_processes import TETHERED, Listener, NodeProcess, run_node_process
from eigenkms.devnet.operators import DevnetOperator, make_operator_of, register_operator, write_private
from eigenkms.devnet.ports import free_ports
from eigenkms.errors import InputError

Say = Callable[[str], None]
UP_SECONDS = 300.0
"""Starting a process costs seconds of CPU time; here many start at once on what may be a busy machine."""
STATE_FILE = "network.json"


@dataclass
class Devnet:
    """A running devnet.

    ``nodes`` are the processes that were started, by member index.
    """

    folder: Path
    engine: ChainProcess
    contracts: Deployment
    members: list[DevnetOperator]
    owner: Sender
    accounts: list[Sender]
    """Of each member, by its index."""
    spare_accounts: list[Sender]
    """For those that join later."""
    timing: Timing
    access: Access
    anchor: DevnetAnchor | None
    _nursery: trio.Nursery
    nodes: dict[int, NodeProcess] = field(default_factory=dict)
    _left: set[int] = field(default_factory=set)
    _listeners: list[Listener] = field(default_factory=list)

    @property
    def registered(self) -> list[DevnetOperator]:
        """Return the members of the operator set."""
        return [member for member in self.members if member.index not in self._left]

    def add_listener(self, listener: Listener) -> None:
        """Call ``listener`` with every event of every node from now on."""
        self._listeners.append(listener)

    def _notify(self, member: DevnetOperator, event: Mapping[str, Any]) -> None:
        for listener in self._listeners:
            listener(member, event)

    # -- processes -------------------------------------------------------------------------------------------

    async def start(
        self, index: int, *, arguments: Sequence[str] = (), launcher: Sequence[str] = TETHERED
    ) -> NodeProcess:
        """Start one operator's process. It is stopped with the network."""
        node: NodeProcess = await self._nursery.start(self._run_node, index, arguments, launcher)
        return node

    async def _run_node(
        self,
        index: int,
        arguments: Sequence[str],
        launcher: Sequence[str],
        task_status: trio.TaskStatus[NodeProcess] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Run one process until it ends."""
        async with run_node_process(
            self.members[index], arguments=arguments, launcher=launcher, listener=self._notify
        ) as node:
            self.nodes[index] = node
            task_status.started(node)
            await node.ended.wait()

    async def start_all(self) -> None:
        """Start all operators and wait until each is up."""
        for member in self.members:
            await self.start(member.index)
        for node in self.nodes.values():
            await node.wait_event("up", UP_SECONDS)

    async def restart(self, index: int) -> None:
        """Restart an operator's process and wait until it is up. Raises ``NetworkError``."""
        before = self.nodes.get(index)
        if before is not None:
            await before.stop()
            await before.ended.wait()
        node = await self.start(index)
        await node.wait_event("up", UP_SECONDS)

    async def kill(self, index: int) -> None:
        """Send SIGKILL, as a crash, and wait until its log is complete."""
        node = self.nodes[index]
        await node.kill()
        await node.ended.wait()

    async def stop_all(self) -> dict[int, int]:
        """Stop all processes at once; return their exit codes by member index."""
        codes: dict[int, int] = {}

        async def stop(index: int, node: NodeProcess) -> None:
            codes[index] = await node.stop()

        async with trio.open_nursery() as nursery:
            for index, node in self.nodes.items():
                nursery.start_soon(stop, index, node)
        return codes

    # -- the chain -------------------------------------------------------------------------------------------

    async def mine_boundary(self) -> int:
        """Mine up to the next boundary, and return its block number.

        It waits for no operator. Raises ``ChainError``.
        """
        interval = self.timing.interval_blocks
        async with JsonRpc(self.engine.url) as rpc:
            head = int(str(await rpc.call("eth_blockNumber")), 16)
            count = interval - head % interval
            await rpc.call("anvil_mine", hex(count))
        return head + count

    # -- the operator set ------------------------------------------------------------------------------------

    async def join(self) -> DevnetOperator:
        """Add an operator: start its node, then register it.

        It starts without ``--genesis`` and with an empty data folder.
        Raises ``InputError`` if the chain has no account left, ``ChainError``, ``NetworkError``.
        """
        if not self.spare_accounts:
            raise InputError("join another operator: the chain has no account left for it")
        account = self.spare_accounts.pop(0)
        (port,) = free_ports(1)
        member = await trio.to_thread.run_sync(
            make_operator_of, self.folder, len(self.members), account, port
        )
        member.founder = False
        self.members.append(member)
        self.accounts.append(account)
        self._write_config(member)
        await self.restart(member.index)
        if self.anchor is not None:
            await self.anchor.admit(member.address)
        await register_operator(member, account, self.owner, self.contracts)
        return member

    def _write_config(self, member: DevnetOperator) -> None:
        write_config(member, self.shared_settings)

    @property
    def shared_settings(self) -> dict[str, object]:
        """Return the settings that all nodes share."""
        return network_settings(self.engine.url, self.contracts, self.timing, self.access, self.anchor)

    async def leave(self, index: int) -> None:
        """Deregister an operator; its process keeps running. Raises ``ChainError``."""
        await registration.deregister(self.accounts[index], self.contracts)
        self._left.add(index)

    async def move(self, index: int, *, publish: bool = False) -> None:
        """Let an operator's node listen on another port.

        With ``publish`` its socket on chain is updated first. Without it only the node's own signed record announces the new
        address. Raises ``ChainError``, ``NetworkError``.
        """
        member = self.members[index]
        (member.port,) = free_ports(1)
        self._write_config(member)
        if publish:
            await registration.update_socket(self.accounts[index], self.contracts, member.multiaddr)
            member.socket = member.multiaddr
        await self.restart(index)

    # -- clients ---------------------------------------------------------------------------------------------

    async def genesis(self, seconds: float) -> None:
        """Wait until every operator holds its share of a certified master key."""
        for node in self.nodes.values():
            await node.wait_event("share held", seconds)

    @property
    def client_settings(self) -> ClientSettings:
        """Return settings of a client of this network, with its own known-clusters file."""
        return ClientSettings(
            rpc_url=self.engine.url,
            chain_id=self.engine.chain_id,
            avs=self.contracts.avs,
            operator_set_id=self.contracts.operator_set_id,
            allocation_manager=self.contracts.allocation_manager,
            key_registrar=self.contracts.key_registrar,
            finality=Finality.parse("latest"),
            known_clusters_path=self.folder / "known_clusters",
            app_controller=self.contracts.app_controller,
            anchor=None if self.anchor is None else self.anchor.config,
        )

    @property
    def client_config(self) -> Path:
        return self.folder / "client.toml"

    @property
    def creator_key(self) -> Path:
        """Return the file with the private key, in hex, of the creator of applications.

        It is an account with ether.
        """
        return self.folder / "creator.key"

    def write_files(self) -> None:
        """Write ``client.toml`` and the key that it names, and ``operator.toml``.

        ``eigenkms encrypt`` and ``decrypt`` read the first. The configuration of a further operator begins with ``operator.toml``.
        """
        write_private(self.creator_key, self.engine.accounts[-1].hex() + "\n")
        values = {
            "environment": "devnet",
            "rpc_url": self.engine.url,
            **contract_settings(self.contracts),
            "known_clusters": str(self.folder / "known_clusters"),
            "ecdsa_key_file": str(self.creator_key),
            **({} if self.anchor is None else self.anchor.settings),
        }
        self.client_config.write_text(toml(values))
        (self.folder / "operator.toml").write_text(toml(self.shared_settings))

    @contextmanager
    def announced(self) -> Iterator[None]:
        """Write, for the length of the context, which process ``devnet down`` must stop."""
        state = self.folder / STATE_FILE
        pid = os.getpid()
        state.write_text(json.dumps({"pid": pid, "started": started_at(pid), "rpc_url": self.engine.url}))
        try:
            yield
        finally:
            state.unlink(missing_ok=True)


def started_at(pid: int) -> int | None:
    """Return the start of a process in clock ticks since boot, None if there is none.

    It identifies a reused pid.
    """
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    except (OSError, IndexError):
        return None
