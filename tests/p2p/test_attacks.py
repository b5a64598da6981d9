"""What a stranger on the network may try; after each attempt an honest client is served.

The bound is one of work: how many steps of all tasks come before the answer to a call (``support.CALL_STEPS``), after an
attack and during it. All tests but one run under a virtual clock, so no wait for a timer hides in the bound.
"""

import os
import random
import struct
from contextlib import suppress

import pytest
import trio
from libp2p.io.exceptions import ConnectionClosedError

from eigenkms.p2p.host import GOSSIP, CallTimeout, Host, Limits, PeerUnreachable, Request, open_host
from eigenkms.p2p.identity import PeerId, PeerKey
from eigenkms.p2p.limits import HandshakeLimits, RpcLimits, StreamLimits
from eigenkms.p2p.rpc import framing
from tests.p2p.support import (
    ANYWHERE,
    ECHO,
    HASTY,
    NEWCOMER_STEPS,
    OPERATORS_ONLY,
    TOPIC,
    echo,
    introduce,
    regular,
    serves_an_honest_client,
    steps_of_call,
)
from tests.support.p2p_attackers import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    PING,
    RST,
    SYN,
    WINDOW,
    connect,
    raw_peer,
    send_and_close,
    silent_sockets,
)
from tests.support.waiting import PATIENCE, eventually, pass_time

SEED = 20


def clients_only(_peer: PeerId, protocol: str) -> bool:
    """The gate of a node whose operators are elsewhere."""
    return protocol == ECHO


@pytest.fixture
async def server():
    """A node as strangers see it: gossip and one protocol for operators, one for clients."""
    async with open_host(PeerKey.generate(), listen=[ANYWHERE], gate=clients_only, topics=[TOPIC]) as host:
        host.serve(ECHO, echo)
        host.serve(OPERATORS_ONLY, echo)
        host.subscribe(TOPIC, lambda _origin, _data: True)
        yield host
        assert host.statistics().handler_errors == 0


# ----- sockets


@pytest.mark.slow
async def test_fifteen_hundred_silent_sockets(server: Host) -> None:
    """They hold no place for longer than three seconds, and keep nobody out while they do."""
    async with silent_sockets(server.addresses[0], 1500):
        await eventually(lambda: server.statistics().accepted >= 1500)
        assert server.statistics().handshakes <= Limits().handshakes.at_once
        await serves_an_honest_client(server, 3)
    await eventually(lambda: server.statistics().handshakes == 0)


@pytest.mark.slow
async def test_three_hundred_connects_in_a_row() -> None:
    """Each is authenticated, muxed and gone; the next one finds a place (libp2p alone has 250 places in its life)."""
    limits = Limits(handshakes=HandshakeLimits(rate=1e6, burst=1e6))
    async with open_host(PeerKey.generate(), listen=[ANYWHERE], gate=clients_only, limits=limits) as server:
        server.serve(ECHO, echo)
        for _ in range(300):
            async with raw_peer(server.addresses[0]):
                pass
        await eventually(lambda: server.statistics().connected == 0)
        await serves_an_honest_client(server, 3)


async def test_a_hundred_sockets_that_hang_up_at_once(server: Host) -> None:
    """Connect and close, without a byte."""
    for _ in range(100):
        (await connect(server.addresses[0])).socket.close()
    await eventually(lambda: server.statistics().refused_handshakes == 100)
    await serves_an_honest_client(server)


GREETINGS = [
    b"",
    b"\x00" * 100,
    b"\xff" * 70_000,
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    b"\x13/multistream/1.0.0\n",
    b"\x13/multistream/1.0.0\n\x07/noise\n",
    b"\x13/multistream/1.0.0\n\x07/noise\n" + b"\xff\xff" + bytes(65_535),
    b"\x13/multistream/1.0.0\n\x07/noise\n" + b"\x00\x00" * 50,
    b"\x13/multistream/1.0.0\n\x07/noise\n\x00\x20" + bytes(32) + b"\x00\x60" + b"\xaa" * 96,
    b"\x13/multistream/1.0.0\n\x11/plaintext/2.0.0\n",
    b"\x13/multistream/1.0.0\n\x0d/secio/1.0.0\n",
    b"\x13/multistream/1.0.0\n" + b"\x03ls\n" * 2000,
    b"\x13/multistream/1.0.0\n" + b"\x04/\xff\xfe\n" * 100,
    b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(1000),
    b"\xff" * 9 + b"\x01" + bytes(1000),
    b"\x80" * 5000,
]


