"""Rotation across boundaries: the key stays, the shares change, and what is older goes once enough hold the new ones."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from eigenkms.crypto import bn254, sealing
from eigenkms.crypto.feldman import public_share_of
from eigenkms.crypto.scalars import SecretScalar, threshold
from eigenkms.crypto.shamir import Polynomial
from eigenkms.protocols.ceremony import HeldSource
from eigenkms.protocols.dealing import reshare
from eigenkms.protocols.effects import Certified, Effect, Erase, JournalRecord, Note, Persist, Settled, Shred
from eigenkms.protocols.evidence import Fault, check_evidence
from eigenkms.protocols.frames import Frame, Kind, WrongScopeError
from eigenkms.protocols.messages import (
    certificate_body,
    confirm_body,
    dealing_body,
    proposal_body,
    read_dealing_frame,
    report_body,
    slot_of,
    source_of,
    view_change_body,
    vote_body,
)
from eigenkms.protocols.operator import KEPT_ROTATIONS, SessionEffect
from eigenkms.protocols.parties import MAX_UNKNOWN_SOURCES
from eigenkms.protocols.session import Session
from eigenkms.protocols.transcript import Transcript
from eigenkms.protocols.votes import VOID_HASH, Certificate, Phase, aggregate, vote_digest
from eigenkms.types import OperatorAddress
from tests.protocols.support import (
    Cast,
    KeyVersion,
    Room,
    Table,
    accusations,
    cast,
    certify,
    journal,
    secret_of,
    version_of,
)
from tests.support.toy_backend import toy_crypto


def gathered(who: Cast, version: KeyVersion, *more: OperatorAddress) -> Room:
    """The holders of a version in one room, and more who know it and hold nothing of it."""
    room = Room(who)
    room.enter(sorted({*version.shares, *more}), version)
    return room


@pytest.fixture
def who() -> Cast:
    return cast(4)


@pytest.fixture
def version(who: Cast) -> KeyVersion:
    """The four operators' version of block 100."""
    return version_of(who)


@pytest.fixture
def room(who: Cast, version: KeyVersion) -> Room:
    return gathered(who, version)


def newest(room: Room, *addresses: OperatorAddress) -> Transcript:
    """The highest settled version, which all of these know alike."""
    (found,) = {t.hash: t for a in addresses or room.operators if (t := room.source(a)) is not None}.values()
    return found


def check_shares(room: Room, transcript: Transcript, secret: SecretScalar) -> None:
    """All recipients hold a share on the certified vector, and t' of them are the same secret, whichever they are."""
    shares = room.shares(transcript)
    assert set(shares) == set(transcript.recipients.addresses)
    for address, share in shares.items():
        assert public_share_of(share) == transcript.public_share(address)
    t = transcript.threshold
    assert t == len(transcript.commitments) == threshold(len(shares))
    assert secret_of(shares, t) == secret
    assert secret_of(dict(sorted(shares.items())[-t:]), t) == secret


def promise(room: Room, session: Session) -> None:
    """The confirms that were said in a session are heard by all."""
    confirms = [f for a in room.effects for f in room.said(a, Kind.CONFIRM) if f.session == session.id]
    for address in tuple(room.operators):
        room.hear(address, *(f for f in confirms if f.sender != address))


def only(kind: type[Effect], effects: Sequence[Effect]) -> list[Effect]:  # type: ignore[valid-type]
    return [e for e in effects if isinstance(e, kind)]


# -- the key stays -----------------------------------------------------------------------------------------------

SIZES = [(1, 1), (1, 20), (20, 4), (4, 4), (2, 7), (3, 2), (7, 1), (6, 6)]


@pytest.mark.parametrize(("before", "after"), SIZES)
@pytest.mark.parametrize("together", [True, False], ids=["some stay", "nobody stays"])
def test_any_set_hands_over_to_any_other_in_one_step(before: int, after: int, *, together: bool) -> None:
    """Grown, shrunk or exchanged: the threshold follows the number of members, the master key stays, and whoever held the old
    version has nothing of it left.
    """
    everybody = cast(before + after)
    people = everybody.addresses
    old = people[:before]
    new = people[:after] if together else people[before:]
    version = version_of(everybody.at(0, old))
    room = gathered(everybody, version, *new)
    room.boundary(everybody.at(10, new).session)
    transcript = newest(room)
    assert transcript.recipients.addresses == new
    assert [d for d, _ in transcript.dealers] == list(old)
    assert transcript.mpk == version.transcript.mpk
    assert (transcript.source_version, transcript.source_hash) == (
        version.transcript.version,
        version.transcript.hash,
    )
    check_shares(room, transcript, secret_of(version.shares, version.transcript.threshold))
    for address in {*old, *new}:
        assert list(room.disks[address].versions) == [transcript.hash]
    assert room.accused() == []


def test_many_rotations_keep_the_key_and_no_two_have_shares_in_common() -> None:
    """Ten in a row, members coming and going; each deals from the one before, and shares of two versions give nothing together."""
    everybody = cast(9)
    people = everybody.addresses
    version = version_of(everybody.at(0, people[:4]))
    secret = secret_of(version.shares, 3)
    room = gathered(everybody, version, *people)
    chain = [version.transcript]
    shares = [dict(version.shares)]
    for step in range(1, 11):
        members = [people[(step + k) % 9] for k in range(3 + step % 5)]
        room.now = 10.0 * step
        room.boundary(everybody.at(10 * step, members).session)
        room.run(5.0)
        chain.append(newest(room, *members))
        shares.append(room.shares(chain[-1]))
        check_shares(room, chain[-1], secret)
    for (older, newer), (given, taken) in zip(pairwise(chain), pairwise(shares), strict=True):
        assert newer.source_hash == older.hash
        assert newer.mpk == chain[0].mpk
        for operator in set(given) & set(taken):
            mixed = {**given, operator: taken[operator]}
            chosen = {operator, *sorted(given)[: older.threshold - 1]}
            if len(chosen) == older.threshold > 1:
                assert secret_of({a: mixed[a] for a in chosen}, older.threshold) != secret
    assert room.accused() == []


def test_a_leaver_runs_on_until_a_version_without_it_is_settled() -> None:
    """It deals at each boundary from what it holds; when the others have settled theirs, it has nothing left to deal from."""
    everybody = cast(5)
    leaver, *stayers = everybody.addresses
    version = version_of(everybody.at(0, everybody.addresses[:4]))
    room = gathered(everybody, version, *stayers)
    room.lets = lambda _s, _l, f: f.kind is not Kind.CONFIRM
    for step in (1, 2):
        room.boundary(everybody.at(10 * step, stayers).session)
        assert len(room.said(leaver, Kind.DEALING)) == step
        assert room.shares(version.transcript)[leaver] == version.shares[leaver]
    room.lets = lambda _s, _l, _f: True
    room.boundary(everybody.at(30, stayers).session)
    assert len(room.said(leaver, Kind.DEALING)) == 3
    assert leaver not in room.shares(version.transcript)
    following = everybody.at(40, stayers).session
    assert not room.operators[leaver].may_join(following)
    room.boundary(following)
    assert len(room.said(leaver, Kind.DEALING)) == 3
    assert newest(room, *stayers).source_version == following.version - 120


