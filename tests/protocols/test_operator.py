"""One operator across boundaries: what it joins and deals from, what it keeps, what it erases, and what it forgets."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from eigenkms.crypto.shamir import Polynomial
from eigenkms.protocols.ceremony.dealing_pool import DealingStage
from eigenkms.protocols.ceremony.drafter import NEWCOMER_WINDOWS
from eigenkms.protocols.ceremony.early_frames import MAX_EARLY_BYTES, MAX_EARLY_FRAMES
from eigenkms.protocols.ceremony.effects import (
    Broadcast,
    EraseKeys,
    EraseShare,
    KeepKey,
    KeepShare,
    StoreCertifiedVersion,
    StorePreparedVersion,
)
from eigenkms.protocols.ceremony.jobs import CheckResult, DealJob, OpenJob, OpenResult
from eigenkms.protocols.ceremony.retention import KEEP_IDLE, KEEP_ROTATIONS, KEEP_SYNCING, KEEP_VOTED
from eigenkms.protocols.ceremony.session_state import SessionState
from eigenkms.types import OperatorAddress
from eigenkms.wire.codec import MalformedError
from eigenkms.wire.frames import Frame, FrameKind
from eigenkms.wire.messages import (
    GENESIS,
    certificate_body,
    proposal_body,
    read_dealing,
    read_vote,
    ref_of,
    view_change_body,
)
from eigenkms.wire.session import Session
from eigenkms.wire.transcript import check_self_consistent
from eigenkms.wire.votes import Phase
from tests.protocols.parts import base_versions_of
from tests.protocols.rooms import (
    KeyVersion,
    Room,
    certify,
    done,
    key_frame,
    noted,
    operator_of,
    version_of,
)
from tests.protocols.support import Cast, cast, secret_of
from tests.support.randomness import counter_rng


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
    return who.frame(who.addresses[sender], FrameKind.VIEW_CHANGE, view_change_body(1, None), session=session)


def no_commits(_sender: OperatorAddress, _listener: OperatorAddress, frame: Frame) -> bool:
    """Commit votes get lost."""
    return frame.kind is not FrameKind.VOTE or read_vote(frame).phase is not Phase.COMMIT


# -- joining -------------------------------------------------------------------------------------------------


def test_members_join_each_new_boundary_with_a_new_key(who: Cast) -> None:
    """Once each, whatever block has that number; a stranger none. The key is kept before anything is said."""
    operator = operator_of(who, who.addresses[0])
    effects = [e.effect for e in operator.boundary(who.session, 0.0)]
    assert isinstance(effects[0], KeepKey)
    assert effects[0].number == who.session.boundary.number
    assert [f.kind for f in _frames(effects)] == [FrameKind.KEY, FrameKind.HASH]
    assert not operator.boundary(who.session, 1.0)
    assert operator.boundary(who.later(), 2.0)
    assert [c.session.boundary.number for c in operator.syncable] == [100, 110]
    assert operator.key_numbers == {100, 110}
    assert not operator.may_join(who.at(10, fork=b"fork").session)
    assert not operator.may_join(who.session)
    assert not operator.may_join(who.at(20, who.addresses[1:]).session)
    assert operator.may_join(who.later(20))


def _frames(effects: Iterable[object]) -> list[Frame]:
    return [e.frame for e in effects if isinstance(e, Broadcast)]


def test_with_a_version_every_boundary_is_a_rotation_from_the_head(who: Cast, version: KeyVersion) -> None:
    """Not one from the version's own boundary or before it; who holds nothing and is no member has no part."""
    me = who.addresses[0]
    operator = operator_of(who, me)
    operator.load_version(version.transcript, version.certificate, version.shares[me])
    assert operator.has_version
    assert not operator.may_join(who.session)
    assert operator.may_join(who.at(10, who.addresses[1:]).session), "a leaver deals"
    operator.boundary(who.later(), 0.0)
    ceremony = operator.newest
    assert ceremony is not None
    assert ceremony.sources == (version.transcript,)
    without = operator_of(who, me)
    without.load_version(version.transcript, version.certificate, None)
    assert not without.may_join(who.at(10, who.addresses[1:]).session)
    assert without.may_join(who.later())


