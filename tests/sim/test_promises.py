"""What is promised beside the laws, in directed stories: absent members, newcomers, liars that lead, the life of keys."""

from typing import NoReturn

import pytest

from eigenkms.crypto import backends
from eigenkms.crypto.backends import Backends
from eigenkms.protocols.ceremony.participant import Participant
from eigenkms.protocols.records.evidence import Fault
from eigenkms.wire.frames import Frame, FrameKind
from eigenkms.wire.messages import SESSION_KINDS
from tests.sim import byzantine as b
from tests.sim.byzantine import Attack, Byzantine, Pose
from tests.sim.staging import (
    QUICK,
    founded,
    know,
    led_by_liars,
    nodes,
    rotated,
    split_by_a_late_newcomer,
    withhold_certificates,
)
from tests.sim.world import World

pytestmark = pytest.mark.slow

# -- absent members --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [4, 7, 10])
def test_a_rotation_ends_in_its_session_without_as_many_as_may_be_absent(n: int) -> None:
    """With n - t members absent throughout, a version is certified and all older shares and keys of the others are erased."""
    world = founded(n)
    absent = (n - 1) // 3
    there = nodes(world)[absent:]
    for node in nodes(world)[:absent]:
        node.crash()
    for _ in range(2):
        session = world.next_boundary(spread=0.01)
        assert world.run(15, until=know(session, there)), world.story("no rotation")
        world.run(1)
        for node in there:
            assert [v.transcript.session for v in node.disk.held if v.share is not None] == [session.id]
            assert list(node.disk.keys) == [session.boundary.number]
    for node in nodes(world)[:absent]:
        world.restart(node)
    rotated(world)


def test_absence_over_several_versions() -> None:
    """A member that missed three versions has the key that the last one lists, gets its share of it, and deals from then on."""
    world = founded(4)
    away, *others = nodes(world)
    away.crash()
    for _ in range(3):
        session = world.next_boundary(spread=0.01)
        assert world.run(15, until=know(session, others))
        world.run(1)
    assert list(away.disk.keys) == [10]
    world.restart(away)
    assert world.run(5, until=lambda: world.is_shared(session)), world.story("not shared")
    newest = rotated(world)
    assert list(away.disk.keys) == [newest.boundary.number]


# -- newcomers -------------------------------------------------------------------------------------------------

LEAVES_OUT: dict[str, tuple[tuple[Attack, ...], tuple[Pose, ...]]] = {
    "nobody lies": ((), ()),
    "a dealer leaves it out": ((), (b.without_newcomers,)),
    "the leader leaves it out and waits for nobody": ((b.counts_itself,), (b.without_newcomers, b.hastens)),
}


@pytest.mark.parametrize("name", LEAVES_OUT)
@pytest.mark.parametrize("n", [4, 7])
def test_a_newcomer_gets_its_share_in_its_first_session(n: int, name: str) -> None:
    """It is a member that the source knows no key of; all that are there serve it, and a liar that does not is not needed."""
    world = founded(n + 1, members=n)
    attacks, poses = LEAVES_OUT[name]
    session, _ = led_by_liars(world, *attacks, poses=poses, count=1 if poses else 0)
    assert world.run(15, until=lambda: world.is_shared(session)), world.story("the newcomer has no share")
    newcomer = nodes(world)[-1]
    assert newcomer.disk.has_share(newcomer.disk.held[-1].transcript.hash)


def test_a_newcomer_that_is_absent_is_not_waited_for() -> None:
    """It is left out of the session, and served once it is there."""
    world = founded(5, members=4)
    *others, newcomer = nodes(world)
    newcomer.crash()
    session = world.next_boundary(spread=0.01)
    assert world.run(15, until=know(session, others)), world.story("no rotation")
    world.run(1)
    world.restart(newcomer)
    rotated(world)


@pytest.mark.parametrize("seed", range(3))
def test_a_newcomer_that_splits_the_dealers_keeps_no_other_from_its_share(seed: int) -> None:
    """It shows its key so late that one dealer misses it, and a lying dealer serves it and no other newcomer."""
    split_by_a_late_newcomer(seed)


# -- liars -----------------------------------------------------------------------------------------------------

