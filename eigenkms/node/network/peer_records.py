"""Peer records: this node's own, and what is done with those that others hand over."""

import logging
import time

from eigenkms.errors import RemoteProtocolError
from eigenkms.node.network.peer_book import PeerBook
from eigenkms.node.network.signature_checks import Caller, SignatureChecks
from eigenkms.p2p.errors import RpcRefusal
from eigenkms.p2p.identity import PeerId
from eigenkms.p2p.types import Request
from eigenkms.protocols.wire import rpc_methods
from eigenkms.protocols.wire.client_rpc import MAX_RECORDS
from eigenkms.protocols.wire.frames import Frame, decode_frame
from eigenkms.protocols.wire.peer_record import PeerRecord

log = logging.getLogger(__name__)


class PeerRecordService:
    """``record`` is this node's own peer record, which is there once its addresses are known."""

    def __init__(self, peers: PeerBook, checks: SignatureChecks, record: Frame | None = None) -> None:
        self._peers = peers
        self._checks = checks
        self.record = record

    def records(self) -> list[Frame]:
        """My own record, and all that are known."""
        own = [] if self.record is None else [self.record]
        return [*own, *self._peers.records()]

    async def hello(self, request: Request) -> bytes:
        """Take the caller's peer record, which must name the very peer that calls; give mine and all that are known.

        Raises ``RpcRefusal``, ``RemoteProtocolError``.
        """
        frame = decode_frame(request.body)
        record = self._screen(frame)
        if record is not None and PeerId(record.peer_id) != request.peer:
            raise RpcRefusal("wrong-peer", "the record names another peer than the one that sent it")
        await self._take(frame, record, Caller.of(request))
        return rpc_methods.encode_frames(self.records())

    async def take_records(self, data: bytes, source: PeerId) -> None:
        """Peer records that ``source`` answered with: its own proves who it is, the others say where their operators are.

        A record that is refused is passed over, and so are those beyond ``MAX_RECORDS``. Raises ``MalformedError`` for what is no
        list.
        """
        for encoded in rpc_methods.decode_frames(data)[:MAX_RECORDS]:
            try:
                frame = decode_frame(encoded)
                await self._take(frame, self._screen(frame), Caller(source))
            except (RemoteProtocolError, RpcRefusal) as error:
                log.debug("peer record refused: %s", error)

    def _screen(self, frame: Frame) -> PeerRecord | None:
        return self._peers.screen(frame, time.time_ns() // 1_000_000)

    async def _take(self, frame: Frame, news: PeerRecord | None, caller: Caller) -> None:
        """Keep ``news``, which is what the frame says if that is not known yet; what is known proves its bearer."""

        def is_news() -> bool:
            return self._screen(frame) is not None

        if news is not None and await self._checks.check(frame, caller, is_news):
            self._peers.accept(news, frame)
        self._peers.prove(caller.peer, frame)
