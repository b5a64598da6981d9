"""What strangers on the network may try against the real process of an operator; after each attempt it serves an honest client.

The transport's own attacks are in ``tests/p2p``. Here a whole node is the target: its services, its peer book, its log. An honest
client is served during each attack and after it. How fast is for benchmarks: the attack keeps the machine busy as well.
"""

import random
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

import pytest
import trio
from libp2p.io.exceptions import ConnectionClosedError

from eigenkms.crypto import bn254, sealing
from eigenkms.errors import NetworkError, RefusedError
from eigenkms.p2p.errors import CallRefusedError
from eigenkms.p2p.host import Host
from eigenkms.p2p.identity import PeerAddress, PeerKey, parse_address
from eigenkms.p2p.rpc import framing
from eigenkms.types import AppId, ClusterId, OperatorAddress, SessionId
from eigenkms.wire import rpc_methods
from eigenkms.wire.client_rpc import PartialRequest, decode_info, encode_info_request
from eigenkms.wire.frames import Frame, FrameKind, build_frame
from eigenkms.wire.peer_record import build_peer_record
from tests.support.hosts import patient_host
from tests.support.live_network import LiveNetwork
from tests.support.p2p_attackers import raw_peer, send_and_close, silent_sockets
from tests.support.waiting import PATIENCE, eventually

pytestmark = [pytest.mark.e2e]
SEED = 7


@dataclass(frozen=True)
class Target:
    """One operator's node, as a stranger knows it, and what the test knows besides."""

    address: PeerAddress
    operator: OperatorAddress
    cluster: ClusterId
    info_request: bytes
    transcript_hash: bytes
    """Of the version that was newest when the test began."""
    mpk: bytes


@pytest.fixture
async def target(net: LiveNetwork) -> AsyncIterator[Target]:
    """Operator 1. Whatever a stranger does, the node is the same process afterwards, and has no error to tell of."""
    pid, size, member = net.pid(0), net.log_size(0), net.members[0]
    status = net.status(0)
    cluster, transcript = ClusterId(bytes.fromhex(status["cluster"])), bytes.fromhex(status["transcript"])
    request = encode_info_request(cluster, bytes(32))
    mpk = bytes.fromhex(status["mpk"])
    yield Target(parse_address(member.socket), member.address, cluster, request, transcript, mpk)
    assert net.is_running(0)
    assert net.pid(0) == pid
    log = member.log.read_bytes()[size:].decode()
    assert '"level": "error"' not in log, log
    assert "traceback" not in log.lower(), log


@asynccontextmanager
async def stranger(target: Target) -> AsyncIterator[Host]:
    """A guarded host of our own that knows where the target is."""
    async with patient_host(PeerKey.generate(), topics=[rpc_methods.gossip_topic(target.cluster)]) as host:
        host.set_addresses(target.address.peer_id, [str(target.address)])
        yield host


async def serves(target: Target) -> None:
    """An honest newcomer gets its answers."""
    async with stranger(target) as client:
        for _ in range(2):
            answer = await ask(client, target, rpc_methods.INFO, target.info_request)
            assert decode_info(answer).epoch.transcript.mpk == target.mpk


async def ask(
    client: Host, target: Target, method: str, body: bytes, protocol: str = rpc_methods.CLIENT_PROTOCOL
) -> bytes:
    return await client.call(target.address.peer_id, protocol, method, body, timeout=PATIENCE)


