"""Run background tasks for the length of a context.

An exception of the body is raised as it is, not in a group.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def open_scope() -> AsyncIterator[trio.Nursery]:
    """Open a nursery that is cancelled when the body ends.

    An error of a task cancels the body and is raised in a group.
    """
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield nursery
        except Exception as error:  # noqa: BLE001 - raised again below, outside of the nursery
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


@asynccontextmanager
async def background_task(task: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Run ``task`` beside the body and cancel it when the body ends.

    An error of the task cancels the body and is raised in a group.
    """
    async with open_scope() as nursery:
        nursery.start_soon(task)
        yield
