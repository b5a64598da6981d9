"""Provision a devnet: start a chain, deploy the contracts, register operators.

No node is started.

The scenarios of ``devnet run``, ``devnet up``, benchmarks and the end-to-end tests all begin with ``open_network``. It reports each
step to a callback, a line a step.
"""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import trio

from eigenkms.chain.rpc import JsonRpc
from eigenkms.chain.transactions import Sender
from eigenkms.devnet.anchor import open_devnet_anchor
from eigenkms.devnet.contract_deployment import deploy_contracts
from eigenkms.devnet.engines.launch import EngineName, open_engine, set_clock
from eigenkms.devnet.network import Devnet, Say
from eigenkms.devnet.node_config import Access, Timing, network_settings, write_config
from eigenkms.devnet.nurseries import open_scope
from eigenkms.devnet.operators import make_operator_of, register_operator
from eigenkms.devnet.ports import free_ports
from eigenkms.errors import ChainError, InputError
from eigenkms.types import to_hex

SETUP_BLOCKS = 600
"""More blocks than it takes to deploy the contracts and register the operators, a block each."""


def checked_accounts(accounts: Sequence[bytes], operators: int) -> Sequence[bytes]:
    """Return the accounts of deployer, AVS owner and operators.

    Raises ``ChainError`` if the engine has fewer.
    """
    if len(accounts) < operators + 2:
        raise ChainError(
            f"start devnet: the engine has {len(accounts)} accounts, {operators + 2} needed",
            hint=f"use at most {len(accounts) - 2} operators",
        )
    return accounts[: operators + 2]


@contextmanager
def _work_folder(folder: Path | None) -> Iterator[Path]:
    """Return ``folder``, new or empty, or a temporary one that the context removes."""
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
    """Start a chain, deploy the contracts and register the operators.

    No node is started. All stops with the context. ``folder`` is a new or empty one that stays; ``None`` works in a temporary
    one. With ``anchor`` there is a second chain, whose registry nodes and clients know. Raises ``InputError`` or
    ``ChainError``.
    """
    with _work_folder(folder) as workplace:
        async with _open(
            workplace, operators, engine, timing or Timing(), access or Access(), say, anchored=anchor
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
        say(f"contracts deployed, AVS {to_hex(contracts.avs)}")
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
            member = await trio.to_thread.run_sync(make_operator_of, folder, index, account, port)
            write_config(member, shared)
            await register_operator(member, account, owner, contracts)
            if anchor is not None:
                await anchor.admit(member.address)
            say(f"{member.name} {to_hex(member.address)} registered with its BN254 key and socket")
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
        await set_clock(chain, rpc, on_demand=timing.on_demand)
        yield network