@pytest.mark.slow
async def test_garbage_instead_of_a_handshake(server: Host) -> None:
    """No greeting gets a connection, or costs more than its own socket."""
    async with regular(server) as honest:
        for greeting in GREETINGS:
            for _ in range(3):
                await send_and_close(server.addresses[0], greeting)
            await honest.is_served()
        await eventually(lambda: server.statistics().refused_handshakes == 3 * len(GREETINGS))
        assert len(server.connected()) == 1


@pytest.mark.slow
async def test_random_bytes_at_every_stage_of_the_handshake(server: Host) -> None:
    """Two hundred sockets, each with a prefix of a good handshake and noise after it."""
    rng = random.Random(SEED)
    good = b"\x13/multistream/1.0.0\n\x07/noise\n\x00\x20" + rng.randbytes(32)
    async with trio.open_nursery() as nursery:
        for _ in range(200):
            prefix = good[: rng.randrange(len(good))]
            nursery.start_soon(
                send_and_close, server.addresses[0], prefix + rng.randbytes(rng.randrange(300))
            )
    await serves_an_honest_client(server)


async def test_a_handshake_that_goes_on_for_ever_is_cut_short(server: Host) -> None:
    """A peer that announces a huge line and sends it gets 64 KiB of our memory, then a closed socket."""
    socket = await connect(server.addresses[0])
    async with socket:
        await socket.send_all(b"\xff\xff\xff\xff\x7f")
        cut = False
        with trio.fail_after(PATIENCE):
            while not cut:
                try:
                    await socket.send_all(bytes(65_536))
                except trio.BrokenResourceError:
                    cut = True
    await serves_an_honest_client(server)


# ----- yamux


FRAMES: list[tuple[int, int, int, int, bytes]] = [
    (DATA, 0, 99, 0, b""),
    (DATA, 0, 0, 10, b"0123456789"),
    (DATA, SYN, 1, 5, b"hello"),
    (DATA, SYN | FIN, 3, 0, b""),
    (DATA, SYN | RST, 5, 0, b""),
    (DATA, ACK, 7, 3, b"abc"),
    (DATA, RST | FIN | ACK | SYN, 9, 0, b""),
    (WINDOW, SYN, 11, 2**32 - 1, b""),
    (WINDOW, SYN, 11, 2**32 - 1, b""),
    (WINDOW, 0, 11, 2**32 - 1, b""),
    (WINDOW, SYN, 2, 0, b""),
    (WINDOW, SYN, 0, 0, b""),
    (WINDOW, RST, 4711, 0, b""),
    (PING, SYN, 0, 2**32 - 1, b""),
    (PING, ACK, 0, 12345, b""),
    (PING, 0xFFFF, 77, 1, b""),
    (WINDOW, 0xFFF0, 13, 1, b""),
    (4, 0, 0, 0, b""),
    (255, 0xFFFF, 2**32 - 1, 2**32 - 1, b""),
    (DATA, 0, 1, 2**32 - 1, b""),
]


async def test_frames_of_yamux_that_make_no_sense(server: Host) -> None:
    """Unknown types, flags and streams, impossible windows and lengths: at worst the connection ends."""
    async with regular(server) as honest:
        for frame in FRAMES:
            async with raw_peer(server.addresses[0]) as attacker:
                with suppress(ConnectionClosedError):  # some cost the connection at once
                    for _ in range(3):
                        await attacker.frame(*frame)
                await honest.is_served()


