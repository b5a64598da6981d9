"""Links: keep connected to every operator, learn which peer is which, pull what gossip lost, push the bodies of dealings.

Three loops over one peer book: *greet* says hello to connected peers that have not proven who they are, *pull* asks bound peers,
one after another, for frames of the sessions under way, *listen* feeds gossip to the engine. A fourth one hands bodies over: a
session takes one message delay for a dealing, not three as if each member asked for the body once it has the header.
"""

import logging
import random
from collections.abc import Hashable, Mapping
from itertools import count

import trio

from eigenkms.errors import EigenKmsError, NetworkError, RefusedError, RemoteProtocolError
from eigenkms.node import log_fields
from eigenkms.node.authorisation.rate_limiter import RateLimiter
from eigenkms.node.engine import Engine
from eigenkms.node.frame_queue import MAX_FRAMES
from eigenkms.node.network.dealing_fetcher import DealingFetcher
from eigenkms.node.network.peer_book import PeerBook
from eigenkms.node.network.peer_records import PeerRecordService
from eigenkms.p2p.host import Host
from eigenkms.p2p.identity import PeerId
from eigenkms.protocols.wire import rpc_methods
from eigenkms.protocols.wire.frames import BROADCAST_KINDS, Frame, decode_frame
from eigenkms.protocols.wire.messages import slot_of
from eigenkms.protocols.wire.rpc_methods import CLIENT_PROTOCOL, HELLO, decode_frames
from eigenkms.protocols.wire.session import Session
from eigenkms.types import ClusterId

log = logging.getLogger(__name__)

GREET_SECONDS = 0.2
CALL_SECONDS = 5.0
MIN_PULL_SECONDS, MAX_PULL_SECONDS = 0.25, 5.0
MAX_PULLS = 2
MAX_PUSHES = 16
"""Bodies on their way at once."""
GOSSIP_RATE, GOSSIP_BURST = 64, MAX_FRAMES
"""Frames of one operator a second that are taken and passed on, and at once: what it says in a session of the largest set, twice a
minute. Those beyond are pulled, if they are good.
"""
MAX_WAITING = 4096
"""Pushes that wait. Those beyond are left out, and their recipients fetch the body."""


