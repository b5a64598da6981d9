"""The steps of the machines: one at a time, each durable before it is sent.

Machines are not thread-safe, and a step may cost many pairings. So every step runs in one worker thread under one lock, and its
durable effects are fsynced there before the lock is released. Only then anything of the step is sent.

While a step runs, the machines are *ahead of the disk*. If its effects could not be made durable, they stay so: every later step
raises, and reads return nothing. A machine whose promises were not kept must not speak again.

Every step that comes when something is due also gives the machines the time, whatever the step is for. If no step comes,
``wait_until_due`` returns, and the engine makes a step for the time alone. So nothing that is due is delayed by other work.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import trio

from eigenkms.errors import StorageError
from eigenkms.node.engine.effect_store import EffectStore
from eigenkms.node.engine.intake import Intake
from eigenkms.protocols.ceremony.effects import EraseShare
from eigenkms.protocols.ceremony.participant import Participant, SessionEffect

Answer = TypeVar("Answer")

Step = Callable[[float], list[SessionEffect]]
"""The work of a step: it is called with the time on trio's clock, in a worker thread."""

MAX_IDLE_SECONDS: Final = 60.0
"""After so long without a step the machines get the time, although they asked for none."""

SHARE_SECONDS: Final = 15.0
"""From the erasure of a share until the next one is here, on a busy machine and with rows that must be fetched."""


@dataclass(frozen=True)
class WantedDealings:
    """Names of dealings of which the body, or this operator's row, is to be fetched."""

    bodies: tuple[bytes, ...]
    rows: tuple[bytes, ...]

    def __bool__(self) -> bool:
        return bool(self.bodies or self.rows)


class StepRunner:
    """Makes the steps of one participant's machines, one at a time.

    ``wanted`` is to be fetched after the last step.
    """

    def __init__(self, participant: Participant, effects: EffectStore, intake: Intake) -> None:
        self._participant = participant
        self._effects = effects
        self._intake = intake
        self._lock = trio.Lock()
        self._limiter = trio.CapacityLimiter(1)
        self._is_ahead_of_disk = False
        self._tick_at = math.inf
        """When, on trio's clock, the machines get the time at the latest; nothing is due before the first step."""
        self._erased_at = -math.inf
        """When a share was erased last, on trio's clock."""
        self._stepped = trio.Event()
        self._lacks = trio.Event()
        self.wanted = WantedDealings((), ())

    @property
    def is_obtaining_a_share(self) -> bool:
        """Whether a share replaces one that was erased less than ``SHARE_SECONDS`` ago.

        That is so after each certificate. May be read while a step runs.
        """
        is_late = trio.current_time() >= self._erased_at + SHARE_SECONDS
        return self._participant.is_obtaining_a_share and not is_late

    async def step(self, work: Step) -> list[SessionEffect]:
        """Make one step; its effects are durable when it returns.

        Raises ``StorageError``, and the errors of ``work``.
        """
        async with self._lock:
            effects = await trio.to_thread.run_sync(
                self._compute, work, trio.current_time(), limiter=self._limiter
            )
        self._stepped.set()
        if self.wanted:
            self._lacks.set()
        return effects

    async def read(self, read: Callable[[], Answer], nothing: Answer) -> Answer:
        """Ask the machines between steps; ``nothing`` if they are ahead of the disk."""
        return await self.run(lambda: nothing if self._is_ahead_of_disk else read())

    async def run(self, work: Callable[[], Answer]) -> Answer:
        """Run something between steps, even if the machines are ahead of the disk."""
        async with self._lock:
            return await trio.to_thread.run_sync(work, limiter=self._limiter)

    async def wait_until_due(self) -> None:
        """Wait until the machines must get the time and no step has come."""
        while True:
            self._stepped = trio.Event()
            with trio.move_on_at(self._tick_at):
                await self._stepped.wait()
            if trio.current_time() >= self._tick_at:
                return

    async def wait_for_wanted(self) -> WantedDealings:
        """Wait until something is to be fetched."""
        while not self.wanted:
            self._lacks = trio.Event()
            await self._lacks.wait()
        return self.wanted

    def _compute(self, work: Step, now: float) -> list[SessionEffect]:
        if self._is_ahead_of_disk:
            raise StorageError(
                "go on: an earlier step could not be made durable", hint="start the node again"
            )
        self._is_ahead_of_disk = True
        effects = work(now)
        if now >= self._tick_at:
            effects = [*effects, *self._participant.tick(now)]
        effects = [*effects, *self._intake.feed_bodies(now)]
        if any(isinstance(item.effect, EraseShare) for item in effects):
            self._erased_at = now
        self._effects.make_durable(effects)
        self._is_ahead_of_disk = False
        self._plan(now)
        return effects

    def _plan(self, now: float) -> None:
        """Read what is to be fetched, and when the machines must get the time."""
        participant = self._participant
        self.wanted = WantedDealings(participant.wanted_bodies, participant.wanted_rows)
        due, latest = participant.deadline(), now + MAX_IDLE_SECONDS
        self._tick_at = latest if due is None else due
