"""Which connections a server keeps, and which one ends if there is no room for another.

An open connection costs a stranger nothing. So a full server does not turn newcomers away: it ends a connection that waits for
its client. There are two kinds. An *idle* one has no request under way: a handshake or a head is incomplete, or the next request
has not come. Its client loses only the connection. A *transferring* one waits for bytes of a body, or for a client that reads its
answer.

- If a client holds its whole share, its own longest idle connection ends.
- If all places are taken, the longest idle connection of the client that holds the most ends.
- If none is idle, the transfer that is stuck the longest ends, of the client that holds the most. It must still hold as many as the
  newcomer afterwards.

A connection whose request is worked on here is never ended. The number of those is bounded elsewhere (``limits.InProgress``).
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import Final

import trio


class PlaceUse(Enum):
    """What a connection waits for: a request, bytes to or from its client, or this machine."""

    IDLE = auto()
    TRANSFER = auto()
    WORK = auto()


class Place:
    """One connection of ``client``. ``scope`` is its task's: cancelling it ends the connection."""

    def __init__(self, client: str) -> None:
        self.client: Final = client
        self.scope: Final = trio.CancelScope()
        self.use = PlaceUse.IDLE
        self.since = trio.current_time()

    def turn(self, use: PlaceUse) -> None:
        """From now on it waits for something else."""
        self.use = use
        self.since = trio.current_time()

    @contextmanager
    def transferring(self) -> Iterator[None]:
        """The block waits for the client."""
        before = self.use
        self.turn(PlaceUse.TRANSFER)
        try:
            yield
        finally:
            self.turn(before)


class ConnectionPlaces:
    """At most ``limit`` connections, ``of_one`` of them for one client."""

    def __init__(self, limit: int, of_one: int) -> None:
        self._limit = limit
        self._of_one = of_one
        self._held: dict[Place, None] = {}
        self._count: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._held)

    @contextmanager
    def reserve(self, client: str) -> Iterator[Place | None]:
        """A place until the block ends, or until a newcomer gets it: its ``scope`` is cancelled then. None if there is none."""
        place = Place(client) if self._has_room(client) else None
        if place is None:
            yield None
            return
        self._held[place] = None
        self._count[client] += 1
        try:
            yield place
        finally:
            self._give_back(place)

    def _has_room(self, client: str) -> bool:
        """Whether there is a place for another connection of ``client``; one is made if it can be."""
        if self._count[client] >= self._of_one:
            return self._end(self._longest(PlaceUse.IDLE, lambda place: place.client == client))
        if len(self._held) < self._limit:
            return True
        fewer = self._count[client] + 1
        return self._end(
            self._longest(PlaceUse.IDLE, lambda _: True)
            or self._longest(PlaceUse.TRANSFER, lambda place: self._count[place.client] > fewer)
        )

    def _longest(self, use: PlaceUse, may_end: Callable[[Place], bool]) -> Place | None:
        """Of the client that holds the most."""
        found = (place for place in self._held if place.use is use and may_end(place))
        return min(found, key=lambda place: (-self._count[place.client], place.since), default=None)

    def _end(self, place: Place | None) -> bool:
        if place is None:
            return False
        self._give_back(place)
        place.scope.cancel()
        return True

    def _give_back(self, place: Place) -> None:
        if place not in self._held:
            return
        del self._held[place]
        self._count[place.client] -= 1
        if not self._count[place.client]:
            del self._count[place.client]
