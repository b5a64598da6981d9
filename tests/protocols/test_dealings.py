"""The dealings of one session: who deals when and to whom, what is taken in, and which of them a transcript may name."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from eigenkms.crypto.scalars import R
from eigenkms.crypto.shamir import Polynomial
from eigenkms.protocols.ceremony.dealing_pool import DealingStage
from eigenkms.protocols.ceremony.drafter import NEWCOMER_WINDOWS, PATIENCE_WINDOWS, TIMELY_WINDOWS
from eigenkms.protocols.ceremony.effects import JournalRecord, Persist
from eigenkms.protocols.ceremony.jobs import CheckJob, CheckResult, DealJob, DealResult
from eigenkms.types import OperatorAddress
from eigenkms.wire.dealing import UnboundBytesError, build_dealing, encode_body
from eigenkms.wire.dealing_header import DealingHeader
from eigenkms.wire.frames import Frame, FrameKind
from eigenkms.wire.messages import SourceRef, dealing_body, read_dealing
from eigenkms.wire.session import ZERO32
from eigenkms.wire.transcript import ListedKey, Transcript
from tests.protocols.parts import dealing_pool_of
from tests.protocols.rooms import (
    GRACE,
    Desk,
    done,
    encryption_key,
    jobs_of,
    key_frame,
    noted,
    version_of,
)
from tests.protocols.support import Cast, broadcasts, cast, header_of, journal

WAIT, PATIENCE = NEWCOMER_WINDOWS, PATIENCE_WINDOWS
"""Seconds, as a window is one."""


class Play:
    """Four holders of a source hand over to themselves and three newcomers."""

    def __init__(self, members: int = 4, recipients: int = 7) -> None:
        everybody = cast(recipients)
        self.holders = everybody.addresses[:members]
        self.source = version_of(everybody.at(0, self.holders))
        self.cast: Cast = everybody.at(10, everybody.addresses)
        self.newcomers = everybody.addresses[members:]

    def desk(self, me: OperatorAddress | None = None) -> Desk:
        """Of a holder, the first by default."""
        return Desk(self.cast, me or self.holders[0], self.source)

    def dealt(
        self, dealer: OperatorAddress, newcomers: tuple[OperatorAddress, ...] | None = None
    ) -> tuple[Frame, bytes]:
        """A dealing that serves these newcomers (all, by default)."""
        found = self.newcomers if newcomers is None else newcomers
        return self.desk(dealer).knows(*found).deals()


@pytest.fixture
def play() -> Play:
    return Play()


@pytest.fixture
def small() -> Play:
    """Four operators and nobody new."""
    return Play(4, 4)


# -- dealing ---------------------------------------------------------------------------------------------------


def test_a_holder_deals_once_and_at_once_if_all_are_listed(small: Play) -> None:
    """One job, one dealing of its share of the source, kept before it is said; the body is handed to all."""
    desk = small.desk()
    (job,) = jobs_of(desk.dealings.advance(0.0))
    assert isinstance(job, DealJob)
    assert job.polynomial.constant == small.source.shares[desk.me]
    assert job.polynomial.threshold == small.cast.session.threshold
    assert [r.address for r in job.recipients] == list(small.cast.addresses)
    assert not jobs_of(desk.dealings.advance(0.1)), "asked for once"
    result = done(small.cast, job)
    assert isinstance(result, DealResult)
    effects = desk.dealings.take_deal_result(result)
    assert [r.kind for r in journal(effects)] == ["dealing", "body", "frame"]
    (frame,) = broadcasts(effects, FrameKind.DEALING)
    assert header_of(frame).commitments[0] == small.source.transcript.public_share(desk.me)
    assert noted(effects) == ["dealt"]
    assert desk.dealings.take_deal_result(result) == []
    assert desk.dealings.advance(0.2) == []
    known = desk.dealings.get(desk.me)
    assert known is not None
    assert known.stage is DealingStage.VALID
    assert desk.dealings.wanted == ()


def test_only_a_holder_with_its_share_deals(small: Play, play: Play) -> None:
    """A recipient that is none does not; one that lacks its share does when it has it, unless it deals no more."""
    newcomer = play.desk(play.newcomers[0]).knows(*play.newcomers)
    assert newcomer.dealings.advance(PATIENCE) == []
    desk = small.desk()
    desk.dealings.forget_secrets()
    assert desk.dealings.advance(0.0) == []
    desk.dealings.add_share(small.source.shares[desk.me])
    assert jobs_of(desk.dealings.advance(0.0))


def test_a_result_that_nobody_asked_for_is_dropped(small: Play) -> None:
    """Before it was asked for, and of another session."""
    first, second = small.desk(), small.desk()
    (job,) = jobs_of(first.dealings.advance(0.0))
    result = done(small.cast, job)
    assert isinstance(result, DealResult)
    assert second.dealings.take_deal_result(result) == []
    later = Desk(small.cast.at(10), small.holders[0], small.source)
    assert jobs_of(later.dealings.advance(0.0))
    assert later.dealings.take_deal_result(result) == []
    assert later.dealings.get(later.me) is None


def test_keys_of_newcomers_are_waited_for_half_a_window(play: Play) -> None:
    """All there: at once. Enough there: after half a window, without the rest. Too few: not at all."""
    one, two, three = play.newcomers
    assert jobs_of(play.desk().knows(one, two, three).dealings.advance(0.0))
    desk = play.desk().knows(two)
    assert jobs_of(desk.dealings.advance(WAIT - 0.01)) == []
    (job,) = jobs_of(desk.dealings.advance(WAIT))
    assert isinstance(job, DealJob)
    assert [r.address for r in job.recipients] == [*play.holders, two]
    assert job.newcomers == (key_frame(play.cast, two).encoded,)
    assert jobs_of(play.desk().dealings.advance(1e6)) == [], "four of seven are too few"


def test_recipients_are_dealt_to_under_the_keys_that_the_source_lists(small: Play) -> None:
    """Also those that published a fresh one; newcomers under the key of the session. The header says which."""
    frame, _ = small.desk().knows(*small.holders).deals()
    listed = small.source.transcript.key_of(small.holders[0])
    assert listed is not None
    assert header_of(frame).key_numbers == (listed.number,) * 4
    assert header_of(frame).newcomers == ()
    play = Play(3, 4)
    frame, _ = play.dealt(play.holders[0])
    number = play.cast.session.boundary.number
    assert header_of(frame).key_numbers == (listed.number,) * 3 + (number,)


@pytest.mark.parametrize(
    ("n", "served"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (6, 5), (7, 5), (8, 6), (9, 7), (10, 7)]
)
def test_so_many_recipients_are_served(n: int, served: int) -> None:
    """N − ⌈n/3⌉ + 1: with a share lost by fewer than n/3, a threshold of correct ones is left."""
    play = Play(n, n)
    assert play.desk().dealings.served_needed == served


def test_leaders_are_first_those_that_were_there_when_the_source_was_made() -> None:
    """In the session's order; a member whose listed key is older, or that has none, leads no early view."""
    who = cast(7)
    away, unlisted = who.addresses[1], who.addresses[4]
    source = version_of(who, older={away: 90}, unlisted=[unlisted])
    leaders = Desk(who.at(10), who.addresses[0], source).dealings.leaders
    order = who.at(10).session.coordinators
    present = [a for a in order if a not in (away, unlisted)]
    assert leaders == (*present, *(a for a in order if a in (away, unlisted)))
    assert leaders != order


