"""A snapshot of the network: the operator set, and each operator's newest version.

An operator compares its backup or its share with it. Each version is verified against the chain: a dishonest operator can hide the
newest version, and cannot make one up. No stale backup looks good as long as one honest recipient answers.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import trio

from eigenkms.chain.operator_set import ChainOperator
from eigenkms.client.settings import ClientSettings
from eigenkms.client.transport import ClientTransport, open_transport
from eigenkms.client.version_discovery import statements_needed
from eigenkms.errors import EigenKmsError
from eigenkms.p2p.errors import CallRefusedError
from eigenkms.types import OperatorAddress, Version
from eigenkms.wire.certified_transcript import CertifiedTranscript
from eigenkms.wire.client_rpc import decode_info, encode_info_request
from eigenkms.wire.rpc_methods import INFO

ANSWER_SECONDS = 5.0
"""Timeout of the query to one operator."""
MAX_ATTEMPTS, PAUSE_SECONDS = 4, 1.0
"""How often operators are queried while they show different versions, and the pause between two queries."""


@dataclass
class NetworkSnapshot:
    """The operator set at block ``head``, and the answers of its members.

    ``answers``: the version that each operator shows; None if it knows none.
    """

    head: int
    operators: tuple[ChainOperator, ...]
    rejected: Mapping[OperatorAddress, str]
    answers: dict[OperatorAddress, CertifiedTranscript | None] = field(default_factory=dict)

    @property
    def newest(self) -> CertifiedTranscript | None:
        """The newest version that any operator shows."""
        shown = (epoch for epoch in self.answers.values() if epoch is not None)
        return max(shown, key=lambda epoch: epoch.transcript.version, default=None)

    @property
    def is_between_versions(self) -> bool:
        """Whether the operators that answer could deal, and too few show the newest."""
        newest = self.newest
        if newest is None:
            return False
        shown = [epoch.transcript.hash for epoch in self.answers.values() if epoch is not None]
        threshold = newest.transcript.threshold
        return len(shown) >= threshold > shown.count(newest.transcript.hash)

    def others(self, me: OperatorAddress) -> int:
        """Return how many operators other than ``me`` answered."""
        return len(self.answers.keys() - {me})

    @property
    def needed(self) -> int:
        """Answers of others of which one is honest, if fewer than a third are dishonest."""
        return statements_needed(len(self.operators))

    def showing(self, me: OperatorAddress, version: Version) -> int:
        """Return how many operators other than ``me`` show this version as the newest one."""
        return sum(
            epoch is not None and epoch.transcript.version == version and operator != me
            for operator, epoch in self.answers.items()
        )

    def holders(self, me: OperatorAddress) -> int:
        """Return how many other recipients of the newest version show it."""
        newest = self.newest
        if newest is None:
            return 0
        named = newest.transcript.recipients.addresses
        return sum(
            operator in named
            and operator != me
            and epoch is not None
            and epoch.transcript.hash == newest.transcript.hash
            for operator, epoch in self.answers.items()
        )


async def take_snapshot(settings: ClientSettings) -> NetworkSnapshot:
    """Read the operator set and query its members; again while versions change.

    Raises ``ChainError``.
    """
    snapshot = await _query_once(settings)
    for _ in range(MAX_ATTEMPTS - 1):
        if not snapshot.is_between_versions:
            break
        await trio.sleep(PAUSE_SECONDS)
        snapshot = await _query_once(settings)
    return snapshot


async def _query_once(settings: ClientSettings) -> NetworkSnapshot:
    async with open_transport(settings) as transport:
        found = await transport.refresh()
        snapshot = NetworkSnapshot(found.block.number, tuple(found.operators), dict(found.rejected))
        async with trio.open_nursery() as nursery:
            for operator in transport.operators:
                nursery.start_soon(_query, transport, operator, snapshot)
    return snapshot


async def _query(transport: ClientTransport, operator: OperatorAddress, snapshot: NetworkSnapshot) -> None:
    request = encode_info_request(transport.cluster, os.urandom(32))
    try:
        epoch = decode_info(await transport.call(operator, INFO, request, ANSWER_SECONDS)).epoch
        await transport.verify(epoch)
        snapshot.answers[operator] = epoch
    except CallRefusedError as refused:
        if refused.code == "no-version":
            snapshot.answers[operator] = None
    except EigenKmsError:
        return