def test_a_vote_for_a_key_binds_until_the_session_is_closed(who: Cast) -> None:
    """At most one genesis makes a key: later ones are not joined, in the next life neither; its certificate frees."""
    room, me = Room(who, no_commits), who.addresses[0]
    room.enter()
    room.boundary(who.session)
    for _ in range(2):
        operator = room.operators[me]
        assert operator.binding_session == who.session
        assert not operator.may_join(who.later())
        room.restart(me)
    room.boundary(who.later())
    assert [c.session for c in room.operators[me].syncable] == [who.session]
    assert room.operators[me].prune() == []
    room.lets = lambda _s, _l, _f: True
    room.run(3)
    assert room.operators[me].binding_session is None
    assert room.operators[me].may_join(who.later(20))
    assert {room.certified(a).session for a in who.addresses} == {who.session.id}


def test_a_genesis_without_a_key_is_closed_by_the_empty_hash_and_the_next_one_makes_it(who: Cast) -> None:
    """One is away: at the next boundary the others close the session, and nobody is bound to it."""
    room, away = Room(who), who.addresses[3]
    room.enter()
    room.leave(away)
    room.boundary(who.session)
    room.run(2)
    assert not any(room.ceremony(a, who.session).decided for a in room.operators)
    room.restart(away)
    room.boundary(who.later())
    room.run(2)
    assert {room.certified(a).session for a in who.addresses} == {who.later().id}


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
    assert room.said(joiner, FrameKind.DEALING)
    assert room.certified(joiner).session == who.later(20).id


def test_a_joiner_becomes_part_of_the_rotation_that_the_others_are_in(who: Cast) -> None:
    """It asks who deals from a version that it does not know; then it votes, and has its share."""
    *others, joiner = who.addresses
    version = version_of(who.at(0, others))
    room = Room(who)
    room.enter(others, version)
    room.enter([joiner])
    room.works = lambda operator, job: operator in others or not isinstance(job, DealJob)
    room.lets = lambda _s, _l, f: f.kind not in (FrameKind.PROPOSAL, FrameKind.VOTE)
    room.boundary(who.later())
    assert set(room.operators[joiner].unknown_sources.values()) == {ref_of(version.transcript)}
    room.lets = lambda _s, _l, _f: True
    room.run(4)
    assert room.ceremony(joiner, who.later()).is_rotation
    made = room.certified(joiner)
    assert made.session == who.later().id
    assert joiner in room.shares(made)


# -- rotating --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), [(4, 4), (4, 7), (7, 4), (1, 4), (4, 1), (5, 5)])
def test_any_set_hands_over_to_any_other_in_one_step(before: int, after: int) -> None:
    """Grown, shrunk, and (five to five) exchanged but for one: newcomers have their share in the session itself."""
    everybody = cast(10)
    first = everybody.at(0, everybody.addresses[:before])
    last = (
        everybody.addresses[before - 1 : before + 4] if before == after == 5 else everybody.addresses[:after]
    )
    then = everybody.at(10, last)
    version = version_of(first)
    room = Room(everybody)
    room.enter(sorted({*first.addresses, *then.addresses}), version)
    room.boundary(then.session)
    room.run(2)
    made = room.certified(then.addresses[0])
    assert (made.session, made.mpk) == (then.session.id, version.transcript.mpk)
    shares = room.shares(made)
    assert set(shares) == set(then.addresses)
    assert secret_of(shares, made.threshold) == secret_of(version.shares, version.transcript.threshold)
    for address, operator in room.operators.items():
        assert [v.transcript for v in operator.versions] == [made]
        assert operator.key_numbers == ({then.session.boundary.number} if address in shares else set())


def test_many_rotations_keep_the_key_and_no_two_have_shares_in_common(who: Cast, room: Room) -> None:
    """Each deals from the one before; shares of two versions give nothing together."""
    seen: list[bytes] = []
    secret = None
    for blocks in range(10, 60, 10):
        room.boundary(who.later(blocks))
        made = room.certified(who.addresses[0])
        shares = room.shares(made)
        assert made.version == who.later(blocks).version
        assert secret in (None, secret_of(shares, made.threshold))
        secret = secret_of(shares, made.threshold)
        seen += [share.to_bytes() for share in shares.values()]
    assert len(set(seen)) == len(seen) == 20
    mixed = dict(zip(who.addresses, [shares[who.addresses[0]], *room.shares(made).values()], strict=False))
    assert secret_of(mixed, made.threshold) != secret


