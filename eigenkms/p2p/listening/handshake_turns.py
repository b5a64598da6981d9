"""Order handshakes: turns by prefix, and a lane for the addresses of operators.

A hello costs its sender a few bytes and this node some milliseconds of its only loop. So a socket that has sent something waits
for a turn. Turns come at a rate that leaves most of the loop to the connected peers. They go round the prefixes (an IPv4 address,
the /64 of an IPv6 one). No prefix exceeds a rate of its own, so many sockets from one address wait only for each other. Of one
prefix the newest socket is first: if there are too many, the oldest gives up before it is answered. Sockets from addresses at
which an operator is, or was, take turns in another lane, which no stranger enters.

A socket that sends nothing takes no turn: it costs a place (``listener``), and nothing else.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Final

import trio

from eigenkms.p2p.identity import PeerId
from eigenkms.p2p.prefixes import SHARED, prefix_of
from eigenkms.token_bucket import TokenBucket, TokenBuckets

BUCKETS: Final = 4096
"""Prefixes whose tokens are remembered."""
SEEN: Final = 4
"""Remembered addresses from which one operator connected."""


class HandshakeTurns:
    """Turns of one lane: ``rate`` a second after ``burst``.

    One prefix has ``prefix_rate`` after ``prefix_burst``. Many hosts share the prefixes in SHARED, so each of these has the
    rate of the lane.
    """

    def __init__(self, rate: float, burst: float, prefix_rate: float, prefix_burst: float) -> None:
        self._all = TokenBucket.full(rate, burst, 0.0)
        self._buckets = TokenBuckets(prefix_rate, prefix_burst, BUCKETS)
        self._shared = TokenBuckets(rate, burst, BUCKETS)
        self._waiting: OrderedDict[str, deque[trio.Event]] = OrderedDict()
        """Sockets that wait, by prefix; the prefix that is next first."""
        self._came = trio.Event()

    async def take(self, prefix: str) -> None:
        """Return when it is the turn of one socket from ``prefix``.

        ``run`` must be running.
        """
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
                bucket.spend(now)
                self._all.spend(now)
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

    def _bucket(self, prefix: str, now: float) -> TokenBucket:
        return (self._shared if prefix in SHARED else self._buckets).get(prefix, now)


class OperatorAddresses:
    """The prefixes of the operators of this host, as announced and as seen."""

    def __init__(self) -> None:
        self._announced: dict[PeerId, tuple[str, ...]] = {}
        self._seen: dict[PeerId, deque[str]] = {}
        self._operators: frozenset[PeerId] = frozenset()
        self._prefixes: frozenset[str] | None = None

    def __contains__(self, prefix: str) -> bool:
        if self._prefixes is None:
            books = (self._announced, self._seen)
            self._prefixes = frozenset(
                each for book in books for p in self._operators for each in book.get(p, ())
            )
        return prefix in self._prefixes

    def set_announced(self, peer: PeerId, addresses: Sequence[object]) -> None:
        """Record the multiaddrs, or their text, at which ``peer`` is announced.

        Names are not resolved.
        """
        prefixes = tuple(
            prefix_of(str(each).split("/")[2]) for each in addresses if str(each).startswith("/ip")
        )
        if self._announced.get(peer, ()) != prefixes:
            self._announced[peer] = prefixes
            self._prefixes = None

    def set_operators(self, peers: frozenset[PeerId]) -> None:
        """Set the peers that are operators."""
        if peers == self._operators:
            return
        self._operators = peers
        self._announced = {peer: prefixes for peer, prefixes in self._announced.items() if peer in peers}
        self._seen = {peer: seen for peer, seen in self._seen.items() if peer in peers}
        self._prefixes = None

    def add_seen(self, peer: PeerId, address: str) -> None:
        """Record an IP address from which ``peer`` authenticated."""
        if peer not in self._operators:
            return
        seen = self._seen.setdefault(peer, deque(maxlen=SEEN))
        if prefix_of(address) not in seen:
            seen.append(prefix_of(address))
            self._prefixes = None
