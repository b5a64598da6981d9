"""The server below the API: what strangers send in place of HTTP, or too slowly, or too much of, over real sockets.

Both ends run in the test's loop, so virtual time passes only while both wait. A deadline of the server then ends those that do not
go on, and nobody that is merely served slowly. Tests of the node's API, which works in threads, take the machine's clock and
limits that none of their clients reaches.
"""

import contextlib
import json
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import h11
import httpx
import pytest
import trio
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from eigenkms.config.addresses import HttpAddress
from eigenkms.config.tls import TlsFiles
from eigenkms.errors import InputError
from eigenkms.node.http import key_api
from eigenkms.node.http.api_listener import bind
from eigenkms.node.http.limits import SMALL_BYTES, ByteBudget, ClientLimits, ServerLimits
from eigenkms.node.http.requests import MAX_SECRETS_BODY, MAX_SIGN_BODY
from eigenkms.node.http.server import HttpServer
from tests.node.http.support import (
    PATIENT,
    ReferenceClient,
    asking,
    client_at,
    code_of,
    connect,
    eventually_gone,
    exchange,
    read_all,
    served,
)
from tests.support.local_node import LocalNode
from tests.support.token_issuer import Authority
from tests.support.waiting import PATIENCE, eventually, pace

pytestmark = pytest.mark.usefixtures("virtual_clock")

LIMITS = ServerLimits()
GET = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"
CLOSING_GET = GET[:-2] + b"connection: close\r\n\r\n"
LARGE = 7 * 2**20


async def _echo(request: Request) -> Response:
    try:
        return PlainTextResponse(await request.body())
    except ClientDisconnect:
        return PlainTextResponse("late", 408)


async def _large(request: Request) -> Response:
    return Response(bytes(LARGE))


async def _broken(request: Request) -> Response:
    raise RuntimeError("a defect")


async def _about(request: Request) -> Response:
    assert request.client is not None
    return PlainTextResponse(
        f"{request.client.host} {request.url.scheme} {request.url.path} {request.url.query}"
    )


async def _pieces(request: Request) -> Response:
    async def made() -> AsyncIterator[bytes]:
        for word in ("some", "words", ""):
            await trio.lowlevel.checkpoint()
            yield word.encode()

    return StreamingResponse(made())


async def _impatient(request: Request) -> Response:
    """Asks on after the body was lost."""
    with contextlib.suppress(ClientDisconnect):
        await request.body()
    assert (await request.receive())["type"] == "http.disconnect"
    return PlainTextResponse("lost")


ECHO = Starlette(
    routes=[
        Route("/pieces", _pieces),
        Route("/impatient", _impatient, methods=["POST"]),
        Route("/echo", _echo, methods=["POST"]),
        Route("/large", _large),
        Route("/broken", _broken),
        Route("/about/{rest}", _about),
    ]
)


# -- HTTP


async def test_requests_follow_each_other_on_one_connection() -> None:
    """With bodies, chunked or not, and also if they came all at once."""
    post = b"POST /echo HTTP/1.1\r\nhost: x\r\n"
    several = (
        post + b"content-length: 3\r\n\r\none"
        + post + b"transfer-encoding: chunked\r\n\r\n2\r\nt\n\r\n2\r\nwo\r\n0\r\n\r\n"
        + post + b"connection: close\r\ncontent-length: 5\r\n\r\nthree"
    )  # fmt: skip
    async with served(ECHO) as url:
        said = await exchange(url, several)
    assert said.count(b"HTTP/1.1 200") == 3
    assert [said.count(each) for each in (b"\r\n\r\none", b"\r\n\r\nt\nwo", b"\r\n\r\nthree")] == [1, 1, 1]
    assert said.count(b"date: ") == 3


async def test_the_application_learns_who_asks_for_what() -> None:
    """Client, scheme, decoded path and query."""
    async with served(ECHO) as url, client_at(url) as client:
        assert (await client.get("/about/%C3%A4?a=%20")).text == "127.0.0.1 http /about/ä a=%20"


@pytest.mark.parametrize("length", [b"", b"content-length: 0\r\n"])
async def test_a_request_without_a_body_has_an_empty_one(length: bytes) -> None:
    """And the connection goes on after it."""
    one = b"POST /echo HTTP/1.1\r\nhost: x\r\n" + length
    async with served(ECHO) as url:
        said = await exchange(url, one + b"\r\n" + one + b"connection: close\r\n\r\n")
    assert said.count(b"HTTP/1.1 200") == 2
    assert said.count(b"content-length: 0") == 2


