"""One session from boundary to certificate: who has a say, what is taken in, which versions are dealt from, what is served."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import pytest

from eigenkms.crypto import pvss
from eigenkms.crypto.shamir import Polynomial
from eigenkms.protocols.ceremony.base_versions import MAX_UNKNOWN
from eigenkms.protocols.ceremony.ceremony import Ceremony
from eigenkms.protocols.ceremony.effects import EraseJournalSecrets, RunJob, StoreCertifiedVersion
from eigenkms.protocols.ceremony.frame_filter import BYTES_A_PARTY
from eigenkms.protocols.ceremony.jobs import DealJob
from eigenkms.protocols.records.evidence import Fault
from eigenkms.protocols.records.evidence_check import check_evidence
from eigenkms.types import OperatorAddress
from eigenkms.wire.codec import MalformedError
from eigenkms.wire.dealing import UnboundBytesError
from eigenkms.wire.frames import Frame, FrameKind, WrongScopeError, build_frame
from eigenkms.wire.messages import (
    GENESIS,
    SESSION_KINDS,
    SourceRef,
    certificate_body,
    dealing_body,
    key_body,
    proposal_body,
    read_dealing,
    read_key,
    read_proposal,
    read_vote,
    ref_of,
    slot_of,
    view_change_body,
    vote_body,
)
from eigenkms.wire.transcript import decode_transcript
from eigenkms.wire.votes import Certificate, Phase
from tests.protocols.parts import base_versions_of, frame_log_of, keys_of
from tests.protocols.rooms import (
    GRACE,
    KeyVersion,
    Table,
    certify,
    done,
    encryption_key,
    jobs_of,
    key_frame,
    noted,
    seat_of,
    version_of,
)
from tests.protocols.support import Cast, accusations, broadcasts, cast, journal, secret_of


@pytest.fixture
def who() -> Cast:
    return cast(4).at(10)


@pytest.fixture
def version(who: Cast) -> KeyVersion:
    return version_of(who.at(-10))


def _seat(who: Cast, version: KeyVersion, me: OperatorAddress | None = None) -> Ceremony:
    me = me or who.addresses[0]
    return seat_of(who, me, sources=[version.held_by(me)])


# -- a rotation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_a_rotation_keeps_the_master_key(n: int) -> None:
    """T(source) dealings of the source's shares; the version is certified in one step if everybody is there."""
    who = cast(n)
    version = version_of(who)
    table = Table(who.at(10), source=version)
    table.start()
    assert len(table.decided()) == n
    made, source = table.certified(), version.transcript
    assert (made.mpk, made.source_version, made.source_hash) == (source.mpk, source.version, source.hash)
    assert (made.commitments == source.commitments) == (n == 1), "of one share there is no other"
    assert len(made.dealers) == source.threshold
    assert {key.number for key in made.keys if key} == {110}


def test_who_says_what_in_a_rotation(who: Cast, version: KeyVersion) -> None:
    """Each its key, then its dealing; nobody announces a digest. The leader is the first of the order."""
    table = Table(who, source=version)
    table.start()
    leader = who.session.coordinators[0]
    for address in who.addresses:
        said = [f.kind for f in broadcasts(table.effects[address], FrameKind.KEY)]
        assert said == [FrameKind.KEY]
        assert len(table.said(address, FrameKind.DEALING)) == 1
        assert not table.said(address, FrameKind.HASH)
        assert len(table.said(address, FrameKind.PROPOSAL)) == (address == leader)
        first = next(r for r in journal(table.effects[address]))
        assert (first.kind, first.body) == ("source", version.transcript.encoded)


def test_one_that_is_away_costs_a_grace_and_keeps_its_key(who: Cast, version: KeyVersion) -> None:
    """The others' dealings are enough; the version lists the key that the source lists for it."""
    away = who.session.coordinators[3]
    table = Table(who, source=version)
    table.start(without=[away])
    assert not table.decided()
    table.at(GRACE)
    assert len(table.decided()) == 3
    assert table.certified().key_of(away) == version.transcript.key_of(away)


def test_too_few_dealers_propose_nothing(who: Cast, version: KeyVersion) -> None:
    """Two of four do not have the secret among them, however long one waits; those that lack are named."""
    table = Table(who, source=version)
    table.start(without=who.addresses[2:])
    for now in (1.0, 10.0, 1000.0):
        table.at(now)
    assert table.seats[who.addresses[0]].status().missing == who.addresses[2:]
    assert not any(table.said(a, FrameKind.PROPOSAL) for a in table.seats)