# -- what is taken in --------------------------------------------------------------------------------------------


def test_a_dealing_goes_from_announced_to_held_to_valid(play: Play) -> None:
    """Its body is asked for until it is here; then it is verified, once."""
    desk, (frame, body) = play.desk(), play.dealt(play.holders[1])
    name = header_of(frame).name
    assert desk.dealings.receive(frame) == []
    known = desk.dealings.get(frame.sender)
    assert known is not None
    assert (known.stage, desk.dealings.wanted) == (DealingStage.ANNOUNCED, (name,))
    assert known.serves == set(play.cast.addresses)
    assert desk.dealings.take_body(bytes(32), body) == []
    assert desk.dealings.take_body(name, body) == []
    assert (known.stage, desk.dealings.wanted) == (DealingStage.HELD, ())
    assert desk.dealings.take_body(name, b"late and wrong") == []
    (job,) = jobs_of(desk.dealings.check(0.0))
    assert isinstance(job, CheckJob)
    assert jobs_of(desk.dealings.check(0.1)) == []
    result = done(play.cast, job)
    assert isinstance(result, CheckResult)
    assert frame.sender in desk.dealings.missing
    assert desk.dealings.take_check_result(result) == []
    assert known.stage is DealingStage.VALID
    assert frame.sender not in desk.dealings.missing
    assert desk.dealings.receive(frame) == []