async def test_an_answer_may_come_in_pieces() -> None:
    """Without a length, so chunked; while it comes, waiting for the client to leave ends nothing."""
    async with served(ECHO) as url, client_at(url) as client:
        answer = await client.get("/pieces")
    assert answer.text == "somewords"
    assert answer.headers["transfer-encoding"] == "chunked"


async def test_what_is_lost_stays_lost() -> None:
    """However often the application asks for it."""
    async with served(ECHO) as url:
        said = await exchange(url, b"POST /impatient HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n1")
    assert said.endswith(b"lost")


async def test_a_client_that_waits_for_a_hundred_gets_it() -> None:
    """Once the application wants the body."""
    async with served(ECHO) as url, await connect(url) as stream:
        await stream.send_all(
            b"POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
        )
        with trio.fail_after(PATIENCE):
            assert (await stream.receive_some(100)).startswith(b"HTTP/1.1 100")
        await stream.send_all(b"ok")
        with trio.fail_after(PATIENCE):
            assert (await stream.receive_some(1000)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"rubbish\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),  # without a host
        (b"GET ftp://x/health HTTP/1.1\r\nhost: x\r\n\r\n", b"400"),
        (
            b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 10_000,
            b"408",
        ),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50 + b"\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 25_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 5000 + b"\r\n", b"431"),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", b"400"),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", b"400"),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n", b"501"),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", b"408"),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" + b"1" * 20_000, b"408"),
    ],
)
async def test_what_is_not_http_is_refused_and_the_connection_closed(sent: bytes, status: bytes) -> None:
    """And the next one is served."""
    async with served(ECHO) as url:
        said = await exchange(url, sent)
        assert said.startswith(b"HTTP/1.1 " + status)
        assert b"connection: close" in said
        async with client_at(url) as client:
            assert (await client.post("/echo", content=b"next")).text == "next"


async def test_a_body_in_crumbs_arrives_whole_and_stalls_nobody() -> None:
    """Thousands of chunks of one byte, that were received together, are taken in turns with everything else."""
    crumbs = b"1\r\nx\r\n" * 4000
    head = b"POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    turns = 0

    async def live() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with served(ECHO) as url, trio.open_nursery() as nursery:
        nursery.start_soon(live)
        before = turns
        said = await exchange(url, head + crumbs + b"0\r\n\r\n")
        nursery.cancel_scope.cancel()
    assert said.endswith(b"\r\n\r\n" + b"x" * 4000)
    assert turns - before > 4000 / 128


async def test_a_target_may_name_the_server() -> None:
    """As proxies send it (RFC 9112, 3.2.2)."""
    async with served(ECHO) as url:
        said = await exchange(url, b"GET http://x/about/y?z HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 200")
    assert said.endswith(b" /about/y z")


async def test_upgrades_are_not_taken() -> None:
    """Neither to HTTP/2 nor to a web socket: the request is answered as it stands."""
    for what in (b"h2c", b"websocket"):
        head = (
            b"GET /about/x HTTP/1.1\r\nhost: x\r\nconnection: upgrade, close\r\nupgrade: "
            + what
            + b"\r\n\r\n"
        )
        async with served(ECHO) as url:
            assert (await exchange(url, head)).startswith(b"HTTP/1.1 200")


async def test_a_defect_of_the_application_costs_one_answer(caplog: pytest.LogCaptureFixture) -> None:
    """500 without a word of it, which the log has."""
    async with served(ECHO) as url, client_at(url) as client:
        with caplog.at_level(logging.ERROR):
            answer = await client.get("/broken")
        assert (answer.status_code, "defect" in answer.text) == (500, False)
        assert "a defect" in caplog.text
        assert (await client.post("/echo", content=b"next")).text == "next"


