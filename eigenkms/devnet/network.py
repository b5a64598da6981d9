"""A whole network on this machine: a chain, contracts, operators registered on it, one process each.

``open_network`` is the one way to get one; the story that ``devnet run`` tells, ``devnet up``, benchmarks and the end-to-end tests
all stand on it. What it says on the way goes to a callback, a line a step.
"""

import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from eigenkms.chain.config import Deployment, Finality
from eigenkms.chain.deploy import deploy_contracts
from eigenkms.chain.rpc import JsonRpc
from eigenkms.chain.transactions import Sender
from eigenkms.client.api import ClientSettings
from eigenkms.devnet.engines.launch import Engine, EngineName, open_engine
from eigenkms.devnet.members import (
    Member,
    NodeProcess,
    Timing,
    checked_accounts,
    free_ports,
    make_member,
    register,
    run_node_process,
    write_config,
)
from eigenkms.errors import InputError
from eigenkms.types import OperatorAddress

Say = Callable[[str], None]
UP_SECONDS = 60.0
STATE_FILE = "network.json"


@dataclass
class Network:
    """A running devnet. ``nodes`` are the processes that were started, by member index."""

    folder: Path
    engine: Engine
    contracts: Deployment
    members: list[Member]
    owner: Sender
    accounts: list[Sender]
    timing: Timing
    _stack: AsyncExitStack
    nodes: dict[int, NodeProcess] = field(default_factory=dict)

    async def start(
        self, index: int, *, arguments: tuple[str, ...] = (), environment: dict[str, str] | None = None
    ) -> NodeProcess:
        """Start (or restart) one operator's process."""
        context = run_node_process(self.members[index], arguments=arguments, environment=environment)
        node = await self._stack.enter_async_context(context)
        self.nodes[index] = node
        return node

    async def start_all(self) -> None:
        """Start all operators and wait until each is up."""
        for member in self.members:
            await self.start(member.index)
        for node in self.nodes.values():
            await node.wait_event("up", UP_SECONDS)

    async def stop_all(self) -> dict[int, int]:
        """Stop all processes at once; their exit codes by member index."""
        codes: dict[int, int] = {}

        async def stop(index: int, node: NodeProcess) -> None:
            codes[index] = await node.stop()

        async with trio.open_nursery() as nursery:
            for index, node in self.nodes.items():
                nursery.start_soon(stop, index, node)
        return codes

    async def genesis(self, seconds: float) -> None:
        """Wait until every operator has the certificate of a master key."""
        for node in self.nodes.values():
            await node.wait_event("certified", seconds)

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
        )

    @property
    def client_config(self) -> Path:
        return self.folder / "client.toml"

    def write_client_config(self) -> None:
        """A configuration file for ``eigenkms encrypt`` and its kin."""
        values = {
            "environment": "devnet",
            "rpc_url": self.engine.url,
            "avs": "0x" + self.contracts.avs.hex(),
            "allocation_manager": "0x" + self.contracts.allocation_manager.hex(),
            "key_registrar": "0x" + self.contracts.key_registrar.hex(),
            "known_clusters": str(self.folder / "known_clusters"),
        }
        self.client_config.write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in values.items()))

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
    say: Say = lambda _line: None,
) -> AsyncIterator[Network]:
    """Chain up, contracts deployed, operators registered; no node is started yet. Everything stops with the context.

    ``folder`` is a new or empty one that stays; ``None`` works in a temporary one. Raises ``InputError`` or ``ChainError``.
    """
    with _workplace(folder) as place:
        async with _open(place, operators, engine, timing or Timing(), say) as network:
            yield network


@asynccontextmanager
async def _open(
    folder: Path, operators: int, engine: str, timing: Timing, say: Say
) -> AsyncIterator[Network]:
    async with AsyncExitStack() as stack:
        name: EngineName = "anvil" if engine == "anvil" else "embedded"
        chain = await stack.enter_async_context(
            open_engine(name, block_time=timing.block_seconds, log_path=folder / "chain.log")
        )
        say(f"chain: {name} engine at {chain.url}, a block every {timing.block_seconds:g} s")
        rpc = await stack.enter_async_context(JsonRpc(chain.url))
        keys = checked_accounts(chain.accounts, operators)
        contracts = await deploy_contracts(rpc, keys[0], keys[1])
        say(f"contracts deployed, AVS 0x{contracts.avs.hex()}")
        owner = Sender(rpc, keys[1], chain.chain_id)
        accounts = [Sender(rpc, key, chain.chain_id) for key in keys[2:]]
        ports = free_ports(operators)
        members = []
        for index, (account, port) in enumerate(zip(accounts, ports, strict=True)):
            address = OperatorAddress(account.address)
            member = await trio.to_thread.run_sync(
                make_member, index, address, folder / f"operator-{index + 1}", port
            )
            write_config(member, chain.url, contracts, timing)
            await register(member, account, owner, contracts)
            say(f"{member.name} 0x{address.hex()} registered with its BN254 key and socket")
            members.append(member)
        network = Network(folder, chain, contracts, members, owner, accounts, timing, stack)
        network.write_client_config()
        yield network
