"""Group commit: items that wait for the disk are written in one transaction.

A flush takes milliseconds, whatever is in it. So a busy node writes seldom. On an idle node an item waits for nothing, and is
written at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import trio

from eigenkms.errors import StorageError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass
class _Batch(Generic[Item, Result]):
    """Items that are written together, or not at all."""

    items: list[Item] = field(default_factory=list)
    results: Sequence[Result] | None = None
    done: trio.Event = field(default_factory=trio.Event)


class GroupCommit(Generic[Item, Result]):
    """Writes items in batches by ``write``, which runs in a thread, once at a time.

    ``write`` blocks until all of its items are durable, and returns a result for each.

    If it fails once, nothing is written any more, and ``run`` raises why.
    """

    def __init__(self, write: Callable[[list[Item]], Sequence[Result]]) -> None:
        self._write = write
        self._turn = trio.Lock()
        self._limiter = trio.CapacityLimiter(1)
        self._next: _Batch[Item, Result] = _Batch()
        self._failure: Exception | None = None
        self._failed = trio.Event()

    @property
    def is_writing(self) -> bool:
        return self._turn.locked()

    @property
    def waiting(self) -> int:
        """Items of the next batch so far."""
        return len(self._next.items)

    async def run(self) -> None:
        """Wait until writing fails, and raise why: ``StorageError`` if it was the disk."""
        await self._failed.wait()
        assert self._failure is not None
        raise self._failure

    async def submit(self, item: Item) -> Result:
        """Return the result of ``item``, once it is durable.

        The first task of a batch writes for all that come until the disk is free. It does so even if it is cancelled, as the others
        rely on it. Raises ``StorageError`` if it could not be written; then nothing of the batch was.
        """
        batch, place = self._next, len(self._next.items)
        batch.items.append(item)
        if place:
            await batch.done.wait()
        else:
            with trio.CancelScope(shield=True):
                await self._flush(batch)
        if batch.results is None:
            raise StorageError("write what an answer rests on: the disk refused", hint="start the node again")
        return batch.results[place]

    async def _flush(self, batch: _Batch[Item, Result]) -> None:
        async with self._turn:
            self._next = _Batch()
            try:
                if self._failure is None:
                    batch.results = await trio.to_thread.run_sync(
                        self._write, batch.items, limiter=self._limiter
                    )
            except Exception as error:  # noqa: BLE001 - ``run`` raises it
                self._failure = error
                self._failed.set()
            finally:
                batch.done.set()
