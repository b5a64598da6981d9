"""Where the network stands, for an operator that asks whether what it has is still good: the newest version that anybody shows, who
answered, and the next boundary.

Each version is verified against the chain, so a liar can hide the newest one and make none up. No stale backup looks good, as long
as one honest recipient answers.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from eigenkms.errors import EigenKmsError

if TYPE_CHECKING:
    from eigenkms.chain.operator_set import ChainOperator
    from eigenkms.client.api import Client, ClientSettings
    from eigenkms.protocols.wire.certified_transcript import CertifiedTranscript
    from eigenkms.types import OperatorAddress, Version

ANSWER_SECONDS = 5.0
LOOKS, LOOK_PAUSE_SECONDS = 4, 1.0
"""How often operators are asked if they show different versions, and how long after the last time."""


@dataclass
class NetworkSnapshot:
    """``head`` is the chain's; ``answers`` has who answered of today's set, with the version that it shows."""

    head: int
    operators: tuple["ChainOperator", ...]
    rejected: Mapping["OperatorAddress", str]
    answers: "dict[OperatorAddress, CertifiedTranscript | None]" = field(default_factory=dict)

    @property
    def newest(self) -> "CertifiedTranscript | None":
        """The newest version that anybody shows."""
        shown = (epoch for epoch in self.answers.values() if epoch is not None)
        return max(shown, key=lambda epoch: epoch.transcript.version, default=None)

    @property
    def is_between_versions(self) -> bool:
        """Whether enough answer to deal from a version, and not enough show the newest."""
        newest = self.newest
        if newest is None:
            return False
        shown = [epoch.transcript.hash for epoch in self.answers.values() if epoch is not None]
        threshold = newest.transcript.threshold
        return len(shown) >= threshold > shown.count(newest.transcript.hash)

    def others(self, me: "OperatorAddress") -> int:
        """How many answered besides ``me``."""
        return len(self.answers.keys() - {me})

    @property
    def needed(self) -> int:
        """Answers of others among which one is honest, if fewer than a third are not."""
        from eigenkms.crypto.scalars import threshold

        n = len(self.operators)
        return n - threshold(n) + 1 if n else 1

    def showing(self, me: "OperatorAddress", version: "Version") -> int:
        """How many besides ``me`` show this version as the newest one."""
        return sum(
            epoch is not None and epoch.transcript.version == version and operator != me
            for operator, epoch in self.answers.items()
        )

    def holders(self, me: "OperatorAddress") -> int:
        """How many others answered that are recipients of the newest version and show it."""
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


async def look(settings: "ClientSettings") -> NetworkSnapshot:
    """Read the set and ask everybody, again if they are met in the midst of a rotation. Raises ``ChainError``."""
    import trio

    standing = await _look_once(settings)
    for _ in range(LOOKS - 1):
        if not standing.is_between_versions:
            break
        await trio.sleep(LOOK_PAUSE_SECONDS)
        standing = await _look_once(settings)
    return standing


async def _look_once(settings: "ClientSettings") -> NetworkSnapshot:
    import trio

    from eigenkms.chain.operator_set_source import open_chain
    from eigenkms.client.api import open_client

    async with open_chain(settings) as chain:
        head = await chain.head()
        found = await chain.operators_at(head)
    standing = NetworkSnapshot(head.number, tuple(found.operators), dict(found.rejected))
    async with open_client(settings) as client:
        await client.refresh()
        async with trio.open_nursery() as nursery:
            for operator in standing.operators:
                nursery.start_soon(_ask, client, operator.address, standing)
    return standing


async def _ask(client: "Client", operator: "OperatorAddress", standing: NetworkSnapshot) -> None:
    from eigenkms.p2p.errors import CallRefusedError
    from eigenkms.protocols.wire import rpc_methods
    from eigenkms.protocols.wire.client_rpc import decode_info, encode_info_request

    request = encode_info_request(client.cluster, os.urandom(32))
    try:
        epoch = decode_info(await client.ask(operator, rpc_methods.INFO, request, ANSWER_SECONDS)).epoch
        await client.verify(epoch)
        standing.answers[operator] = epoch
    except CallRefusedError as refused:
        if refused.code == "no-version":
            standing.answers[operator] = None
    except EigenKmsError:
        return