def test_a_share_that_comes_late_is_dealt_from(who: Cast, version: KeyVersion) -> None:
    """Unless it is of another version, or the session is over."""
    me = who.addresses[0]
    other = version_of(who.at(-10))
    for source, superseded, deals in (
        (version.transcript, False, True),
        (other.transcript, False, False),
        (version_of(who.at(-20)).transcript, False, False),
        (version.transcript, True, False),
    ):
        seat = seat_of(who, me, sources=[replace(version.held_by(me), share=None)])
        assert not jobs_of(seat.start(0.0))
        if superseded:
            seat.on_next_boundary(0.1)
        effects = seat.add_share(source, version.shares[me], 0.2)
        assert bool([job for job in jobs_of(effects) if isinstance(job, DealJob)]) == deals


def test_a_session_that_ended_deals_and_verifies_no_more(who: Cast, version: KeyVersion) -> None:
    """Its job comes back too late; bodies are not asked for."""
    me = who.addresses[0]
    table = Table(who, source=version, works=lambda operator, _job: operator != me)
    table.start()
    seat = table.seats[me]
    job = next(job for job in jobs_of(table.effects[me]) if isinstance(job, DealJob))
    table.take(me, seat.on_next_boundary(0.1))
    assert not seat.on_next_boundary(0.2)
    assert seat.take_result(done(who, job), 0.3) == []  # type: ignore[arg-type]
    assert (seat.wanted_bodies, seat.needs_sync) == ((), False)
    assert seat.deadline() is None


# -- who has a say -----------------------------------------------------------------------------------------------


@pytest.fixture
def change() -> tuple[Cast, KeyVersion]:
    """Five are there; the first leaves, the last joins."""
    everybody = cast(5)
    return everybody.at(10, everybody.addresses[1:]), version_of(everybody.at(0, everybody.addresses[:4]))


@pytest.mark.parametrize("n", [1, 2, 4, 16])
def test_a_frame_is_as_large_as_its_session_can_need(n: int) -> None:
    """A proposal that shows everybody's key, the largest there is, fits; one that is stuffed for other sessions does not."""
    who = cast(n)
    transcript = version_of(who, source=2**40).transcript
    leader = who.session.coordinator(2**31)
    keys = tuple(key_frame(who, member).encoded for member in who.addresses)
    ceremony = seat_of(who, who.addresses[0] if n == 1 else next(a for a in who.addresses if a != leader))

    def proposal(encoded: bytes) -> Frame:
        justified = certify(who, transcript)
        body = proposal_body(2**31, GENESIS, encoded, justified, keys)
        return who.frame(leader, FrameKind.PROPOSAL, body)

    largest = proposal(transcript.encoded)
    assert ceremony.should_verify(largest)
    room = BYTES_A_PARTY * (n + 4) - len(largest.encoded)
    assert room > BYTES_A_PARTY
    assert ceremony.should_verify(proposal(transcript.encoded + bytes(room)))
    assert not ceremony.should_verify(proposal(transcript.encoded + bytes(room + 1)))


def test_a_frame_may_name_all_dealers_of_a_larger_set() -> None:
    """A single operator takes over from many, whose dealings its transcript names."""
    everybody = cast(128)
    source = version_of(everybody)
    who = everybody.at(10, everybody.addresses[:1])
    me, other = everybody.addresses[:2]
    made = version_of(who, source=int(source.transcript.version)).transcript
    transcript = replace(made, dealers=tuple((a, bytes(32)) for a in everybody.addresses))
    body = certificate_body(transcript.encoded, certify(who, transcript))
    assert _seat(who, source, me).should_verify(
        everybody.frame(other, FrameKind.CERTIFICATE, body, session=who.session)
    )


