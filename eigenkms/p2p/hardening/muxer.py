"""Yamux that gives up a broken connection: guards P4, P5, P8 and P9.

A muxed connection is one TCP socket shared by all streams between two peers. A failure below the streams is beyond repair, since
noise counts its frames. So the answer to a stalled write, a silent peer and an overrun buffer is the same: ``abort``. It closes the
socket without a goodbye, which a stuck peer would not read. Every stream of the connection then ends, and the dialer starts again.
"""

import logging
import struct
from collections.abc import Iterable
from functools import partial
from typing import Any, Final, SupportsIndex

import trio
from libp2p.io.exceptions import IncompleteReadError
from libp2p.stream_muxer.exceptions import MuxedStreamError
from libp2p.stream_muxer.yamux import yamux

from eigenkms.p2p.limits import Limits
from eigenkms.p2p.listening.read_allowances import new_allowance
from eigenkms.p2p.rpc.memory import MemoryAccount, MemoryPool
from eigenkms.token_bucket import TokenBucket

log = logging.getLogger("eigenkms.p2p.muxer")

WINDOW: Final = 1 << 20
"""Largest receive window advertised for a stream (libp2p lets it grow to 16 MiB)."""
STREAM_BUFFER: Final = 2 * WINDOW
FRAME_COST: Final = 2 << 10
"""Bytes that a read counts for in addition to its own; a frame takes one or two reads."""
BODY_SECONDS: Final = 60.0
"""The time for one frame, as in libp2p. Frames of ours have 64 KiB, so this is a pace of one KiB a second."""
STREAM_COST: Final = 16 << 10
"""Bytes that a stream counts for besides what is unread: its tables, and the task that serves it."""


_update_window = yamux.YamuxStream._auto_tune_and_send_window_update  # noqa: SLF001


async def update_window_late(stream: Any, *, bytes_read: int = 0) -> None:
    """Update the peer's window once half of it is used up, as yamux advises.

    libp2p updates it after every read, and each time both sides pay for a frame, which costs about as much as the data did.
    """
    buffered = len(stream.conn.stream_buffers.get(stream.stream_id, b""))
    used = stream.target_recv_window - stream.recv_window - buffered
    if used >= stream._grow_threshold():  # noqa: SLF001
        await _update_window(stream, bytes_read=bytes_read)


class CappedBuffer(bytearray):
    """The unread bytes of one stream."""

    def __init__(self, buffers: "CappedBuffers") -> None:
        super().__init__()
        self._buffers = buffers

    def extend(self, data: Iterable[SupportsIndex]) -> None:
        """Add data, or cut the connection if the peer overruns its window.

        Raises ``BufferError`` then.
        """
        chunk = bytes(data)
        if len(self) + len(chunk) > STREAM_BUFFER or self._buffers.unread + len(chunk) > self._buffers.limit:
            self._buffers.muxer.abort("overran its receive window")
            raise BufferError("receive window overrun")
        super().extend(chunk)
        self._buffers.count(len(chunk))

    def __delitem__(self, part: SupportsIndex | slice) -> None:
        before = len(self)
        super().__delitem__(part)
        self._buffers.count(len(self) - before)

    def clear(self) -> None:
        """Forget all bytes."""
        del self[:]


class CappedBuffers(dict[int, bytearray]):
    """P9: libp2p logs that a peer exceeds its receive window, and stores the bytes.

    Here it costs the connection.

    Streams and their bytes are on the account of the connection, from the moment at which they are in here until they leave.
    """

    def __init__(self, muxer: "GuardedYamux", limit: int) -> None:
        super().__init__()
        self.muxer = muxer
        self.limit = limit
        self.unread = 0

    def count(self, more: int) -> None:
        """So many bytes more, or fewer, are unread."""
        self.unread += more
        self.muxer.account.take(more)

    def __setitem__(self, stream_id: int, _buffer: bytearray) -> None:
        self.pop(stream_id, None)
        super().__setitem__(stream_id, CappedBuffer(self))
        self.muxer.account.take(STREAM_COST)

    def __delitem__(self, stream_id: int) -> None:
        self[stream_id].clear()
        super().__delitem__(stream_id)
        self.muxer.account.give(STREAM_COST)

    def pop(self, stream_id: int, default: Any = None) -> Any:
        """Return the unread bytes of a stream that is over; they are freed."""
        if stream_id not in self:
            return default
        buffer = self[stream_id]
        del self[stream_id]
        return buffer

    def clear(self) -> None:
        """Forget all streams."""
        for stream_id in list(self):
            del self[stream_id]


class PacedSession:
    """Reads from a client no faster than its allowance; TCP then slows the peer down.

    Frames cost CPU even if yamux discards them: data for no stream, pings, resets. So no limit above this one stops a peer that
    only sends them. A message of noise has five thousand of them, which libp2p reads without a pause. So other tasks have a turn
    after each read, from any peer.
    """

    def __init__(self, secured: Any, allowance: TokenBucket | None) -> None:
        self._secured = secured
        self.allowance = allowance

    def __getattr__(self, name: str) -> Any:
        return getattr(self._secured, name)

    async def read(self, n: int) -> bytes:
        """Read from the session, after the wait that the bytes cost."""
        data: bytes = await self._secured.read(n)
        if self.allowance is not None and (
            wait := self.allowance.spend(trio.current_time(), len(data) + FRAME_COST)
        ):
            await trio.sleep(wait)
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return data


