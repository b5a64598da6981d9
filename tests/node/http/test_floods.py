"""Clients of few addresses that hold connections, bodies and answers, and an honest one that is served meanwhile: real sockets.

The attackers have addresses of their own in 127.0.0.0/8. Memory is that of this process, in which both ends run; what the kernel
buffers does not count.
"""

import os
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from eigenkms.config.addresses import HttpAddress
from eigenkms.config.tls import TlsFiles
from eigenkms.node.http.api_listener import bind
from eigenkms.node.http.connection import App
from eigenkms.node.http.limits import IN_PROGRESS_OF_ONE, LARGE_BYTES_OF_ONE, ServerLimits
from eigenkms.node.http.requests import MAX_SECRETS_BODY
from eigenkms.node.http.server import HttpServer
from eigenkms.p2p.listening.listener import raise_file_limit
from tests.node.http.support import PATIENT, client_at, connect, eventually_gone, exchange, stop_rates
from tests.support.local_node import LocalNode
from tests.support.token_issuer import Authority
from tests.support.waiting import PATIENCE, eventually, pace, pass_time

ATTACKERS: Final = tuple(f"127.0.0.{number}" for number in range(2, 6))
GET: Final = b"GET /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
MIB: Final = 2**20
PIECE: Final = memoryview(bytes(MIB))
"""One for all attackers: memory is to be the server's."""


@asynccontextmanager
async def serving(
    app: App, limits: ServerLimits = PATIENT, *, tls: TlsFiles | None = None
) -> AsyncIterator[tuple[HttpServer, int]]:
    """(server, port)."""
    server, bound = HttpServer(app, limits), await bind(HttpAddress.parse("127.0.0.1:0"), tls)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, bound.listeners)
        with trio.fail_after(PATIENCE):
            yield server, int(bound.url.rpartition(":")[2])
        nursery.cancel_scope.cancel()


async def connect_from(address: str, port: int) -> trio.SocketStream:
    """A connection of another client than the tests' own."""
    raw = trio.socket.socket()
    await raw.bind((address, 0))
    await raw.connect(("127.0.0.1", port))
    return trio.SocketStream(raw)


def resident() -> int:
    """Bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def ready(scope: Any, receive: Any, send: Any) -> None:
    """200, and for ``/answer`` with a whole share; for ``/pieces`` with as many as a client takes."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/pieces":
        while True:
            await send({"type": "http.response.body", "body": b"x" * MIB, "more_body": True})
    await send(
        {
            "type": "http.response.body",
            "body": b"x" * (LARGE_BYTES_OF_ONE if scope["path"] == "/answer" else 2),
        }
    )


