"""Another life of an operator, from what is durable: nothing is said differently, and whatever was promised is kept.

``Room`` fails a test in which two different things are said in one slot.
"""

from collections.abc import Sequence

import pytest

from eigenkms.protocols.effects import Broadcast
from eigenkms.protocols.frames import Frame, Kind
from eigenkms.protocols.messages import read_vote
from eigenkms.protocols.session import Session
from eigenkms.protocols.v2.effects import KeepKey
from eigenkms.protocols.v2.messages import view_change_body
from eigenkms.protocols.v2.operator import SessionEffect
from eigenkms.protocols.votes import Phase
from eigenkms.types import OperatorAddress
from tests.protocols.support import Cast, cast
from tests.protocols.v2.support import KeyVersion, Room, version_of


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


ROTATION_POINTS = 20


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
    dealings = again.ceremony(me, session)._sources.current
    assert dealings._valid == [me]
    assert len(again.said(me, Kind.DEALING)) == 1


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


def _certificate(room: Room, address: OperatorAddress):  # type: ignore[no-untyped-def]
    known = room.operators[address].certified
    assert known is not None
    return known.certificate


def test_dealings_that_were_prepared_are_served_as_frames_in_the_next_life(
    who: Cast, version: KeyVersion, room: Room
) -> None:
    """The dealer is gone and all others restarted: who lacks the dealing still gets it, and prepares what they prepared."""
    *honest, late = who.addresses
    dealer, session = honest[0], who.later()
    room.leave(late)
    room.lets = lambda _s, _l, f: f.kind is not Kind.VOTE or read_vote(f).phase is not Phase.COMMIT
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


# -- secrets ---------------------------------------------------------------------------------------------------


# -- silence ---------------------------------------------------------------------------------------------------


def test_another_copy_that_speaks_makes_this_one_silent(who: Cast, room: Room) -> None:
    """A word of mine that my journal does not have: no vote, no dealing, no view change from here on, in the next life neither."""
    me, session = who.addresses[0], who.later()
    room.works = lambda operator, _job: operator != me
    room.boundary(session)
    foreign = who.frame(me, Kind.VIEW_CHANGE, view_change_body(7, None), session=session)
    again = who.frame(me, Kind.VIEW_CHANGE, view_change_body(8, None), session=session)
    room.hear(me, foreign, again)
    assert _kinds(room, me, session)[-1] == "silent"
    room.works = lambda _operator, _job: True
    assert not room.wants(me, again)
    for _ in range(2):
        room.run(3)
        assert not [f for k in (Kind.DEALING, Kind.VOTE, Kind.VIEW_CHANGE) for f in room.said(me, k)]
        assert room.certified(me).session == session.id
        room.restart(me)
    assert _kinds(room, me, session).count("silent") == 1


def test_my_own_words_are_no_news(who: Cast, room: Room) -> None:
    """What I said comes back from others; so does what fell out of my log, and then I cannot tell whether it was mine."""
    me, session = who.addresses[0], who.later()
    room.leave(*who.addresses[1:])
    room.boundary(session)
    for frame in room.said(me, Kind.KEY):
        assert not room.wants(me, frame)
    for view in range(1, 12):
        changes = [
            who.frame(a, Kind.VIEW_CHANGE, view_change_body(view, None), session=session)
            for a in who.addresses[1:3]
        ]
        room.hear(me, *changes)
    said = room.said(me, Kind.VIEW_CHANGE)
    assert len(said) == 11
    for frame in said:
        assert not room.wants(me, frame)
    room.hear(me, *said)
    assert "silent" not in _kinds(room, me, session)
