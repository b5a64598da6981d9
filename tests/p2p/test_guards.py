"""Each defect of libp2p 0.8.1 that a guard answers, shown without the guard and gone with it.

When libp2p is upgraded these tests say which guards are still needed: the first half of a test fails once its defect is gone.
"""

import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from libp2p import new_host
from libp2p.crypto.secp256k1 import create_new_key_pair
from libp2p.io.exceptions import ConnectionClosedError, IncompleteReadError, MessageTooLarge
from libp2p.io.trio import TrioTCPStream
from libp2p.network.config import ConnectionConfig
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.exceptions import SwarmException
from libp2p.peer.envelope import seal_record
from libp2p.peer.id import ID
from libp2p.peer.peer_record import PeerRecord
from libp2p.peer.peerinfo import PeerInfo
from libp2p.peer.peerstore import PeerStore
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.rpc_queue import RpcQueue
from libp2p.stream_muxer.exceptions import MuxedStreamError
from libp2p.stream_muxer.yamux.yamux import TYPE_WINDOW_UPDATE, Yamux
from libp2p.tools.anyio_service import background_trio_service
from libp2p.transport.exceptions import SecurityUpgradeFailure
from multiaddr import Multiaddr

from eigenkms.p2p.connections import is_loopback
from eigenkms.p2p.hardening import muxer as muxer_module
from eigenkms.p2p.hardening import self_test, version_check
from eigenkms.p2p.hardening.bounded_io import read_exactly
from eigenkms.p2p.hardening.gossip import GuardedPubsub
from eigenkms.p2p.hardening.gossip_router import GuardedRouter
from eigenkms.p2p.hardening.muxer import STREAM_BUFFER, GuardedYamux, PacedSession
from eigenkms.p2p.hardening.queues import RPC_BYTES, BatchingRpcQueue, KeptMessages
from eigenkms.p2p.hardening.streams import GuardedStream
from eigenkms.p2p.host import Limits, PeerUnreachable, open_host
from eigenkms.p2p.identity import PeerAddress, PeerId, PeerKey, TransportAddress
from eigenkms.p2p.limits import ConnectionLimits, HandshakeLimits
from eigenkms.p2p.listening.read_allowances import new_allowance
from eigenkms.p2p.rpc.memory import MemoryPool
from tests.p2p.support import (
    ANYWHERE,
    ECHO,
    HASTY,
    TOPIC,
    counted_steps,
    echo,
    gossiping,
    introduce,
    link,
    secured_pair,
)
from tests.support.p2p_attackers import Impostor, connect, hello, impostor_upgrader, raw_peer, read_frame
from tests.support.waiting import PATIENCE, eventually, pass_time

LOOPBACK = Multiaddr(ANYWHERE)


def stock_host(**options: Any) -> Any:
    """A libp2p host as it comes."""
    return new_host(key_pair=create_new_key_pair(PeerKey.generate().secret), **options)


def address_of(host: Any) -> PeerAddress:
    """Where a stock host listens."""
    (address,) = host.get_transport_addrs()
    port = int(address.value_for_protocol("tcp"))
    return PeerAddress(TransportAddress("ip4", "127.0.0.1", port), PeerId(host.get_id().to_bytes()))


# ----- P1: plaintext


async def claim_to_be(
    victim: PeerId, at: PeerAddress, *, plaintext: bool, judged: Callable[[], bool]
) -> None:
    """Connect, claim an identity that is not ours, and stay until that was ``judged``."""
    async with await connect(at) as socket:
        raw = RawConnection(TrioTCPStream(socket), True)
        stack = impostor_upgrader(victim, plaintext=plaintext)
        with suppress(SecurityUpgradeFailure):
            await stack.upgrade_security(raw, True, ID(at.peer_id.raw))
        await eventually(judged)


async def test_p1_without_the_guard_a_stranger_is_whoever_it_says() -> None:
    """By default libp2p accepts plaintext, where a public key is proof enough."""
    victim = PeerKey.generate().peer_id
    host = stock_host()
    async with host.run([LOOPBACK]):
        believed: list[bytes] = []
        inner = host.get_network().upgrader.upgrade_security

        async def watched(*args: Any) -> Any:
            secured = await inner(*args)
            believed.append(secured.get_remote_peer().to_bytes())
            return secured

        host.get_network().upgrader.upgrade_security = watched
        await claim_to_be(victim, address_of(host), plaintext=True, judged=lambda: bool(believed))

        assert believed == [victim.raw]
        await host.close()


@pytest.mark.parametrize("plaintext", [True, False])
async def test_p1_nobody_passes_for_somebody_else(plaintext: bool) -> None:
    """Plaintext is not offered, and noise demands a signature of the key that is claimed."""
    victim = PeerKey.generate().peer_id
    async with open_host(PeerKey.generate(), listen=[ANYWHERE], limits=HASTY) as server:
        await claim_to_be(
            victim,
            server.addresses[0],
            plaintext=plaintext,
            judged=lambda: server.statistics().refused_handshakes == 1,
        )

        assert server.connected() == frozenset()


async def test_p1_a_dial_ends_at_the_peer_it_meant_or_nowhere() -> None:
    """Another peer at the address of the one that is called gets no request."""
    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as other,
        open_host(PeerKey.generate()) as client,
    ):
        other.serve(ECHO, echo)
        wanted = PeerKey.generate().peer_id
        client.set_addresses(wanted, [other.addresses[0].multiaddr])
        with pytest.raises(PeerUnreachable, match="another peer answers there"):
            await client.call(wanted, ECHO, "echo", b"secret", timeout=PATIENCE)

        assert other.statistics().requests_served == 0


