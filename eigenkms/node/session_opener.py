"""Opening of the session of a boundary, from the operator set on chain.

The opener reads the set by majority, and connects to its operators. Then it compares this operator's key with the set, and enters
the session as far as the vote guard allows.
"""

import logging
from dataclasses import dataclass, field

from eigenkms.chain.operator_set import ChainOperator
from eigenkms.errors import ChainError
from eigenkms.node import log_fields
from eigenkms.node.backing_services import BackingServices
from eigenkms.node.engine.engine import Engine
from eigenkms.node.network.operator_network import OperatorNetwork
from eigenkms.node.registration import log_rejected
from eigenkms.node.state import NodeState
from eigenkms.types import BlockRef, OperatorAddress, OperatorSet
from eigenkms.wire.session import Session

log = logging.getLogger(__name__)


@dataclass
class SessionOpener:
    """Opens the sessions of one node in its engine, over its network."""

    backing: BackingServices
    state: NodeState
    engine: Engine
    network: OperatorNetwork
    _is_first: bool = field(default=True, init=False)
    """Whether no boundary was read yet."""

    @property
    def has_version(self) -> bool:
        """Whether this operator knows a version to deal from."""
        return self.engine.has_version

    @property
    def may_miss_genesis(self) -> bool:
        """Whether a genesis can succeed without this operator."""
        return bool(self.backing.parameters.genesis_quorum)

    async def open(self, block: BlockRef) -> None:
        """Enter the session of a boundary; return once this is durable.

        Raises ``ChainError`` if the chain does not tell enough about it, and ``InputError`` for a set without a session.
        """
        operator_set = await self._update_peers(block)
        session = Session(self.backing.cluster, block, operator_set, self.backing.parameters)
        guard = self.state.guard
        joined = await self.engine.boundary(
            self.network,
            session,
            may_vote=guard.may_vote_at(block),
            may_found=await guard.may_join_genesis(block),
        )
        log.info(
            "boundary at block %d: session %s, %d operators%s",
            block.number,
            log_fields.short_id(session.id),
            session.n,
            "" if joined else ", not joined",
            extra=log_fields.session_fields(
                session.id, "boundary", block=block.number, operators=session.n, joined=joined
            ),
        )

    async def _update_peers(self, block: BlockRef) -> OperatorSet:
        """Read the set at a boundary and connect to its operators.

        Raises ``InputError`` if the set lists another key of this operator.
        """
        registration, peers = self.state.registration, self.state.peers
        found = await self.backing.chain.agreed_operators_at(block)
        registration.check_clock(block)
        log_rejected(found)
        before = await self._operators_before(block)
        holders = self._holders | {operator.address for operator in before}
        peers.update(found.operators, holders=holders, former=before)
        self.network.refresh()
        registration.check_key(found)
        return found.operator_set

    @property
    def _holders(self) -> frozenset[OperatorAddress]:
        """Operators that deal at the next boundary, members or not."""
        known = self.state.versions.known()
        return frozenset(known[-1].epoch.transcript.recipients.addresses) if known else frozenset()

    async def _operators_before(self, block: BlockRef) -> tuple[ChainOperator, ...]:
        """Return the set of one boundary ago, at the first boundary alone.

        An operator that left the set meanwhile may still have to deal to this node.
        """
        number = block.number - self.backing.config.session.interval_blocks
        if not self._is_first or number <= 0:
            return ()
        self._is_first = False
        chain = self.backing.chain
        try:
            before = await chain.block(number)
            found = None if before is None else await chain.agreed_operators_at(before)
        except ChainError as error:
            log.info("operators at block %d are not known: %s", number, error.one_line)
            return ()
        return () if found is None else found.operators
