"""The operator network: connections to every operator, gossip, sync, and bodies.

Four loops run over one peer book:

- *identify* says hello to connected peers that are not authenticated yet;
- *sync* asks authenticated peers, one after another, for frames of the sessions in progress that gossip lost;
- *receive gossip* feeds gossip to the engine;
- *send bodies* pushes the bodies of this operator's dealings. So a dealing takes one message delay. It would take three if each
  member fetched the body after the header.
"""

import logging
import random
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import count

import trio

from eigenkms.chain.operator_set import ChainOperator
from eigenkms.errors import EigenKmsError, NetworkError, RefusedError, RemoteProtocolError
from eigenkms.node import log_fields
from eigenkms.node.engine.engine import Engine
from eigenkms.node.engine.frame_queue import MAX_FRAMES
from eigenkms.node.network.dealing_fetcher import DealingFetcher
from eigenkms.node.network.peer_book import PeerBook
from eigenkms.node.network.peer_records import PeerRecordService
from eigenkms.p2p.host import Host
from eigenkms.p2p.identity import PeerId
from eigenkms.rate_limiter import RateLimiter
from eigenkms.types import ClusterId, OperatorAddress
from eigenkms.wire import rpc_methods
from eigenkms.wire.frames import BROADCAST_KINDS, Frame, decode_frame
from eigenkms.wire.messages import slot_of
from eigenkms.wire.rpc_methods import CLIENT_PROTOCOL, HELLO, decode_frames
from eigenkms.wire.session import Session

log = logging.getLogger(__name__)

GREET_SECONDS = 0.2
CALL_SECONDS = 5.0
MIN_PULL_SECONDS, MAX_PULL_SECONDS = 0.25, 5.0
MAX_PULLS = 2
MAX_PUSHES = 16
"""Bodies that are sent at the same time."""
GOSSIP_RATE, GOSSIP_BURST = 64, MAX_FRAMES
"""Frames of one operator that are taken and passed on: a second, and at once.

An operator sends so many in a session of the largest set, twice a minute. Good ones beyond are synced.
"""
MAX_WAITING = 4096
"""Pushes that may wait. Beyond it a push is left out, and its recipient fetches the body."""