class GuardedYamux(yamux.Yamux):  # type: ignore[misc]
    """One muxed connection over ``socket``.

    ``trust`` sets how much of our memory the peer may use. A client is read at the pace of its ``allowance``.
    """

    def __init__(
        self,
        secured: Any,
        peer: Any,
        socket: trio.SocketStream,
        limits: Limits,
        strangers: MemoryPool,
        allowance: TokenBucket | None = None,
    ) -> None:
        self._allowance = allowance or new_allowance(limits.streams.client_rate)
        paced = PacedSession(secured, self._allowance)
        super().__init__(paced, peer, is_initiator=secured.is_initiator)
        self._paced = paced
        self._turn = trio.Lock()
        self.socket = socket
        self.limits = limits
        self.account = MemoryAccount(
            strangers, partial(self.abort, "held the most of what is held for strangers")
        )
        self.stream_buffers = CappedBuffers(self, limits.streams.client_connection_buffer)
        self.stream_limit = limits.streams.client_at_once
        self.last_request = trio.current_time()
        self.born = self.last_request
        self._heard = 0
        self._ping_id = 0

    def trust(self, trusted: bool) -> None:
        """Set the bounds of an operator's connection, or of a client's."""
        limits = self.limits
        self.account.trust(trusted)
        self._paced.allowance = None if trusted else self._allowance
        self.stream_buffers.limit = (
            limits.streams.connection_buffer if trusted else limits.streams.client_connection_buffer
        )
        self.stream_limit = limits.streams.at_once if trusted else limits.streams.client_at_once

    def abort(self, reason: str) -> None:
        """Close the socket now. All streams end; nothing is sent."""
        if self.socket.socket.fileno() != -1:
            level = logging.DEBUG if self._paced.allowance else logging.INFO  # strangers do not write our log
            log.log(level, "connection to %s cut: it %s", self.peer_id, reason)
            self.socket.socket.close()

    async def goodbye(self) -> None:
        """Send a goodbye and close; libp2p's ``close`` does so too and sleeps for 0.2 s."""
        header = struct.pack(yamux.YAMUX_HEADER_FORMAT, 0, yamux.TYPE_GO_AWAY, 0, 0, yamux.GO_AWAY_NORMAL)
        try:
            await self._write_frame(header)
        except Exception as error:  # noqa: BLE001 - it left first
            log.debug("goodbye to %s: %r", self.peer_id, error)
        self.socket.socket.close()

    def forget(self, stream: yamux.YamuxStream) -> None:
        """Free the buffer of a reset stream; libp2p keeps it for a minute and more."""
        for table in (self.streams, self.stream_buffers, self.stream_events):
            table.pop(stream.stream_id, None)

    # P4: a task cancelled while noise encrypts and writes a frame has used a nonce for bytes that never leave. The next frame
    # cannot be decrypted then, and the connection dies. So a write, once begun, is finished, or the connection is cut. Its time
    # begins with its turn: on a slow link those of other streams, 64 KiB each, take longer together than a peer may.
    async def _write_frame(self, data: bytes) -> None:
        async with self._turn:
            with trio.CancelScope(
                deadline=trio.current_time() + self.limits.connections.write_stall, shield=True
            ) as scope:
                await super()._write_frame(data)
            if scope.cancelled_caught:
                self.abort(f"did not read for {self.limits.connections.write_stall:g} s")
                raise trio.BrokenResourceError("write stalled")

    # P5: a task cancelled in here leaks the slot, and with none of 256 left libp2p waits for ever.
    async def open_stream(self) -> yamux.YamuxStream:
        if not self.stream_backlog_semaphore.value:
            raise MuxedStreamError("no stream slot is free")
        with trio.CancelScope(shield=True):
            return await super().open_stream()

    async def accept_stream(self) -> yamux.YamuxStream:
        """Return the next stream that the peer opens.

        Those over its limit are reset unseen.
        """
        while True:
            stream = await super().accept_stream()
            inbound = sum(not each.is_initiator for each in self.streams.values())
            if inbound <= self.stream_limit:
                return stream
            await stream.reset()
            self.forget(stream)

    async def _read_data_body(self, length: int) -> bytes:
        """Read a frame's body; received bytes are on the account during the wait."""
        self._heard += 1
        body = bytearray()
        try:
            with trio.fail_after(BODY_SECONDS):
                while len(body) < length:
                    chunk = await self._paced.read(min(length - len(body), yamux.MAX_MESSAGE_SIZE))
                    if not chunk:
                        raise IncompleteReadError("stream ended", length, len(body))
                    body += chunk
                    self.account.take(len(chunk))
        finally:
            self.account.give(len(body))
        self._heard += 1
        return bytes(body)

    # P8: a peer that is stopped, or whose cable is cut, keeps its connection for ever: libp2p measures the round trip
    # but draws no conclusion. So a peer that neither answers a ping nor sends data in time is cut off.
    async def _measure_rtt_loop(self) -> None:
        while not self.event_shutting_down.is_set():
            with trio.move_on_after(self.limits.connections.keepalive_interval) as scope:
                await self.event_shutting_down.wait()
            if scope.cancelled_caught and not await self._answers_ping():
                self.abort(f"was silent for {self.limits.connections.keepalive_timeout:g} s")
                return

    async def _answers_ping(self) -> bool:
        heard = self._heard
        self._ping_id = (self._ping_id + 1) % 2**32
        self._ping_event = trio.Event()
        self._ping_sent_time = trio.current_time()
        header = struct.pack(yamux.YAMUX_HEADER_FORMAT, 0, yamux.TYPE_PING, yamux.FLAG_SYN, 0, self._ping_id)
        try:
            await self._write_frame(header)
        except Exception as error:  # noqa: BLE001 - any failure to write is an answer
            log.debug("ping of %s: %r", self.peer_id, error)
            return False
        with trio.move_on_after(self.limits.connections.keepalive_timeout):
            await self._ping_event.wait()
        return self._ping_event.is_set() or self._heard != heard
