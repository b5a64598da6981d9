"""Rotations of engines with real stores: ``python -m benchmarks.rotations``.

    python -m benchmarks.rotations [--operators 4 7] [--times N] [--delay SECONDS]

The engines of all operators run in this process, over real curves. A frame or a body reaches the others after ``--delay`` seconds.
All see the boundary at once. Measured is the time from there until all that are present know the certificate, after which older
shares are erased, and until all of them have decrypted their new shares.

One process does the work of all operators, and the libraries hold the interpreter's lock, so the processors' part is that of all
operators together. Its CPU time is divided by the operators. The median of ``--times`` rotations is shown. With one operator
absent, the first rotation is left out, as the others may still expect it to lead.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import trio

from benchmarks.tables import show
from eigenkms.crypto.keystore import ScryptCost
from eigenkms.crypto.pvss import LogarithmTable
from eigenkms.node.engine.engine import Engine
from eigenkms.node.engine.workers import Workers
from eigenkms.node.key_versions import HeldVersion, Versions
from eigenkms.protocols.ceremony.participant import Participant
from eigenkms.storage.store import Store, StoreIdentity
from eigenkms.types import OperatorAddress
from eigenkms.wire.frames import Frame, decode_frame
from eigenkms.wire.session import Parameters, Session
from tests.protocols.support import Cast, cast

WINDOW_MS = 4000
GRACE = 0.25
LOOK_SECONDS = 0.005
PULL_SECONDS = 0.25


@dataclass
class Seat:
    """One operator; ``Outlet`` of its engine."""

    me: OperatorAddress
    engine: Engine
    versions: Versions
    nursery: trio.Nursery
    delay: float
    everybody: "dict[OperatorAddress, Seat]" = field(default_factory=dict)

    def _send(self, arrive: "Callable[[Seat], None]") -> None:
        async def travel() -> None:
            await trio.sleep(self.delay)
            for address, other in self.everybody.items():
                if address != self.me:
                    arrive(other)

        self.nursery.start_soon(travel)

    async def broadcast(self, frame: Frame) -> None:
        self._send(lambda other: other.engine.submit(self.me, frame.encoded))

    async def publish(self, session: Session, name: bytes, body: bytes) -> None:
        del session
        self._send(lambda other: other.engine.submit_body(self.me, name, body))

    def version_of(self, session: Session) -> HeldVersion | None:
        """Return the certified version that the session made, if it is here."""
        newest = self.versions.newest
        return newest if newest is not None and newest.epoch.transcript.session == session.id else None

    def holds_share(self, session: Session) -> bool:
        version = self.version_of(session)
        return version is not None and version.share is not None

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.engine.run, self)
            while True:
                await trio.sleep(PULL_SECONDS)
                for request in await self.engine.queries.sync_requests():
                    for other in tuple(self.everybody.values()):
                        for frame in await other.engine.queries.sync_reply(decode_frame(request.encoded)):
                            self.engine.submit(frame.sender, frame.encoded)


@asynccontextmanager
async def seated(who: Cast, folder: Path, delay: float) -> AsyncIterator[list[Seat]]:
    """Open the stores and engines of all operators."""
    stores: list[Store] = []
    table = LogarithmTable()
    keys = {address: key.g2 for address, key in who.keys.items()}
    everybody: dict[OperatorAddress, Seat] = {}
    async with trio.open_nursery() as nursery:
        for address in who.addresses:
            identity = StoreIdentity(who.session.cluster, address)
            where, cost = folder / address.hex(), ScryptCost(n=2, r=1, p=1)
            store = Store.open(where, password="benchmark", identity=identity, rng=os.urandom, kdf=cost)
            stores.append(store)
            versions = Versions(store)
            operator = Participant(address, who.keys[address], os.urandom, lambda: GRACE)
            engine = Engine(operator, store, versions, Workers(os.urandom, lambda: table), keys.get)
            everybody[address] = Seat(address, engine, versions, nursery, delay, everybody)
        yield list(everybody.values())
        nursery.cancel_scope.cancel()
    for store in stores:
        store.close()


class Taken(NamedTuple):
    """Seconds that one session took."""

    certified: float
    shared: float
    cpu: float


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - engines have no event for it
        await trio.sleep(LOOK_SECONDS)


async def one_session(seats: Sequence[Seat], session: Session, *, may_found: bool = False) -> Taken:
    """Run a session, and return its seconds.

    They end when all know the certificate, and when all hold their shares. The CPU until then is that of one operator.
    """
    begun, cpu = trio.current_time(), time.process_time()

    async def see(seat: Seat) -> None:
        await seat.engine.boundary(seat, session, may_vote=True, may_found=may_found)

    async with trio.open_nursery() as nursery:
        for seat in seats:
            nursery.start_soon(see, seat)
    await until(lambda: all(seat.version_of(session) for seat in seats))
    certified = trio.current_time() - begun
    await until(lambda: all(seat.holds_share(session) for seat in seats))
    used = (time.process_time() - cpu) / len(seats)
    return Taken(certified, trio.current_time() - begun, used)


async def rotations(seats: Sequence[Seat], who: Cast, first: int, times: int) -> list[Taken]:
    taken = []
    for number in range(times):
        taken.append(await one_session(seats, who.later(10 * (first + number))))
        await trio.sleep(1.0)
    return taken


def row(n: int, who: str, taken: Sequence[Taken]) -> dict[str, str]:
    return {
        "operators": str(n),
        "present": who,
        "certificate, s": f"{statistics.median(t.certified for t in taken):.2f}",
        "all shares, s": f"{statistics.median(t.shared for t in taken):.2f}",
        "CPU, s a node": f"{statistics.median(t.cpu for t in taken):.2f}",
    }


async def measure(n: int, delay: float, times: int) -> list[dict[str, str]]:
    who = cast(n)
    session = who.session
    who.session = Session(
        session.cluster, session.boundary, session.recipients, Parameters(10, "latest", WINDOW_MS)
    )
    with tempfile.TemporaryDirectory() as folder:
        async with seated(who, Path(folder), delay) as seats, trio.open_nursery() as nursery:
            absent = trio.CancelScope()

            async def live(seat: Seat, scope: trio.CancelScope) -> None:
                with scope:
                    await seat.run()

            for seat in seats:
                nursery.start_soon(live, seat, absent if seat is seats[0] else trio.CancelScope())
            await one_session(seats, who.session, may_found=True)
            await trio.sleep(1.0)
            rows = [row(n, "all", await rotations(seats, who, 1, times))]
            absent.cancel()
            taken = await rotations(seats[1:], who, 1 + times, 1 + times)
            rows.append(row(n, "all but one", taken[1:]))
            nursery.cancel_scope.cancel()
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--operators", type=int, nargs="+", default=[4, 7])
    parser.add_argument("--delay", type=float, default=0.05)
    parser.add_argument("--times", type=int, default=3)
    given = parser.parse_args(arguments)
    rows = [found for n in given.operators for found in trio.run(measure, n, given.delay, given.times)]
    show(
        f"a rotation, messages take {1000 * given.delay:g} ms, window {WINDOW_MS} ms, grace {GRACE:g} s", rows
    )


if __name__ == "__main__":
    main()
