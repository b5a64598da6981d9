"""The strangers of ``benchmarks.floods``, as a process of their own.

The process reads a ``Target`` as JSON from each line of its input. Its arguments are ``KINDS`` of strangers. At its end it prints
the acts of each kind, counted, as JSON.

Each stranger does one thing to one operator for as long as the process runs, from an address in 127.0.0.0/8 that no operator and
no honest client has. If the operator ends its connection, it comes back after a moment. Before anything is sent, at most 100
handshakes a second are begun with each operator. All others wait for an answer before they send again, so that they have as many
requests under way as connections.
"""

import json
import logging
import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count, cycle, product
from typing import Final

import trio

from eigenkms.crypto import sealing
from eigenkms.crypto.bn254 import KeyPair
from eigenkms.node.http.requests import MAX_SECRETS_BODY
from eigenkms.p2p.identity import PeerAddress, PeerKey, parse_address
from eigenkms.p2p.listening.listener import raise_file_limit
from eigenkms.p2p.rpc import framing
from eigenkms.types import AppId, ClusterId, OperatorAddress
from eigenkms.wire import rpc_methods
from eigenkms.wire.client_rpc import PartialRequest
from eigenkms.wire.peer_record import build_peer_record
from tests.support.p2p_attackers import (
    ACK,
    DATA,
    NOISE_HELLO,
    PING,
    RST,
    SYN,
    WINDOW,
    RawPeer,
    Staller,
    connect,
    raw_peer,
    read_frame,
)

SOURCES: Final = tuple(f"127.0.0.{number}" for number in range(2, 6))
STALLERS, FORGERS, INVENTORS = 3, 20, 4
"""Connections to each operator, of those that do not read, that forge records, and that make up applications."""
IDLE, UPLOADS = 128, 16
"""HTTP connections to each operator from each source."""
HANDSHAKES: Final = 100
"""Begun a second with each operator."""
AGAIN_SECONDS: Final = 1.0
NICE: Final = 19
"""Strangers have machines of their own: here they get the processor time that operators and honest clients leave."""
HANDSHAKE_SECONDS: Final = 5.0
REQUEST_BYTES: Final = 60_000
PIECE_BYTES: Final = 1 << 16


DONE: Final = Counter[str]()
"""The acts of the strangers, counted by kind."""


@dataclass(frozen=True)
class Target:
    """An operator to attack.

    Cluster, address and the hash of a transcript are hex. It has a multiaddr, and the port of its HTTP API.
    """

    cluster: str
    operator: str
    transcript: str
    multiaddr: str
    http_port: int

    @property
    def line(self) -> str:
        return json.dumps(asdict(self)) + "\n"

    @property
    def peer(self) -> PeerAddress:
        return parse_address(self.multiaddr)


Stranger = Callable[[Target, str], Awaitable[None]]


async def stall(target: Target, source: str) -> None:
    """Ask without end, and read a byte of the answers now and then."""
    body = bytes(REQUEST_BYTES)
    requests = (framing.encode(framing.RequestFrame(number, rpc_methods.INFO, body)) for number in count(1))
    async with raw_peer(target.peer, source=source) as peer, trio.open_nursery() as nursery:
        staller = Staller(peer, trio.sleep)
        nursery.start_soon(staller.run, rpc_methods.CLIENT_PROTOCOL, requests)
        try:
            await staller.over.wait()
        finally:  # or the connection is ended
            DONE["KiB of requests whose answers were not read"] += staller.sent >> 10
        nursery.cancel_scope.cancel()


async def forge(target: Target, source: str) -> None:
    """Send records in the operator's name, signed with a key of nobody, without end."""
    key = PeerKey.generate()
    forged = build_peer_record(
        KeyPair.from_secret(int.from_bytes(os.urandom(31), "big")),
        cluster=ClusterId(bytes.fromhex(target.cluster)),
        operator=OperatorAddress(bytes.fromhex(target.operator)),
        peer_id=bytes(key.peer_id),
        addresses=[f"/ip4/203.0.113.7/tcp/9000/p2p/{key.peer_id}"],
        sequence=1,
    )
    async with raw_peer(target.peer, key, source=source) as peer:
        await _ask(peer, "forged records", rpc_methods.HELLO, lambda: forged.encoded)