def test_one_that_is_away_for_several_versions_gets_its_share_of_the_last(who: Cast, room: Room) -> None:
    """All dealt to the key that it had when it left; it is certified long since and settled for the others, who erased."""
    *others, late = who.addresses
    room.leave(late)
    for blocks in range(10, 50, 10):
        room.boundary(who.later(blocks))
        room.run(1)
    made = room.operators[others[0]].certified
    assert made is not None
    old = room.disks[late].keys.copy()
    listed = made.transcript.key_of(late)
    assert listed is not None
    assert set(old) == {listed.number} == {100}
    assert [v.transcript.version for v in room.operators[others[0]].versions] == [made.transcript.version]
    room.restart(late)
    room.tell(late, made.transcript, made.certificate)
    assert late in room.shares(made.transcript)
    assert room.rows_fetched == len(made.transcript.dealers)
    assert room.operators[late].key_numbers == {100}, "the version lists it"
    room.boundary(who.later(50))
    assert room.certified(late).session == who.later(50).id
    assert late in room.shares(room.certified(late))
    assert room.operators[late].key_numbers == {150}


def test_the_key_of_a_share_is_kept_until_the_share_is_durable(who: Cast, room: Room) -> None:
    """The version that lists a newer one is certified, its share not decrypted yet: the old key stays. Then it goes."""
    me, session = who.addresses[0], who.later()
    room.works = lambda operator, job: operator != me or not isinstance(job, OpenJob)
    room.boundary(session)
    operator, made = room.operators[me], room.certified(me)
    assert made.session == session.id
    assert operator.key_numbers == {100, 110}
    assert operator.is_obtaining(made.hash)
    assert operator.is_obtaining_a_share
    room.works = lambda _operator, _job: True
    room.restart(me)
    assert me in room.shares(room.certified(me))
    assert not room.operators[me].is_obtaining(made.hash)
    assert not room.operators[me].is_obtaining_a_share
    assert room.operators[me].key_numbers == {110}
    assert [e for e in room.done(me) if isinstance(e, EraseKeys)] == [EraseKeys(frozenset({100}))]


def test_until_it_is_known_which_key_a_share_needs_all_are_kept(who: Cast, room: Room) -> None:
    """A certificate says which key is listed, and not to which one the dealings are encrypted: their headers say it."""
    *others, late = who.addresses
    room.lets = lambda sender, listener, _f: late not in (sender, listener)
    room.serves = lambda _by, to, _name: to != late
    room.boundary(who.later())
    room.run(1)
    made = room.operators[others[0]].certified
    assert made is not None
    room.tell(late, made.transcript, made.certificate)
    operator = room.operators[late]
    assert operator.wanted_rows
    assert operator.key_numbers == {100, 110}
    room.serves = lambda _by, _to, _name: True
    room.settle()
    assert late in room.shares(made.transcript)
    assert operator.key_numbers == {100}, "its new one came too late to be listed"


def test_a_newcomer_that_is_left_out_has_no_share_and_is_dealt_to_next_time(who: Cast) -> None:
    """Its key came too late for the dealings. It is listed, keeps the key, and has its share in the next session."""
    everybody = cast(5)
    *members, newcomer = everybody.addresses
    version = version_of(everybody.at(0, members))
    room = Room(everybody)
    room.enter(everybody.addresses, version)
    room.lets = lambda _s, _l, f: f.kind is not FrameKind.KEY or f.sender != newcomer
    session = everybody.later()
    room.boundary(session)
    room.at(NEWCOMER_WINDOWS)
    room.lets = lambda _s, _l, _f: True
    room.pull()
    room.run(3)
    made = room.certified(newcomer)
    assert made.session == session.id
    assert set(room.shares(made)) == set(members)
    assert room.operators[newcomer].wanted_rows == ()
    assert room.operators[newcomer].key_numbers == {110}
    room.lets = lambda _s, _l, _f: True
    room.boundary(everybody.later(20))
    room.run(1)
    made = room.certified(newcomer)
    assert made.session == everybody.later(20).id
    assert set(room.shares(made)) == set(everybody.addresses)


def test_a_leaver_deals_and_has_nothing_left_once_a_version_without_it_is_certified() -> None:
    """Neither a share nor a key; and it publishes no key where it is no recipient."""
    everybody = cast(5)
    leaver = everybody.addresses[0]
    version = version_of(everybody)
    room = Room(everybody)
    room.enter(version=version)
    session = everybody.at(10, everybody.addresses[1:]).session
    room.boundary(session)
    assert {f.kind for f in room.said(leaver, FrameKind.DEALING)} == {FrameKind.DEALING}
    assert not [
        f
        for k in (FrameKind.KEY, FrameKind.VOTE, FrameKind.PROPOSAL, FrameKind.VIEW_CHANGE)
        for f in room.said(leaver, k)
    ]
    operator = room.operators[leaver]
    assert [(v.transcript.session, v.share) for v in operator.versions] == [(session.id, None)]
    assert operator.key_numbers == frozenset()
    assert EraseShare(version.transcript.hash) in room.done(leaver)