@pytest.mark.slow
async def test_uploads_and_idle_connections_of_four_addresses_shut_nobody_out(open_node: LocalNode) -> None:
    """Probes and keys are answered while 64 uploads lack a byte and 4 × 128 connections are idle; memory is bounded."""
    raise_file_limit()
    stop_rates(open_node)
    open_node.services.key_api._not_ready = tuple
    head = b"POST /secrets HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % MAX_SECRETS_BODY
    held: list[trio.SocketStream] = []

    async def upload(address: str) -> None:
        stream = await connect_from(address, port)
        held.append(stream)
        await stream.send_all(head)
        try:
            for _ in range(MAX_SECRETS_BODY // MIB - 1):
                await stream.send_all(PIECE)
            await stream.send_all(PIECE[:-1])
        except trio.BrokenResourceError:
            return  # it was refused

    async def honest() -> None:
        async with client_at(f"http://127.0.0.1:{port}") as client:
            for _ in range(5):
                for path in ("/health", "/ready"):
                    assert (await client.get(path, headers={"connection": "close"})).status_code == 200
                (await client.post("/app/sign", json={"AppID": "my-app"})).raise_for_status()

    async with serving(open_node.services.key_api.app) as (server, port):
        await honest()  # what the process loads once does not count
        before = resident()
        async with trio.open_nursery() as nursery:
            for address in ATTACKERS:
                for _ in range(IN_PROGRESS_OF_ONE):
                    nursery.start_soon(upload, address)
        await eventually(
            lambda: open_node.services.key_api.limits.bodies.held > len(ATTACKERS) * LARGE_BYTES_OF_ONE // 2
        )
        await honest()
        for address in ATTACKERS:
            held += [await connect_from(address, port) for _ in range(PATIENT.connections_of_one)]

        async def is_full() -> bool:
            """One more of each takes the places of uploads that were refused meanwhile."""
            held.extend([await connect_from(address, port) for address in ATTACKERS])
            return len(server.connections) == PATIENT.connections

        await eventually(is_full)
        await honest()
        assert open_node.services.key_api.limits.bodies.held <= len(ATTACKERS) * LARGE_BYTES_OF_ONE
        assert resident() - before < 3 * len(ATTACKERS) * LARGE_BYTES_OF_ONE, "less than what was sent"
        for stream in held:
            await stream.aclose()


async def test_answers_that_nobody_reads_hold_no_more_than_a_share() -> None:
    """However many are asked for; the others are refused, and small ones are given."""
    async with serving(ready) as (server, port):
        before = resident()
        held = [await connect_from(ATTACKERS[0], port) for _ in range(16)]
        for stream in held:
            await stream.send_all(GET.replace(b"/ready", b"/answer"))
        statuses = [(await stream.receive_some(12))[-3:] for stream in held]
        assert (statuses.count(b"200"), statuses.count(b"503")) == (1, 15)
        assert 0 < server.unread.held <= LARGE_BYTES_OF_ONE
        assert resident() - before < 8 * LARGE_BYTES_OF_ONE, "half of what was asked for"
        for address in ("127.0.0.1", ATTACKERS[0]):
            async with await connect_from(address, port) as stream:
                await stream.send_all(GET)
                assert b"200" in await stream.receive_some(12)
        for stream in held:
            await stream.aclose()
        await eventually(lambda: not server.unread.held)


async def test_handshakes_that_do_not_go_on_keep_nobody_out(authority: Authority) -> None:
    """Nor do heads: a connection is idle until it has made a request."""
    limits = replace(PATIENT, connections=4, connections_of_one=2)
    trusting = ssl.create_default_context(cafile=authority.ca)
    files = TlsFiles(authority.server, authority.server)
    async with serving(ready, limits, tls=files) as (server, port), AsyncExitStack() as stack:
        for number in range(4):
            silent = await stack.enter_async_context(await connect_from(ATTACKERS[number // 2], port))
            await silent.send_all(b"\x16\x03\x01"[: 3 * (number % 2)])
        await eventually(lambda: len(server.connections) == 4)
        async with client_at(f"https://127.0.0.1:{port}", trusting) as client:
            assert (await client.get("/ready")).status_code == 200


@pytest.mark.usefixtures("virtual_clock")
async def test_a_reader_that_drips_has_one_deadline_for_its_answer() -> None:
    """An answer in pieces, each of which is taken in time, holds its place no longer than one that is not read at all."""
    limits = ServerLimits()
    async with (
        serving(ready, limits) as (server, port),
        await connect(f"http://127.0.0.1:{port}") as stream,
    ):
        await stream.send_all(GET.replace(b"/ready", b"/pieces"))
        await stream.receive_some(1)
        begun = trio.current_time()
        while server.connections:
            await pace(limits.answer_seconds / 6)
            for _ in range(64):
                await stream.receive_some(MIB // 16)
        assert trio.current_time() - begun < 2 * limits.answer_seconds


@pytest.mark.usefixtures("virtual_clock")
async def test_a_client_opens_so_many_connections_in_a_time() -> None:
    """The next is closed unheard, those of another client are not, and a second later there is one more."""
    async with serving(ready, ServerLimits(accepts_of_one=1)) as (_, port):
        url = f"http://127.0.0.1:{port}"
        for _ in range(5):
            assert b" 200 " in await exchange(url, GET)
        async with await connect(url) as refused:
            assert await eventually_gone(refused) == b""
        async with await connect_from(ATTACKERS[0], port) as stream:
            await stream.send_all(GET)
            assert b" 200 " in await stream.receive_some(100)
        await pass_time(1)
        assert b" 200 " in await exchange(url, GET)