async def test_p1_a_listener_that_only_speaks_plaintext_is_not_spoken_to() -> None:
    """A man in the middle who offers the weaker protocol gets a closed connection."""
    victim = PeerKey.generate().peer_id
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    taken = []

    async def middle(socket: trio.SocketStream) -> None:
        try:
            raw = RawConnection(TrioTCPStream(socket), False)
            taken.append(await impostor_upgrader(victim, plaintext=True).upgrade_security(raw, False))
        except Exception:
            return

    async with trio.open_nursery() as nursery, open_host(PeerKey.generate()) as client:
        nursery.start_soon(trio.serve_listeners, middle, [listener])
        client.set_addresses(victim, [f"/ip4/127.0.0.1/tcp/{port}"])
        with pytest.raises(PeerUnreachable):
            await client.call(victim, ECHO, "echo", b"secret", timeout=PATIENCE)
        nursery.cancel_scope.cancel()

    assert taken == []


# ----- P2: inbound slots


async def connect_and_leave(at: PeerAddress) -> None:
    """One whole connection: authenticated, muxed, and gone."""
    async with raw_peer(at) as peer:
        await peer.frame(3, 0, 0, 0)


async def test_p2_without_the_guard_a_host_accepts_only_so_many_connections_in_its_life() -> None:
    """Of slots for four at a time, none is ever given back."""
    config = ConnectionConfig(max_connections=4, min_connections=0, low_watermark=0, high_watermark=4)
    host = stock_host(connection_config=config)
    async with host.run([LOOPBACK]):
        for _ in range(4):
            await connect_and_leave(address_of(host))
        await eventually(lambda: not host.get_connected_peers())
        with pytest.raises(Exception, match=r".*"), trio.fail_after(2):
            await connect_and_leave(address_of(host))
        await host.close()


async def test_p2_places_are_given_back() -> None:
    """With places for four, forty come and go, and one more is served."""
    limits = Limits(connections=ConnectionLimits(clients=4), handshakes=HandshakeLimits(at_once=4))
    async with open_host(
        PeerKey.generate(), listen=[ANYWHERE], limits=limits, gate=lambda _, p: p == ECHO
    ) as server:
        server.serve(ECHO, echo)
        for _ in range(40):
            await connect_and_leave(server.addresses[0])
        async with open_host(PeerKey.generate()) as client:
            introduce(client, server)
            assert await client.call(server.peer_id, ECHO, "echo", b"41", timeout=PATIENCE) == b"41"


# ----- P3: exceptions in stream handlers

NOT_UTF8 = b"\xff\xfe"


async def test_p3_without_the_guard_one_bad_name_ends_the_host() -> None:
    """A protocol name that is not UTF-8 raises out of the stream handler, and the swarm with it."""
    host = stock_host()
    with pytest.raises(BaseExceptionGroup) as caught:  # noqa: PT012 - the context raises, not its body
        async with host.run([LOOPBACK]):
            async with raw_peer(address_of(host)) as attacker:
                await attacker.open(NOT_UTF8)
                await pass_time(PATIENCE)
            pytest.fail("the host lives")
    assert caught.group_contains(UnicodeDecodeError)


@pytest.mark.parametrize("name", [NOT_UTF8, b"", b"ls", b"\x00", b"/" + b"x" * 3000])
async def test_p3_a_bad_name_costs_only_its_stream(name: bytes) -> None:
    """The host goes on, and so does the very connection."""
    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as server,
        open_host(PeerKey.generate()) as client,
    ):
        server.serve(ECHO, echo)
        async with raw_peer(server.addresses[0]) as attacker:
            await attacker.open(name)
            introduce(client, server)
            assert await client.call(server.peer_id, ECHO, "echo", b"on", timeout=PATIENCE) == b"on"


async def test_p3_without_the_guard_a_handler_that_raises_ends_the_host() -> None:
    """An ordinary bug in a handler is enough."""
    host = stock_host()

    async def handler(_stream: Any) -> None:
        raise ZeroDivisionError

    host.set_stream_handler(ECHO, handler)
    with pytest.raises(BaseExceptionGroup) as caught:  # noqa: PT012 - the context raises, not its body
        async with host.run([LOOPBACK]):
            async with raw_peer(address_of(host)) as attacker:
                await attacker.open(ECHO)
                await pass_time(PATIENCE)
            pytest.fail("the host lives")
    assert caught.group_contains(ZeroDivisionError)


# ----- P4, P5: cancellation


DATA_FRAME = struct.pack("!BBHII", 0, 0, 0, 99, 60_000) + bytes(60_000)


async def blocked(muxer: Any) -> int:
    """Write frames until the socket takes no more, cancelling the write that is stuck; how many were written."""
    written = 0
    with trio.move_on_after(0.2) as scope:
        while not scope.cancel_called:
            await muxer._write_frame(DATA_FRAME)
            written += 1
            scope.deadline = trio.current_time() + 0.2
    return written


async def frames_read_by(secured: Any) -> int:
    """How many of those frames the other end can decrypt before it must give up, or has them all."""
    read = 0
    with trio.move_on_after(0.5) as scope:
        while True:
            await read_exactly(secured, 12)
            await read_exactly(secured, 60_000)
            read += 1
            scope.deadline = trio.current_time() + 0.5
    return read


