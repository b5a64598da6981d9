"""The dealings that make a master key: announced before any is seen, by all or by a lowered quorum."""

from dataclasses import replace

import pytest

from eigenkms.crypto.shamir import Polynomial
from eigenkms.protocols.ceremony.dealing_pool import DealingStage
from eigenkms.protocols.ceremony.drafter import PATIENCE_WINDOWS
from eigenkms.protocols.ceremony.effects import StoreCertifiedVersion
from eigenkms.protocols.ceremony.jobs import DealJob, DealResult
from eigenkms.protocols.records.evidence import Fault
from eigenkms.protocols.records.evidence_check import check_evidence
from eigenkms.types import OperatorAddress
from eigenkms.wire.dealing import build_dealing, encode_body
from eigenkms.wire.frames import Frame, FrameKind
from eigenkms.wire.messages import (
    GENESIS,
    commitments_digest,
    dealing_body,
    read_dealing,
    read_hash,
)
from tests.protocols.parts import base_versions_of, dealing_pool_of, frame_log_of
from tests.protocols.rooms import GRACE, Table, done, encryption_key, jobs_of, key_frame, noted
from tests.protocols.support import Cast, accusations, cast, header_of, journal

PATIENCE = PATIENCE_WINDOWS
"""Seconds, as a window is one."""


@pytest.fixture
def who() -> Cast:
    return cast(4)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_all_operators_agree_on_one_key(n: int) -> None:
    """With everybody there nothing is waited for; all deal, all dealings count."""
    table = Table(cast(n))
    table.start()
    assert len(table.decided()) == n
    made = table.certified()
    assert made.source_version == 0
    assert [d for d, _ in made.dealers] == list(table.cast.addresses)
    assert all(key is not None for key in made.keys)


@pytest.mark.parametrize("kind", [FrameKind.HASH, FrameKind.KEY])
def test_nobody_deals_before_all_have_announced_and_published_a_key(who: Cast, kind: FrameKind) -> None:
    """A dealing is chosen before any other is seen: with one digest or one key missing, nothing else has been said.

    The dealing of the late one, which has all, shows its key.
    """
    late = who.addresses[2]
    table = Table(who, lambda s, _l, f: s != late or f.kind not in (kind, FrameKind.DEALING))
    table.start()
    table.at(100.0)
    assert [a for a in who.addresses if table.said(a, FrameKind.DEALING)] == [late], "it had those of all"
    assert table.seats[who.addresses[0]].status().missing == (late,)
    table.lets = lambda _s, _l, _f: True
    for address in who.addresses:
        table.pull(address)
    table.at(100.5)
    assert len(table.decided()) == 4


def test_a_polynomial_is_durable_and_secret_before_its_digest_is_said(who: Cast) -> None:
    """And what is dealt is what was announced."""
    table, me = Table(who), who.addresses[0]
    table.start()
    records = journal(table.effects[me])
    kinds = [r.kind for r in records]
    assert kinds[:4] == ["frame", "polynomial", "frame", "revealed"]
    assert [r.kind for r in records if r.secret] == ["polynomial"]
    polynomial = Polynomial.from_bytes(records[1].body)
    (announced,), (dealt,) = table.said(me, FrameKind.HASH), table.said(me, FrameKind.DEALING)
    assert read_hash(announced) == commitments_digest(polynomial.commitments())
    assert header_of(dealt).commitments == polynomial.commitments()
    assert (header_of(dealt).is_genesis, read_dealing(dealt).source) == (True, GENESIS)
    assert len(header_of(dealt).newcomers) == 4, "all are newcomers"


def test_two_members_that_publish_one_key_stop_nobody(who: Cast) -> None:
    """They can, if they work together: each proves that it holds the secret. All others deal, and to both of them."""
    *honest, one, other = who.addresses
    shared = encryption_key(who, one)
    table = Table(who, lambda s, _l, f: f.kind is not FrameKind.KEY or s in honest)
    table.start()
    for listener in honest:
        table.hear(listener, key_frame(who, one, shared), key_frame(who, other, shared))
    for dealer in honest:
        (dealt,) = table.said(dealer, FrameKind.DEALING)
        assert header_of(dealt).rows == 4
        assert base_versions_of(table.seats[honest[0]]).current.get(dealer).stage is DealingStage.VALID  # type: ignore[union-attr]


@pytest.mark.parametrize("cut", range(7))
def test_a_crash_between_the_records_of_a_step_changes_no_word(who: Cast, cut: int) -> None:
    """After any prefix of the journal, the next life announces the same digest and deals the same polynomial."""
    me = who.addresses[1]
    table = Table(who)
    table.start()
    records = journal(table.effects[me])
    announced = [r for r in records[: cut + 1] if r.kind == "polynomial"]
    again = Table(who)
    again.seats[me] = again.sit(me, records[:cut])
    again.start()
    assert len(again.decided()) == 4
    (frame,) = again.said(me, FrameKind.DEALING)
    if cut > 1:
        assert announced
        assert header_of(frame).commitments == Polynomial.from_bytes(announced[0].body).commitments()
        assert {f.key for f in again.said(me, FrameKind.HASH)} <= {
            f.key for f in table.said(me, FrameKind.HASH)
        } or cut == 2


