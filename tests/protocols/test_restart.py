"""Another life of an operator, from what is durable: nothing is said differently, and whatever was promised is kept.

``Room`` fails a test in which two different things are said in one slot.
"""

from collections.abc import Sequence

import pytest

from eigenkms.protocols.ceremony.effects import (
    Broadcast,
    DropJournal,
    EraseJournalSecrets,
    EraseKeys,
    EraseShare,
    JournalRecord,
    KeepKey,
    Persist,
    RunJob,
)
from eigenkms.protocols.ceremony.participant import SessionEffect
from eigenkms.types import OperatorAddress
from eigenkms.wire.frames import Frame, FrameKind
from eigenkms.wire.messages import read_vote, ref_of, view_change_body
from eigenkms.wire.session import Session
from eigenkms.wire.votes import Phase
from tests.protocols.parts import base_versions_of, dealing_pool_of
from tests.protocols.rooms import KeyVersion, Room, operator_of, version_of
from tests.protocols.support import Cast, cast, secret_of


@pytest.fixture
def who() -> Cast:
    return cast(4)


@pytest.fixture
def version(who: Cast) -> KeyVersion:
    return version_of(who)


@pytest.fixture
def room(who: Cast, version: KeyVersion) -> Room:
    room = Room(who)
    room.enter(version=version)
    return room


def _kinds(room: Room, address: OperatorAddress, session: Session) -> list[str]:
    return [record.kind for record in room.disks[address].journals[session.id]]


def _broadcasts(effects: Sequence[SessionEffect], session: Session) -> list[Frame]:
    found = [e.effect.frame for e in effects if isinstance(e.effect, Broadcast)]
    return [frame for frame in found if frame.session == session.id]


# -- crashes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", range(21))
def test_a_crash_at_any_point_of_a_genesis_loses_nothing(who: Cast, point: int) -> None:
    """After so many durable things, before anything that followed is sent: the next life goes on, and all have one key."""
    room, me = Room(who), who.addresses[1]
    room.enter()
    room.disks[me].room = point
    room.boundary(who.session)
    assert me not in room.operators, "it crashed"
    room.run(0.5)
    room.disks[me].room = None
    room.restart(me)
    room.run(1)
    assert {room.certified(a).session for a in who.addresses} == {who.session.id}
    assert set(room.shares(room.certified(me))) == set(who.addresses)


ROTATION_POINTS = 20


@pytest.mark.parametrize("point", range(ROTATION_POINTS))
def test_a_crash_at_any_point_of_a_rotation_loses_nothing(
    who: Cast, version: KeyVersion, room: Room, point: int
) -> None:
    """The same, and then nothing old is left: neither a share nor a key."""
    me, session = who.addresses[1], who.later()
    room.disks[me].room = point
    room.boundary(session)
    assert me not in room.operators, "it crashed"
    room.run(0.5)
    room.disks[me].room = None
    room.restart(me)
    room.run(1)
    made = room.certified(me)
    assert {room.certified(a).hash for a in who.addresses} == {made.hash}
    assert (made.session, made.mpk) == (session.id, version.transcript.mpk)
    shares = room.shares(made)
    assert set(shares) == set(who.addresses)
    assert secret_of(shares, session.threshold) == secret_of(version.shares, session.threshold)
    assert list(room.disks[me].versions) == [made.hash]
    listed = made.key_of(me)
    assert listed is not None
    assert set(room.disks[me].keys) == {listed.number}


def test_a_rotation_has_so_many_durable_things(who: Cast, room: Room) -> None:
    """The test above misses none of them."""
    room.boundary(who.later())
    assert room.disks[who.addresses[1]].written == ROTATION_POINTS


def test_a_dealing_that_was_kept_and_not_said_counts_once(who: Cast, version: KeyVersion, room: Room) -> None:
    """It is dealt anew: nobody heard of the first one."""
    me, session = who.addresses[1], who.later()
    room.boundary(session)
    records = room.disks[me].journals[session.id]
    at = next(i for i, record in enumerate(records) if record.kind == "body")
    again = Room(who)
    again.enter([me], version)
    disk = again.disks[me]
    disk.open(session)
    disk.journals[session.id] += records[: at + 1]
    disk.keys.update(room.disks[me].keys)
    again.restart(me)
    dealings = base_versions_of(again.ceremony(me, session)).current
    assert dealing_pool_of(dealings).valid == {me}
    assert len(again.said(me, FrameKind.DEALING)) == 1


def test_a_session_that_was_only_opened_is_joined_with_a_key(who: Cast, version: KeyVersion) -> None:
    """Nothing is durable but that it began: at genesis and in a rotation."""
    for known, session in ((None, who.session), (version, who.later())):
        room, me = Room(who), who.addresses[0]
        room.enter(version=known)
        room.leave(me)
        room.disks[me].open(session)
        room.boundary(session)
        effects = room.restart(me)
        assert [e.effect.number for e in effects if isinstance(e.effect, KeepKey)] == [
            session.boundary.number
        ]
        room.run(1)
        assert room.certified(me).session == session.id


# -- decided sessions ----------------------------------------------------------------------------------------


