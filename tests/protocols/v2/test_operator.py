"""One operator across boundaries: what it joins and deals from, what it keeps, what it erases, and what it forgets."""

from collections.abc import Iterable

import pytest

from eigenkms.crypto.shamir import Polynomial
from eigenkms.protocols.effects import Broadcast
from eigenkms.protocols.frames import Frame, Kind
from eigenkms.protocols.messages import read_vote
from eigenkms.protocols.session import Session
from eigenkms.protocols.v2.dealings import Stage
from eigenkms.protocols.v2.effects import Certified, Prepared
from eigenkms.protocols.v2.jobs import Checked, Deal
from eigenkms.protocols.v2.messages import view_change_body
from eigenkms.protocols.votes import Phase
from eigenkms.types import OperatorAddress
from tests.protocols.support import Cast, cast, counter_rng, secret_of
from tests.protocols.v2.support import (
    KeyVersion,
    Room,
    certify,
    done,
    operator_of,
    version_of,
)


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


def _change(who: Cast, session: Session, sender: int = 1) -> Frame:
    return who.frame(who.addresses[sender], Kind.VIEW_CHANGE, view_change_body(1, None), session=session)


def no_commits(_sender: OperatorAddress, _listener: OperatorAddress, frame: Frame) -> bool:
    """Commit votes get lost."""
    return frame.kind is not Kind.VOTE or read_vote(frame).phase is not Phase.COMMIT


# -- joining -------------------------------------------------------------------------------------------------


def _frames(effects: Iterable[object]) -> list[Frame]:
    return [e.frame for e in effects if isinstance(e, Broadcast)]


def test_a_joiner_that_began_a_genesis_learns_the_version_that_its_session_made(who: Cast) -> None:
    """It knew of no version, the others rotated: told of what they made, it takes it, decrypts its share, and deals next time."""
    *others, joiner = who.addresses
    room = Room(who)
    room.enter(others, version_of(who.at(0, others)))
    room.enter([joiner])
    room.lets = lambda _sender, listener, _f: joiner != listener
    room.boundary(who.later())
    room.run(2)
    assert not room.ceremony(joiner, who.later()).is_rotation
    made = room.operators[others[0]].certified
    assert made is not None
    room.tell(joiner, made.transcript, made.certificate)
    assert room.certified(joiner) == made.transcript
    assert joiner in room.shares(made.transcript)
    room.lets = lambda _s, _l, _f: True
    room.boundary(who.later(20))
    assert room.said(joiner, Kind.DEALING)
    assert room.certified(joiner).session == who.later(20).id


# -- rotating --------------------------------------------------------------------------------------------------


def test_results_of_jobs_find_the_session_that_asked(who: Cast, version: KeyVersion) -> None:
    """The dealing of a session that the next boundary left behind, done late, is not dealt in the next one."""
    me = who.addresses[0]
    operator = operator_of(who, me)
    operator.know(version.transcript, version.certificate, version.shares[me])
    jobs = []
    for blocks in (10, 20):
        jobs += [getattr(e.effect, "job", None) for e in operator.boundary(who.later(blocks), 0.0)]
    first, second = [job for job in jobs if isinstance(job, Deal)]
    assert not _frames(e.effect for e in operator.take_result(done(who, first), 0.1))
    (frame,) = _frames(e.effect for e in operator.take_result(done(who, second), 0.2))
    assert (frame.kind, frame.session) == (Kind.DEALING, who.later(20).id)


def test_a_result_of_other_dealings_starts_no_check_twice(who: Cast, version: KeyVersion, room: Room) -> None:
    """What is being verified is not handed out again because something else was."""
    me = who.addresses[0]
    room.works = lambda operator, _job: operator != me
    room.boundary(who.later())
    ceremony = room.ceremony(me, who.later())
    assert [k.stage for k in ceremony._known] == [Stage.HELD] * 3
    assert not room.operators[me].take_result(Checked(frozenset({bytes(32)}), frozenset()), 0.1)


# -- versions --------------------------------------------------------------------------------------------------


def test_a_version_is_news_once_as_prepared_and_once_as_certified(who: Cast) -> None:
    """Told again, nothing is written. A genesis that is merely prepared is none: another one may become the cluster's."""
    me, version, genesis = who.addresses[0], version_of(who, source=99), version_of(who)
    operator = operator_of(who, me)
    assert operator.learn(genesis.transcript, certify(who, genesis.transcript, Phase.PREPARE), 0.0) == []
    assert not operator.has_version
    prepared = certify(who, version.transcript, Phase.PREPARE)
    for certificate, expected in ((prepared, Prepared), (version.certificate, Certified)):
        for again in (False, True):
            effects = [e.effect for e in operator.learn(version.transcript, certificate, 0.0)]
            assert [type(e) for e in effects] == ([] if again else [expected])
    assert operator.learn(version.transcript, prepared, 0.0) == []
    assert operator.certified is not None
    fresh = operator_of(who, me)
    for view, expected in ((1, [Prepared]), (0, []), (1, []), (2, [Prepared])):
        certificate = certify(who, version.transcript, Phase.PREPARE, view)
        effects = [e.effect for e in fresh.learn(version.transcript, certificate, 0.0)]
        assert [type(e) for e in effects] == expected, (
            "a later view is news: it says which of two was prepared last"
        )


def _sibling(who: Cast, version: KeyVersion, seed: str) -> KeyVersion:
    """A version of this session with the same master key."""
    secret = secret_of(version.shares, version.transcript.threshold)
    polynomial = Polynomial.random(who.session.threshold, counter_rng(seed), secret)
    return version_of(who, polynomial, source=int(version.transcript.version))


# -- frames that come early ------------------------------------------------------------------------------------


# -- forgetting ------------------------------------------------------------------------------------------------


# -- serving ---------------------------------------------------------------------------------------------------