# -- boundaries --------------------------------------------------------------------------------------------------


def without(
    *kinds: Kind, to: Sequence[OperatorAddress] = ()
) -> Callable[[object, OperatorAddress, Frame], bool]:
    """Lets everything pass but these kinds, to these listeners (or to all)."""
    return lambda _s, listener, frame: frame.kind not in kinds or bool(to and listener not in to)


def test_a_session_ends_at_the_next_boundary(who: Cast, version: KeyVersion, room: Room) -> None:
    """No vote, view change or proposal is said in it any more, whatever comes and however long it takes."""
    first, later = who.later(), who.later(20)
    room.lets = without(Kind.VOTE)
    room.boundary(first)
    room.at(4.0)
    votes = [f for a in who.addresses for f in room.said(a, Kind.VOTE)]
    assert {v.sender for v in votes} == set(who.addresses)
    said = {a: spoken_in(room, a, first) for a in who.addresses}
    room.boundary(later)
    room.lets = lambda _s, _l, f: f.session == first.id
    proposal = proposal_body(3, None, None)
    for address in who.addresses:
        room.hear(address, *(v for v in votes if v.sender != address))
        room.hear(address, who.at(10).frame(first.coordinator(3), Kind.PROPOSAL, proposal))
    room.run(50.0)
    for address in who.addresses:
        assert spoken_in(room, address, first) == said[address]
        ceremony = room.ceremony(address, first)
        assert not ceremony.pulls
        assert ceremony.deadline(room.now) is None
    assert newest(room) == version.transcript


def test_a_session_that_ended_reports_and_answers_no_more(who: Cast, version: KeyVersion, room: Room) -> None:
    """Its windows go by in silence: what is lacking stays lacking, and no one-time key is made for it. What comes late is taken."""
    first, me = who.later(), who.addresses[0]
    room.lets = without(Kind.SHARE)
    room.boundary(first)
    room.at(0.5)
    room.boundary(who.later(20))
    said = {a: spoken_in(room, a, first) for a in who.addresses}
    key = sealing.x25519_keypair(who.rng)[1]
    lacking = report_body({}, {me: key}, int(version.transcript.version))
    room.hear(me, who.at(10).frame(who.addresses[1], Kind.REPORT, lacking))
    room.lets = lambda _s, _l, f: f.session == first.id
    for now in (1.0, 2.0, 4.0, 9.0):
        room.at(now)
    assert {a: spoken_in(room, a, first) for a in who.addresses} == said
    assert not [r for r in room.disks[me].journals[first.id] if r.kind == "one-time-key"]
    room.hear(me, *(f for a in who.addresses[1:] for f in room.served(a, me, first)))
    assert room.ceremony(me, first)._exchanges.current.lacking == ()


def spoken_in(room: Room, address: OperatorAddress, session: Session) -> list[bytes]:
    """The frames that an operator journaled in a session, and so may have said."""
    return [r.body for r in room.disks[address].journals[session.id] if r.kind == "frame"]


def test_a_certificate_that_comes_late_counts_and_brings_the_share(who: Cast, version: KeyVersion) -> None:
    """After the next boundary: the version is taken, its share is pulled and promised, and with that it settles everywhere."""
    room = gathered(who, version)
    late, *others = who.addresses
    room.lets = lambda s, l, _f: late not in (s, l)
    session = who.later()
    room.boundary(session)
    for now in (1.0, 4.0, 4.5, 5.5):
        room.at(now)
    assert all(room.ceremony(a, session).decided for a in others)
    room.boundary(who.later(20), late)
    assert not room.ceremony(late, session).decided
    served = room.served(others[0], late, session)
    (frame,) = [f for f in served if f.kind is Kind.CERTIFICATE]
    room.lets = lambda _s, _l, f: f.session == session.id
    effects = room.hear(late, frame)
    assert [e.effect.share for e in effects if isinstance(e.effect, Certified)] == [None]
    assert [c.session for c in room.operators[late].live] == [session, who.later(20)]
    room.pull()
    transcript = newest(room, *who.addresses)
    assert transcript.session == session.id
    check_shares(room, transcript, secret_of(version.shares, 3))


def test_a_boundary_number_is_dealt_in_once_whatever_its_block(
    who: Cast, version: KeyVersion, room: Room
) -> None:
    """A block that is reorganised away while half of them have seen it: neither half can decide without the other, the old version
    stands, and the next boundary rotates it.
    """
    one, other = who.at(10), who.at(10, fork=b"fork")
    assert one.session.id != other.session.id
    room.boundary(one.session, *who.addresses[:2])
    room.boundary(other.session, *who.addresses[2:])
    for address in who.addresses[:2]:
        assert not room.operators[address].may_join(other.session)
    room.boundary(other.session)
    room.run(9.0)
    assert newest(room) == version.transcript
    assert set(room.shares(version.transcript)) == set(who.addresses)
    room.boundary(who.later(20))
    assert newest(room).session == who.later(20).id
    check_shares(room, newest(room), secret_of(version.shares, 3))
    assert room.accused() == []


def test_a_version_of_a_block_that_is_reorganised_away_is_the_next_ones_source(
    who: Cast, version: KeyVersion, room: Room
) -> None:
    """All had seen it: it is settled as any other, and the other block of that number opens no second session."""
    room.boundary(who.at(10).session)
    first = newest(room)
    room.boundary(who.at(10, fork=b"fork").session)
    assert newest(room) == first
    room.boundary(who.later(20))
    assert newest(room).source_hash == first.hash
    check_shares(room, newest(room), secret_of(version.shares, 3))


def test_two_boundaries_in_quick_succession(who: Cast, version: KeyVersion, room: Room) -> None:
    """Nothing was heard of the first when the second comes: it is left, and the second rotates the old version."""
    held: list[Frame] = []

    def hold(_s: object, _l: object, frame: Frame) -> bool:
        held.append(frame)
        return False

    room.lets = hold
    room.boundary(who.later())
    room.lets = lambda _s, _l, _f: True
    room.boundary(who.later(20))
    assert newest(room).session == who.later(20).id
    assert newest(room).source_hash == version.transcript.hash
    for address in who.addresses:
        room.hear(address, *(f for f in held if f.sender != address))
    for now in (1.0, 4.0, 5.0):
        room.at(now)
    room.pull()
    assert newest(room).session == who.later(20).id
    check_shares(room, newest(room), secret_of(version.shares, 3))
    assert all(list(room.disks[a].versions) == [newest(room).hash] for a in who.addresses)


