"""What must hold at every point of a walk."""

from dataclasses import dataclass
from itertools import pairwise

from eigenkms.wire.votes import Phase
from tests.sim.exhaustive.scene import Scene
from tests.sim.exhaustive.table import Ballot, State


class LawBrokenError(AssertionError):
    """A law does not hold; ``schedule`` leads there."""

    def __init__(self, complaint: str, schedule: list[str]) -> None:
        super().__init__("\n  ".join([complaint, *schedule]))
        self.complaint = complaint
        self.schedule = schedule


@dataclass(frozen=True)
class Situation:
    """What the laws look at: correct operators, what ended sessions certified, and of what there are votes enough now."""

    operators: tuple[State, ...]
    ended: tuple[frozenset[bytes], ...]
    ballots: frozenset[Ballot]


def broken_law(scene: Scene, situation: Situation) -> str | None:
    """What does not hold, if anything."""
    for state in situation.operators:
        if state.equivocated:
            kind = state.equivocated[0].kind.name
            return f"operator {state.life.index} said two different things in one slot: {kind}"
    return _fork(scene, situation) or _loss(scene, situation)


def _certified(situation: Situation) -> tuple[frozenset[bytes], ...]:
    """By session, oldest first."""
    now = frozenset(digest for phase, _, digest in situation.ballots if phase is Phase.COMMIT)
    return (*situation.ended, now)


def _fork(scene: Scene, situation: Situation) -> str | None:
    certified = _certified(situation)
    for made in certified:
        if len(made) > 1:
            names = " and ".join(sorted(scene.labels[digest] for digest in made))
            return f"one session has two certified transcripts: {names}"
    versions = [digest for made in certified for digest in made]
    for older, newer in pairwise(versions):
        if older not in scene.ancestors(newer):
            first, second = scene.labels[older], scene.labels[newer]
            return f"fork: {first} is certified, and {second}, which does not descend from it"
    return None


def _loss(scene: Scene, situation: Situation) -> str | None:
    """Whether of a version that is certified, or can be, too few correct recipients hold a share or can still get one."""
    certified = _certified(situation)
    prepared = {digest for phase, _, digest in situation.ballots if phase is Phase.PREPARE}
    versions = [digest for made in certified for digest in made]
    served = frozenset[bytes]().union(*(state.served for state in situation.operators))
    for version in (*versions[-1:], *(() if certified[-1] else sorted(prepared))):
        lost = [state.life.index for state in situation.operators if not state.can_open(version, served)]
        if len(situation.operators) - len(lost) < scene.transcripts[version].threshold:
            name = scene.labels[version]
            return f"loss: {name} is certified or can be, and operators {lost} can never get their shares"
    return None
