"""Track the outcome of each boundary, as the logs of the nodes report it.

``BoundaryTracker.on_event`` is a listener of a network. It records which operator saw a boundary, and had a certificate of its
session, at which time. Times are those of the nodes' log lines, in unix seconds; all nodes share this machine's clock.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import trio

from eigenkms.crypto.scalars import threshold
from eigenkms.devnet.operators import DevnetOperator
from eigenkms.errors import NetworkError


@dataclass
class CertificateTimes:
    """The times of a session's certificate and share, by member index.

    They are in unix seconds: when an operator took the certificate, held the share, and erased that share.
    """

    version: int | None = None
    taken: dict[int, float] = field(default_factory=dict)
    shares: dict[int, float] = field(default_factory=dict)
    erased: dict[int, float] = field(default_factory=dict)

    def add(self, index: int, event: Mapping[str, Any]) -> None:
        """Record a log line of one of ``EVENTS``."""
        if "version" in event:
            self.version = int(event["version"])
        times = {"certified": self.taken, "share held": self.shares, "erased": self.erased}[event["event"]]
        times.setdefault(index, unix_time(event))


EVENTS = ("certified", "share held", "erased")


@dataclass(frozen=True)
class BoundaryRecord:
    """One boundary. ``certified`` grows while time passes."""

    block: int
    session: str
    operators: int
    seen: float
    """When the first operator saw it."""
    certified: CertificateTimes

    @property
    def quorum(self) -> int:
        return threshold(self.operators)

    @property
    def is_certified(self) -> bool:
        """Return whether a quorum has the certificate."""
        return len(self.certified.taken) >= self.quorum

    @property
    def seconds(self) -> float | None:
        """Return the seconds from the boundary to the certificate at a quorum.

        They begin with the first operator that saw the boundary.
        """
        return (
            sorted(self.certified.taken.values())[self.quorum - 1] - self.seen if self.is_certified else None
        )

    @property
    def last_seconds(self) -> float | None:
        """Return the same, to the last operator that took the certificate."""
        return max(self.certified.taken.values()) - self.seen if self.certified.taken else None

    @property
    def shared_seconds(self) -> float | None:
        """Return the same, to the last operator that held its share of the version."""
        return max(self.certified.shares.values()) - self.seen if self.certified.shares else None


class BoundaryTracker:
    """Boundaries by block number."""

    def __init__(self) -> None:
        self._boundaries: dict[int, BoundaryRecord] = {}
        self._certified: dict[str, CertificateTimes] = {}
        self._news = trio.Event()

    def on_event(self, member: DevnetOperator, event: Mapping[str, Any]) -> None:
        """Record an event; a listener for ``Devnet.add_listener``."""
        if event["event"] == "boundary":
            self._record_boundary(
                int(event["block"]), str(event["session"]), int(event["operators"]), unix_time(event)
            )
        elif event["event"] in EVENTS and "session" in event:
            self._certificates(str(event["session"])).add(member.index, event)
        else:
            return
        self._news.set()
        self._news = trio.Event()

    def _record_boundary(self, block: int, session: str, operators: int, when: float) -> None:
        known = self._boundaries.get(block)
        seen = when if known is None else min(known.seen, when)
        self._boundaries[block] = BoundaryRecord(block, session, operators, seen, self._certificates(session))

    def _certificates(self, session: str) -> CertificateTimes:
        return self._certified.setdefault(session, CertificateTimes())

    @property
    def genesis(self) -> BoundaryRecord:
        """Return the first boundary that has a certificate.

        Raises ``NetworkError`` if there is none.
        """
        for _, found in sorted(self._boundaries.items()):
            if found.certified.taken:
                return found
        raise NetworkError("look for the genesis in the nodes' logs: no operator has a certificate")

    @property
    def genesis_seconds(self) -> float:
        """Return the seconds from genesis to the last operator that has its certificate.

        They begin with the first operator that saw the boundary.
        """
        seconds = self.genesis.last_seconds
        assert seconds is not None
        return seconds

    @property
    def newest_certified(self) -> BoundaryRecord | None:
        """Return the highest boundary with a certificate at a quorum."""
        found = [number for number, each in self._boundaries.items() if each.is_certified]
        return self._boundaries[max(found)] if found else None

    def at(self, block: int) -> BoundaryRecord:
        """Return a boundary that was seen."""
        return self._boundaries[block]

    async def after(self, block: int, seconds: float) -> BoundaryRecord:
        """Return the lowest boundary above ``block`` that an operator saw.

        Raises ``NetworkError`` after ``seconds``.
        """

        def after() -> BoundaryRecord | None:
            later = [number for number in self._boundaries if number > block]
            return self._boundaries[min(later)] if later else None

        return await self._wait(after, seconds, f"see a boundary after block {block}")

    async def outcome(self, block: int, seconds: float) -> BoundaryRecord:
        """Return a boundary once its outcome is known.

        A quorum has its certificate then, or a later boundary ended its session. Raises ``NetworkError`` if neither happens within
        ``seconds``.
        """

        def outcome() -> BoundaryRecord | None:
            found = self._boundaries.get(block)
            over = found is not None and (found.is_certified or max(self._boundaries) > block)
            return found if over else None

        return await self._wait(outcome, seconds, f"certify the boundary at block {block}")

    async def all_hold(self, members: Collection[int], seconds: float) -> BoundaryRecord:
        """Wait until the newest boundary has a certificate and ``members`` hold shares.

        A network should be in this state when it stops. Raises ``NetworkError`` if that does not happen in time.
        """

        def held() -> BoundaryRecord | None:
            newest = self._boundaries[max(self._boundaries)] if self._boundaries else None
            return newest if newest is not None and newest.certified.shares.keys() >= set(members) else None

        return await self._wait(held, seconds, "hold their shares of the newest version")

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` holds; it is evaluated at each event."""
        while not condition():
            await self._news.wait()

    async def _wait(
        self, find: Callable[[], BoundaryRecord | None], seconds: float, what: str
    ) -> BoundaryRecord:
        with trio.move_on_after(seconds):
            while (found := find()) is None:
                await self._news.wait()
            return found
        raise NetworkError(f"wait for operators to {what}: not within {seconds:g} s", hint="see their logs")


def unix_time(event: Mapping[str, Any]) -> float:
    """Return the time of a log line, in unix seconds."""
    return datetime.fromisoformat(str(event["time"])).timestamp()