def test_what_comes_while_others_are_verified_is_verified_next(small: Play) -> None:
    """All that waits together."""
    desk = small.desk()
    made = [small.dealt(a) for a in small.holders[1:]]
    jobs: list[CheckJob] = []
    for frame, body in made:
        desk.dealings.receive(frame)
        desk.dealings.take_body(header_of(frame).name, body)
        jobs += [job for job in jobs_of(desk.dealings.check(0.0)) if isinstance(job, CheckJob)]
    (first,) = jobs
    result = done(small.cast, first)
    assert isinstance(result, CheckResult)
    desk.dealings.take_check_result(result)
    (second,) = jobs_of(desk.dealings.check(0.0))
    assert isinstance(second, CheckJob)
    assert [len(first.dealings), len(second.dealings)] == [1, 2]


def test_bytes_that_are_no_body_cost_their_server_and_not_the_dealer(play: Play) -> None:
    """The dealing stays wanted, from anybody else."""
    desk, (frame, body) = play.desk(), play.dealt(play.holders[1])
    name = header_of(frame).name
    desk.dealings.receive(frame)
    for wrong in (b"", body[:-1], body[:-1] + bytes([body[-1] ^ 1])):
        with pytest.raises(UnboundBytesError):
            desk.dealings.take_body(name, wrong)
        assert desk.dealings.wanted == (name,)
    desk.dealings.take_body(name, body)
    assert desk.dealings.wanted == ()


def _signed(play: Play, frame: Frame, header: bytes) -> Frame:
    return play.cast.frame(frame.sender, FrameKind.DEALING, dealing_body(read_dealing(frame).source, header))


_WRONG: dict[str, Callable[[Play, DealingHeader], DealingHeader]] = {
    "session": lambda _p, h: replace(h, session=bytes(32)),
    "dealer": lambda p, h: replace(h, dealer=p.holders[2]),
    "source version": lambda _p, h: replace(h, source_version=h.source_version + 1),
    "source": lambda _p, h: replace(h, source_hash=b"\x01" * 32),
    "genesis": lambda _p, h: replace(h, source_version=0, source_hash=ZERO32),
    "threshold": lambda _p, h: replace(h, commitments=h.commitments[:-1]),
    "constant": lambda _p, h: replace(h, commitments=h.commitments[::-1]),
    "numbers": lambda _p, h: replace(h, key_numbers=(99, *h.key_numbers[1:])),
    "fewer rows": lambda _p, h: replace(h, key_numbers=(*h.key_numbers[:-1], None)),
    "order": lambda _p, h: replace(h, newcomers=h.newcomers[::-1]),
    "twice": lambda _p, h: replace(h, newcomers=(h.newcomers[0], *h.newcomers)),
    "listed": lambda p, h: replace(h, newcomers=(key_frame(p.cast, p.holders[1]).encoded, *h.newcomers)),
    "no key frame": lambda p, h: replace(
        h, newcomers=(*h.newcomers[:-1], p.cast.frame(p.newcomers[-1], FrameKind.HASH, [bytes(32)]).encoded)
    ),
    "nonsense": lambda _p, h: replace(h, newcomers=(b"nonsense", *h.newcomers[1:])),
    "another session's key": lambda p, h: replace(
        h,
        newcomers=(*h.newcomers[:-1], key_frame(p.cast, p.newcomers[-1], session=p.cast.later()).encoded),
    ),
    "too few": lambda _p, h: replace(h, newcomers=(), key_numbers=(*h.key_numbers[:4], None, None, None)),
}


@pytest.mark.parametrize("case", _WRONG)
def test_a_header_that_is_wrong_bars_its_dealer(play: Play, case: str) -> None:
    """Before its body is asked for: session, dealer, source, commitments, recipients and their keys."""
    desk, (frame, _) = play.desk(), play.dealt(play.holders[1])
    wrong = _signed(play, frame, _WRONG[case](play, header_of(frame)).encoded)
    assert noted(desk.dealings.receive(wrong)) == ["bad dealing"]
    assert desk.dealings.wanted == ()
    assert desk.dealings.receive(frame) == [], "it has had its dealing"
    assert desk.dealings.get(frame.sender) is None


