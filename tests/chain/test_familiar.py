"""Made-up applications: who they take room from, and who is known from an earlier life. The chain is a fake that can be held up."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
import trio.testing

from eigenkms.applications import AppStatus
from eigenkms.chain import applications
from eigenkms.chain.applications import STATUSES, ChainApplications
from eigenkms.errors import ChainError
from eigenkms.types import AppId, BlockRef

REAL = [AppId(f"0x{number:040x}") for number in (1, 2)]
CREATOR = "0x" + "11" * 20


@dataclass
class SlowChain:
    """A chain with the applications ``REAL``, on which nothing made up is read before ``free`` is set."""

    free: trio.Event = field(default_factory=trio.Event)
    read: list[str] = field(default_factory=list)

    async def require_contract(self, what: str, contract: bytes) -> None:
        pass

    def require_fresh(self, what: str) -> None:
        pass

    async def head(self) -> BlockRef:
        return BlockRef(1, bytes(32), 1_700_000_000)

    async def read_at(self, block: BlockRef, contract: bytes, calls: list[Any]) -> tuple[str, int, int]:
        asked = "0x" + calls[0][1][0].hex()
        self.read.append(asked)
        if asked not in REAL:
            await self.free.wait()
        return CREATOR, STATUSES.index(AppStatus.STARTED if asked in REAL else AppStatus.NONE), 0


@dataclass
class Kept:
    """What outlives a restart."""

    known: list[bytes] = field(default_factory=list)

    def addresses(self) -> list[bytes]:
        return self.known

    def add(self, address: bytes) -> None:
        self.known.append(address)


def made_up(number: int) -> AppId:
    return AppId(f"0x{number + 1000:040x}")


async def flood(
    chain: SlowChain, known: ChainApplications, nursery: trio.Nursery, clients: list[str]
) -> list[str]:
    """A lookup of something made up for each of these clients. The clients of those that were refused."""
    refused: list[str] = []

    async def ask(number: int, client: str) -> None:
        try:
            assert await known.lookup(made_up(number), client) is None
        except ChainError:
            refused.append(client)

    for number, client in enumerate(clients):
        nursery.start_soon(ask, number, client)
    await trio.testing.wait_all_tasks_blocked()
    return refused


async def test_a_client_has_few_places_for_made_up_applications(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """So another one's new application is looked up beside a flood, until as many flood as there are places."""
    chain = SlowChain()
    known = ChainApplications(chain, bytes(20))  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        refused = await flood(chain, known, nursery, ["203.0.113.1"] * 100)
        assert len(refused) == 100 - applications.STRANGERS_OF_ONE
        nursery.start_soon(known.lookup, REAL[0], "203.0.113.2")
        await trio.testing.wait_all_tasks_blocked()
        chain.free.set()
    assert REAL[0] in chain.read
    assert await known.lookup(REAL[0], "203.0.113.1") is not None


async def test_what_was_found_is_familiar_in_the_next_life(autojump_clock: trio.testing.MockClock) -> None:
    """Its lookup takes none of the places, all of which are taken; what was not found before is refused."""
    kept = Kept()
    first = ChainApplications(SlowChain(), bytes(20), kept)  # type: ignore[arg-type]
    for _ in range(2):
        assert await first.lookup(REAL[0]) is not None
    assert kept.known == [bytes.fromhex(REAL[0][2:])]
    chain = SlowChain()
    second = ChainApplications(chain, bytes(20), kept)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        clients = [f"203.0.113.{number}" for number in range(applications.STRANGERS)]
        assert await flood(chain, second, nursery, clients) == []
        assert await second.lookup(REAL[0], "198.51.100.7") is not None
        with pytest.raises(ChainError, match="too many are asked for"):
            await second.lookup(REAL[1], "198.51.100.7")
        nursery.cancel_scope.cancel()