def test_one_sees_the_second_boundary_before_the_first_is_decided(
    who: Cast, version: KeyVersion, room: Room
) -> None:
    """It votes no more in the first; the other three certify it, it takes the certificate and its share, promises, and all of them
    rotate on.
    """
    early = who.addresses[0]
    room.lets = without(Kind.VOTE, Kind.CONFIRM)
    room.boundary(who.later())
    room.boundary(who.later(20), early)
    room.lets = lambda _s, _l, _f: True
    room.run(5.5)
    assert {room.source(a).session for a in who.addresses} == {who.later().id}
    room.boundary(who.later(20))
    room.run(11.0)
    assert newest(room).session == who.later(20).id
    check_shares(room, newest(room), secret_of(version.shares, 3))


def test_an_interval_shorter_than_a_ceremony(who: Cast, version: KeyVersion, room: Room) -> None:
    """Boundary after boundary before anything is decided: the old version stands with all its shares, what is kept of the sessions
    is bounded, and once there is time the key is rotated.
    """
    room.lets = without(Kind.VOTE)
    for step in range(1, 9):
        room.now = float(step)
        room.boundary(who.later(10 * step))
        for address in who.addresses:
            forgotten = room.operators[address].forget()
            assert len(forgotten) == (1 if step > KEPT_ROTATIONS else 0)
    assert newest(room) == version.transcript
    assert room.shares(version.transcript) == dict(version.shares)
    room.lets = lambda _s, _l, _f: True
    room.boundary(who.later(90))
    assert newest(room).session == who.later(90).id
    check_shares(room, newest(room), secret_of(version.shares, 3))


# -- erasure -----------------------------------------------------------------------------------------------------


def test_nothing_but_settlement_erases(who: Cast, version: KeyVersion, room: Room) -> None:
    """Promises are not heard: versions come and none goes, however many; once they are, all older ones go at once."""
    room.lets = without(Kind.CONFIRM)
    for step in (1, 2, 3):
        room.boundary(who.later(10 * step))
        for address in who.addresses:
            assert len(room.disks[address].versions) == step + 1
            assert room.source(address) == version.transcript
            assert not only(Erase, room.done(address))
            assert not only(Shred, room.done(address))
    room.lets = lambda _s, _l, _f: True
    room.pull()
    assert newest(room).session == who.later(30).id
    for address in who.addresses:
        assert list(room.disks[address].versions) == [newest(room).hash]
        erased = {e.transcript_hash for e in only(Erase, room.done(address))}
        assert version.transcript.hash in erased
        assert len(erased) == 3


def test_a_session_that_still_deals_from_the_older_version_ends_first(
    who: Cast, version: KeyVersion, room: Room
) -> None:
    """Erased at the next boundary, not while others may need the shares that are dealt from it: first the journals, whose
    polynomials hold the old share, then the share.
    """
    first, second = who.later(), who.later(20)
    room.lets = without(Kind.CONFIRM)
    room.boundary(first)
    room.lets = without(Kind.VOTE)
    room.boundary(second)
    promise(room, first)
    me = who.addresses[0]
    assert room.source(me).session == first.id
    assert room.ceremony(me, second).is_running
    assert not only(Erase, room.done(me))
    assert not only(Shred, room.done(me))
    assert room.disks[me].versions[version.transcript.hash].share == version.shares[me]
    room.boundary(who.later(30))
    last = [e for e in room.done(me) if isinstance(e, Shred | Erase)]
    assert last == [Shred(first.id), Shred(second.id), Erase(version.transcript.hash)]
    for gone in (first, second):
        assert not [r for r in room.disks[me].journals[gone.id] if r.secret]
    assert me not in room.shares(version.transcript)


def test_a_decided_session_does_not_keep_the_older_version(
    who: Cast, version: KeyVersion, room: Room
) -> None:
    """The version that settles was made by the session itself: it dealt from the old one and is over."""
    room.boundary(who.later())
    me = who.addresses[0]
    assert [e for e in room.done(me) if isinstance(e, Settled | Shred | Erase)] == [
        Settled(
            newest(room),
            room.disks[me].versions[newest(room).hash].certificate,
            room.ceremony(me, who.later()).proof,
        ),
        Shred(who.later().id),
        Erase(version.transcript.hash),
    ]
    ceremony = room.ceremony(me, who.later())
    assert ceremony.is_shredded
    asked = room.served(me, who.addresses[1], who.later())
    assert {f.kind for f in asked} > {Kind.CERTIFICATE, Kind.CONFIRM}
    assert not [f for f in asked if f.kind is Kind.SHARE], "what determines old shares is served no more"


def test_a_genesis_journal_goes_with_the_genesis(who: Cast) -> None:
    """With a lowered quorum it is kept to serve latecomers; once a rotated version is settled, its polynomial is not needed."""
    lowered = cast(4, quorum=3)
    room = Room(lowered)
    room.enter(lowered.addresses)
    room.boundary(lowered.session)
    room.at(0.5)
    me = lowered.addresses[0]
    assert room.source(me) is not None
    secret = secret_of(room.shares(newest(room)), 3)
    assert [r for r in room.disks[me].journals[lowered.session.id] if r.secret]
    room.boundary(lowered.later())
    assert [r.kind for r in room.disks[me].journals[lowered.session.id] if r.secret] == []
    assert room.operators[me].ceremony(lowered.session.id) is None
    check_shares(room, newest(room), secret)
    assert who.session.id != lowered.session.id


def test_nothing_below_the_settled_version_comes_back(who: Cast, version: KeyVersion, room: Room) -> None:
    """A certificate of an older session, in a frame or learnt: no version, no share, no effect."""
    late = who.addresses[0]
    room.lets = lambda s, l, f: late not in (s, l)
    room.boundary(who.later())
    for now in (4.0, 4.5, 5.5):
        room.at(now)
    other = who.addresses[1]
    older = next(e for e in room.done(other) if isinstance(e, Certified))
    frames = room.served(other, late, who.later())
    room.lets = lambda _s, _l, _f: True
    room.boundary(who.later(20))
    for now in (10.0, 10.5, 12.0):
        room.at(now)
    settled = newest(room)
    assert settled.session == who.later(20).id
    for address in (late, other):
        before = len(room.done(address))
        room.hear(address, *(f for f in frames if f.sender != address))
        effects = room.operators[address].learn(older.transcript, older.certificate, settled=True, now=13.0)
        assert effects == []
        assert not [e for e in room.done(address)[before:] if isinstance(e, Certified | Settled)]
        assert list(room.disks[address].versions) == [settled.hash]
    assert version.transcript.hash not in room.disks[late].versions


def test_a_certificate_from_below_that_comes_while_erasing_waits_is_nobodys_concern(
    who: Cast, version: KeyVersion, room: Room
) -> None:
    """The version between the old one, which a running session still deals from, and the settled one."""
    late = who.addresses[0]
    first, second, third = who.later(), who.later(20), who.later(30)
    room.lets = lambda s, l, f: late not in (s, l)
    room.boundary(first)
    for now in (4.0, 4.5, 5.5):
        room.at(now)
    frames = [f for a in who.addresses[1:] for f in room.served(a, late, first)]
    room.lets = without(Kind.CONFIRM)
    room.boundary(second)
    for now in (6.0, 10.0, 10.5):
        room.at(now)
    room.lets = without(Kind.VOTE)
    room.boundary(third)
    promise(room, second)
    assert room.source(late).session == second.id
    assert room.ceremony(late, third).is_running
    before = len(room.done(late))
    room.hear(late, *frames)
    assert room.ceremony(late, first).decided
    assert room.ceremony(late, first).proof is not None
    assert not [e for e in room.done(late)[before:] if isinstance(e, Certified | Settled)]
    assert len(room.disks[late].versions) == 2
    assert version.transcript.hash in room.disks[late].versions


