"""A whole network on this machine: a chain, contracts, operators registered on it, one process each.

``open_network`` is the one way to get one; the stories that ``devnet run`` tells, ``devnet up``, benchmarks and the end-to-end
tests all stand on it. What it says on the way goes to a callback, a line a step.

Operators are known by their index, which they keep: from the beginning those that were registered before the first start, then
each that joined. One that left keeps its index and, until it is stopped, its process.
"""

import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from eigenkms.chain import registration
from eigenkms.chain.config import Deployment, Finality
from eigenkms.chain.rpc import JsonRpc
from eigenkms.chain.transactions import Sender
from eigenkms.client.settings import ClientSettings
from eigenkms.devnet.anchor import DevnetAnchor, open_devnet_anchor
from eigenkms.devnet.contract_deployment import deploy_contracts
from eigenkms.devnet.engines.accounts import PRIVATE_KEYS, address_of
from eigenkms.devnet.engines.launch import ChainProcess, EngineName, open_engine, set_clock
from eigenkms.devnet.node_processes import (
    TETHERED,
    Access,
    DevnetOperator,
    Listener,
    NodeProcess,
    Timing,
    checked_accounts,
    contract_settings,
    make_member,
    network_settings,
    register,
    run_node_process,
    toml,
    write_config,
    write_private,
)
from eigenkms.devnet.nurseries import open_scope
from eigenkms.devnet.ports import free_ports
from eigenkms.errors import InputError
from eigenkms.types import OperatorAddress

Say = Callable[[str], None]
UP_SECONDS = 300.0
"""Starting a process costs seconds of CPU time; here many start at once on what may be a busy machine."""
STATE_FILE = "network.json"
SETUP_BLOCKS = 600
"""More than it takes to deploy the contracts and register the operators, a block each."""


