"""Synchronisation of versions that were made while the node did not take part.

The node queries other operators for their highest version, and adopts it if ``HeadVerifier`` accepts it. A peer's word counts for
nothing. The next sessions deal from an adopted version.
"""

import logging
from collections.abc import Iterable
from typing import Final

import trio

from eigenkms.errors import EigenKmsError
from eigenkms.node import log_fields
from eigenkms.node.engine.engine import Engine
from eigenkms.node.network.head_verifier import HeadVerifier
from eigenkms.node.network.operator_network import OperatorNetwork
from eigenkms.p2p.host import Host
from eigenkms.p2p.identity import PeerId
from eigenkms.wire import rpc_methods
from eigenkms.wire.rpc_methods import VersionHead, decode_head

QUERY_SECONDS: Final = 2.0
log = logging.getLogger(__name__)


class VersionSync:
    """Queries peers for their highest version, and adopts what is proven.

    ``window`` is the protocol window in seconds.
    """

    def __init__(
        self, verifier: HeadVerifier, host: Host, engine: Engine, network: OperatorNetwork, *, window: float
    ) -> None:
        self._verifier = verifier
        self._host = host
        self._engine = engine
        self._network = network
        self._window = window
        self._refused: set[bytes] = set()

    async def follow_unknown_bases(self) -> None:
        """Query each operator that deals from an unknown version, until cancelled."""
        pause = min(max(self._window / 4, 0.25), 5.0)
        while True:
            await self._query_each(self._network.peers_of(await self._engine.unknown_bases()))
            await trio.sleep(pause)

    async def bootstrap(self) -> None:
        """Query each operator when it is first connected.

        While no version is known, query one after another.
        """
        asked: set[PeerId] = set()
        turn = 0
        while True:
            await trio.sleep(min(max(self._window, 1.0), 10.0))
            bound = self._network.bound()
            fresh = set(bound) - asked
            asked |= fresh
            await self._query_each(fresh)
            if bound and not fresh and not self._engine.has_version:
                await self._query(bound[turn % len(bound)])
                turn += 1

    async def query_all(self) -> None:
        """Query all connected operators at the same time."""
        await self._query_each(self._network.bound())

    async def _query_each(self, peers: Iterable[PeerId]) -> None:
        """Query these peers at the same time."""
        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(self._query, peer)

    async def _query(self, peer: PeerId) -> None:
        """Adopt the highest version of a peer if it is new and proven."""
        try:
            answer = await self._host.call(
                peer, rpc_methods.OPERATOR_PROTOCOL, rpc_methods.HEAD, b"", timeout=QUERY_SECONDS
            )
            head = await trio.to_thread.run_sync(decode_head, answer)
            if not self._verifier.is_new(head):
                return
            holders = await self._verifier.verify(head)
        except EigenKmsError as error:
            log.debug("head of %s: %s", peer, error)
            return
        transcript = head.transcript
        if not self._verifier.has_known_key(head):
            self._refuse_other_key(peer, head)
            return
        log.info(
            "version %d of the master key was made while this node did not take part; dealing from it now",
            transcript.version,
            extra=log_fields.session_fields(transcript.session, "learnt", version=int(transcript.version)),
        )
        self._network.add_holders(holders)
        await self._engine.adopt_version(self._network, head)

    def _refuse_other_key(self, peer: PeerId, head: VersionHead) -> None:
        """Log each version of another master key once."""
        transcript = head.transcript
        if transcript.hash in self._refused:
            return
        self._refused.add(transcript.hash)
        log.error(
            "peer %s shows a version %d with another master key than this node's, by operators of the chain: it is not taken "
            "over (keys have leaked, or this node was deceived: compare the master keys that the others serve)",
            peer,
            transcript.version,
            extra=log_fields.session_fields(transcript.session, "other-key", version=int(transcript.version)),
        )
