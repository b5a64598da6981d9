"""Engines with real stores and real machines over toy curves, which pass each other frames in memory."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
import trio

from eigenkms.cli.report import leaves
from eigenkms.errors import StorageError
from eigenkms.node.engine import Engine
from eigenkms.node.versions import Versions
from eigenkms.protocols.frames import Frame, Kind, decode_frame
from eigenkms.protocols.operator import Operator
from eigenkms.protocols.session import Parameters, Session
from eigenkms.storage.store import Store
from eigenkms.types import OperatorAddress
from tests.node.support import open_store
from tests.protocols.support import Cast, cast, counter_rng
from tests.support.waiting import pace

FAR_WINDOW_MS: Final = 3_600_000
"""No window ends in a test, however slow the machine is: operators that all take part wait for none."""


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
    """Where frames of all engines go: heard at once by everybody who is in."""

    def __init__(self) -> None:
        self.seats: dict[OperatorAddress, Seat] = {}

    def say(self, sender: OperatorAddress, frame: Frame, recipient: OperatorAddress | None) -> None:
        for address, seat in self.seats.items():
            if address != sender and recipient in (None, address):
                seat.engine.offer(frame.sender, frame.encoded)


@dataclass
class Seat:
    """One operator's engine; ``Outlet`` of it. ``sent`` is what left it, in order."""

    me: OperatorAddress
    store: Store
    engine: Engine
    versions: Versions
    room: Room
    sent: list[Frame] = field(default_factory=list)
    before_sending: Callable[["Seat", Frame], None] = lambda _seat, _frame: None

    async def broadcast(self, frame: Frame) -> None:
        self._send(frame, None)

    async def direct(self, recipient: OperatorAddress, frame: Frame) -> None:
        self._send(frame, recipient)

    def _send(self, frame: Frame, recipient: OperatorAddress | None) -> None:
        self.before_sending(self, frame)
        self.sent.append(frame)
        self.room.say(self.me, frame, recipient)

    async def run(self) -> None:
        """As a node does, but for the links: pull is by hand."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.engine.run, self)
            nursery.start_soon(self._pull)

    async def _pull(self) -> None:
        while True:
            await pace(0.05)
            for request in await self.engine.sync_requests():
                for other in [s for a, s in self.room.seats.items() if a != self.me]:
                    for frame in await other.engine.sync_reply(decode_frame(request.encoded)):
                        self.engine.offer(frame.sender, frame.encoded)


def seat(who: Cast, me: OperatorAddress, room: Room, store: Store, *, life: str = "first") -> Seat:
    """An operator's engine over its store; in another ``life`` its secrets are others."""
    versions = Versions(store)
    operator = Operator(me, who.keys[me], counter_rng(f"secrets of {me.hex()}, {life} life"))
    keys = {address: key.g2 for address, key in who.keys.items()}
    return Seat(me, store, Engine(operator, store, versions, keys.get), versions, room)


@asynccontextmanager
async def seated(
    who: Cast, room: Room, folder: Path, *addresses: OperatorAddress, life: str = "first"
) -> AsyncIterator[list[Seat]]:
    """Engines that run for the length of the context, with stores in ``folder``."""
    stores = [open_store(folder / a.hex(), a, seed=f"{a.hex()}, {life} life") for a in addresses]
    seats = [seat(who, a, room, s, life=life) for a, s in zip(addresses, stores, strict=True)]
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
    who: Cast, folder: Path, life: str, addresses: Sequence[OperatorAddress] = ()
) -> AsyncIterator[list[Seat]]:
    """All, or these operators, in one more life of theirs."""
    async with seated(who, Room(), folder, *(addresses or who.addresses), life=life) as seats:
        for each in seats:
            await each.engine.restore(each, 1_700_000_000.0)
        yield seats


async def see(seats: Sequence[Seat], session: Session, *, may_found: bool = False) -> list[bool]:
    """A boundary, at all of them; who takes part."""
    return [await s.engine.boundary(s, session, may_vote=True, may_found=may_found) for s in seats]


def check_journaled(seat: Seat, frame: Frame) -> None:
    """What leaves is in the journal of its session, or follows from what is: a share from the polynomial."""
    if frame.sender != seat.me or frame.kind is Kind.CERTIFICATE:
        return
    records = seat.store.records(frame.session)
    if frame.kind is Kind.SHARE:
        assert any(r.kind == "polynomial" for r in records), frame
    else:
        assert any(r.kind == "frame" and r.body == frame.encoded for r in records), frame


@contextmanager
def refused(reason: str, hint: str = "") -> Iterator[None]:
    """The disk refuses for this reason. A step that waited for its turn then may be refused as well."""
    with pytest.raises(ExceptionGroup) as ended:
        yield
    errors = list(leaves(ended.value))
    found = [error for error in errors if isinstance(error, StorageError)]
    assert found == errors
    assert any(reason in str(error) and hint in str(error.hint) for error in found), errors
