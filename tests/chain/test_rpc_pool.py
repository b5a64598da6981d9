"""Several RPCs as one, against real HTTP servers that die, lie, lag and come back, under a virtual clock."""

import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio

from eigenkms.chain import provider_probes, rpc_pool
from eigenkms.chain import rpc as rpc_module
from eigenkms.chain.endpoints import check_distinct
from eigenkms.chain.provider import ProviderState, WrongChainError
from eigenkms.chain.rpc import RpcAnswerError, RpcRefusedError, RpcTooLargeError, RpcUnavailableError
from eigenkms.chain.rpc_pool import RpcPool, open_pool
from eigenkms.errors import InputError
from tests.support.rpc_servers import Reply, Server, serve
from tests.support.waiting import PATIENCE, pass_time

pytestmark = pytest.mark.usefixtures("virtual_clock")

CHAIN = 31337
REVERTED = {"code": 3, "message": "execution reverted"}
PRUNED = {"code": -32000, "message": "missing trie node"}


OLD, VERY_OLD = 2 * 3600, 3 * 3600
"""Ages of blocks, in seconds by the machine's clock, which no slow test reaches."""


@pytest.fixture(autouse=True)
def deadlines(far_deadlines: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a call end after 5 s and a probe after 2 s, of virtual time."""
    monkeypatch.setattr(rpc_pool, "DEADLINE_SECONDS", 5.0)
    monkeypatch.setattr(provider_probes, "PROBE_SECONDS", 2.0)


@dataclass
class Endpoint:
    """A server that answers ``name`` to every method but those of a probe, or, if ``instead`` is set, that reply to everything.

    ``errors`` are JSON-RPC errors by method, ``age`` how many seconds old its newest block is.
    """

    name: str
    chain: int = CHAIN
    age: float = 0.0
    number: int = 100
    hash: str = "0x" + "ab" * 32
    instead: Reply | None = None
    errors: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    takes_batches: bool = True
    batches: int = 0
    server: Server | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"{self.server.url}/v3/{self.name}-s3cret"

    async def answer(self, body: bytes) -> Reply:
        calls = json.loads(body)
        if self.instead is not None:
            return self.instead
        if isinstance(calls, list):
            self.batches += 1
            if not self.takes_batches:
                return Reply(b"batches are not allowed", status=400)
        answers = [self._one(call) for call in (calls if isinstance(calls, list) else [calls])]
        return Reply(json.dumps(answers if isinstance(calls, list) else answers[0]).encode())

    def _one(self, call: dict[str, Any]) -> dict[str, Any]:
        method = call["method"]
        if method not in ("eth_chainId", "eth_getBlockByNumber"):
            self.asked.append(method)
        known: dict[str, Any] = {
            "eth_chainId": hex(self.chain),
            "eth_getBlockByNumber": {
                "number": hex(self.number),
                "hash": self.hash,
                "timestamp": hex(int(time.time() - self.age)),
            },
        }
        said = (
            {"error": self.errors[method]}
            if method in self.errors
            else {"result": known.get(method, self.name)}
        )
        return {"jsonrpc": "2.0", "id": call["id"], **said}


@asynccontextmanager
async def pool_of(*endpoints: Endpoint, **options: Any) -> AsyncIterator[RpcPool]:
    async with AsyncExitStack() as stack:
        for endpoint in endpoints:
            endpoint.server = await stack.enter_async_context(serve(endpoint.answer))
        urls = [endpoint.url for endpoint in endpoints]
        yield await stack.enter_async_context(open_pool(urls, CHAIN, **options))


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE):
        while not condition():
            await pass_time(1)


def states(pool: RpcPool) -> list[str]:
    return [each.state.value for each in pool.status()]


DEAD = {
    "html": Reply(b"<html>Bad gateway</html>"),
    "429": Reply(status=429),
    "503": Reply(status=503),
    "500": Reply(status=500),
    "unauthorised": Reply(status=401),
    "cut": Reply(b"[1, 2, 3]", cut=True),
    "hangs": Reply(hang=True),
}


@pytest.mark.parametrize("reply", DEAD.values(), ids=DEAD.keys())
async def test_one_that_fails_is_passed_over_and_used_again_when_it_is_well(reply: Reply) -> None:
    """The call itself succeeds at the next one; after a probe the preferred one is used again."""
    a, b = Endpoint("a"), Endpoint("b")
    async with pool_of(a, b) as pool:
        assert await pool.call("eth_thing") == "a"
        a.instead = reply
        assert await pool.call("eth_thing") == "b"
        assert await pool.batch([("eth_thing", ()), ("eth_chainId", ())]) == ("b", hex(CHAIN))
        assert states(pool) == ["failing", "ok"]
        assert [each.in_use for each in pool.status()] == [False, True]
        assert pool.status()[0].last_error
        assert "s3cret" not in repr(pool) + str(pool.status())
        a.instead = None
        await until(lambda: states(pool) == ["ok", "ok"])
        assert await pool.call("eth_thing") == "a"
        assert pool.endpoint.startswith("rpc 1 (http://127.0.0.1:")


async def test_one_that_is_down_is_left_alone_while_another_works() -> None:
    """What is known to fail is asked by probes only, and costs calls no time."""
    a, b = Endpoint("a"), Endpoint("b")
    async with pool_of(a, b) as pool:
        a.errors["eth_thing"], a.instead = PRUNED, Reply(hang=True)
        await pool.call("eth_thing")
        before = trio.current_time()
        for _ in range(5):
            assert await pool.call("eth_thing") == "b"
        assert trio.current_time() == before
        assert a.asked == []


async def test_another_chain_is_never_believed(caplog: pytest.LogCaptureFixture) -> None:
    """It is refused loudly, before and after it was right; it is used once it serves the right chain."""
    a, b = Endpoint("a", chain=5), Endpoint("b")
    async with pool_of(a, b) as pool:
        assert await pool.call("eth_thing") == "b"
        assert states(pool) == ["wrong chain", "ok"]
        (loud,) = [r for r in caplog.records if r.levelno == logging.ERROR]
        assert f"use chain {CHAIN}: the RPC at rpc 1 (http://127.0.0.1" in loud.getMessage()
        assert loud.getMessage().endswith("serves chain 5")
        a.chain = CHAIN
        await until(lambda: states(pool) == ["ok", "ok"])
        assert await pool.call("eth_thing") == "a"
        a.chain = 5
        assert await pool.batch([("eth_chainId", ()), ("eth_thing", ())]) == (hex(CHAIN), "b")
        assert a.asked == ["eth_thing"] * 2, "it was asked and not believed"
        b.instead = Reply(status=503)
        with pytest.raises(RpcUnavailableError, match="call eth_thing at rpc 2"):
            await pool.call("eth_thing")
    c, d = Endpoint("c", chain=5), Endpoint("d", chain=6)
    async with pool_of(c, d) as pool:
        with pytest.raises(WrongChainError, match=r"serves chain 5; .*serves chain 6"):
            await pool.call("eth_thing")


async def test_a_read_at_one_of_another_chain_does_not_begin() -> None:
    """Before any probe has found it out, too."""
    a = Endpoint("a", chain=5)
    async with pool_of(a, watch=False) as pool:
        with pytest.raises(WrongChainError, match="serves chain 5"):
            await pool.at_one(lambda rpc: rpc.call("eth_thing"))
    assert a.asked == []


async def test_one_that_does_not_tell_its_chain_is_not_believed() -> None:
    """The next one is asked; alone, its refusal is the answer."""
    a, b = Endpoint("a", errors={"eth_chainId": {"code": -32601, "message": "not for you"}}), Endpoint("b")
    async with pool_of(a, b) as pool:
        assert await pool.batch([("eth_thing", ())]) == ("b",)
        assert states(pool) == ["failing", "ok"]
    async with pool_of(a, watch=False) as pool:
        for ask in (lambda: pool.batch([("eth_thing", ())]), lambda: pool.call("eth_thing")):
            with pytest.raises(RpcRefusedError, match=r"call eth_chainId at .*not for you"):
                await ask()
    assert a.asked == []


async def test_all_down_names_each_and_recovers() -> None:
    """The message has every endpoint with its reason, and no key of a URL."""
    a, b = Endpoint("a", instead=Reply(status=503)), Endpoint("b", instead=Reply(b"<html>"))
    async with pool_of(a, b) as pool:
        with pytest.raises(RpcUnavailableError) as caught:
            await pool.call("eth_thing")
        assert "none of 2 RPCs answers: rpc 1 (http://127.0.0.1" in str(caught.value)
        assert "HTTP status 503; rpc 2 (http" in str(caught.value)
        assert "s3cret" not in str(caught.value)
        b.instead = None
        assert await pool.call("eth_thing") == "b"
        b.instead = a.instead = Reply(b"<html>")
        with pytest.raises(RpcAnswerError, match="none of 2 RPCs answers the question"):
            await pool.call("eth_thing")


async def test_one_deadline_for_all() -> None:
    """Two that hang cost no more than one would."""
    a, b = Endpoint("a"), Endpoint("b")
    async with pool_of(a, b) as pool:
        a.instead = b.instead = Reply(hang=True)
        before = trio.current_time()
        with pytest.raises(RpcUnavailableError, match=r"no answer within 2\.5 s; .*no answer within 2\.5 s"):
            await pool.call("eth_thing")
        assert trio.current_time() - before == pytest.approx(5)


async def test_a_stale_one_is_asked_after_the_others() -> None:
    """By the age of its newest block; if all are stale that shows, and the one that is furthest is used."""
    a, b = Endpoint("a", age=VERY_OLD, number=7), Endpoint("b")
    async with pool_of(a, b, stale_seconds=3600) as pool:
        await until(lambda: states(pool) == ["stale", "ok"])
        assert await pool.call("eth_thing") == "b"
        b.instead = Reply(status=503)
        assert await pool.call("eth_thing") == "a", "better than none"
        assert pool.stale
        b.instead, b.age = None, OLD
        await until(lambda: states(pool) == ["stale", "stale"])
        assert await pool.call("eth_thing") == "b"
        assert pool.stale
        a.age = 0
        await until(lambda: not pool.stale)
        assert await pool.call("eth_thing") == "a"


async def test_a_refusal_is_an_answer_but_another_may_know_better() -> None:
    """Pruned here, kept there; what all refuse is told in the words of the first. A revert is believed at once."""
    a, b = Endpoint("a"), Endpoint("b")
    async with pool_of(a, b) as pool:
        a.errors["eth_call"] = PRUNED
        assert await pool.call("eth_call") == "b"
        assert await pool.batch([("eth_chainId", ()), ("eth_call", ())]) == (hex(CHAIN), "b")
        assert states(pool) == ["ok", "ok"]
        assert pool.status()[0].in_use, "one answer is no change of horses"
        b.errors["eth_call"] = {"code": -32601, "message": "no such method"}
        with pytest.raises(RpcRefusedError, match=r"at rpc 1 \(.*missing trie node"):
            await pool.call("eth_call")
        _, refusal = await pool.batch_outcomes([("eth_chainId", ()), ("eth_call", ())])
        assert isinstance(refusal, RpcRefusedError)
        assert "missing trie node" in str(refusal)
        a.errors["eth_call"] = REVERTED
        b.asked.clear()
        with pytest.raises(RpcRefusedError, match="reverted"):
            await pool.call("eth_call")
        _, revert = await pool.batch_outcomes([("eth_chainId", ()), ("eth_call", ())])
        assert isinstance(revert, RpcRefusedError)
        assert b.asked == []


async def test_what_changes_something_goes_to_one_only() -> None:
    """A transaction that may have arrived is not sent elsewhere as well."""
    a, b = Endpoint("a"), Endpoint("b")
    async with pool_of(a, b) as pool:
        a.instead = Reply(b"[1, 2, 3]", cut=True)
        with pytest.raises(RpcUnavailableError):
            await pool.call("eth_sendRawTransaction", "0x00", retry=False)
        assert b.asked == []
        assert await pool.call("eth_sendRawTransaction", "0x00", retry=False) == "b"


async def test_too_large_is_for_the_asker_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another endpoint would answer as much."""
    a, b = Endpoint("a"), Endpoint("b")
    async with pool_of(a, b) as pool:
        monkeypatch.setattr(pool.providers[0].rpc._http, "_max_answer_bytes", 40)
        with pytest.raises(RpcTooLargeError):
            await pool.call("eth_getLogs", "x" * 50)
        assert b.asked == []


async def test_who_says_when_is_asked_then() -> None:
    """Retry-After is heeded: not before, and not at all if that is too late for the call."""
    a = Endpoint("a", instead=Reply(status=429, headers=("retry-after: 100",)))
    async with pool_of(a, watch=False) as pool:
        before = trio.current_time()
        with pytest.raises(RpcUnavailableError, match="HTTP status 429"):
            await pool.call("eth_thing")
        assert trio.current_time() == before
        with pytest.raises(RpcUnavailableError, match="it asked to be left alone for a while"):
            await pool.call("eth_thing")
        assert a.server is not None
        assert len(a.server.seen) == 1


async def test_a_long_batch_may_change_horses() -> None:
    """Each round trip is answered by whoever can; results stay in order."""
    a, b = Endpoint("a"), Endpoint("b")
    async with pool_of(a, b) as pool:
        requests = [("eth_thing", (i,)) for i in range(2 * rpc_module.MAX_BATCH)]

        async def die(body: bytes) -> Reply:
            reply = await Endpoint("a").answer(body)
            a.instead = Reply(status=503)
            return reply

        a.answer, original = die, a.answer  # type: ignore[method-assign]
        answers = await pool.batch(requests)
        assert original is not None
        assert set(answers) <= {"a", "b"}
        assert len(answers) == 2 * rpc_module.MAX_BATCH


async def test_different_forks_are_told_before_a_boundary_comes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Seen twice in a row, with both hashes, once; and that it is over."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(provider_probes, "COMPARE_PAUSE", 1.0)
    a, b = Endpoint("a", number=100), Endpoint("b", number=95)
    async with pool_of(a, b) as pool:
        b.hash = "0x" + "cd" * 32
        await until(lambda: pool.split is not None)
        assert pool.split is not None
        assert pool.split.startswith("of block 87 rpc 1 (http://127.0.0.1:")
        assert "has 0x" + "ab" * 32 + ", rpc 2 (http" in pool.split
        assert pool.split.endswith("has 0x" + "cd" * 32)
        b.instead = Reply(status=503)
        await until(lambda: pool.split is None)
        b.instead, b.hash = None, a.hash
        await until(lambda: states(pool) == ["ok", "ok"])
        assert await pool.call("eth_thing") == "a"
    told = [m for m in caplog.messages if "RPCs are on" in m]
    assert [m.split(":")[0] for m in told] == ["RPCs are on different forks", "RPCs are on one chain again"]


async def test_hanging_at_the_start_does_not_keep_anybody() -> None:
    """One that says nothing is found out by the first probe, and the other one is used."""
    a, b = Endpoint("a", instead=Reply(hang=True)), Endpoint("b")
    async with pool_of(a, b) as pool:
        assert pool.status()[0].state is ProviderState.FAILING
        assert await pool.call("eth_thing") == "b"


async def test_what_cannot_be_a_pool_is_refused() -> None:
    """No URL, and too many."""
    with pytest.raises(InputError, match="9 URLs instead of 1 to 8"):
        async with open_pool([f"http://a/{i}" for i in range(9)], CHAIN):
            pass
    with pytest.raises(InputError, match="not http:// or https://"):
        async with open_pool(["http://a", "ws://s3cret"], CHAIN):
            pass


ONE_ENDPOINT = [
    ("http://a", "http://a"),
    ("http://a:8545", "http://a:8545/"),
    ("http://a:8545/", "http://A:8545"),
    ("http://a", "http://a:80"),
    ("https://a/v3/key", "https://a:443/v3/key/"),
    ("https://a/v3/key", "https://a/v3/./key"),
    ("https://a/v3/key", "https://a//v3/key"),
    ("https://a/v3/k-y", "https://a/v3/k%2Dy"),
    ("https://a/v3/key", "https://user:password@a/v3/key"),
    ("https://a/v3/key", "https://a/v3/key#fragment"),
    ("https://a/v3?key=1", "https://a/v3?key=2"),
    ("https://a.example", "https://a.example."),
    ("https://b\u00fccher.example", "https://xn--bcher-kva.example"),
    ("http://a", "https://a"),
    ("http://127.0.0.1:8545", "http://localhost:8545"),
    ("http://127.0.0.1:8545", "http://[::1]:8545"),
    ("http://127.0.0.1:8545", "http://127.1:8545"),
    ("http://127.0.0.1:8545", "http://2130706433:8545"),
    ("http://127.0.0.1:8545", "http://[::ffff:127.0.0.1]:8545"),
    ("http://127.0.0.1:8545", "http://0.0.0.0:8545"),
    ("http://[2001:db8::1]", "http://[2001:db8:0:0::1]"),
]


@pytest.mark.parametrize(("first", "second"), ONE_ENDPOINT)
async def test_one_endpoint_in_two_spellings_is_no_second_witness(first: str, second: str) -> None:
    """It is refused, by its place; what else stands there does not matter."""
    with pytest.raises(InputError, match="rpc 1 and rpc 3 are one endpoint") as error:
        async with open_pool([first, "http://other", second], CHAIN):
            pass
    assert "one URL only" in str(error.value.hint)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("http://a:8545", "http://a:8546"),
        ("http://a", "http://a:8545"),
        ("http://a/geth", "http://a/nethermind"),
        ("http://a/v3/Key", "http://a/v3/key"),
        ("http://127.0.0.1:8545", "http://127.0.0.2:8545"),
        ("http://a.example", "http://b.example"),
        ("http://a:bad", "http://a:worse"),
    ],
)
def test_two_endpoints_are_two(first: str, second: str) -> None:
    """Another host, port or path is another one, as far as can be seen."""
    check_distinct([first, second])


async def test_one_that_takes_no_batches_is_as_good_as_the_others() -> None:
    """It is used, and stays so."""
    a, b = Endpoint("a", takes_batches=False), Endpoint("b")
    async with pool_of(a, b) as pool:
        await until(lambda: "untried" not in states(pool))
        assert await pool.batch([("eth_chainId", ()), ("eth_thing", ())]) == (hex(CHAIN), "a")
        assert states(pool) == ["ok", "ok"]
        assert a.batches == 1


async def test_an_error_of_the_body_comes_as_it_is() -> None:
    """The watch beside it wraps it in no group."""
    with pytest.raises(InputError, match="mine"):
        async with open_pool(["http://127.0.0.1:1/a", "http://127.0.0.1:1/b"], CHAIN):
            raise InputError("mine")