def test_the_next_life_deals_to_all_and_not_only_to_those_whose_keys_are_back(who: Cast) -> None:
    """Who counts was fixed and journaled, the keys of the others were not: they are pulled first."""
    me = who.addresses[1]
    table = Table(who, works=lambda operator, job: operator != me or not isinstance(job, DealJob))
    table.start()
    assert [r.kind for r in journal(table.effects[me])][-1] == "revealed"
    table.works = lambda _operator, _job: True
    table.restart(me)
    assert not table.said(me, FrameKind.DEALING)
    table.pull(me)
    (frame,) = table.said(me, FrameKind.DEALING)
    assert header_of(frame).rows == 4
    assert len(table.decided()) == 4


# -- a lowered quorum --------------------------------------------------------------------------------------------


def test_a_lowered_quorum_waits_for_the_rest_with_patience() -> None:
    """Three of four are enough, but not before a window is over; then their dealings make the key, without the fourth."""
    who = cast(4, quorum=3)
    away = who.addresses[3]
    table = Table(who)
    table.start(without=[away])
    table.at(PATIENCE - 0.01)
    assert not table.said(who.addresses[0], FrameKind.DEALING)
    table.at(PATIENCE)
    assert noted(table.effects[who.addresses[0]])[0] == "announced"
    for step in range(1, 8):
        table.at(PATIENCE + step / 4)
    assert table.decided() == list(who.addresses[:3])
    made = table.certified()
    assert [d for d, _ in made.dealers] == list(who.addresses[:3])
    assert made.keys[3] is None


def test_a_lowered_quorum_with_everybody_there_waits_for_nothing() -> None:
    table = Table(cast(4, quorum=3))
    table.start()
    assert len(table.decided()) == 4
    assert len(table.certified().dealers) == 3


def test_whoever_announces_after_the_others_dealt_does_not_count() -> None:
    """It may have seen their dealings: a transcript that names it is not supported, and its dealing is in no draft."""
    who = cast(4, quorum=3)
    late = who.addresses[3]
    table = Table(who, lambda s, _l, f: f.kind not in (FrameKind.PROPOSAL, FrameKind.VOTE) and s != late)
    table.start()
    table.at(PATIENCE)
    me = who.addresses[0]
    dealings = base_versions_of(table.seats[me]).current
    table.lets = lambda _s, _l, f: f.kind not in (FrameKind.PROPOSAL, FrameKind.VOTE)
    for address in who.addresses:
        table.pull(address)
    table.at(PATIENCE + 0.01)
    known = dealings.get(late)
    assert known is not None
    assert known.stage is DealingStage.VALID
    draft = dealings.draft()
    assert draft is not None
    assert late not in {d for d, _ in draft.transcript.dealers}
    chosen = (*who.addresses[1:3], late)
    commitments = dealing_pool_of(dealings).combine(chosen)
    names = tuple((a, dealings.get(a).header.name) for a in chosen)  # type: ignore[union-attr]
    other = replace(draft.transcript, dealers=names, commitments=commitments, mpk=commitments[0])
    assert dealings.holds(other)
    assert not dealings.supports(other, draft.keys, 1e6)
    assert dealings.supports(draft.transcript, draft.keys, 1e6)


def test_a_proposal_before_anything_is_revealed_is_not_supported() -> None:
    """Nobody's dealing counts for one that has not fixed whose may."""
    who = cast(4, quorum=3)
    me = who.session.coordinators[1]
    table = Table(
        who, lambda _s, lis, f: lis != me or f.kind in (FrameKind.KEY, FrameKind.DEALING, FrameKind.PROPOSAL)
    )
    table.start()
    table.at(PATIENCE)
    table.at(PATIENCE + GRACE)
    made, seat = table.certified(), table.seats[me]
    assert (seat.decided, base_versions_of(seat).supports(made, (), 1e6)) == (False, False)
    assert not table.said(me, FrameKind.DEALING)
    assert not table.said(me, FrameKind.VOTE)


# -- what is taken in --------------------------------------------------------------------------------------------


def test_a_dealing_that_comes_before_its_announcement_waits_for_it(who: Cast) -> None:
    """Frames arrive in any order."""
    me, early = who.addresses[:2]
    held: list[Frame] = []

    def lets(sender: OperatorAddress, listener: OperatorAddress, frame: Frame) -> bool:
        if (sender, listener, frame.kind) == (early, me, FrameKind.HASH):
            held.append(frame)
            return False
        return True

    table = Table(who, lets)
    table.start()
    assert me not in table.decided()
    table.lets = lambda _s, _l, f: f.kind not in (FrameKind.PROPOSAL, FrameKind.VOTE, FrameKind.CERTIFICATE)
    assert base_versions_of(table.seats[me]).current.get(early) is None
    table.hear(me, *held)
    assert base_versions_of(table.seats[me]).current.get(early) is not None