def test_a_leaver_that_misses_every_certificate_asks_those_that_deal_from_it() -> None:
    """It knows each version as prepared, and nobody answers its pulls any more."""
    everybody = cast(5)
    leaver = everybody.addresses[0]
    version = version_of(everybody)
    room = Room(everybody, lambda _s, listener, f: listener != leaver or not _is_commit(f))
    room.enter(version=version)
    sessions = [everybody.at(number, everybody.addresses[1:]).session for number in (10, 20)]
    for session in sessions:
        room.boundary(session)
    operator = room.operators[leaver]
    assert operator.certified is not None
    assert operator.certified.transcript == version.transcript
    room.run(1)
    assert [(v.transcript.session, v.share) for v in operator.versions] == [(sessions[-1].id, None)]
    assert operator.key_numbers == frozenset()


def _is_commit(frame: Frame) -> bool:
    return frame.kind is FrameKind.VOTE and read_vote(frame).phase is Phase.COMMIT


def test_results_of_jobs_find_the_session_that_asked(who: Cast, version: KeyVersion) -> None:
    """The dealing of a session that the next boundary left behind, done late, is not dealt in the next one."""
    me = who.addresses[0]
    operator = operator_of(who, me)
    operator.load_version(version.transcript, version.certificate, version.shares[me])
    jobs = []
    for blocks in (10, 20):
        jobs += [getattr(e.effect, "job", None) for e in operator.boundary(who.later(blocks), 0.0)]
    first, second = [job for job in jobs if isinstance(job, DealJob)]
    assert not _frames(e.effect for e in operator.take_result(done(who, first), 0.1))
    (frame,) = _frames(e.effect for e in operator.take_result(done(who, second), 0.2))
    assert (frame.kind, frame.session) == (FrameKind.DEALING, who.later(20).id)


def test_a_result_of_other_dealings_starts_no_check_twice(who: Cast, version: KeyVersion, room: Room) -> None:
    """What is being verified is not handed out again because something else was."""
    me = who.addresses[0]
    room.works = lambda operator, _job: operator != me
    room.boundary(who.later())
    ceremony = room.ceremony(me, who.later())
    dealings = base_versions_of(ceremony).current
    known = [each for dealer in dealings.dealers if (each := dealings.get(dealer)) is not None]
    assert [each.stage for each in known] == [DealingStage.HELD] * 3
    assert not room.operators[me].take_result(CheckResult(frozenset({bytes(32)}), frozenset()), 0.1)


def test_a_share_that_does_not_open_is_noted(who: Cast, room: Room) -> None:
    """No share, no key erased; a result of a version that is unknown, or of which the share is held, changes nothing."""
    me = who.addresses[0]
    room.works = lambda operator, job: operator != me or not isinstance(job, OpenJob)
    room.boundary(who.later())
    operator, made = room.operators[me], room.certified(me)
    effects = [e.effect for e in operator.take_result(OpenResult(made.hash, None), 0.1)]
    assert noted(effects) == ["share not opened"]
    assert not operator.is_obtaining_a_share
    assert not operator.is_obtaining(made.hash), "it is not said to be on its way for ever"
    assert operator.key_numbers == {100, 110}
    assert not operator.take_result(OpenResult(bytes(32), None), 0.1)
    other = who.addresses[1]
    share = room.shares(made)[other]
    assert room.operators[other].take_result(OpenResult(made.hash, share), 0.1) == []


# -- versions --------------------------------------------------------------------------------------------------


def test_a_version_of_the_past_or_of_another_key_is_not_learnt(
    who: Cast, version: KeyVersion, room: Room
) -> None:
    """A cluster has one master key; below the highest certified version nothing comes back, prepared or certified."""
    me = who.addresses[0]
    room.boundary(who.later())
    before = room.operators[me].versions
    other = version_of(who.at(20), source=int(version.transcript.version))
    for transcript, certificate in (
        (version.transcript, version.certificate),
        (version.transcript, certify(who, version.transcript, Phase.PREPARE)),
        (other.transcript, other.certificate),
    ):
        assert not room.operators[me].can_adopt(transcript)
        assert room.operators[me].adopt(transcript, certificate, 1.0) == []
    assert room.operators[me].versions == before
    late = who.frame(
        who.addresses[1],
        FrameKind.CERTIFICATE,
        certificate_body(version.transcript.encoded, version.certificate),
    )
    assert not [e for e in room.hear(me, late) if isinstance(e.effect, StoreCertifiedVersion)]