def test_what_a_member_may_say_and_what_a_leaver(change: tuple[Cast, KeyVersion]) -> None:
    """By kind: a holder that is no recipient deals, passes certificates on and pulls; a joiner's dealing is not wanted."""
    who, version = change
    seat = _seat(who, version, who.addresses[0])
    leaver, member, joiner = version.transcript.recipients.addresses[0], who.addresses[1], who.addresses[-1]
    source = ref_of(version.transcript)
    certificate = certify(who, version.transcript)
    bodies = {
        FrameKind.KEY: key_body(*_published(who, leaver)),
        FrameKind.HASH: [bytes(32)],
        FrameKind.DEALING: dealing_body(source, b"x"),
        FrameKind.PROPOSAL: proposal_body(0, source, None, None),
        FrameKind.VOTE: vote_body(0, Phase.PREPARE, bytes(32), bytes(64)),
        FrameKind.VIEW_CHANGE: view_change_body(1, None),
        FrameKind.CERTIFICATE: certificate_body(None, certificate),
    }
    assert set(bodies) == SESSION_KINDS
    for kind, body in bodies.items():
        leads = kind is not FrameKind.PROPOSAL or member == base_versions_of(seat).leader(0, source)
        assert seat.should_verify(who.frame(member, kind, body)) == leads
        frame = who.frame(leaver, kind, body)
        if kind in (FrameKind.DEALING, FrameKind.CERTIFICATE):
            assert seat.should_verify(frame)
        else:
            with pytest.raises(WrongScopeError):
                seat.should_verify(frame)
    stranger = build_frame(
        who.keys[leaver],
        kind=FrameKind.DEALING,
        cluster=who.session.cluster,
        sender=OperatorAddress(bytes(20)),
        session=who.session.id,
        body=bodies[FrameKind.DEALING],
    )
    with pytest.raises(WrongScopeError):
        seat.should_verify(stranger)
    assert joiner not in base_versions_of(seat).current.dealers
    assert not seat.should_verify(who.frame(joiner, FrameKind.DEALING, bodies[FrameKind.DEALING]))


def _published(who: Cast, owner: OperatorAddress) -> tuple[bytes, bytes]:
    message = read_key(key_frame(who, who.addresses[0]))
    return encryption_key(who, owner).public, message.proof


def test_whose_key_verifies_what(change: tuple[Cast, KeyVersion]) -> None:
    """Recipients by the set of the session, holders that left by that of the source; nobody else has a say."""
    who, version = change
    seat = _seat(who, version, who.addresses[0])
    for address in {*who.addresses, *version.shares}:
        assert seat.key_of(address) == who.keys[address].g2
    assert seat.key_of(OperatorAddress(bytes(20))) is None


def test_a_ceremony_wants_only_what_is_its_own(who: Cast, version: KeyVersion) -> None:
    """Neither what it knows, nor frames of other kinds, for one recipient, of other clusters or sessions."""
    me, peer, *_ = who.addresses
    seat = _seat(who, version)
    (own,) = broadcasts(seat.start(0.0), FrameKind.KEY)
    known = key_frame(who, peer)
    seat.receive([known], 0.1)
    for frame in (
        own,
        known,
        who.frame(peer, FrameKind.VIEW_CHANGE, view_change_body(1, None), recipient=me),
        who.frame(peer, FrameKind.SYNC, [b""]),
        who.frame(peer, FrameKind.PEER_RECORD, []),
        who.frame(peer, FrameKind.REACH, []),
    ):
        assert not seat.should_verify(frame)
    for session in (who.later(), replace(who.session, cluster=bytes(32))):
        with pytest.raises(WrongScopeError):
            seat.should_verify(key_frame(who, peer, session=session))


@pytest.mark.parametrize("kind", sorted(SESSION_KINDS))
def test_a_malformed_body_is_refused_before_it_is_verified(
    who: Cast, version: KeyVersion, kind: FrameKind
) -> None:
    """Of each kind, and in a genesis as well."""
    for seat in (_seat(who, version), seat_of(who, who.addresses[0])):
        for body in (
            [],
            [b""],
            [None],
            [0],
            ["text"],
            [[]],
            [0, 0],
            [0, b"", b""],
            [None, b""],
            [b"", b"", 0, 0, 0],
        ):
            with pytest.raises(MalformedError):
                seat.should_verify(who.frame(who.addresses[1], kind, body))


# -- evidence --------------------------------------------------------------------------------------------------


def _twice(who: Cast, version: KeyVersion) -> dict[FrameKind, tuple[list[object], list[object]]]:
    source = ref_of(version.transcript)
    leader = who.session.coordinators[0]
    other = pvss.EncryptionKey.generate(who.rng)
    second = key_frame(who, leader, other).body
    return {
        FrameKind.KEY: (key_frame(who, leader).body, second),
        FrameKind.HASH: ([bytes(32)], [b"\x01" * 32]),
        FrameKind.DEALING: (dealing_body(source, b"x"), dealing_body(source, b"y")),
        FrameKind.PROPOSAL: (proposal_body(0, source, None, None), proposal_body(0, source, b"", None)),
        FrameKind.VOTE: tuple(vote_body(0, Phase.PREPARE, bytes([i]) * 32, bytes(64)) for i in range(2)),  # type: ignore[dict-item]
        FrameKind.VIEW_CHANGE: (
            view_change_body(1, None),
            view_change_body(1, certify(who, version.transcript)),
        ),
    }


