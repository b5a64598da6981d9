"""Transactions that are stuck, dear, doubtful or forgotten: one action has one nonce, whatever happens."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest
import trio
from eth_account.typed_transactions import TypedTransaction
from hexbytes import HexBytes

from eigenkms.chain import registration
from eigenkms.chain.registration import transfer
from eigenkms.chain.rpc import JsonRpc
from eigenkms.chain.signing import LocalSigner
from eigenkms.chain.transactions import Sender, Terms, base_fee_of, pending_of
from eigenkms.crypto.hashing import keccak256
from eigenkms.errors import ChainError
from eigenkms.types import to_hex
from tests.chain.conftest import ENGINE_PARAMS, World, one_engine
from tests.support.rpc_servers import Reply, Server, serve, tampering
from tests.support.waiting import PATIENCE, eventually

PAYEE = b"\xaa" * 20
ACCOUNT = 25
QUICK = Terms(replace_after=0.2, deadline=PATIENCE)
"""The embedded engine has a transaction in a block when it answers, so a slow one is not replaced meanwhile."""
with_pool = pytest.mark.parametrize(
    "background",
    [param for param in ENGINE_PARAMS if "anvil" in param.values],
    indirect=True,
    scope="session",
)
"""The embedded engine keeps no pool in which a transaction could be replaced."""


@dataclass
class Post:
    """What stands between a sender and the chain. ``raws`` are the transactions that were sent; ``keep`` decides which of them do
    not reach the chain, by their number.
    """

    upstream: str
    keep: Callable[[int], bool] = lambda _number: False
    raws: list[str] = field(default_factory=list)
    passed: int = 0
    rubbish: list[Reply] = field(default_factory=list)
    """What is answered to questions for a receipt, before the chain's answers are."""
    server: Server | None = None
    _news: trio.Event = field(default_factory=trio.Event)

    def tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def wait(self, *, sent: int = 0, passed: int = 0) -> None:
        """Until so many were sent, and so many of them are in a block."""
        with trio.fail_after(PATIENCE):
            while len(self.raws) < sent or self.passed < passed:
                await self._news.wait()

    @property
    def sent(self) -> list[dict[str, Any]]:
        return [TypedTransaction.from_bytes(HexBytes(raw)).as_dict() for raw in self.raws]

    async def deliver(self, number: int) -> None:
        """Let a transaction that was kept reach the chain."""
        async with JsonRpc(self.upstream) as rpc:
            await rpc.call("eth_sendRawTransaction", self.raws[number])


@asynccontextmanager
async def post(world: World, keep: Callable[[int], bool] = lambda _number: False) -> AsyncIterator[Post]:
    """A real node in front of which transactions get lost."""
    headers = {"content-type": "application/json"}
    found = Post(world.engine.url, keep)
    async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False, headers=headers) as client:

        async def answer(body: bytes) -> Reply:
            call = json.loads(body)
            if isinstance(call, dict) and call["method"] == "eth_sendRawTransaction":
                (raw,) = call["params"]
                found.raws.append(raw)
                found.tell()
                if found.keep(len(found.raws) - 1):
                    told = {"jsonrpc": "2.0", "id": call["id"], "result": to_hex(b"\x01" * 32)}
                    return Reply(json.dumps(told).encode())
                reply = Reply((await client.post(found.upstream, content=body)).content)
                found.passed += 1
                found.tell()
                return reply
            if isinstance(call, dict) and call["method"] == "eth_getTransactionReceipt" and found.rubbish:
                return found.rubbish.pop(0)
            return Reply((await client.post(found.upstream, content=body)).content)

        async with serve(answer) as server:
            found.server = server
            yield found


@asynccontextmanager
async def behind(place: Post, world: World, terms: Terms = QUICK) -> AsyncIterator[Sender]:
    assert place.server is not None
    async with JsonRpc(place.server.url) as rpc:
        yield Sender(rpc, world.engine.accounts[ACCOUNT], world.engine.chain_id, terms=terms)