async def invent(target: Target, source: str) -> None:
    """Ask for keys of applications that do not exist."""
    _, reply_key = sealing.x25519_keypair(os.urandom)
    cluster, transcript = bytes.fromhex(target.cluster), bytes.fromhex(target.transcript)

    def body() -> bytes:
        app = AppId("0x" + os.urandom(20).hex())
        return PartialRequest(ClusterId(cluster), app, 2, transcript, reply_key, os.urandom(32)).encoded

    async with raw_peer(target.peer, source=source) as peer:
        await _ask(peer, "made-up applications", rpc_methods.PARTIAL, body)


async def _ask(peer: RawPeer, kind: str, method: str, body: Callable[[], bytes]) -> None:
    """Send one request after the other until the stream ends.

    Each follows the answer to the one before.
    """
    stream = await peer.open(rpc_methods.CLIENT_PROTOCOL)
    for number in count(1):
        await peer.data(stream, framing.encode(framing.RequestFrame(number, method, body())))
        while True:
            frame, flags, on, length, _ = await read_frame(peer.secured)
            if frame == PING and flags & SYN:
                await peer.frame(PING, ACK, 0, length)
            elif on == stream and flags & RST:
                return
            elif on == stream and frame == DATA:
                await peer.frame(WINDOW, 0, stream, length)
                DONE[kind] += 1
                break


async def hold(target: Target, source: str) -> None:
    """Connect to the HTTP API and say nothing."""
    async with await _connect(target, source) as stream:
        DONE["idle connections"] += 1
        await stream.receive_some(1)


async def upload(target: Target, source: str) -> None:
    """Send a body that lacks its last byte."""
    async with await _connect(target, source) as stream:
        head = "POST /secrets HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
        await stream.send_all((head % MAX_SECRETS_BODY).encode())
        DONE["uploads"] += 1
        for begun in range(0, MAX_SECRETS_BODY - 1, PIECE_BYTES):
            await stream.send_all(bytes(min(PIECE_BYTES, MAX_SECRETS_BODY - 1 - begun)))
        await stream.receive_some(1)


async def _connect(target: Target, source: str) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", target.http_port, local_address=source)


async def begin_handshakes(target: Target, _source: str) -> None:
    """Begin handshakes from all sources in turn, without end."""
    due = trio.current_time()
    async with trio.open_nursery() as nursery:
        for source in cycle(SOURCES):
            nursery.start_soon(_once, begin_handshake, target, source)
            due = max(due + 1 / HANDSHAKES, trio.current_time() - 1)
            await trio.sleep_until(due)


async def begin_handshake(target: Target, source: str) -> None:
    """Send the first message of a handshake, and nothing after its answer."""
    with trio.move_on_after(HANDSHAKE_SECONDS):
        async with await connect(target.peer, source) as stream:
            await stream.send_all(NOISE_HELLO)
            DONE["handshakes"] += 1
            while await stream.receive_some(4096):
                pass


async def _once(stranger: Stranger, target: Target, source: str) -> None:
    """Run a stranger once, and ignore its failure.

    An operator may end its connection in many ways, and the libraries raise many exceptions. The other strangers go on.
    """
    try:
        await stranger(target, source)
    except* Exception:  # noqa: BLE001 - but for a cancellation, which may be beside it
        pass


async def _again(stranger: Stranger, target: Target, source: str) -> None:
    while True:
        await _once(stranger, target, source)
        await trio.sleep(AGAIN_SECONDS)


KINDS: Final[Mapping[str, tuple[Stranger, int]]] = {
    "stall": (stall, STALLERS),
    "forge": (forge, FORGERS),
    "invent": (invent, INVENTORS),
    "hold": (hold, IDLE * len(SOURCES)),
    "upload": (upload, UPLOADS * len(SOURCES)),
    "handshake": (begin_handshakes, 1),
}
"""By kind, the act on each operator, and the number of its tasks."""


async def run(targets: list[Target], kinds: Sequence[str]) -> None:
    """Until SIGTERM."""
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            for target, kind in product(targets, kinds):
                stranger, connections = KINDS[kind]
                for _, source in zip(range(connections), cycle(SOURCES), strict=False):
                    nursery.start_soon(_again, stranger, target, source)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break
    print(json.dumps(DONE))


if __name__ == "__main__":
    logging.disable()  # libp2p writes a line for each connection that an operator ends
    raise_file_limit()
    os.nice(NICE)
    trio.run(run, [Target(**json.loads(line)) for line in sys.stdin], sys.argv[1:])