def test_operators_of_an_older_block_put_no_version_above_those_that_came_after(
    who: Cast, version: KeyVersion, room: Room
) -> None:
    """An early set may have been one operator. Its signature under an old number and a late time erases nobody's share."""
    me, liar = who.addresses[:2]
    room.boundary(who.later())
    made = room.certified(me)
    early = version_of(who.at(-50, [liar]), source=1).transcript
    forged = replace(
        early,
        boundary=replace(early.boundary, timestamp=2**40),
        mpk=made.mpk,
        commitments=made.commitments[:1],
    )
    check_self_consistent(forged)
    for phase in (Phase.PREPARE, Phase.COMMIT):
        assert not room.operators[me].can_adopt(forged)
        assert room.operators[me].adopt(forged, certify(who, forged, phase), 1.0) == []
    assert room.certified(me) == made
    assert me in room.shares(made)


def test_a_session_that_makes_a_version_of_the_past_makes_none(who: Cast, version: KeyVersion) -> None:
    """Its certificate comes in a frame, after a higher version was learnt: nothing is stored, nothing comes back."""
    *others, me = who.addresses
    room = Room(who)
    room.enter(version=version)
    room.lets = lambda sender, listener, _f: me not in (sender, listener)
    made = []
    for session in (who.later(), who.later(20)):
        room.boundary(session)
        room.run(2)
        known = room.operators[others[0]].certified
        assert known is not None
        made.append(known)
    room.tell(me, made[1].transcript, made[1].certificate)
    late = who.frame(
        others[0],
        FrameKind.CERTIFICATE,
        certificate_body(made[0].transcript.encoded, made[0].certificate),
        session=who.later(),
    )
    effects = room.hear(me, late)
    assert room.ceremony(me, who.later()).decided
    assert not [e for e in effects if isinstance(e.effect, StoreCertifiedVersion | KeepShare)]
    assert [v.transcript for v in room.operators[me].versions] == [made[1].transcript]


def test_a_version_is_news_once_as_prepared_and_once_as_certified(who: Cast) -> None:
    """Told again, nothing is written. A genesis that is merely prepared is none: another one may become the cluster's."""
    me, version, genesis = who.addresses[0], version_of(who, source=99), version_of(who)
    operator = operator_of(who, me)
    assert operator.adopt(genesis.transcript, certify(who, genesis.transcript, Phase.PREPARE), 0.0) == []
    assert not operator.has_version
    prepared = certify(who, version.transcript, Phase.PREPARE)
    for certificate, expected in (
        (prepared, StorePreparedVersion),
        (version.certificate, StoreCertifiedVersion),
    ):
        for again in (False, True):
            effects = [e.effect for e in operator.adopt(version.transcript, certificate, 0.0)]
            assert [type(e) for e in effects] == ([] if again else [expected])
    assert operator.adopt(version.transcript, prepared, 0.0) == []
    assert operator.certified is not None
    fresh = operator_of(who, me)
    for view, expected in ((1, [StorePreparedVersion]), (0, []), (1, []), (2, [StorePreparedVersion])):
        certificate = certify(who, version.transcript, Phase.PREPARE, view)
        effects = [e.effect for e in fresh.adopt(version.transcript, certificate, 0.0)]
        assert [type(e) for e in effects] == expected, (
            "a later view is news: it says which of two was prepared last"
        )


def test_the_head_is_what_a_session_prepared_last(who: Cast, version: KeyVersion) -> None:
    """Two versions of one session, both prepared: what the lower view prepared cannot be certified. A certificate decides."""
    me, later = who.addresses[0], who.at(10)
    secret = version.transcript
    first, second = (_sibling(later, version, seed) for seed in ("first", "second"))
    for order in ((first, second), (second, first)):
        operator = operator_of(who, me)
        operator.load_version(secret, version.certificate, version.shares[me])
        for view, sibling in ((0, first), (1, second)) if order[0] is first else ((1, second), (0, first)):
            operator.adopt(sibling.transcript, certify(who, sibling.transcript, Phase.PREPARE, view), 0.0)
        assert operator.head is not None
        assert operator.head.transcript == second.transcript
        operator.adopt(first.transcript, certify(who, first.transcript, Phase.PREPARE, 2), 0.0)
        assert operator.head.transcript == first.transcript
        operator.adopt(second.transcript, certify(who, second.transcript, view=3), 0.0)
        assert operator.head.transcript == second.transcript


