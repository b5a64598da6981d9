"""Bytes held for peers: places of one peer, and one pool for all strangers.

A peer's bytes are held until they are worked off. They may be unread in a buffer of the muxer, in a frame that is not whole, in a
request under way, or in an answer that waits. A peer decides how long that takes, since it may send the rest late and read its
answers late. So two things are bounded, neither of them by time:

- ``PeerPlaces``: the requests of one peer, and the bytes of these and of their answers. A place is held until the answer is written
  or its stream is reset. With no place left the peer's next request is not started, and then its streams are not read.
- ``MemoryPool``: the bytes of all strangers together, of whatever kind. Identities and connections cost a stranger little, so a
  bound for each of them is none for all. Over the limit the stranger is cut off for which most is held. The pool has at least a
  whole request for each place of a client. So a client that holds no more than one is never cut off.

A byte is counted once. Copies that live for one step of the loop are not counted, nor are the buffers of noise and the kernel for a
connection (docs/operators.md has the sum).
"""

from collections.abc import Callable
from typing import Final

import trio

REQUEST_COST: Final = 8 << 10
"""Bytes that a request counts for besides its body: its task, and what the handler needs."""


class PeerPlaces:
    """The requests of one peer that are under way.

    They are at most ``count``, and hold at most ``size`` bytes, or one of any size.
    """

    def __init__(self, count: int, size: int) -> None:
        self.size = size
        self._free = count
        self._inside = 0
        self._held = 0
        self._waiting = trio.lowlevel.ParkingLot()

    @property
    def held(self) -> int:
        """Bytes of all requests, and of their answers, that have a place."""
        return self._held

    async def enter(self, size: int) -> None:
        """Take a place for ``size`` bytes; wait until there is one."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._free == 0 or not self.has_room(size):
            await self._waiting.park()
        self._free -= 1
        self._inside += 1
        self._held += size

    def has_room(self, more: int, *, inside: bool = False) -> bool:
        """Return whether ``more`` bytes fit, of a new request or of one ``inside``."""
        return self._inside <= inside or self._held + more <= self.size

    def change(self, more: int) -> None:
        """Let a request that has a place hold ``more`` bytes, fewer if negative."""
        self._held += more
        self._waiting.unpark_all()

    def leave(self, size: int) -> None:
        """Give back a place that holds ``size`` bytes."""
        self._free += 1
        self._inside -= 1
        self.change(-size)


class MemoryAccount:
    """The bytes that are held for the peer of one connection.

    They are part of the pool while that peer is a stranger. ``cut`` ends the connection now. It is called once at most.
    """

    def __init__(self, pool: "MemoryPool", cut: Callable[[], None]) -> None:
        self.held = 0
        self._pool = pool
        self._cut = cut
        self._shared = True
        self._ended = False

    def take(self, count: int) -> None:
        """Hold ``count`` bytes more.

        Somebody may be cut for it, the peer of this account too.
        """
        self._change(count)
        self._pool.enforce()

    def give(self, count: int) -> None:
        """Hold ``count`` bytes less."""
        self._change(-count)

    def _change(self, count: int) -> None:
        self.held += count
        if self._shared:
            self._pool.change(self, count)

    def trust(self, trusted: bool) -> None:
        """Take the bytes of an operator out of the strangers' pool, or put them back."""
        if trusted == self._shared and not self._ended:
            self._pool.change(self, -self.held if trusted else self.held)
            self._shared = not trusted

    def cut(self) -> None:
        """End the connection.

        Its bytes leave the pool: they are freed as soon as its tasks have ended.
        """
        self.trust(trusted=True)
        self._ended = True
        self._cut()


class MemoryPool:
    """The bytes of all strangers of one host, at most ``limit``.

    ``cuts`` counts those that were cut off for it.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self.cuts = 0
        self._accounts: dict[MemoryAccount, int] = {}

    def change(self, account: MemoryAccount, count: int) -> None:
        """Add ``count`` bytes to an account, or take them off if negative."""
        self.held += count
        left = self._accounts.pop(account, 0) + count
        if left:
            self._accounts[account] = left

    def enforce(self) -> None:
        """Cut off whoever holds most until the limit is kept.

        Of equals the one whose bytes have moved least lately.
        """
        while self.held > self.limit:
            self.cuts += 1
            max(self._accounts, key=self._accounts.__getitem__).cut()


class Hold:
    """The place of one request, and its bytes.

    They count in the places of its peer and on the account of its connection.
    """

    def __init__(self, places: PeerPlaces, account: MemoryAccount, size: int) -> None:
        self._places = places
        self._account = account
        self._size = REQUEST_COST + size

    async def enter(self) -> None:
        """Wait for the place. Cancelled, it holds nothing."""
        self._account.take(self._size)
        try:
            await self._places.enter(self._size)
        except BaseException:
            self._account.give(self._size)
            raise

    def has_room(self, size: int) -> bool:
        """Return whether an answer of ``size`` bytes may replace the body of this request."""
        return self._places.has_room(REQUEST_COST + size - self._size, inside=True)

    def resize(self, size: int) -> None:
        """Hold an answer of ``size`` bytes instead of the request's body."""
        more = REQUEST_COST + size - self._size
        self._size += more
        self._places.change(more)
        self._account.take(more)

    def leave(self) -> None:
        """Give everything back."""
        self._places.leave(self._size)
        self._account.give(self._size)