async def test_p4_without_the_guard_a_cancelled_write_breaks_the_connection() -> None:
    """The frame after a cancelled one cannot be decrypted."""
    async with secured_pair() as (a, _, b, _):
        muxer = Yamux(a, ID(b"x"), is_initiator=True)
        await blocked(muxer)
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(muxer._write_frame, DATA_FRAME)
            try:
                await frames_read_by(b)
            except Exception as error:
                failure = error
            nursery.cancel_scope.cancel()
        assert failure is not None
        assert "Noise" in type(failure).__name__ or "Tag" in type(failure).__name__


@pytest.mark.slow
async def test_p4_a_cancelled_write_is_finished_first() -> None:
    """The reader gets every frame, the one that was cancelled too, and those after it."""
    async with secured_pair() as (a, a_socket, b, _):
        muxer = GuardedYamux(a, ID(b"x"), a_socket, Limits(), MemoryPool(1 << 30))
        written, read = 0, 0

        async def write() -> None:
            nonlocal written
            written = await blocked(muxer)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await pass_time(0.5)
            read = await frames_read_by(b)
        assert read == written
        await muxer._write_frame(DATA_FRAME)
        assert await frames_read_by(b) == 1


async def test_p4_a_peer_that_reads_nothing_loses_its_connection() -> None:
    """The shield has an end: then the socket is closed, and the writer learns it."""
    async with secured_pair() as (a, a_socket, _, _):
        muxer = GuardedYamux(a, ID(b"x"), a_socket, HASTY, MemoryPool(1 << 30))
        failure: trio.BrokenResourceError | None = None
        with trio.fail_after(PATIENCE):
            while failure is None:
                try:
                    await muxer._write_frame(bytes(60_000))
                except trio.BrokenResourceError as error:
                    failure = error
        assert "stalled" in str(failure)
        assert a_socket.socket.fileno() == -1


async def test_p4_a_slow_link_is_no_peer_that_reads_nothing() -> None:
    """At 30 KB a second the frames of ten streams take longer than a peer may for one; each has its own time."""
    sent: list[bytes] = []

    async def write(data: bytes) -> None:
        await pass_time(2)
        sent.append(data)

    async with secured_pair() as (_, socket, _, _):
        slow = SimpleNamespace(write=write, is_initiator=True)
        muxer = GuardedYamux(slow, ID(b"x"), socket, Limits(), MemoryPool(1 << 30))
        async with trio.open_nursery() as writers:
            for _ in range(10):
                writers.start_soon(muxer._write_frame, DATA_FRAME)
        assert len(sent) == 10
        assert socket.socket.fileno() != -1


async def test_p5_without_the_guard_a_cancelled_open_leaks_a_slot_and_the_last_one_hangs() -> None:
    """256 cancelled opens, and a connection opens no stream ever again."""
    async with secured_pair() as (a, _, _, _):
        muxer = Yamux(a, ID(b"x"), is_initiator=True)
        await blocked(muxer)
        with trio.move_on_after(0.1):
            await muxer.open_stream()
        assert muxer.stream_backlog_semaphore.value == 255
        while muxer.stream_backlog_semaphore.value:
            muxer.stream_backlog_semaphore.acquire_nowait()
        with trio.move_on_after(0.2) as scope:
            await muxer.open_stream()
        assert scope.cancelled_caught


async def test_p5_a_cancelled_open_is_finished_and_the_last_slot_says_so() -> None:
    """An open that began is carried through; without a slot it fails at once."""
    async with secured_pair() as (a, a_socket, b, _):
        muxer = GuardedYamux(a, ID(b"x"), a_socket, Limits(), MemoryPool(1 << 30))
        stream = None
        with trio.move_on_after(0) as scope:
            stream = await muxer.open_stream()
        assert stream is not None
        await stream.reset()
        assert scope.cancel_called
        assert muxer.stream_backlog_semaphore.value == 256
        assert len(await read_exactly(b, 24)) == 24
        while muxer.stream_backlog_semaphore.value:
            muxer.stream_backlog_semaphore.acquire_nowait()
        with pytest.raises(MuxedStreamError, match="no stream slot"):
            await muxer.open_stream()


# ----- P6, P7: dialling


async def test_p6_without_the_guard_a_peer_that_was_down_stays_refused() -> None:
    """After one failed dial the peer is not even tried, although it is back."""
    async with open_host(PeerKey.generate(), listen=[ANYWHERE]) as server:
        port = server.addresses[0].transport.port
    host = stock_host()
    async with host.run([]):
        peer = PeerInfo(ID(server.peer_id.raw), [Multiaddr(f"/ip4/127.0.0.1/tcp/{port}")])
        with pytest.raises(SwarmException):
            await host.connect(peer)
        with pytest.raises(SwarmException, match="negative cache"):
            await host.connect(peer)
        await host.close()


async def test_p6_a_peer_that_is_back_is_reached() -> None:
    """A second after a failed dial the next call dials again, and new addresses are tried at once."""
    key = PeerKey.generate()
    async with open_host(key, listen=[ANYWHERE]) as server:
        address = server.addresses[0].multiaddr
    async with open_host(PeerKey.generate()) as client:
        client.set_addresses(key.peer_id, [address])
        with pytest.raises(PeerUnreachable, match="connection refused"):
            await client.call(key.peer_id, ECHO, "echo", b"", timeout=PATIENCE)
        async with open_host(key, listen=[address]) as server:
            server.serve(ECHO, echo)
            client.set_addresses(key.peer_id, [])
            client.set_addresses(key.peer_id, [address])
            assert await client.call(key.peer_id, ECHO, "echo", b"back", timeout=PATIENCE) == b"back"


