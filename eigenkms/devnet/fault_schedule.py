"""When what happens to whom in the rotation scenario.

A plan is a list of acts, each at a rotation. The default one is made of episodes that leave the network whole before the next
begins, because a set of n operators bears only n − t of them missing at a time: who was down has its share of the newest version
again before another one goes.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle

from eigenkms.errors import InputError

MIN_OPERATORS = 3


class FaultKind(StrEnum):
    """The kind of fault or change of an operator."""

    KILL = "killed"
    RESTART = "restarted"
    JOIN = "joined"
    LEAVE = "left"
    MOVE = "moved"
    """Its node listens elsewhere; the chain's socket is stale then."""
    MOVE_PUBLISHED = "moved, socket updated"
    """The same, and the chain says so."""


@dataclass(frozen=True)
class ScheduledFault:
    """A fault and the rotation that it comes in.

    ``operator`` is an index. An operator that joins gets the next free one instead.
    """

    rotation: int
    what: FaultKind
    operator: int
    during: bool = False
    """As soon as somebody has seen the boundary, while its session is under way; otherwise once that is decided."""


@dataclass(frozen=True)
class _Episode:
    """``rotations`` that it takes until the network is whole again."""

    what: FaultKind
    rotations: int
    during: bool = False


_EPISODES = (
    _Episode(FaultKind.KILL, 3),
    _Episode(FaultKind.JOIN, 2),
    _Episode(FaultKind.KILL, 3, during=True),
    _Episode(FaultKind.LEAVE, 2),
    _Episode(FaultKind.MOVE, 3),
    _Episode(FaultKind.KILL, 3),
    _Episode(FaultKind.MOVE_PUBLISHED, 3),
)


def default_plan(rotations: int, operators: int, spare: int) -> tuple[ScheduledFault, ...]:
    """Return episodes one after another, repeated as often as they fit.

    Each takes the operator that had no fault for the longest time. ``spare`` is how many may join. Raises ``InputError`` for
    too few operators to tolerate one that is absent.
    """
    if operators < MIN_OPERATORS:
        raise InputError(
            f"plan rotations of {operators} operators: none of them may be missing",
            hint=f"use at least {MIN_OPERATORS}, better 4 or more",
        )
    return tuple(_acts(rotations, operators, spare))


def _acts(rotations: int, operators: int, spare: int) -> Iterator[ScheduledFault]:
    peace = deque(range(operators))
    newcomer, start = operators, 1
    for episode in cycle(_EPISODES):
        if start + episode.rotations > rotations + 1 or newcomer == operators + spare:
            return
        if episode.what is FaultKind.JOIN:
            yield ScheduledFault(start, FaultKind.JOIN, newcomer)
            peace.append(newcomer)
            newcomer += 1
        else:
            chosen = peace.popleft()
            yield ScheduledFault(start, episode.what, chosen, episode.during)
            if episode.what is FaultKind.KILL:
                yield ScheduledFault(start + 1, FaultKind.RESTART, chosen)
            if episode.what is not FaultKind.LEAVE:
                peace.append(chosen)
        start += episode.rotations


def due(plan: Sequence[ScheduledFault], rotation: int, *, during: bool) -> tuple[ScheduledFault, ...]:
    """Return the faults that a plan has for this moment of a rotation."""
    return tuple(act for act in plan if act.rotation == rotation and act.during == during)
