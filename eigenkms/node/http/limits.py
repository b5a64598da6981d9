"""Limits of the HTTP API: requests, connections and bytes, of one client and all.

A client is an IPv4 address or an IPv6 /64.

Bytes in memory that wait for a client, of bodies and of answers, are bounded in two parts. The first 64 KiB of each
(``SMALL_BYTES``) are its connection's own: the number of connections bounds them, and large transfers cannot take them away. Bytes
beyond that come from one budget for all, of which each client has a share.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Final

import trio

from eigenkms.rate_limiter import RateLimiter

IN_PROGRESS_OF_ONE: Final = 16
"""Requests of one client that are read or answered."""
SMALL_BYTES: Final = 64 * 1024
"""Of one body or answer, beside the budget. Evidence with its key fits; only ``extra_data`` makes a body larger."""
LARGE_BYTES: Final = 64 * 1024 * 1024
"""Of bodies, and again of answers, beyond the first ``SMALL_BYTES`` of each, of all clients."""
LARGE_BYTES_OF_ONE: Final = LARGE_BYTES // 8
PROBES: Final = 10
"""Times as often as for a key a client may ask for what costs nothing."""
ACCEPTS_OF_ONE: Final = 100
"""New connections of one client a second: a TLS handshake with an RSA key costs a millisecond of this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """Numbers of connections, bytes and seconds."""

    connections: int = 512
    connections_of_one: int = 128
    accepts_of_one: float = ACCEPTS_OF_ONE
    head_bytes: int = 16 * 1024
    handshake_seconds: float = 10
    head_seconds: float = 10
    idle_seconds: float = 60
    body_seconds: float = 30
    stall_seconds: float = 5
    """No byte of a body for so long ends it (the grace period of ASP.NET Core's Kestrel, MinRequestBodyDataRate)."""
    body_rate: float = 4 * 1024
    """Bytes of a body that buy a second more, up to ``stall_seconds``: who sends more slowly than that is gone."""
    answer_seconds: float = 30
    """From the first byte of an answer to its last."""
    linger_seconds: float = 1


class TooManyError(Exception):
    """A limit is reached: everybody's if ``everybody``, else the client's.

    ``retry_after`` is in whole seconds.
    """

    def __init__(self, *, everybody: bool, retry_after: int) -> None:
        super().__init__("too many requests")
        self.everybody = everybody
        self.retry_after = retry_after


class InProgress:
    """Requests that are read or answered, by client."""

    def __init__(self) -> None:
        self._of: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """The requests of all clients."""
        return self._of.total()

    @contextmanager
    def one(self, client: str) -> Iterator[None]:
        """Count a request of ``client`` for the length of the block.

        Raises ``TooManyError`` if the client has too many.
        """
        if self._of[client] >= IN_PROGRESS_OF_ONE:
            raise TooManyError(everybody=False, retry_after=1)
        self._of[client] += 1
        try:
            yield
        finally:
            self._of[client] -= 1
            if not self._of[client]:
                del self._of[client]


class ByteBudget:
    """Bytes in memory beyond the first ``SMALL_BYTES`` of each transfer.

    There are ``limit`` for all clients, and ``of_one`` for each.
    """

    def __init__(self, limit: int = LARGE_BYTES, of_one: int = LARGE_BYTES_OF_ONE) -> None:
        self._limit = limit
        self._of_one = of_one
        self._held: Counter[str] = Counter()

    @property
    def held(self) -> int:
        """The bytes that all clients hold."""
        return self._held.total()

    @contextmanager
    def hold(self, client: str) -> Iterator[Callable[[int], None]]:
        """Yield a function that takes bytes for one transfer, until the block ends.

        The function raises ``TooManyError``.
        """
        free, held = SMALL_BYTES, 0

        def take(count: int) -> None:
            nonlocal free, held
            beyond = max(0, count - free)
            if self._held[client] + beyond > self._of_one:
                raise TooManyError(everybody=False, retry_after=1)
            if self.held + beyond > self._limit:
                raise TooManyError(everybody=True, retry_after=1)
            free -= count - beyond
            held += beyond
            self._held[client] += beyond

        try:
            yield take
        finally:
            self._held[client] -= held
            if not self._held[client]:
                del self._held[client]


@dataclass
class ClientLimits:
    """The limits of the API's clients, and what is counted against them."""

    keys: RateLimiter
    probes: RateLimiter
    in_progress: InProgress = field(default_factory=InProgress)
    bodies: ByteBudget = field(default_factory=ByteBudget)

    @classmethod
    def at_rate(cls, rate: float, clock: Callable[[], float] = trio.current_time) -> "ClientLimits":
        """Allow each client ``rate`` requests a second by ``clock``.

        It may send ``PROBES`` times as many probes.
        """
        return cls(RateLimiter(rate, 2 * rate, clock), RateLimiter(PROBES * rate, 2 * PROBES * rate, clock))

    @contextmanager
    def room_for(self, client: str, *, probe: bool) -> Iterator[Callable[[int], None]]:
        """Hold room for a request, and yield a function that takes bytes for its body.

        Raises ``TooManyError``.
        """
        retry_after = (self.probes if probe else self.keys).acquire(client)
        if retry_after:
            raise TooManyError(everybody=False, retry_after=retry_after)
        # A probe is answered whatever else its client has under way: it holds nothing.
        in_progress = nullcontext() if probe else self.in_progress.one(client)
        with in_progress, self.bodies.hold(client) as take:
            yield take
