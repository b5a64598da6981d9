"""Boundaries, told once: on real chains, and step by step on a fake one under a clock of its own."""

import itertools
import logging
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing

from eigenkms.chain.boundaries import MAX_PAUSE_SECONDS, BoundaryFollower, newest_boundary
from eigenkms.errors import ChainError, InputError
from eigenkms.types import BlockRef
from tests.chain.conftest import World, one_engine
from tests.support.waiting import PATIENCE, eventually, pass_time

INTERVAL = 10


async def _next(receive: trio.MemoryReceiveChannel[BlockRef]) -> BlockRef:
    with trio.fail_after(PATIENCE):
        return await receive.receive()


async def _looked(follower: BoundaryFollower, number: int) -> None:
    """Until it has seen the head of this number and made of it what it makes."""

    def saw() -> bool:
        head = follower.statistics().head
        return head is not None and head.number == number

    await eventually(saw, follower.statistics)
    await trio.testing.wait_all_tasks_blocked()


# ------------------------------------------------------------------------------------------------ real chains


@one_engine
async def test_each_boundary_is_told_once_and_only_the_newest(world: World) -> None:
    """Of boundaries that pass between two looks only the last is told; no boundary is told twice."""
    async with world.reader() as chain, trio.open_nursery() as nursery:
        mining, look = trio.Lock(), chain.head

        async def between_blocks() -> BlockRef:
            async with mining:
                return await look()

        chain.head = between_blocks  # type: ignore[method-assign]
        start = newest_boundary((await chain.head()).number, INTERVAL)
        follower = BoundaryFollower(chain, INTERVAL, poll_seconds=0.02)
        send, receive = trio.open_memory_channel[BlockRef](4)
        nursery.start_soon(follower.run, send)
        assert (await _next(receive)).number == start
        async with mining:
            await world.mine(3 * INTERVAL)
        boundary = await _next(receive)
        assert boundary.number == start + 3 * INTERVAL
        assert await chain.block(boundary.number) == boundary
        await world.mine(1)
        await _looked(follower, (await chain.head()).number)
        assert receive.statistics().current_buffer_used == 0
        assert follower.statistics().delivered == 2
        nursery.cancel_scope.cancel()


async def test_a_boundary_replaced_by_a_reorganisation_is_told_again(world: World) -> None:
    """The same number with another hash is news; with the same hash it is not."""
    async with world.reader() as chain, trio.open_nursery() as nursery:
        head = (await chain.head()).number
        await world.mine(newest_boundary(head, INTERVAL) + INTERVAL + 2 - head)
        follower = BoundaryFollower(chain, INTERVAL, poll_seconds=0.02)
        send, receive = trio.open_memory_channel[BlockRef](4)
        nursery.start_soon(follower.run, send)
        first = await _next(receive)
        await world.reorganise(4)
        second = await _next(receive)
        assert second.number == first.number
        assert second.hash != first.hash
        assert follower.statistics().redelivered == 1
        assert not await chain.is_canonical(first)
        nursery.cancel_scope.cancel()


@one_engine
async def test_a_restarted_follower_skips_what_was_handled(world: World) -> None:
    """start_after leaves out everything up to a number; the next boundary is told."""
    async with world.reader() as chain, trio.open_nursery() as nursery:
        handled = newest_boundary((await chain.head()).number, INTERVAL)
        follower = BoundaryFollower(chain, INTERVAL, poll_seconds=0.02, start_after=handled)
        send, receive = trio.open_memory_channel[BlockRef](4)
        nursery.start_soon(follower.run, send)
        await eventually(lambda: follower.statistics().head)
        await trio.testing.wait_all_tasks_blocked()
        assert receive.statistics().current_buffer_used == 0
        await world.mine(INTERVAL)
        assert (await _next(receive)).number == handled + INTERVAL
        nursery.cancel_scope.cancel()


async def test_a_boundary_waits_for_finality(world: World) -> None:
    """Followed at ``finalized``, a boundary block is told when two blocks stand on it."""
    async with world.reader("finalized") as chain, trio.open_nursery() as nursery:
        head = (await chain.head()).number
        follower = BoundaryFollower(chain, INTERVAL, poll_seconds=0.02)
        send, receive = trio.open_memory_channel[BlockRef](4)
        nursery.start_soon(follower.run, send)
        start = (await _next(receive)).number
        await world.mine(start + INTERVAL + 1 - (head + 2))
        await _looked(follower, start + INTERVAL - 1)
        assert receive.statistics().current_buffer_used == 0
        await world.mine(1)
        assert (await _next(receive)).number == start + INTERVAL
        nursery.cancel_scope.cancel()