@pytest.mark.slow
async def test_random_bytes_instead_of_yamux(server: Host) -> None:
    """Fifty connections that turn to noise after the handshake."""
    rng = random.Random(SEED)
    for _ in range(50):
        async with raw_peer(server.addresses[0]) as attacker:
            await attacker.secured.write(rng.randbytes(rng.randrange(1, 400)))
    await serves_an_honest_client(server)


async def test_a_bad_tag_under_noise(server: Host) -> None:
    """Ciphertext that does not authenticate ends its connection."""
    async with raw_peer(server.addresses[0]) as attacker:
        await attacker.socket.send_all(b"\x00\x40" + bytes(64))
        await attacker.read_until_closed(PATIENCE)
    await serves_an_honest_client(server)


@pytest.mark.slow
@pytest.mark.real_time
async def test_five_thousand_streams_of_one_connection(server: Host) -> None:
    """A client has eight; all others are reset, and none of them is remembered. In real time: a client's frames are paced."""
    async with raw_peer(server.addresses[0]) as attacker, trio.open_nursery() as nursery:
        nursery.start_soon(attacker.read_until_closed, PATIENCE)
        for i in range(5_000):
            await attacker.frame(WINDOW, SYN, 2 * i + 1, 0)
        (connection,) = server._connections.clients()
        await eventually(lambda: len(connection.streams) <= Limits().streams.client_at_once + 12)
        await serves_an_honest_client(server)
        nursery.cancel_scope.cancel()


async def test_a_stream_that_is_pushed_beyond_its_window() -> None:
    """While 32 requests are under way a stream is not read; who goes on pushing is cut off at two megabytes."""
    release = trio.Event()

    async def hang(request: Request) -> bytes:
        if request.peer == attacker_key.peer_id:
            await release.wait()
        return request.body

    attacker_key = PeerKey.generate()
    async with open_host(PeerKey.generate(), listen=[ANYWHERE]) as server:
        server.serve(ECHO, hang)
        async with raw_peer(server.addresses[0], attacker_key) as attacker:
            stream = await attacker.open(ECHO)
            for i in range(40):
                await attacker.data(stream, request(i))
            (connection,) = server._connections._all()
            cut = False
            with trio.fail_after(PATIENCE):
                while not cut:
                    try:
                        await attacker.data(stream, bytes(60_000))
                    except ConnectionClosedError:
                        cut = True
                    assert connection.muxed_conn.stream_buffers.unread <= 2 << 20
            await serves_an_honest_client(server)
            release.set()


@pytest.mark.slow
@pytest.mark.parametrize(
    "frame", [(PING, SYN, 0, 1, b""), (DATA, 0, 4711, 60_000, bytes(60_000)), (WINDOW, RST, 9, 0, b"")]
)
async def test_a_flood_of_frames_that_mean_nothing(
    server: Host, frame: tuple[int, int, int, int, bytes]
) -> None:
    """Whoever sends them as fast as it can is read at the pace of a client, and others are served meanwhile."""
    async with raw_peer(server.addresses[0]) as attacker, trio.open_nursery() as nursery:

        async def flood() -> None:
            while True:
                await attacker.frame(*frame)
                await trio.lowlevel.checkpoint()

        nursery.start_soon(attacker.read_until_closed, PATIENCE)
        nursery.start_soon(flood)
        await eventually(
            lambda: any(each._paced.allowance.tokens < 0 for each in server._connections.clients())
        )
        await serves_an_honest_client(server)
        nursery.cancel_scope.cancel()


async def test_a_goodbye_and_then_more(server: Host) -> None:
    """Frames after GO_AWAY reach nobody."""
    async with raw_peer(server.addresses[0]) as attacker:
        await attacker.frame(GO_AWAY, 0, 0, 7)
        with suppress(ConnectionClosedError):
            for _ in range(20):
                await attacker.frame(WINDOW, SYN, 1, 0)
        await serves_an_honest_client(server)


# ----- multistream-select and protocols that are not served

