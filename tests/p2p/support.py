"""What the transport's tests share: keys, an echo handler, introductions, honest clients and pairs of muxers."""

import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID

from eigenkms.p2p.host import Host, Limits, Request, open_host
from eigenkms.p2p.identity import PeerKey
from tests.support.p2p_attackers import upgrader

ANYWHERE = "/ip4/127.0.0.1/tcp/0"
ECHO = "/test/echo/1"
OPERATORS_ONLY = "/test/operators/1"
TOPIC = "test/topic"
LATER = 5.0
"""Seconds that something may take that is expected at once, on a busy machine."""


def keys(n: int) -> list[PeerKey]:
    """Some keys in the order of their peer ids: the first dials."""
    return sorted((PeerKey.generate() for _ in range(n)), key=lambda key: key.peer_id)


async def echo(request: Request) -> bytes:
    """Answers with what it was asked."""
    return request.body


def introduce(host: Host, *others: Host) -> None:
    """Tell ``host`` where the others are."""
    for other in others:
        host.set_addresses(other.peer_id, [str(each) for each in other.addresses])


async def link(*hosts: Host) -> None:
    """Connect all with all, and wait until they are."""
    for host in hosts:
        others = [other for other in hosts if other is not host]
        introduce(host, *(other for other in others if other.addresses))
        host.keep_connected({other.peer_id for other in others})
    for host in hosts:
        for other in hosts:
            if other is not host:
                await host.wait_connected(other.peer_id, LATER)


async def gossiping(*hosts: Host) -> None:
    """Wait until every host can send gossip to all the others."""
    with trio.fail_after(LATER):
        while any(host.statistics().gossip_peers < len(hosts) - 1 for host in hosts):  # noqa: ASYNC110
            await trio.sleep(0.01)


async def eventually(condition: Any, seconds: float = LATER) -> None:
    """Wait until ``condition()`` holds. Raises TooSlowError if it never does."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - it watches both ends from outside
            await trio.sleep(0.01)


async def serves_an_honest_client(server: Host, newcomers: int = 1) -> None:
    """The bound of the transport: newcomers are served, and calls on their connections take under 100 ms (median)."""
    first, calls = [], []
    for _ in range(newcomers):
        async with open_host(PeerKey.generate()) as client:
            introduce(client, server)
            start = trio.current_time()
            assert await client.call(server.peer_id, ECHO, "echo", b"hello", timeout=LATER) == b"hello"
            first.append(trio.current_time() - start)
            for _ in range(5):
                start = trio.current_time()
                await client.call(server.peer_id, ECHO, "echo", b"x" * 1000, timeout=LATER)
                calls.append(trio.current_time() - start)
    assert statistics.median(calls) < 0.1
    assert statistics.median(first) < 1.0


class Regular:
    """An honest client with a connection of its own, on which every call must be quick."""

    def __init__(self, client: Host, server: Host) -> None:
        self._client = client
        self._server = server

    async def is_served(self) -> None:
        """Three calls; their median is under 100 ms, and the connection is still the first."""
        calls = []
        for _ in range(3):
            start = trio.current_time()
            assert await self._client.call(self._server.peer_id, ECHO, "echo", b"x", timeout=LATER) == b"x"
            calls.append(trio.current_time() - start)
        assert statistics.median(calls) < 0.1
        assert self._client.statistics().lost_connections == 0


@asynccontextmanager
async def regular(server: Host) -> AsyncIterator[Regular]:
    """A regular of ``server`` for the length of the context; a newcomer is served at its end."""
    async with open_host(PeerKey.generate()) as client:
        introduce(client, server)
        yield Regular(client, server)
    await serves_an_honest_client(server)


@asynccontextmanager
async def secured_pair() -> AsyncIterator[tuple[Any, trio.SocketStream, Any, trio.SocketStream]]:
    """Both ends of a noise session over TCP on loopback, with their sockets; no muxer runs on them yet."""
    dialler, listener = PeerKey.generate(), PeerKey.generate()
    (accepting,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    ends: dict[str, Any] = {}

    async def accept() -> None:
        socket = await accepting.accept()
        ends["b"] = await upgrader(listener).upgrade_security(
            RawConnection(TrioTCPStream(socket), False), False
        )
        ends["b_socket"] = socket

    async with accepting:
        port = accepting.socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            socket = await trio.open_tcp_stream("127.0.0.1", port)
            raw = RawConnection(TrioTCPStream(socket), True)
            ends["a"] = await upgrader(dialler).upgrade_security(raw, True, ID(listener.peer_id.raw))
        async with socket, ends["b_socket"]:
            yield ends["a"], socket, ends["b"], ends["b_socket"]


HASTY = Limits(
    keepalive_interval=0.3,
    keepalive_timeout=0.3,
    dial_timeout=0.5,
    upgrade_timeout=0.5,
    backoff_min=0.05,
    dial_grace=0.1,
    handler_deadline=0.5,
    write_stall=0.5,
    gossip_upkeep=0.1,
)
"""Limits whose ends come within a test's patience."""
