"""Synchronisation of versions that were made while the node did not take part.

The node queries other operators. It adopts a version if a certificate proves it, and if the chain confirms its operators. The
version is certified, or in a rotation at least prepared. A peer's word counts for nothing. The next sessions deal from an adopted
version.
"""

import logging
from collections.abc import Iterable
from typing import Final

import trio

from eigenkms.chain.certificate_check import verify_holders
from eigenkms.chain.operator_set_source import OperatorSetSource
from eigenkms.errors import EigenKmsError, VerificationError
from eigenkms.node import log_fields
from eigenkms.node.engine.engine import Engine
from eigenkms.node.key_versions import Versions
from eigenkms.node.network.operator_network import OperatorNetwork
from eigenkms.node.network.peer_book import PeerBook
from eigenkms.p2p.host import Host
from eigenkms.p2p.identity import PeerId
from eigenkms.protocols.wire import rpc_methods
from eigenkms.protocols.wire.rpc_methods import VersionHead, check_head, decode_head
from eigenkms.protocols.wire.session import Parameters
from eigenkms.protocols.wire.transcript import Transcript
from eigenkms.types import ClusterId

QUERY_SECONDS: Final = 2.0
log = logging.getLogger(__name__)


class VersionSync:
    """Queries peers for their highest version, and adopts what is proven."""

    def __init__(
        self,
        chain: OperatorSetSource,
        cluster: ClusterId,
        host: Host,
        peers: PeerBook,
        versions: Versions,
        engine: Engine,
        network: OperatorNetwork,
        parameters: Parameters,
    ) -> None:
        self._chain = chain
        self._cluster = cluster
        self._host = host
        self._peers = peers
        self._versions = versions
        self._engine = engine
        self._network = network
        self._window = parameters.window
        self._min_operators = parameters.min_operators
        self._refused: set[bytes] = set()

    async def follow_unknown_bases(self) -> None:
        """Query each operator that deals from an unknown version, until cancelled."""
        pause = min(max(self._window / 4, 0.25), 5.0)
        while True:
            peers = [self._peers.peer_of(operator) for operator in await self._engine.unknown_bases()]
            await self._query_each([peer for peer in peers if peer is not None])
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
            if not self._is_new(head):
                return
            transcript = head.transcript
            self._check_size(transcript)
            await trio.to_thread.run_sync(check_head, head, self._cluster)
            found = await verify_holders(
                self._chain, transcript.boundary, transcript.recipients, "verify head"
            )
        except EigenKmsError as error:
            log.debug("head of %s: %s", peer, error)
            return
        known = self._versions.newest
        if known is not None and known.epoch.transcript.mpk != transcript.mpk:
            self._refuse_other_key(peer, head)
            return
        log.info(
            "version %d of the master key was made while this node did not take part; dealing from it now",
            transcript.version,
            extra=log_fields.session_fields(transcript.session, "learnt", version=int(transcript.version)),
        )
        self._peers.update(
            self._peers.operators, holders=transcript.recipients.addresses, former=found.operators
        )
        self._network.refresh()
        await self._engine.adopt_version(self._network, head)

    def _is_new(self, head: VersionHead) -> bool:
        """Return whether a head is higher than what is known, or certifies it."""
        known = self._versions.known()
        if any(held.is_certified and self._is_as_high(held.epoch.transcript, head) for held in known):
            return False
        certificates = {held.epoch.certificate.encoded for held in known}
        return head.certificate.encoded not in certificates

    def _check_size(self, transcript: Transcript) -> None:
        """Raise ``VerificationError`` if the version has too few recipients.

        Before a cluster is complete, the chain confirms a set of one operator too.
        """
        count = len(transcript.recipients)
        if count < self._min_operators:
            raise VerificationError(
                f"verify head: it has {count} recipients, fewer than the {self._min_operators} of min_operators"
            )

    @staticmethod
    def _is_as_high(known: Transcript, head: VersionHead) -> bool:
        """Compare by time or by block number.

        The signers choose a version's time; the chain confirms its number alone.
        """
        made = head.transcript
        return known.version >= made.version or known.boundary.number >= made.boundary.number

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
