"""RPCs that disagree about a boundary: proxies before one real chain, of which some lie, lag or are pruned."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio

from eigenkms.applications import AppStatus
from eigenkms.chain import abi, provider_probes, rpc_majority, transport
from eigenkms.chain.applications import ChainApplications
from eigenkms.chain.boundaries import BoundaryFollower
from eigenkms.chain.config import Finality
from eigenkms.chain.operator_set_source import OperatorSetSource, open_chain
from eigenkms.chain.rpc_majority import DisagreementError
from eigenkms.chain.rpc_pool import RpcPool
from eigenkms.errors import ChainError
from eigenkms.types import AppId, BlockRef, to_hex
from tests.chain.conftest import MEMBERS, World, one_engine
from tests.support.rpc_servers import Call, tampering
from tests.support.waiting import eventually

FALSE = "0x" + "ee" * 32
_UNCHANGED: Any = object()
OLD = 100_000
"""Seconds by the machine's clock that no run of the tests takes."""


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(provider_probes, "PROBE_PAUSE", 1.0)
    monkeypatch.setattr(provider_probes, "MAX_PROBE_PAUSE", 0.05)
    monkeypatch.setattr(rpc_majority, "LAG_PAUSE", 0.05)
    monkeypatch.setattr(rpc_majority, "LAG_LOOKS", 3)


@dataclass
class Proxy:
    """Forwards to the chain. ``answer`` may give another result for a call, or an Exception that is told as a refusal; None makes
    it unreachable.
    """

    answer: Callable[[Call], Any] | None = field(default=lambda _call: _UNCHANGED)
    calls: list[Call] = field(default_factory=list)

    def tamper(self, call: Call, honest: dict[str, Any]) -> dict[str, Any] | None:
        self.calls.append(call)
        if self.answer is None:
            return None
        said = self.answer(call)
        if said is _UNCHANGED:
            return honest
        outcome = (
            {"error": {"code": -32000, "message": str(said)}}
            if isinstance(said, Exception)
            else {"result": said}
        )
        return {"jsonrpc": "2.0", "id": call["id"], **outcome}


@asynccontextmanager
async def chain_of(
    world: World, *proxies: Proxy, stale_seconds: float = 1e6
) -> AsyncIterator[OperatorSetSource]:
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(tampering(world.engine.url, p.tamper)) for p in proxies]
        config = world.contracts.config([server.url for server in servers], Finality.parse("latest"))
        object.__setattr__(config, "stale_seconds", stale_seconds)
        yield await stack.enter_async_context(open_chain(config))


def other_hash(number: int) -> Callable[[Call], Any]:
    """A block of that number with a hash of its own."""

    def answer(call: Call) -> Any:
        if call["method"] == "eth_getBlockByNumber" and call["params"][0] == hex(number):
            return {"number": hex(number), "hash": FALSE, "timestamp": "0x1"}
        return _UNCHANGED

    return answer


def other_set(call: Call) -> Any:
    """One member fewer."""
    is_members = call["method"] == "eth_call" and call["params"][0]["data"].startswith(
        to_hex(abi.GET_MEMBERS.selector)
    )
    return "0x" + f"{32:064x}" + f"{0:064x}" if is_members else _UNCHANGED


def no_block(number: int) -> Callable[[Call], Any]:
    def answer(call: Call) -> Any:
        asked = call["method"] == "eth_getBlockByNumber" and call["params"][0] == hex(number)
        return None if asked else _UNCHANGED

    return answer


def behind(number: int, timestamp: int) -> Callable[[Call], Any]:
    """A node whose newest block is the one before."""

    def answer(call: Call) -> Any:
        if call["method"] == "eth_getBlockByNumber" and call["params"][0] == "latest":
            return {"number": hex(number - 1), "hash": FALSE, "timestamp": hex(timestamp)}
        return no_block(number)(call)

    return answer


def pool(chain: OperatorSetSource) -> RpcPool:
    assert isinstance(chain.rpc, RpcPool)
    return chain.rpc


def states(chain: OperatorSetSource) -> list[str]:
    return [each.state.value for each in pool(chain).status()]


@one_engine
async def test_two_that_agree_are_believed_and_both_are_asked(world: World) -> None:
    """The set at the block, read at each of them."""
    a, b = Proxy(), Proxy()
    async with chain_of(world, a, b) as chain:
        head = await chain.head()
        read = await chain.agreed_operators_at(head)
        assert len(read.operators) == MEMBERS
        assert read == await chain.operators_at(head)
        assert any(call["method"] == "eth_call" for call in b.calls)
        assert pool(chain).disagreements == 0