def test_bytes_that_are_no_header_bar_their_dealer_too(play: Play) -> None:
    """Signed nonsense."""
    desk, (frame, _) = play.desk(), play.dealt(play.holders[1])
    assert noted(desk.dealings.receive(_signed(play, frame, b"\x90"))) == ["bad dealing"]


def test_a_body_that_its_dealer_signed_and_nobody_decodes_bars_it(small: Play) -> None:
    """Whoever served it is not at fault."""
    desk, dealer = small.desk(), small.holders[1]
    (job,) = jobs_of(small.desk(dealer).dealings.advance(0.0))
    result = done(small.cast, job)
    assert isinstance(result, DealResult)
    odd = replace(result.encrypted, answers=replace(result.encrypted.answers, base=R))
    commitments = result.job.polynomial.commitments()
    header = build_dealing(result.job.context, result.job.source.version, commitments, odd, (100,) * 4)
    frame = small.cast.frame(dealer, FrameKind.DEALING, dealing_body(result.job.source, header.encoded))
    assert desk.dealings.receive(frame) == []
    assert noted(desk.dealings.take_body(header.name, encode_body(odd))) == ["bad dealing"]
    assert desk.dealings.wanted == ()
    known = desk.dealings.get(dealer)
    assert known is not None
    assert known.stage is DealingStage.INVALID


def test_a_proof_that_does_not_hold_bars_its_dealer_and_no_other(small: Play) -> None:
    """Verified together with good ones; it is final."""
    desk, (liar, *others) = small.desk(), small.holders[1:]
    frame, body = _false(small, liar)
    desk.dealings.receive(frame)
    desk.dealings.take_body(header_of(frame).name, body)
    effects = []
    for dealer in others:
        effects += desk.takes(*small.dealt(dealer))
    (note,) = [e for e in effects if getattr(e, "event", "") == "bad dealing"]
    assert note.fields["dealer"] == "0x" + liar.hex()
    stages = [desk.dealings.get(a).stage for a in (liar, *others)]  # type: ignore[union-attr]
    assert stages == [DealingStage.INVALID, DealingStage.VALID, DealingStage.VALID]
    name = header_of(frame).name
    assert desk.dealings.take_check_result(CheckResult(frozenset({name}), frozenset())) == []
    assert desk.dealings.get(liar).stage is DealingStage.INVALID  # type: ignore[union-attr]


def _false(play: Play, dealer: OperatorAddress) -> tuple[Frame, bytes]:
    """A dealing with the right constant term, whose shares are those of another polynomial."""
    (job,) = jobs_of(play.desk(dealer).dealings.advance(0.0))
    assert isinstance(job, DealJob)
    result = done(play.cast, job)
    assert isinstance(result, DealResult)
    other = Polynomial.random(job.polynomial.threshold, play.cast.rng, job.polynomial.constant)
    numbers = tuple(100 for _ in job.recipients)
    header = build_dealing(job.context, job.source.version, other.commitments(), result.encrypted, numbers)
    frame = play.cast.frame(dealer, FrameKind.DEALING, dealing_body(job.source, header.encoded))
    return frame, encode_body(result.encrypted)


# -- drafts ----------------------------------------------------------------------------------------------------


def _collected(play: Play, *dealings: tuple[Frame, bytes], keys: tuple[OperatorAddress, ...] = ()) -> Desk:
    """A desk with these dealings, valid; it knows these keys. It has not dealt itself."""
    desk = play.desk().knows(*keys)
    for frame, body in dealings:
        desk.takes(frame, body)
    return desk


def test_a_draft_names_the_thresholds_dealings_and_lists_the_newest_keys(small: Play) -> None:
    """T(source) of them: they keep the master key. A fresh key where one was published, else the one that the source lists."""
    *dealers, _ = small.holders
    made = [small.dealt(a) for a in dealers]
    fresh = small.holders[1]
    assert _collected(small, *made[:2]).dealings.draft() is None
    desk = _collected(small, *made, keys=(fresh,))
    draft = desk.dealings.draft()
    assert draft is not None
    found = draft.transcript
    assert found.dealers == tuple((f.sender, header_of(f).name) for f, _ in made)
    source = small.source.transcript
    assert (found.mpk, found.source_version, found.source_hash) == (source.mpk, source.version, source.hash)
    new = ListedKey(110, encryption_key(small.cast, fresh).public)
    assert found.keys == tuple(new if a == fresh else source.key_of(a) for a in small.holders)
    assert draft.keys == (key_frame(small.cast, fresh).encoded,)
    assert desk.dealings.supports(found, draft.keys, 0.0)
    assert desk.dealings.supports(found, (), 0.0), "the key was heard"
    deaf = _collected(small, *made)
    assert not deaf.dealings.supports(found, (), 0.0)
    assert deaf.dealings.supports(found, draft.keys, 0.0)