async def fee(world: World) -> int:
    """What a transaction sent now would offer, in wei for a unit of gas."""
    return QUICK.fee(base_fee_of(await world.rpc.call("eth_getBlockByNumber", "latest", False)))


async def received(world: World) -> int:
    answer = await world.rpc.call("eth_getBalance", to_hex(PAYEE), "latest")
    assert isinstance(answer, str)
    return int(answer, 16)


async def leave_pending(world: World, wei: int) -> None:
    """A transaction that an earlier run sent and did not wait for; the chain must not mine by itself."""
    early = Sender(  # deadline of the subject: no block is made
        world.rpc, world.engine.accounts[ACCOUNT], world.engine.chain_id, deadline=0.05
    )
    with pytest.raises(ChainError, match="is in no block after"):
        await transfer(early, PAYEE, wei)


@one_engine
async def test_a_stuck_transaction_is_replaced_under_its_nonce(world: World) -> None:
    """Each replacement pays at least an eighth more, and the ether is moved once."""
    said: list[str] = []
    async with (
        post(world, keep=lambda number: number < 2) as place,
        behind(place, world, replace(QUICK, tell=said.append)) as sender,
    ):
        receipt = await transfer(sender, PAYEE, 7)
    first, second, third = place.sent
    assert first["nonce"] == second["nonce"] == third["nonce"]
    for before, after in ((first, second), (second, third)):
        for fee in ("maxFeePerGas", "maxPriorityFeePerGas"):
            assert 8 * after[fee] > 9 * before[fee]
    assert receipt.transaction_hash == keccak256(bytes.fromhex(place.raws[2][2:]))
    assert await received(world) == 7
    assert len(said) == 2
    assert "in no block yet, replaced at" in said[0]


@one_engine
async def test_rubbish_in_place_of_a_receipt_is_no_end(world: World) -> None:
    """What was sent is waited for, whatever the RPC says meanwhile: HTML, or that there were too many requests."""
    refusal = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32005, "message": "rate limited"}}
    async with post(world) as place, behind(place, world) as sender:
        place.rubbish = [Reply(b"<html>busy</html>"), Reply(json.dumps(refusal).encode())]
        receipt = await transfer(sender, PAYEE, 7)
        assert not place.rubbish
    assert receipt.transaction_hash == keccak256(bytes.fromhex(place.raws[0][2:]))
    assert await received(world) == 7


class Tiring:
    """A signer that signs once, and then is gone."""

    def __init__(self, key: bytes) -> None:
        self._inner = LocalSigner(key)
        self.address = self._inner.address
        self.asked = 0

    async def sign(self, fields: dict[str, Any]) -> bytes:
        self.asked += 1
        if self.asked > 1:
            raise ChainError("sign at web3signer: no connection")
        return await self._inner.sign(fields)


@one_engine
async def test_a_signer_that_is_gone_replaces_nothing_and_ends_nothing(world: World) -> None:
    """What was sent before is waited for, and counts when it gets into a block."""
    said: list[str] = []
    async with post(world, keep=lambda number: number == 0) as place:
        assert place.server is not None
        async with JsonRpc(place.server.url) as rpc, trio.open_nursery() as nursery:
            signer = Tiring(world.engine.accounts[ACCOUNT])
            terms = replace(QUICK, tell=said.append)
            sender = Sender(rpc, signer, world.engine.chain_id, terms=terms)

            async def late() -> None:
                await eventually(lambda: signer.asked >= 2)
                await place.deliver(0)

            nursery.start_soon(late)
            await transfer(sender, PAYEE, 7)
    assert await received(world) == 7
    assert any("not replaced, as nothing signs it" in line for line in said)


@one_engine
async def test_whichever_gets_into_a_block_counts(world: World) -> None:
    """Here the first one, which everybody thought was lost, after its replacement was sent."""
    async with (
        post(world, keep=lambda _number: True) as place,
        behind(place, world) as sender,
        trio.open_nursery() as nursery,
    ):

        async def belated() -> None:
            await place.wait(sent=2)
            await place.deliver(0)
            place.keep = lambda _number: False

        nursery.start_soon(belated)
        receipt = await transfer(sender, PAYEE, 7)
    assert receipt.transaction_hash == keccak256(bytes.fromhex(place.raws[0][2:]))
    assert await received(world) == 7


