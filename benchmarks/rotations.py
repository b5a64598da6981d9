"""Rotations of protocol 1 and of protocol 2, one after the other: ``python -m benchmarks.rotations [--operators 4 7]``.

The engines of all operators run in this process, over real curves and real stores. A frame or a body reaches the others after
``--delay`` seconds. All see the boundary at once. Measured is the time from there until all that are present know the certificate,
and until older shares may be erased: in protocol 1 that is when the version is settled, in protocol 2 it is the same moment.

One process does the work of all operators, and the libraries hold the interpreter's lock, so the processors' part is that of all
operators together; its CPU time is shown for each operator. The median of ``--times`` rotations is shown; with one operator absent,
the first one is left out, as the others may still expect it to lead.
"""

import argparse
import math
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import trio

from benchmarks.tables import show
from eigenkms.crypto.pvss import LogarithmTable
from eigenkms.node.v2.engine import Engine as Engine2
from eigenkms.node.v2.versions import Versions as Versions2
from eigenkms.node.v2.workers import Workers
from eigenkms.protocols.frames import Frame, decode_frame
from eigenkms.protocols.session import Session
from eigenkms.protocols.v2.operator import Operator as Operator2
from eigenkms.storage.store import Store
from eigenkms.types import OperatorAddress
from tests.node.engines import Room, Seat, seat, seated_cast
from tests.node.support import open_store
from tests.protocols.support import Cast

WINDOW_MS = 4000
GRACE = 0.25
LOOK_SECONDS = 0.005
PULL_SECONDS = 0.25


class Present(Protocol):
    """One operator that takes part."""

    async def see(self, session: Session, *, may_found: bool) -> None: ...

    def knows(self, session: Session) -> bool: ...

    def has_settled(self, session: Session) -> bool: ...

    async def run(self) -> None: ...


class SlowRoom(Room):
    """What is said reaches the others after a delay."""

    def __init__(self, nursery: trio.Nursery, delay: float) -> None:
        super().__init__()
        self._nursery, self._delay = nursery, delay

    def say(self, sender: OperatorAddress, frame: Frame, recipient: OperatorAddress | None) -> None:
        async def arrive() -> None:
            await trio.sleep(self._delay)
            super(SlowRoom, self).say(sender, frame, recipient)

        self._nursery.start_soon(arrive)


@dataclass
class First:
    """An operator of protocol 1."""

    seat: Seat

    async def see(self, session: Session, *, may_found: bool) -> None:
        await self.seat.engine.boundary(self.seat, session, may_vote=True, may_found=may_found)

    def knows(self, session: Session) -> bool:
        newest = self.seat.versions.newest
        return newest is not None and newest.epoch.transcript.session == session.id

    def has_settled(self, session: Session) -> bool:
        newest = self.seat.versions.newest_settled
        return newest is not None and newest.epoch.transcript.session == session.id

    async def run(self) -> None:
        await self.seat.run()


@dataclass
class Second:
    """An operator of protocol 2; ``Outlet`` of its engine."""

    me: OperatorAddress
    engine: Engine2
    versions: Versions2
    nursery: trio.Nursery
    delay: float
    others: "dict[OperatorAddress, Second]" = field(default_factory=dict)

    def _send(self, arrive: "Callable[[Second], None]") -> None:
        async def travel() -> None:
            await trio.sleep(self.delay)
            for address, other in self.others.items():
                if address != self.me:
                    arrive(other)

        self.nursery.start_soon(travel)

    async def broadcast(self, frame: Frame) -> None:
        self._send(lambda other: other.engine.offer(self.me, frame.encoded))

    async def publish(self, session: Session, name: bytes, body: bytes) -> None:
        del session
        self._send(lambda other: other.engine.offer_body(self.me, name, body))

    async def see(self, session: Session, *, may_found: bool) -> None:
        await self.engine.boundary(self, session, may_vote=True, may_found=may_found)

    def knows(self, session: Session) -> bool:
        newest = self.versions.newest
        return newest is not None and newest.epoch.transcript.session == session.id

    has_settled = knows

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.engine.run, self)
            while True:
                await trio.sleep(PULL_SECONDS)
                for request in await self.engine.sync_requests():
                    for other in tuple(self.others.values()):
                        for frame in await other.engine.sync_reply(decode_frame(request.encoded)):
                            self.engine.offer(frame.sender, frame.encoded)


