"""A session that ends without a certificate names who kept it from ending; the network delivers among all others.

Directed stories say who is named of what. Random ones hold the law against every operator (``Laws.blames``): those that are named
include somebody faulty or absent.
"""

import os
import random
from collections.abc import Callable, Sequence

import pytest

from eigenkms.protocols.ceremony import blame as blame_module
from eigenkms.protocols.ceremony.blame import Blame
from eigenkms.types import OperatorAddress
from eigenkms.wire.frames import Frame, FrameKind
from eigenkms.wire.session import Session
from tests.sim import byzantine as b
from tests.sim.byzantine import POSES, RANDOM_ATTACKS, Attack, Byzantine, Pose, random_liar
from tests.sim.node import Node
from tests.sim.staging import QUICK, founded, led_by_liars, nodes
from tests.sim.test_planted_faults import catches
from tests.sim.world import World

COUNT = int(os.environ.get("EIGENKMS_SEEDS", "20"))
LONG = 19.5
"""Seconds of a session; an interval has 20."""
SPEAKING = (FrameKind.PROPOSAL, FrameKind.VOTE, FrameKind.VIEW_CHANGE)


def _ends(world: World, culprits: Sequence[Node], session: Session) -> dict[str, Blame]:
    """A session goes on for its time and is over; what each correct member says of it, by name."""
    world.laws.culprits = frozenset(node.address for node in culprits)
    world.run(LONG)
    world.next_boundary(spread=0.01, members=session.recipients.addresses)
    world.run(0.1)
    found: dict[str, Blame] = {}
    for node in world.correct():
        ceremony = None if node.operator is None else node.operator.ceremony(session.id)
        if ceremony is not None and node.address in session.x:
            assert not ceremony.decided, "the story went on to the end"
            assert ceremony.blame is not None
            events = [note.event for note in node.notes].count("ended without a certificate")
            assert events == 1
            found[node.name] = ceremony.blame
    assert found
    return found


def _addresses(*who: Node) -> tuple[OperatorAddress, ...]:
    return tuple(sorted(node.address for node in who))


# -- genesis -----------------------------------------------------------------------------------------------------


def _at_genesis(*attacks: Attack, poses: tuple[Pose, ...] = ()) -> tuple[World, Node, Session]:
    world = World(4, 1, faults=QUICK)
    liar = nodes(world)[0]
    byzantine = Byzantine(world, liar, *attacks)
    for pose in poses:
        pose(byzantine)
    return world, liar, world.next_boundary(spread=0.01)


def test_who_does_not_come_to_a_genesis_is_named() -> None:
    """No key, no digest, of the one that is down."""
    world = World(4, 1, faults=QUICK)
    absent = nodes(world)[2]
    absent.crash()
    gone = _addresses(absent)
    found = _ends(world, [absent], world.next_boundary(spread=0.01))
    assert set(found.values()) == {Blame(no_key=gone, no_hash=gone)}
    assert found["op0"].operators == {absent.address}
    assert found["op0"].named == {name: ["0x" + absent.address.hex()] for name in ("no_key", "no_hash")}


@pytest.mark.parametrize(
    ("kinds", "named"),
    [
        ([FrameKind.KEY, FrameKind.DEALING], ["no_key"]),
        ([FrameKind.HASH], ["no_hash"]),
        ([FrameKind.DEALING], ["no_dealing"]),
        ([*SPEAKING], ["no_view_change"]),
    ],
)
def test_who_leaves_a_genesis_is_named_for_what_is_lacking(kinds: list[FrameKind], named: list[str]) -> None:
    """It says all the rest. A genesis can do without one member in agreement; so the last case has two such members."""
    world, liar, session = _at_genesis(b.mute(kinds))
    liars = [liar]
    if FrameKind.VOTE in kinds:
        Byzantine(world, nodes(world)[1], b.mute(kinds))
        liars.append(nodes(world)[1])
    for blame in _ends(world, liars, session).values():
        assert set(named) <= set(blame.named)
        assert set(blame.named) <= {*named, "no_proposal", "no_vote"}
        for name in named:
            assert getattr(blame, name) == _addresses(*liars)


def test_whose_dealing_is_refuted_is_named() -> None:
    """Apart from those that sent none."""
    world, liar, session = _at_genesis(poses=(b.wrong_shares,))
    assert set(_ends(world, [liar], session).values()) == {Blame(bad_dealing=_addresses(liar))}


def _announces_late(seed: int) -> None:
    """What a genesis waited for comes when nobody can answer it any more."""
    world = World(4, seed, faults=QUICK)
    liar = nodes(world)[0]
    Byzantine(world, liar)
    first = {FrameKind.KEY, FrameKind.HASH}
    world.holds_back = lambda frame, _to: frame.sender == liar.address and frame.kind in first
    session = world.next_boundary(spread=0.01)
    world.laws.culprits = frozenset([liar.address])
    world.run(LONG)
    world.holds_back = lambda _frame, _to: False
    world.run(0.4, until=lambda: all(_is_announced(node, session) for node in world.correct()))
    world.next_boundary(spread=0.01)
    world.run(0.1)


def _is_announced(node: Node, session: Session) -> bool:
    ceremony = None if node.operator is None else node.operator.ceremony(session.id)
    return ceremony is not None and ceremony._sources.current._revealed is not None  # type: ignore[attr-defined]