# ------------------------------------------------------------------------------------------------ a fake chain


@dataclass
class FakeChain:
    """A chain of ``height`` blocks on one ``fork``; while ``down`` it fails."""

    height: int = 0
    fork: int = 0
    down: bool = False
    hidden: bool = False
    looks: list[float] = field(default_factory=list)

    def _ref(self, number: int) -> BlockRef:
        return BlockRef(number, bytes([self.fork]) + number.to_bytes(31, "big"), 1_000 + number)

    async def head(self) -> BlockRef:
        await trio.lowlevel.checkpoint()
        self.looks.append(trio.current_time())
        if self.down:
            raise ChainError("read the latest block: no connection")
        return self._ref(self.height)

    async def block(self, number_or_hash: int | bytes) -> BlockRef | None:
        await trio.lowlevel.checkpoint()
        assert isinstance(number_or_hash, int)
        return None if self.hidden else self._ref(number_or_hash)


async def _ticks(count: int) -> None:
    await pass_time(0.5 * count + 0.01)


async def test_it_looks_every_half_second(autojump_clock: trio.testing.MockClock) -> None:
    """The idle follower asks for the head every 500 ms and for nothing else."""
    chain = FakeChain(height=13)
    async with trio.open_nursery() as nursery:
        send, receive = trio.open_memory_channel[BlockRef](1)
        begun = trio.current_time()
        nursery.start_soon(BoundaryFollower(chain, INTERVAL).run, send)
        assert (await receive.receive()).number == 10
        await _ticks(4)
        assert [round(look - begun, 3) for look in chain.looks] == [0, 0.5, 1, 1.5, 2]
        nursery.cancel_scope.cancel()


async def test_a_full_channel_is_told_the_newest_later(autojump_clock: trio.testing.MockClock) -> None:
    """A receiver that is busy gets the boundary that is newest when it has room, not one that is stale."""
    chain = FakeChain(height=10)
    async with trio.open_nursery() as nursery:
        send, receive = trio.open_memory_channel[BlockRef](1)
        nursery.start_soon(BoundaryFollower(chain, INTERVAL).run, send)
        await _ticks(1)
        for height in (20, 30, 45):
            chain.height = height
            await _ticks(1)
        assert (await receive.receive()).number == 10
        assert (await receive.receive()).number == 40
        await _ticks(3)
        assert receive.statistics().current_buffer_used == 0
        nursery.cancel_scope.cancel()