@pytest.mark.parametrize("kind", sorted(SESSION_KINDS - {FrameKind.CERTIFICATE}))
def test_two_different_frames_in_one_slot_are_evidence(
    who: Cast, version: KeyVersion, kind: FrameKind
) -> None:
    """Of every kind that is said once. The first stays, and a third one is not wanted."""
    leader = who.session.coordinators[0]
    me = next(a for a in who.addresses if a != leader)
    seat = _seat(who, version, me)
    seat.start(0.0)
    first, second = (who.frame(leader, kind, body) for body in _twice(who, version)[kind])
    found = accusations(seat.receive([first, first], 0.1))
    assert Fault.EQUIVOCATION not in [evidence.fault for evidence in found]
    assert seat.should_verify(second)
    (evidence,) = accusations(seat.receive([second], 0.2))
    assert (evidence.fault, evidence.accused, evidence.frames) == (
        Fault.EQUIVOCATION,
        leader,
        (first, second),
    )
    check_evidence(evidence, who.session)
    assert slot_of(first) == slot_of(second)
    assert list(frame_log_of(seat)).count(first) == 1
    assert second not in list(frame_log_of(seat))
    assert not seat.should_verify(second)


def test_whoever_deals_twice_is_in_no_draft(who: Cast, version: KeyVersion) -> None:
    """The first dealing, which may be good, is not counted by who knows of the second."""
    liar, me = who.session.coordinators[:2]
    table = Table(who, lambda _s, _l, f: f.kind is not FrameKind.PROPOSAL, source=version)
    table.start()
    (frame,) = table.said(liar, FrameKind.DEALING)
    second = who.frame(liar, FrameKind.DEALING, dealing_body(ref_of(version.transcript), b"x"))
    assert accusations(table.hear(me, second))
    draft = base_versions_of(table.seats[me]).draft()
    assert draft is not None
    assert liar not in {d for d, _ in draft.transcript.dealers}
    assert read_dealing(frame).source == ref_of(version.transcript)


def test_frames_in_another_order_come_to_the_same(who: Cast, version: KeyVersion) -> None:
    """All that was said, the other way round, to one that heard nothing: the same version."""
    me = who.addresses[0]
    table = Table(who, lambda s, lis, _f: lis != me, source=version)
    table.start()
    table.at(GRACE)
    made = table.certified()
    assert me not in table.decided()
    frames = [f for a in who.addresses[1:] for kind in SESSION_KINDS for f in table.said(a, kind)]
    for frame in reversed(frames):
        table.hear(me, frame)
    assert [e.transcript for e in table.effects[me] if isinstance(e, StoreCertifiedVersion)] == [made]


# -- pulling -----------------------------------------------------------------------------------------------------


def test_a_sync_request_is_answered_to_members_only(who: Cast, version: KeyVersion) -> None:
    """Outsiders, other clusters and other sessions get nothing; what the asker has is left out."""
    stranger = cast(4, seed="other")
    table = Table(who, source=version)
    table.start()
    seat, peer = table.seats[who.addresses[0]], who.addresses[1]
    body = seat_of(who, peer).sync_request().body
    foreign = build_frame(
        stranger.keys[stranger.addresses[0]],
        kind=FrameKind.SYNC,
        cluster=who.session.cluster,
        sender=stranger.addresses[0],
        session=who.session.id,
        body=body,
    )
    for request in (
        foreign,
        who.frame(peer, FrameKind.SYNC, body, session=who.later()),
        who.frame(peer, FrameKind.SYNC, body, recipient=who.addresses[2]),
    ):
        with pytest.raises(WrongScopeError):
            seat.sync_reply(request)
    with pytest.raises(MalformedError):
        seat.sync_reply(who.frame(peer, FrameKind.SYNC, [b"x"]))
    everything = seat.sync_reply(who.frame(peer, FrameKind.SYNC, [b""]))
    assert {f.kind for f in everything} == SESSION_KINDS - {FrameKind.HASH, FrameKind.VIEW_CHANGE}
    assert [f.kind for f in seat.sync_reply(table.seats[peer].sync_request())] == [FrameKind.CERTIFICATE]


