"""Engines with real stores and real machines over toy curves, which pass each other frames and bodies in memory."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
import trio

from eigenkms.cli.support.output import flatten
from eigenkms.errors import StorageError
from eigenkms.node.engine.engine import Engine
from eigenkms.node.engine.workers import Workers
from eigenkms.node.key_versions import Versions
from eigenkms.protocols.ceremony.participant import Participant
from eigenkms.storage.store import Store
from eigenkms.types import OperatorAddress
from eigenkms.wire.frames import Frame, FrameKind, decode_frame
from eigenkms.wire.session import Parameters, Session
from tests.protocols.support import Cast, cast
from tests.support.nodes import open_store
from tests.support.pvss_stage import table
from tests.support.randomness import counter_rng
from tests.support.waiting import pace

FAR_WINDOW_MS: Final = 3_600_000
"""No window ends in a test, however slow the machine is: operators that all take part wait for none."""
FAR_GRACE: Final = 3600.0
"""Nor does the grace of a session."""


def seated_cast(n: int, *, window_ms: int = FAR_WINDOW_MS, genesis_quorum: int = 0) -> Cast:
    """Operators with a session at block 100; a quorum of 0 is all of them."""
    made = cast(n)
    session = made.session
    made.session = Session(
        session.cluster,
        session.boundary,
        session.recipients,
        Parameters(10, "latest", window_ms, genesis_quorum),
    )
    return made


class Room:
    """Where frames and bodies of all engines go: they are received at once by everybody who is in."""

    def __init__(self) -> None:
        self.seats: dict[OperatorAddress, Seat] = {}

    def others(self, me: OperatorAddress) -> list["Seat"]:
        return [seat for address, seat in self.seats.items() if address != me]

    def spread(self, sender: OperatorAddress, arrive: Callable[["Seat"], None]) -> None:
        """Let something of the sender's arrive at all others."""
        for other in self.others(sender):
            arrive(other)


@dataclass
class Seat:
    """One operator's engine; ``Outlet`` of it. ``sent`` is what left it, in order."""

    me: OperatorAddress
    store: Store
    engine: Engine
    versions: Versions
    room: Room
    sent: list[Frame] = field(default_factory=list)
    published: list[bytes] = field(default_factory=list)
    """Bodies that left it."""
    before_sending: Callable[["Seat", Frame], None] = lambda _seat, _frame: None

    async def broadcast(self, frame: Frame) -> None:
        self.before_sending(self, frame)
        self.sent.append(frame)
        self.room.spread(self.me, lambda other: other.engine.submit(frame.sender, frame.encoded))

    async def publish(self, session: Session, name: bytes, body: bytes) -> None:
        self.published.append(body)

        def arrive(other: Seat) -> None:
            if session.recipients.get(other.me) is not None:
                other.engine.submit_body(self.me, name, body)

        self.room.spread(self.me, arrive)

    async def run(self) -> None:
        """As a node does, but for the links: pull is by hand."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.engine.run, self)
            nursery.start_soon(self._pull)

    async def _pull(self) -> None:
        while True:
            await pace(0.05)
            for request in await self.engine.queries.sync_requests():
                for other in self.room.others(self.me):
                    for frame in await other.engine.queries.sync_reply(decode_frame(request.encoded)):
                        self.engine.submit(frame.sender, frame.encoded)
            for other in self.room.others(self.me):
                await self._fetch_from(other)

    async def _fetch_from(self, other: "Seat") -> None:
        wanted = self.engine.wanted
        for name in wanted.bodies:
            body = await other.engine.queries.body(name)
            if body is not None:
                self.engine.submit_body(other.me, name, body)
        for name in wanted.rows:
            row = await other.engine.queries.row(name, self.me)
            if row is not None:
                await self.engine.take_row(self, name, row)


def seat(
    who: Cast, me: OperatorAddress, room: Room, store: Store, *, life: str = "first", grace: float = FAR_GRACE
) -> Seat:
    """An operator's engine over its store; in another ``life`` its secrets are others."""
    versions = Versions(store)
    secrets = counter_rng(f"secrets of {me.hex()}, {life} life")
    operator = Participant(me, who.keys[me], secrets, lambda: grace)
    workers = Workers(counter_rng(f"work of {me.hex()}, {life} life"), table)
    keys = {address: key.g2 for address, key in who.keys.items()}
    return Seat(me, store, Engine(operator, store, versions, workers, keys.get), versions, room)


@asynccontextmanager
async def seated(
    who: Cast,
    room: Room,
    folder: Path,
    *addresses: OperatorAddress,
    life: str = "first",
    grace: float = FAR_GRACE,
) -> AsyncIterator[list[Seat]]:
    """Engines that run for the length of the context, with stores in ``folder``."""
    stores = [open_store(folder / a.hex(), a, seed=f"{a.hex()}, {life} life") for a in addresses]
    seats = [seat(who, a, room, s, life=life, grace=grace) for a, s in zip(addresses, stores, strict=True)]
    try:
        async with trio.open_nursery() as nursery:
            for each in seats:
                room.seats[each.me] = each
                nursery.start_soon(each.run)
            yield seats
            nursery.cancel_scope.cancel()
    finally:
        for each in seats:
            room.seats.pop(each.me, None)
            each.store.close()


@asynccontextmanager
async def alive(
    who: Cast, folder: Path, life: str, addresses: Sequence[OperatorAddress] = (), *, grace: float = FAR_GRACE
) -> AsyncIterator[list[Seat]]:
    """All, or these operators, in one more life of theirs."""
    names = addresses or who.addresses
    async with seated(who, Room(), folder, *names, life=life, grace=grace) as seats:
        for each in seats:
            await each.engine.restore(each, 1_700_000_000.0)
        yield seats


async def see(seats: Sequence[Seat], session: Session, *, may_found: bool = False) -> list[bool]:
    """A boundary, at all of them; who takes part."""
    return [await s.engine.boundary(s, session, may_vote=True, may_found=may_found) for s in seats]


def hold(seats: Sequence[Seat], session: Session) -> Callable[[], bool]:
    """Whether all hold their share of the version of this session, and know nothing older."""

    def check() -> bool:
        newest = [s.versions.newest for s in seats]
        return all(len(s.versions.known()) == 1 for s in seats) and all(
            held is not None and held.epoch.transcript.session == session.id and held.share is not None
            for held in newest
        )

    return check


def check_journaled(seat: Seat, frame: Frame) -> None:
    """What leaves is in the journal of its session; an encryption key is in the store before it is published."""
    if frame.sender != seat.me or frame.kind is FrameKind.CERTIFICATE:
        return
    records = seat.store.records(frame.session)
    assert any(r.kind == "frame" and r.body == frame.encoded for r in records), frame
    if frame.kind is FrameKind.KEY:
        assert seat.store.keys(), frame
    if frame.kind is FrameKind.DEALING:
        assert any(r.kind == "body" for r in records), frame


@contextmanager
def refused(reason: str, hint: str = "") -> Iterator[None]:
    """The disk refuses for this reason. A step that waited for its turn then may be refused as well."""
    with pytest.raises(ExceptionGroup) as ended:
        yield
    errors = list(flatten(ended.value))
    found = [error for error in errors if isinstance(error, StorageError)]
    assert found == errors
    assert any(reason in str(error) and hint in str(error.hint) for error in found), errors
