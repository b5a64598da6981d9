"""Race connection attempts, as browsers do (RFC 8305, Happy Eyeballs).

An address that neither answers nor refuses must not delay the next one. So the next attempt begins once the one before has failed,
or has gone on for a quarter of a second. The first to succeed ends the others.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import trio

from eigenkms.p2p.errors import PeerUnreachable

STAGGER_SECONDS: Final = 0.25
"""The "Connection Attempt Delay" of RFC 8305, section 5, with the value recommended there."""

T = TypeVar("T")


async def first_of(attempts: Sequence[Callable[[], Awaitable[T]]], discard: Callable[[T], None]) -> T:
    """Return what the first attempt to succeed returns; the others are cancelled.

    ``discard`` is called with what comes too late, or comes when this call is cancelled. Raises PeerUnreachable, that of the first
    attempt, if all fail. An attempt raises PeerUnreachable and nothing else. The caller owns the deadline.
    """
    won: list[T] = []
    failures: dict[int, PeerUnreachable] = {}

    async def run(index: int, failed: trio.Event) -> None:
        try:
            found = await attempts[index]()
        except PeerUnreachable as error:
            failures[index] = error
            failed.set()
            return
        won.append(found)
        nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            for index in range(len(attempts)):
                failed = trio.Event()
                nursery.start_soon(run, index, failed)
                with trio.move_on_after(STAGGER_SECONDS):
                    await failed.wait()
    except BaseException:
        for each in won:
            discard(each)
        raise
    for late in won[1:]:
        discard(late)
    if not won:
        raise failures[0]
    return won[0]
