"""The simulated world does to the machines what it says: disks, clocks, chains and the network."""

import random

from eigenkms.protocols.ceremony.effects import JournalRecord, Persist
from eigenkms.protocols.ceremony.participant import SessionEffect
from eigenkms.wire.frames import Frame
from eigenkms.wire.session import Session
from tests.protocols.parts import base_versions_of
from tests.sim.clock import Clock, Skew
from tests.sim.world import Faults, Node, World


def _first(world: World) -> Node:
    return next(iter(world.nodes.values()))


def _log(node: Node, session: Session) -> list[Frame]:
    assert node.operator is not None
    ceremony = node.operator.ceremony(session.id)
    assert ceremony is not None
    return list(ceremony._log)


def test_a_crash_between_two_commits_keeps_one_and_loses_the_other_whole() -> None:
    """What one step writes in one session is one transaction: all of it is durable, or nothing."""
    world = World(1, 1)
    sessions = [world.next_boundary(only=()) for _ in range(2)]
    node = _first(world)
    records = [JournalRecord("lock", bytes([i])) for i in range(4)]
    for session in sessions:
        node.disk.open_session(session, 0.0)
    node.crash_after = node.persisted + 1
    node.carry_out([SessionEffect(sessions[i % 2], Persist(record)) for i, record in enumerate(records)])
    assert node.operator is None
    assert node.disk.journal == {sessions[0].id: [records[0], records[2]]}


def test_a_crash_before_anything_is_sent_leaves_the_disk_ahead_of_the_network() -> None:
    """After the commit of a step nothing of it has left; the next life says it, to the byte."""
    world = World(2, 1)
    node = _first(world)
    node.crash_after = node.persisted + 3  # the opened session, the first step's key and its journal
    session = world.next_boundary(only=[node.address], spread=0)
    lines: list[str] = []
    world.listener = lines.append
    world.run(0.5)
    assert node.disk.journal[session.id]
    assert not [line for line in lines if "KEY" in line]
    world.restart(node)
    assert [line for line in lines if "-> op1 KEY" in line]


def test_a_clock_runs_at_its_own_rate_from_its_own_zero() -> None:
    """Moments translate back and forth; the time of day is wrong by a constant of this life."""
    clock = Clock(random.Random(1), Skew(rate=0.1, day=5.0), booted=100.0)
    assert abs(clock.true(clock.monotonic(123.0)) - 123.0) < 1e-6
    passed = clock.monotonic(200.0) - clock.monotonic(100.0)
    assert 90 <= passed <= 110
    assert passed != 100
    assert 0 < abs(clock.time_of_day(100.0) - 100.0) <= 5
    exact = Clock(random.Random(1), Skew(), booted=100.0)
    assert (exact.monotonic(7.0), exact.time_of_day(7.0)) == (7.0, 7.0)


def test_a_session_is_as_old_after_a_restart_as_the_time_of_day_says() -> None:
    """A machine whose clock began anew still leaves its windows in time."""
    world = World(2, 4, faults=Faults(skew=Skew(rate=0.01, day=0.2)))
    node = _first(world)
    session = world.next_boundary(only=[node.address], spread=0)
    world.run(3.0)
    node.crash()
    world.run(2.0)
    world.restart(node)
    assert node.operator is not None
    ceremony = node.operator.ceremony(session.id)
    assert ceremony is not None
    assert abs(node.now - base_versions_of(ceremony).current._opened_at - 5.0) < 0.6


def test_a_lagging_chain_shows_a_boundary_late_and_a_blind_one_never() -> None:
    """Each operator sees the chain through its own node."""
    world = World(3, 1)
    prompt, late, blind = world.nodes.values()
    late.chain_lag, blind.sees_chain = 2.0, False
    world.next_boundary(spread=0.1)
    world.run(1.0)
    assert [len(n.disk.sessions) for n in (prompt, late, blind)] == [1, 0, 0]
    world.run(2.0)
    assert [len(n.disk.sessions) for n in (prompt, late, blind)] == [1, 1, 0]


def test_a_chain_never_shows_an_older_boundary_than_it_showed() -> None:
    """A boundary that arrives after a newer one is not told any more."""
    world = World(1, 1)
    node = _first(world)
    old = world.next_boundary(only=())
    new = world.next_boundary(only=())
    node.boundary(new)
    node.boundary(old)
    assert set(node.disk.sessions) == {new.id}


def test_of_two_blocks_with_one_number_the_first_seen_is_joined() -> None:
    """The orphan for those who see it first, the other for the rest; nobody joins both."""
    world = World(4, 2)
    misled = list(world.nodes)[:2]
    orphan = world.next_boundary(only=misled, spread=0.01)
    world.run(0.02)
    block = world.reorg_boundary(spread=0.01)
    world.run(0.02)
    joined = [list(node.disk.sessions) for node in world.nodes.values()]
    assert joined == [[orphan.id], [orphan.id], [block.id], [block.id]]


def test_a_partition_can_be_deaf_in_one_direction() -> None:
    """Whoever is cut off may still hear everybody, and be heard by nobody, in answers to pulls as well."""
    world = World(3, 1)
    mute = _first(world)
    world.partition = lambda sender, _to: sender == mute.address
    session = world.next_boundary(spread=0.01)
    world.run(0.9)
    for node in world.nodes.values():
        known = {frame.sender for frame in _log(node, session)}
        assert known == set(world.nodes) - ({mute.address} if node is not mute else set())


def test_bytes_are_read_once_for_all() -> None:
    """Everybody who receives the same bytes shares one frame, and one answer to whether it is signed."""
    world = World(4, 1)
    session = world.next_boundary(spread=0.01)
    world.run(0.2)
    logs = [
        {f.key: f for f in _log(node, session) if f.sender != node.address}
        for node in list(world.nodes.values())[:2]
    ]
    shared = set(logs[0]) & set(logs[1])
    assert shared
    assert all(logs[0][key] is logs[1][key] for key in shared)


def test_a_job_takes_time_and_is_lost_in_a_crash() -> None:
    """A result that comes when another life runs is taken by nobody; the next life asks for the work itself."""
    world = World(1, 1, cpu=1.0)
    node = _first(world)
    session = world.next_boundary(spread=0)
    world.run(0.4)
    assert world.version_of(node, session) is None
    node.crash()
    world.restart(node)
    world.run(0.4)
    assert world.version_of(node, session) is None
    assert world.run(5, until=lambda: world.is_shared(session))


def test_a_dealing_is_verified_once_for_all() -> None:
    """Whether it is valid depends on public bytes alone."""
    world = World(4, 1)
    session = world.next_boundary(spread=0.01)
    assert world.run(10, until=lambda: world.is_shared(session))
    assert len(world._checked) == len(world.nodes)
