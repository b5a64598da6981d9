"""What a network does when nothing is in its way, and how long it takes."""

import pytest

from tests.sim.world import Faults, World

DELAY = 0.05
"""Seconds that every message takes."""
PEACE = Faults(min_delay=DELAY, max_delay=DELAY)
CPU = 0.001


def _steady(n: int, seed: int = 1) -> World:
    """Messages that all take equally long, and fast processors; a key is made."""
    world = World(n, seed, faults=PEACE, cpu=CPU)
    session = world.next_boundary(spread=0)
    assert world.run(10, until=lambda: world.is_shared(session)), world.story("no key in peace")
    world.run(5)
    return world


def _seconds(world: World, *, absent: int = 0) -> float:
    """From the boundary to the certificate at all that are there."""
    session = world.next_boundary(spread=0)
    begun = world.now
    there = world.members(session)[absent:]
    held = world.run(20, until=lambda: all(world.version_of(node, session) for node in there))
    assert held, world.story("no rotation")
    return world.now - begun


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 10])
def test_a_key_is_made_and_rotated(n: int) -> None:
    """Everybody gets a share of each version, and keeps one version and one key."""
    world = World(n, n)
    for _ in range(3):
        session = world.next_boundary()
        assert world.run(10, until=lambda s=session: world.is_shared(s)), world.story("not shared")
        world.run(1)
    for node in world.correct():
        assert [v.transcript.session for v in node.disk.held] == [session.id]
        assert list(node.disk.keys) == [session.boundary.number]


@pytest.mark.slow
@pytest.mark.parametrize("n", [4, 7, 10])
def test_a_rotation_takes_four_delays(n: int) -> None:
    """Dealing, proposal, prepare, commit, if all are there; the processors' work comes on top."""
    world = _steady(n)
    assert [_seconds(world) < 4 * DELAY + 6 * CPU for _ in range(3)] == [True] * 3


@pytest.mark.slow
@pytest.mark.parametrize("n", [4, 7, 10])
def test_an_absent_member_costs_a_grace(n: int) -> None:
    """With one member absent a rotation takes at most 1.3 times as long, and the grace, from its second session on."""
    world = _steady(n)
    first = next(iter(world.nodes.values()))
    first.crash()
    _seconds(world, absent=1)
    world.run(5)
    for _ in range(3):
        assert _seconds(world, absent=1) <= 1.3 * (4 * DELAY + 6 * CPU) + world.grace
        world.run(5)