# -- sources that turn up ----------------------------------------------------------------------------------------


def test_a_higher_source_that_turns_up_is_dealt_from_too(who: Cast, version: KeyVersion) -> None:
    """Two settled the version of block 110 in time, two only after the boundary of block 120: all deal from it then, and it is
    what is rotated.
    """
    room = gathered(who, version)
    first, second = who.later(), who.later(20)
    behind = who.addresses[2:]
    room.lets = without(Kind.CONFIRM, to=behind)
    room.boundary(first)
    assert [room.source(a).session == first.id for a in who.addresses] == [True, True, False, False]
    room.boundary(second)
    for address in who.addresses:
        sources = [source_of(f) for f in room.said(address, Kind.DEALING) if f.session == second.id]
        assert sources == [version.transcript.version if address in behind else first.version]
    room.lets = lambda _s, _l, _f: True
    promise(room, first)
    room.run(6.0)
    assert newest(room).session == second.id
    assert newest(room).source_version == first.version
    check_shares(room, newest(room), secret_of(version.shares, 3))
    assert all(list(room.disks[a].versions) == [newest(room).hash] for a in who.addresses)


class Between:
    """Four operators with versions of blocks 100 and 110 of one key, and their session at block 120."""

    def __init__(self) -> None:
        self.people = cast(4)
        first = version_of(self.people)
        self.old = first
        polynomial = reshared(self.people, first)
        self.new = version_of(self.people.at(10), polynomial, source=int(first.transcript.version))
        self.who = self.people.at(20)
        self.me = self.who.addresses[0]


def reshared(who: Cast, version: KeyVersion) -> Polynomial:
    """Another polynomial with the secret of that version."""
    return Polynomial.random(who.session.threshold, who.rng, secret_of(version.shares, 3))


@pytest.fixture
def between() -> Between:
    return Between()


def test_a_lower_or_equal_source_is_not_dealt_from(between: Between) -> None:
    """Nor one from the very boundary of the session, or from after it."""
    who, me = between.who, between.me
    ceremony = who.ceremony(me, sources=[between.new.held_by(me)])
    ceremony.start(0.0)
    same = version_of(who, reshared(who, between.old), source=1)
    after = version_of(who.at(10), reshared(who, between.old), source=1)
    for other in (between.old, between.new, same, after):
        assert ceremony.add_source(other.held_by(me), 0.1) == []
    assert ceremony.sources == (between.new.transcript,)


def test_a_source_is_journaled_before_anything_is_dealt_from_it(between: Between) -> None:
    """One record for each, in the order in which they came; the next life deals from both, with the same polynomials."""
    who, me = between.who, between.me
    ceremony = who.ceremony(me, sources=[between.old.held_by(me)])
    effects = [*ceremony.start(0.0), *ceremony.add_source(between.new.held_by(me), 0.1)]
    records = journal(effects)
    kinds = [r.kind for r in records]
    assert kinds == ["source", "polynomial", "frame", "source", "polynomial", "frame"]
    assert [r.body for r in records if r.kind == "source"] == [
        between.old.transcript.hash,
        between.new.transcript.hash,
    ]
    assert ceremony.sources == (between.old.transcript, between.new.transcript)
    again = who.ceremony(
        me, records=records, sources=[between.old.held_by(me), between.new.held_by(me)], opened_at=0.0
    )
    repeated = again.start(5.0)
    assert [e for e in repeated if isinstance(e, Persist)] == []
    said = [getattr(e, "frame", None) for e in effects]
    assert [getattr(e, "frame", None) for e in repeated if hasattr(e, "frame")] == [
        f for f in said if f is not None and f.recipient is None
    ]
    ask = who.frame(who.addresses[1], Kind.SYNC, [b""])
    served = {f.key for f in again.sync_reply(ask) if f.kind is Kind.SHARE}
    assert served == {f.key for f in said if f is not None and f.recipient == who.addresses[1]}
    assert len(served) == 2


def test_a_source_is_added_to_no_session_that_is_over(between: Between) -> None:
    """Neither a decided one nor one that the next boundary has ended."""
    who, me = between.who, between.me
    table = Table(who, source=between.old)
    table.start()
    assert table.seats[me].decided
    assert table.seats[me].add_source(between.new.held_by(me), 1.0) == []
    left = who.ceremony(me, sources=[between.old.held_by(me)])
    left.start(0.0)
    left.supersede(1.0)
    assert left.add_source(between.new.held_by(me), 1.0) == []


def test_what_others_propose_from_a_source_that_i_knew_i_may_prepare(between: Between) -> None:
    """They had not heard of the higher one when they proposed; dealing from that too does not stop me from voting for theirs."""
    who, me = between.who, between.me
    coordinator = who.session.coordinator(0)
    voter = next(a for a in who.addresses if a != coordinator)
    held_back = (Kind.PROPOSAL, Kind.VOTE)
    table = Table(who, lambda _s, l, f: not (f.kind in held_back and l == voter), source=between.old)
    table.start()
    (proposal,) = table.said(coordinator, Kind.PROPOSAL)
    assert not table.said(voter, Kind.VOTE)
    seat = table.seats[voter]
    table._take(voter, seat.add_source(between.new.held_by(voter), 0.2))
    table.lets = lambda _s, _l, _f: True
    table.hear(voter, proposal)
    assert table.said(voter, Kind.VOTE)
    unaware = who.ceremony(me, sources=[between.new.held_by(me)])
    unaware.start(0.0)
    frame = who.frame(coordinator, Kind.PROPOSAL, proposal.body)
    if me != coordinator:
        unaware.receive([frame], 0.1)
    transcript = next(e.transcript for e in table.effects[me] if isinstance(e, Certified))
    assert not unaware._exchanges.supports(transcript, strictly=False), (
        "from a version that it never knew as the source"
    )
    assert unaware._exchanges.combined_share(transcript) is None


