"""Versions of the master key that were made while this node did not take part: asked for at the other operators, and dealt from.

A version is learnt if a certificate proves that it is certified, or in a rotation at least prepared, and the chain confirms its
operators. A peer's word counts for nothing.
"""

import logging
from collections.abc import Iterable
from typing import Final

import trio

from eigenkms.chain.certificate_check import verify_holders
from eigenkms.chain.operator_set_source import OperatorSetSource
from eigenkms.errors import EigenKmsError, VerificationError
from eigenkms.node import log_fields
from eigenkms.node.engine import Engine
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

ASK_SECONDS: Final = 2.0
log = logging.getLogger(__name__)


class VersionSync:
    """Finds and learns them."""

    def __init__(
        self,
        chain: OperatorSetSource,
        cluster: ClusterId,
        host: Host,
        peers: PeerBook,
        versions: Versions,
        engine: Engine,
        links: OperatorNetwork,
        parameters: Parameters,
    ) -> None:
        self._chain = chain
        self._cluster = cluster
        self._host = host
        self._peers = peers
        self._versions = versions
        self._engine = engine
        self._links = links
        self._window = parameters.window
        self._min_operators = parameters.min_operators
        self._refused: set[bytes] = set()

    async def learn(self) -> None:
        """Whoever deals from a version that this node does not know is asked to prove it."""
        pause = min(max(self._window / 4, 0.25), 5.0)
        while True:
            peers = [self._peers.peer_of(operator) for operator in await self._engine.unknown_sources()]
            await self._ask_each([peer for peer in peers if peer is not None])
            await trio.sleep(pause)

    async def find(self) -> None:
        """Ask each operator once, when it is first connected; and one after another while this node knows no version."""
        asked: set[PeerId] = set()
        turn = 0
        while True:
            await trio.sleep(min(max(self._window, 1.0), 10.0))
            bound = self._links.bound()
            fresh = set(bound) - asked
            asked |= fresh
            await self._ask_each(fresh)
            if bound and not fresh and not self._engine.has_version:
                await self._ask_one(bound[turn % len(bound)])
                turn += 1

    async def ask_all(self) -> None:
        """Ask every connected operator at once."""
        await self._ask_each(self._links.bound())

    async def _ask_each(self, peers: Iterable[PeerId]) -> None:
        """Ask all of them at once whether a version exists that this node missed."""
        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(self._ask_one, peer)

    async def _ask_one(self, peer: PeerId) -> None:
        """The highest version of ``peer``."""
        try:
            answer = await self._host.call(
                peer, rpc_methods.OPERATOR_PROTOCOL, rpc_methods.HEAD, b"", timeout=ASK_SECONDS
            )
            head = await trio.to_thread.run_sync(decode_head, answer)
            if not self._is_news(head):
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
            extra=log_fields.of(transcript.session, "learnt", version=int(transcript.version)),
        )
        self._peers.update(
            self._peers.operators, holders=transcript.recipients.addresses, former=found.operators
        )
        self._links.refresh()
        await self._engine.learn(self._links, head)

    def _is_news(self, head: VersionHead) -> bool:
        """Whether it is higher than what is known here, or certifies what is known to be prepared."""
        known = self._versions.known()
        if any(held.is_certified and self._is_as_high(held.epoch.transcript, head) for held in known):
            return False
        certificates = {held.epoch.certificate.encoded for held in known}
        return head.certificate.encoded not in certificates

    def _check_size(self, transcript: Transcript) -> None:
        """Raise ``VerificationError`` for a set that is never dealt to: before a cluster is complete, one operator may be a set."""
        count = len(transcript.recipients)
        if count < self._min_operators:
            raise VerificationError(
                f"verify head: it has {count} recipients, fewer than the {self._min_operators} of min_operators"
            )

    @staticmethod
    def _is_as_high(known: Transcript, head: VersionHead) -> bool:
        """By time, or by block number: whoever signs a version chooses its time, and the chain is asked for its number alone."""
        made = head.transcript
        return known.version >= made.version or known.boundary.number >= made.boundary.number

    def _refuse_other_key(self, peer: PeerId, head: VersionHead) -> None:
        """Say once of each such version that it is not taken over."""
        transcript = head.transcript
        if transcript.hash in self._refused:
            return
        self._refused.add(transcript.hash)
        log.error(
            "peer %s shows a version %d with another master key than this node's, by operators of the chain: it is not taken "
            "over (keys have leaked, or this node was deceived: compare the master keys that the others serve)",
            peer,
            transcript.version,
            extra=log_fields.of(transcript.session, "other-key", version=int(transcript.version)),
        )