def test_a_draft_is_due_when_all_is_in_or_a_grace_after_enough(small: Play) -> None:
    """All dealings and all keys; with something lacking, a grace later; and not before there are enough."""
    made = [small.dealt(a) for a in small.holders]
    desk = _collected(small, *made[1:3], keys=small.holders)
    assert not desk.dealings.ready(1e6)
    assert desk.dealings.deadline(0.0) == WAIT
    assert desk.dealings.deadline(WAIT) == PATIENCE
    assert desk.dealings.deadline(PATIENCE) is None
    desk.takes(*made[3], now=2.0)
    assert not desk.dealings.ready(2.0 + GRACE - 0.01)
    assert desk.dealings.deadline(2.0) == 2.0 + GRACE
    assert desk.dealings.ready(2.0 + GRACE)
    desk.takes(*made[0], now=2.0)
    assert desk.dealings.ready(2.0), "complete"
    keyless = _collected(small, *made, keys=small.holders[1:])
    assert not keyless.dealings.ready(0.0)


def test_a_draft_serves_newcomers_that_enough_dealings_serve(play: Play) -> None:
    """Three of four dealings are needed. One that three serve is served, one that two serve is not; and no set is chosen that could
    serve one more.
    """
    one, two, three = play.newcomers
    lists = [(one, two, three), (one, two, three), (one, three), (one, two, three)]
    made = [play.dealt(a, served) for a, served in zip(play.holders, lists, strict=True)]
    desk = _collected(play, *made, keys=play.newcomers)
    draft = desk.dealings.draft()
    assert draft is not None
    assert {d for d, _ in draft.transcript.dealers} == {play.holders[i] for i in (0, 1, 3)}
    assert desk.dealings.served_by(draft.transcript) == set(play.cast.addresses)
    fewer = [play.dealt(a, (one, two) if i < 2 else (one, three)) for i, a in enumerate(play.holders)]
    desk = _collected(play, *fewer, keys=play.newcomers)
    draft = desk.dealings.draft()
    assert draft is not None
    assert desk.dealings.served_by(draft.transcript) == {*play.holders, one}


def test_whoever_dealt_twice_is_in_no_draft_of_mine_and_in_what_others_prepared(small: Play) -> None:
    """What others verified before they knew is as good as any other."""
    made = [small.dealt(a) for a in small.holders]
    desk = _collected(small, *made[:3])
    draft = desk.dealings.draft()
    assert draft is not None
    desk.dealings.note_equivocation(small.holders[1])
    assert desk.dealings.draft() is None
    assert desk.dealings.holds(draft.transcript)
    assert desk.dealings.supports(draft.transcript, draft.keys, 0.0)
    desk.takes(*made[3])
    mine = desk.dealings.draft()
    assert mine is not None
    assert small.holders[1] not in {d for d, _ in mine.transcript.dealers}


# -- what is supported -----------------------------------------------------------------------------------------


def _draft(desk: Desk) -> tuple[Transcript, tuple[bytes, ...]]:
    draft = desk.dealings.draft()
    assert draft is not None
    return draft.transcript, draft.keys


def test_a_transcript_that_leaves_a_newcomer_out_is_supported_after_patience(play: Play) -> None:
    """If no other choice of the dealings that are here would serve it as well. A newcomer whose key is not known is not missed."""
    one, two, _ = play.newcomers
    made = [play.dealt(a, (one, two)) for a in play.holders[:3]]
    transcript, keys = _draft(_collected(play, *made, keys=play.newcomers))
    knowing = _collected(play, *made, keys=play.newcomers)
    assert not knowing.dealings.supports(transcript, keys, PATIENCE - 0.01)
    assert knowing.dealings.supports(transcript, keys, PATIENCE)
    assert knowing.dealings.holds(transcript)
    heard = _collected(play, *made, keys=(one, two))
    assert not heard.dealings.supports(transcript, keys, 0.0), "the proposal shows the key of the third"
    assert heard.dealings.supports(transcript, keys, PATIENCE)
    full = [play.dealt(a) for a in play.holders[:3]]
    rich = _collected(play, *full, keys=play.newcomers)
    chosen, keys = _draft(rich)
    assert rich.dealings.supports(chosen, keys, 0.0)


