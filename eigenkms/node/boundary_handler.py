"""Handling of boundaries: the node reads the set and opens the session.

The follower delivers the newest boundary (chain/boundaries). The handler reads the operator set by majority and updates the peers.
If RPCs disagree, or the chain cannot be read, it opens no session. It gives the boundary back, and the follower delivers it again
after a pause. A set that no session can have, such as an empty one, costs that boundary only.

If a genesis needs fewer than all operators, the node asks all peers for a version first, as one may exist without it. Otherwise
the question runs beside the boundary: a genesis that needs this operator cannot have happened without it.
"""

import logging

import trio

from eigenkms.chain.boundaries import BoundaryFollower
from eigenkms.chain.operator_set import ChainOperator
from eigenkms.errors import ChainError, InputError
from eigenkms.node import log_fields
from eigenkms.node.backing_services import BackingServices
from eigenkms.node.engine.engine import Engine
from eigenkms.node.network.operator_network import OperatorNetwork
from eigenkms.node.network.version_sync import VersionSync
from eigenkms.node.registration import log_rejected
from eigenkms.node.state import NodeState
from eigenkms.protocols.wire.session import Session
from eigenkms.types import BlockRef, OperatorAddress, OperatorSet

log = logging.getLogger(__name__)


class BoundaryHandler:
    """Handles the boundaries that ``follower`` delivers."""

    def __init__(
        self,
        backing: BackingServices,
        state: NodeState,
        engine: Engine,
        network: OperatorNetwork,
        sync: VersionSync,
        follower: BoundaryFollower,
    ) -> None:
        self._backing = backing
        self._state = state
        self._engine = engine
        self._network = network
        self._sync = sync
        self._follower = follower
        self._is_first = True
        self._failures_in_row = 0
        self.error: str | None = None
        """Why no session was opened at the newest boundary, if the chain is the reason."""

    async def run(self, receive: trio.MemoryReceiveChannel[BlockRef]) -> None:
        """Handle boundaries until cancelled."""
        async with trio.open_nursery() as nursery:
            async for block in receive:
                if not self._engine.has_version:
                    # if fewer than all can make a key, ask first whether one exists
                    if self._backing.parameters.genesis_quorum:
                        await self._sync.query_all()
                    else:
                        nursery.start_soon(self._sync.query_all)
                await self.handle(block)

    async def handle(self, block: BlockRef) -> None:
        """Open the session of a boundary, or give the boundary back.

        It is given back if the chain does not tell enough about it.
        """
        try:
            await self._open_session(block)
        except ChainError as error:
            self._give_back(block, error)
            return
        except InputError as error:
            log.warning("boundary at block %d has no session: %s", block.number, error.one_line)
        self._failures_in_row = 0
        self.error = None

    def _give_back(self, block: BlockRef, error: ChainError) -> None:
        """Log only the 1st, 2nd, 4th, 8th … failure in a row, unless the boundary is lost."""
        self._failures_in_row += 1
        self.error = str(error)
        text = "boundary at block %d opens no session: %s; trying again"
        if not self._follower.requeue(block):
            text = "boundary at block %d is lost to this node: %s"
        elif self._failures_in_row & (self._failures_in_row - 1):
            return
        log.warning(text, block.number, error.one_line)

    async def _open_session(self, block: BlockRef) -> None:
        operator_set = await self._update_peers(block)
        session = Session(self._backing.cluster, block, operator_set, self._backing.parameters)
        guard = self._state.guard
        joined = await self._engine.boundary(
            self._network,
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
        registration, peers = self._state.registration, self._state.peers
        found = await self._backing.chain.agreed_operators_at(block)
        registration.check_clock(block)
        log_rejected(found)
        before = await self._operators_before(block)
        holders = self._holders | {operator.address for operator in before}
        peers.update(found.operators, holders=holders, former=before)
        self._network.refresh()
        registration.check_key(found)
        return found.operator_set

    @property
    def _holders(self) -> frozenset[OperatorAddress]:
        """Operators that deal at the next boundary, members or not."""
        known = self._state.versions.known()
        return frozenset(known[-1].epoch.transcript.recipients.addresses) if known else frozenset()

    async def _operators_before(self, block: BlockRef) -> tuple[ChainOperator, ...]:
        """Return the set of one boundary ago, at the first boundary alone.

        An operator that left the set meanwhile may still have to deal to this node.
        """
        number = block.number - self._backing.config.session.interval_blocks
        if not self._is_first or number <= 0:
            return ()
        self._is_first = False
        chain = self._backing.chain
        try:
            before = await chain.block(number)
            found = None if before is None else await chain.agreed_operators_at(before)
        except ChainError as error:
            log.info("operators at block %d are not known: %s", number, error.one_line)
            return ()
        return () if found is None else found.operators