def test_a_genesis_becomes_a_rotation_when_a_version_turns_up(who: Cast, version: KeyVersion) -> None:
    """A joiner that had heard of none began a genesis; told of the version, it takes part in the rotation that the others are
    in, and its next life knows.
    """
    everybody = cast(5)
    members = everybody.addresses
    version = version_of(everybody.at(0, members[:4]))
    joiner = members[4]
    room = gathered(everybody, version)
    room.enter([joiner])
    room.lets = without(Kind.VOTE)
    session = everybody.at(10).session
    room.boundary(session)
    ceremony = room.ceremony(joiner, session)
    assert not ceremony.is_rotation
    assert room.said(joiner, Kind.HASH)
    assert room.operators[joiner].unknown_sources == dict.fromkeys(members[:4], version.transcript.version)
    room.take(
        joiner,
        room.operators[joiner].learn(version.transcript, version.certificate, settled=True, now=0.5),
    )
    assert ceremony.is_rotation
    assert room.operators[joiner].unknown_sources == {}
    assert ceremony.status().source == version.transcript.version
    room.disks[joiner]._carry_out(Certified(version.transcript, version.certificate, None))
    room.restart(joiner)
    again = room.ceremony(joiner, session)
    assert again.is_rotation
    room.lets = lambda _s, _l, _f: True
    room.run(6.0)
    assert newest(room).session == session.id
    assert newest(room).recipients.addresses == members
    check_shares(room, newest(room), secret_of(version.shares, 3))
    assert not room.said(joiner, Kind.DEALING)
    assert who.session.id != session.id


def test_a_genesis_that_binds_me_stays_one() -> None:
    """I voted for its key: whatever version turns up, I am bound to it until it is closed."""
    who = cast(4)
    me = who.addresses[0]
    table = Table(who, lambda _s, _l, f: f.kind is not Kind.VOTE)
    table.start()
    assert table.seats[me].binding
    before = version_of(who.at(-10))
    assert table.seats[me].add_source(before.held_by(me), 1.0) == []
    assert not table.seats[me].is_rotation
    free = who.ceremony(me)
    free.start(0.0)
    assert free.add_source(before.held_by(me), 1.0)
    assert free.is_rotation


def test_a_genesis_turned_rotation_keeps_what_it_heard_of_the_rotation() -> None:
    """A proposal and a certificate that came before the version was known are read again."""
    everybody = cast(5)
    joiner = everybody.addresses[4]
    version = version_of(everybody.at(0, everybody.addresses[:4]))
    who = everybody.at(10)
    table = Table(who, lambda _s, l, _f: l != joiner, source=version)
    table.start()
    for now in (1.0, 4.0, 4.5, 5.5):
        table.at(now)
    other = who.addresses[0]
    assert table.seats[other].decided
    ceremony = who.ceremony(joiner)
    ceremony.start(0.0)
    heard = [f for f in table.seats[other].sync_reply(ceremony.sync_request()) if f.kind is Kind.CERTIFICATE]
    assert ceremony.wants(heard[0])
    ceremony.receive(heard, 6.0)
    assert not ceremony.decided
    effects = ceremony.add_source(HeldSource(version.transcript, None), 6.1)
    assert ceremony.decided
    assert [e.share for e in effects if isinstance(e, Certified)] == [None]


def test_senders_of_unknown_sources_are_remembered_and_bounded(between: Between) -> None:
    """Whoever deals from a higher version can prove it; lower ones are nobody's concern, and a flood of made-up senders keeps no
    member from being heard.
    """
    who, me = between.who, between.me
    ceremony = who.ceremony(me, sources=[between.new.held_by(me)])
    ceremony.start(0.0)
    higher = between.new.transcript.version + 12
    lower = between.old.transcript.version

    def dealt_from(source: int, sender: OperatorAddress) -> Frame:
        return replace(who.frame(who.addresses[1], Kind.DEALING, [source, b""]), sender=sender)

    assert not ceremony.wants(dealt_from(lower, who.addresses[1]))
    assert ceremony.unknown_sources == {}
    strangers = [OperatorAddress(k.to_bytes(20, "big")) for k in range(2 * MAX_UNKNOWN_SOURCES)]
    for stranger in strangers:
        assert not ceremony.wants(dealt_from(higher, stranger))
    assert len(ceremony.unknown_sources) == MAX_UNKNOWN_SOURCES
    for member in who.addresses[1:]:
        assert not ceremony.wants(dealt_from(higher, member))
    assert set(who.addresses[1:]) < set(ceremony.unknown_sources)
    assert len(ceremony.unknown_sources) == MAX_UNKNOWN_SOURCES + 3
    assert not ceremony.wants(dealt_from(higher + 12, who.addresses[1]))
    assert ceremony.unknown_sources[who.addresses[1]] == higher + 12
    with pytest.raises(WrongScopeError, match="for session"):
        ceremony.wants(replace(dealt_from(higher, who.addresses[1]), session=bytes(32)))


def test_a_decided_session_asks_for_no_other_source(between: Between) -> None:
    """Whatever others deal from, this session has its version."""
    who, me = between.who, between.me
    table = Table(who, source=between.old)
    table.start()
    frame = who.frame(who.addresses[1], Kind.DEALING, [between.new.transcript.version, b""])
    assert not table.seats[me].wants(frame)
    assert table.seats[me].unknown_sources == {}


def test_a_version_that_is_learnt_is_taken_by_the_session_that_made_it(
    who: Cast, version: KeyVersion, room: Room
) -> None:
    """One was cut off while the others rotated. It hears of the version as the source of the next boundary, deals from it without
    a share, and still gets its share from the session before, which its promise to keep settles nothing more.
    """
    late = who.addresses[0]
    first, second = who.later(), who.later(20)
    heard: list[Frame] = []
    room.lets = lambda s, l, _f: late not in (s, l)
    room.boundary(first)
    room.run(6.0)
    assert newest(room, *who.addresses) == version.transcript
    heard = room.said(late, Kind.DEALING)
    assert heard
    made = next(e for e in room.done(who.addresses[1]) if isinstance(e, Certified))
    effects = room.operators[late].learn(made.transcript, made.certificate, settled=False, now=6.0)
    assert room.ceremony(late, first).decided
    assert [e.effect.share for e in effects if isinstance(e.effect, Certified)] == [None]
    assert not [e for e in effects if isinstance(e.effect, Erase)], "it is certified, and not settled"
    room.take(late, effects)
    assert room.operators[late].learn(made.transcript, made.certificate, settled=False, now=6.0) == []
    room.lets = lambda _s, _l, _f: True
    room.pull()
    assert newest(room, *who.addresses) == made.transcript
    check_shares(room, made.transcript, secret_of(version.shares, 3))
    room.boundary(second)
    assert newest(room).source_hash == made.transcript.hash


def test_a_share_that_completes_after_the_journal_is_destroyed_goes_to_the_version_alone(
    who: Cast, version: KeyVersion
) -> None:
    """A higher version was settled meanwhile, and the secrets are gone: the late share is handed over, not journaled."""
    late, *others = who.addresses
    table = Table(who.at(10), lambda _s, l, f: l != late, source=version)
    table.start()
    for now in (1.0, 4.0, 4.5, 5.0, 6.0):
        table.at(now)
    seat = table.seats[late]
    request = seat.sync_request()
    served = [f for a in others for f in table.seats[a].sync_reply(request)]
    for frame in served:
        if frame.kind is Kind.CERTIFICATE:
            table.hear(late, frame)
    assert seat.decided
    seat.forget_secrets()
    table.effects[late] = []
    for frame in served:
        table.hear(late, frame)
    shares = [e.share for e in table.effects[late] if isinstance(e, Certified)]
    assert len(shares) == 1
    assert public_share_of(shares[0]) == next(iter(seat._agreement._transcripts.values())).public_share(late)
    assert not [r for r in journal(table.effects[late]) if r.secret]