@asynccontextmanager
async def of_protocol_1(who: Cast, folder: Path, delay: float) -> "AsyncIterator[list[First]]":
    """All operators, running."""
    stores: list[Store] = []
    async with trio.open_nursery() as nursery:
        room = SlowRoom(nursery, delay)
        people = []
        for address in who.addresses:
            stores.append(open_store(folder / address.hex(), address))
            made = seat(who, address, room, stores[-1])
            room.seats[address] = made
            people.append(First(made))
        yield people
        nursery.cancel_scope.cancel()
    for store in stores:
        store.close()


@asynccontextmanager
async def of_protocol_2(who: Cast, folder: Path, delay: float) -> "AsyncIterator[list[Second]]":
    """All operators, running."""
    stores: list[Store] = []
    table = LogarithmTable()
    keys = {address: key.g2 for address, key in who.keys.items()}
    everybody: dict[OperatorAddress, Second] = {}
    async with trio.open_nursery() as nursery:
        for address in who.addresses:
            store = open_store(folder / address.hex(), address)
            stores.append(store)
            versions = Versions2(store)
            operator = Operator2(address, who.keys[address], os.urandom, GRACE)
            engine = Engine2(operator, store, versions, Workers(os.urandom, lambda: table), keys.get)
            everybody[address] = Second(address, engine, versions, nursery, delay, everybody)
        yield list(everybody.values())
        nursery.cancel_scope.cancel()
    for store in stores:
        store.close()


class Taken(NamedTuple):
    """Seconds that one session took."""

    certified: float
    settled: float
    cpu: float


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - engines have no event for it
        await trio.sleep(LOOK_SECONDS)


async def one_session(people: Sequence[Present], session: Session, *, may_found: bool) -> Taken:
    """Seconds until all know the certificate, and until all know that older shares may go."""
    begun, cpu = trio.current_time(), time.process_time()

    async def see(person: Present) -> None:
        await person.see(session, may_found=may_found)

    async with trio.open_nursery() as nursery:
        for person in people:
            nursery.start_soon(see, person)
    await until(lambda: all(p.knows(session) for p in people))
    certified, used = trio.current_time() - begun, (time.process_time() - cpu) / len(people)
    with trio.move_on_after(WINDOW_MS / 1000):
        await until(lambda: all(p.has_settled(session) for p in people))
        return Taken(certified, trio.current_time() - begun, used)
    return Taken(certified, float("nan"), used)


async def rotations(people: Sequence[Present], who: Cast, first: int, times: int) -> list[Taken]:
    taken = []
    for number in range(times):
        taken.append(await one_session(people, who.later(10 * (first + number)), may_found=False))
        await trio.sleep(1.0)
    return taken


def row(protocol: int, n: int, who: str, taken: Sequence[Taken]) -> dict[str, str]:
    settled = statistics.median(t.settled for t in taken)
    return {
        "protocol": str(protocol),
        "operators": str(n),
        "present": who,
        "certificate, s": f"{statistics.median(t.certified for t in taken):.2f}",
        "CPU until then, s a node": f"{statistics.median(t.cpu for t in taken):.2f}",
        "older shares may go, s": "never" if math.isnan(settled) else f"{settled:.2f}",
    }


async def measure(protocol: int, n: int, delay: float, times: int) -> list[dict[str, str]]:
    who = seated_cast(n, window_ms=WINDOW_MS)
    make = of_protocol_1 if protocol == 1 else of_protocol_2
    with tempfile.TemporaryDirectory() as folder:
        async with make(who, Path(folder), delay) as people, trio.open_nursery() as nursery:
            scopes: list[trio.CancelScope] = []

            async def live(run: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
                with scope:
                    await run()

            for person in people:
                scopes.append(trio.CancelScope())
                nursery.start_soon(live, person.run, scopes[-1])
            await one_session(people, who.session, may_found=True)
            await trio.sleep(1.0)
            rows = [row(protocol, n, "all", await rotations(people, who, 1, times))]
            scopes[0].cancel()
            taken = await rotations(people[1:], who, 1 + times, 1 + times)
            rows.append(row(protocol, n, "all but one", taken[1:]))
            nursery.cancel_scope.cancel()
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operators", type=int, nargs="+", default=[4, 7])
    parser.add_argument("--delay", type=float, default=0.05)
    parser.add_argument("--times", type=int, default=3)
    given = parser.parse_args(arguments)
    rows = []
    for n in given.operators:
        for protocol in (1, 2):
            rows += trio.run(measure, protocol, n, given.delay, given.times)
    show(
        f"a rotation, messages take {1000 * given.delay:g} ms, window {WINDOW_MS} ms, grace {GRACE:g} s", rows
    )


if __name__ == "__main__":
    main()