class OperatorNetwork:
    """The ``FrameSink`` of the engine. ``window`` is the protocol window in seconds."""

    def __init__(
        self,
        host: Host,
        peers: PeerBook,
        engine: Engine,
        records: PeerRecordService,
        cluster: ClusterId,
        *,
        window: float,
    ) -> None:
        self._host = host
        self._peers = peers
        self._engine = engine
        self._records = records
        self._cluster = cluster
        self._topic = rpc_methods.gossip_topic(cluster)
        self._to_push, self._pushes = trio.open_memory_channel[tuple[PeerId, bytes]](MAX_WAITING)
        self._window = window
        self._gossip_rates = RateLimiter(GOSSIP_RATE, GOSSIP_BURST, trio.current_time)
        self._dialled: Mapping[PeerId, tuple[str, ...]] = {}
        self._fetcher = DealingFetcher(host, peers, engine, self._pause)

    async def run(self) -> None:
        """Run all loops until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._receive_gossip)
            nursery.start_soon(self._identify_peers)
            nursery.start_soon(self._sync)
            nursery.start_soon(self._send_bodies)
            nursery.start_soon(self._fetcher.run, self)

    def refresh(self) -> None:
        """Connect to the peers that the peer book names now, and disconnect others."""
        self._host.set_home(self._peers.home)
        expected = self._peers.expected()
        if expected is self._dialled:
            return
        for peer, addresses in expected.items():
            self._host.set_addresses(peer, addresses)
        self._host.keep_connected(set(expected))
        for peer in self._dialled.keys() - expected.keys():
            self._host.set_addresses(peer, ())
        self._dialled = expected

    def bound(self) -> list[PeerId]:
        """Return the connected peers that are authenticated, ascending."""
        return [p for p in sorted(self._host.connected()) if self._peers.operator_of(p) is not None]

    def peers_of(self, operators: Iterable[OperatorAddress]) -> list[PeerId]:
        """Return the peers of those operators of which one is known."""
        peers = map(self._peers.peer_of, operators)
        return [peer for peer in peers if peer is not None]

    def add_holders(self, holders: Sequence[ChainOperator]) -> None:
        """Connect to the holders of a version too, members of today's set or not."""
        self._peers.update(self._peers.operators, holders=[each.address for each in holders], former=holders)
        self.refresh()

    # -- frame sink ----------------------------------------------------------------------------------------------

    async def broadcast(self, frame: Frame) -> None:
        await self._host.publish(self._topic, frame.encoded)

    async def publish(self, session: Session, name: bytes, body: bytes) -> None:
        """Push the body of this operator's dealing to the connected members."""
        message = rpc_methods.encode_push(name, body)
        for peer in self.bound():
            operator = self._peers.operator_of(peer)
            if operator is None or session.recipients.get(operator) is None:
                continue
            try:
                self._to_push.send_nowait((peer, message))
            except trio.WouldBlock:
                log.debug("body of dealing %s to %s: too many wait", name.hex()[:16], peer)

    async def _send_bodies(self) -> None:
        async with trio.open_nursery() as nursery:
            places = trio.Semaphore(MAX_PUSHES)
            async for peer, message in self._pushes:
                await places.acquire()
                nursery.start_soon(self._send_body, peer, message, places)

    async def _send_body(self, peer: PeerId, message: bytes, places: trio.Semaphore) -> None:
        try:
            await self._host.call(
                peer, rpc_methods.OPERATOR_PROTOCOL, rpc_methods.PUSH, message, timeout=CALL_SECONDS
            )
        except (NetworkError, RefusedError) as error:
            log.debug("body of dealing %s to %s: %s; it will be fetched", message[:8].hex(), peer, error)
        finally:
            places.release()

    # -- loops -----------------------------------------------------------------------------------------------

    def _read_gossip(self, origin: PeerId, data: bytes) -> Frame | None:
        """Return the frame of a message if it is worth passing on, else None.

        The checks are cheap: the frame decodes, is of this cluster, comes from its own operator, and not too often. The rate
        matters, as every member passes each frame on to others.
        """
        try:
            frame = decode_frame(data)
            if frame.cluster != self._cluster or frame.kind not in BROADCAST_KINDS:
                return None
            slot_of(frame)
        except RemoteProtocolError:
            return None
        if self._peers.key_of(frame.sender) is None or not self._peers.is_claimed_peer(origin, frame.sender):
            return None
        return None if self._gossip_rates.acquire(frame.sender.hex()) else frame

    async def _receive_gossip(self) -> None:
        async for message in self._host.subscribe(self._topic, self._read_gossip):
            assert isinstance(message.content, Frame), "what the validator returned"
            self._engine.submit(self._origin_of(message.origin), message.content)

    def _origin_of(self, peer: PeerId) -> Hashable:
        """Return the owner of a queue in the engine: one for all peers of an operator."""
        return self._peers.operator_of(peer) or peer

    async def _identify_peers(self) -> None:
        greeting: set[PeerId] = set()

        async def greet(peer: PeerId) -> None:
            try:
                await self._identify_peer(peer)
            finally:
                greeting.discard(peer)

        before: frozenset[PeerId] = frozenset()
        async with trio.open_nursery() as nursery:
            while True:
                self.refresh()
                expected = frozenset(self._peers.expected())
                for peer in (before - expected) & self._host.connected():
                    log.info("disconnecting from %s: no operator is that peer any more", peer)
                    nursery.start_soon(self._host.disconnect, peer)
                before = expected
                for peer in self._host.connected() & self._peers.expected().keys() - greeting:
                    if self._peers.operator_of(peer) is None:
                        greeting.add(peer)
                        nursery.start_soon(greet, peer)
                await trio.sleep(GREET_SECONDS)

    async def _identify_peer(self, peer: PeerId) -> None:
        own = self._records.own.encoded
        try:
            answer = await self._host.call(peer, CLIENT_PROTOCOL, HELLO, own, timeout=CALL_SECONDS)
            await self._records.take_records(answer, peer)
        except EigenKmsError as error:
            log.debug("hello to %s: %s", peer, error)

    async def _sync(self) -> None:
        """Sync with one peer after another, with ``MAX_PULLS`` at the same time.

        So a peer that does not answer delays no other.
        """
        pulling: set[PeerId] = set()

        async def pull(peer: PeerId) -> None:
            try:
                await self._sync_with(peer)
            finally:
                pulling.discard(peer)

        async with trio.open_nursery() as nursery:
            for turn in count():
                await trio.sleep(self._pause())
                free = [peer for peer in self.bound() if peer not in pulling]
                if self._engine.live and free and len(pulling) < MAX_PULLS:
                    chosen = free[turn % len(free)]
                    pulling.add(chosen)
                    nursery.start_soon(pull, chosen)

    def _pause(self) -> float:
        """Return a quarter of a window, jittered so that nodes do not ask in step."""
        return min(max(self._window / 4, MIN_PULL_SECONDS), MAX_PULL_SECONDS) * random.uniform(0.8, 1.2)  # noqa: S311

    async def _sync_with(self, peer: PeerId) -> None:
        for request in await self._engine.queries.sync_requests():
            try:
                answer = await self._host.call(
                    peer,
                    rpc_methods.OPERATOR_PROTOCOL,
                    rpc_methods.SYNC,
                    request.encoded,
                    timeout=CALL_SECONDS,
                )
                for data in decode_frames(answer):
                    self._engine.submit(self._origin_of(peer), data)
            except EigenKmsError as error:
                log.debug(
                    "pull from %s: %s",
                    peer,
                    error,
                    extra=log_fields.session_fields(request.session, "pull-failed"),
                )
