"""Reading exactly n bytes, and no more than a stranger may make us hold.

P11: ``libp2p.io.utils.read_exactly`` gives up after 101 reads, however many bytes each gave. So a large message on a slow link
breaks the connection. At the end of the stream it reads 101 times nothing.
"""

import logging
from typing import Any, Protocol

import trio
from libp2p.io.exceptions import IncompleteReadError, MessageTooLarge
from libp2p.network.connection.raw_connection import RawConnection

from eigenkms.p2p.identity import PeerId

log = logging.getLogger("eigenkms.p2p.reading")

CHUNK = 64 << 10


class _ExactReader(Protocol):
    async def read(self, n: int) -> bytes: ...


async def read_exactly(reader: _ExactReader, n: int, retry_count: int = 0) -> bytes:  # noqa: ARG001 - libp2p's signature
    """Exactly ``n`` bytes; raises IncompleteReadError at the end of the stream. P11."""
    buffer = bytearray()
    while len(buffer) < n:
        chunk = await reader.read(n - len(buffer))
        if not chunk:
            raise IncompleteReadError("stream ended", expected_bytes=n, received_bytes=len(buffer))
        buffer += chunk
    return bytes(buffer)


class MeteredConnection(RawConnection):  # type: ignore[misc]
    """A raw connection that gives a peer only so many bytes to prove who it is.

    multistream-select accepts any length that a peer announces. Without the meter, one socket fills memory with all that it can
    send in the three seconds of its handshake.
    """

    allowance: int | None = 64 << 10

    async def read(self, n: int | None = None) -> bytes:
        size = CHUNK if n is None else min(n, CHUNK)
        if self.allowance is None:
            return bytes(await super().read(size))
        if self.allowance <= 0:
            raise MessageTooLarge("handshake is longer than 64 KiB")
        chunk = bytes(await super().read(min(size, self.allowance)))
        self.allowance -= len(chunk)
        return chunk


class ByteStream:
    """A libp2p stream behind a 64 KiB read buffer, with few methods.

    Without the buffer each byte of a length would be a read of the yamux stream. While ``allowance`` is set (the negotiation
    of the protocol), the peer gets that many bytes only.
    """

    def __init__(self, stream: Any, peer: PeerId, *, allowance: int | None = None) -> None:
        self.peer = peer
        self.muxed_conn = stream.muxed_conn
        self._stream = stream
        self._buffer = bytearray()
        self.allowance = allowance

    async def receive(self) -> bytes:
        """Return the next bytes, at most 64 KiB; b"" at the end.

        Raises libp2p's StreamError if the peer reset it.
        """
        if self._buffer:
            chunk = bytes(self._buffer)
            self._buffer.clear()
            return chunk
        return await self._receive_some()

    async def _receive_some(self) -> bytes:
        try:
            return bytes(await self._stream.read(CHUNK))
        except EOFError:
            return b""

    async def read(self, n: int) -> bytes:
        """Return exactly ``n`` bytes, fewer only at the end of the stream.

        Raises MessageTooLarge over the allowance.
        """
        if self.allowance is not None:
            self.allowance -= n
            if self.allowance < 0:
                raise MessageTooLarge("negotiation of the protocol is too long")
        while len(self._buffer) < n:
            chunk = await self._receive_some()
            if not chunk:
                break
            self._buffer += chunk
        result = bytes(self._buffer[:n])
        del self._buffer[:n]
        return result

    async def write(self, data: bytes) -> None:
        """Write all of ``data``.

        Raises StreamError if the stream is over or the peer did not read for five seconds.
        """
        await self._stream.write(data)

    async def reset(self) -> None:
        """Give the stream up and free its buffer.

        It cannot be cancelled. The deadline of a write bounds it.
        """
        with trio.CancelScope(shield=True):
            try:
                await self._stream.reset()
            except Exception as error:  # noqa: BLE001 - the connection is gone, and with it the stream
                log.debug("reset of a stream of %s: %s", self.peer, type(error).__name__)
        forget = getattr(self.muxed_conn, "forget", None)
        if forget is not None:
            forget(self._stream.muxed_stream)