class OperatorNetwork:
    """The node's side of the network; ``Outlet`` of the engine. Opened by ``run``."""

    def __init__(
        self, host: Host, peers: PeerBook, engine: Engine, greeter: PeerRecordService, cluster: ClusterId
    ) -> None:
        self._host = host
        self._peers = peers
        self._engine = engine
        self._greeter = greeter
        self._cluster = cluster
        self._topic = rpc_methods.gossip_topic(cluster)
        self._to_push, self._pushes = trio.open_memory_channel[tuple[PeerId, bytes]](MAX_WAITING)
        self._window = 1.0
        self._gossip_rates = RateLimiter(GOSSIP_RATE, GOSSIP_BURST, trio.current_time)
        self._dialled: Mapping[PeerId, tuple[str, ...]] = {}
        self._fetcher = DealingFetcher(host, peers, engine, self._pause)

    def set_window(self, window: float) -> None:
        """Pull four times a protocol window (seconds)."""
        self._window = window

    async def run(self) -> None:
        """All loops, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            nursery.start_soon(self._greet)
            nursery.start_soon(self._pull)
            nursery.start_soon(self._push)
            nursery.start_soon(self._fetcher.run, self)

    def refresh(self) -> None:
        """Dial whom the peer book names now, where it says, from where the chain says this node is."""
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
        """Connected peers that proved which operator they are."""
        return [p for p in sorted(self._host.connected()) if self._peers.operator_of(p) is not None]

    # -- outlet ----------------------------------------------------------------------------------------------

    async def broadcast(self, frame: Frame) -> None:
        await self._host.publish(self._topic, frame.encoded)

    async def publish(self, session: Session, name: bytes, body: bytes) -> None:
        """Push the body of my dealing to the members that are connected."""
        message = rpc_methods.encode_push(name, body)
        for peer in self.bound():
            operator = self._peers.operator_of(peer)
            if operator is None or session.recipients.get(operator) is None:
                continue
            try:
                self._to_push.send_nowait((peer, message))
            except trio.WouldBlock:
                log.debug("body of dealing %s to %s: too many wait", name.hex()[:16], peer)

    async def _push(self) -> None:
        async with trio.open_nursery() as nursery:
            places = trio.Semaphore(MAX_PUSHES)
            async for peer, message in self._pushes:
                await places.acquire()
                nursery.start_soon(self._push_one, peer, message, places)

    async def _push_one(self, peer: PeerId, message: bytes, places: trio.Semaphore) -> None:
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
        """The frame of a message that is worth passing on, by cheap checks: one that can be read, of this cluster, which its own
        operator gossips, and not too often: whatever one operator says, every member passes on to others.
        """
        try:
            frame = decode_frame(data)
            if frame.cluster != self._cluster or frame.kind not in BROADCAST_KINDS:
                return None
            slot_of(frame)
        except RemoteProtocolError:
            return None
        if self._peers.key_of(frame.sender) is None or not self._peers.is_said_to_be(origin, frame.sender):
            return None
        return None if self._gossip_rates.acquire(frame.sender.hex()) else frame

    async def _listen(self) -> None:
        async for message in self._host.subscribe(self._topic, self._read_gossip):
            assert isinstance(message.content, Frame), "what the validator returned"
            self._engine.offer(self._source(message.origin), message.content)

    def _source(self, peer: PeerId) -> Hashable:
        """Whose place in the engine's queues is used: an operator has one, however many peer ids it makes."""
        return self._peers.operator_of(peer) or peer

    async def _greet(self) -> None:
        greeting: set[PeerId] = set()

        async def greet(peer: PeerId) -> None:
            try:
                await self._greet_one(peer)
            finally:
                greeting.discard(peer)

        before: frozenset[PeerId] = frozenset()
        async with trio.open_nursery() as nursery:
            while True:
                self.refresh()
                expected = frozenset(self._peers.expected())
                for peer in (before - expected) & self._host.connected():
                    log.info("disconnecting from %s: no operator is that peer any more", peer)
                    nursery.start_soon(self._host.part, peer)
                before = expected
                for peer in self._host.connected() & self._peers.expected().keys() - greeting:
                    if self._peers.operator_of(peer) is None:
                        greeting.add(peer)
                        nursery.start_soon(greet, peer)
                await trio.sleep(GREET_SECONDS)

    async def _greet_one(self, peer: PeerId) -> None:
        record = self._greeter.record
        assert record is not None, "links run once this node has its record"
        try:
            answer = await self._host.call(peer, CLIENT_PROTOCOL, HELLO, record.encoded, timeout=CALL_SECONDS)
            await self._greeter.take_records(answer, peer)
        except EigenKmsError as error:
            log.debug("hello to %s: %s", peer, error)

    async def _pull(self) -> None:
        """One peer after another; one that does not answer holds nobody up, and on a busy machine no more are asked than two."""
        pulling: set[PeerId] = set()

        async def pull(peer: PeerId) -> None:
            try:
                await self._pull_from(peer)
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
        """A quarter of a window, jittered so that nodes do not ask in step."""
        return min(max(self._window / 4, MIN_PULL_SECONDS), MAX_PULL_SECONDS) * random.uniform(0.8, 1.2)  # noqa: S311

    async def _pull_from(self, peer: PeerId) -> None:
        for request in await self._engine.sync_requests():
            try:
                answer = await self._host.call(
                    peer,
                    rpc_methods.OPERATOR_PROTOCOL,
                    rpc_methods.SYNC,
                    request.encoded,
                    timeout=CALL_SECONDS,
                )
                for data in decode_frames(answer):
                    self._engine.offer(self._source(peer), data)
            except EigenKmsError as error:
                log.debug(
                    "pull from %s: %s", peer, error, extra=log_fields.of(request.session, "pull-failed")
                )
