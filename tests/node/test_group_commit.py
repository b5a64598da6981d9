"""What waits for the disk is written together, and nobody's trouble is anybody else's."""

import threading

import pytest
import trio
import trio.testing

from eigenkms.errors import StorageError
from eigenkms.node.group_commit import GroupCommit

PATIENCE = 10.0


class SlowDisk:
    """Writes numbers while its gate is open; ``trouble`` is raised once."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.batches: list[list[int]] = []
        self.trouble: StorageError | None = None

    def write(self, numbers: list[int]) -> list[str]:
        assert self.gate.wait(PATIENCE)
        self.batches.append(list(numbers))
        if self.trouble is not None:
            trouble, self.trouble = self.trouble, None
            raise trouble
        return [str(number) for number in numbers]


async def submit_all(disk: SlowDisk, count: int) -> dict[int, str | StorageError]:
    """Numbers from 0: the first is being written while all others come."""
    commits = GroupCommit(disk.write)
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
    assert await submit_all(disk, 9) == {number: str(number) for number in range(9)}
    assert disk.batches == [[0], [1, 2, 3, 4, 5, 6, 7, 8]]


async def test_a_disk_that_refuses_is_told_to_all_of_that_batch_alone() -> None:
    """The next batch is another try; each is told by an error of its own, with the hint."""
    disk = SlowDisk()
    disk.trouble = StorageError("write: the disk is full", hint="free some disk space")
    found = await submit_all(disk, 4)
    error = found.pop(0)
    assert isinstance(error, StorageError)
    assert (str(error), error.hint) == ("write: the disk is full", "free some disk space")
    assert found == {1: "1", 2: "2", 3: "3"}


async def test_errors_are_not_shared() -> None:
    """Two that fail together raise two exceptions, since each gathers a traceback."""
    disk = SlowDisk()
    found: list[StorageError] = []

    def write(numbers: list[int]) -> list[str]:
        if numbers == [1, 2]:
            raise StorageError("write: no")
        return disk.write(numbers)

    commits = GroupCommit(write)

    async def submit(number: int) -> None:
        with pytest.raises(StorageError, match="write: no") as caught:
            await commits.submit(number)
        found.append(caught.value)

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(commits.submit, 0)
            while not commits.is_writing:
                await trio.lowlevel.checkpoint()
            nursery.start_soon(submit, 1)
            while commits.waiting < 1:
                await trio.lowlevel.checkpoint()
            nursery.start_soon(submit, 2)
            while commits.waiting < 2:
                await trio.lowlevel.checkpoint()
            disk.gate.set()
    first, second = found
    assert first is not second


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
