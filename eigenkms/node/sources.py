"""Versions of the master key that were settled while this node did not take part: asked for at the other operators, and dealt from.

A version is learnt if its peer proves that it is settled, the chain confirms its operators, and it is higher than ours.
"""

import logging
from collections.abc import Iterable
from typing import Final

import trio

from eigenkms.chain.epochs import verify_epoch
from eigenkms.chain.reader import EigenLayerChain
from eigenkms.errors import EigenKmsError
from eigenkms.node import story
from eigenkms.node.engine import Engine
from eigenkms.node.links import Links
from eigenkms.node.peers import PeerBook
from eigenkms.node.versions import Versions
from eigenkms.p2p.host import Host
from eigenkms.p2p.identity import PeerId
from eigenkms.protocols import wire
from eigenkms.protocols.requests import Epoch, check_settled, decode_settled
from eigenkms.types import ClusterId

ASK_SECONDS: Final = 2.0
log = logging.getLogger(__name__)


class Sources:
    """Finds and learns them. ``window`` is the protocol's, in seconds."""

    def __init__(
        self,
        chain: EigenLayerChain,
        cluster: ClusterId,
        host: Host,
        peers: PeerBook,
        versions: Versions,
        engine: Engine,
        links: Links,
        window: float,
    ) -> None:
        self._chain = chain
        self._cluster = cluster
        self._host = host
        self._peers = peers
        self._versions = versions
        self._engine = engine
        self._links = links
        self._window = window
        self._refused: set[bytes] = set()

    async def learn(self) -> None:
        """Whoever deals from a version that this node does not know is asked to prove that it is settled."""
        pause = min(max(self._window / 4, 0.25), 5.0)
        while True:
            peers = [self._peers.peer_of(operator) for operator in await self._engine.unknown_sources()]
            await self._ask_each([peer for peer in peers if peer is not None])
            await trio.sleep(pause)

    async def find(self) -> None:
        """A node that knows no version asks one operator after another, until one has been made or is learnt."""
        turn = 0
        while not self._engine.has_source:
            await trio.sleep(min(max(self._window, 1.0), 10.0))
            bound = self._bound()
            if bound and not self._engine.has_source:
                await self._ask_one(bound[turn % len(bound)])
                turn += 1

    async def ask_all(self) -> None:
        """Ask every connected operator at once."""
        await self._ask_each(self._bound())

    def _bound(self) -> list[PeerId]:
        """Connected peers that proved which operator they are."""
        return [p for p in sorted(self._host.connected()) if self._peers.operator_of(p) is not None]

    async def _ask_each(self, peers: Iterable[PeerId]) -> None:
        """Ask all of them at once whether a version exists that this node missed."""
        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(self._ask_one, peer)

    async def _ask_one(self, peer: PeerId) -> None:
        """The highest settled version of ``peer``."""
        try:
            answer = await self._host.call(
                peer, wire.OPERATOR_PROTOCOL, wire.SETTLED, self._links.record.encoded, timeout=ASK_SECONDS
            )
            epoch, proof = await trio.to_thread.run_sync(decode_settled, answer)
            known = self._versions.newest_settled
            if known is not None and known.epoch.transcript.version >= epoch.transcript.version:
                return
            found = await verify_epoch(self._chain, self._cluster, epoch)
            await trio.to_thread.run_sync(check_settled, epoch, proof)
        except EigenKmsError as error:
            log.debug("settled version of %s: %s", peer, error)
            return
        if known is not None and known.epoch.transcript.mpk != epoch.transcript.mpk:
            self._refuse_other_key(peer, epoch)
            return
        log.info(
            "version %d of the master key was settled while this node did not take part; dealing from it now",
            epoch.transcript.version,
            extra=story.of(epoch.transcript.session, "learnt", version=int(epoch.transcript.version)),
        )
        self._peers.update(
            self._peers.operators,
            holders=epoch.transcript.recipients.addresses,
            former=found.operators,
        )
        self._links.refresh()
        await self._engine.learn(self._links, epoch, proof)

    def _refuse_other_key(self, peer: PeerId, epoch: Epoch) -> None:
        """Say once of each such version that it is not taken over."""
        transcript = epoch.transcript
        if transcript.hash in self._refused:
            return
        self._refused.add(transcript.hash)
        log.error(
            "peer %s shows a settled version %d with another master key than this node's, by operators of the chain: it is "
            "not taken over (keys have leaked, or this node was deceived: compare the master keys that the others serve)",
            peer,
            transcript.version,
            extra=story.of(transcript.session, "other-key", version=int(transcript.version)),
        )
