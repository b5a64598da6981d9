"""Runs after the network is good: correct operators certify again without the liar.

From a point of a walk, the boundaries of later sessions are seen by all correct operators, everything that they say arrives at
once, timers fire when they are due, and leaders are those of the protocol. The liar says nothing any more. Operators serve each
other bodies, rows, and the versions that they know to whoever finds that they deal from an unknown one.
"""

from collections.abc import Iterable, Sequence

from tests.sim.exhaustive.life import Life
from tests.sim.exhaustive.walk import Point, Walk

SESSION_SECONDS = 20.0
"""As long as an interval of the scene's parameters."""
EVENTS = 4000
"""More than any session has; a bound against loops."""


def find_stuck(walk: Walk, points: Iterable[Point]) -> tuple[int, Point | None]:
    """A point from which the correct operators never certify again, if there is one, and how many were tried.

    Of points whose operators stand alike, whatever they are called, one is tried.
    """
    tried: set[tuple[int, ...]] = set()
    for point in points:
        standing = walk.table.standing(point[:-1])
        if standing not in tried:
            tried.add(standing)
            lives = [walk.table[number].life.copy() for number in point[:-1]]
            if not _certify(lives, len(walk.bound.views) + 1):
                return len(tried), point
    return len(tried), None


def _certify(lives: Sequence[Life], first: int, sessions: int = 3) -> bool:
    """Whether all of these end one of ``sessions`` sessions with its certificate. The lives are used up."""
    return any(_session(lives, number) for number in range(first, first + sessions))


def _session(lives: Sequence[Life], number: int) -> bool:
    scene = lives[0].scene
    session = scene.session(number)
    began = max(life.now for life in lives)
    for life in lives:
        life.now = began
        life.join(session)
    for _ in range(EVENTS):
        if _deliver(lives) or _serve(lives):
            continue
        if all(_has(life, number) for life in lives):
            return True
        due = [at for life in lives if (at := life.operator.deadline()) is not None]
        now = min(due, default=began + SESSION_SECONDS) + 1e-6
        if now >= began + SESSION_SECONDS:
            return False
        for life in lives:
            life.now = now
            life.step(lambda o, life=life: o.tick(life.now))
    raise AssertionError(f"session {number} does not come to rest")


def _has(life: Life, number: int) -> bool:
    """Whether it knows this session's version as certified, with its share."""
    certified = life.operator.certified
    return (
        certified is not None
        and life.scene.number_of(certified.transcript) == number
        and certified.share is not None
    )


def _deliver(lives: Sequence[Life]) -> bool:
    """What was said goes to all others."""
    said = [(life, frame) for life in lives for frame in life.outbox]
    for life in lives:
        life.outbox.clear()
    for sender, frame in said:
        for life in lives:
            if life is not sender:
                life.hear(frame)
    return bool(said)


def _serve(lives: Sequence[Life]) -> bool:
    """Whatever one wants and another has; whether there was anything."""
    served = [_serve_one(life, [other for other in lives if other is not life]) for life in lives]
    return any(served)


def _serve_one(life: Life, others: Sequence[Life]) -> bool:
    served = False
    me = life.scene.addresses[life.index]
    for name in life.operator.wanted_bodies:
        body = next((body for other in others if (body := other.operator.body(name)) is not None), None)
        if body is not None:
            life.take_body(name, body)
            served = True
    for name in life.operator.wanted_rows:
        row = next((row for other in others if (row := other.operator.row(name, me)) is not None), None)
        if row is not None:
            life.step(lambda o, n=name, r=row: o.take_row(n, r, life.now))
            served = True
    unknown = life.operator.unknown_sources
    for other in others:
        if life.scene.addresses[other.index] in unknown:
            for version in other.operator.versions:
                before = life.operator.versions
                life.step(lambda o, v=version: o.adopt(v.transcript, v.certificate, life.now))
                if life.operator.versions != before:
                    _pull(life, other)
                    served = True
    return served


def _pull(life: Life, other: Life) -> None:
    """Get the frames of the newest session that were not wanted before."""
    mine, theirs = life.operator.newest, other.operator.newest
    assert mine is not None
    if theirs is not None and theirs.session.id == mine.session.id:
        life.hear(*theirs.sync_reply(mine.sync_request()))
