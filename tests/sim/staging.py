"""What directed stories share: a network that holds a key, and boundaries of which they know who leads."""

from collections.abc import Callable
from dataclasses import replace

from eigenkms.protocols.ceremony.drafter import NEWCOMER_WINDOWS
from eigenkms.types import OperatorAddress
from eigenkms.wire.frames import Frame, FrameKind
from eigenkms.wire.messages import read_vote
from eigenkms.wire.session import Session
from eigenkms.wire.votes import Phase
from tests.sim import byzantine as b
from tests.sim.byzantine import Attack, Byzantine, Pose
from tests.sim.node import Node
from tests.sim.world import Faults, World

QUICK = Faults(sync_seconds=0.1, max_delay=0.02)


def nodes(world: World) -> list[Node]:
    return list(world.nodes.values())


def founded(n: int, seed: int = 1, *, members: int | None = None) -> World:
    """Operators of which the first ``members``, or all, hold a master key together."""
    world = World(n, seed, faults=QUICK)
    rotated(world, members=members)
    return world


def rotated(  # deadline of the subject: of the simulated clock
    world: World, seconds: float = 10, *, members: int | None = None
) -> Session:
    """One more boundary, and all correct members get their shares of what it makes."""
    session = world.next_boundary(spread=0.01, members=list(world.nodes)[:members])
    assert world.run(seconds, until=lambda: world.is_shared(session)), world.story("no rotation: not shared")
    world.run(1)
    return session


def led_by_liars(
    world: World, *attacks: Attack, poses: tuple[Pose, ...] = (), count: int = 1, members: int | None = None
) -> tuple[Session, list[Node]]:
    """A boundary whose session has liars as its first leaders, and the members in the order in which they lead.

    So it is if all members were there when the source was made, or in a genesis.
    """
    session = world.next_boundary(spread=0.01, members=list(world.nodes)[:members])
    head = next((n.operator.head for n in nodes(world) if n.operator and n.operator.head), None)
    fresh = set() if head is None else set(head.transcript.recipients.addresses)
    leaders = [world.nodes[a] for a in sorted(session.coordinators, key=lambda a: a not in fresh)]
    for node in leaders[:count]:
        liar = Byzantine(world, node, *attacks)
        for pose in poses:
            pose(liar)
    return session, leaders


def split_by_a_late_newcomer(seed: int) -> None:
    """Three of seven are new. One of them lies, and one of the dealers: with both, t dealings serve the liar and t the other two,
    none all three. If the others were left out, the version had three correct shares, of five.
    """
    world = founded(7, seed, members=4)
    *dealers, liar = nodes(world)[:4]
    newcomer, *others = nodes(world)[4:]
    b.without_newcomers_but({newcomer.address})(Byzantine(world, liar))
    half, delay = NEWCOMER_WINDOWS * world.parameters.window, QUICK.max_delay / 2
    in_time, missed = half - delay, half + delay
    sees = {node.address: in_time for node in (liar, *dealers[1:])} | {
        node.address: missed for node in (dealers[0], *others)
    }
    Byzantine(world, newcomer, b.key_at(sees))
    world.faults = replace(QUICK, sync_seconds=world.parameters.window, max_delay=delay)
    session = world.next_boundary(spread=0)
    assert world.run(15, until=lambda: world.is_shared(session)), world.story("newcomers have no share")


def know(session: Session, some: list[Node]) -> Callable[[], bool]:
    """Whether all of some operators know that what this session made is certified."""
    return lambda: all(node.world.version_of(node, session) is not None for node in some)


def withhold_certificates(world: World, session: Session, told: set[OperatorAddress]) -> None:
    """From now on commit votes and certificates of this session arrive at nobody but those ``told``."""

    def holds_back(frame: Frame, to: OperatorAddress) -> bool:
        if frame.session != session.id or to in told:
            return False
        commits = frame.kind is FrameKind.VOTE and read_vote(frame).phase is Phase.COMMIT
        return commits or frame.kind is FrameKind.CERTIFICATE

    world.holds_back = holds_back


def lose_the_first_commits(world: World, session: Session) -> None:
    """From now on no commit vote of view 0 of this session arrives, nor any certificate."""

    def holds_back(frame: Frame, _to: OperatorAddress) -> bool:
        if frame.kind is not FrameKind.VOTE or frame.session != session.id:
            return frame.kind is FrameKind.CERTIFICATE
        vote = read_vote(frame)
        return vote.phase is Phase.COMMIT and vote.view == 0

    world.holds_back = holds_back
