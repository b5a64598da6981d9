"""What came of each boundary, as the logs of the nodes tell it.

``BoundaryTracker.hear`` listens to a network. A round is one boundary: who saw it when, and who had a certificate of its session
when. Times are those of the nodes' log lines, in unix seconds; all nodes share this machine's clock.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import trio

from eigenkms.crypto.scalars import threshold
from eigenkms.devnet.node_processes import DevnetOperator
from eigenkms.errors import NetworkError


@dataclass
class CertificateTimes:
    """By member index, when an operator took the certificate of a session, when it held its share of the version, and when it had
    erased that share.
    """

    version: int | None = None
    taken: dict[int, float] = field(default_factory=dict)
    shares: dict[int, float] = field(default_factory=dict)
    erased: dict[int, float] = field(default_factory=dict)

    def add(self, index: int, event: Mapping[str, Any]) -> None:
        """A log line of one of ``EVENTS``."""
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
        """Whether a quorum has the certificate."""
        return len(self.certified.taken) >= self.quorum

    @property
    def seconds(self) -> float | None:
        """From the first operator that saw the boundary to the certificate at a quorum of them."""
        return (
            sorted(self.certified.taken.values())[self.quorum - 1] - self.seen if self.is_certified else None
        )

    @property
    def last_seconds(self) -> float | None:
        """The same, to the last operator that took it."""
        return max(self.certified.taken.values()) - self.seen if self.certified.taken else None

    @property
    def shared_seconds(self) -> float | None:
        """To the last operator that held its share of the version."""
        return max(self.certified.shares.values()) - self.seen if self.certified.shares else None


class BoundaryTracker:
    """Boundaries by block number."""

    def __init__(self) -> None:
        self._rounds: dict[int, BoundaryRecord] = {}
        self._certified: dict[str, CertificateTimes] = {}
        self._news = trio.Event()

    def hear(self, member: DevnetOperator, event: Mapping[str, Any]) -> None:
        """A listener for ``Network.hear``."""
        if event["event"] == "boundary":
            self._saw(int(event["block"]), str(event["session"]), int(event["operators"]), unix_time(event))
        elif event["event"] in EVENTS and "session" in event:
            self._certificates(str(event["session"])).add(member.index, event)
        else:
            return
        self._news.set()
        self._news = trio.Event()

    def _saw(self, block: int, session: str, operators: int, when: float) -> None:
        known = self._rounds.get(block)
        seen = when if known is None else min(known.seen, when)
        self._rounds[block] = BoundaryRecord(block, session, operators, seen, self._certificates(session))

    def _certificates(self, session: str) -> CertificateTimes:
        return self._certified.setdefault(session, CertificateTimes())

    @property
    def genesis(self) -> BoundaryRecord:
        """The first boundary of which there is a certificate. Raises ``NetworkError`` if there is none."""
        for _, found in sorted(self._rounds.items()):
            if found.certified.taken:
                return found
        raise NetworkError("look for the genesis in the nodes' logs: no operator has a certificate")

    @property
    def genesis_seconds(self) -> float:
        """From the first operator that saw the boundary of genesis to the last that has its certificate."""
        seconds = self.genesis.last_seconds
        assert seconds is not None
        return seconds

    @property
    def newest_certified(self) -> BoundaryRecord | None:
        """The highest boundary with a certificate at a quorum."""
        found = [number for number, each in self._rounds.items() if each.is_certified]
        return self._rounds[max(found)] if found else None

    def at(self, block: int) -> BoundaryRecord:
        """A boundary that was seen."""
        return self._rounds[block]

    async def after(self, block: int, seconds: float) -> BoundaryRecord:
        """The lowest boundary above ``block`` that an operator saw. Raises ``NetworkError`` if none does in time."""

        def after() -> BoundaryRecord | None:
            later = [number for number in self._rounds if number > block]
            return self._rounds[min(later)] if later else None

        return await self._wait(after, seconds, f"see a boundary after block {block}")

    async def outcome(self, block: int, seconds: float) -> BoundaryRecord:
        """The round of a boundary once a quorum has its certificate, or a later boundary was seen, which ends its session.

        Raises ``NetworkError`` if neither happens in time.
        """

        def outcome() -> BoundaryRecord | None:
            found = self._rounds.get(block)
            over = found is not None and (found.is_certified or max(self._rounds) > block)
            return found if over else None

        return await self._wait(outcome, seconds, f"certify the boundary at block {block}")

    async def all_hold(self, members: Collection[int], seconds: float) -> BoundaryRecord:
        """Wait until the newest boundary has a certificate and ``members`` hold shares.

        A network should be in this state when it stops. Raises ``NetworkError`` if that does not happen in time.
        """

        def held() -> BoundaryRecord | None:
            newest = self._rounds[max(self._rounds)] if self._rounds else None
            return newest if newest is not None and newest.certified.shares.keys() >= set(members) else None

        return await self._wait(held, seconds, "hold their shares of the newest version")

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` holds, which is asked at each event."""
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
    """When a log line was written, in unix seconds."""
    return datetime.fromisoformat(str(event["time"])).timestamp()