LEADERS: dict[str, tuple[tuple[Attack, ...], tuple[Pose, ...]]] = {
    "silent": ((b.silent,), ()),
    "no proposals": ((b.mute([FrameKind.PROPOSAL]),), ()),
    "two transcripts": ((b.two_transcripts,), ()),
    "transcripts without proof": ((b.always_fresh,), ()),
    "keys carried over": ((b.carries_keys_over,), ()),
    "keys left out": ((b.leaves_keys_out,), ()),
    "void": ((b.always_void,), ()),
    "commits to one": ((b.commits_to_one,), ()),
    "hides certificates": ((b.hides_certificates,), ()),
    "two dealings": ((b.two_dealings,), (b.remembers_jobs,)),
    "two keys": ((b.two_keys,), ()),
    "a key without proof": ((b.unproved_key,), ()),
    "wrong shares": ((), (b.wrong_shares,)),
    "another secret": ((), (b.wrong_constant,)),
    "no bodies": ((), (b.serves_nobody,)),
    "bodies to some": ((), (b.serves_some,)),
    "bad bodies to some": ((), (b.serves_garbage,)),
    "haste": ((), (b.hastens,)),
    "votes for two": ((b.double_vote,), ()),
    "bad votes": ((b.bad_vote,), ()),
    "a storm of view changes": ((b.storm,), ()),
    "forged certificates": ((b.forged_certificates,), ()),
    "a flood": ((b.flood,), ()),
    "forged votes": ((b.forge,), ()),
    "falls silent": ((b.falls_silent,), ()),
    "no dealing": ((b.mute([FrameKind.DEALING]),), ()),
    "dealings to some": ((b.mute_to_some([FrameKind.DEALING]),), ()),
    "keys to some": ((b.mute_to_some([FrameKind.KEY]),), ()),
    "late dealings": ((b.late([FrameKind.DEALING], 0.5),), ()),
    "late proposals": ((b.late([FrameKind.PROPOSAL], 0.45),), ()),
    "no votes": ((b.mute([FrameKind.VOTE]),), ()),
    "votes to some": ((b.mute_to_some([FrameKind.VOTE]),), ()),
    "votes held back": ((b.late([FrameKind.VOTE], 0.7),), ()),
    "split votes": ((b.split_vote,), ()),
    "votes without a proposal": ((b.eager_commit,), ()),
    "no keys listed": ((b.lists_no_keys,), ()),
    "junk": ((b.junk,), ()),
    "frames for elsewhere": ((b.misdirected,), ()),
    "replays": ((b.replay,), ()),
    **{f"a header with {name}": ((b.bad_header(c),), ()) for name, c in b.BAD_HEADERS.items()},
    **{
        f"a transcript with {name}": ((b.wrong_transcript(c),), ()) for name, c in b.WRONG_TRANSCRIPTS.items()
    },
}


NO_DEALING = {
    *("silent", "no dealing", "no bodies", "wrong shares", "another secret"),
    *(f"a header with {name}" for name in b.BAD_HEADERS if name != "a recipient less"),
}
"""Without these dealers no genesis of all n ends with a key."""
CONVICTED = {
    "two dealings": Fault.EQUIVOCATION,
    "two keys": Fault.EQUIVOCATION,
    "votes for two": Fault.EQUIVOCATION,
    "bad votes": Fault.BAD_VOTE,
}
"""That nobody else is accused, and of nothing that it did not do, is a law."""


def _check_convicted(world: World, name: str) -> None:
    found = {fault for faults in world.accused().values() for fault in faults}
    assert name not in CONVICTED or CONVICTED[name] in found, world.story("the liars got away")


@pytest.mark.parametrize("name", LEADERS)
def test_a_rotation_comes_although_the_first_leaders_lie(name: str) -> None:
    """Two liars in a row lead, of seven; all others get their shares in that session, and again in the next one."""
    attacks, poses = LEADERS[name]
    world = founded(7)
    session, _ = led_by_liars(world, *attacks, poses=poses, count=2)
    assert world.run(19, until=lambda: world.is_shared(session)), world.story("no rotation")
    _check_convicted(world, name)
    rotated(world, 19)


@pytest.mark.parametrize("n", [4, 7])
@pytest.mark.parametrize("name", LEADERS)
def test_a_genesis_with_a_lowered_quorum_goes_on_without_the_liars(n: int, name: str) -> None:
    """N - f dealers are enough: the others come to a key in the first session whatever the first leaders do."""
    attacks, poses = LEADERS[name]
    f = (n - 1) // 3
    world = World(n, 1, faults=QUICK, quorum=n - f)
    session, _ = led_by_liars(world, *attacks, poses=poses, count=f)
    assert world.run(19, until=lambda: world.is_shared(session)), world.story("no key")
    _check_convicted(world, name)


