"""What tests that plant a fault share: telling stories until it is caught, and faults and troubles that several of them want."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from eigenkms.protocols.effects import Broadcast, Direct, Persist
from eigenkms.protocols.frames import Frame, Kind
from eigenkms.protocols.messages import read_vote
from eigenkms.protocols.operator import SessionEffect
from eigenkms.protocols.session import Session
from eigenkms.protocols.votes import Phase
from eigenkms.types import OperatorAddress
from tests.sim.story import tell
from tests.sim.world import Node, World


def catches(
    complaint: str,
    seeds: Sequence[int] = range(40),
    act: Callable[[int], Any] = tell,
    *,
    likely: Sequence[int] = (),
) -> None:
    """Some story among ``seeds`` ends with ``complaint``; the rest may end otherwise.

    ``likely`` are told first, to save time: one of them did when this was written.
    """
    for seed in (*likely, *seeds):
        try:
            act(seed)
        except AssertionError as error:
            if complaint in str(error):
                return
    pytest.fail(f"nobody noticed: {complaint}")


def sends_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on a node that is about to crash sends what a step says before it makes it durable."""
    honest = Node.carry_out

    def hasty(self: Node, effects: Sequence[SessionEffect]) -> None:
        if self.crash_after is None:
            honest(self, effects)
            return
        for item in effects:
            if isinstance(item.effect, (Broadcast, Direct)):
                recipient = item.effect.recipient if isinstance(item.effect, Direct) else None
                self.say(recipient, item.effect.frame)
        records = sum(isinstance(item.effect, Persist) for item in effects)
        if records and self.persisted + records >= self.crash_after:
            self.crash()
            return
        honest(self, effects)

    monkeypatch.setattr(Node, "carry_out", hasty)


def lose_the_first_commits(world: World, session: Session) -> None:
    """From now on no commit vote of view 0 of this session arrives, nor any certificate."""

    def holds_back(frame: Frame, _to: OperatorAddress) -> bool:
        if frame.kind is not Kind.VOTE or frame.session != session.id:
            return frame.kind is Kind.CERTIFICATE
        vote = read_vote(frame)
        return vote.phase is Phase.COMMIT and vote.view == 0

    world.holds_back = holds_back
