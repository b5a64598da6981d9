"""A fair thread: owners of work take turns, so a flood by one delays no other.

Each owner of work has a queue. Of each queue at most one piece waits for the thread, first come, first served. So work waits for at
most one piece of each other owner, however much they send. An owner is a name that costs something to have, such as an operator or
the address of a client. The numbers of owners and of pieces of each are bounded, and work beyond is refused at once.
"""

from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import trio

Result = TypeVar("Result")


class NoPlaceError(Exception):
    """An owner has too much work here, or there are too many owners."""


@dataclass(eq=False, slots=True)
class _Queue:
    """The work of one owner that waits or is done."""

    order: trio.Lock = field(default_factory=trio.Lock)
    length: int = 0


class FairThread:
    """A thread with at most ``owners`` queues of ``each`` pieces of work.

    ``pause`` is in seconds, between the end of a piece of work and the beginning of the next.
    """

    def __init__(self, *, owners: int, each: int, pause: float = 0.0) -> None:
        self._owners = owners
        self._each = each
        self._pause = pause
        self._queues: dict[Hashable, _Queue] = {}
        self._next = trio.Lock()
        self._thread = trio.CapacityLimiter(1)
        self._free_at = float("-inf")
        self.done = 0
        """Pieces of work since the start."""

    @asynccontextmanager
    async def turn(self, owner: Hashable) -> AsyncIterator[None]:
        """Wait for the owner's turn, which lasts as long as the block.

        Raises ``NoPlaceError``.
        """
        queue = self._queue(owner)
        queue.length += 1
        try:
            async with queue.order, self._next:
                yield
        finally:
            queue.length -= 1
            if not queue.length:
                del self._queues[owner]

    def _queue(self, owner: Hashable) -> _Queue:
        queue = self._queues.get(owner)
        if queue is None:
            if len(self._queues) >= self._owners:
                raise NoPlaceError
            queue = self._queues[owner] = _Queue()
        elif queue.length >= self._each:
            raise NoPlaceError
        return queue

    async def work(self, call: Callable[..., Result], *args: object) -> Result:
        """Do a piece of work in the thread, within a turn. Raises the errors of ``call``."""
        await trio.sleep_until(self._free_at)
        try:
            return await trio.to_thread.run_sync(partial(call, *args), limiter=self._thread)
        finally:
            self.done += 1
            self._free_at = trio.current_time() + self._pause

    async def take(self, owner: Hashable, call: Callable[..., Result], *args: object) -> Result:
        """Do one piece of work once it is the owner's turn.

        Raises ``NoPlaceError``, and the errors of ``call``.
        """
        async with self.turn(owner):
            return await self.work(call, *args)