def _sibling(who: Cast, version: KeyVersion, seed: str) -> KeyVersion:
    """A version of this session with the same master key."""
    secret = secret_of(version.shares, version.transcript.threshold)
    polynomial = Polynomial.random(who.session.threshold, counter_rng(seed), secret)
    return version_of(who, polynomial, source=int(version.transcript.version))


def test_a_prepared_version_that_others_prove_is_dealt_from(
    who: Cast, version: KeyVersion, room: Room
) -> None:
    """Its certificate of the prepare phase comes from elsewhere, in the midst of the next session: both versions are dealt from."""
    me, *others = who.addresses
    first, second = who.later(), who.later(20)
    room.lets = lambda s, lis, f: no_commits(s, lis, f) and not (me in (s, lis) and f.session == first.id)
    room.boundary(first)
    room.run(0.5)
    prepared = room.operators[others[0]].head
    assert prepared is not None
    assert not prepared.is_certified
    assert prepared.transcript.session == first.id
    room.works = lambda operator, job: not isinstance(job, DealJob)
    room.boundary(second)
    assert room.ceremony(me, second).sources == (version.transcript,)
    room.works = lambda _operator, _job: True
    room.tell(me, prepared.transcript, prepared.certificate)
    assert room.ceremony(me, second).sources == (version.transcript, prepared.transcript)
    assert StorePreparedVersion(prepared.transcript, prepared.certificate) in room.done(me)
    assert me in room.shares(prepared.transcript)
    assert sorted(
        read_dealing(f).source for f in room.said(me, FrameKind.DEALING) if f.session == second.id
    ) == [ref_of(prepared.transcript)], "the job of the other dealing was lost"


def test_a_certified_version_raises_the_floor_of_the_newest_session(
    who: Cast, version: KeyVersion, room: Room
) -> None:
    """Whoever began from an older version does not prepare from it any more, once the newer one is known to be certified."""
    me, *others = who.addresses
    first, second = who.later(), who.later(20)
    room.lets = lambda s, lis, _f: me not in (s, lis)
    room.boundary(first)
    room.run(1)
    made = room.operators[others[0]].certified
    assert made is not None
    room.works = lambda _operator, _job: False
    room.boundary(second)
    sources = base_versions_of(room.ceremony(me, second))
    assert sources.floor == ref_of(version.transcript)
    room.tell(me, made.transcript, made.certificate)
    assert sources.floor == ref_of(made.transcript)
    assert EraseShare(version.transcript.hash) in room.done(me)
    assert KeepShare not in {type(e) for e in room.done(me)}


def test_a_lock_gives_way_to_what_its_session_prepared_later(
    who: Cast, version: KeyVersion, room: Room
) -> None:
    """One member locked a transcript, the others prepared another one in the next view, and one of those goes away. The three that
    are left certify what they deal from the later one, of which the first member learns in the next session.
    """
    first, second = who.later(), who.later(20)
    early, late, locked, away = first.coordinators

    def passes(sender: OperatorAddress, listener: OperatorAddress, frame: Frame) -> bool:
        if frame.session != first.id:
            return True
        if frame.kind is FrameKind.KEY:
            return (frame.sender, listener) != (away, early)  # or both leaders propose the same transcript
        if frame.kind is not FrameKind.VOTE:
            return locked not in (sender, listener) or frame.kind in (FrameKind.DEALING, FrameKind.PROPOSAL)
        vote = read_vote(frame)
        return vote.phase is Phase.PREPARE and (listener == locked) == (vote.view == 0)

    room.lets = passes
    room.boundary(first)
    room.run(1)
    of_view_0, of_view_1 = room.ceremony(locked, first).locked, room.operators[late].head
    assert of_view_0 is not None
    assert of_view_1 is not None
    assert of_view_0.hash != of_view_1.transcript.hash
    assert (room.ceremony(locked, first).locked_in, of_view_1.certificate.view) == (0, 1)
    room.leave(away)
    room.boundary(second)
    room.run(5)
    made = {room.certified(member).source_hash for member in (early, late, locked)}
    assert made == {of_view_1.transcript.hash}