def test_a_version_of_another_key_is_not_learnt(who: Cast, version: KeyVersion, room: Room) -> None:
    """Certified and settled by whoever once were the operators: a cluster has one master key, mine is not erased for another."""
    other = version_of(who.at(10), source=int(version.transcript.version))
    assert other.transcript.mpk != version.transcript.mpk
    operator = room.operators[who.addresses[0]]
    assert not operator.may_learn(other.transcript)
    assert operator.learn(other.transcript, other.certificate, settled=True, now=1.0) == []
    assert operator.source is not None
    assert operator.source.transcript == version.transcript
    rotated = version_of(who.at(10), reshared(who, version), source=int(version.transcript.version))
    assert operator.may_learn(rotated.transcript)
    effects = operator.learn(rotated.transcript, rotated.certificate, settled=True, now=1.0)
    assert effects == [SessionEffect(None, Erase(version.transcript.hash))]


# -- lives -------------------------------------------------------------------------------------------------------


def said_in_slots(room: Room, address: OperatorAddress) -> dict[object, set[bytes]]:
    found: dict[object, set[bytes]] = {}
    for kind in Kind:
        for frame in room.said(address, kind):
            slot = slot_of(frame)
            if slot is not None:
                found.setdefault((frame.session, slot), set()).add(frame.encoded)
    return found


@pytest.mark.parametrize("role", ["stayer", "leaver", "joiner"])
@pytest.mark.parametrize("point", range(18))
def test_a_crash_at_any_point_of_a_rotation_loses_nothing(role: str, point: int) -> None:
    """After so many durable things, before anything that followed from the next is sent. The next life says nothing differently and
    deals the same polynomial; this session is completed, or the next one is; then nothing old is left, and nothing new is missing.
    """
    everybody = cast(5)
    people = everybody.addresses
    leaver, *members = people
    version = version_of(everybody.at(0, people[:4]))
    victim = {"stayer": members[0], "leaver": leaver, "joiner": members[3]}[role]
    whole = gathered(everybody, version, *people)
    whole.boundary(everybody.at(10, members).session)
    points = len(whole.disks[victim].written)
    room = gathered(everybody, version, *people)
    room.disks[victim].room = point
    secret = secret_of(version.shares, 3)
    room.boundary(everybody.at(10, members).session)
    for now in (0.5, 1.0):
        room.at(now)
    crashed = victim not in room.operators
    room.disks[victim].room = None
    room.restart(victim)
    room.run(7.0)
    if len({t.hash for a in people if (t := room.source(a)) is not None}) != 1:
        room.boundary(everybody.at(20, members).session)
        room.run(6.0)
    transcript = newest(room)
    assert transcript != version.transcript
    check_shares(room, transcript, secret)
    for address in people:
        assert list(room.disks[address].versions) == [transcript.hash]
    assert all(len(frames) == 1 for frames in said_in_slots(room, victim).values())
    dealt = {(f.session, read_dealing_frame(f).encoded) for f in room.said(victim, Kind.DEALING)}
    assert len(dealt) == len({session for session, _ in dealt})
    assert room.accused() == []
    assert crashed == (point < points < 18), "all points of a life are tried"


def test_erasing_is_done_again_after_a_crash_before_it(who: Cast, version: KeyVersion, room: Room) -> None:
    """Settled is on disk, Shred and Erase are not: the next life does both first of all."""
    me = who.addresses[0]
    room.boundary(who.later())
    disk = room.disks[me]
    transcript = newest(room)
    position = next(i for i, e in enumerate(disk.written) if isinstance(e, Settled))
    assert disk.written[position + 1 :] == [Shred(who.later().id), Erase(version.transcript.hash)]
    for done in (0, 1):
        again = gathered(who, version)
        again.operators = {me: again.operators[me]}
        crashed = again.disks[me]
        for effect in disk.written[: position + 1 + done]:
            if isinstance(effect, Persist):
                crashed._append(who.later(), effect.record)
            else:
                crashed._carry_out(effect)
        assert set(crashed.versions) == {version.transcript.hash, transcript.hash}
        effects = [e.effect for e in again.restart(me)]
        expected = [Shred(who.later().id), Erase(version.transcript.hash)][done:]
        assert [e for e in effects if isinstance(e, Shred | Erase)] == expected
        assert list(crashed.versions) == [transcript.hash]
        assert not [r for r in crashed.journals[who.later().id] if r.secret]


def test_a_session_that_was_only_opened_begins_as_a_rotation_or_not_at_all(
    who: Cast, version: KeyVersion
) -> None:
    """The earlier life ended before it said anything there. With a version known it is never a genesis: nothing begins where the
    store may have forgotten, where only a version that is not settled is known, or where it was settled at that very boundary.
    """
    me = who.addresses[0]

    def restored(session: Session, *, settled: bool, silent: bool = False) -> list[SessionEffect]:
        operator = who.operator(me)
        operator.know(version.transcript, version.shares[me], settled=settled)
        effects = operator.restore(session, (), 5.0, 5.0, silent=silent)
        assert (operator.newest is None) == (not effects)
        return effects

    assert restored(who.later(), settled=True, silent=True) == []
    assert restored(who.later(), settled=False) == []
    assert restored(who.session, settled=True) == []
    kinds = [r.kind for r in journal([e.effect for e in restored(who.later(), settled=True)])]
    assert kinds == ["source", "polynomial", "frame"]


def test_a_session_whose_source_is_erased_is_not_resumed(who: Cast, version: KeyVersion) -> None:
    """Its journal is destroyed: there is nothing to deal from, and what was dealt from it must not come back."""
    me = who.addresses[0]
    table = Table(who.at(10), without(Kind.VOTE), source=version)  # type: ignore[arg-type]
    table.start()
    records = journal(table.effects[me])
    operator = who.operator(me)
    effects = operator.restore(who.later(), records, 0.0, 5.0)
    assert [e.effect for e in effects] == [Shred(who.later().id)]
    assert operator.ceremony(who.later().id) is None


def test_the_newest_three_rotations_stay_answerable(who: Cast, version: KeyVersion) -> None:
    """For shares, certificates and confirms that came late; the older ones are forgotten and not begun again."""
    operator = who.operator(who.addresses[0])
    operator.know(version.transcript, version.shares[who.addresses[0]], settled=True)
    sessions = [who.later(10 * k) for k in range(1, 6)]
    for session in sessions:
        operator.boundary(session, 0.0)
    assert KEPT_ROTATIONS == 3
    assert operator.forget() == sessions[:2]
    assert [s.id for s in sessions if operator.ceremony(s.id) is not None] == [s.id for s in sessions[2:]]
    assert operator.forget() == []
    assert not operator.may_join(sessions[0])
    assert [c.session for c in operator.live] == sessions[-1:]


