"""Peer records: this node's own, and what is done with those that others hand over."""

import logging
import time

import trio

from eigenkms.errors import RemoteProtocolError
from eigenkms.node.peers import PeerBook
from eigenkms.p2p.errors import RpcRefusal
from eigenkms.p2p.identity import PeerId
from eigenkms.protocols import wire
from eigenkms.protocols.frames import Frame, decode_frame

log = logging.getLogger(__name__)


class Greeter:
    """``record`` is this node's own peer record, which is there once its addresses are known."""

    def __init__(self, peers: PeerBook, record: Frame | None = None) -> None:
        self._peers = peers
        self._verifying = trio.CapacityLimiter(1)
        self.record = record

    def records(self) -> list[Frame]:
        """My own record, and all that are known."""
        own = [] if self.record is None else [self.record]
        return [*own, *self._peers.records()]

    async def hello(self, peer: PeerId, body: bytes) -> bytes:
        """Take the caller's peer record, which must name the very peer that calls; give mine and all that are known.

        Raises ``RpcRefusal``, ``RemoteProtocolError``.
        """
        frame = decode_frame(body)
        record = self._peers.screen(frame, _unix_ms())
        if record is not None:
            if PeerId(record.peer_id) != peer:
                raise RpcRefusal("wrong-peer", "the record names another peer than the one that sent it")
            await self._verify(frame)
            self._peers.accept(record, frame)
        self._peers.prove(peer, frame)
        return wire.encode_frames(self.records())

    async def take_records(self, data: bytes, source: PeerId) -> None:
        """Peer records that ``source`` answered with: its own proves who it is, the others say where their operators are."""
        for encoded in wire.decode_frames(data):
            try:
                frame = decode_frame(encoded)
                record = self._peers.screen(frame, _unix_ms())
                if record is not None:
                    await self._verify(frame)
                    self._peers.accept(record, frame)
                self._peers.prove(source, frame)
            except RemoteProtocolError as error:
                log.debug("peer record refused: %s", error)

    async def _verify(self, frame: Frame) -> None:
        await trio.to_thread.run_sync(self._peers.check_signature, frame, limiter=self._verifying)


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000