def test_a_transcript_that_leaves_a_newcomer_out_without_need_is_never_supported(play: Play) -> None:
    """Three dealings here serve it, and the leader took another one. With a certificate of others it is prepared all the same."""
    one, two, three = play.newcomers
    without = play.dealt(play.holders[3], (one, two))
    full = [play.dealt(a) for a in play.holders[:3]]
    leader = _collected(play, without, *full[:2], keys=play.newcomers)
    transcript, keys = _draft(leader)
    voter = _collected(play, without, *full, keys=play.newcomers)
    assert three not in voter.dealings.served_by(transcript)
    assert not voter.dealings.supports(transcript, keys, 1e6)
    assert voter.dealings.holds(transcript)


def test_a_newcomer_that_splits_the_dealers_keeps_no_other_from_its_share(play: Play) -> None:
    """It sends its key so late that one correct dealer misses it, and a lying dealer serves it and none of the others.

    With both lies t dealings serve the late one, and t the two that were there in time. Those come first, for leader and voters.
    Otherwise two liars of seven would leave three shares, where five are needed.
    """
    late, *timely = play.newcomers
    lie, missed = play.dealt(play.holders[3], (late,)), play.dealt(play.holders[2], tuple(timely))
    full = [play.dealt(a) for a in play.holders[:2]]

    def desk(*made: tuple[Frame, bytes]) -> Desk:
        taking = play.desk(play.newcomers[0]).knows(*timely)
        taking.dealings.advance(TIMELY_WINDOWS)
        taking.knows(late)
        taking.dealings.advance(WAIT)
        for frame, body in made:
            taking.takes(frame, body, WAIT)
        return taking

    leader = desk(lie, missed, *full)
    good, keys = _draft(leader)
    assert leader.dealings.served_by(good) == {*play.holders, *timely}
    bad, _ = _draft(desk(lie, *full))
    assert leader.dealings.served_by(bad) == {*play.holders, late}
    assert leader.dealings.holds(bad)
    for now in (PATIENCE, 1e6):
        assert not leader.dealings.supports(bad, keys, now)
        assert leader.dealings.supports(good, keys, now)


def test_a_transcript_that_serves_too_few_is_not_held() -> None:
    """Each dealing serves enough, those that it names serve too few in common: not even a certificate makes it one to prepare."""
    play = Play(4, 7)
    one = play.newcomers[0]
    made = [play.dealt(a, (served,)) for a, served in zip(play.holders[:3], play.newcomers, strict=True)]
    desk = _collected(play, *made)
    good = [play.dealt(a, (one,)) for a in play.holders[:3]]
    right, _ = _draft(_collected(play, *good))
    names = tuple((f.sender, header_of(f).name) for f, _ in made)
    commitments = dealing_pool_of(desk.dealings).combine(play.holders[:3])
    transcript = replace(right, dealers=names, mpk=commitments[0], commitments=commitments)
    assert not desk.dealings.holds(transcript)
    assert desk.dealings.served_by(transcript) == set(play.holders)


def test_only_what_the_dealings_make_is_held(small: Play) -> None:
    """All named and valid, under these names, enough of them, of this source, and A combined from them."""
    made = [small.dealt(a) for a in small.holders]
    desk = _collected(small, *made)
    right, _ = _draft(desk)
    assert desk.dealings.holds(right)
    lacking = _collected(small, *made[:2])
    lacking.dealings.receive(made[2][0])
    (first, _name), *rest = right.dealers
    assert not lacking.dealings.holds(right), "one is not verified"
    for wrong in (
        replace(right, dealers=right.dealers[1:]),
        replace(right, dealers=((first, bytes(32)), *rest)),
        replace(right, commitments=right.commitments[::-1]),
        replace(right, source_hash=bytes(32)),
    ):
        assert not desk.dealings.holds(wrong)


