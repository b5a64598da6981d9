"""Handling of boundaries: each opens a session, or is given back for a retry.

The follower delivers the newest boundary (``chain.boundaries``). If RPCs disagree, or the chain cannot be read, ``SessionOpener``
opens no session. The handler gives the boundary back, and the follower delivers it again after a pause. A set that no session can
have, such as an empty one, costs that boundary only.

If a genesis needs fewer than all operators, the node asks all peers for a version first, as one may exist without it. Otherwise
the question runs beside the boundary: a genesis that needs this operator cannot have happened without it.
"""

import logging

import trio

from eigenkms.chain.boundaries import BoundaryFollower
from eigenkms.errors import ChainError, InputError
from eigenkms.node.network.version_sync import VersionSync
from eigenkms.node.session_opener import SessionOpener
from eigenkms.types import BlockRef

log = logging.getLogger(__name__)


class BoundaryHandler:
    """Handles the boundaries that ``follower`` delivers."""

    def __init__(self, opener: SessionOpener, sync: VersionSync, follower: BoundaryFollower) -> None:
        self._opener = opener
        self._sync = sync
        self._follower = follower
        self._failures_in_row = 0
        self.error: str | None = None
        """Why no session was opened at the newest boundary, if the chain is the reason."""

    async def run(self, receive: trio.MemoryReceiveChannel[BlockRef]) -> None:
        """Handle boundaries until cancelled."""
        async with trio.open_nursery() as nursery:
            async for block in receive:
                if not self._opener.has_version:
                    # if fewer than all can make a key, ask first whether one exists
                    if self._opener.may_miss_genesis:
                        await self._sync.query_all()
                    else:
                        nursery.start_soon(self._sync.query_all)
                await self.handle(block)

    async def handle(self, block: BlockRef) -> None:
        """Open the session of a boundary, or give the boundary back.

        It is given back if the chain does not tell enough about it.
        """
        try:
            await self._opener.open(block)
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