def test_a_decided_rotation_is_decided_in_every_life(who: Cast, room: Room) -> None:
    """Its source is erased by then. It says nothing new, writes nothing, and hands the version over again."""
    me, session = who.addresses[0], who.later()
    room.boundary(session)
    made, before = room.certified(me), _kinds(room, me, session)
    assert [v.transcript for v in room.operators[me].versions] == [made]
    effects = room.restart(me)
    ceremony = room.ceremony(me, session)
    assert (ceremony.is_rotation, ceremony.decided) == (True, True)
    assert {f.kind for f in _broadcasts(effects, session)} == {
        FrameKind.KEY,
        FrameKind.DEALING,
        FrameKind.VOTE,
    } | {f.kind for f in room.said(me, FrameKind.PROPOSAL)}
    assert _kinds(room, me, session) == before
    assert not [e for e in effects if isinstance(e.effect, RunJob)]


def test_dealings_of_a_certified_version_outlive_a_restart_of_all(who: Cast, room: Room) -> None:
    """Everybody restarts, with the source long erased; then one that was away comes back and is served its rows."""
    *others, late = who.addresses
    room.leave(late)
    room.boundary(who.later())
    room.run(1)
    made = room.certified(others[0])
    for address in others:
        room.restart(address)
    room.restart(late)
    room.tell(late, made, _certificate(room, others[0]))
    assert room.rows_fetched == len(made.dealers)
    assert set(room.shares(made)) == set(who.addresses)


def _certificate(room: Room, address: OperatorAddress):  # type: ignore[no-untyped-def]
    known = room.operators[address].certified
    assert known is not None
    return known.certificate


def test_a_session_whose_source_is_gone_is_forgotten(who: Cast) -> None:
    """Unless it made a version that is known: its dealings are served from the journal, which holds the source's transcript."""
    me, later = who.addresses[0], who.at(1000)
    session = later.session
    source = version_of(who.at(10), source=1).transcript
    made = version_of(later, source=1)
    for has_made in (False, True):
        operator = operator_of(who, me)
        if has_made:
            operator.load_version(made.transcript, made.certificate, None)
        effects = operator.restore(session, [JournalRecord("source", source.encoded)], 0.0, 0.0)
        forgotten = [e.effect for e in effects if isinstance(e.effect, DropJournal)]
        assert forgotten == ([] if has_made else [DropJournal(session.id)])
        ceremony = operator.ceremony(session.id)
        assert (ceremony is not None) == has_made
        assert ceremony is None or ceremony.sources == (source,)


def test_dealings_that_were_prepared_are_served_as_frames_in_the_next_life(
    who: Cast, version: KeyVersion, room: Room
) -> None:
    """The dealer is gone and all others restarted: who lacks the dealing still gets it, and prepares what they prepared."""
    *honest, late = who.addresses
    dealer, session = honest[0], who.later()
    room.leave(late)
    room.lets = lambda _s, _l, f: f.kind is not FrameKind.VOTE or read_vote(f).phase is not Phase.COMMIT
    room.boundary(session)
    room.run(2)
    locked = room.ceremony(honest[1], session).locked
    assert locked is not None
    assert dealer in {d for d, _ in locked.dealers}
    room.leave(dealer)
    for address in honest[1:]:
        room.restart(address)
    room.restart(late)
    room.boundary(session, late)
    room.lets = lambda _s, _l, _f: True
    room.run(20)
    assert [a for a in room.operators if room.ceremony(a, session).decided] == [*honest[1:], late]
    assert room.certified(late) == locked


# -- locks and votes -----------------------------------------------------------------------------------------


def test_a_lock_and_what_was_prepared_are_known_in_the_next_life(
    who: Cast, version: KeyVersion, room: Room
) -> None:
    """No commit vote was heard: the version is the head all the same, and the next session deals from it."""
    me = who.addresses[0]
    room.lets = lambda _s, _l, f: f.kind is not FrameKind.VOTE or read_vote(f).phase is not Phase.COMMIT
    room.boundary(who.later())
    locked = room.ceremony(me, who.later()).locked
    assert locked is not None
    room.restart(me)
    operator = room.operators[me]
    assert room.ceremony(me, who.later()).locked == locked
    assert operator.head is not None
    assert (operator.head.transcript, operator.head.is_certified) == (locked, False)
    assert operator.certified is not None
    assert operator.certified.transcript == version.transcript
    room.lets = lambda _s, _l, _f: True
    room.boundary(who.later(20))
    assert room.certified(me).source_hash == locked.hash


def test_the_floor_holds_in_sessions_that_are_restored_after_the_lock(
    who: Cast, version: KeyVersion, room: Room
) -> None:
    """What was committed to in an older session is known before the newer one speaks."""
    me, first, second = who.addresses[0], who.later(), who.later(20)
    room.lets = lambda _s, _l, f: f.kind is not FrameKind.VOTE or read_vote(f).phase is not Phase.COMMIT
    room.boundary(first)
    locked = room.ceremony(me, first).locked
    assert locked is not None
    room.boundary(second)
    room.restart(me)
    assert base_versions_of(room.ceremony(me, second)).floor == ref_of(locked)