def test_a_version_of_this_very_session_is_no_floor_for_it(who: Cast, room: Room) -> None:
    """It is what the session makes, not what it builds on."""
    me, session = who.addresses[0], who.later()
    room.boundary(session)
    assert room.certified(me).session == session.id
    assert base_versions_of(room.ceremony(me, session)).floor.version < session.version


# -- frames that come early ------------------------------------------------------------------------------------


def test_frames_of_a_boundary_not_seen_yet_are_kept_for_it(who: Cast) -> None:
    """Bounded in number and bytes for each sender, taken out at the boundary, dropped at another one."""
    session, (me, peer, other, third) = who.later(), who.addresses
    operator = operator_of(who, me)
    early = [
        who.frame(peer, FrameKind.VIEW_CHANGE, view_change_body(i, None), session=session)
        for i in range(MAX_EARLY_FRAMES + 5)
    ]
    for frame in early:
        if operator.should_verify(frame):
            assert operator.receive([frame], 0.0) == []
    assert not operator.should_verify(early[0]), "known already"
    assert not operator.should_verify(early[-1]), "the sender has had its part"
    assert operator.should_verify(_change(who, session, 2))
    large = [
        who.frame(
            third, FrameKind.PROPOSAL, proposal_body(view, GENESIS, bytes(200_000), None), session=session
        )
        for view in range(3)
    ]
    assert sum(len(f.encoded) for f in large) > MAX_EARLY_BYTES
    operator.receive(large, 0.0)
    assert not operator.should_verify(large[2])
    for frame in (
        who.frame(other, FrameKind.SYNC, [b""], session=session),
        who.frame(other, FrameKind.HASH, [bytes(32)], recipient=peer, session=session),
    ):
        assert not operator.should_verify(frame), "of another kind, or for somebody else"
    operator.boundary(session, 1.0)
    taken = operator.pop_buffered(session)
    leader = operator.newest
    assert leader is not None
    kept = early[:MAX_EARLY_FRAMES]
    assert [f for f in taken if f.sender == peer] == kept
    assert operator.pop_buffered(session) == []
    operator.receive([_change(who, who.later(20))], 2.0)
    operator.pass_boundary(who.later(30), 3.0)
    assert operator.pop_buffered(who.later(20)) == []


def test_early_frames_are_screened_once_their_session_is_known(who: Cast, version: KeyVersion) -> None:
    """Bodies that are none, strangers, a proposal by one that does not lead: as if they came later."""
    everybody = cast(5)
    members = everybody.at(10, everybody.addresses[:4])
    stranger, me = everybody.addresses[4], everybody.addresses[0]
    operator = operator_of(everybody, me)
    session = members.session
    leader = session.coordinators[0]
    follower = next(a for a in members.addresses if a not in (leader, me))
    good = key_frame(members, follower)
    frames = [
        good,
        members.frame(follower, FrameKind.KEY, []),
        members.frame(stranger, FrameKind.VIEW_CHANGE, view_change_body(1, None)),
        members.frame(follower, FrameKind.PROPOSAL, proposal_body(0, GENESIS, None, None)),
    ]
    assert all(operator.should_verify(f) for f in frames)
    operator.receive(frames, 0.0)
    operator.boundary(session, 1.0)
    assert operator.pop_buffered(session) == [good]


def test_frames_of_several_sessions_find_theirs(who: Cast) -> None:
    """A batch is sorted by session; what is malformed is refused for the known ones."""
    operator = operator_of(who, who.addresses[0])
    operator.boundary(who.session, 0.0)
    operator.boundary(who.later(), 1.0)
    batch = [_change(who, who.session), _change(who, who.later(), 2), _change(who, who.later(20), 3)]
    assert all(operator.should_verify(f) for f in batch)
    operator.receive(batch, 1.5)
    for session in (who.session, who.later()):
        ceremony = operator.ceremony(session.id)
        assert ceremony is not None
        assert ceremony.must_stay_answerable
    assert operator.pop_buffered(who.later(20)) == batch[2:]
    with pytest.raises(MalformedError):
        operator.should_verify(who.frame(who.addresses[1], FrameKind.KEY, []))


# -- forgetting ------------------------------------------------------------------------------------------------