def test_a_dealing_other_than_the_announced_one_is_barred(who: Cast) -> None:
    """Its commitments are those of another polynomial than the digest."""
    me, liar = who.addresses[:2]
    table = Table(who, works=lambda operator, job: operator != liar or not isinstance(job, DealJob))
    table.start()
    frame, body = _other_dealing(table, liar)
    effects = table.hear(me, frame)
    assert noted(effects) == ["bad dealing"]
    (evidence,) = accusations(effects)
    assert (evidence.fault, [f.kind for f in evidence.frames]) == (
        Fault.BAD_DEALING,
        [FrameKind.DEALING, FrameKind.HASH],
    )
    check_evidence(evidence, who.session)
    assert table.seats[me].wanted_bodies == ()
    assert body
    assert len(table.decided()) == 0


def _other_dealing(table: Table, dealer: OperatorAddress) -> tuple[Frame, bytes]:
    """A good dealing of ``dealer`` with another polynomial than it announced."""
    job = next(job for job in jobs_of(table.effects[dealer]) if isinstance(job, DealJob))
    other = replace(job, polynomial=Polynomial.random(job.polynomial.threshold, table.cast.rng))
    result = done(table.cast, other)
    assert isinstance(result, DealResult)
    numbers = (table.cast.session.boundary.number,) * len(job.recipients)
    commitments = other.polynomial.commitments()
    header = build_dealing(job.context, 0, commitments, result.encrypted, numbers, job.newcomers)
    frame = table.cast.frame(dealer, FrameKind.DEALING, dealing_body(GENESIS, header.encoded))
    return frame, encode_body(result.encrypted)


def test_nobody_deals_with_commitments_that_it_copied(who: Cast) -> None:
    """A liar announces another's digest and deals the other's dealing under its own name: the proof is bound to its dealer."""
    me, honest, _, liar = who.addresses
    table = Table(who, lambda s, _l, f: s != liar or f.kind is FrameKind.KEY)
    table.start()
    digest = read_hash(table.said(honest, FrameKind.HASH)[0])
    copied = who.frame(liar, FrameKind.HASH, [digest])
    for address in who.addresses[:3]:
        table.hear(address, copied)
    (frame,) = table.said(honest, FrameKind.DEALING)
    header = replace(header_of(frame), dealer=liar)
    table.hear(me, who.frame(liar, FrameKind.DEALING, dealing_body(GENESIS, header.encoded)))
    assert table.seats[me].wanted_bodies == (header.name,)
    body = table.seats[honest].body(header_of(frame).name)
    assert body is not None
    table.take(me, table.seats[me].take_body(header.name, body, 0.1))
    known = base_versions_of(table.seats[me]).current.get(liar)
    assert known is not None
    assert known.stage is DealingStage.INVALID
    assert "bad dealing" in noted(table.effects[me])


def test_two_digests_are_evidence_and_the_first_counts(who: Cast) -> None:
    """Nobody takes its announcement back."""
    me, liar = who.addresses[:2]
    table = Table(who, lambda s, _l, f: s != liar)
    table.start()
    frames = [who.frame(liar, FrameKind.HASH, [bytes([i]) * 32]) for i in range(2)]
    effects = table.hear(me, *frames)
    (evidence,) = accusations(effects)
    assert (evidence.fault, evidence.accused) == (Fault.EQUIVOCATION, liar)
    check_evidence(evidence, who.session)
    kept = [f for f in frame_log_of(table.seats[me]) if (f.sender, f.kind) == (liar, FrameKind.HASH)]
    assert kept == frames[:1]


def test_one_that_is_no_member_announces_nothing() -> None:
    """A holder of nothing has no part in a genesis; it may listen."""
    everybody = cast(5)
    who = everybody.at(0, everybody.addresses[1:])
    stranger = everybody.addresses[0]
    table = Table(who)
    table.seats = {stranger: table.sit(stranger)}
    table.effects[stranger] = []
    table.start()
    assert not table.effects[stranger]


def test_a_certificate_is_enough_for_one_that_lacks_the_dealings(who: Cast) -> None:
    """It decides by what the others signed, and fetches its rows later."""
    me = who.addresses[0]
    table = Table(who, serves=lambda asker, _name: asker != me)
    table.start()
    table.at(0.1)
    table.pull(me)
    assert [e.transcript for e in table.effects[me] if isinstance(e, StoreCertifiedVersion)] == [
        table.certified()
    ]
    assert table.seats[me].wanted_bodies == ()
