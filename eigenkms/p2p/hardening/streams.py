"""Streams whose writes wait without work, and end: guard P12.

libp2p's write gives up if the window stays at zero for five seconds. So it waits without end for a peer that opens the window by
one byte every three seconds, with all the data in memory. While it waits, it polls the window a hundred times a second, for each
stream. Here a write waits for an event. It has one deadline for all of its bytes, which allows for the slowest permitted reader.
It sends no crumbs, since every frame costs the same.

The deadline holds for all writes: answers, requests, gossip, the negotiation of a protocol.
"""

import struct
from typing import Final

import trio
from libp2p.stream_muxer.exceptions import MuxedStreamError
from libp2p.stream_muxer.yamux import yamux

from eigenkms.p2p.limits import Limits

PIECE: Final = yamux.MAX_MESSAGE_SIZE - yamux.HEADER_SIZE
CRUMB: Final = 4 << 10
"""The least that is sent while more waits. Every window in use is far larger, so an honest reader opens as much in one step."""
_DEFAULTS: Final = Limits()


class GuardedStream(yamux.YamuxStream):  # type: ignore[misc]
    """A stream of yamux. P12: its writes have a deadline as a whole."""

    _opened: trio.Event | None = None
    _send_window = 0
    _closed = False

    @property
    def send_window(self) -> int:
        """Bytes that the peer lets us send."""
        return self._send_window

    @send_window.setter
    def send_window(self, size: int) -> None:
        self._send_window = size
        self._wake()

    @property
    def closed(self) -> bool:
        """Return whether the stream is over in both directions."""
        return self._closed

    @closed.setter
    def closed(self, closed: bool) -> None:
        self._closed = closed
        self._wake()

    def _wake(self) -> None:
        if self._opened is not None:
            self._opened.set()
            self._opened = None

    async def write(self, data: bytes) -> None:
        """Send all of ``data``.

        Raises MuxedStreamError if the stream is over, or the peer reads too slowly.
        """
        limits = getattr(self.conn, "limits", _DEFAULTS)
        seconds = limits.streams.write_deadline + len(data) / limits.streams.write_pace
        with trio.move_on_after(seconds) as scope:
            await self._write_all(data)
        if scope.cancelled_caught:
            raise MuxedStreamError(f"{len(data)} bytes were not read within {seconds:g} s")

    async def _write_all(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            await self._wait_for_window(min(len(left), CRUMB))
            piece = left[: min(self._send_window, PIECE)]
            self._send_window -= len(piece)
            header = struct.pack(yamux.YAMUX_HEADER_FORMAT, 0, yamux.TYPE_DATA, 0, self.stream_id, len(piece))
            await self.conn._write_frame(header + piece)  # noqa: SLF001
            left = left[len(piece) :]

    async def _wait_for_window(self, size: int) -> None:
        while not (over := self._closed or self.send_closed) and self._send_window < size:
            self._opened = self._opened or trio.Event()
            await self._opened.wait()
        if over:
            raise MuxedStreamError("the stream is closed")