# -- secrets ---------------------------------------------------------------------------------------------------


def test_a_polynomial_is_destroyed_again_after_a_crash_before_it(who: Cast) -> None:
    """All of them together would be the key. The dealing is durable, the polynomial still there: the next life destroys it."""
    room, me = Room(who), who.addresses[0]
    room.enter()
    room.boundary(who.session)
    assert [e for e in room.done(me) if isinstance(e, EraseJournalSecrets)] == [
        EraseJournalSecrets(who.session.id)
    ]
    assert "polynomial" not in _kinds(room, me, who.session)
    secret = [e.record for e in room.done(me) if isinstance(e, Persist) and e.record.secret]
    records = room.disks[me].journals[who.session.id]
    at = next(i for i, record in enumerate(records) if record.kind == "revealed")
    room.disks[me].journals[who.session.id] = [*records[:at], *secret, *records[at : at + 4]]
    effects = [e.effect for e in room.restart(me)]
    assert effects.count(EraseJournalSecrets(who.session.id)) == 1
    assert "polynomial" not in _kinds(room, me, who.session)
    assert len(room.said(me, FrameKind.DEALING)) == 2, "the same one, as the room checks"
    room.run(1)
    assert room.ceremony(me, who.session).decided


def test_erasing_is_done_again_after_a_crash_before_it(who: Cast, version: KeyVersion, room: Room) -> None:
    """Certified is on disk, Erase is not."""
    me = who.addresses[0]
    row, old = room.disks[me].versions.copy(), dict(room.disks[me].keys)
    room.boundary(who.later())
    room.disks[me].versions.update(row)
    room.disks[me].keys.update(old)
    effects = [e.effect for e in room.restart(me)]
    assert EraseShare(version.transcript.hash) in effects
    assert EraseKeys(frozenset(old)) in effects


# -- silence ---------------------------------------------------------------------------------------------------


def test_a_store_that_may_have_forgotten_listens(who: Cast, version: KeyVersion, room: Room) -> None:
    """It repeats what its journal has, and says nothing new; it takes the version with its share, and later boundaries are its own
    again.
    """
    me, first = who.addresses[0], who.later()
    room.works = lambda operator, _job: operator != me
    room.boundary(first)
    said = room.said(me, FrameKind.KEY)
    room.works = lambda _operator, _job: True
    effects = room.restart(me, listen_only=True)
    assert _broadcasts(effects, first) == said
    room.run(3)
    assert {f.kind for f in _broadcasts(room.effects[me], first)} == {FrameKind.KEY}
    assert room.certified(me).session == first.id
    assert me in room.shares(room.certified(me))
    room.boundary(who.later(20))
    assert room.said(me, FrameKind.DEALING)
    assert room.certified(me).session == who.later(20).id


def test_a_silent_session_that_was_only_opened_publishes_no_key(who: Cast, room: Room) -> None:
    """What is not durable may have been said before."""
    me, session = who.addresses[0], who.later()
    room.leave(me)
    room.disks[me].open(session)
    effects = room.restart(me, listen_only=True)
    assert not _broadcasts(effects, session)
    assert not [e for e in effects if isinstance(e.effect, KeepKey)]
    assert not room.operators[me].wanted_bodies


def test_another_copy_that_speaks_makes_this_one_silent(who: Cast, room: Room) -> None:
    """A word of mine that my journal does not have: no vote, no dealing, no view change from here on, in the next life neither."""
    me, session = who.addresses[0], who.later()
    room.works = lambda operator, _job: operator != me
    room.boundary(session)
    foreign = who.frame(me, FrameKind.VIEW_CHANGE, view_change_body(7, None), session=session)
    again = who.frame(me, FrameKind.VIEW_CHANGE, view_change_body(8, None), session=session)
    room.hear(me, foreign, again)
    assert _kinds(room, me, session)[-1] == "silent"
    room.works = lambda _operator, _job: True
    assert not room.wants(me, again)
    for _ in range(2):
        room.run(3)
        assert not [
            f for k in (FrameKind.DEALING, FrameKind.VOTE, FrameKind.VIEW_CHANGE) for f in room.said(me, k)
        ]
        assert room.certified(me).session == session.id
        room.restart(me)
    assert _kinds(room, me, session).count("silent") == 1


def test_my_own_words_are_no_news(who: Cast, room: Room) -> None:
    """What I said comes back from others; so does what fell out of my log, and then I cannot tell whether it was mine."""
    me, session = who.addresses[0], who.later()
    room.leave(*who.addresses[1:])
    room.boundary(session)
    for frame in room.said(me, FrameKind.KEY):
        assert not room.wants(me, frame)
    for view in range(1, 12):
        changes = [
            who.frame(a, FrameKind.VIEW_CHANGE, view_change_body(view, None), session=session)
            for a in who.addresses[1:3]
        ]
        room.hear(me, *changes)
    said = room.said(me, FrameKind.VIEW_CHANGE)
    assert len(said) == 11
    for frame in said:
        assert not room.wants(me, frame)
    room.hear(me, *said)
    assert "silent" not in _kinds(room, me, session)
