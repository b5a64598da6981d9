"""Peers that do not play by the rules: raw sockets, raw yamux, stolen names.

An attacker here speaks the lower layers itself, frame by frame, over libp2p's own noise; it never uses the guarded code that
it attacks.
"""

import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import trio
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.secp256k1 import Secp256k1PrivateKey, Secp256k1PublicKey, create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as new_x25519
from libp2p.custom_types import TProtocol
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as Noise
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.transport.upgrader import TransportUpgrader
from libp2p.utils.varint import encode_delim, encode_varint_prefixed

from eigenkms.p2p.identity import PeerAddress, PeerId, PeerKey
from tests.support.waiting import PATIENCE, pass_time

DATA, WINDOW, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8


def socket_of(address: PeerAddress) -> tuple[str, int]:
    """Host and port."""
    return address.transport.host, address.transport.port


async def connect(address: PeerAddress, source: str | None = None) -> trio.SocketStream:
    """A TCP connection, from another address of this machine if ``source`` names one, that has said nothing yet."""
    return await trio.open_tcp_stream(*socket_of(address), local_address=source)


@asynccontextmanager
async def silent_sockets(address: PeerAddress, n: int) -> AsyncIterator[list[trio.SocketStream]]:
    """``n`` connections that say nothing, open for the length of the context."""
    sockets: list[trio.SocketStream] = []

    async def one() -> None:
        sockets.append(await connect(address))

    try:
        for _ in range(0, n, 100):
            async with trio.open_nursery() as nursery:
                for _ in range(min(100, n)):
                    nursery.start_soon(one)
        yield sockets
    finally:
        for socket in sockets:
            socket.socket.close()


async def send_and_close(address: PeerAddress, data: bytes) -> None:
    """Write ``data`` to a fresh connection and hang up once the other side does, or after a moment."""
    socket = await connect(address)
    async with socket:
        try:
            await socket.send_all(data)
            with trio.move_on_after(0.05):  # deadline of the subject: the attacker hangs up then
                while await socket.receive_some():
                    pass
        except trio.BrokenResourceError:
            return


def upgrader(key: PeerKey) -> TransportUpgrader:
    """Noise and yamux as libp2p has them."""
    pair = create_new_key_pair(key.secret)
    return TransportUpgrader(
        {NOISE: Noise(pair, noise_privkey=new_x25519().private_key)}, {TProtocol(YAMUX): Yamux}
    )


def hello(protocol: str | bytes) -> bytes:
    """The asking side of multistream-select."""
    name = protocol if isinstance(protocol, bytes) else protocol.encode()
    return bytes(encode_delim(b"/multistream/1.0.0")) + bytes(encode_varint_prefixed(name + b"\n"))


NOISE_HELLO = hello(NOISE) + b"\x00\x20" + new_x25519().public_key.to_bytes()
"""All that a peer says before it is answered. Any key makes the other side compute as much as a true one."""


class RawPeer:
    """An authenticated connection on which any yamux frame can be sent."""

    def __init__(self, secured: Any, socket: trio.SocketStream) -> None:
        self.secured = secured
        self.socket = socket
        self._next_stream = 1

    async def frame(self, kind: int, flags: int, stream: int, length: int, payload: bytes = b"") -> None:
        """Send one yamux frame; ``length`` need not be true."""
        await self.secured.write(struct.pack("!BBHII", 0, kind, flags, stream, length) + payload)

    async def data(self, stream: int, payload: bytes) -> None:
        """Send stream data without regard to any window."""
        for i in range(0, len(payload), 60_000):
            piece = payload[i : i + 60_000]
            await self.frame(DATA, 0, stream, len(piece), piece)

    async def open(self, protocol: str | bytes | None = None) -> int:
        """Open a stream, and ask for a protocol on it without waiting for the answer."""
        stream = self._next_stream
        self._next_stream += 2
        await self.frame(WINDOW, SYN, stream, 0)
        if protocol is not None:
            await self.data(stream, hello(protocol))
        return stream

    async def read_until_closed(self, seconds: float = PATIENCE) -> bytes:
        """All that the other side sends until it hangs up; raises TooSlowError if it does not."""
        got = bytearray()
        with trio.fail_after(seconds):
            while True:
                try:
                    chunk = await self.secured.read(12)
                except Exception:
                    return bytes(got)
                if not chunk:
                    return bytes(got)
                got += chunk


