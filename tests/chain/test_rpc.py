"""The JSON-RPC client against servers that are down, slow, wrong or hostile. Real sockets throughout, under a virtual clock."""

import json
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any

import pytest
import trio

from eigenkms.chain import transport
from eigenkms.chain.endpoints import display_url
from eigenkms.chain.rpc import (
    ATTEMPTS,
    MAX_BATCH,
    JsonRpc,
    RpcAnswerError,
    RpcRefusedError,
    RpcTooLargeError,
    RpcUnavailableError,
    pin,
)
from eigenkms.errors import ChainError, InputError
from tests.support.rpc_servers import Reply, Server, result, scripted, serve
from tests.support.waiting import pace

pytestmark = pytest.mark.usefixtures("virtual_clock")

REFUSAL = {"code": 3, "message": "execution reverted", "data": "0x08c379a0"}


def body(**fields: object) -> Reply:
    return Reply(json.dumps({"jsonrpc": "2.0", "id": 1} | fields).encode())


async def test_a_result_comes_back_and_the_request_is_json_rpc() -> None:
    """A call carries version, id, method and parameters."""
    async with scripted(body(result={"number": "0x1"})) as server, JsonRpc(server.url) as rpc:
        assert await rpc.call("eth_getBlockByNumber", "0x1", False) == {"number": "0x1"}
    (seen,) = server.seen
    assert json.loads(seen) == {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "eth_getBlockByNumber",
        "params": ["0x1", False],
    }


RUBBISH = {
    "html": Reply(b"<html>502</html>"),
    "empty": Reply(b""),
    "not utf-8": Reply(b"\xff\xfe"),
    "wrong id": body(id=2, result="0x1"),
    "id as text": body(id="1", result="0x1"),
    "id as bool": body(id=True, result="0x1"),
    "no id": Reply(b'{"jsonrpc": "2.0", "result": "0x1"}'),
    "no version": Reply(b'{"id": 1, "result": "0x1"}'),
    "no result": body(),
    "a list": Reply(b"[]"),
    "a number": Reply(b"7"),
    "null": Reply(b"null"),
    "NaN": Reply(b'{"jsonrpc": "2.0", "id": 1, "result": NaN}'),
    "deep nesting": Reply(b"[" * 50_000),
    "a huge integer": Reply(b'{"jsonrpc": "2.0", "id": 1, "result": ' + b"9" * 5000 + b"}"),
    "error without code": body(error={"message": "no"}),
    "error as text": body(error="no"),
    "gzip that was not asked for": Reply(b"\x1f\x8b\x08\x00", headers=("content-encoding: gzip",)),
    "not found": Reply(b"", status=404),
    "unauthorised": Reply(b"", status=401),
    "redirect": Reply(b"", status=302, headers=("location: http://127.0.0.1:1/",)),
    "server error": Reply(b"", status=500),
}


@pytest.mark.parametrize("reply", RUBBISH.values(), ids=RUBBISH.keys())
async def test_rubbish_is_an_error_that_names_method_and_endpoint(reply: Reply) -> None:
    """Whatever comes back, the caller gets a ChainError, at once and without a second try."""
    async with scripted(reply) as server, JsonRpc(server.url) as rpc:
        with pytest.raises(RpcAnswerError) as caught:
            await rpc.call("eth_chainId")
    assert f"call eth_chainId at {server.url}: " in str(caught.value)
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_busy_node_is_asked_again(status: int) -> None:
    """The statuses that mean "later" are retried, a bounded number of times."""
    busy = Reply(b"slow down", status=status)
    async with scripted(busy, busy, Reply(result("0x1", 1))) as server, JsonRpc(server.url) as rpc:
        assert await rpc.call("eth_chainId") == "0x1"
        assert rpc.statistics().retries == 2
    async with scripted(busy) as server, JsonRpc(server.url) as rpc:
        with pytest.raises(RpcUnavailableError, match=f"HTTP status {status}"):
            await rpc.call("eth_chainId")
        assert len(server.seen) == ATTEMPTS