@one_engine
async def test_a_replacement_stays_below_the_ceiling(world: World) -> None:
    """Then the same one is sent again, for a node may have forgotten it."""
    ceiling = await fee(world)
    async with (
        post(world, keep=lambda number: number < 2) as place,
        behind(place, world, replace(QUICK, max_fee_wei=ceiling)) as sender,
    ):
        await transfer(sender, PAYEE, 7)
    assert len(place.raws) == 3
    assert len(set(place.raws)) == 1
    assert all(each["maxFeePerGas"] <= ceiling for each in place.sent)


@one_engine
async def test_a_network_that_asks_too_much_is_told(world: World) -> None:
    """Before anything is signed."""
    poor = Sender(
        world.rpc, world.engine.accounts[ACCOUNT], world.engine.chain_id, terms=Terms(max_fee_wei=10**9)
    )
    with pytest.raises(ChainError, match=r"the network asks [0-9.]+ gwei .* the ceiling is 1 gwei") as error:
        await transfer(poor, PAYEE, 1)
    assert error.value.hint is not None
    assert "max_gas_price_gwei" in error.value.hint
    assert await received(world) == 0


@one_engine
async def test_a_nonce_that_another_transaction_took_is_told(world: World) -> None:
    """Ours can never be included then: the person is told, instead of sending it again under another nonce."""
    async with (
        post(world, keep=lambda _number: True) as place,
        behind(place, world) as sender,
        trio.open_nursery() as nursery,
    ):

        async def elsewhere() -> None:
            await place.wait(sent=1)
            own = Sender(world.rpc, world.engine.accounts[ACCOUNT], world.engine.chain_id)
            await transfer(own, b"\xbb" * 20, 1)

        nursery.start_soon(elsewhere)
        with pytest.raises(ChainError, match=r"another transaction of 0x[0-9a-f]{40} took nonce"):
            await transfer(sender, PAYEE, 7)
    assert await received(world) == 0


