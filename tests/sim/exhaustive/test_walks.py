"""All schedules of four operators, one of them Byzantine, within a bound: no law breaks, and nobody is stuck for ever.

The bounds below are small. ``EIGENKMS_EXHAUSTIVE=1`` adds the larger ones, which the gate walks.
"""

import os
from collections.abc import Iterator

import pytest

from tests.sim.exhaustive.calm import find_stuck
from tests.sim.exhaustive.life import cheap_copies
from tests.sim.exhaustive.scene import CORRECT, Scene
from tests.sim.exhaustive.walk import Bound, Point, Walk
from tests.support.toy_backend import toy_crypto, toy_hashing

SMALL = (
    (Bound(views=(1,), absences=1, rows_lost=True), 171),
    (Bound(views=(1,), crashes=1), 1_408),
)
LARGE = (
    (Bound(views=(1, 1), late=0), 12_075),
    (Bound(views=(1, 1), stale=(), absences=1), 13_752),
    (Bound(views=(1, 1), stale=(), crashes=1, late=0), 33_361),
    (Bound(views=(2,), crashes=1, late=0), 45_568),
    (Bound(views=(2,), stale=CORRECT, late=0), 34_933),
    (Bound(views=(2, 1), stale=()), 148_699),
    (Bound(views=(3,), stale=(), late=0), 59_033),
)
LIVE = (
    (Bound(views=(1, 1), stale=(), late=0), 1_826, 1_751),
    (Bound(views=(2,), crashes=1, stale=()), 65_482, 480),
)
"""Bounds, and the number of states. If a change of the machines moves it, say why; a cut of the walk moves it, too.

The third number is how many ways there are to go on from.
"""

exhaustive = pytest.mark.skipif(
    "EIGENKMS_EXHAUSTIVE" not in os.environ, reason="takes minutes; the gate runs it"
)


@pytest.fixture
def scene() -> Iterator[Scene]:
    with toy_crypto(), toy_hashing(), cheap_copies():
        yield Scene()


@pytest.mark.slow
def test_one_session_of_two_views_breaks_no_law_and_sticks_nowhere(scene: Scene) -> None:
    """The walk comes where the danger is: two transcripts are prepared, one is certified, and keys are erased that others need."""
    walk = Walk(scene, Bound(views=(2,)), check_twins=3)
    ends = walk.run()
    tried, stuck = find_stuck(walk, ends)
    print(f"\n{walk}; {tried} ways to go on from")
    assert stuck is None, walk.schedule(stuck)
    assert (walk.points, tried) == (32_405, 451)
    made = [walk.context(point).ended[0] for point in ends]
    assert any(ended.certified and len({digest for digest, _ in ended.prepared}) == 2 for ended in made)
    states, key = walk.table.states, scene.first.transcript.boundary.number
    assert any(state.certified and key not in state.life.disk.keys for state in states)
    assert any(state.prepared and key in state.life.disk.keys for state in states)


@pytest.mark.slow
@pytest.mark.parametrize(("bound", "points"), SMALL)
def test_small_bounds_break_no_law(scene: Scene, bound: Bound, points: int) -> None:
    """One is absent from the session; one crashes anywhere."""
    _walk(scene, bound, points)


@exhaustive
@pytest.mark.parametrize(("bound", "points"), LARGE)
def test_larger_bounds_break_no_law(scene: Scene, bound: Bound, points: int) -> None:
    """Two sessions, with an absence or a crash; two views with a crash; two views and then a session; three views."""
    _walk(scene, bound, points)


@exhaustive
@pytest.mark.parametrize(("bound", "points", "tried"), LIVE)
def test_larger_bounds_stick_nowhere(scene: Scene, bound: Bound, points: int, tried: int) -> None:
    """Without the liar, the correct operators certify again; so they do after two sessions, and after a crash."""
    walk, ends = _walk(scene, bound, points)
    found, stuck = find_stuck(walk, ends)
    print(f"{found} ways to go on from")
    assert stuck is None, walk.schedule(stuck)
    assert found == tried


def _walk(scene: Scene, bound: Bound, points: int) -> tuple[Walk, list[Point]]:
    walk = Walk(scene, bound, check_twins=7)
    ends = walk.run()
    print(f"\n{bound}: {walk}")
    assert walk.points == points
    return walk, ends


@pytest.mark.slow
def test_rounds_leave_nothing_out(scene: Scene) -> None:
    """Any operator may take any move at any time: what a session amounts to is the same."""
    bound = Bound(views=(2,), stale=())
    rounds, free = Walk(scene, bound), Walk(scene, bound, keep_votes=True)
    assert rounds.outcomes(rounds.run()) == free.outcomes(free.run_free())


@pytest.mark.slow
@pytest.mark.parametrize(
    "bound", [Bound(views=(2,), stale=()), Bound(views=(1,), stale=CORRECT), Bound(views=(1,), absences=1)]
)
def test_symmetry_leaves_nothing_out(scene: Scene, bound: Bound) -> None:
    """A walk that follows all points finds the same ones, up to the names of operators."""
    reduced, full = Walk(scene, bound), Walk(scene, bound, reduced=False)
    assert reduced.outcomes(reduced.run()) == full.outcomes(full.run())
    assert reduced.points < full.points