def test_a_store_that_may_have_forgotten_listens(who: Cast, version: KeyVersion) -> None:
    """Restored in silence: what its journal has it repeats and serves; it deals, reports, votes and promises nothing new, but
    takes the version with its share, and later boundaries are its own again.
    """
    me, *others = who.addresses
    room = gathered(who, version)
    session = who.later()
    room.lets = without(Kind.REPORT)
    room.boundary(session)
    disk = room.disks[me]
    kept = [r for r in disk.journals[session.id] if r.kind in ("source", "polynomial", "frame")]
    (dealing,) = room.said(me, Kind.DEALING)
    said = {f.key for kind in Kind for f in room.said(me, kind)}
    operator = room.operators[me] = room._alive(me)
    room.take(me, operator.restore(session, kept, 0.0, 1.0, silent=True))
    room.lets = lambda _s, _l, _f: True
    room.run(7.0)
    assert {f.key for kind in Kind for f in room.said(me, kind)} == said
    assert room.said(me, Kind.DEALING) == [dealing, dealing]
    ceremony = room.ceremony(me, session)
    assert ceremony.deadline(7.0) is None
    assert ceremony.add_source(version.held_by(me), 7.0) == []
    served = room.served(me, others[0], session)
    assert [f.recipient for f in served if f.kind is Kind.SHARE] == [others[0]]
    assert ceremony.decided
    assert me in room.shares(next(e.transcript for e in room.done(me) if isinstance(e, Certified)))
    assert not room.said(me, Kind.CONFIRM)
    room.boundary(who.later(20))
    room.run(12.0)
    assert newest(room).session == who.later(20).id
    check_shares(room, newest(room), secret_of(version.shares, 3))


def test_another_copy_of_an_operator_that_speaks_makes_this_one_silent(
    who: Cast, version: KeyVersion
) -> None:
    """A folder that was put back, or two that run: what I said and do not know, others send me when I ask what I lack."""
    me, *others = who.addresses
    table = Table(who.at(10), without(Kind.REPORT), source=version)
    table.start()
    copy = table.seats[me] = table.sit(me)
    spoken = table.seats[others[0]].sync_reply(copy.sync_request())
    mine = [frame for frame in spoken if frame.sender == me]
    assert [frame.kind for frame in mine] == [Kind.DEALING]
    persist, note = [e for f in mine for e in table.hear(me, f)]
    assert persist == Persist(JournalRecord("silent", b""))
    assert isinstance(note, Note)
    assert note.event == "another copy of this operator speaks: silent from now on"
    assert copy.start(0.0) == [Persist(JournalRecord("source", version.transcript.hash))]
    assert not copy.wants(mine[0])
    assert copy.deadline(0.0) is None
    again = table.sit(me, [JournalRecord("source", version.transcript.hash), persist.record])
    assert again.start(0.0) == [], "also after a restart"
    table.lets = lambda _s, _l, _f: True
    for frame in table.seats[others[0]].sync_reply(copy.sync_request()):
        table.hear(me, frame)
    table.at(1.0)
    table.at(4.0)
    assert set(table.decided()) >= set(others)
    assert not accusations([e for effects in table.effects.values() for e in effects])


def test_votes_of_another_copy_are_noticed_too(who: Cast, version: KeyVersion) -> None:
    """Of any view that the log would keep; of a lower one it cannot tell whether they were its own."""
    me = who.addresses[0]
    now = who.at(10)
    for kind, body in (
        (Kind.VOTE, vote_body(3, Phase.COMMIT, bytes(32), bytes(64))),
        (Kind.VIEW_CHANGE, view_change_body(3, None)),
        (Kind.CONFIRM, confirm_body(bytes(32), bytes(64), bytes(128))),
    ):
        table = Table(now, source=version)
        table.start()
        before = table.said(me, kind)
        assert table.seats[me].wants(now.frame(me, kind, body)), kind
        assert not any(table.seats[me].wants(frame) for frame in before)


# -- bad input, and the old version stands -----------------------------------------------------------------------


def _false_certificates(who: Cast, version: KeyVersion) -> dict[str, list[object]]:
    """Bodies of CERTIFICATE frames for the session of ``who``, each with something that is not so."""
    good = version_of(who, reshared(who, version), source=int(version.transcript.version))
    transcript, certificate = good.transcript, good.certificate
    few = certify(who, transcript, who.addresses[:2])
    strangers = cast(4, seed="strangers")
    twice = certify(who, transcript, who.addresses[:3])
    foreign_keys = dict(zip(who.addresses, strangers.keys.values(), strict=True))
    foreign = certify(replace(who, keys=foreign_keys), transcript)
    other_key = version_of(who, source=int(version.transcript.version))

    def of(changed: Transcript) -> list[object]:
        return certificate_body(changed.encoded, certify(who, changed))

    return {
        "too few signers": certificate_body(transcript.encoded, few),
        "two signers and spare bits": certificate_body(transcript.encoded, replace(few, bitmap=b"\xcf")),
        "a signer that did not sign": certificate_body(transcript.encoded, replace(twice, bitmap=b"\xf0")),
        "repeated signatures": certificate_body(
            transcript.encoded, replace(few, bitmap=b"\xe0", signature=_doubled(who, transcript))
        ),
        "foreign signers": certificate_body(transcript.encoded, foreign),
        "a certificate of another transcript": certificate_body(transcript.encoded, other_key.certificate),
        "another transcript than the certificate's": certificate_body(
            other_key.transcript.encoded, certificate
        ),
        "a prepare certificate": certificate_body(
            transcript.encoded, replace(certificate, phase=Phase.PREPARE)
        ),
        "no transcript": certificate_body(None, certificate),
        "∅, which no rotation ends with": certificate_body(None, _void(who)),
        "another master key": of(other_key.transcript),
        "no source": of(replace(transcript, source_version=0, source_hash=bytes(32))),
        "another boundary": of(replace(transcript, boundary=who.at(10).session.boundary)),
        "another cluster": of(replace(transcript, cluster=bytes(32))),
        "another threshold": of(replace(transcript, threshold=2)),
        "a vector that is too short": of(replace(transcript, commitments=transcript.commitments[:2])),
        "a vector of another key": of(
            replace(transcript, commitments=(transcript.commitments[1], *transcript.commitments[1:]))
        ),
        "points that are none": of(
            replace(transcript, commitments=(transcript.mpk, b"\xff" * 96, transcript.commitments[2]))
        ),
    }


def _doubled(who: Cast, transcript: Transcript) -> bytes:
    """The signatures of two, one of them added twice."""
    once = certify(who, transcript, who.addresses[:2]).signature
    return bn254.aggregate_signatures([once, certify(who, transcript, who.addresses[:1]).signature])


def _void(who: Cast) -> Certificate:
    """Everybody's word that the session ends without a key."""
    digest = vote_digest(who.session.id, 0, Phase.COMMIT, VOID_HASH)
    votes = {a: bn254.sign(who.keys[a], digest) for a in who.addresses}
    return aggregate(who.session.id, 0, Phase.COMMIT, VOID_HASH, votes, who.session.recipients)