async def test_a_chain_in_trouble_is_logged_once_and_asked_less_often(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Failures never end the follower; it backs off to a bound, shows its state, and recovers."""
    caplog.set_level(logging.INFO, "eigenkms.chain")
    chain = FakeChain(height=10, down=True)
    follower = BoundaryFollower(chain, INTERVAL)
    async with trio.open_nursery() as nursery:
        send, receive = trio.open_memory_channel[BlockRef](1)
        nursery.start_soon(follower.run, send)
        await pass_time(60)
        pauses = [later - earlier for earlier, later in zip(chain.looks, chain.looks[1:], strict=False)]
        assert pauses[:4] == pytest.approx([1, 2, 4, 8])
        assert max(pauses) == pytest.approx(MAX_PAUSE_SECONDS)
        assert follower.statistics().failures_in_row == len(chain.looks)
        assert follower.statistics().last_failure == "read the latest block: no connection"
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        chain.down = False
        assert (await receive.receive()).number == 10
        await _ticks(1)
        assert follower.statistics().failures_in_row == 0
        assert "answers again" in caplog.text
        nursery.cancel_scope.cancel()


async def test_a_long_trouble_is_recalled_at_growing_distances(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """After a minute, then after twice as long each time, once an hour in the end."""
    caplog.set_level(logging.INFO, "eigenkms.chain")
    follower = BoundaryFollower(FakeChain(height=10, down=True), INTERVAL)
    async with trio.open_nursery() as nursery:
        send, _receive = trio.open_memory_channel[BlockRef](1)
        begun, told = trio.current_time(), []
        nursery.start_soon(follower.run, send)
        for _ in range(4 * 360):
            await pass_time(10)
            if len(caplog.records) > len(told):
                told.append(trio.current_time() - begun)
        gaps = [later - earlier for earlier, later in itertools.pairwise(told)]
        assert gaps[:3] == pytest.approx([60, 60, 120], abs=25)
        assert gaps[-1] == pytest.approx(3600, abs=25)
        assert len(told) < 12
        assert "for " in caplog.messages[-1]
        assert caplog.messages[-1].endswith(" s now")
        nursery.cancel_scope.cancel()


async def test_a_retracted_boundary_is_told_again_and_another_one_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The same block after a pause that grows; what has replaced it at the next look, also if its number is lower."""
    chain = FakeChain(height=10)
    follower = BoundaryFollower(chain, INTERVAL)
    async with trio.open_nursery() as nursery:
        send, receive = trio.open_memory_channel[BlockRef](1)
        nursery.start_soon(follower.run, send)
        real = await receive.receive()
        chain.height = 99_999  # somebody invents blocks
        invented = await receive.receive()
        for pause in (1, 2, 4, 8):
            assert follower.requeue(invented)
            assert follower.statistics().boundary == real
            begun = trio.current_time()
            assert await receive.receive() == invented
            assert trio.current_time() - begun == pytest.approx(pause, abs=0.6)
        assert not follower.requeue(real), "another one has been told since"
        assert follower.requeue(invented)
        chain.height = 23
        begun = trio.current_time()
        assert (await receive.receive()).number == 20
        assert trio.current_time() - begun < 0.6
        nursery.cancel_scope.cancel()


async def test_a_boundary_that_the_node_hides_is_a_failure(autojump_clock: trio.testing.MockClock) -> None:
    """A head above a boundary that is not there: the follower waits for it and says so."""
    chain = FakeChain(height=13, hidden=True)
    follower = BoundaryFollower(chain, INTERVAL)
    async with trio.open_nursery() as nursery:
        send, receive = trio.open_memory_channel[BlockRef](1)
        nursery.start_soon(follower.run, send)
        await _ticks(3)
        assert "read boundary block 10" in str(follower.statistics().last_failure)
        chain.hidden = False
        assert (await receive.receive()).number == 10
        nursery.cancel_scope.cancel()


async def test_a_head_that_falls_back_tells_no_older_boundary(autojump_clock: trio.testing.MockClock) -> None:
    """During a reorganisation the head may stand below the last boundary: nothing is told until it is reached again."""
    chain = FakeChain(height=21)
    async with trio.open_nursery() as nursery:
        send, receive = trio.open_memory_channel[BlockRef](4)
        nursery.start_soon(BoundaryFollower(chain, INTERVAL).run, send)
        assert (await receive.receive()).number == 20
        chain.height, chain.fork = 19, 1
        await _ticks(3)
        assert receive.statistics().current_buffer_used == 0
        chain.height = 20
        again = await receive.receive()
        assert (again.number, again.hash[0]) == (20, 1)
        nursery.cancel_scope.cancel()


async def test_block_zero_is_no_boundary(autojump_clock: trio.testing.MockClock) -> None:
    """Below the first interval nothing is told."""
    chain = FakeChain(height=9)
    async with trio.open_nursery() as nursery:
        send, receive = trio.open_memory_channel[BlockRef](1)
        nursery.start_soon(BoundaryFollower(chain, INTERVAL).run, send)
        await _ticks(3)
        assert receive.statistics().current_buffer_used == 0
        nursery.cancel_scope.cancel()


async def test_it_ends_when_nobody_listens(autojump_clock: trio.testing.MockClock) -> None:
    """A closed receiving end ends the follower without an error, and the follower closes its own end."""
    chain = FakeChain(height=10)
    send, receive = trio.open_memory_channel[BlockRef](1)
    await receive.aclose()
    with trio.fail_after(PATIENCE):
        await BoundaryFollower(chain, INTERVAL).run(send)
    with pytest.raises(trio.ClosedResourceError):
        send.send_nowait(BlockRef(1, b"", 1))


@pytest.mark.parametrize(("interval", "poll"), [(0, 0.5), (-1, 0.5), (10, 0.0)])
def test_intervals_must_be_positive(interval: int, poll: float) -> None:
    """Nothing else makes sense."""
    with pytest.raises(InputError):
        BoundaryFollower(FakeChain(), interval, poll)
