"""The table of a server's connections, and the choice of the one that must end.

An open connection costs a stranger nothing. So a full server does not turn newcomers away: it ends a connection that waits for
its client. There are two kinds. An *idle* one has no request under way: a handshake or a head is incomplete, or the next request
has not come. Its client loses only the connection. A *transferring* one waits for bytes of a body, or for a client that reads its
answer.

- If a client holds its whole share, its own longest idle connection ends.
- If the table is full, the longest idle connection of the client that holds the most ends.
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


class ConnectionState(Enum):
    """The state of a connection, by what it waits for.

    IDLE waits for a request, TRANSFER for bytes to or from the client, WORK for this machine.
    """

    IDLE = auto()
    TRANSFER = auto()
    WORK = auto()


class ConnectionEntry:
    """One connection of ``client``, with its state since a time on trio's clock.

    ``scope`` is that of its task: cancelling it ends the connection.
    """

    def __init__(self, client: str) -> None:
        self.client: Final = client
        self.scope: Final = trio.CancelScope()
        self.state = ConnectionState.IDLE
        self.since = trio.current_time()

    def enter(self, state: ConnectionState) -> None:
        """Change the state, from now on."""
        self.state = state
        self.since = trio.current_time()

    @contextmanager
    def transferring(self) -> Iterator[None]:
        """Be in the state TRANSFER for the length of the block."""
        before = self.state
        self.enter(ConnectionState.TRANSFER)
        try:
            yield
        finally:
            self.enter(before)


class ConnectionTable:
    """At most ``limit`` connections, ``of_one`` of them for one client."""

    def __init__(self, limit: int, of_one: int) -> None:
        self._limit = limit
        self._of_one = of_one
        self._held: dict[ConnectionEntry, None] = {}
        self._count: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._held)

    @contextmanager
    def reserve(self, client: str) -> Iterator[ConnectionEntry | None]:
        """Hold an entry until the block ends, or yield None if there is no room.

        If a newcomer takes its room, the entry's ``scope`` is cancelled.
        """
        entry = ConnectionEntry(client) if self._has_room(client) else None
        if entry is None:
            yield None
            return
        self._held[entry] = None
        self._count[client] += 1
        try:
            yield entry
        finally:
            self._give_back(entry)

    def _has_room(self, client: str) -> bool:
        """Return whether there is room for another connection of ``client``.

        If need be, another connection ends to make room.
        """
        if self._count[client] >= self._of_one:
            return self._end(self._longest(ConnectionState.IDLE, lambda entry: entry.client == client))
        if len(self._held) < self._limit:
            return True
        fewer = self._count[client] + 1
        return self._end(
            self._longest(ConnectionState.IDLE, lambda _: True)
            or self._longest(ConnectionState.TRANSFER, lambda entry: self._count[entry.client] > fewer)
        )

    def _longest(
        self, state: ConnectionState, may_end: Callable[[ConnectionEntry], bool]
    ) -> ConnectionEntry | None:
        """Return the entry longest in ``state``, of the client that holds the most.

        Only entries that ``may_end`` accepts are compared. Returns None if there is none.
        """
        found = (entry for entry in self._held if entry.state is state and may_end(entry))
        return min(found, key=lambda entry: (-self._count[entry.client], entry.since), default=None)

    def _end(self, entry: ConnectionEntry | None) -> bool:
        if entry is None:
            return False
        self._give_back(entry)
        entry.scope.cancel()
        return True

    def _give_back(self, entry: ConnectionEntry) -> None:
        if entry not in self._held:
            return
        del self._held[entry]
        self._count[entry.client] -= 1
        if not self._count[entry.client]:
            del self._count[entry.client]