@one_engine
@pytest.mark.parametrize("lie", ["hash", "set", "absence"])
async def test_two_that_differ_decide_nothing(world: World, lie: str) -> None:
    """Whoever of them lies, no set is believed; the error has what each says, it is counted once, and it passes."""
    a, b = Proxy(), Proxy()
    async with chain_of(world, a, b) as chain:
        head = await chain.head()
        b.answer = {"hash": other_hash(head.number), "set": other_set, "absence": no_block(head.number)}[lie]
        said = {"hash": f"has {FALSE}", "set": "with no operators", "absence": "has no such block"}[lie]
        for _ in range(2):
            with pytest.raises(DisagreementError) as caught:
                await chain.agreed_operators_at(head)
        text = str(caught.value)
        assert text.startswith(f"agree on block {head.number}: ")
        assert f"{to_hex(head.hash)} with {MEMBERS} operators" in text
        assert said in text
        assert "rpc 1 (http" in text
        assert "rpc 2 (http" in text
        assert (pool(chain).disagreements, states(chain)) == (1, ["ok", "ok"])
        b.answer = Proxy().answer
        assert len((await chain.agreed_operators_at(head)).operators) == MEMBERS


@one_engine
@pytest.mark.parametrize("liar", [0, 2])
async def test_one_of_three_is_overruled_and_asked_last(
    world: World, caplog: pytest.LogCaptureFixture, liar: int
) -> None:
    """Named with what it says and what most say; used again once it agrees."""
    proxies = [Proxy(), Proxy(), Proxy()]
    async with chain_of(world, *proxies) as chain:
        head = await chain.head()
        proxies[liar].answer = other_set
        assert len((await chain.agreed_operators_at(head)).operators) == MEMBERS
        assert states(chain)[liar] == "disagrees"
        assert pool(chain).disagreements == 1
        told = next(r.getMessage() for r in caplog.records if "disagrees" in r.getMessage())
        assert told.startswith(f"rpc {liar + 1} (http")
        assert f"it has {to_hex(head.hash)} with no operators, most have {to_hex(head.hash)} with 4" in told
        assert len((await chain.operators_at(head)).operators) == MEMBERS, "the others are asked first"
        proxies[liar].answer = Proxy().answer
        await chain.agreed_operators_at(head)
        assert states(chain) == ["ok"] * 3


@one_engine
async def test_who_was_overruled_is_not_trusted_again_for_an_older_block(world: World) -> None:
    """About which it agrees: as every node asks after a start. At a newer one, or the same, it may make good."""
    a = Proxy()
    async with chain_of(world, a, Proxy(), Proxy()) as chain:
        older = await chain.head()
        await world.mine()
        head = await chain.head()
        a.answer = other_hash(head.number)
        await chain.agreed_operators_at(head)
        assert len((await chain.agreed_operators_at(older)).operators) == MEMBERS
        assert states(chain) == ["disagrees", "ok", "ok"]
        a.answer = Proxy().answer
        await chain.agreed_operators_at(head)
        assert states(chain) == ["ok"] * 3


@one_engine
async def test_a_block_that_most_do_not_have_is_not_believed_though_the_first_has_it(world: World) -> None:
    """A follower that was told by a liar is told by the others next, also if that number is lower."""
    a, b, c = Proxy(), Proxy(), Proxy()
    async with chain_of(world, a, b, c) as chain, trio.open_nursery() as nursery:
        await world.mine(10)
        head = await chain.head()
        invented = {"number": hex(head.number + 5000), "hash": FALSE, "timestamp": hex(head.timestamp)}
        a.answer = lambda call: invented if call["method"] == "eth_getBlockByNumber" else _UNCHANGED
        follower = BoundaryFollower(chain, head.number, poll_seconds=0.02)
        send, receive = trio.open_memory_channel[BlockRef](1)
        nursery.start_soon(follower.run, send)
        # nothing at that number that divides the interval: the liar is asked for the boundary and tells another block
        await eventually(lambda: follower.statistics().failures_in_row)
        exact = BlockRef(head.number + 5000, bytes.fromhex(FALSE[2:]), head.timestamp)
        with pytest.raises(DisagreementError, match="has no such block"):
            await chain.agreed_operators_at(exact)
        assert states(chain)[0] == "disagrees"
        assert await receive.receive() == head
        nursery.cancel_scope.cancel()


