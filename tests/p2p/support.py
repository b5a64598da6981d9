"""What the transport's tests share: keys, an echo handler, introductions, honest clients and pairs of muxers."""

import statistics
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import trio
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from trio.abc import Instrument

from eigenkms.p2p.host import Host, Limits, Request, open_host
from eigenkms.p2p.identity import PeerKey
from eigenkms.p2p.limits import ConnectionLimits, DialLimits, GossipLimits, HandshakeLimits, RpcLimits
from tests.support.p2p_attackers import upgrader
from tests.support.waiting import PATIENCE, eventually

ANYWHERE = "/ip4/127.0.0.1/tcp/0"
ECHO = "/test/echo/1"
OPERATORS_ONLY = "/test/operators/1"
TOPIC = "test/topic"
CALL_STEPS, NEWCOMER_STEPS = 1_000, 5_000
"""Steps of all tasks that may come before the answer to a call, and to the first call of a new connection.

Without an attack they are 40 and 250.
"""


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
                await host.wait_connected(other.peer_id, PATIENCE)


async def gossiping(*hosts: Host) -> None:
    """Wait until every host can send gossip to all the others."""
    await eventually(lambda: all(host.statistics().gossip.peers >= len(hosts) - 1 for host in hosts))


class Steps(Instrument):
    """Counts the steps of all tasks of the loop: how often others had their turn, whatever the machine's speed.

    What one step costs is not seen: a handler that computes for long needs a test of its own.
    """

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


@contextmanager
def counted_steps() -> Iterator[Steps]:
    """Count what the loop does within the context."""
    steps = Steps()
    trio.lowlevel.add_instrument(steps)
    try:
        yield steps
    finally:
        trio.lowlevel.remove_instrument(steps)


async def steps_of_call(client: Host, server: Host, body: bytes) -> int:
    """Call, and return how many steps of all tasks, the attacker's too, came before the answer."""
    with counted_steps() as steps:
        assert await client.call(server.peer_id, ECHO, "echo", body, timeout=PATIENCE) == body
    return steps.count


async def serves_an_honest_client(server: Host, newcomers: int = 1) -> None:
    """Assert the transport's bound: the work that stands before a newcomer's call and its next ones is bounded (medians)."""
    first, calls = [], []
    for _ in range(newcomers):
        async with open_host(PeerKey.generate()) as client:
            introduce(client, server)
            first.append(await steps_of_call(client, server, b"hello"))
            calls += [await steps_of_call(client, server, bytes(1000)) for _ in range(5)]
    assert statistics.median(first) < NEWCOMER_STEPS
    assert statistics.median(calls) < CALL_STEPS


class Regular:
    """An honest client with a connection of its own, on which little work must stand before every call."""

    def __init__(self, client: Host, server: Host) -> None:
        self._client = client
        self._server = server

    async def is_served(self) -> None:
        """Three calls within the bound of ``serves_an_honest_client``, over the connection that was the first."""
        calls = [await steps_of_call(self._client, self._server, b"x") for _ in range(3)]
        assert statistics.median(calls) < CALL_STEPS
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
    connections=ConnectionLimits(keepalive_interval=0.3, keepalive_timeout=0.3, write_stall=0.5),
    dialing=DialLimits(dial_timeout=0.5, backoff_min=0.05, grace=0.1),
    handshakes=HandshakeLimits(upgrade_timeout=0.5),
    rpc=RpcLimits(handler_deadline=0.5),
    gossip=GossipLimits(upkeep=0.1),
)
"""Limits whose ends come within a test's patience."""