def allow_files(count: int) -> None:
    """Let this process open so many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


# -- sockets -----------------------------------------------------------------------------------------------------


async def test_fifteen_hundred_silent_sockets(target: Target) -> None:
    """While they are there, and after."""
    allow_files(4096)
    async with silent_sockets(target.address, 1500):
        await serves(target)
    await serves(target)


async def test_three_hundred_connections_in_a_row(target: Target) -> None:
    """Each a whole handshake, and gone; libp2p alone has 250 places in its life."""
    for _ in range(300):
        async with raw_peer(target.address):
            pass
    await serves(target)


async def test_garbage_on_the_port(target: Target) -> None:
    """Random bytes, alone and behind a good beginning; HTTP; TLS."""
    rng = random.Random(SEED)
    good = b"\x13/multistream/1.0.0\n\x07/noise\n\x00\x20"
    greetings = [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)]
    greetings += [good[: rng.randrange(len(good))] + rng.randbytes(rng.randrange(400)) for _ in range(200)]
    async with trio.open_nursery() as nursery:
        for greeting in greetings:
            nursery.start_soon(send_and_close, target.address, greeting)
    await serves(target)


# -- the client protocol -----------------------------------------------------------------------------------------


def mutations(body: bytes, rng: random.Random, count: int) -> list[bytes]:
    """Changed bits, cuts, insertions, repetitions, noise."""
    found = [b"", body[:-1], body + b"\x00", body * 2, b"\xc1", b"\x9f" * 60_000, rng.randbytes(60_000)]
    for _ in range(count):
        changed = bytearray(body)
        for _ in range(rng.choice((1, 1, 2, 8))):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        at = rng.randrange(len(body))
        found += [bytes(changed), body[:at], body[:at] + rng.randbytes(3) + body[at:]]
    return found


async def test_mutated_requests_get_a_refusal_each(target: Target) -> None:
    """Of every method, and of methods that there are not: a code of ours or an answer, never "internal"."""
    rng = random.Random(SEED)
    _, reply_key = sealing.x25519_keypair(rng.randbytes)
    partial = PartialRequest(target.cluster, AppId("my-app"), 2, target.transcript_hash, reply_key, bytes(32))
    bodies = [(rpc_methods.INFO, b) for b in mutations(target.info_request, rng, 15)]
    bodies += [(rpc_methods.PARTIAL, b) for b in mutations(partial.encoded, rng, 15)]
    bodies += [(rpc_methods.PARTIAL, replace(partial, reply_key=bytes(32)).encoded)]
    bodies += [(rpc_methods.HELLO, b) for b in mutations(forged_record(target).encoded, rng, 15)]
    bodies += [
        (rpc_methods.STATUS, b"x" * 1000),
        ("frame", b""),
        ("sync", partial.encoded),
        ("no-such-method", b""),
    ]
    codes: dict[str, int] = {}
    async with stranger(target) as client:

        async def send(method: str, body: bytes) -> None:
            try:
                await ask(client, target, method, body)
                code = "answered"
            except CallRefusedError as refused:
                code = refused.code
            codes[code] = codes.get(code, 0) + 1

        for start in range(0, len(bodies), 16):
            async with trio.open_nursery() as nursery:
                for method, body in bodies[start : start + 16]:
                    nursery.start_soon(send, method, body)
    print(codes)
    expected = {
        "bad-request",
        "refused-frame",
        "wrong-cluster",
        "unknown-version",
        "unknown-method",
        "answered",
    }
    assert set(codes) <= expected
    assert codes["bad-request"] > 60
    await serves(target)


async def test_mutated_frames_on_the_client_protocols_stream(target: Target) -> None:
    """Below requests: each broken frame costs its stream or its connection, and nothing else."""
    rng = random.Random(SEED)
    good = framing.encode(framing.RequestFrame(1, rpc_methods.INFO, target.info_request))
    for _ in range(6):
        async with raw_peer(target.address) as attacker:
            with suppress(ConnectionClosedError):
                for frame in mutations(good, rng, 5):
                    stream = await attacker.open(rpc_methods.CLIENT_PROTOCOL)
                    await attacker.data(stream, frame)
    await serves(target)


async def test_a_client_that_never_reads(target: Target) -> None:
    """It asks two thousand times on each of eight streams and takes no answer."""
    async with raw_peer(target.address) as attacker, trio.open_nursery() as nursery:
        sent = 0

        async def push() -> None:
            nonlocal sent
            with suppress(ConnectionClosedError):
                for stream in [await attacker.open(rpc_methods.CLIENT_PROTOCOL) for _ in range(8)]:
                    for number in range(2000):
                        request = framing.RequestFrame(number, rpc_methods.INFO, target.info_request)
                        await attacker.data(stream, framing.encode(request))
                        sent += 1

        nursery.start_soon(push)
        await eventually(lambda: sent > 8, "requests went out on the streams")
        await serves(target)
        nursery.cancel_scope.cancel()
    await serves(target)


async def test_a_flood_of_honest_requests(target: Target) -> None:
    """Three hundred partial signatures asked for at once by one client: another is served beside it."""
    _, reply_key = sealing.x25519_keypair(random.Random(SEED).randbytes)
    request = PartialRequest(target.cluster, AppId("my-app"), 2, target.transcript_hash, reply_key, bytes(32))
    async with stranger(target) as client, trio.open_nursery() as nursery:
        asked = 0

        async def one() -> None:
            nonlocal asked
            asked += 1
            with suppress(NetworkError):  # what is under way when the test is over
                try:
                    assert await ask(client, target, rpc_methods.PARTIAL, request.encoded)
                except CallRefusedError as refusal:
                    if refusal.code != "unknown-version":  # a rotation may have erased it meanwhile
                        raise

        for _ in range(300):
            nursery.start_soon(one)
        await eventually(lambda: asked == 300, "all have been asked")
        await serves(target)
        nursery.cancel_scope.cancel()


# -- posing as an operator ---------------------------------------------------------------------------------------


def forged_record(target: Target, peer: PeerKey | None = None) -> Frame:
    """A record of the target's own operator, signed by a key that we made."""
    return build_peer_record(
        bn254.KeyPair.from_secret(4711),
        cluster=target.cluster,
        operator=target.operator,
        peer_id=bytes((peer or PeerKey.generate()).peer_id),
        addresses=["/ip4/127.0.0.1/tcp/1"],
        sequence=time.time_ns() // 1_000_000,
    )