def test_listed_keys_are_the_sources_or_published_here(small: Play) -> None:
    """No other, no other's, and never none where the source lists one: an absent operator keeps its key."""
    made = [small.dealt(a) for a in small.holders]
    desk = _collected(small, *made, keys=small.holders[:1])
    right, keys = _draft(desk)
    me, peer, other, last = small.holders
    fresh = {a: ListedKey(110, encryption_key(small.cast, a).public) for a in small.holders}
    old = {a: small.source.transcript.key_of(a) for a in small.holders}
    assert desk.dealings.supports(right, keys, 0.0)
    shown = (key_frame(small.cast, peer).encoded,)
    for listed, frames, supported in (
        ((old[me], old[peer], old[other], old[last]), (), True),
        ((fresh[me], old[peer], old[other], old[last]), (), True),
        ((fresh[me], fresh[peer], old[other], old[last]), (), False),
        ((fresh[me], fresh[peer], old[other], old[last]), shown, True),
        ((fresh[me], old[peer], fresh[peer], old[last]), shown, False),
        ((fresh[me], old[peer], old[other], None), (), False),
        ((None, old[peer], old[other], old[last]), (), False),
        ((fresh[me], old[peer], old[other], ListedKey(120, b"\x01" * 48)), (), False),
        ((fresh[me], old[peer], old[other], ListedKey(110, old[last].public)), (), False),  # type: ignore[union-attr]
        ((fresh[me], old[peer], old[other]), (), False),
        ((old[me], old[peer], old[other], old[last]), (b"nonsense",), False),
    ):
        transcript = replace(right, keys=listed)
        assert desk.dealings.supports(transcript, frames, 0.0) == supported, listed


def test_a_newcomer_that_is_served_is_listed(play: Play) -> None:
    """One that is not served may be left out, as its key may not have reached the leader."""
    one, two, _ = play.newcomers
    made = [play.dealt(a, (one, two)) for a in play.holders[:3]]
    transcript, keys = _draft(_collected(play, *made, keys=(one, two)))
    assert transcript.keys[-1] is None
    voter = _collected(play, *made)
    assert voter.dealings.supports(transcript, keys, 0.0)
    for served in (one, two):
        at = play.cast.session.recipients.addresses.index(served)
        unlisted = (*transcript.keys[:at], None, *transcript.keys[at + 1 :])
        assert not voter.dealings.supports(replace(transcript, keys=unlisted), keys, 0.0)


def test_a_transcript_from_another_version_is_not_supported(small: Play) -> None:
    made = [small.dealt(a) for a in small.holders]
    desk = _collected(small, *made)
    right, keys = _draft(desk)
    assert not desk.dealings.supports(replace(right, source_hash=b"\x01" * 32), keys, 0.0)


# -- the journal -----------------------------------------------------------------------------------------------


def test_dealings_that_were_journaled_are_valid_in_the_next_life(play: Play) -> None:
    """With their bodies, verified once and for all; those without one, and those of other sources, are not taken back."""
    made = [play.dealt(a) for a in play.holders[:3]]
    desk = _collected(play, *made)
    transcript, _ = _draft(desk)
    effects = desk.dealings.journal(transcript)
    records = [e.record for e in effects if isinstance(e, Persist)]
    assert [r.kind for r in records] == ["dealing", "body"] * 3
    assert not any(r.secret for r in records)
    assert desk.dealings.journal(transcript) == []
    again = play.desk()
    again.log.add(made[0][0])
    again.dealings.restore([*records, _other_source(play), JournalRecord("lock", b"whatever")])
    assert again.dealings.holds(transcript)
    assert again.dealings.journal(transcript) == []
    assert again.dealings.missing == play.holders[3:]
    cut = play.desk()
    cut.dealings.restore([r for r in records if r.body[:32] != transcript.dealers[1][1]])
    assert not cut.dealings.holds(transcript)
    assert cut.dealings.wanted == (transcript.dealers[1][1],)


def _other_source(play: Play) -> JournalRecord:
    """A dealing frame that names another version as its source."""
    frame, _ = play.dealt(play.holders[3])
    body = dealing_body(SourceRef(4711, b"\x01" * 32), read_dealing(frame).header)
    return JournalRecord("dealing", play.cast.frame(play.holders[3], FrameKind.DEALING, body).encoded)