@pytest.mark.slow
async def test_p7_a_dial_has_a_deadline_and_libp2p_has_none() -> None:
    """A listener that accepts and is silent: libp2p still waits when ours has given up long since."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    silent = PeerKey.generate().peer_id
    host = stock_host()
    async with listener, host.run([]), open_host(PeerKey.generate(), limits=HASTY) as client:
        client.set_addresses(silent, [f"/ip4/127.0.0.1/tcp/{port}"])
        with trio.move_on_after(1.0) as stock:
            async with trio.open_nursery() as nursery:
                info = PeerInfo(ID(silent.raw), [Multiaddr(f"/ip4/127.0.0.1/tcp/{port}")])
                nursery.start_soon(host.connect, info)
                with pytest.raises(PeerUnreachable, match=r"no answer within 0\.5 s"):
                    await client.call(silent, ECHO, "echo", b"", timeout=PATIENCE)
        assert stock.cancelled_caught
        await host.close()


# ----- P8, P9: a peer that stops, a peer that pushes


@pytest.mark.slow
async def test_p8_a_silent_peer_is_found_and_libp2p_never_looks() -> None:
    """A peer that answers no ping loses its connection; libp2p's ping draws no conclusion."""
    async with secured_pair() as (a, a_socket, _, _):
        muxer = GuardedYamux(a, ID(b"x"), a_socket, HASTY, MemoryPool(1 << 30))
        with trio.fail_after(PATIENCE):
            await muxer.start()
        assert muxer.is_closed
        assert a_socket.socket.fileno() == -1
    async with secured_pair() as (a, a_socket, _, _):
        stock = Yamux(a, ID(b"x"), is_initiator=True)
        stock._ping_event = trio.Event()
        with trio.move_on_after(1.5):
            await stock.start()
        assert not stock.is_closed


@pytest.mark.slow
async def test_p8_a_peer_that_sends_data_is_not_silent() -> None:
    """A ping that queues behind a long transfer cuts nobody off."""
    async with secured_pair() as (a, a_socket, b, _):
        muxer = GuardedYamux(a, ID(b"x"), a_socket, HASTY, MemoryPool(1 << 30))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(muxer.start)
            for _ in range(20):
                await pass_time(0.1)
                await b.write(struct.pack("!BBHII", 0, 0, 0, 7, 5) + b"hello")
            assert not muxer.is_closed
            muxer.abort("has done its part")


