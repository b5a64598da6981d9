"""From the names in addresses to IP addresses, whatever the names' servers do.

The system's resolver blocks a thread for as long as a name's servers like, half a minute and more. The writer of a name decides
which servers these are. So lookups have threads of their own, and a peer has one lookup at a time. A lookup outlives the dial that
began it, and its answer serves the next dial. A name whose lookup is slow or fails keeps its last addresses (as in RFC 8767). An
old address is harmless, since peers authenticate.
"""

import socket as stdlib_socket
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Final

import trio

from eigenkms.p2p.identity import PeerId, TransportAddress

THREADS: Final = 32
"""Lookups at once. Those of peers whose names never answer are so many at most; a thread that waits costs memory alone."""
FRESH_SECONDS: Final = 10.0
"""An answer is not asked for again for so long."""
SLOW_SECONDS: Final = 1.0
"""After which the last answer is used."""
ANSWERS: Final = 4
"""Addresses of one name that are used, however many it has: others would only take the time of the peer's next address."""
NAMES: Final = 1024
"""Names whose last answer is kept; the oldest goes."""

_FAMILIES: Final = {
    "dns": stdlib_socket.AF_UNSPEC,
    "dns4": stdlib_socket.AF_INET,
    "dns6": stdlib_socket.AF_INET6,
}

Name = tuple[str, str]
"""Kind (dns, dns4 or dns6) and host."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """The addresses of a name and the time of their lookup; ``error`` if it failed."""

    at: float
    ips: tuple[str, ...]
    error: OSError | None


async def look_up(name: Name, limiter: trio.CapacityLimiter) -> list[str]:
    """Return all IP addresses of a name, in the system's order.

    Raises OSError. A cancelled lookup keeps its thread to its end.
    """
    kind, host = name
    found = await trio.to_thread.run_sync(
        lambda: stdlib_socket.getaddrinfo(host, None, family=_FAMILIES[kind], type=stdlib_socket.SOCK_STREAM),
        abandon_on_cancel=True,
        limiter=limiter,
    )
    return [str(address[0]) for *_, address in found]


class Resolver:
    """The lookups of one host. They run in the nursery that ``open`` is given."""

    def __init__(self) -> None:
        self._threads = trio.CapacityLimiter(THREADS)
        self._answers: dict[Name, _Answer] = {}
        self._running: dict[PeerId, trio.Event] = {}
        self._nursery: trio.Nursery | None = None

    def open(self, nursery: trio.Nursery) -> None:
        """Look names up from now on."""
        self._nursery = nursery

    def close(self) -> None:
        """Begin no lookup any more; those that run end with their nursery."""
        self._nursery = None

    async def resolve(self, peer: PeerId, address: TransportAddress) -> tuple[str, ...]:
        """Return the IP addresses of the host in ``address``, at most four.

        Address families alternate. ``peer`` is whom the lookup is for. Raises OSError for a name that stands for nothing. The
        caller owns the deadline. Source: RFC 8305, section 4.
        """
        if address.kind not in _FAMILIES:
            return (address.host,)
        name = (address.kind, address.host)
        answer = self._answers.get(name)
        with trio.move_on_after(SLOW_SECONDS if answer is not None and answer.ips else float("inf")):
            answer = await self._refreshed(peer, name)
        assert answer is not None, "a lookup without an answer before it has no deadline here"
        if not answer.ips:
            raise answer.error or OSError(f"{address.host} has no address")
        return answer.ips

    async def _refreshed(self, peer: PeerId, name: Name) -> _Answer:
        """Return a fresh answer, once there is one."""
        while True:
            answer = self._answers.get(name)
            if answer is not None and trio.current_time() - answer.at < FRESH_SECONDS:
                return answer
            if peer not in self._running:
                if self._nursery is None:
                    raise OSError("this host is closed")
                self._running[peer] = trio.Event()
                self._nursery.start_soon(self._look_up, peer, name)
            await self._running[peer].wait()

    async def _look_up(self, peer: PeerId, name: Name) -> None:
        ips: tuple[str, ...] = ()
        failure: OSError | None = None
        try:
            ips = choose(await look_up(name, self._threads))
        except OSError as error:
            failure = error
        finally:
            self._running.pop(peer).set()
        before = self._answers.pop(name, None)
        self._answers[name] = _Answer(
            trio.current_time(), ips or (() if before is None else before.ips), failure
        )
        while len(self._answers) > NAMES:
            del self._answers[next(iter(self._answers))]


def choose(ips: Iterable[str]) -> tuple[str, ...]:
    """Return the first four addresses, families in turn.

    The family that the system has first begins.
    """
    distinct = list(dict.fromkeys(ips))
    first = [ip for ip in distinct if (":" in ip) == (":" in distinct[0])]
    second = [ip for ip in distinct if ip not in first]
    in_turn = chain.from_iterable(zip_longest(first, second))
    return tuple(ip for ip in in_turn if ip is not None)[:ANSWERS]