NAMES = [
    b"/ipfs/id/1.0.0",
    b"/ipfs/id/push/1.0.0",
    b"/ipfs/ping/1.0.0",
    b"/floodsub/1.0.0",
    b"/meshsub/1.0.0",
    b"/meshsub/1.2.0",
    b"/libp2p/circuit/relay/0.2.0/hop",
    b"/test/echo/2",
    GOSSIP.encode(),
    OPERATORS_ONLY.encode(),
]


async def test_a_stranger_reaches_no_protocol_but_the_clients(server: Host) -> None:
    """Identify is not offered, the operators' protocols are gated; garbage on such a stream is never read."""
    async with regular(server) as honest, raw_peer(server.addresses[0]) as attacker:
        for name in NAMES:
            for _ in range(3):
                stream = await attacker.open(name)
                await attacker.data(stream, os.urandom(500))
            await honest.is_served()
        await eventually(lambda: server.statistics().gated_streams == 6)
        assert server.statistics().requests_served == 3 * len(NAMES)


async def test_a_line_without_end_on_a_stream(server: Host) -> None:
    """The negotiation of a protocol gets four kilobytes, whatever length it announces."""
    async with raw_peer(server.addresses[0]) as attacker:
        stream = await attacker.open(None)
        await attacker.data(stream, b"\xff\xff\xff\xff\x7f" + bytes(60_000))
        await eventually(lambda: server.statistics().bad_streams == 1)
        await serves_an_honest_client(server)


# ----- frames of the session layer


def request(id_: int = 1, body: bytes = b"x") -> bytes:
    """A good request."""
    return framing.encode(framing.RequestFrame(id_, "echo", body))


BAD_FRAMES = [
    struct.pack(">I", 2**32 - 1),
    struct.pack(">I", 200_000) + bytes(1000),
    struct.pack(">I", 0),
    struct.pack(">I", 4) + b"\xc1\xc1\xc1\xc1",
    framing.encode(framing.AnswerFrame(1, b"")),
    framing.encode(framing.RefusalFrame(1, "no", "")),
    struct.pack(">I", len(request()) - 3) + request()[4:] + b"\x00",
    struct.pack(">I", 11) + b"\x94\xcc\x01\x00\xa4echo\xc4\x01x",
    struct.pack(">I", 1) + b"\x80",
    struct.pack(">I", 2000) + b"\x91" * 2000,
]


async def test_frames_that_are_none_cost_their_stream(server: Host) -> None:
    """Each is counted, the handler never sees it, and the connection may go on."""
    async with regular(server) as honest, raw_peer(server.addresses[0]) as attacker:
        for bad, raw in enumerate(BAD_FRAMES, start=1):
            await attacker.data(await attacker.open(ECHO), raw)
            await eventually(lambda bad=bad: server.statistics().bad_frames == bad)
            assert server.statistics().requests_served == 4 * (bad - 1)
            await attacker.data(await attacker.open(ECHO), request())
            await honest.is_served()
            await eventually(lambda bad=bad: server.statistics().requests_served == 4 * bad)


async def test_the_same_id_twice_at_a_time_costs_the_stream() -> None:
    """Answers could not be told apart."""
    async with open_host(PeerKey.generate(), listen=[ANYWHERE], limits=HASTY) as server:

        async def slow(_request: Request) -> bytes:
            await trio.sleep_forever()
            raise AssertionError

        server.serve(ECHO, slow)
        async with raw_peer(server.addresses[0]) as attacker:
            stream = await attacker.open(ECHO)
            await attacker.data(stream, request(5) + request(5))
            await eventually(lambda: server.statistics().bad_frames == 1)