async def test_a_pending_transaction_is_waited_for(world: World) -> None:
    """An earlier run's may be under way: nothing is sent before it is in a block, and then under the next nonce."""
    waiting = trio.Event()
    terms = replace(QUICK, replace_after=PATIENCE, tell=lambda _line: waiting.set())
    await world.rpc.call("evm_setAutomine", False)
    try:
        await leave_pending(world, 3)
        assert await pending_of(world.rpc, world.sender(ACCOUNT).address) == 1
        async with (
            post(world) as place,
            behind(place, world, terms) as sender,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(transfer, sender, PAYEE, 4)
            await waiting.wait()
            assert place.raws == []
            await world.rpc.call("evm_setAutomine", True)
            await world.mine()
    finally:
        await world.rpc.call("evm_setAutomine", True)
    assert await received(world) == 7


@one_engine
async def test_a_pending_transaction_that_stays_is_told(world: World) -> None:
    """With the two ways out."""
    await world.rpc.call("evm_setAutomine", False)
    try:
        await leave_pending(world, 3)
        late = Sender(world.rpc, world.engine.accounts[ACCOUNT], world.engine.chain_id, terms=QUICK)
        with pytest.raises(ChainError, match="is pending since more than") as error:
            await transfer(late, PAYEE, 4)
        assert error.value.hint is not None
        assert "--replace-pending" in error.value.hint
    finally:
        await world.mine()
        await world.rpc.call("evm_setAutomine", True)
    assert await received(world) == 3


@with_pool
async def test_a_pending_transaction_is_outbid_on_demand(world: World) -> None:
    """Under its nonce, by an eighth at a time until the node takes it: one of the two happens, not both."""
    await world.rpc.call("evm_setAutomine", False)
    try:
        await leave_pending(world, 3)
        terms = replace(QUICK, replace_pending=True, replace_after=None)
        async with (
            post(world) as place,
            behind(place, world, terms) as sender,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(transfer, sender, PAYEE, 4)
            await place.wait(passed=2)
            await world.mine()
    finally:
        await world.rpc.call("evm_setAutomine", True)
    assert await received(world) == 4


@with_pool
async def test_outbidding_ends_at_the_ceiling(world: World) -> None:
    """With a sentence that names it."""
    await world.rpc.call("evm_setAutomine", False)
    try:
        await leave_pending(world, 3)
        terms = replace(QUICK, replace_pending=True, max_fee_wei=await fee(world))
        late = Sender(world.rpc, world.engine.accounts[ACCOUNT], world.engine.chain_id, terms=terms)
        with pytest.raises(ChainError, match="replacing the pending transaction would cost more than"):
            await transfer(late, PAYEE, 4)
    finally:
        await world.mine()
        await world.rpc.call("evm_setAutomine", True)
    assert await received(world) == 3


@one_engine
async def test_a_transaction_that_a_reorganisation_drops_is_sent_again(world: World) -> None:
    """It counts when it is as deep as was asked for, on the chain as it is then."""
    terms = replace(QUICK, confirmations=3, max_fee_wei=await fee(world))
    async with (
        post(world) as place,
        behind(place, world, terms) as sender,
        trio.open_nursery() as nursery,
    ):

        async def reorganise() -> None:
            await place.wait(passed=1)
            await world.reorganise(1)
            await place.wait(passed=2)
            await world.mine(2)

        nursery.start_soon(reorganise)
        receipt = await transfer(sender, PAYEE, 7)
    head = await world.rpc.call("eth_blockNumber")
    assert isinstance(head, str)
    assert int(head, 16) >= receipt.block_number + 2
    assert await received(world) == 7


async def test_gas_is_estimated_with_headroom_up_to_the_limit(world: World) -> None:
    """A quarter more than the node says; a call that needs more than its limit, or would be reverted, is not sent."""
    terms = replace(QUICK, estimate=True)
    async with post(world) as place, behind(place, world, terms) as sender:
        await sender.send("move ether", PAYEE, b"", gas=500_000, value=7)
        (sent,) = place.sent
        assert 21_000 <= sent["gas"] <= 30_000
        with pytest.raises(ChainError, match=r"it would take 2[0-9]{4} gas, more than the 20000"):
            await sender.send("move ether", PAYEE, b"", gas=20_000, value=7)
        with pytest.raises(ChainError, match="not registered as an operator"):
            await registration.register_for_operator_set(sender, world.contracts, "/ip4/1.2.3.4/tcp/1")
    assert len(place.raws) == 1


@one_engine
async def test_a_node_that_lags_behind_repeats_no_nonce(world: World) -> None:
    """Another node behind the same URL may not know of the last transaction yet."""
    first = await world.rpc.call("eth_getTransactionCount", to_hex(world.sender(ACCOUNT).address), "latest")

    def lag(request: dict, answer: dict) -> dict:
        return answer | {"result": first} if request["method"] == "eth_getTransactionCount" else answer

    async with tampering(world.engine.url, lag) as node, JsonRpc(node.url) as rpc:
        sender = Sender(rpc, world.engine.accounts[ACCOUNT], world.engine.chain_id, terms=QUICK)
        await transfer(sender, PAYEE, 3)
        await transfer(sender, PAYEE, 4)
    assert await received(world) == 7


async def test_a_refusal_of_the_node_names_the_account(world: World) -> None:
    """One without ether is told the node's reason, and where to send some; nothing is waited for."""
    pauper = Sender(world.rpc, b"\x55" * 32, world.engine.chain_id)
    refused = r"send 1 wei to 0xaaaa.*: the node refused the transaction"
    with pytest.raises(ChainError, match=refused) as error:
        await transfer(pauper, PAYEE, 1)
    assert error.value.hint == f"send ether to {to_hex(pauper.address)}"