def test_junk_that_cannot_be_refused_does_not_stop_pulling(who: Cast, version: KeyVersion) -> None:
    """Certificates that are none, different ones for each member and each as large as half an answer, while nothing but pulling
    works between the others.
    """
    *honest, liar = who.addresses
    table = Table(who, lambda _sender, _listener, _frame: False, source=version)
    table.start()
    false = Certificate(who.session.id, 0, Phase.COMMIT, bytes(32), b"\0", bytes(64))
    for seat, member in enumerate(honest):
        for number in range(4):
            junk = certificate_body(bytes([seat, number]) + bytes(255_000), false)
            table.hear(member, who.frame(liar, FrameKind.CERTIFICATE, junk))
    for step in range(1, 80):
        table.at(step / 4)
        for asker, asked in permutations(honest, 2):
            for frame in table.seats[asked].sync_reply(table.seats[asker].sync_request()):
                table.hear(asker, frame)
    assert set(table.decided()) >= set(honest)


def test_bodies_are_fetched_and_served(who: Cast, version: KeyVersion) -> None:
    """Those that are verified, to anybody; wrong bytes are refused and asked for again."""
    me, peer, *_ = who.addresses
    table = Table(who, lambda _s, _l, f: f.kind is not FrameKind.PROPOSAL, source=version)
    table.serves = lambda asker, _name: asker != me
    table.start()
    seat = table.seats[me]
    wanted = seat.wanted_bodies
    assert len(wanted) == 3
    name = wanted[0]
    assert seat.body(name) is None
    assert seat.dealing(name) is None
    body = table.seats[peer].body(name)
    assert body is not None
    with pytest.raises(UnboundBytesError):
        seat.take_body(name, body[1:], 0.1)
    assert seat.wanted_bodies == wanted
    effects = seat.take_body(name, body, 0.1)
    assert [type(e) for e in effects if isinstance(e, RunJob)] == [RunJob]
    assert seat.body(name) is None, "not verified yet"
    table.take(me, effects)
    assert seat.body(name) == body
    dealing = seat.dealing(name)
    assert dealing is not None
    assert dealing.header.name == name


# -- several sources -------------------------------------------------------------------------------------------


class Two:
    """A rotation from an old version, in which a newer one turns up."""

    def __init__(self, lets: Sequence[FrameKind] = ()) -> None:
        self.first = cast(4)
        self.old = version_of(self.first)
        self.cast = self.first.at(20)
        self.new = _next_version(self.first.at(10), self.old)
        held = set(lets)
        self.table = Table(self.cast, lambda _s, _l, f: f.kind not in held, source=self.old)
        self.leader = self.cast.session.coordinators[0]

    def add(self, address: OperatorAddress, now: float = 0.0) -> None:
        self.table.take(address, self.table.seats[address].add_source(self.new.held_by(address), now))


def _next_version(who: Cast, old: KeyVersion, older: dict[OperatorAddress, int] | None = None) -> KeyVersion:
    """A later version with the same master key."""
    secret = secret_of(old.shares, old.transcript.threshold)
    polynomial = Polynomial.random(who.session.threshold, who.rng, secret)
    return version_of(who, polynomial, source=int(old.transcript.version), older=older)


def test_a_higher_source_that_turns_up_is_dealt_from_too() -> None:
    """Each deals from both; the proposal is from the higher one; the sources are journaled before anything is dealt from them."""
    two = Two([FrameKind.DEALING])
    two.table.start()
    for address in two.cast.addresses:
        two.add(address)
    for address in two.cast.addresses:
        seat = two.table.seats[address]
        assert seat.sources == (two.old.transcript, two.new.transcript)
        named = [r.body for r in journal(two.table.effects[address]) if r.kind == "source"]
        assert named == [two.old.transcript.encoded, two.new.transcript.encoded]
        dealt = {read_dealing(f).source for f in two.table.said(address, FrameKind.DEALING)}
        assert dealt == {ref_of(s) for s in seat.sources}
    two.table.lets = lambda _s, _l, _f: True
    for step in range(1, 8):
        two.table.at(step / 4)
        for address in two.cast.addresses:
            two.table.pull(address)
    made = two.table.certified()
    assert made.source_hash == two.new.transcript.hash
    again = two.table.sit(two.leader, journal(two.table.effects[two.leader]))
    assert again.sources == (two.old.transcript,), "the caller says which it still has"


