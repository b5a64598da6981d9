"""Calls to operators: the peer that is dialled for an operator, and the deadline.

The lowest layer of the client (docs/protocol.md, Clients). It has the operator set of today, from the chain, and the addresses that
operators published since. An answer proves nothing by itself. The layers above verify it, against the chain if that is needed.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from eigenkms.chain.certificate_check import verify_epoch
from eigenkms.chain.config import ChainConfig
from eigenkms.chain.operator_set import RawOperatorSet
from eigenkms.chain.operator_set_source import OperatorSetSource, open_chain
from eigenkms.client.address_book import AddressBook, PeerLocation
from eigenkms.errors import NetworkError
from eigenkms.p2p.host import Host, open_host
from eigenkms.p2p.identity import PeerKey
from eigenkms.types import Cluster, OperatorAddress, to_hex
from eigenkms.wire.certified_transcript import CertifiedTranscript
from eigenkms.wire.rpc_methods import CLIENT_PROTOCOL
from eigenkms.wire.session import cluster_id


class ClientTransport:
    """Connections to the operators of one cluster, opened on demand and kept."""

    def __init__(self, cluster: Cluster, chain: OperatorSetSource, host: Host) -> None:
        self.cluster = cluster_id(cluster)
        self.chain = chain
        self.address_book = AddressBook(self.cluster, ())
        self._host = host

    async def refresh(self) -> RawOperatorSet:
        """Read the operator set of today; dial its members from now on.

        Raises ``ChainError``.
        """
        found = await self.chain.operators_at(await self.chain.head())
        self.address_book.set_operators(found.operators)
        self._host.set_home(self.address_book.home)
        return found

    @property
    def operators(self) -> tuple[OperatorAddress, ...]:
        """The operators of today, as of the last ``refresh``; none before the first."""
        return self.address_book.operators

    def peer_of(self, operator: OperatorAddress) -> PeerLocation | None:
        """Return the peer and the addresses that are dialled for an operator.

        None if it has no usable address.
        """
        return self.address_book.peer_of(operator)

    async def call(
        self,
        operator: OperatorAddress,
        method: str,
        body: bytes,
        timeout: float,  # noqa: ASYNC109 - the deadline is part of the call
    ) -> bytes:
        """Call ``method`` of one operator within ``timeout`` seconds; return the answer.

        Raises ``NetworkError``, also for an operator without a usable address; ``CallRefusedError`` if the operator refuses.
        """
        peer = self.peer_of(operator)
        if peer is None:
            reason = self.address_book.describe_missing_peer(operator)
            raise NetworkError(f"call operator {to_hex(operator)}: {reason}")
        self._host.set_addresses(*peer)
        return await self._host.call(peer[0], CLIENT_PROTOCOL, method, body, timeout=timeout)

    async def verify(self, epoch: CertifiedTranscript) -> RawOperatorSet:
        """Return the operator set at the version's block, read from the chain.

        Raises ``VerificationError`` unless that set certified ``epoch``; ``ChainError`` if the chain cannot be read.
        """
        return await verify_epoch(self.chain, self.cluster, epoch)


@asynccontextmanager
async def open_transport(config: ChainConfig) -> AsyncIterator[ClientTransport]:
    """Open a transport with an ephemeral peer id of its own, connected on demand.

    Raises ``ChainError`` if the chain is not the configured one.
    """
    async with open_chain(config) as chain, open_host(PeerKey.generate()) as host:
        yield ClientTransport(config.cluster, chain, host)