def test_old_sessions_are_forgotten_unless_somebody_may_be_bound(who: Cast) -> None:
    """Sessions without a vote go after a while; with signs of votes they stay much longer; forgotten ones are not begun again."""
    operator = operator_of(who, who.addresses[0])
    sessions = [who.later(10 * k) for k in range(KEEP_IDLE + 10)]
    for k, session in enumerate(sessions):
        operator.boundary(session, float(k))
    operator.receive([_change(who, sessions[2])], 100.0)
    gone = operator.prune()
    assert gone == [session for k, session in enumerate(sessions[:10]) if k != 2]
    assert operator.ceremony(sessions[2].id) is not None
    assert not operator.may_join(sessions[3])
    assert operator.prune() == []
    assert KEEP_VOTED > KEEP_IDLE


def test_a_session_that_binds_me_is_never_forgotten(who: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many came after it."""
    monkeypatch.setattr("eigenkms.protocols.ceremony.retention.KEEP_VOTED", 1)
    operator = operator_of(who, who.addresses[0])
    sessions = [who.later(10 * k) for k in range(3)]
    for session in sessions:
        operator.boundary(session, 0.0)
        operator.receive([_change(who, session)], 0.1)
    operator.ceremony(sessions[0].id)._state = SessionState.GENESIS_PAST_BOUND  # type: ignore[union-attr]
    assert operator.prune() == [sessions[1]]
    assert operator.binding_session == sessions[0]


def test_the_newest_rotations_and_those_that_made_a_version_stay(who: Cast, version: KeyVersion) -> None:
    """Of those in which nothing came about, three; dealings of a version are served as long as it is known."""
    me = who.addresses[0]
    room = Room(who)
    room.enter(version=version)
    room.boundary(who.later())
    made = room.certified(me)
    room.leave(*who.addresses[1:])
    for k in range(2, 7):
        room.boundary(who.later(10 * k))
    operator = room.operators[me]
    assert operator.prune() == [who.later(20), who.later(30)]
    assert operator.ceremony(made.session) is not None
    assert all(operator.body(name) is not None for _, name in made.dealers)
    assert KEEP_ROTATIONS == 3


def test_only_the_newest_sessions_and_those_awake_are_pulled(who: Cast) -> None:
    """A genesis session left behind sleeps until a view change wakes it."""
    operator = operator_of(who, who.addresses[0])
    sessions = [who.later(10 * k) for k in range(KEEP_SYNCING + 3)]
    for k, session in enumerate(sessions):
        operator.boundary(session, float(k))
    assert [c.session for c in operator.syncable] == sessions[-KEEP_SYNCING:]
    operator.receive([_change(who, sessions[0])], 100.0)
    assert [c.session for c in operator.syncable] == [sessions[0], *sessions[-KEEP_SYNCING:]]
    assert operator.deadline() is not None
    assert operator.tick(101.0)


def test_a_deadline_that_has_passed_is_asked_for_until_its_session_was_told(who: Cast) -> None:
    """What comes later for another session, or for none, does not make it forgotten; its own tick does."""
    operator = operator_of(who, who.addresses[0])
    operator.boundary(who.session, 0.0)
    due = operator.deadline()
    assert due == NEWCOMER_WINDOWS * who.session.window
    operator.receive([_change(who, who.later())], due + 1.0)
    operator.take_result(CheckResult(frozenset(), frozenset()), due - 0.1)
    assert operator.deadline() == due
    operator.tick(due)
    later = operator.deadline()
    assert later is None or later > due


# -- serving ---------------------------------------------------------------------------------------------------


def test_rows_are_served_to_recipients_of_dealings_that_are_here(who: Cast, room: Room) -> None:
    """An unknown dealing, or somebody who is no member, gets none."""
    me, peer, *_ = who.addresses
    room.boundary(who.later())
    name = room.certified(me).dealers[0][1]
    operator = room.operators[me]
    assert operator.row(name, peer) is not None
    assert operator.row(bytes(32), peer) is None
    assert operator.row(name, OperatorAddress(bytes(20))) is None
    assert operator.body(bytes(32)) is None


def test_a_single_operator_is_alone_with_its_key() -> None:
    """N = 1: from boundary to certificate, and rotations after it, each of which erases what was before."""
    who = cast(1)
    room, me = Room(who), who.addresses[0]
    room.enter()
    room.boundary(who.session)
    genesis = room.certified(me)
    assert room.operators[me].deadline() is None
    assert room.operators[me].syncable == ()
    room.boundary(who.later())
    made = room.certified(me)
    assert made.source_hash == genesis.hash
    assert [e for e in room.done(me) if isinstance(e, EraseShare)] == [EraseShare(genesis.hash)]
    assert secret_of(room.shares(made), 1)