def test_what_others_propose_from_a_lower_source_may_be_prepared() -> None:
    """They had not heard of the higher one when they proposed; dealing from that too does not stop anybody from voting."""
    two = Two([FrameKind.PROPOSAL, FrameKind.VOTE])
    two.table.start()
    (proposal,) = two.table.said(two.leader, FrameKind.PROPOSAL)
    me = two.cast.session.coordinators[1]
    two.add(me)
    assert read_proposal(proposal).source == ref_of(two.old.transcript)
    effects = two.table.hear(me, proposal)
    assert broadcasts(effects, FrameKind.VOTE)


def test_of_two_proposals_in_a_view_that_from_the_better_source_is_prepared() -> None:
    """Each source has its own leader, so one view may have two proposals, and a member votes once."""
    two = Two([FrameKind.PROPOSAL, FrameKind.VOTE])
    first, second, me, _ = two.cast.session.coordinators
    two.new = _next_version(two.first.at(10), two.old, older={first: 90})
    two.table.start()
    for address in two.cast.addresses:
        two.add(address)
    for address in two.cast.addresses:
        two.table.pull(address)
    two.table.at(GRACE)
    proposals = [two.table.said(leader, FrameKind.PROPOSAL)[0] for leader in (first, second)]
    made = [read_proposal(frame) for frame in proposals]
    assert [p.source for p in made] == [ref_of(two.old.transcript), ref_of(two.new.transcript)]
    assert {p.view for p in made} == {0}
    seat = two.table.seats[me]
    assert all(seat.should_verify(frame) for frame in proposals)
    (vote,) = broadcasts(seat.receive(proposals, GRACE), FrameKind.VOTE)
    assert made[1].transcript is not None
    assert read_vote(vote).hash == decode_transcript(made[1].transcript).hash


def test_a_leader_proposes_from_the_source_that_makes_it_one() -> None:
    """A good transcript from another source, named as if it were from its own, is not prepared; from that source's leader it is."""
    two = Two([FrameKind.PROPOSAL, FrameKind.VOTE])
    first, second, me, _ = two.cast.session.coordinators
    two.new = _next_version(two.first.at(10), two.old, older={first: 90})
    two.table.start()
    (right,) = two.table.said(first, FrameKind.PROPOSAL)
    two.add(me)
    made = read_proposal(right)
    body = proposal_body(0, ref_of(two.new.transcript), made.transcript, None, made.keys)
    assert not broadcasts(
        two.table.hear(me, two.cast.frame(second, FrameKind.PROPOSAL, body)), FrameKind.VOTE
    )
    assert broadcasts(two.table.hear(me, right), FrameKind.VOTE)


def test_below_the_floor_nothing_fresh_is_proposed_or_prepared() -> None:
    """Who committed to a version prepares no fresh transcript from an older one; one that others prepared it may."""
    two = Two([FrameKind.PROPOSAL, FrameKind.VOTE])
    two.table.start()
    (proposal,) = two.table.said(two.leader, FrameKind.PROPOSAL)
    made = read_proposal(proposal).transcript
    assert made is not None
    me = two.cast.session.coordinators[1]
    seat = two.table.seats[me]
    floor = ref_of(two.new.transcript)
    seat.raise_floor(floor)
    seat.raise_floor(GENESIS)
    assert not broadcasts(two.table.hear(me, proposal), FrameKind.VOTE)
    assert base_versions_of(seat).draft() is None
    transcript = decode_transcript(made)
    prepared = certify(two.cast, transcript, Phase.PREPARE)
    body = proposal_body(1, ref_of(two.old.transcript), made, prepared)
    leader = two.cast.session.coordinators[1]
    assert leader == me
    two.table.now = 2.0
    change = [
        two.cast.frame(a, FrameKind.VIEW_CHANGE, view_change_body(1, prepared))
        for a in two.cast.addresses
        if a != me
    ]
    two.table.hear(me, *change)
    (justified,) = two.table.said(me, FrameKind.PROPOSAL)
    assert justified.body == body
    assert len(two.table.said(me, FrameKind.VOTE)) == 1