@pytest.mark.real_time
async def test_broken_requests_harm_nobody(open_node: LocalNode, caplog: pytest.LogCaptureFixture) -> None:
    """Good requests with bytes changed, left out or repeated: each ends with an answer or without, none as a defect of ours."""
    body = b'{"AppID":"my-app","AttestationTime":0}'
    good = b"POST /app/sign HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    chunked = (
        b"POST /app/sign HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n26\r\n"
        + body
        + b"\r\n0\r\n\r\n"
    )
    random = Random(4711)
    open_node.services.key_api.limits = ClientLimits.at_rate(10**6)
    async with served(open_node.services.key_api.app, PATIENT) as url:
        for number in range(300):
            sent = bytearray(random.choice((good, chunked)))
            for _ in range(random.randint(1, 4)):
                start = random.randrange(len(sent))
                part = bytes(sent[start : start + random.randint(0, 12)])
                sent[start : start + random.randint(0, 12)] = random.choice(
                    (b"", random.randbytes(3), part * 3)
                )
            async with await connect(url) as stream:
                await stream.send_all(bytes(sent) + b" ")
                await stream.send_eof()
                said = await eventually_gone(stream)
            assert said[:9] in (b"", b"HTTP/1.1 "), (number, bytes(sent), said)
            assert b" 500 " not in said[:13], (number, bytes(sent))
        async with client_at(url) as client:
            assert (await client.post("/app/sign", content=body)).status_code == 200
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


# -- slow ones


@pytest.mark.parametrize(
    "sent", [b"", b"GET /health HT", GET[:-2]], ids=["nothing", "half a line", "no end of the head"]
)
async def test_a_head_that_does_not_come_ends_the_connection(sent: bytes) -> None:
    """Also if a byte comes now and then."""
    async with served(ECHO) as url, await connect(url) as stream, trio.open_nursery() as nursery:
        await stream.send_all(sent)

        async def drip() -> None:
            while True:
                await pace(LIMITS.head_seconds / 4)
                await stream.send_all(b"x")

        nursery.start_soon(_until_broken, drip)
        assert await eventually_gone(stream) == b""
        nursery.cancel_scope.cancel()


async def _until_broken(forever: Any) -> None:
    try:
        await forever()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return


async def test_an_idle_connection_is_closed() -> None:
    """After its answer."""
    async with served(ECHO) as url:
        said = await exchange(url, b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nok")
    assert said.endswith(b"\r\n\r\nok")


@pytest.mark.parametrize("drops", [b"", b" "], ids=["stops", "drips"])
async def test_a_body_that_stops_or_drips_is_given_up(open_node: LocalNode, drops: bytes) -> None:
    """Long before the deadline of the whole body, however fast it began; the answer says so."""
    async with served(open_node.services.key_api.app) as url, await connect(url) as stream:
        head = b"POST /app/sign HTTP/1.1\r\nhost: x\r\ncontent-length: 16000\r\n\r\n"
        begun = trio.current_time()
        await stream.send_all(head + b" " * 15_000)

        async def drip() -> None:
            while True:
                await pace(LIMITS.stall_seconds / 4)
                await stream.send_all(drops)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(_until_broken, drip)
            with trio.fail_after(PATIENCE):
                said = await stream.receive_some(10_000)
            nursery.cancel_scope.cancel()
    assert said.startswith(b"HTTP/1.1 408")
    assert b"incomplete-body" in said
    assert trio.current_time() - begun <= LIMITS.stall_seconds + 1


async def test_a_body_that_goes_on_has_its_time() -> None:
    """Slow and steady is enough: each kilobyte buys the next."""
    pieces, size = 20, 4096
    head = b"POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % (
        pieces * size
    )
    async with served(ECHO) as url, await connect(url) as stream:
        begun = trio.current_time()
        await stream.send_all(head)
        for _ in range(pieces):
            await pace(size / LIMITS.body_rate)
            await stream.send_all(b"x" * size)
        assert b" 200 " in (await read_all(stream))[:16]
        assert trio.current_time() - begun > 2 * LIMITS.stall_seconds


@asynccontextmanager
async def watched() -> AsyncIterator[tuple[HttpServer, str]]:
    """(server, URL)."""
    server, bound = HttpServer(ECHO, LIMITS), await bind(HttpAddress.parse("127.0.0.1:0"), None)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, bound.listeners)
        yield server, bound.url
        nursery.cancel_scope.cancel()


async def all_gone(server: HttpServer) -> None:
    await eventually(lambda: not server.connections)


@pytest.mark.slow
async def test_a_client_that_does_not_read_is_dropped() -> None:
    """Its answer does not wait for it in memory."""
    async with watched() as (server, url), await connect(url) as stream:
        await stream.send_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
        await stream.receive_some(1)
        assert server.connections
        await all_gone(server)
        assert len(await eventually_gone(stream)) < LARGE


async def test_clients_that_leave_are_forgotten() -> None:
    """In the middle of a head, of a body, or before their answer."""
    async with watched() as (server, url):
        for sent in (
            b"",
            b"POST /ec",
            b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n12",
            b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n",
        ):
            stream = await connect(url)
            await stream.send_all(sent)
            await stream.aclose()
        async with client_at(url) as client:
            assert (await client.post("/echo", content=b"next")).text == "next"
        await all_gone(server)