@pytest.mark.parametrize("name", LEADERS)
def test_a_genesis_of_all_needs_every_dealer_and_then_binds_nobody(name: str) -> None:
    """A faulty dealer means no key; any other lie costs time only. After the next boundary nobody is bound to the session."""
    attacks, poses = LEADERS[name]
    world = World(4, 1, faults=QUICK)
    session, _ = led_by_liars(world, *attacks, poses=poses)
    has_key = world.run(19, until=lambda: world.is_shared(session))
    if name != "a flood":  # among what it sends may be a dealing of its own that is none, and come first
        assert has_key == (name not in NO_DEALING), world.story("a key" if has_key else "no key")
    world.next_boundary(spread=0.01)
    free = world.run(30, until=lambda: not any(n.operator.binding_session for n in world.correct()))  # type: ignore[union-attr]
    assert free, world.story("bound for ever")


# -- what comes before a signature -------------------------------------------------------------------------------


class _NoCurve:
    """In the place of both curves."""

    def __getattr__(self, name: str) -> NoReturn:
        pytest.fail(f"{name} was asked for before the signature was verified")


def test_nothing_dearer_than_a_hash_comes_before_a_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a frame is worth a signature check costs no operation on a curve, whatever is said."""
    wants, nothing = Participant.should_verify, Backends(*(_NoCurve(),) * 2)  # type: ignore[arg-type]
    screened: set[FrameKind] = set()

    def watched(self: Participant, frame: Frame) -> bool:
        screened.add(frame.kind)
        with backends.use(nothing):
            return wants(self, frame)

    monkeypatch.setattr(Participant, "should_verify", watched)
    world = founded(4)
    led_by_liars(world, b.junk, b.flood, b.misdirected, b.replay, b.forged_certificates)
    world.run(3)
    assert screened >= SESSION_KINDS


# -- forks and the life of keys ------------------------------------------------------------------------------------


def test_a_withheld_certificate_divides_nobody() -> None:
    """All commit to a version, and only the liar gets the certificate. The next session builds on it; the keys to it are there."""
    world = founded(4)
    session, leaders = led_by_liars(world, b.hides_certificates)
    withhold_certificates(world, session, {leaders[0].address})
    world.run(0.6)
    assert len(world.laws.versions) == 2
    following = world.next_boundary(spread=0.01)
    assert world.run(15, until=lambda: world.is_shared(following)), world.story("no rotation")
    (version,) = [t for t in world.laws.versions.values() if t.session == following.id]
    assert version.source_version == session.version


def test_a_certificate_that_one_correct_member_has_divides_nobody() -> None:
    """It erases what is older and crashes. The others build on what they prepared; they saw no certificate. Then it comes back."""
    world = founded(4)
    session = world.next_boundary(spread=0.01)
    told, *others = nodes(world)
    withhold_certificates(world, session, {told.address})
    assert world.run(3, until=know(session, [told])), world.story("no certificate")
    world.run(0.05)
    told.crash()
    following = world.next_boundary(spread=0.01)
    assert world.run(15, until=know(following, others)), world.story("no rotation")
    world.restart(told)
    assert world.run(10, until=lambda: world.is_shared(following)), world.story("not shared")


def test_a_restored_disk_costs_nobody_else_anything() -> None:
    """An old copy of a disk has keys and shares of the past. Its operator deals and holds shares again one session later."""
    world = founded(4)
    victim = nodes(world)[0]
    victim.back_up()
    for _ in range(2):
        rotated(world)
    victim.lose_disk()
    world.restart(victim)
    world.run(1)
    world.next_boundary(spread=0.01)
    world.run(10)
    rotated(world)


def test_a_pinned_key_stays_until_a_newer_one_is_listed() -> None:
    """A leader lists the old keys of all that have one. Nobody erases one that a later session needs, and all are renewed then."""
    world = founded(4)
    session, leaders = led_by_liars(world, b.carries_keys_over)
    assert world.run(10, until=lambda: world.is_shared(session)), world.story("no rotation")
    world.run(1)
    assert [list(node.disk.keys) for node in leaders[1:]] == [[10]] * 3
    leaders[0].crash()
    following = world.next_boundary(spread=0.01)
    assert world.run(15, until=know(following, leaders[1:])), world.story("no rotation")
    world.run(1)
    assert [list(node.disk.keys) for node in leaders[1:]] == [[following.boundary.number]] * 3


def test_a_liar_that_lives_in_the_past_forks_nothing() -> None:
    """It goes on dealing and proposing from a version that all others have left behind."""
    world = founded(4)
    liar = Byzantine(world, nodes(world)[0])
    b.lives_in_the_past(liar)
    for _ in range(3):
        rotated(world)
