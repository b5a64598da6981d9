"""A thread that many share: they take turns, within bounds."""

import threading

import pytest
import trio
import trio.testing

from eigenkms.fair_thread import FairThread, NoPlaceError
from tests.support.waiting import PATIENCE


async def test_who_comes_after_a_flood_is_next() -> None:
    """It waits for the piece of work under way, and for none of those that wait in the queue of another."""
    thread, done, free = FairThread(owners=8, each=100), list[str](), threading.Event()

    def work(owner: str) -> None:
        assert free.wait(PATIENCE)
        done.append(owner)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(thread.take, "greedy", work, "greedy")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(thread.take, "modest", work, "modest")
        await trio.testing.wait_all_tasks_blocked()
        free.set()
    assert done.index("modest") == 1
    assert thread.done == len(done) == 11


async def test_queues_and_their_number_are_bounded() -> None:
    """What is beyond is refused at once. A piece of work that is given up, or fails, leaves its place."""
    thread = FairThread(owners=2, each=2)
    async with trio.open_nursery() as nursery:
        for owner in ("one", "one", "two"):
            nursery.start_soon(_hold, thread, owner)
        await trio.testing.wait_all_tasks_blocked()
        for owner in ("one", "three"):
            with pytest.raises(NoPlaceError):
                await thread.take(owner, int)
        nursery.cancel_scope.cancel()
    with pytest.raises(ZeroDivisionError):
        await thread.take("three", divmod, 1, 0)
    assert [await thread.take(owner, int) for owner in ("one", "two", "three", "four")] == [0] * 4


async def _hold(thread: FairThread, owner: str) -> None:
    async with thread.turn(owner):
        await trio.sleep_forever()


async def test_pieces_of_work_are_apart(autojump_clock: trio.testing.MockClock) -> None:
    """By the pause, whoever they are of."""
    thread, begun = FairThread(owners=8, each=8, pause=2.0), trio.current_time()
    for owner in ("one", "one", "two"):
        await thread.take(owner, int)
    assert trio.current_time() - begun == pytest.approx(4.0)
