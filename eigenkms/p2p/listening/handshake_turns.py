"""Whose handshake is computed next: turns by prefix, and a lane of their own for the addresses of operators.

A hello costs its sender a few bytes and this node some milliseconds of its only loop. So sockets that have something to say wait
for a turn. Turns come at a rate that leaves most of the loop to those who are connected already. They go round the prefixes (an
IPv4 address, the /64 of an IPv6 one), and no prefix gets more than a rate of its own: many sockets from one address only wait for
each other. Of one prefix the newest is first, because if there are too many, the oldest will have given up before it is answered.
Sockets from addresses at which an operator is, or was, take turns in another lane, in which no stranger is.

A socket that says nothing takes no turn: it costs a place (``listener``), and nothing else.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import trio

from eigenkms.p2p.identity import PeerId
from eigenkms.p2p.prefixes import SHARED, prefix_of

BUCKETS: Final = 4096
"""Prefixes that are remembered with the tokens that they have left."""
_ONE: Final = 1.0 - 1e-6
"""A token, with what rounding may have lost of it."""
SEEN: Final = 4
"""Addresses from which one operator came that are remembered."""


@dataclass(slots=True)
class Bucket:
    """Tokens that come back at ``rate`` a second, up to ``size``."""

    rate: float
    size: float
    left: float
    at: float

    def wait(self, now: float) -> float:
        """Seconds until there is a token, 0 if there is one."""
        self.left = min(self.size, self.left + (now - self.at) * self.rate)
        self.at = now
        return 0.0 if self.left >= _ONE else (1.0 - self.left) / self.rate


class HandshakeTurns:
    """Turns of one lane: ``rate`` a second after ``burst``, and of one prefix ``prefix_rate`` after ``prefix_burst``."""

    def __init__(self, rate: float, burst: float, prefix_rate: float, prefix_burst: float) -> None:
        self._all = Bucket(rate, burst, burst, 0.0)
        self._prefix_rate = prefix_rate
        self._prefix_burst = prefix_burst
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self._waiting: OrderedDict[str, deque[trio.Event]] = OrderedDict()
        """Sockets that wait, by prefix; the prefix that is next first."""
        self._came = trio.Event()

    async def take(self, prefix: str) -> None:
        """Return when it is the turn of one socket from ``prefix``. ``run`` must be running."""
        turn = trio.Event()
        self._waiting.setdefault(prefix, deque()).append(turn)
        self._came.set()
        try:
            await turn.wait()
        finally:
            if not turn.is_set():
                self._waiting[prefix].remove(turn)
                if not self._waiting[prefix]:
                    del self._waiting[prefix]

    async def run(self) -> None:
        """Give turns until cancelled."""
        while True:
            self._came = trio.Event()
            if wait := self._next(trio.current_time()):
                with trio.move_on_after(wait):
                    await self._came.wait()

    def _next(self, now: float) -> float:
        """Give one turn and return 0, or return the seconds until one can be given."""
        if wait := self._all.wait(now):
            return wait
        soonest = float("inf")
        for prefix in self._waiting:
            bucket = self._bucket(prefix, now)
            if not (wait := bucket.wait(now)):
                bucket.left -= 1
                self._all.left -= 1
                self._call(prefix)
                return 0.0
            soonest = min(soonest, wait)
        return soonest

    def _call(self, prefix: str) -> None:
        line = self._waiting[prefix]
        line.pop().set()
        if line:
            self._waiting.move_to_end(prefix)
        else:
            del self._waiting[prefix]

    def _bucket(self, prefix: str, now: float) -> Bucket:
        """The tokens of a prefix. Too many are remembered: the one that was asked for longest ago is forgotten, and full again."""
        if prefix not in self._buckets:
            rate, size = (
                (self._all.rate, self._all.size)
                if prefix in SHARED
                else (self._prefix_rate, self._prefix_burst)
            )
            self._buckets[prefix] = Bucket(rate, size, size, now)
            if len(self._buckets) > BUCKETS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(prefix)
        return self._buckets[prefix]


class OperatorAddresses:
    """The prefixes of the operators whom this host keeps connected: what is said of them, and from where they came."""

    def __init__(self) -> None:
        self._said: dict[PeerId, tuple[str, ...]] = {}
        self._seen: dict[PeerId, deque[str]] = {}
        self._kept: frozenset[PeerId] = frozenset()
        self._prefixes: frozenset[str] | None = None

    def __contains__(self, prefix: str) -> bool:
        if self._prefixes is None:
            books = (self._said, self._seen)
            self._prefixes = frozenset(each for book in books for p in self._kept for each in book.get(p, ()))
        return prefix in self._prefixes

    def say(self, peer: PeerId, addresses: Sequence[object]) -> None:
        """``peer`` is said to be at these multiaddrs, or at their text, and at no others. Names are not resolved."""
        prefixes = tuple(
            prefix_of(str(each).split("/")[2]) for each in addresses if str(each).startswith("/ip")
        )
        if self._said.get(peer, ()) != prefixes:
            self._said[peer] = prefixes
            self._prefixes = None

    def keep(self, peers: frozenset[PeerId]) -> None:
        """These peers are operators, and no others."""
        if peers == self._kept:
            return
        self._kept = peers
        self._said = {peer: said for peer, said in self._said.items() if peer in peers}
        self._seen = {peer: seen for peer, seen in self._seen.items() if peer in peers}
        self._prefixes = None

    def see(self, peer: PeerId, address: str) -> None:
        """``peer`` has proven from this IP address who it is."""
        if peer not in self._kept:
            return
        seen = self._seen.setdefault(peer, deque(maxlen=SEEN))
        if prefix_of(address) not in seen:
            seen.append(prefix_of(address))
            self._prefixes = None