@one_engine
async def test_who_cannot_say_does_not_count(world: World) -> None:
    """Down, pruned, or far behind by the clock: the other one is believed. If nobody can say, that is told."""
    a, b = Proxy(), Proxy()
    async with chain_of(world, a, b, stale_seconds=OLD) as chain:
        head = await chain.head()

        def pruned(call: Call) -> Any:
            is_old = call["method"] in ("eth_call", "eth_getLogs")
            return ValueError("missing trie node") if is_old else _UNCHANGED

        for answer in (None, pruned, behind(head.number, head.timestamp - 2 * OLD)):
            b.answer = answer
            assert len((await chain.agreed_operators_at(head)).operators) == MEMBERS
        assert pool(chain).disagreements == 0
        a.answer = b.answer = None
        with pytest.raises(ChainError, match=r"at rpc [12] \(.*HTTP status 503"):
            await chain.agreed_operators_at(head)


@one_engine
async def test_a_moment_behind_is_waited_for(world: World) -> None:
    """A block that a second RPC gets a little later than the first is no disagreement."""
    a, b = Proxy(), Proxy()
    async with chain_of(world, a, b) as chain:
        head = await chain.head()
        late = behind(head.number, head.timestamp)
        looks = 0

        def answer(call: Call) -> Any:
            nonlocal looks
            looks += call["method"] == "eth_getBlockByNumber" and call["params"][0] == hex(head.number)
            return late(call) if looks < 3 else _UNCHANGED

        b.answer = answer
        assert len((await chain.agreed_operators_at(head)).operators) == MEMBERS
        assert looks == 3


@one_engine
async def test_a_read_by_numbers_stays_at_one_rpc(world: World) -> None:
    """If the first fails in the middle of it, all of it is asked of the second: events of two nodes are never put together."""
    a, b = Proxy(), Proxy()
    async with chain_of(world, a, b) as chain:
        head = await chain.head()
        a.answer = lambda call: None if call["method"] == "eth_blockNumber" else _UNCHANGED
        a.calls.clear()
        assert not await chain.members_ever_left(head)
        assert [call["method"] for call in a.calls if call["method"] == "eth_getLogs"]
        assert not any(call["method"] == "eth_getLogs" for call in b.calls)
        a.answer = lambda call: ValueError("no logs") if call["method"] == "eth_getLogs" else _UNCHANGED
        assert not await chain.members_ever_left(head)
        asked = [call["method"] for call in b.calls]
        assert "eth_getBlockByNumber" in asked[asked.index("eth_getLogs") :], "and the block is checked there"


@one_engine
async def test_an_application_is_not_looked_up_on_an_old_chain(world: World) -> None:
    """What counted long ago may be over: suspended applications would go on getting keys."""
    a, b = Proxy(), Proxy()
    async with chain_of(world, a, b, stale_seconds=OLD) as chain:
        applications = ChainApplications(chain, world.contracts.app_controller)
        app = AppId("0x" + "77" * 20)
        assert await applications.lookup(app) is None
        head = await chain.head()
        a.answer = b.answer = behind(head.number + 1, head.timestamp - 2 * OLD)
        await eventually(lambda: pool(chain).stale)
        with pytest.raises(ChainError, match="the newest block of every RPC is more than 100000 s old"):
            await ChainApplications(chain, world.contracts.app_controller).lookup(app)
        assert AppStatus.NONE


# -- up to where a new store may have voted ------------------------------------------------------------------------


@one_engine
@pytest.mark.parametrize(
    ("others", "expected"),
    [((0,), 0), ((-9, 0), 0), ((0, -9), 0), ((0, -9, 0), 0), ((0, 10**6, 0), 0), ((-9, 0, 10**6), 0)],
)
async def test_no_rpc_alone_hides_or_invents_the_newest_block(
    world: World, others: tuple[int, ...], expected: int
) -> None:
    """A store that may have forgotten votes votes in nothing up to the newest block: one that lags, of two or more, cannot make
    that older, and one that is far ahead, of three, not newer.
    """
    head = await world.rpc.call("eth_blockNumber")
    number = int(str(head), 16)

    def at(off: int) -> Callable[[Call], Any]:
        def answer(call: Call) -> Any:
            if call["method"] == "eth_getBlockByNumber" and call["params"][0] == "latest":
                return {"number": hex(number + off), "hash": FALSE, "timestamp": hex(2**31)}
            return _UNCHANGED

        return answer

    async with chain_of(world, *(Proxy(at(off)) for off in others)) as chain:
        assert await chain.newest_number() == number + expected
