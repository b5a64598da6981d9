"""Schedules that once went wrong, each with what is promised of it."""

from tests.sim.v2.byzantine import leaves_keys_out, lists_no_keys
from tests.sim.v2.staging import QUICK, founded, know, led_by_liars, nodes
from tests.sim.v2.world import World


def test_a_dealing_that_is_done_after_the_next_boundary_is_not_taken_for_the_next_one() -> None:
    """Both sessions deal from one version; a slow processor answers for the first while the second waits for its own."""
    world = founded(4)
    world.cpu = 0.5
    world.next_boundary(spread=0.01)
    world.run(0.2)
    world.cpu = 2.0
    session = world.next_boundary(spread=0.01)
    assert world.run(15, until=lambda: world.is_shared(session)), world.story("not shared")


def test_a_crash_right_after_the_session_was_opened_costs_no_key() -> None:
    """An operator that had opened a genesis session, and nothing more, publishes a key in its next life; all n are needed."""
    world = World(4, 1, faults=QUICK)
    first = nodes(world)[0]
    first.crash_after = first.persisted + 1
    session = world.next_boundary(spread=0.01)
    world.run(0.1)
    assert first.operator is None
    world.restart(first)
    assert world.run(10, until=lambda: world.is_shared(session)), world.story("not shared")


def test_a_newcomer_that_began_a_rotation_as_a_genesis_learns_what_it_made() -> None:
    """It learnt of no version in time, so it waited for a genesis; the certificate that it is told of then is of this session."""
    world = World(5, 1, faults=QUICK)
    newcomer, *others = nodes(world)
    members = [node.address for node in others]
    first = world.next_boundary(spread=0.01, members=members)
    assert world.run(10, until=lambda: world.is_shared(first))
    world.partition = lambda a, b: newcomer.address in (a, b)
    session = world.next_boundary(spread=0.01)
    assert world.run(10, until=know(session, others))
    world.partition = lambda _a, _b: False
    assert world.run(5, until=lambda: world.version_of(newcomer, session) is not None), world.story("unknown")


def test_a_leader_cannot_drop_the_key_of_an_absent_member() -> None:
    """What the source lists stays listed; else the absent member would be served no more, and be lost like a faulty one."""
    world = founded(4)
    session, leaders = led_by_liars(world, leaves_keys_out)
    leaders[3].crash()
    there = leaders[:3]
    assert world.run(10, until=know(session, there)), world.story("none")
    assert all(world.version_of(n, session).transcript.key_of(leaders[3].address) for n in there)


def test_a_leader_cannot_leave_out_the_key_of_a_newcomer_that_is_served() -> None:
    """At genesis all are newcomers; a version that listed no keys would serve nobody that is absent from the next session."""
    world = World(4, 1, faults=QUICK)
    session, leaders = led_by_liars(world, lists_no_keys)
    assert world.run(10, until=lambda: world.is_shared(session)), world.story("no key")
    assert all(key is not None for key in world.version_of(leaders[1], session).transcript.keys)


def test_dealings_are_served_after_a_restart() -> None:
    """A member that was away gets its share of a version although all others have been restarted since it was certified."""
    world = founded(4)
    away, *others = nodes(world)
    away.crash()
    session = world.next_boundary(spread=0.01)
    assert world.run(10, until=know(session, others))
    world.run(1)
    for node in others:
        node.crash()
        world.restart(node)
    world.restart(away)
    assert world.run(5, until=lambda: world.is_shared(session)), world.story("not shared")