async def push(secured: Any, total: int) -> None:
    """Open a stream and push ``total`` bytes into it, whatever the window."""
    await secured.write(struct.pack("!BBHII", 0, 1, 1, 1, 0))
    for _ in range(total // 60_000):
        await secured.write(struct.pack("!BBHII", 0, 0, 0, 1, 60_000) + bytes(60_000))


async def test_p9_without_the_guard_a_stream_takes_whatever_is_pushed() -> None:
    """Eight megabytes lie in a stream that nobody reads, with a window of a quarter of one."""
    async with secured_pair() as (a, _, b, _):
        muxer = Yamux(b, ID(b"x"), is_initiator=False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(muxer.start)
            await push(a, 8 << 20)
            await eventually(lambda: sum(map(len, muxer.stream_buffers.values())) > 7 << 20)
            nursery.cancel_scope.cancel()


async def test_p9_who_overruns_the_window_loses_the_connection() -> None:
    """No more than two megabytes are ever held for one stream."""
    async with secured_pair() as (a, _, b, b_socket):
        muxer = GuardedYamux(b, ID(b"x"), b_socket, Limits(), MemoryPool(1 << 30))
        muxer.trust(trusted=True)
        most = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(muxer.start)
            with suppress(ConnectionClosedError):
                for _ in range(100):
                    await push(a, 1 << 20)
                    most = max(most, sum(map(len, muxer.stream_buffers.values())))
            await eventually(lambda: muxer.is_closed)
            nursery.cancel_scope.cancel()
        assert most <= STREAM_BUFFER


# ----- P12


@asynccontextmanager
async def stream_to_a_byte_now_and_then() -> AsyncIterator[GuardedStream]:
    """A stream to a peer that reads one byte of it every three seconds; 256 KiB, the first window, are written."""
    async with secured_pair() as (a, a_socket, b, _), trio.open_nursery() as nursery:
        muxer = GuardedYamux(
            a,
            ID(b"x"),
            a_socket,
            Limits(connections=ConnectionLimits(keepalive_interval=1e6)),
            MemoryPool(1 << 30),
        )
        nursery.start_soon(muxer.start)
        stream = await muxer.open_stream()

        async def crumble() -> None:
            while True:
                await pass_time(3)
                await b.write(struct.pack("!BBHII", 0, TYPE_WINDOW_UPDATE, 0, stream.stream_id, 1))

        async def swallow() -> None:
            while True:
                await read_frame(b)

        nursery.start_soon(crumble)
        nursery.start_soon(swallow)
        await stream.write(bytes(256 << 10))
        yield stream
        muxer.abort("has done its part")
        nursery.cancel_scope.cancel()


async def steps_of_a_write_that_waits(write: Callable[[bytes], Awaitable[None]]) -> int:
    """What the loop does in 0.15 s in which nothing can be written."""
    with counted_steps() as steps, trio.move_on_after(0.15):
        await write(bytes(50_000))
    return steps.count


async def test_p12_a_write_that_waits_does_nothing_and_libp2p_looks_again_and_again() -> None:
    """A hundred times a second, for each stream that a peer does not read."""
    async with stream_to_a_byte_now_and_then() as stream:
        assert await steps_of_a_write_that_waits(partial(GuardedStream.__mro__[1].write, stream)) > 12
        assert await steps_of_a_write_that_waits(stream.write) < 8


async def test_p12_a_write_has_one_deadline_for_all_of_its_bytes() -> None:
    """Five seconds, and a second for 32 KiB. libp2p's begins again with each byte of the window; here none is sent alone."""
    async with stream_to_a_byte_now_and_then() as stream:
        start = trio.current_time()
        with pytest.raises(MuxedStreamError, match="were not read within 14"):
            await stream.write(bytes(300_000))
        assert 14 <= trio.current_time() - start < 15
        assert stream.send_window == 4


# ----- P10, P11


async def test_p10_metrics_stay_off_because_nobody_reads_them() -> None:
    """With metrics on, the 101st event blocks a dial for ever; our host has none."""
    host = stock_host(enable_metrics=True)
    swarm = host.get_network()
    for _ in range(100):
        swarm.metric_send_channel.send_nowait(None)
    with trio.move_on_after(0.2) as scope:
        await swarm.dial_peer(ID(PeerKey.generate().peer_id.raw))
    assert scope.cancelled_caught

    async with open_host(PeerKey.generate()) as ours:
        assert ours._libp2p.get_network().metric_send_channel is None


class Drip:
    """A reader that gives one byte at a time."""

    def __init__(self, size: int) -> None:
        self.left = size

    async def read(self, _n: int) -> bytes:
        self.left -= 1
        return b"x" if self.left >= 0 else b""


async def test_p11_a_message_may_come_in_any_number_of_pieces() -> None:
    """libp2p's own function stops after 101 reads; ours when it has all, or at the end of the stream."""
    import importlib

    stock = importlib.import_module("libp2p.io.utils").read_exactly
    with pytest.raises(IncompleteReadError):
        await stock(Drip(150), 150)

    assert await read_exactly(Drip(150), 150) == b"x" * 150
    with pytest.raises(IncompleteReadError) as caught:
        await read_exactly(Drip(5), 10)
    assert (caught.value.expected_bytes, caught.value.received_bytes) == (10, 5)


async def test_p11_the_guard_is_in_place_where_libp2p_reads() -> None:
    """Every module that imported the function by name has ours after the first host was opened."""
    async with open_host(PeerKey.generate()):
        import libp2p.io.msgio
        import libp2p.stream_muxer.yamux.yamux
        import libp2p.utils.varint

        assert libp2p.io.msgio.read_exactly is read_exactly
        assert libp2p.stream_muxer.yamux.yamux.read_exactly is read_exactly
        assert libp2p.utils.varint.read_exactly is read_exactly


# ----- P13


def prune_that_names(stranger: PeerKey, address: str) -> rpc_pb2.ControlPrune:
    """A PRUNE with a record that somebody signed, of where it is."""
    record = PeerRecord(ID(stranger.peer_id.raw), [Multiaddr(address)], 1)
    envelope = seal_record(record, create_new_key_pair(stranger.secret).private_key).marshal_envelope()
    named = rpc_pb2.PeerInfo(peerID=stranger.peer_id.raw, signedPeerRecord=envelope)
    return rpc_pb2.ControlPrune(topicID=TOPIC, peers=[named])


@pytest.mark.parametrize(
    ("router", "dialled"), [(GossipSub([PROTOCOL_ID_V11], 8, 6, 12), 1), (GuardedRouter(Limits()), 0)]
)
async def test_p13_whom_a_prune_names_is_dialled_without_the_guard(router: GossipSub, dialled: int) -> None:
    """libp2p does it although its peer exchange is off."""
    connected: list[PeerInfo] = []

    async def connect_to(peer: PeerInfo) -> None:
        connected.append(peer)

    host = SimpleNamespace(connect=connect_to, get_peerstore=PeerStore)
    router.pubsub = SimpleNamespace(peers={}, host=host)
    await router.handle_prune(prune_that_names(PeerKey.generate(), "/ip4/192.0.2.1/tcp/1"), ID(b"member"))
    assert len(connected) == dialled


async def test_p13_a_host_goes_on_whomever_a_member_names() -> None:
    """Else it would be connected to a stranger without a guard, and stop when it next looks at its connections."""
    key, member = PeerKey.generate(), PeerKey.generate()
    async with (
        open_host(PeerKey.generate(), topics=[TOPIC]) as host,
        open_host(key, listen=[ANYWHERE]) as stranger,
    ):
        prune = prune_that_names(key, stranger.addresses[0].multiaddr)
        rpc = rpc_pb2.RPC(control=rpc_pb2.ControlMessage(prune=[prune]))
        await host._gossip._pubsub._take(ID(member.peer_id.raw), rpc)
        assert host.connected() == frozenset()
        assert stranger.statistics().accepted == 0
        with pytest.raises(SwarmException):
            await host._libp2p.get_network().dial_peer(ID(key.peer_id.raw))


async def test_what_is_said_of_topics_that_nobody_has_is_not_remembered() -> None:
    """libp2p would keep each of them, for as long as the member likes."""
    async with open_host(PeerKey.generate(), topics=[TOPIC]) as host:
        pubsub, member = host._gossip._pubsub, ID(PeerKey.generate().peer_id.raw)
        prunes = [rpc_pb2.ControlPrune(topicID=f"{i}", backoff=2**40) for i in range(100)]
        haves = [rpc_pb2.ControlIHave(topicID=f"{i}") for i in range(100)]
        ours = rpc_pb2.ControlPrune(topicID=TOPIC)
        control = rpc_pb2.ControlMessage(prune=[*prunes, ours], ihave=haves)
        await pubsub._take(member, rpc_pb2.RPC(control=control))
        router = pubsub.router
        assert list(router.back_off) == list(router.graft_flood_tracking[member]) == [TOPIC]
        assert member not in router.ihave_message_limits


async def test_who_subscribes_again_and_again_is_sent_nothing_again() -> None:
    """To a member that does not read, each time would be a task with a copy of a message, a quarter of a megabyte."""
    first, second = sorted((PeerKey.generate() for _ in range(2)), key=lambda key: key.peer_id)
    async with (
        open_host(first, listen=[ANYWHERE], topics=[TOPIC]) as host,
        open_host(second, listen=[ANYWHERE], topics=[TOPIC]) as member,
    ):
        for each in (host, member):
            each.subscribe(TOPIC, lambda _origin, data: data)
        await link(host, member)
        await gossiping(host, member)
        await host.publish(TOPIC, bytes(1000))
        pubsub, peer = host._gossip._pubsub, ID(member.peer_id.raw)
        changes = [rpc_pb2.RPC.SubOpts(subscribe=on, topicid=TOPIC) for on in (False, True)]
        async with pubsub._stream_locks.setdefault(pubsub.peers[peer], trio.Lock()):
            before = trio.lowlevel.current_statistics().tasks_living
            for _ in range(50):
                await pubsub._take(peer, rpc_pb2.RPC(subscriptions=changes))
                await trio.testing.wait_all_tasks_blocked()
            assert trio.lowlevel.current_statistics().tasks_living - before < 25


async def test_an_rpc_has_so_many_messages() -> None:
    """Two bytes make one, and an object in memory."""
    rpc = rpc_pb2.RPC(publish=[rpc_pb2.Message()] * 5000)
    async with open_host(PeerKey.generate(), topics=[TOPIC]) as host:
        with pytest.raises(MessageTooLarge):
            await host._gossip._pubsub._take(ID(b"member"), rpc)


# ----- gossip


async def stock_gossip(messages: int) -> int:
    """How many of so many messages in a row arrive between two stock pubsubs."""
    hosts = [stock_host(), stock_host()]
    routers = [GossipSub([PROTOCOL_ID_V11], 8, 6, 12, heartbeat_interval=1) for _ in hosts]
    pubsubs = [Pubsub(host, router) for host, router in zip(hosts, routers, strict=True)]
    async with (
        hosts[0].run([LOOPBACK]),
        hosts[1].run([LOOPBACK]),
        background_trio_service(pubsubs[0]),
        background_trio_service(pubsubs[1]),
        background_trio_service(routers[0]),
        background_trio_service(routers[1]),
    ):
        receiver = await pubsubs[1].subscribe("t")
        await pubsubs[0].subscribe("t")
        await hosts[0].connect(PeerInfo(hosts[1].get_id(), hosts[1].get_transport_addrs()))
        await pubsubs[0].wait_for_subscription(hosts[1].get_id(), "t")
        await routers[0].wait_for_mesh(hosts[1].get_id(), "t")
        for i in range(messages):
            await pubsubs[0].publish("t", b"%d" % i)
        arrived = 0
        with trio.move_on_after(0.5) as scope:
            while True:
                await receiver.get()
                arrived += 1
                scope.deadline = trio.current_time() + 0.5
        for host in hosts:
            await host.close()
        for pubsub in pubsubs:
            pubsub.seen_messages.stop()
        return arrived


@pytest.mark.slow
async def test_without_the_guards_most_of_a_burst_of_gossip_is_lost() -> None:
    """Of a hundred messages in a row ten arrive (test_gossip shows that all do with the guards)."""
    assert await stock_gossip(100) == 10


def message(size: int, number: int = 0, origin: bytes = b"origin") -> Any:
    """A message of gossip."""
    return rpc_pb2.Message(from_id=origin, seqno=struct.pack(">Q", number), topicIDs=["t"], data=bytes(size))


def test_the_queue_to_a_peer_that_does_not_read_is_bounded_in_bytes() -> None:
    """Of messages of the largest size libp2p would hold 1024, a quarter of a gigabyte."""
    queue = BatchingRpcQueue(1 << 20)
    rpc = rpc_pb2.RPC(publish=[message(256_000)])
    assert next(i for i in range(2000) if not queue.push(rpc)) == 4
    assert queue.held == 4 * rpc.ByteSize()


async def test_what_left_the_queue_to_a_peer_makes_room() -> None:
    """Also what left together with others."""
    queue = BatchingRpcQueue(1 << 20)
    for size in (1000, 2000, 3000):
        assert queue.push(rpc_pb2.RPC(publish=[message(size)]))
    assert len((await queue.pop()).publish) == 3
    assert queue.held == 0


def test_messages_that_are_kept_are_bounded_in_bytes_for_each_origin() -> None:
    """One that gossips 256 MiB has its newest four kept, and crowds nobody out; what is old goes, as in libp2p."""
    kept = KeptMessages(2, 3, 1 << 20)
    kept.put(message(10, origin=b"other"))
    for i in range(1000):
        kept.put(message(256_000, i))
    assert sorted(struct.unpack(">Q", id_[-8:])[0] for id_ in kept.msgs if id_.startswith(b"origin")) == [
        *range(996, 1000)
    ]
    assert kept.get(b"other" + bytes(8)) is not None
    for _ in range(3):
        kept.shift()
    assert kept.msgs == {}
    kept.put(message(256_000, 2000))
    assert len(kept.msgs) == 1


async def turns_of_others(work: Callable[[], Awaitable[None]]) -> int:
    """How often another task has its turn until ``work`` is done, which waits for nothing."""
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.cancel_shielded_checkpoint()
            await trio.lowlevel.checkpoint_if_cancelled()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_turns)
        await work()
        nursery.cancel_scope.cancel()
    return turns


@pytest.mark.parametrize("rate", [None, 1 << 20])
async def test_others_have_their_turn_between_the_frames_of_one_message(rate: int | None) -> None:
    """Five thousand pings fit into a message of noise; a member is not paced, nor a client within its allowance."""

    async def read(size: int) -> bytes:
        return bytes(size)

    paced = PacedSession(SimpleNamespace(read=read), None if rate is None else new_allowance(rate))

    async def work() -> None:
        for _ in range(100):
            await paced.read(12)

    assert await turns_of_others(work) >= 90, "1 without the guard"


async def test_others_have_their_turn_between_the_messages_of_one_rpc() -> None:
    """Four thousand bad signatures fit into one, for half a second of the loop."""
    pushed: list[Any] = []

    async def push(_peer: Any, each: Any) -> None:
        pushed.append(each)

    pubsub = SimpleNamespace(push_msg=push)
    rpc = rpc_pb2.RPC(publish=[message(1, i) for i in range(100)])
    turns = await turns_of_others(lambda: GuardedPubsub._take(pubsub, ID(b"peer"), rpc))
    assert len(pushed) == 100
    assert turns >= 90, "1 without the guard"


def test_a_message_that_comes_again_after_it_was_forgotten_is_kept_within_the_bound() -> None:
    """As when a clock that was set lets what was seen be new: its two entries in the history confuse nothing."""
    kept = KeptMessages(2, 3, 1 << 20)
    kept.put(message(256_000, 0))
    kept.shift()
    for i in (1, 2, 3, 4, 0):
        kept.put(message(256_000, i))
    for _ in range(2):
        kept.shift()
    assert set(kept._of[b"origin"]) == kept.msgs.keys(), (
        "else a full cache looks without end for what to forget"
    )
    for i in range(5, 20):
        kept.put(message(256_000, i))
    assert len(kept.msgs) == 4
    for _ in range(3):
        kept.shift()
    assert (kept.msgs, kept._of, kept._held) == ({}, {}, {})


async def test_a_message_that_is_asked_for_a_thousand_times_is_sent_once() -> None:
    """libp2p copies it as often as it is named: a quarter of a gigabyte for one request."""
    peer = ID(b"peer")
    for router, expected in ((GossipSub([PROTOCOL_ID_V11], 8, 6, 12), 100), (GuardedRouter(Limits()), 1)):
        sent: list[Any] = []
        queue = BatchingRpcQueue()
        router.pubsub = SimpleNamespace(peer_queues={peer: queue})
        router.send_rpc = lambda _peer, rpc, sent=sent: sent.append(rpc)
        router.mcache.put(message(1000, 1))
        ids = [b"origin" + struct.pack(">Q", 1)] * 100
        await router.handle_iwant(rpc_pb2.ControlIWant(messageIDs=ids), peer)
        assert [len(rpc.publish) for rpc in sent] == [expected]


async def test_what_is_asked_for_is_no_more_than_the_queue_takes() -> None:
    """Different messages, more than there is room for: the first ones."""
    peer, router, sent = ID(b"peer"), GuardedRouter(Limits()), []
    router.pubsub = SimpleNamespace(peer_queues={peer: BatchingRpcQueue(10_000)})
    router.send_rpc = lambda _peer, rpc: sent.append(rpc)
    for i in range(20):
        router.mcache.put(message(1000, i))
    ids = [b"origin" + struct.pack(">Q", i) for i in range(20)]
    await router.handle_iwant(rpc_pb2.ControlIWant(messageIDs=ids), peer)
    assert [len(rpc.publish) for rpc in sent] == [9]


def test_the_queue_to_a_peer_holds_a_burst() -> None:
    """libp2p's takes 32 messages, ours 1024, and its RPCs are small enough for a reader of ours."""
    counts = [
        next(i for i in range(2000) if not queue.push(rpc_pb2.RPC()))
        for queue in (RpcQueue(), BatchingRpcQueue())
    ]
    assert counts == [32, 1024]


async def test_messages_that_wait_for_a_peer_leave_together() -> None:
    """In their order, up to what a reader takes; subscriptions and control messages go alone, in their place."""
    queue = BatchingRpcQueue()
    first, second, third = (
        rpc_pb2.RPC(publish=[rpc_pb2.Message(data=each * 1000)]) for each in (b"a", b"b", b"c")
    )
    control = rpc_pb2.RPC(publish=[rpc_pb2.Message(data=b"d")], control=rpc_pb2.ControlMessage())
    large = rpc_pb2.RPC(publish=[rpc_pb2.Message(data=bytes(RPC_BYTES - 500))])
    for rpc in (first, second, control, third, large, first):
        assert queue.push(rpc)
    taken = [await queue.pop() for _ in range(5)]
    assert [list(rpc.publish) for rpc in taken] == [
        [*first.publish, *second.publish],
        [*control.publish],
        [*third.publish],
        [*large.publish],
        [*first.publish],
    ]
    assert len(first.publish) == 1, "it waits in other peers' queues too"


async def windows(stream_of: Any) -> int:
    """Window updates that a reader of 1 MiB in pieces of 1 KiB sends."""
    sent = 0
    async with secured_pair() as (a, a_socket, b, b_socket):
        muxers = [
            GuardedYamux(end, ID(b"x"), socket, Limits(), MemoryPool(1 << 30))
            for end, socket in ((a, a_socket), (b, b_socket))
        ]
        for muxer in muxers:
            muxer.trust(trusted=True)
        reader, writes = muxers[1], muxers[1]._write_frame

        async def counted(data: bytes) -> None:
            nonlocal sent
            sent += data[1] == TYPE_WINDOW_UPDATE
            await writes(data)

        reader._write_frame = counted  # type: ignore[method-assign]
        async with trio.open_nursery() as nursery:
            for muxer in muxers:
                nursery.start_soon(muxer.start)
            outgoing = await muxers[0].open_stream()
            incoming = await reader.accept_stream()
            incoming._auto_tune_and_send_window_update = stream_of(incoming)

            async def push_all() -> None:
                for _ in range(1 << 10):
                    await outgoing.write(bytes(1 << 10))

            nursery.start_soon(push_all)
            with trio.fail_after(PATIENCE):
                for _ in range(1 << 10):
                    await read_exactly(incoming, 1 << 10)
            nursery.cancel_scope.cancel()
    return sent


@pytest.mark.slow
async def test_a_window_is_told_seldom_and_nobody_waits_for_it() -> None:
    """libp2p tells it after nearly every read; ours once half of it is used up, and all arrives."""
    assert await windows(lambda stream: partial(muxer_module._update_window, stream)) > 500
    assert await windows(lambda stream: partial(muxer_module.update_window_late, stream)) < 16


async def test_sequence_numbers_do_not_repeat_after_a_quick_restart() -> None:
    """libp2p starts at seconds, so 20 messages of a second run bear the numbers of the first."""
    stock = [Pubsub(stock_host(), GossipSub([PROTOCOL_ID_V11], 8, 6, 12)) for _ in range(2)]
    assert stock[1].counter - stock[0].counter < 20
    for each in stock:
        each.seen_messages.stop()

    async with open_host(PeerKey.generate(), topics=["t"]) as first:
        before = first._gossip._pubsub.counter
    async with open_host(PeerKey.generate(), topics=["t"]) as second:
        assert second._gossip._pubsub.counter - before > 100_000


class SlowStream:
    """A stream that writes in pieces, as yamux does, with other tasks in between."""

    def __init__(self) -> None:
        self.written = b""

    async def write(self, data: bytes) -> None:
        for i in range(0, len(data), 100):
            await trio.lowlevel.checkpoint()
            self.written += data[i : i + 100]


async def test_two_writers_of_one_stream_do_not_interleave() -> None:
    """A replay and the queue write to the same stream: without the lock their bytes mix."""
    a, b = (rpc_pb2.RPC(publish=[rpc_pb2.Message(data=letter * 1000)]) for letter in (b"a", b"b"))

    async def both(pubsub: Any) -> bytes:
        stream = SlowStream()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pubsub.write_msg, stream, a)
            nursery.start_soon(pubsub.write_msg, stream, b)
        return stream.written

    stock = Pubsub(stock_host(), GossipSub([PROTOCOL_ID_V11], 8, 6, 12))
    assert b"a" * 1000 not in await both(stock)
    stock.seen_messages.stop()
    async with open_host(PeerKey.generate(), topics=["t"]) as host:
        assert isinstance(host._gossip._pubsub, GuardedPubsub)
        mixed = await both(host._gossip._pubsub)
        assert b"a" * 1000 in mixed
        assert b"b" * 1000 in mixed