def _names() -> list[str]:
    with toy_crypto():
        who = cast(4)
        return list(_false_certificates(who.at(10), version_of(who)))


@pytest.mark.parametrize("case", _names())
def test_a_false_certificate_decides_nothing_and_the_session_goes_on(
    who: Cast, version: KeyVersion, room: Room, case: str
) -> None:
    """Signers too few, repeated or foreign; a transcript whose hash is right and whose content is not. Heard before anything
    else, it leaves the old version in place, and the session rotates it as if nothing had been.
    """
    session = who.at(10)
    body = _false_certificates(session, version)[case]
    me, liar = who.addresses[:2]
    room.lets = lambda _s, _l, _f: False
    room.boundary(session.session)
    room.hear(me, session.frame(liar, Kind.CERTIFICATE, body))
    assert not only(Certified, room.done(me))
    assert not room.ceremony(me, session.session).decided
    assert room.source(me) == version.transcript
    assert room.shares(version.transcript)[me] == version.shares[me]
    room.lets = lambda _s, _l, _f: True
    room.run(6.0)
    assert newest(room).session == session.session.id
    check_shares(room, newest(room), secret_of(version.shares, 3))


def test_a_true_certificate_is_taken_from_anybody(who: Cast, version: KeyVersion, room: Room) -> None:
    """The counterpart of the false ones: the same made up version, with nothing wrong in it."""
    session = who.at(10)
    good = version_of(session, reshared(session, version), source=int(version.transcript.version))
    room.lets = lambda _s, _l, _f: False
    room.boundary(session.session)
    room.hear(
        who.addresses[0],
        session.frame(
            who.addresses[1], Kind.CERTIFICATE, certificate_body(good.transcript.encoded, good.certificate)
        ),
    )
    assert only(Certified, room.done(who.addresses[0])) == [
        Certified(good.transcript, good.certificate, None)
    ]
    assert room.source(who.addresses[0]) == version.transcript, "certified, not settled"


FALSE_CONTENT: dict[str, Callable[[Transcript], Transcript]] = {
    "a dealer fewer than the threshold": lambda t: replace(t, dealers=t.dealers[:2]),
    "a dealer left out of the sum's list": lambda t: replace(t, dealers=t.dealers[:3]),
    "another dealing's hash": lambda t: replace(t, dealers=((t.dealers[0][0], bytes(32)), *t.dealers[1:])),
    "a stranger as dealer": lambda t: replace(
        t, dealers=((OperatorAddress(bytes(20)), bytes(32)), *t.dealers)
    ),
    "a vector that does not recompute": lambda t: replace(
        t, commitments=(t.mpk, t.commitments[2], t.commitments[1])
    ),
    "another source": lambda t: replace(t, source_version=t.source_version + 1),
    "another source of that version": lambda t: replace(t, source_hash=bytes(32)),
}


@pytest.mark.parametrize("case", FALSE_CONTENT)
def test_a_proposal_with_false_content_is_not_voted_for(who: Cast, version: KeyVersion, case: str) -> None:
    """It hashes to what it is, it keeps the master key, and yet it is not what was dealt: nobody prepares it, and the next
    coordinator's is certified.
    """
    session = who.at(10)
    coordinator = session.session.coordinator(0)
    others = [a for a in who.addresses if a != coordinator]
    table = Table(
        session, lambda s, _l, f: not (s == coordinator and f.kind is Kind.PROPOSAL), source=version
    )
    table.start()
    (true,) = table.said(coordinator, Kind.PROPOSAL)
    transcript = next(iter(table.seats[coordinator]._agreement._transcripts.values()))
    assert transcript.encoded == true.body[1]
    false = FALSE_CONTENT[case](transcript)
    frame = session.frame(coordinator, Kind.PROPOSAL, proposal_body(0, false.encoded, None))
    for listener in others:
        table.hear(listener, frame)
        assert not table.said(listener, Kind.VOTE), case
    for now in (4.0, 4.5, 5.0, 6.0):
        table.at(now)
    decided = {e.transcript for a in others for e in table.effects[a] if isinstance(e, Certified)}
    assert decided == {transcript}


def test_dealings_that_are_all_false_leave_the_old_version(
    who: Cast, version: KeyVersion, room: Room
) -> None:
    """Two of four dealers deal for another session and from another source: too few are left, nothing is proposed, everybody keeps
    what they hold, and the next boundary rotates it.
    """
    session, liars = who.at(10), who.addresses[:2]
    room.lets = lambda s, _l, f: not (s in liars and f.kind in (Kind.DEALING, Kind.SHARE, Kind.ANSWER))
    room.boundary(session.session)
    for liar, false_session in zip(liars, (session.session, who.later(30)), strict=True):
        polynomial = Polynomial.random(3, who.rng, version.shares[liar])
        dealing = reshare(false_session, liar, polynomial, version.transcript)
        if false_session == session.session:
            dealing = replace(dealing, source_version=dealing.source_version + 12)
        frame = session.frame(liar, Kind.DEALING, [version.transcript.version, dealing_body(dealing)[1]])
        for listener in who.addresses[2:]:
            room.hear(listener, frame)
    for now in (1.0, 2.0, 4.0, 5.0, 9.0):
        room.at(now)
    assert {e.accused for e in room.accused()} == set(liars)
    assert newest(room) == version.transcript
    assert room.shares(version.transcript) == dict(version.shares)
    room.lets = lambda _s, _l, _f: True
    room.boundary(who.later(20))
    assert newest(room).session == who.later(20).id
    check_shares(room, newest(room), secret_of(version.shares, 3))


def test_a_vote_that_does_not_verify_certifies_nothing(who: Cast, version: KeyVersion, room: Room) -> None:
    """The quorum's third vote is rubbish: its sender is named, no certificate comes of it, and with the fourth's there is one."""
    session = who.at(10)
    me, liar, late, _ = who.addresses
    room.lets = lambda s, l, f: not (f.kind is Kind.VOTE and s in (liar, late))
    room.boundary(session.session)
    vote = next(f for f in room.said(liar, Kind.VOTE) if f.body[1] == Phase.PREPARE)
    false = session.frame(liar, Kind.VOTE, vote_body(0, Phase.PREPARE, vote.body[2], bytes(64)))
    effects = [e.effect for e in room.hear(me, false)]
    (evidence,) = accusations(effects)
    assert (evidence.fault, evidence.accused) == (Fault.BAD_VOTE, liar)
    check_evidence(evidence, session.session)
    assert not only(Persist, effects)
    room.lets = lambda s, _l, f: not (f.kind is Kind.VOTE and s == liar)
    room.run(6.0)
    for honest in set(who.addresses) - {liar}:
        (certified,) = only(Certified, room.done(honest))
        assert certified.transcript.session == session.session.id  # type: ignore[attr-defined]
    check_shares(room, newest(room), secret_of(version.shares, 3))