@pytest.mark.parametrize(
    ("when", "least", "most"),
    [(lambda: "1", 1, 1), (lambda: formatdate(time.time() + 3600, usegmt=True), 1800, 3600)],
    ids=["seconds", "date"],
)
async def test_a_node_that_says_when_is_asked_then(
    when: Callable[[], str], least: float, most: float
) -> None:
    """Retry-After, in seconds or as a date, is waited for within the deadline."""
    later = Reply(status=429, headers=(f"retry-after: {when()}",))
    async with scripted(later, Reply(result("0x1", 1))) as server, JsonRpc(server.url, deadline=4000) as rpc:
        begun = trio.current_time()
        assert await rpc.call("eth_chainId") == "0x1"
        assert least - 1e-6 <= trio.current_time() - begun <= most + 1e-6


@pytest.mark.parametrize("when", ["3600", "99999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_a_node_that_wants_more_time_than_there_is_is_asked_once(when: str) -> None:
    """Past the deadline nobody waits, and nobody insists."""
    busy = Reply(status=503, headers=(f"retry-after: {when}",))
    async with scripted(busy) as server, JsonRpc(server.url) as rpc:
        with pytest.raises(RpcUnavailableError, match="HTTP status 503"):
            await rpc.call("eth_chainId")
        assert len(server.seen) == 1


@pytest.mark.parametrize("when", ["soon", "-5", "Fri, 99 Dec", "1.5", "٣", "Thu, 01 Jan 1970 00:00:00 GMT"])
async def test_a_senseless_retry_after_is_none(when: str) -> None:
    """It is asked again as if nothing had been said."""
    busy = Reply(status=503, headers=(f"retry-after: {when}",))
    async with scripted(busy, Reply(result("0x1", 1))) as server, JsonRpc(server.url) as rpc:
        assert await rpc.call("eth_chainId") == "0x1"


async def test_what_a_node_says_shows_no_key_of_the_url() -> None:
    """Providers like to repeat the key in their refusals."""
    error = {"code": -32000, "message": "key t0ps3cret of user4711 is over its limit (q=abc/def123)"}
    async with scripted(body(error=error)) as server:
        url = server.url.replace("//", "//user4711:pass@") + "/v3/t0ps3cret?key=abc%2Fdef123"
        async with JsonRpc(url) as rpc:
            with pytest.raises(RpcRefusedError) as caught:
                await rpc.call("eth_chainId")
    assert "key … of … is over its limit (q=…)" in str(caught.value)
    assert caught.value.text == "key … of … is over its limit (q=…)"


async def test_a_cut_connection_is_retried_for_reads_only() -> None:
    """A request that changes something goes out once."""
    cut = Reply(result("0x1"), cut=True)
    async with scripted(cut, Reply(result("0x1", 1))) as server, JsonRpc(server.url) as rpc:
        assert await rpc.call("eth_chainId") == "0x1"
    async with scripted(cut) as server, JsonRpc(server.url) as rpc:
        with pytest.raises(RpcUnavailableError, match="cut"):
            await rpc.call("eth_sendRawTransaction", "0x00", retry=False)
        assert len(server.seen) == 1


async def test_nobody_listens() -> None:
    """A closed port is named as such, with a next step."""
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    async with JsonRpc(f"http://127.0.0.1:{port}") as rpc:
        with pytest.raises(RpcUnavailableError, match="no connection") as caught:
            await rpc.call("eth_chainId")
    assert caught.value.hint is not None
    assert caught.value.exit_code == 2


async def test_a_hanging_node_costs_the_deadline_and_no_more() -> None:
    """The deadline bounds the whole call, and other calls go on meanwhile."""
    async with scripted(Reply(hang=True)) as server, JsonRpc(server.url, deadline=2.5) as rpc:
        begun = trio.current_time()
        with pytest.raises(RpcUnavailableError, match=r"no answer within 2\.5 s"):
            await rpc.call("eth_chainId")
        assert trio.current_time() - begun == pytest.approx(2.5)


async def test_a_dripping_node_costs_the_deadline_too() -> None:
    """A node that sends a header and then a byte now and then does not hold the caller."""

    async def drip(stream: trio.SocketStream) -> None:
        try:
            await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            while True:
                await stream.send_all(b" ")
                await pace(0.5)
        except trio.BrokenResourceError:
            return

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, drip, listeners)
        async with JsonRpc(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}", deadline=2.5) as rpc:
            begun = trio.current_time()
            with pytest.raises(RpcUnavailableError, match="no answer within"):
                await rpc.call("eth_chainId")
            assert trio.current_time() - begun == pytest.approx(2.5)
        nursery.cancel_scope.cancel()


@pytest.mark.real_time
async def test_an_endless_answer_is_cut_at_the_bound() -> None:
    """Memory is bounded by the answer bound, whatever the node sends."""
    huge = Reply(result("0x" + "00" * 100_000))
    async with scripted(huge) as server, JsonRpc(server.url, max_answer_bytes=10_000) as rpc:
        with pytest.raises(RpcTooLargeError, match="larger than 10000 bytes"):
            await rpc.call("eth_getCode")


@pytest.mark.real_time
async def test_a_large_answer_within_the_bound_is_read() -> None:
    """Answers that are parsed in a worker thread come back like the others."""
    async with scripted(Reply(result("0x" + "00" * 100_000))) as server, JsonRpc(server.url) as rpc:
        assert await rpc.call("eth_getCode") == "0x" + "00" * 100_000


async def test_a_refusal_carries_code_and_revert_data() -> None:
    """An error object becomes an exception that tells a revert from a refusal of the node."""
    unknown = {"code": -32601, "message": "no such method"}
    replies = (body(error=REFUSAL), body(id=2, error=unknown))
    async with scripted(*replies) as server, JsonRpc(server.url) as rpc:
        with pytest.raises(RpcRefusedError) as caught:
            await rpc.call("eth_call")
        assert (caught.value.code, caught.value.data) == (3, bytes.fromhex("08c379a0"))
        assert caught.value.is_revert
        with pytest.raises(RpcRefusedError) as caught:
            await rpc.call("eth_call")
        assert not caught.value.is_revert


async def test_batches_are_put_in_order_and_split() -> None:
    """Answers may come in any order; a long batch is several requests of at most MAX_BATCH calls."""

    async def backwards(raw: bytes) -> Reply:
        calls = json.loads(raw)
        assert len(calls) <= MAX_BATCH
        answers = [{"jsonrpc": "2.0", "id": call["id"], "result": call["params"][0]} for call in calls]
        return Reply(json.dumps(answers[::-1]).encode())

    wanted = [hex(i) for i in range(2 * MAX_BATCH + 1)]
    async with serve(backwards) as server, JsonRpc(server.url) as rpc:
        assert await rpc.batch([("echo", (value,)) for value in wanted]) == tuple(wanted)
        assert len(server.seen) == 3


BAD_BATCHES = {
    "one missing": [1],
    "one twice": [1, 1],
    "a stranger": [1, 3],
    "one too many": [1, 2, 3],
}


@pytest.mark.parametrize("ids", BAD_BATCHES.values(), ids=BAD_BATCHES.keys())
async def test_a_batch_must_answer_each_request_once(ids: list[int]) -> None:
    """Missing, repeated and invented answers are refused."""
    reply = Reply(json.dumps([{"jsonrpc": "2.0", "id": i, "result": "0x1"} for i in ids]).encode())
    async with scripted(reply) as server, JsonRpc(server.url) as rpc:
        with pytest.raises(RpcAnswerError):
            await rpc.batch([("eth_chainId", ()), ("eth_blockNumber", ())])


async def test_a_batch_refused_as_a_whole() -> None:
    """A node that does not take batches says so with one error object."""
    async with (
        scripted(body(id=None, error={"code": -32600, "message": "no batches"})) as server,
        JsonRpc(server.url) as rpc,
    ):
        with pytest.raises(RpcRefusedError, match="no batches"):
            await rpc.batch([("eth_chainId", ())])


async def test_one_refusal_in_a_batch_stands_in_its_place() -> None:
    """batch_outcomes keeps the answers around a refusal; batch raises it."""
    answers = [{"jsonrpc": "2.0", "id": 1, "error": REFUSAL}, {"jsonrpc": "2.0", "id": 2, "result": "0x2"}]
    again = [entry | {"id": entry["id"] + 2} for entry in answers]
    replies = [Reply(json.dumps(entries).encode()) for entries in (answers, again)]
    requests = [("eth_call", ()), ("eth_call", ())]
    async with scripted(*replies) as server, JsonRpc(server.url) as rpc:
        refused, accepted = await rpc.batch_outcomes(requests)
        assert isinstance(refused, RpcRefusedError)
        assert accepted == "0x2"
        with pytest.raises(RpcRefusedError):
            await rpc.batch(requests)


WHOLE = {
    "jsonrpc": "2.0",
    "id": None,
    "error": {"code": -32600, "message": "batch requests are not supported"},
}
TOO_LARGE = {"code": -32600, "message": "batch too large"}
CAPPED = {"code": 31, "message": "Batch of more than 3 requests are not allowed on free tier"}
NO_BATCHES: dict[str, Callable[[list[Any]], Reply]] = {
    "one error": lambda _calls: Reply(json.dumps(WHOLE).encode()),
    "one error in a list, as geth": lambda calls: Reply(
        json.dumps([{"jsonrpc": "2.0", "id": calls[0]["id"], "error": TOO_LARGE}]).encode()
    ),
    "an error for each": lambda calls: Reply(
        json.dumps([{"jsonrpc": "2.0", "id": call["id"], "error": CAPPED} for call in calls]).encode()
    ),
    "an empty list": lambda _calls: Reply(b"[]"),
    "bad request": lambda _calls: Reply(b'{"message": "no batching"}', status=400),
    "forbidden": lambda _calls: Reply(b"<html>", status=403),
    "too large": lambda _calls: Reply(b"", status=413),
    "the first answer": lambda calls: Reply(result("0x1", calls[0]["id"])),
}


@asynccontextmanager
async def without_batches(refuse: Callable[[list[Any]], Reply], limit: int = 0) -> AsyncIterator[Server]:
    """A server that answers each call with its first parameter, and batches of more than ``limit`` with ``refuse``."""

    def one(call: dict[str, Any]) -> dict[str, Any]:
        said = {"error": REFUSAL} if call["params"] == ["bad"] else {"result": call["params"][0]}
        return {"jsonrpc": "2.0", "id": call["id"], **said}

    async def answer(sent: bytes) -> Reply:
        calls = json.loads(sent)
        if isinstance(calls, list):
            return (
                refuse(calls) if len(calls) > limit else Reply(json.dumps([one(c) for c in calls]).encode())
            )
        return Reply(json.dumps(one(calls)).encode())

    async with serve(answer) as server:
        yield server


@pytest.mark.parametrize("refuse", NO_BATCHES.values(), ids=NO_BATCHES.keys())
async def test_who_takes_no_batches_is_asked_one_by_one(
    refuse: Callable[[list[Any]], Reply], caplog: pytest.LogCaptureFixture
) -> None:
    """In order, refusals in their places; it is found out once, and said once."""
    caplog.set_level(logging.INFO, logger="eigenkms.chain.rpc")
    words = [str(number) for number in range(20)] + ["bad"]
    async with without_batches(refuse) as server, JsonRpc(server.url) as rpc:
        for _ in range(2):
            *said, refused = await rpc.batch_outcomes([("eth_thing", (word,)) for word in words])
            assert said == words[:-1]
            assert isinstance(refused, RpcRefusedError)
            assert refused.method == "eth_thing"
        assert sum(sent.startswith(b"[") for sent in server.seen) == 1
        assert len(server.seen) <= 2 + 2 * len(words)
    told = [record.getMessage() for record in caplog.records if record.name == "eigenkms.chain.rpc"]
    assert told == [f"{server.url} takes no batches of 21: it is asked one by one"]


async def test_a_short_batch_is_one_while_it_is_taken() -> None:
    """A provider that caps their size gets those that it takes, until one is too long."""
    async with (
        without_batches(NO_BATCHES["an error for each"], limit=3) as server,
        JsonRpc(server.url) as rpc,
    ):
        assert await rpc.batch([("eth_thing", ("a",)), ("eth_thing", ("b",))]) == ("a", "b")
        assert len(server.seen) == 1
        assert await rpc.batch([("eth_thing", (word,)) for word in "abcd"]) == tuple("abcd")


async def test_one_by_one_has_the_deadline_of_a_batch() -> None:
    """A provider that drips is given up as a whole."""

    async def answer(sent: bytes) -> Reply:
        await pace(2)
        calls = json.loads(sent)
        return Reply(b"[]") if isinstance(calls, list) else Reply(result("0x1", calls["id"]))

    async with serve(answer) as server, JsonRpc(server.url, deadline=5) as rpc:
        begun = trio.current_time()
        with pytest.raises(RpcUnavailableError, match="no answer within 5 s"):
            await rpc.batch([("eth_thing", ())] * 32)
        assert trio.current_time() - begun <= 2 + 2 + 5 + 1e-6


async def test_an_endpoint_that_is_no_rpc_is_not_asked_for_each_call() -> None:
    """Where a single call is answered no better, the batch's error is told."""
    async with scripted(Reply(b"<html>")) as server, JsonRpc(server.url) as rpc:
        with pytest.raises(RpcAnswerError, match=r"call batch of eth_thing .*: the answer is not JSON"):
            await rpc.batch([("eth_thing", ())] * 32)
        assert len(server.seen) == 2


API_KEY = "t0ps3cret"
REASONS = {
    "a plain line": (
        Reply(b"daily quota of t0ps3cret reached\nmore", status=429),
        "daily quota of … reached",
    ),
    "a message": (Reply(b'{"message": "no such key: t0ps3cret"}', status=401), "no such key: …"),
    "an error object": (
        Reply(b'{"error": {"code": -32600, "message": "batch too large"}}', status=400),
        "batch too large",
    ),
    "an error that is text": (body(error="rate limited"), "rate limited"),
    "an error without code": (body(error={"message": "upgrade your plan"}), "upgrade your plan"),
    "another object": (Reply(b'{"detail": "project is paused"}'), "project is paused"),
    "data": (
        body(error={"code": -32000, "message": "Server error", "data": "block range is too wide"}),
        "Server error: block range is too wide",
    ),
    "data in an object": (
        body(error={"code": -32000, "message": "failed", "data": {"reason": "archive t0ps3cret"}}),
        "failed: archive …",
    ),
    "a command for a terminal": (
        Reply(b"\x1b]0;pwned\x07hint: send ether", status=403),
        r"\x1b]0;pwned\x07hint: send ether",
    ),
}


@pytest.mark.parametrize(("reply", "reason"), REASONS.values(), ids=REASONS.keys())
async def test_a_providers_own_reason_is_shown(reply: Reply, reason: str) -> None:
    """Wherever it puts it, printable, in one line and without the key."""
    async with scripted(reply) as server, JsonRpc(f"{server.url}/v3/{API_KEY}") as rpc:
        with pytest.raises(ChainError) as caught:
            await rpc.call("eth_thing", retry=False)
    assert f"{reason}'" in str(caught.value)
    assert API_KEY not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("body_of_it", [b"<html>no</html>", b"\xff\xfe", b"", b"[1]", b"{"])
async def test_a_page_that_says_nothing_is_not_quoted(body_of_it: bytes) -> None:
    """The status is all."""
    async with scripted(Reply(body_of_it, status=500)) as server, JsonRpc(server.url) as rpc:
        with pytest.raises(RpcAnswerError) as caught:
            await rpc.call("eth_thing")
    assert str(caught.value).partition("HTTP status 500")[2] in ("", ": '{'")


async def test_a_refusal_has_the_next_step_of_its_code() -> None:
    """A method that is not offered, and a limit, need another RPC and not another address."""
    for code, words in ((-32601, "offers this method"), (-32005, "limits requests")):
        async with (
            scripted(body(error={"code": code, "message": "no"})) as server,
            JsonRpc(server.url) as rpc,
        ):
            with pytest.raises(RpcRefusedError) as caught:
                await rpc.call("eth_thing")
            assert words in str(caught.value.hint)


SECRETS = ("hunter2", "s3cr3t-in-path", "t0ken", "alice")


@pytest.mark.parametrize(
    "reply",
    [Reply(b"<html>"), Reply(status=429), Reply(hang=True), Reply(b"x", cut=True), body(error=REFUSAL)],
)
async def test_what_an_url_hides_is_in_no_message_and_no_log(
    reply: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    """Providers put API keys into user part, path and query: none of it is ever shown."""
    caplog.set_level(logging.DEBUG)
    async with scripted(reply) as server:
        url = server.url.replace("http://", "http://alice:hunter2@") + "/v3/s3cr3t-in-path?key=t0ken"
        async with JsonRpc(url, deadline=2.5) as rpc:
            with pytest.raises(ChainError) as caught:
                await rpc.call("eth_chainId")
            shown = [
                repr(rpc),
                str(rpc),
                repr(caught.value),
                str(caught.value.hint),
                str(caught.value.__cause__),
            ]
    assert server.url in shown[2]
    for text in [*shown, caplog.text]:
        assert not any(secret in text for secret in SECRETS)


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8545", "ws://h/t0ken", "http://", "http://h:99999/t0ken", "http://[::1/t0ken", "ftp://a"],
)
def test_an_url_that_is_none_is_refused_without_being_shown(url: str) -> None:
    """A wrong URL is the user's to correct, and is not repeated: it may hold a key."""
    with pytest.raises(InputError) as caught:
        JsonRpc(url)
    assert "t0ken" not in str(caught.value)
    assert "t0ken" not in display_url(url)


def test_urls_are_shown_as_scheme_host_and_port() -> None:
    """IPv6 hosts keep their brackets."""
    assert display_url("https://u:p@rpc.example/v3/key?k=1#f") == "https://rpc.example"
    assert display_url("http://[::1]:8545/x") == "http://[::1]:8545"


def test_a_pin_asks_for_this_block_or_an_error() -> None:
    """EIP-1898: the hash, and only while canonical."""
    assert pin(b"\x01" * 32) == {"blockHash": "0x" + "01" * 32, "requireCanonical": True}


async def test_cancelling_a_call_leaves_the_client_usable() -> None:
    """A caller that gives up takes its connection with it, nothing else."""
    async with scripted(Reply(hang=True), Reply(result("0x1", 2))) as server, JsonRpc(server.url) as rpc:
        with trio.move_on_after(1) as scope:
            await rpc.call("eth_chainId")
        assert scope.cancelled_caught
        assert await rpc.call("eth_chainId") == "0x1"


async def test_an_https_rpc_must_prove_its_name() -> None:
    """Certificates are checked against the authorities; a server that speaks no TLS is a transport error."""

    async def plain(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, plain, [listener])
        async with JsonRpc(f"https://127.0.0.1:{listener.socket.getsockname()[1]}") as rpc:
            context = transport._tls("https")
            assert context.verify_mode == ssl.CERT_REQUIRED
            assert context.check_hostname
            with pytest.raises(RpcUnavailableError, match="call eth_chainId at https://"):
                await rpc.call("eth_chainId")
        nursery.cancel_scope.cancel()
