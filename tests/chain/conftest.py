"""One chain of each engine for the whole run, with contracts and four operators; each test gets it as it was set up.

The engine and its set-up live in a thread with a trio loop of its own, since fixtures of session scope have none. A test
takes a snapshot before and goes back to it after.

A test of contracts and of what a node answers runs on each engine. A test of what our client makes of an answer is marked
``one_engine``: it plays the node's part itself, and a second engine adds nothing.
"""

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from eigenkms.chain import applications, provider_probes, registration, rpc_majority, rpc_pool
from eigenkms.chain.config import Deployment, Finality
from eigenkms.chain.operator_set_source import OperatorSetSource, open_chain
from eigenkms.chain.rpc import JsonRpc
from eigenkms.chain.transactions import Sender
from eigenkms.crypto import bn254
from eigenkms.crypto.hashing import be32, keccak256
from eigenkms.devnet.contract_deployment import deploy_contracts
from eigenkms.devnet.engines import ENGINES, ChainProcess, launch, open_engine
from tests.support.tools import require_engine
from tests.support.waiting import PATIENCE

MEMBERS = 4
DELAY = 5
"""Blocks that an operator that left stays slashable."""

ENGINE_PARAMS = [pytest.param(name, marks=[pytest.mark.anvil] if name == "anvil" else []) for name in ENGINES]
one_engine = pytest.mark.parametrize("background", ["embedded"], indirect=True, scope="session")
"""A test of the client: it runs on the embedded engine only, which needs no other program."""


@pytest.fixture(autouse=True)
def far_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the deadlines of the product from firing in tests of other things: an engine of a busy machine is slow."""
    put_deadlines_off(monkeypatch)


def put_deadlines_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(JsonRpc.__init__.__kwdefaults__, "deadline", PATIENCE)
    monkeypatch.setitem(Sender.__init__.__kwdefaults__, "deadline", PATIENCE)
    monkeypatch.setattr(rpc_pool, "DEADLINE_SECONDS", PATIENCE)
    monkeypatch.setattr(provider_probes, "PROBE_SECONDS", PATIENCE)
    monkeypatch.setattr(rpc_majority, "WITNESS_SECONDS", PATIENCE)
    monkeypatch.setattr(applications, "LOOKUP_SECONDS", PATIENCE)
    monkeypatch.setattr(applications, "FRESH_SECONDS", PATIENCE)
    monkeypatch.setattr(launch, "START_SECONDS", PATIENCE)


def bn254_key(number: int) -> bn254.KeyPair:
    """The same key for the same number in every run."""
    return bn254.KeyPair.from_secret(1 + int.from_bytes(keccak256(b"test key", be32(number))[1:], "big"))


@dataclass
class World:
    """A chain with an operator set whose members 0..3 have joined, and an RPC to it. Account 0 deploys, 1 is the AVS."""

    engine: ChainProcess
    contracts: Deployment
    rpc: JsonRpc

    def sender(self, account: int, rpc: JsonRpc | None = None) -> Sender:
        return Sender(rpc or self.rpc, self.engine.accounts[account], self.engine.chain_id, deadline=PATIENCE)

    @property
    def avs(self) -> Sender:
        return self.sender(1)

    def operator(self, number: int) -> Sender:
        return self.sender(2 + number)

    async def join(self, number: int, key: bn254.KeyPair | None = None, socket: str | None = None) -> None:
        operator = self.operator(number)
        await registration.add_to_allowlist(self.avs, self.contracts, operator.address)
        await registration.register_as_operator(operator, self.contracts)
        await registration.register_bn254_key(operator, self.contracts, key or bn254_key(number))
        await registration.register_for_operator_set(operator, self.contracts, socket or socket_of(number))

    @asynccontextmanager
    async def reader(
        self, finality: str = "latest", url: str | None = None
    ) -> AsyncIterator[OperatorSetSource]:
        config = self.contracts.config(url or self.engine.url, Finality.parse(finality))
        async with open_chain(config) as chain:
            yield chain

    async def mine(self, blocks: int = 1) -> None:
        await self.rpc.call("anvil_mine", hex(blocks))

    async def reorganise(self, depth: int, wei: int = 1) -> None:
        """Replace the newest ``depth`` blocks by as many others, the first of which moves ``wei``."""
        await self.rpc.call("anvil_rollback", depth)
        await registration.transfer(self.sender(31), b"\xbb" * 20, wei)
        await self.mine(depth - 1) if depth > 1 else None


def socket_of(number: int) -> str:
    return f"/ip4/127.0.0.1/tcp/{9000 + number}"


class _Background:
    """Runs an engine and its set-up in a thread until told to stop."""

    def __init__(self, name: Any, log_path: Path) -> None:
        self._name = name
        self._log_path = log_path
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self.engine: ChainProcess | None = None
        self.contracts: Deployment | None = None
        self._thread = threading.Thread(target=self._main)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        self._token.run_sync_soon(self._stop.set)
        self._thread.join(PATIENCE)

    def _main(self) -> None:
        try:
            trio.run(self._live)
        except BaseException as exc:
            self._failure = exc
        finally:
            self._ready.set()

    async def _live(self) -> None:
        self._token, self._stop = trio.lowlevel.current_trio_token(), trio.Event()
        async with open_engine(self._name, block_time=0, log_path=self._log_path) as engine:
            async with JsonRpc(engine.url, deadline=PATIENCE) as rpc:
                contracts = await deploy_contracts(
                    rpc, engine.accounts[0], engine.accounts[1], deallocation_delay=DELAY
                )
                world = World(engine, contracts, rpc)
                for number in range(MEMBERS):
                    await world.join(number)
            self.engine, self.contracts = engine, contracts
            self._ready.set()
            await self._stop.wait()


@pytest.fixture(scope="session", params=ENGINE_PARAMS)
def background(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[_Background]:
    require_engine(request.param)
    running = _Background(request.param, tmp_path_factory.mktemp("engine") / "engine.log")
    with pytest.MonkeyPatch.context() as patch:
        put_deadlines_off(patch)
        running.start()
    yield running
    running.stop()


@pytest.fixture
async def world(background: _Background) -> AsyncIterator[World]:
    assert background.engine is not None
    assert background.contracts is not None
    async with JsonRpc(background.engine.url) as rpc:
        snapshot = await rpc.call("evm_snapshot")
        yield World(background.engine, background.contracts, rpc)
        assert await rpc.call("evm_revert", snapshot) is True