@pytest.mark.parametrize(
    ("above", "same", "drafts"), [(-1, False, True), (0, True, True), (0, False, False), (1, False, False)]
)
def test_a_ceremony_may_begin_with_a_floor(
    who: Cast, version: KeyVersion, above: int, same: bool, drafts: bool
) -> None:
    """At the source itself or below it proposes; with a higher one, or another transcript of the same version, it does not."""
    me, ref = who.addresses[0], ref_of(version.transcript)
    at = SourceRef(ref.version + above, ref.hash if same else bytes(32))
    table = Table(who, lambda _s, _l, f: f.kind is not FrameKind.PROPOSAL, source=version)
    table.seats[me] = seat_of(who, me, sources=[version.held_by(me)], floor=at)
    table.start()
    assert (base_versions_of(table.seats[me]).draft() is not None) == drafts


def test_a_source_is_added_to_no_session_that_is_over_or_for_which_it_is_none() -> None:
    """Decided, left behind, silent or bound; the same version, and one from this boundary or after it."""
    two = Two()
    me = two.cast.addresses[0]
    own = version_of(two.cast, source=int(two.old.transcript.version))
    after = version_of(two.cast.at(10), source=int(two.old.transcript.version))
    seat = two.table.seats[me]
    seat.start(0.0)
    for version in (two.old, own, after):
        assert seat.add_source(version.held_by(me), 0.1) == []
    assert seat.add_source(two.new.held_by(me), 0.1)
    over = Two()
    over.table.seats[me].start(0.0)
    over.table.seats[me].on_next_boundary(0.1)
    decided = Two()
    decided.table.start()
    silent = seat_of(two.cast, me, sources=[two.old.held_by(me)], listen_only=True)
    for closed in (over.table.seats[me], decided.table.seats[me], silent):
        assert closed.add_source(two.new.held_by(me), 0.2) == []


def test_another_transcript_of_the_same_version_is_dealt_from_as_well() -> None:
    """A session may prepare two. Whoever deals from the other one is remembered; once it is known, what is proposed is from it."""
    two = Two()
    me, peer, *_ = two.cast.addresses
    sibling = _next_version(two.first, two.old)
    seat = two.table.seats[me]
    seat.start(0.0)
    other = ref_of(sibling.transcript)
    frame = two.cast.frame(peer, FrameKind.DEALING, dealing_body(other, b"x"))
    assert other.version == two.old.transcript.version
    assert not seat.should_verify(frame)
    assert seat.unknown_sources == {peer: other}
    jobs = jobs_of(seat.add_source(sibling.held_by(me), 0.1))
    assert [job.source for job in jobs if isinstance(job, DealJob)] == [other]
    assert seat.should_verify(frame)
    assert base_versions_of(seat).source == other


def test_senders_of_unknown_sources_are_remembered_and_bounded(who: Cast, version: KeyVersion) -> None:
    """A flood of made-up senders keeps no member from being remembered; signatures are not verified yet."""
    seat, better = _seat(who, version), SourceRef(int(version.transcript.version) + 1, bytes(32))
    liars = [OperatorAddress(i.to_bytes(20, "big")) for i in range(MAX_UNKNOWN + 5)]
    for sender in (*liars, who.addresses[1]):
        frame = replace(
            who.frame(who.addresses[2], FrameKind.DEALING, dealing_body(better, b"x")), sender=sender
        )
        assert not seat.should_verify(frame)
    assert set(seat.unknown_sources) == {*liars[:MAX_UNKNOWN], who.addresses[1]}


def test_dealings_from_an_unknown_source_are_asked_for_again_once_it_is_known() -> None:
    """Not kept before, and whose word they are is remembered if the source is a higher one."""
    two = Two()
    me, peer, *_ = two.cast.addresses
    seat = two.table.seats[me]
    seat.start(0.0)
    new, old = ref_of(two.new.transcript), ref_of(two.old.transcript)
    for source in (new, SourceRef(old.version - 1, old.hash)):
        assert not seat.should_verify(two.cast.frame(peer, FrameKind.DEALING, dealing_body(source, b"x")))
    assert seat.unknown_sources == {peer: new}
    seat.add_source(two.new.held_by(me), 0.1)
    assert seat.unknown_sources == {}
    assert seat.should_verify(two.cast.frame(peer, FrameKind.DEALING, dealing_body(new, b"x")))


# -- a genesis that becomes a rotation ---------------------------------------------------------------------------


