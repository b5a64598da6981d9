"""What waits for the disk is written together, and nobody's trouble is anybody else's."""

import threading

import pytest
import trio
import trio.testing

from eigenkms.errors import StorageError
from eigenkms.storage.group_commit import GroupCommit
from tests.support.waiting import PATIENCE


class SlowDisk:
    """Writes numbers while its gate is open; ``trouble`` is raised once."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.batches: list[list[int]] = []
        self.trouble: Exception | None = None

    def write(self, numbers: list[int]) -> list[str]:
        assert self.gate.wait(PATIENCE)
        self.batches.append(list(numbers))
        if self.trouble is not None:
            trouble, self.trouble = self.trouble, None
            raise trouble
        return [str(number) for number in numbers]


async def submit_all(
    disk: SlowDisk, count: int, commits: GroupCommit[int, str]
) -> dict[int, str | StorageError]:
    """Numbers from 0: the first is being written while all others come."""
    found: dict[int, str | StorageError] = {}

    async def submit(number: int) -> None:
        try:
            found[number] = await commits.submit(number)
        except StorageError as error:
            found[number] = error

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(submit, number)
                while (commits.waiting, commits.is_writing) != (number, True):
                    await trio.lowlevel.checkpoint()
            assert found == {}, "nothing is told before it is written"
            disk.gate.set()
    assert (commits.waiting, commits.is_writing) == (0, False)
    return found


async def test_what_waits_is_written_together_and_each_gets_its_own_result() -> None:
    """One by itself, then all that came meanwhile in the order in which they came."""
    disk = SlowDisk()
    assert await submit_all(disk, 9, GroupCommit(disk.write)) == {number: str(number) for number in range(9)}
    assert disk.batches == [[0], [1, 2, 3, 4, 5, 6, 7, 8]]


@pytest.mark.parametrize(
    "trouble", [StorageError("write: the disk is full", hint="free some disk space"), MemoryError()]
)
async def test_after_a_writing_that_failed_there_is_none(trouble: Exception) -> None:
    """Neither those of that batch nor any later one are told that they are durable; ``run`` says why."""
    disk = SlowDisk()
    disk.trouble = trouble
    commits = GroupCommit(disk.write)
    found = await submit_all(disk, 4, commits)
    assert len({id(error) for error in found.values()}) == 4, "each gathers a traceback of its own"
    with pytest.raises(StorageError, match="the disk refused"):
        await commits.submit(4)
    assert all(isinstance(error, StorageError) for error in found.values())
    assert disk.batches == [[0]]
    with pytest.raises(type(trouble)) as caught:
        await commits.run()
    assert caught.value is trouble


async def test_a_writer_that_is_cancelled_writes_for_the_others() -> None:
    """Whoever waits for it gets its result; what was handed in by who left is written too."""
    disk = SlowDisk()
    commits = GroupCommit(disk.write)
    found: list[str] = []
    leaving = trio.CancelScope()

    async def submit(number: int, scope: trio.CancelScope) -> None:
        with scope:
            found.append(await commits.submit(number))

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for number, scope in ((0, trio.CancelScope()), (1, leaving), (2, trio.CancelScope())):
                nursery.start_soon(submit, number, scope)
                while (commits.waiting, commits.is_writing) != (number, True):
                    await trio.lowlevel.checkpoint()
            leaving.cancel()
            await trio.testing.wait_all_tasks_blocked()
            disk.gate.set()
    assert set(found) >= {"0", "2"}
    assert disk.batches == [[0], [1, 2]]
