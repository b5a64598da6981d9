"""Boundaries when a test waits for something, as fast as the machine can follow and no faster.

The chain of a live network makes no blocks by time. While a test waits (``demanded``), ``Boundaries`` mines up to the next boundary
as soon as the last one is over: each running operator has the certificate of its session, and holds its share if every operator
takes part. If that cannot come about, since somebody is missing, the next boundary follows when no operator has logged
anything for a moment. The moment grows while sessions come to nothing although nobody started or ended, as on a slow machine.
So no length of an interval decides a test.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import trio

from eigenkms.crypto.scalars import threshold
from eigenkms.devnet.network import Devnet
from eigenkms.devnet.operators import DevnetOperator
from tests.support.waiting import PATIENCE, eventually

QUIET_SECONDS, MAX_QUIET_SECONDS = 3.0, 48.0


class Boundaries:
    """Of one network. ``paused`` are the operators that cannot answer although their processes run.

    ``meanwhile`` is asked whether what must happen after the boundary at a block has happened; ``quiet`` is how long, in seconds,
    nothing is logged first if a session cannot come to its end.
    """

    def __init__(
        self,
        network: Devnet,
        paused: set[int],
        *,
        meanwhile: Callable[[int], bool] | None = None,
        quiet: float = QUIET_SECONDS,
    ) -> None:
        self._network = network
        self._paused = paused
        self._meanwhile = meanwhile
        self._least_quiet = quiet
        self._demand = 0
        self._demanded = trio.Event()
        self._block = 0
        """The newest boundary."""
        self._since = self._heard = trio.current_time()
        """When it was made, and when an operator last logged an event."""
        self._lives: dict[int, int] = {}
        """Process ids of the operators that were up then."""
        self._quiet = quiet
        self._seen: dict[int, int] = {}
        self._joined: set[int] = set()
        self._session = ""
        self._certified: set[int] = set()
        self._holding: set[int] = set()
        self._has_key = False
        network.add_listener(self._hear)

    def _hear(self, member: DevnetOperator, event: Mapping[str, Any]) -> None:
        self._heard = trio.current_time()
        if event["event"] == "boundary":
            self._see(member.index, int(event["block"]), str(event["session"]), joined=bool(event["joined"]))
        elif event["event"] in ("certified", "share held") and event.get("session") == self._session:
            (self._certified if event["event"] == "certified" else self._holding).add(member.index)

    def _see(self, index: int, block: int, session: str, *, joined: bool) -> None:
        self._note(block)
        self._seen[index] = block
        if block == self._block:
            self._session = session
            if joined:
                self._joined.add(index)

    def _note(self, block: int) -> None:
        """A boundary that is newer than all before; transactions make some too."""
        if block <= self._block:
            return
        lives = {i: pid for i, pid in self._running().items() if self._network.nodes[i].has_logged("up")}
        if len(self._certified) >= threshold(len(self._network.registered)) or lives != self._lives:
            self._quiet = self._least_quiet
        elif self._block:
            self._quiet = min(2 * self._quiet, MAX_QUIET_SECONDS)
        self._has_key = self._has_key or bool(self._certified)
        self._block, self._since, self._lives, self._session = block, trio.current_time(), lives, ""
        self._joined, self._certified, self._holding = set(), set(), set()

    def _running(self) -> dict[int, int]:
        """Process ids by operator."""
        nodes = self._network.nodes.items()
        return {
            index: node.process.pid
            for index, node in nodes
            if not node.ended.is_set() and index not in self._paused
        }

    # -- making boundaries -----------------------------------------------------------------------------------

    @contextmanager
    def demanded(self) -> Iterator[None]:
        """Boundaries come while the context lasts."""
        self._demand += 1
        self._demanded.set()
        try:
            yield
        finally:
            self._demand -= 1
            if not self._demand:
                self._demanded = trio.Event()

    async def run(self) -> None:
        """Make boundaries while they are demanded, until cancelled."""
        while True:
            await self._demanded.wait()
            await eventually(lambda: not self._demand or self._is_over(), "the session is over")
            if self._demand:
                await self.advance()

    async def advance(self) -> int:
        """Mine up to the next boundary, whatever the operators do; its block number."""
        block = await self._network.mine_boundary()
        self._note(block)
        return block

    def _is_over(self) -> bool:
        """Whether the session of the newest boundary has come to its end, as far as it can."""
        running, now = self._running(), trio.current_time()
        starting = [index for index in running if not self._network.nodes[index].has_logged("up")]
        if starting and now < self._since + PATIENCE / 2:
            return False
        if not self._block:
            return True
        served = self._meanwhile is None or self._meanwhile(self._block)
        if (self._has_key or self._certified) and not served:
            return False
        asked = [index for index, pid in running.items() if self._lives.get(index) == pid]
        if self._joined and all(self._seen.get(index, 0) >= self._block for index in asked):
            part = self._joined & running.keys()
            whole = self._has_key and len(part) == len(self._network.registered)
            if part <= self._certified and (not whole or part <= self._holding):
                return True
        return now > max(self._since, self._heard) + self._quiet