@asynccontextmanager
async def raw_peer(
    address: PeerAddress, key: PeerKey | None = None, *, source: str | None = None
) -> AsyncIterator[RawPeer]:
    """An attacker who has proven an identity of its own and may now send what it likes."""
    socket = await connect(address, source)
    try:
        stack = upgrader(key or PeerKey.generate())
        raw = RawConnection(TrioTCPStream(socket), True)
        secured = await stack.upgrade_security(raw, True, ID(address.peer_id.raw))
        await stack.muxer_multistream.select_transport(secured)
        yield RawPeer(secured, socket)
    finally:
        socket.socket.close()


class Impostor(Secp256k1PrivateKey):
    """A private key that shows somebody else's public key."""

    def __init__(self, victim: PeerId) -> None:
        super().__init__(create_new_key_pair(PeerKey.generate().secret).private_key.impl)
        self._shown = Secp256k1PublicKey.from_bytes(victim.raw[6:])

    def get_public_key(self) -> Any:
        return self._shown


def impostor_upgrader(victim: PeerId, *, plaintext: bool) -> TransportUpgrader:
    """Claims to be ``victim``, over plaintext (which needs no proof) or over noise (which does)."""
    key = Impostor(victim)
    pair = KeyPair(key, key.get_public_key())
    security: dict[Any, Any] = (
        {PLAINTEXT_PROTOCOL_ID: InsecureTransport(pair)}
        if plaintext
        else {NOISE: Noise(pair, noise_privkey=new_x25519().private_key)}
    )
    return TransportUpgrader(security, {TProtocol(YAMUX): Yamux})


async def read_frame(secured: Any) -> tuple[int, int, int, int, bytes]:
    """The next yamux frame of the other side: kind, flags, stream, length, and the bytes of a DATA frame."""
    _, kind, flags, stream, length = struct.unpack("!BBHII", await _read(secured, 12))
    return kind, flags, stream, length, await _read(secured, length) if kind == DATA else b""


async def _read(secured: Any, n: int) -> bytes:
    got = b""
    while len(got) < n:
        chunk = await secured.read(n - len(got))
        if not chunk:
            raise EOFError
        got += chunk
    return got


class Staller:
    """A client that sends requests as its window lets it, and reads a byte of the answers every three seconds, of virtual time.

    ``over`` is set when the other side gives its stream up.
    """

    def __init__(self, peer: RawPeer, pause: Callable[[float], Awaitable[object]] = pass_time) -> None:
        self._peer = peer
        self._pause = pause
        self._window = 256 << 10
        self._opened = trio.Event()
        self.sent = 0
        self.over = trio.Event()

    async def run(self, protocol: str, requests: Iterable[bytes]) -> None:
        """Send ``requests``, and stall until cancelled."""
        stream = await self._peer.open(protocol)
        self._window -= len(hello(protocol))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, stream)
            nursery.start_soon(self._crumble, stream)
            for request in requests:
                for i in range(0, len(request), 1 << 15):
                    await self._send(stream, request[i : i + (1 << 15)])

    async def _send(self, stream: int, piece: bytes) -> None:
        while self._window < len(piece):
            self._opened = trio.Event()
            await self._opened.wait()
        self._window -= len(piece)
        await self._peer.data(stream, piece)
        self.sent += len(piece)

    async def _listen(self, own: int) -> None:
        while True:
            kind, flags, stream, length, _ = await read_frame(self._peer.secured)
            if kind == PING and flags & SYN:
                await self._peer.frame(PING, ACK, 0, length)
            if kind == WINDOW and stream == own:
                self._window += length
                self._opened.set()
                if flags & RST:
                    self.over.set()

    async def _crumble(self, stream: int) -> None:
        while True:
            await self._pause(3.0)
            await self._peer.frame(WINDOW, 0, stream, 1)