@pytest.mark.slow
async def test_mutated_frames(server: Host) -> None:
    """Three hundred streams with a request each in which some bytes are flipped, cut or doubled."""
    rng = random.Random(SEED)
    for _ in range(30):
        async with raw_peer(server.addresses[0]) as attacker:
            for _ in range(10):
                raw = bytearray(request(rng.randrange(2**32), rng.randbytes(rng.randrange(50))))
                for _ in range(rng.randrange(1, 4)):
                    at = rng.randrange(len(raw))
                    match rng.randrange(3):
                        case 0:
                            raw[at] ^= rng.randrange(1, 256)
                        case 1:
                            del raw[at:]
                            raw.append(0)
                        case _:
                            raw[at:at] = raw[at:]
                stream = await attacker.open(ECHO)
                await attacker.data(stream, bytes(raw))
                await attacker.frame(WINDOW, rng.choice([FIN, RST]), stream, 0)
    await serves_an_honest_client(server)


async def test_a_stream_that_is_opened_again_and_again(server: Host) -> None:
    """A third stream for one protocol ends the first; the peer's other requests are not disturbed."""
    async with raw_peer(server.addresses[0]) as attacker:
        for _ in range(30):
            await attacker.data(await attacker.open(ECHO), request())
        await eventually(lambda: server.statistics().requests_served >= 28)
        await serves_an_honest_client(server)


# ----- peers that do not do their part


@pytest.mark.slow
async def test_a_peer_that_never_reads_its_answers() -> None:
    """Answers pile up only as far as the window; then the peer loses its stream or its connection, nobody else waits."""

    async def big(_request: Request) -> bytes:
        return bytes(1 << 20)

    async with open_host(PeerKey.generate(), listen=[ANYWHERE], limits=HASTY) as server:
        server.serve(OPERATORS_ONLY, big)
        server.serve(ECHO, echo)
        async with raw_peer(server.addresses[0]) as attacker:
            stream = await attacker.open(OPERATORS_ONLY)
            await attacker.frame(WINDOW, 0, stream, 2**31)
            for i in range(100):
                await attacker.data(stream, request(i))
            await serves_an_honest_client(server)
            await eventually(lambda: len(server.connected()) == 0)


@pytest.mark.slow
async def test_a_request_that_comes_a_byte_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps nobody else waiting, and the client is let go like one that asks for nothing: dripping is no request."""
    monkeypatch.setattr("eigenkms.p2p.connections._SWEEP", 0.1)
    limits = Limits(rpc=RpcLimits(idle_stream=1.0))
    async with open_host(PeerKey.generate(), listen=[ANYWHERE], gate=clients_only, limits=limits) as server:
        server.serve(ECHO, echo)
        async with raw_peer(server.addresses[0]) as attacker, trio.open_nursery() as nursery:
            stream = await attacker.open(ECHO)

            async def drip() -> None:
                with suppress(trio.BrokenResourceError, ConnectionClosedError):
                    for byte in request(body=bytes(60_000)):
                        await attacker.data(stream, bytes([byte]))
                        await pass_time(0.02)

            nursery.start_soon(drip)
            await serves_an_honest_client(server)
            await attacker.read_until_closed(PATIENCE)
            await eventually(lambda: server.statistics().clients == 0)
            nursery.cancel_scope.cancel()
        assert server.statistics().bad_frames == 0
        await serves_an_honest_client(server)


async def test_a_peer_that_accepts_and_never_answers() -> None:
    """The caller's deadline holds, its other peers are not affected, and closing does not wait for it."""
    release = trio.Event()

    async def hang(_request: Request) -> bytes:
        await release.wait()
        return b""

    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as mute,
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as good,
    ):
        mute.serve(ECHO, hang)
        good.serve(ECHO, echo)
        async with open_host(PeerKey.generate()) as client:
            introduce(client, mute, good)
            start = trio.current_time()
            async with trio.open_nursery() as nursery:

                async def ask(peer: PeerId) -> None:
                    with pytest.raises(CallTimeout):
                        await client.call(peer, ECHO, "echo", b"", timeout=0.3)

                for _ in range(50):
                    nursery.start_soon(ask, mute.peer_id)
                assert await client.call(good.peer_id, ECHO, "echo", b"x", timeout=PATIENCE) == b"x"
            assert trio.current_time() - start < 1.5
            start = trio.current_time()
        assert trio.current_time() - start < 2.0
        release.set()