@dataclass
class Devnet:
    """A running devnet. ``nodes`` are the processes that were started, by member index."""

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
        """The operator set as this network made it."""
        return [member for member in self.members if member.index not in self._left]

    def hear(self, listener: Listener) -> None:
        """Call ``listener`` with every event of every node from now on."""
        self._listeners.append(listener)

    def _tell(self, member: DevnetOperator, event: Mapping[str, Any]) -> None:
        for listener in self._listeners:
            listener(member, event)

    # -- processes -------------------------------------------------------------------------------------------

    async def start(
        self, index: int, *, arguments: Sequence[str] = (), launcher: Sequence[str] = TETHERED
    ) -> NodeProcess:
        """Start one operator's process. It is stopped with the network, whoever started it."""
        node: NodeProcess = await self._nursery.start(self._live, index, arguments, launcher)
        return node

    async def _live(
        self,
        index: int,
        arguments: Sequence[str],
        launcher: Sequence[str],
        task_status: trio.TaskStatus[NodeProcess] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """The life of one process."""
        async with run_node_process(
            self.members[index], arguments=arguments, launcher=launcher, listener=self._tell
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
        """Start an operator again, stopping what still runs; it is up when this returns. Raises ``NetworkError``."""
        before = self.nodes.get(index)
        if before is not None:
            await before.stop()
            await before.ended.wait()
        node = await self.start(index)
        await node.wait_event("up", UP_SECONDS)

    async def kill(self, index: int) -> None:
        """SIGKILL, as a crash; its last words are in its log when this returns."""
        node = self.nodes[index]
        await node.kill()
        await node.ended.wait()

    async def stop_all(self) -> dict[int, int]:
        """Stop all processes at once; their exit codes by member index."""
        codes: dict[int, int] = {}

        async def stop(index: int, node: NodeProcess) -> None:
            codes[index] = await node.stop()

        async with trio.open_nursery() as nursery:
            for index, node in self.nodes.items():
                nursery.start_soon(stop, index, node)
        return codes

    # -- the operator set ------------------------------------------------------------------------------------

    async def join(self) -> DevnetOperator:
        """One more operator: its node is started, without ``--genesis`` and with nothing in its data folder, then registered.

        Raises ``InputError`` if the chain has no account left, ``ChainError``, ``NetworkError``.
        """
        if not self.spare_accounts:
            raise InputError("join another operator: the chain has no account left for it")
        account = self.spare_accounts.pop(0)
        (port,) = free_ports(1)
        member = await trio.to_thread.run_sync(_make, self.folder, len(self.members), account, port)
        member.founder = False
        self.members.append(member)
        self.accounts.append(account)
        self._write_config(member)
        await self.restart(member.index)
        if self.anchor is not None:
            await self.anchor.admit(member.address)
        await register(member, account, self.owner, self.contracts)
        return member

    def _write_config(self, member: DevnetOperator) -> None:
        write_config(member, self.shared_settings)

    @property
    def shared_settings(self) -> dict[str, object]:
        """What every node here is configured with."""
        return network_settings(self.engine.url, self.contracts, self.timing, self.access, self.anchor)

    async def leave(self, index: int) -> None:
        """Take an operator out of the set; its process goes on. Raises ``ChainError``."""
        await registration.deregister(self.accounts[index], self.contracts)
        self._left.add(index)

    async def move(self, index: int, *, publish: bool = False) -> None:
        """Let an operator's node listen on another port; with ``publish`` the chain's socket says so too, before it is up there.

        Without it only the node's own signed record tells others where it went. Raises ``ChainError``, ``NetworkError``.
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
        """Settings of a client of this network, with its own known-clusters file."""
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
        """The file with the private key of an account that has ether, in hex: whoever makes applications here."""
        return self.folder / "creator.key"

    def write_files(self) -> None:
        """``client.toml`` for ``eigenkms encrypt`` and its kin, and the key that it names.

        ``operator.toml`` is what the configuration of one more operator begins with.
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
        """As long as the context lasts, the folder says which process ``devnet down`` must stop."""
        state = self.folder / STATE_FILE
        pid = os.getpid()
        state.write_text(json.dumps({"pid": pid, "started": started_at(pid), "rpc_url": self.engine.url}))
        try:
            yield
        finally:
            state.unlink(missing_ok=True)


def _make(folder: Path, index: int, account: Sender, port: int) -> DevnetOperator:
    key = next(key for key in PRIVATE_KEYS if address_of(key) == account.address)
    return make_member(
        index, OperatorAddress(account.address), folder / f"operator-{index + 1}", port, account_key=key
    )


def started_at(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; ``None`` if there is none. Tells a reused pid from the one meant."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    except (OSError, IndexError):
        return None


@contextmanager
def _workplace(folder: Path | None) -> Iterator[Path]:
    """The folder to work in: ``folder`` if it is new or empty, else a temporary one that is removed again."""
    if folder is not None:
        if folder.exists() and any(folder.iterdir()):
            raise InputError(
                f"start devnet in {folder}: the folder is not empty", hint="give a new folder with --dir"
            )
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield folder.resolve()
        return
    made = Path(tempfile.mkdtemp(prefix="eigenkms-devnet-"))
    try:
        yield made
    finally:
        shutil.rmtree(made)


@asynccontextmanager
async def open_network(
    folder: Path | None,
    *,
    operators: int = 4,
    engine: str = "embedded",
    timing: Timing | None = None,
    access: Access | None = None,
    anchor: bool = False,
    say: Say = lambda _line: None,
) -> AsyncIterator[Devnet]:
    """Chain up, contracts deployed, operators registered; no node is started yet. Everything stops with the context.

    ``folder`` is a new or empty one that stays; ``None`` works in a temporary one. With ``anchor`` there is a second chain, whose
    registry nodes and clients know. Raises ``InputError`` or ``ChainError``.
    """
    with _workplace(folder) as place:
        async with _open(
            place, operators, engine, timing or Timing(), access or Access(), say, anchored=anchor
        ) as network:
            yield network


@asynccontextmanager
async def _open(
    folder: Path, operators: int, engine: str, timing: Timing, access: Access, say: Say, *, anchored: bool
) -> AsyncIterator[Devnet]:
    async with AsyncExitStack() as stack:
        name: EngineName = "anvil" if engine == "anvil" else "embedded"
        chain = await stack.enter_async_context(
            open_engine(
                name,
                block_time=0 if timing.on_demand else timing.block_seconds,
                log_path=folder / "chain.log",
                behind=SETUP_BLOCKS,
            )
        )
        pace = "for each transaction" if timing.on_demand else f"every {timing.block_seconds:g} s"
        say(f"chain: {name} engine at {chain.url}, a block {pace}")
        rpc = await stack.enter_async_context(JsonRpc(chain.url))
        keys = checked_accounts(chain.accounts, operators)
        contracts = await deploy_contracts(rpc, keys[0], keys[1])
        say(f"contracts deployed, AVS 0x{contracts.avs.hex()}")
        anchor = None
        if anchored:
            opening = open_devnet_anchor(name, contracts, folder / "anchor.log")
            anchor = await stack.enter_async_context(opening)
            say(f"anchor: chain {anchor.config.chain_id} at {anchor.config.rpc_url}, registry deployed")
        owner = Sender(rpc, keys[1], chain.chain_id)
        accounts = [Sender(rpc, key, chain.chain_id) for key in chain.accounts[2:]]
        ports = free_ports(operators)
        members = []
        shared = network_settings(chain.url, contracts, timing, access, anchor)
        for index, (account, port) in enumerate(zip(accounts, ports, strict=False)):
            member = await trio.to_thread.run_sync(_make, folder, index, account, port)
            write_config(member, shared)
            await register(member, account, owner, contracts)
            if anchor is not None:
                await anchor.admit(member.address)
            say(f"{member.name} 0x{member.address.hex()} registered with its BN254 key and socket")
            members.append(member)
        network = Devnet(
            folder=folder,
            engine=chain,
            contracts=contracts,
            members=members,
            owner=owner,
            accounts=accounts[:operators],
            spare_accounts=accounts[operators:],
            timing=timing,
            access=access,
            anchor=anchor,
            _nursery=await stack.enter_async_context(open_scope()),
        )
        network.write_files()
        await set_clock(chain, rpc)
        yield network