def test_a_genesis_becomes_a_rotation_when_a_version_turns_up() -> None:
    """A joiner that had heard of none; what it heard of the rotation before, it reads again, and its next life knows."""
    everybody = cast(5)
    joiner = everybody.addresses[4]
    version = version_of(everybody.at(0, everybody.addresses[:4]))
    who = everybody.at(10)
    table = Table(who, source=version)
    table.seats[joiner] = seat_of(who, joiner)
    table.start()
    seat = table.seats[joiner]
    assert not seat.is_rotation
    assert set(seat.unknown_sources.values()) == {ref_of(version.transcript)}
    for step in range(1, 5):
        table.at(step / 4)
    assert table.decided() == list(everybody.addresses[:4])
    table.pull(joiner)
    assert not seat.decided
    table.take(joiner, seat.add_source(version.held_by(joiner), table.now))
    assert seat.is_rotation
    assert seat.decided, "certificate and transcript had come before"
    records = journal(table.effects[joiner])
    assert [r.body for r in records if r.kind == "source"] == [version.transcript.encoded]
    again = seat_of(who, joiner, records=records, sources=[version.held_by(joiner)])
    again.start(9.0)
    assert again.decided


def test_a_polynomial_that_a_crash_left_behind_is_destroyed() -> None:
    """The journal named the source, and the crash came before the erasure: no dealing will be made from it any more."""
    everybody = cast(4)
    version = version_of(everybody)
    who = everybody.at(10)
    me = who.addresses[0]
    seat = seat_of(who, me)
    records = journal([*seat.start(0.0), *seat.add_source(version.held_by(me), 0.1)])
    assert any(record.secret for record in records)
    again = seat_of(who, me, records=records, sources=[version.held_by(me)])
    assert again.start(1.0).count(EraseJournalSecrets(who.session.id)) == 1


def test_a_genesis_that_binds_me_stays_one() -> None:
    """I voted for its key: whatever version turns up, I am bound to it until it is closed."""
    everybody = cast(4)
    version = version_of(everybody)
    who = everybody.at(10)
    me = who.addresses[0]
    table = Table(who, lambda _s, _l, f: f.kind is not FrameKind.VOTE)
    table.start()
    seat = table.seats[me]
    assert seat.has_prepared_key
    assert seat.add_source(version.held_by(me), 0.1) == []
    assert not seat.is_rotation


# -- decisions ---------------------------------------------------------------------------------------------------


def test_digests_say_nothing_in_a_rotation(who: Cast, version: KeyVersion) -> None:
    """A joiner that began a genesis announces one; the others are in a rotation."""
    seat = _seat(who, version)
    seat.start(0.0)
    assert seat.receive([who.frame(who.addresses[1], FrameKind.HASH, [bytes(32)])], 0.1) == []


def test_a_decision_from_elsewhere_is_taken_and_announced(who: Cast, version: KeyVersion) -> None:
    """Once; who asks gets it as a frame. With a certificate of others nothing happens."""
    me = who.addresses[0]
    table = Table(who, source=version)
    table.start()
    made = table.certified()
    seat = _seat(who, version)
    seat.start(0.0)
    assert seat.decide(made, certify(who, version.transcript), 0.1) == []
    effects = seat.decide(made, certify(who, made), 0.2)
    assert [r.kind for r in journal(effects)] == ["transcript", "certificate"]
    assert noted(effects) == ["certified"]
    assert (seat.decided, seat.needs_sync, seat.must_stay_answerable) == (True, False, True)
    assert seat.decision is not None
    assert seat.decision.transcript == made
    assert seat.tick(1.0) == []
    reply = seat.sync_reply(who.frame(who.addresses[1], FrameKind.SYNC, [b""]))
    assert [f.body[0] for f in reply if f.kind is FrameKind.CERTIFICATE] == [made.encoded]
    assert me == seat.me


def test_a_key_is_published_by_recipients_that_have_one(change: tuple[Cast, KeyVersion]) -> None:
    """Not by a leaver; nobody else's; a key with a bad proof is dropped."""
    who, version = change
    leaver = version.transcript.recipients.addresses[0]
    assert not broadcasts(_seat(who, version, leaver).start(0.0), FrameKind.KEY)
    me, peer, *_ = who.addresses
    seat = _seat(who, version, me)
    (frame,) = broadcasts(seat.start(0.0), FrameKind.KEY)
    assert read_key(frame).public == encryption_key(who, me).public
    forged = who.frame(peer, FrameKind.KEY, key_body(encryption_key(who, peer).public, bytes(80)))
    seat.receive([forged], 0.1)
    assert peer not in keys_of(seat)
    assert me in keys_of(seat)