async def test_a_listener_that_accepts_streams_and_never_negotiates() -> None:
    """A peer that is authenticated and then says nothing costs its callers their own deadline."""
    key = PeerKey.generate()
    async with (
        open_host(key, listen=[ANYWHERE]) as mute,
        open_host(PeerKey.generate(), limits=Limits(streams=StreamLimits(negotiation=0.3))) as client,
    ):

        async def swallow(_stream: object) -> None:
            await trio.sleep_forever()

        mute._libp2p.get_network().set_stream_handler(swallow)
        introduce(client, mute)
        with pytest.raises(PeerUnreachable, match="refused the stream"):
            await client.call(mute.peer_id, ECHO, "echo", b"", timeout=PATIENCE)


async def test_an_operator_that_answers_what_was_not_asked() -> None:
    """Answers with an id of no request end the session with that peer; the next one starts afresh."""
    key = PeerKey.generate()
    async with open_host(key, listen=[ANYWHERE]) as liar, open_host(PeerKey.generate()) as client:
        lies = [
            framing.encode(framing.AnswerFrame(99, b"")),
            struct.pack(">I", 2**31),
            request(),
            b"\x00\x00\x00\x01\xc1",
        ]

        async def handler(stream: object, _protocol: str) -> None:
            if lies:
                await stream.write(lies.pop())  # type: ignore[attr-defined]
                await pass_time(0.2)
            else:
                await liar._rpc_server.serve(stream, ECHO)

        liar.serve(ECHO, echo)
        from eigenkms.p2p.hardening.swarm import guard_streams

        guard_streams(liar._libp2p, handler, lambda _reason: None, Limits())
        introduce(client, liar)
        for _ in range(4):
            with pytest.raises(PeerUnreachable, match="broke"):
                await client.call(liar.peer_id, ECHO, "echo", b"", timeout=PATIENCE)
        assert await client.call(liar.peer_id, ECHO, "echo", b"truth", timeout=PATIENCE) == b"truth"
        assert client.statistics().lost_connections == 0


@pytest.mark.slow
async def test_requests_by_the_thousand_from_one_peer(server: Host) -> None:
    """A flood is carried out 32 at a time, and others are served in between."""
    async with open_host(PeerKey.generate(), limits=Limits(rpc=RpcLimits(in_flight=500))) as flooder:
        introduce(flooder, server)
        async with trio.open_nursery() as nursery:
            for _ in range(1000):
                nursery.start_soon(
                    lambda: flooder.call(server.peer_id, ECHO, "echo", bytes(1000), timeout=PATIENCE)
                )
            async with open_host(PeerKey.generate()) as honest:
                introduce(honest, server)
                assert await steps_of_call(honest, server, b"me") < NEWCOMER_STEPS
    await serves_an_honest_client(server)


@pytest.mark.slow
async def test_a_host_under_attack_closes_within_two_seconds() -> None:
    """Silent sockets, stuffed sockets and open streams do not hold the door."""
    async with trio.open_nursery() as nursery:

        async def big(_request: Request) -> bytes:
            return bytes(1 << 20)

        async with open_host(PeerKey.generate(), listen=[ANYWHERE]) as server:
            server.serve(ECHO, big)
            ready = trio.Event()

            async def attack() -> None:
                async with (
                    silent_sockets(server.addresses[0], 100),
                    raw_peer(server.addresses[0]) as attacker,
                ):
                    stream = await attacker.open(ECHO)
                    await attacker.frame(WINDOW, 0, stream, 2**31)
                    for i in range(40):
                        await attacker.data(stream, request(i))
                    ready.set()
                    await trio.sleep_forever()

            nursery.start_soon(attack)
            with trio.fail_after(PATIENCE):
                await ready.wait()
                await eventually(lambda: server.statistics().requests_served >= 3)
                await pass_time(0.3)
            start = trio.current_time()
        assert trio.current_time() - start < 2.0
        nursery.cancel_scope.cancel()
