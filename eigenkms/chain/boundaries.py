"""Follow the chain and deliver each newest boundary block once.

A boundary is a block whose number is a multiple of the interval, other than block 0, at the configured finality. The follower
reads the head twice a second and delivers the newest boundary at or below it, and that one alone: boundaries that passed
in between are not replayed. If a reorganisation replaces the last delivered boundary by a block of the same number with another
hash, that block is delivered too. The receiver decides what to do with it (a node votes in at most one session for each number).

To deliver is to put the block into a memory channel without waiting. While the channel is full, nothing but time is lost: the
follower tries again at each tick, with the boundary that is the newest then.

A receiver may find that it cannot use a block, because the chain did not answer or RPCs disagreed. It gives the block back with
``requeue``: then the newest boundary is delivered again, the same one only after a pause that grows. An invented block leaves no
trace, however high its number.

A failure of the chain never ends the follower. It logs the first failure of a row, and then at growing distances that it lasts.
It waits longer each time, up to MAX_PAUSE_SECONDS, and shows its state in ``statistics()``.
"""

import logging
from dataclasses import dataclass, replace
from typing import Final, Protocol

import trio

from eigenkms.errors import ChainError, InputError
from eigenkms.types import BlockRef, to_hex

MAX_PAUSE_SECONDS: Final = 10.0
REMIND_SECONDS, MAX_REMIND_SECONDS = 60.0, 3600.0
"""Seconds between the first two warnings about one failure; doubled each time up to the maximum."""

log = logging.getLogger("eigenkms.chain.boundaries")


class BlockSource(Protocol):
    """The part of a chain that the follower reads. Both methods raise ChainError."""

    async def head(self) -> BlockRef: ...

    async def block(self, number_or_hash: int | bytes) -> BlockRef | None: ...


def newest_boundary(block_number: int, interval_blocks: int) -> int:
    """Return the largest multiple of the interval at or below a block number.

    Returns 0 if there is no boundary yet.
    """
    return block_number - block_number % interval_blocks


@dataclass(frozen=True, slots=True)
class BoundaryStatistics:
    """State and counters of a follower.

    ``delivered`` counts blocks, ``redelivered`` those among them that replaced one of the same number. ``failures_in_row`` is 0
    while the chain answers.
    """

    head: BlockRef | None = None
    head_at: float | None = None
    """When the head was first seen, on trio's clock."""
    boundary: BlockRef | None = None
    delivered: int = 0
    redelivered: int = 0
    failures_in_row: int = 0
    last_failure: str | None = None


class BoundaryFollower:
    """Delivers boundaries above ``start_after``.

    Run ``run`` as a task; cancel it to stop.

    ``poll_seconds`` is the time between two reads of the head.
    """

    def __init__(
        self, chain: BlockSource, interval_blocks: int, poll_seconds: float = 0.5, *, start_after: int = 0
    ) -> None:
        if interval_blocks < 1 or poll_seconds <= 0:
            raise InputError("follow boundaries: the interval and the polling time must be positive")
        self._chain = chain
        self._interval = interval_blocks
        self._poll_seconds = poll_seconds
        self._start_after = max(0, start_after)
        self._checked_head: bytes | None = None
        self._previous: BlockRef | None = None
        self._requeued: BlockRef | None = None
        self._requeues = 0
        self._retry_at = 0.0
        self._failing_since = self._remind_at = 0.0
        self._statistics = BoundaryStatistics()

    def statistics(self) -> BoundaryStatistics:
        """Return the state and the counters."""
        return self._statistics

    def requeue(self, block: BlockRef) -> bool:
        """Take back a boundary that could not be used, and deliver it again if it still is the newest.

        Returns False if another one has been delivered since.
        """
        if block != self._statistics.boundary:
            return False
        self._requeues = self._requeues + 1 if block == self._requeued else 1
        self._requeued = block
        pause = min(self._poll_seconds * 2.0 ** min(self._requeues, 10), MAX_PAUSE_SECONDS)
        self._retry_at = trio.current_time() + pause
        self._statistics = replace(self._statistics, boundary=self._previous)
        self._checked_head = None
        return True

    async def run(self, send: trio.MemorySendChannel[BlockRef]) -> None:
        """Deliver boundaries into ``send`` until cancelled, or until the receiving end is closed; close ``send``."""
        async with send:
            while True:
                try:
                    await self._check_head(send)
                except ChainError as exc:
                    self._failed(exc)
                except trio.BrokenResourceError:
                    return
                else:
                    self._recovered()
                await trio.sleep(self._pause())

    async def _check_head(self, send: trio.MemorySendChannel[BlockRef]) -> None:
        head = await self._chain.head()
        if head != self._statistics.head:
            self._statistics = replace(self._statistics, head=head, head_at=trio.current_time())
        number = newest_boundary(head.number, self._interval)
        if head.hash == self._checked_head or number <= self._start_after or number < self._last_number:
            return
        boundary = head if head.number == number else await self._chain.block(number)
        if boundary is None:
            raise ChainError(
                f"read boundary block {number}: the node has head {head.number} but not this block"
            )
        if boundary == self._requeued and trio.current_time() < self._retry_at:
            return
        if boundary == self._statistics.boundary or self._deliver(boundary, send):
            self._checked_head = head.hash

    @property
    def _last_number(self) -> int:
        last = self._statistics.boundary
        return 0 if last is None else last.number

    def _deliver(self, boundary: BlockRef, send: trio.MemorySendChannel[BlockRef]) -> bool:
        try:
            send.send_nowait(boundary)
        except trio.WouldBlock:
            return False
        again = boundary.number == self._last_number
        seen = self._statistics
        self._previous = seen.boundary
        self._statistics = replace(
            seen, boundary=boundary, delivered=seen.delivered + 1, redelivered=seen.redelivered + int(again)
        )
        event = "boundary replaced by a reorganisation" if again else "boundary"
        log.info("%s: block %d %s", event, boundary.number, to_hex(boundary.hash))
        return True

    def _failed(self, exc: ChainError) -> None:
        row, now = self._statistics.failures_in_row + 1, trio.current_time()
        self._statistics = replace(self._statistics, failures_in_row=row, last_failure=str(exc))
        if row == 1:
            self._failing_since, self._remind_at = now, now + REMIND_SECONDS
            log.warning(
                "follow boundaries: %s; trying again, keys are served and not rotated until then", exc
            )
        elif now >= self._remind_at:
            since = now - self._failing_since
            self._remind_at = now + min(since, MAX_REMIND_SECONDS)
            log.warning("follow boundaries: %s; failure %d in a row, for %.0f s now", exc, row, since)

    def _recovered(self) -> None:
        if self._statistics.failures_in_row:
            log.warning(
                "follow boundaries: the chain answers again after %d failures",
                self._statistics.failures_in_row,
            )
            self._statistics = replace(self._statistics, failures_in_row=0)

    def _pause(self) -> float:
        doublings = min(self._statistics.failures_in_row, 10)
        return max(self._poll_seconds, min(self._poll_seconds * 2.0**doublings, MAX_PAUSE_SECONDS))
