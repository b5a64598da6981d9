"""Who keeps a place when there is none for a newcomer, with tasks in place of connections."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from eigenkms.node.http.connection_table import ConnectionEntry, ConnectionState, ConnectionTable
from tests.support.waiting import pass_time

pytestmark = pytest.mark.usefixtures("virtual_clock")


class Room:
    """Connections that last until they are ended."""

    def __init__(self, nursery: trio.Nursery, limit: int, of_one: int) -> None:
        self.connections = ConnectionTable(limit, of_one)
        self.ended: list[str] = []
        self._nursery = nursery

    async def enter(self, client: str, state: ConnectionState = ConnectionState.IDLE, name: str = "") -> bool:
        """Whether there is a place for one more; a second later than the one before."""
        await pass_time(1)
        entry: ConnectionEntry | None = await self._nursery.start(self._stay, client, name or client)
        if entry is not None:
            entry.enter(state)
        return entry is not None

    async def _stay(
        self, client: str, name: str, task_status: trio.TaskStatus[ConnectionEntry | None]
    ) -> None:
        with self.connections.reserve(client) as entry:
            task_status.started(entry)
            if entry is not None:
                with entry.scope:
                    await trio.sleep_forever()
                self.ended.append(name)

    async def told(self) -> list[str]:
        """Whose connections were ended, in order."""
        await pass_time(1)
        return self.ended


@asynccontextmanager
async def room(limit: int, of_one: int) -> AsyncIterator[Room]:
    async with trio.open_nursery() as nursery:
        yield Room(nursery, limit, of_one)
        nursery.cancel_scope.cancel()


async def test_a_client_pays_with_its_own_when_its_share_is_full() -> None:
    """With the one that is idle the longest; others keep theirs, also if they are idle for longer."""
    async with room(limit=10, of_one=2) as entered:
        assert await entered.enter("other")
        assert await entered.enter("one", name="first")
        assert await entered.enter("one", name="second")
        assert await entered.enter("one", name="third")
        assert await entered.told() == ["first"]
        assert len(entered.connections) == 3


async def test_who_holds_the_most_pays_when_all_is_full() -> None:
    """So a client that came long ago keeps its connection through any number of connections of another."""
    async with room(limit=4, of_one=3) as entered:
        assert await entered.enter("honest")
        for number in range(3):
            assert await entered.enter("greedy", name=f"greedy {number}")
        assert await entered.enter("newcomer")
        assert await entered.enter("another")
        assert await entered.told() == ["greedy 0", "greedy 1"]
        assert len(entered.connections) == 4


async def test_what_is_worked_on_is_never_ended() -> None:
    """Then there is no place: neither within a client's share nor within that of all."""
    async with room(limit=3, of_one=2) as entered:
        assert await entered.enter("one", ConnectionState.WORK)
        assert await entered.enter("one", ConnectionState.WORK)
        assert not await entered.enter("one")
        assert await entered.enter("two", ConnectionState.WORK)
        assert not await entered.enter("three")
        assert await entered.told() == []


async def test_a_transfer_ends_for_a_client_that_has_less() -> None:
    """Only if none is idle, and not among clients that hold as many as each other."""
    async with room(limit=3, of_one=2) as entered:
        assert await entered.enter("one", ConnectionState.TRANSFER, name="stuck")
        assert await entered.enter("one", ConnectionState.TRANSFER, name="newer")
        assert await entered.enter("two", name="idle")
        assert not await entered.enter("one"), "it has its share, in transfers"
        assert await entered.enter("three", ConnectionState.TRANSFER)
        assert await entered.told() == ["idle"]
        assert await entered.enter("four", ConnectionState.TRANSFER)
        assert await entered.told() == ["idle", "stuck"]
        assert not await entered.enter("five")


async def test_waiting_for_a_client_inside_of_other_waiting_is_still_waiting() -> None:
    """As when a body is waited for, and the client is first told to go on."""
    entry = ConnectionEntry("one")
    entry.enter(ConnectionState.WORK)
    with entry.transferring():
        with entry.transferring():
            pass
        assert entry.state is ConnectionState.TRANSFER
    assert entry.state is ConnectionState.WORK
