"""Schedules that once went wrong, each with what is promised of it."""

from eigenkms.types import OperatorAddress
from eigenkms.wire.frames import Frame, FrameKind
from eigenkms.wire.session import Session
from eigenkms.wire.transcript import Transcript
from tests.sim.byzantine import Byzantine, always_fresh, leaves_keys_out, lists_no_keys, silent
from tests.sim.node import Node
from tests.sim.staging import QUICK, founded, know, led_by_liars, nodes
from tests.sim.world import World


def _version(node: Node, session: Session) -> Transcript:
    """What the session made, as the node has it, certified."""
    known = node.world.version_of(node, session)
    assert known is not None
    return known.transcript


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


def test_a_crash_before_the_genesis_dealing_is_made_costs_no_key() -> None:
    """The next life deals to all that had announced, whose keys it has to be sent again."""
    world = World(4, 1, faults=QUICK)
    first = nodes(world)[0]
    session = world.next_boundary(spread=0.01)

    def has_fixed_who_counts() -> bool:
        return any(record.kind == "revealed" for record in first.disk.journal.get(session.id, ()))

    assert world.run(5, until=has_fixed_who_counts)
    first.crash()
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
    assert all(_version(n, session).key_of(leaders[3].address) for n in there)


def test_a_leader_cannot_leave_out_the_key_of_a_newcomer_that_is_served() -> None:
    """At genesis all are newcomers; a version that listed no keys would serve nobody that is absent from the next session."""
    world = World(4, 1, faults=QUICK)
    session, leaders = led_by_liars(world, lists_no_keys)
    assert world.run(10, until=lambda: world.is_shared(session)), world.story("no key")
    assert all(key is not None for key in _version(leaders[1], session).keys)


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


def _prepares_two(world: World) -> tuple[Session, list[Node]]:
    """A session in which one transcript is prepared, as a single member sees, and another one is certified after it."""
    session, leaders = led_by_liars(world, count=0)
    Byzantine(world, leaders[1], always_fresh)

    def holds_back(frame: Frame, to: OperatorAddress) -> bool:
        return frame.kind is FrameKind.VOTE and frame.body[0] == 0 and to != leaders[2].address

    world.holds_back = holds_back
    correct = [leaders[0], *leaders[2:]]
    assert world.run(10, until=know(session, correct)), world.story("no rotation")
    made = [v for v in leaders[2].disk.versions.values() if v.transcript.session == session.id]
    assert [v.is_certified for v in made] == [False, True]
    return session, correct


def test_of_two_transcripts_prepared_in_one_session_the_certified_one_is_dealt_from() -> None:
    """They have one version number; whoever saw the first one prepared must not take it for the version."""
    world = founded(4)
    _, correct = _prepares_two(world)
    assert all(len(node.disk.held) == 1 for node in correct)
    following = world.next_boundary(spread=0.01)
    assert world.run(15, until=lambda: world.is_shared(following)), world.story("no rotation")


def test_who_knows_another_transcript_of_a_session_than_its_certified_one_is_told() -> None:
    """It saw the first one prepared and missed the second one. A liar is silent, so all others must deal from one of them."""
    world = founded(4)
    session, leaders = led_by_liars(world, count=0)
    liar, misled = leaders[1], leaders[2]
    Byzantine(world, liar, always_fresh)

    def holds_back(frame: Frame, to: OperatorAddress) -> bool:
        has_seen_one = misled.disk.held[-1].transcript.session == session.id
        alone = to == misled.address and frame.session == session.id and has_seen_one
        return alone or (frame.kind is FrameKind.VOTE and frame.body[0] == 0 and to != misled.address)

    world.holds_back = holds_back
    assert world.run(10, until=know(session, [leaders[0], leaders[3]])), world.story("no rotation")
    assert not misled.disk.held[-1].is_certified
    Byzantine(world, liar, silent)
    for _ in range(3):
        following = world.next_boundary(spread=0.01)
        if world.run(15, until=lambda s=following: world.is_shared(s)):
            return
    raise AssertionError(world.story("no rotation"))


def test_a_newcomer_that_left_again_is_needed_if_its_session_prepared_a_version() -> None:
    """One member saw the version prepared and deals from nothing else; the other one knows of none that it has a share of."""
    world = founded(2, members=1)
    stays, leaves = nodes(world)
    session = world.next_boundary(spread=0.01)
    world.holds_back = lambda frame, to: (
        frame.kind in (FrameKind.VOTE, FrameKind.CERTIFICATE)
        and frame.session == session.id
        and to == leaves.address
    )
    world.run(0.5)
    assert stays.disk.held[-1].transcript.session == session.id
    assert leaves.disk.held[-1].transcript.session != session.id
    for _ in range(3):
        following = world.next_boundary(spread=0.01, members=[stays.address])
        if world.run(10, until=lambda s=following: world.is_shared(s)):
            return
    raise AssertionError(world.story("no rotation"))
