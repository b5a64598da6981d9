"""The inbox: bounded for each source, and fair between them."""

import pytest
import trio

from eigenkms.node.engine.frame_queue import MAX_BATCH, MAX_BYTES, MAX_FRAMES, MAX_OF_ONE, FairFrameQueue


async def test_a_flood_displaces_its_own_frames_only() -> None:
    """Who sends little is in the very next batch, whatever waits of another; each source's frames keep their order."""
    inbox = FairFrameQueue()
    taken = [inbox.put("flood", b"%d" % number) for number in range(MAX_FRAMES + 5)]
    assert taken == [True] * MAX_FRAMES + [False] * 5
    assert inbox.put("quiet", b"word")
    batch = await inbox.take()
    assert batch == [*(("flood", b"%d" % number) for number in range(MAX_OF_ONE)), ("quiet", b"word")]
    assert inbox.put("flood", b"again"), "there is room for as many as were taken"
    assert (await inbox.take())[0] == ("flood", b"%d" % MAX_OF_ONE)


async def test_many_sources_take_turns() -> None:
    """Who did not fit a batch is first in the next."""
    inbox = FairFrameQueue()
    sources = range(2 * MAX_BATCH // MAX_OF_ONE)
    for source in sources:
        for _ in range(MAX_OF_ONE + 1):
            inbox.put(source, bytes([source]))
    batches = [await inbox.take() for _ in range(3)]
    assert [len(batch) for batch in batches[:2]] == [MAX_BATCH, MAX_BATCH]
    assert {source for batch in batches[:2] for source, _ in batch} == set(sources)
    assert sorted(source for source, _ in batches[2]) == list(sources)


async def test_bytes_are_bounded_too() -> None:
    """Of one source."""
    inbox = FairFrameQueue()
    half = bytes(MAX_BYTES // 2)
    assert [inbox.put("large", half) for _ in range(3)] == [True, True, False]
    assert inbox.put("small", b"x")
    assert await inbox.take() == [("large", half), ("large", half), ("small", b"x")]
    assert inbox.put("large", half)


async def test_an_empty_inbox_waits(virtual_clock: trio.testing.MockClock) -> None:
    """And goes on waiting after it was emptied."""
    inbox = FairFrameQueue()
    for _ in range(2):
        with pytest.raises(trio.TooSlowError), trio.fail_after(1):
            await inbox.take()
        inbox.put("source", b"frame")
        assert await inbox.take() == [("source", b"frame")]