async def refused_as_operator(client: Host, target: Target, frame: Frame) -> None:
    """Neither method of the operator protocol is open to it."""
    for method in (rpc_methods.SYNC, rpc_methods.HEAD, rpc_methods.PUSH, rpc_methods.BODY, rpc_methods.ROW):
        with pytest.raises((NetworkError, RefusedError)) as refusal:
            await ask(client, target, method, frame.encoded, rpc_methods.OPERATOR_PROTOCOL)
        assert not isinstance(refusal.value, CallRefusedError) or refusal.value.code == "say-hello"


async def test_strangers_reach_neither_operator_streams_nor_gossip(net: LiveNetwork, target: Target) -> None:
    """Frames signed by a key of nobody, on both, and noise on their streams: nothing is taken, nobody is accused."""
    frame = build_frame(
        bn254.KeyPair.from_secret(4711),
        kind=FrameKind.VOTE,
        cluster=target.cluster,
        sender=net.members[1].address,
        session=SessionId(bytes(32)),
        body=[0, 1, bytes(32), bytes(64)],
    )
    topic = rpc_methods.gossip_topic(target.cluster)
    async with patient_host(PeerKey.generate(), topics=[topic]) as client:
        client.set_addresses(target.address.peer_id, [str(target.address)])
        await refused_as_operator(client, target, frame)
        for number in range(200):
            await client.publish(topic, frame.encoded + bytes([number]))
    async with raw_peer(target.address) as attacker:
        for protocol in (
            rpc_methods.OPERATOR_PROTOCOL,
            "/meshsub/1.1.0",
            "/meshsub/1.0.0",
            "/floodsub/1.0.0",
        ):
            with suppress(ConnectionClosedError):
                stream = await attacker.open(protocol)
                await attacker.data(stream, random.Random(SEED).randbytes(5000))
    assert net.status(0)["evidence"] == 0
    await serves(target)


async def test_nobody_becomes_an_operator_by_saying_so(net: LiveNetwork, target: Target) -> None:
    """A record with a wrong signature, one of another operator sent by a stranger, one replayed: none of them opens a door."""
    victim = net.members[1]
    async with stranger(target) as client:
        forged = build_peer_record(
            bn254.KeyPair.from_secret(4711),
            cluster=target.cluster,
            operator=victim.address,
            peer_id=bytes(client.peer_id),
            addresses=["/ip4/127.0.0.1/tcp/1"],
            sequence=time.time_ns() // 1_000_000,
        )
        assert await hello(client, target, forged) == "refused-frame"
        genuine = build_peer_record(
            victim.key,
            cluster=target.cluster,
            operator=victim.address,
            peer_id=bytes(parse_address(victim.socket).peer_id),
            addresses=["/ip4/127.0.0.1/tcp/1"],
            sequence=time.time_ns() // 1_000_000,
        )
        assert await hello(client, target, genuine) == "wrong-peer"
        answer = await ask(client, target, rpc_methods.INFO, target.info_request)
        records = [r for r in decode_info(answer).records if r.sender == victim.address]
        assert len(records) == 1
        assert await hello(client, target, records[0]) == "answered"
        await refused_as_operator(client, target, records[0])
    assert net.status(0)["peers"] == 3
    await serves(target)


async def hello(client: Host, target: Target, record: Frame) -> str:
    """How the node takes it."""
    try:
        await ask(client, target, rpc_methods.HELLO, record.encoded)
    except CallRefusedError as refused:
        return refused.code
    return "answered"