@pytest.mark.real_time
async def test_slow_ones_do_not_keep_others_from_being_served(open_node: LocalNode) -> None:
    """Ten bodies that do not come on, and one honest client of the same address."""
    async with asking(open_node) as client, trio.open_nursery() as nursery:
        url = str(client.base_url).rstrip("/")

        async def dawdle(*, task_status: Any) -> None:
            async with await connect(url) as stream:
                await stream.send_all(b"POST /secrets HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
                task_status.started()
                await trio.sleep_forever()

        for _ in range(10):  # fewer than one client may have in progress
            await nursery.start(dawdle)
        for _ in range(5):
            assert (await client.get("/pubkey")).status_code == 200
        nursery.cancel_scope.cancel()


async def test_cancelling_ends_all_connections_at_once() -> None:
    """Those that wait for a request, those in the middle of one, and those that do not read."""
    with trio.fail_after(PATIENCE):
        async with served(ECHO) as url:
            streams = [await connect(url) for _ in range(3)]
            await streams[1].send_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n12")
            await streams[2].send_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
            await streams[2].receive_some(1)
            begun = trio.current_time()
        assert trio.current_time() == begun, "none of the server's deadlines had to pass"
    for stream in streams:
        await eventually_gone(stream)
        await stream.aclose()


# -- too much


@pytest.mark.real_time
@pytest.mark.parametrize(("path", "limit"), [("/app/sign", MAX_SIGN_BODY), ("/secrets", MAX_SECRETS_BODY)])
async def test_a_body_beyond_its_limit_is_refused(open_node: LocalNode, path: str, limit: int) -> None:
    """By what the head says, before any of it came; and by counting, where the head does not say."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(limit // 1024 + 1):
            yield b" " * 1024

    async with asking(open_node) as client:
        url = str(client.base_url).rstrip("/")
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {limit + 1}\r\n\r\n"
        said = await exchange(url, head.encode())
        assert said.startswith(b"HTTP/1.1 413")
        assert b"body-too-large" in said
        assert code_of(await client.post(path, content=endless())) == (413, "body-too-large")
        just_fits = await client.post(path, content=b"{}" + b" " * (limit - 2))
        assert code_of(just_fits) == (400, "bad-request")


@pytest.mark.real_time
async def test_bodies_of_all_clients_have_one_budget(open_node: LocalNode) -> None:
    """If it is used up, further ones are refused: as busy, or as too many if it is the client's share. Small ones go on."""
    large = b" " * (SMALL_BYTES + 101)
    async with asking(open_node) as client:
        for budget, refusal in (
            (ByteBudget(100, 1000), (503, "busy")),
            (ByteBudget(1000, 100), (429, "too-many-requests")),
        ):
            open_node.services.key_api.limits.bodies = budget
            assert code_of(await client.post("/secrets", content=large)) == refusal
            for _ in range(10):
                assert code_of(await client.post("/secrets", content=large[:-1])) == (400, "bad-request")
            assert budget.held == 0


@pytest.mark.real_time
async def test_an_answer_that_nobody_reads_holds_its_part_of_the_budget(open_node: LocalNode) -> None:
    """Until it is written, or its client is given up."""
    body = json.dumps(ReferenceClient(extra_data=bytes(SMALL_BYTES)).request("gcp", b"token")).encode()
    bodies = open_node.services.key_api.limits.bodies = ByteBudget()
    writing = trio.Event()
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/secrets",
        "headers": [],
        "query_string": b"",
        "client": ("192.0.2.1", 1),
    }

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: object) -> None:
        writing.set()
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(open_node.services.key_api.app, scope, receive, send)
        with trio.fail_after(PATIENCE):
            await writing.wait()
        assert bodies.held == len(body) - SMALL_BYTES
        assert open_node.services.key_api.limits.in_progress.total == 1
        nursery.cancel_scope.cancel()
    assert bodies.held == 0
    assert open_node.services.key_api.limits.in_progress.total == 0


