"""Peer records: this node's own, and the ones that other peers hand over."""

import logging
import time

from eigenkms.errors import RemoteProtocolError
from eigenkms.node.network.peer_book import PeerBook
from eigenkms.node.network.signature_checks import Caller, SignatureChecks
from eigenkms.p2p.errors import RpcRefusal
from eigenkms.p2p.identity import PeerId
from eigenkms.p2p.types import Request
from eigenkms.wire import rpc_methods
from eigenkms.wire.client_rpc import MAX_RECORDS
from eigenkms.wire.frames import Frame, decode_frame
from eigenkms.wire.peer_record import PeerRecord

log = logging.getLogger(__name__)


class PeerRecordService:
    """Exchanges peer records. ``own`` is this node's signed record."""

    def __init__(self, peers: PeerBook, checks: SignatureChecks, own: Frame) -> None:
        self._peers = peers
        self._checks = checks
        self.own = own

    def records(self) -> list[Frame]:
        """Return this node's own record, and all that are known."""
        return [self.own, *self._peers.records()]

    async def hello(self, request: Request) -> bytes:
        """Accept the caller's record, and return all records.

        The record must name the peer that calls. Raises ``RpcRefusal``, ``RemoteProtocolError``.
        """
        frame = decode_frame(request.body)
        record = self._check_fresh(frame)
        if record is not None and PeerId(record.peer_id) != request.peer:
            raise RpcRefusal("wrong-peer", "the record names another peer than the one that sent it")
        await self._accept(frame, record, Caller.of(request))
        return rpc_methods.encode_frames(self.records())

    async def take_records(self, data: bytes, source: PeerId) -> None:
        """Accept the records of an answer to ``hello``.

        The record of ``source`` authenticates it; the others say where their operators are. A record that is refused is passed
        over, and so are those beyond ``MAX_RECORDS``. Raises ``MalformedError`` if the answer is no list.
        """
        for encoded in rpc_methods.decode_frames(data)[:MAX_RECORDS]:
            try:
                frame = decode_frame(encoded)
                await self._accept(frame, self._check_fresh(frame), Caller(source))
            except (RemoteProtocolError, RpcRefusal) as error:
                log.debug("peer record refused: %s", error)

    def _check_fresh(self, frame: Frame) -> PeerRecord | None:
        return self._peers.check_fresh(frame, time.time_ns() // 1_000_000)

    async def _accept(self, frame: Frame, fresh: PeerRecord | None, caller: Caller) -> None:
        """Keep ``fresh``, the frame's record if it is not known yet.

        A known record authenticates its bearer.
        """

        def is_fresh() -> bool:
            return self._check_fresh(frame) is not None

        if fresh is not None and await self._checks.check(frame, caller, is_fresh):
            self._peers.accept(fresh, frame)
        self._peers.mark_authenticated(caller.peer, frame)