# ----- the self-test


def test_the_private_names_are_there() -> None:
    """The installed libp2p is the one that the guards were written for."""
    self_test()


def test_a_missing_name_is_an_error_that_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another libp2p is refused before a port is opened."""
    monkeypatch.setattr(
        version_check, "NAMES", (*version_check.NAMES, ("libp2p.network.swarm", "Swarm._gone"))
    )
    with pytest.raises(version_check.HardeningError, match=r"libp2p\.network\.swarm\.Swarm\._gone") as caught:
        self_test()
    assert caught.value.hint == "install libp2p==0.8.1"


def test_another_version_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pin is checked at start too, not only by the installer."""
    monkeypatch.setattr(version_check, "LIBP2P", "0.9.0")
    with pytest.raises(version_check.HardeningError, match=r"0\.8\.1 is installed"):
        self_test()


async def test_nothing_is_offered_that_is_not_ours() -> None:
    """Identify, identify push and ping are gone; gossip and what is served are all there is."""
    async with open_host(PeerKey.generate(), topics=["t"]) as host:
        host.serve(ECHO, echo)
        assert set(host._libp2p.get_mux().handlers) == {ECHO, "/meshsub/1.1.0"}
    async with open_host(PeerKey.generate()) as host:
        assert set(host._libp2p.get_mux().handlers) == set()


def test_helpers_know_themselves() -> None:
    """The impostor shows the key it claims, and multistream's first line is what it must be."""
    victim = PeerKey.generate().peer_id
    assert ID.from_pubkey(Impostor(victim).get_public_key()).to_bytes() == victim.raw
    assert hello("/x").startswith(b"\x13/multistream/1.0.0\n\x03/x\n")
    assert [is_loopback(ip) for ip in ("127.0.0.1", "::1", "192.0.2.1")] == [True, True, False]