@pytest.mark.real_time
async def test_a_request_that_takes_too_long_is_given_up(
    open_node: LocalNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client hears that the operator is busy."""

    async def for_ever(*args: object, **kwargs: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(key_api, "ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(type(open_node.backing.policy), "authorise", for_ever)
    async with asking(open_node) as client:
        assert code_of(await client.post("/app/sign", json={"AppID": "my-app"})) == (503, "busy")


@pytest.mark.parametrize("limits", [ServerLimits(connections=2), ServerLimits(connections_of_one=2)])
async def test_connections_have_a_bound_for_all_and_for_each(limits: ServerLimits) -> None:
    """While a request is worked on in each, the next one is closed. When these have their answers, the next takes a place."""
    at_work: list[str] = []
    let_go = trio.Event()

    async def work(scope: Any, receive: Any, send: Any) -> None:
        at_work.append(scope["path"])
        await let_go.wait()
        await PlainTextResponse("done")(scope, receive, send)

    async with served(work, limits) as url:
        held = [await connect(url) for _ in range(2)]
        for stream in held:
            await stream.send_all(GET)
        await eventually(lambda: len(at_work) == 2)
        async with await connect(url) as refused:
            assert await eventually_gone(refused) == b""
        let_go.set()
        for stream in held:
            assert b"200" in await stream.receive_some(12)
        assert b"200" in await exchange(url, CLOSING_GET)
        for stream in held:
            await stream.aclose()


# -- TLS and addresses


@pytest.mark.real_time
async def test_tls_by_certificate_files(authority: Authority) -> None:
    """Verified by a client that knows the authority; not by one that does not; never below TLS 1.2."""
    trusting = ssl.create_default_context(cafile=authority.ca)
    old = ssl.create_default_context(cafile=authority.ca)
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    async with served(ECHO, tls=TlsFiles(authority.server, authority.server)) as url:
        assert url.startswith("https://127.0.0.1:")
        for context in (ssl.create_default_context(), old):
            with pytest.raises(httpx.ConnectError):
                async with client_at(url, context) as client:
                    await client.get("/about/x")
        for last in ("keep-alive", "close"):
            async with client_at(url, trusting) as client:
                answer = await client.get("/about/x", headers={"connection": last})
            assert answer.text == "127.0.0.1 https /about/x "


async def test_what_is_not_tls_is_dropped(authority: Authority) -> None:
    """Plain HTTP, and a handshake that does not go on."""
    async with served(ECHO, tls=TlsFiles(authority.server, authority.server)) as url:
        for sent in (GET, b"", b"\x16\x03\x01"):
            async with await connect(url) as stream:
                await stream.send_all(sent)
                assert b"HTTP" not in await eventually_gone(stream)


@pytest.mark.parametrize("broken", ["missing", "no certificate", "no key", "another's key"])
async def test_files_that_cannot_be_used_are_said_at_the_start(
    authority: Authority, tmp_path: Path, broken: str
) -> None:
    """By their names, and nothing of what is in them."""
    from tests.support.token_issuer import make_authority

    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("rubbish")
    files = {
        "missing": TlsFiles(tmp_path / "none.pem", authority.server),
        "no certificate": TlsFiles(rubbish, authority.server),
        "no key": TlsFiles(authority.server, rubbish),
        "another's key": TlsFiles(authority.server, make_authority(tmp_path, "other").server),
    }[broken]
    with pytest.raises(InputError) as error:
        await bind(HttpAddress.parse("127.0.0.1:0"), files)
    assert error.value.hint is not None
    assert "PRIVATE" not in str(error.value)


async def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_a_password(
    authority: Authority, tmp_path: Path
) -> None:
    """The node has no terminal."""
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(authority.server.read_bytes(), None)
    encrypted = tmp_path / "key.pem"
    encrypted.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(InputError, match="belong together"):
        await bind(HttpAddress.parse("127.0.0.1:0"), TlsFiles(authority.server, encrypted))


async def test_an_address_that_is_taken_is_said(authority: Authority) -> None:
    """With what to do."""
    async with served(ECHO) as url:
        taken = HttpAddress.parse(url.removeprefix("http://"))
        with pytest.raises(InputError, match=f"listen for HTTP on {taken}: address already in use"):
            await bind(taken, None)
    with pytest.raises(InputError, match="cannot assign requested address"):
        await bind(HttpAddress.parse("192.0.2.1:80"), None)


def test_the_grammar_is_the_librarys() -> None:
    """h11 refuses heads beyond its bound with the status that is answered here."""
    machine = h11.Connection(h11.SERVER, max_incomplete_event_size=ServerLimits().head_bytes)
    machine.receive_data(b"GET / HTTP/1.1\r\nx: " + b"y" * 20_000)
    with pytest.raises(h11.RemoteProtocolError) as error:
        machine.next_event()
    assert error.value.error_status_hint == 431
