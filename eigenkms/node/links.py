"""Links: keep connected to every operator, learn which peer is which, pull what gossip lost.

Three loops over one peer book: *greet* says hello to connected peers that have not proven who they are, *pull* asks bound peers,
one after another, for frames of the sessions under way, *listen* feeds gossip to the engine.
"""

import logging
import random
from itertools import count, islice

import trio

from eigenkms.errors import EigenKmsError, NetworkError, RefusedError, RemoteProtocolError
from eigenkms.node import story
from eigenkms.node.engine import Engine
from eigenkms.node.peers import PeerBook
from eigenkms.node.services import Services
from eigenkms.p2p.host import Host
from eigenkms.p2p.identity import PeerId
from eigenkms.protocols import wire
from eigenkms.protocols.frames import BROADCAST_KINDS, Frame, decode_frame
from eigenkms.types import ClusterId, OperatorAddress

log = logging.getLogger(__name__)

GREET_SECONDS = 0.2
CALL_SECONDS = 5.0
MIN_PULL_SECONDS, MAX_PULL_SECONDS = 0.25, 5.0
MAX_ASKED = 4
"""Dealers asked at once for shares that did not come."""
MAX_DIRECT = 64
"""Direct frames on their way at once; more wait, which is their recipients' cue to pull."""


class Links:
    """The node's side of the network; ``Outlet`` of the engine. Opened by ``run``."""

    def __init__(
        self,
        host: Host,
        peers: PeerBook,
        engine: Engine,
        services: Services,
        cluster: ClusterId,
        record: Frame,
    ) -> None:
        self._host = host
        self._peers = peers
        self._engine = engine
        self._services = services
        self._cluster = cluster
        self.record = record
        """This node's own peer record."""
        self._topic = wire.gossip_topic(cluster)
        self._direct_send, self._direct_receive = trio.open_memory_channel[tuple[OperatorAddress, Frame]](
            MAX_DIRECT * 4
        )
        self._window = 1.0

    def pace(self, window: float) -> None:
        """Pull four times a protocol window (seconds)."""
        self._window = window

    async def run(self) -> None:
        """All loops, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            nursery.start_soon(self._greet)
            nursery.start_soon(self._pull)
            nursery.start_soon(self._deliver)

    def refresh(self) -> None:
        """Dial whom the peer book names now."""
        expected = self._peers.expected()
        for peer, addresses in expected.items():
            self._host.set_addresses(peer, addresses)
        self._host.keep_connected(set(expected))

    # -- outlet ----------------------------------------------------------------------------------------------

    async def broadcast(self, frame: Frame) -> None:
        await self._host.publish(self._topic, frame.encoded)

    async def direct(self, recipient: OperatorAddress, frame: Frame) -> None:
        try:
            self._direct_send.send_nowait((recipient, frame))
        except trio.WouldBlock:
            self._tell_undelivered(recipient, frame, "too many wait")

    async def _deliver(self) -> None:
        async with trio.open_nursery() as nursery:
            places = trio.Semaphore(MAX_DIRECT)
            async for recipient, frame in self._direct_receive:
                await places.acquire()
                nursery.start_soon(self._deliver_one, recipient, frame, places)

    async def _deliver_one(self, recipient: OperatorAddress, frame: Frame, places: trio.Semaphore) -> None:
        try:
            peer = self._peers.peer_of(recipient)
            if peer is not None:
                await self._host.call(
                    peer, wire.OPERATOR_PROTOCOL, wire.FRAME, frame.encoded, timeout=CALL_SECONDS
                )
        except (NetworkError, RefusedError) as error:
            self._tell_undelivered(recipient, frame, str(error))
        finally:
            places.release()

    @staticmethod
    def _tell_undelivered(recipient: OperatorAddress, frame: Frame, why: str) -> None:
        text, extra = "direct frame to 0x%s: %s; it will be pulled", story.of(frame.session, "undelivered")
        log.debug(text, recipient.hex(), why, extra=extra)

    # -- loops -----------------------------------------------------------------------------------------------

    def _acceptable(self, origin: PeerId, data: bytes) -> bool:
        """Cheap checks before a message is passed on: a broadcast frame of this cluster, which its own operator gossips."""
        try:
            frame = decode_frame(data)
        except RemoteProtocolError:
            return False
        if frame.cluster != self._cluster or frame.kind not in BROADCAST_KINDS:
            return False
        return self._peers.key_of(frame.sender) is not None and self._peers.is_said_to_be(
            origin, frame.sender
        )

    async def _listen(self) -> None:
        async for message in self._host.subscribe(self._topic, self._acceptable):
            self._engine.offer(message.origin, message.data)

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
                    log.info("parting from %s: no operator is that peer any more", peer)
                    nursery.start_soon(self._host.part, peer)
                before = expected
                for peer in self._host.connected() & self._peers.expected().keys() - greeting:
                    if self._peers.operator_of(peer) is None:
                        greeting.add(peer)
                        nursery.start_soon(greet, peer)
                await trio.sleep(GREET_SECONDS)

    async def _greet_one(self, peer: PeerId) -> None:
        try:
            answer = await self._host.call(
                peer, wire.CLIENT_PROTOCOL, wire.HELLO, self.record.encoded, timeout=CALL_SECONDS
            )
            await self._services.take_records(answer, peer)
        except EigenKmsError as error:
            log.debug("hello to %s: %s", peer, error)

    async def _pull(self) -> None:
        for turn in count():
            await trio.sleep(self._pause())
            bound = [p for p in sorted(self._host.connected()) if self._peers.operator_of(p) is not None]
            if not self._engine.live or not bound:
                continue
            wanted = {
                p for c in self._engine.live for a in c.lacking if (p := self._peers.peer_of(a)) in bound
            }
            asked = {bound[turn % len(bound)], *islice(sorted(wanted), MAX_ASKED)}
            async with trio.open_nursery() as nursery:
                for peer in asked:
                    nursery.start_soon(self._pull_from, peer)

    def _pause(self) -> float:
        """A quarter of a window, jittered so that nodes do not ask in step."""
        return min(max(self._window / 4, MIN_PULL_SECONDS), MAX_PULL_SECONDS) * random.uniform(0.8, 1.2)  # noqa: S311

    async def _pull_from(self, peer: PeerId) -> None:
        for request in await self._engine.sync_requests():
            try:
                answer = await self._host.call(
                    peer, wire.OPERATOR_PROTOCOL, wire.SYNC, request.encoded, timeout=CALL_SECONDS
                )
                for data in wire.decode_frames(answer):
                    self._engine.offer(peer, data)
            except EigenKmsError as error:
                log.debug("pull from %s: %s", peer, error, extra=story.of(request.session, "pull-failed"))