def test_who_comes_in_the_last_moment_puts_no_blame_on_others() -> None:
    """They have not dealt either, as they could not."""
    _announces_late(1)


# -- rotation ----------------------------------------------------------------------------------------------------


def test_too_few_dealers_are_named() -> None:
    """Two of four are down: they have dealt nothing."""
    world = founded(4)
    absent = nodes(world)[1:3]
    for node in absent:
        node.crash()
    found = _ends(world, absent, world.next_boundary(spread=0.01))
    assert set(found.values()) == {Blame(no_dealing=_addresses(*absent))}


def test_a_bad_dealing_is_named_apart() -> None:
    """One is down, one deals wrongly: too few are left."""
    world = founded(4)
    session, (liar, absent, *_) = led_by_liars(world, poses=(b.wrong_shares,))
    absent.crash()
    found = _ends(world, [liar, absent], session)
    assert set(found.values()) == {Blame(no_dealing=_addresses(absent), bad_dealing=_addresses(liar))}


def test_newcomers_without_whom_nobody_deals_are_named() -> None:
    """Three newcomers of seven are absent, so no holder deals; the holders are not named."""
    world = founded(7, members=4)
    absent = nodes(world)[4:]
    for node in absent:
        node.crash()
    found = _ends(world, absent, world.next_boundary(spread=0.01))
    assert set(found.values()) == {Blame(no_key=_addresses(*absent))}


@pytest.mark.slow
def test_members_that_do_not_vote_and_leaders_that_do_not_propose_are_named() -> None:
    """Three of seven deal, and say nothing after it; each leads a view. Leaders that did propose are not named."""
    world = founded(7)
    session, leaders = led_by_liars(world, b.mute(list(SPEAKING)), count=3)
    for blame in _ends(world, leaders[:3], session).values():
        assert set(blame.no_proposal) <= set(_addresses(*leaders[:3]))
        assert blame.operators == set(_addresses(*leaders[:3]))


def test_a_leader_that_shows_its_proposal_to_one_is_named_by_it() -> None:
    """It saw the proposal and the liars' votes; the others never did, and are named beside the leader that all of them lack."""
    world = founded(4)
    session, (liar, other, told, _) = led_by_liars(world, b.mute([FrameKind.VIEW_CHANGE]))
    Byzantine(world, other, b.mute([FrameKind.PROPOSAL, FrameKind.VIEW_CHANGE]))

    def holds_back(frame: Frame, to: OperatorAddress) -> bool:
        hidden = frame.kind in (FrameKind.PROPOSAL, FrameKind.VOTE) and frame.sender in (
            liar.address,
            other.address,
        )
        return hidden and to != told.address

    world.holds_back = holds_back
    _ends(world, [liar, other], session)


def test_a_session_that_ends_well_blames_nobody() -> None:
    """Nor does one that is over when its operator comes back."""
    world = founded(4)
    session = world.next_boundary(spread=0.01)
    assert world.run(LONG, until=lambda: world.is_shared(session))
    world.next_boundary(spread=0.01)
    world.run(0.2)
    node = nodes(world)[0]
    node.crash()
    world.restart(node)
    world.run(0.2)
    assert not [n for node in nodes(world) for n in node.notes if n.event == "ended without a certificate"]


# -- the law -----------------------------------------------------------------------------------------------------


def _fails(seed: int) -> int:
    """Some lie and some are down, together too many; how often a session ended without a certificate."""
    r = random.Random(seed)
    n = r.choice([4, 4, 5, 6, 7, 7, 8])
    world = World(n, seed, faults=QUICK)
    liars, absent = (n - 1) // 3, n - -(-2 * n // 3) + 1
    rotates = r.random() < 0.7
    if rotates:
        world = founded(n, seed, members=r.choice([n, n, n - 1]))
    chosen = r.sample(nodes(world), min(n - 1, r.randint(0, liars) + r.randint(1, absent)))
    lying = chosen[: r.randint(0, min(liars, len(chosen)))]
    world.laws.culprits = frozenset(node.address for node in chosen)
    for node in chosen:
        if node in lying:
            attacks, poses = r.sample(RANDOM_ATTACKS, r.randint(0, 2)), r.sample(POSES, r.randint(0, 1))
            random_liar(world, node, [*attacks, b.mute(r.sample(SPEAKING, r.randint(0, 3)))], poses)
        else:
            node.crash()
    for _ in range(2):
        world.next_boundary(spread=0.05)
        world.run(LONG)
    world.next_boundary(spread=0.05)
    world.run(0.2)
    ends = [
        note for node in world.correct() for note in node.notes if note.event == "ended without a certificate"
    ]
    return len(ends)


@pytest.mark.slow
def test_somebody_faulty_is_always_named() -> None:
    """Whatever liars say, as long as all others hear each other."""
    assert sum(_fails(seed) for seed in range(COUNT)) > COUNT


Planted = Callable[[pytest.MonkeyPatch], None]


def _without_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what lacks at the end counts, whenever it could have come."""
    monkeypatch.setattr(blame_module, "STAGE_WINDOWS", 0.0)


@pytest.mark.slow
def test_blame_for_what_nobody_could_answer_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The law finds what the planted fault does."""
    _without_stages(monkeypatch)
    catches("blames only others", _announces_late, range(3))
