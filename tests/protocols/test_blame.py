"""Who is named when a session ends without a certificate, stage by stage; whole operators are in tests/sim/test_blame."""

from collections.abc import Iterable

import pytest

from eigenkms.protocols.ceremony.blame import (
    DIGESTS,
    KEYS,
    STAGE_WINDOWS,
    Blame,
    Duties,
    Inquest,
    ViewHistory,
    Witness,
)
from eigenkms.protocols.ceremony.frame_log import FrameLog
from eigenkms.types import OperatorAddress
from eigenkms.wire.frames import FrameKind
from eigenkms.wire.messages import (
    GENESIS,
    SourceRef,
    proposal_body,
    view_change_body,
    vote_body,
)
from eigenkms.wire.votes import Phase
from tests.protocols.support import cast

END = 20.0
"""Seconds, as a window is one."""
STAGE = STAGE_WINDOWS
SOURCE = SourceRef(7, b"\x07" * 32)


class Record:
    """What the first of seven members saw in a session; ``rotates`` from a version that all of them hold."""

    def __init__(self, *, rotates: bool = True) -> None:
        self.cast = cast(7)
        self.me, *self.others = self.all = self.cast.addresses
        self.ref = SOURCE if rotates else GENESIS
        self.is_genesis = not rotates
        self.witness = Witness()
        self.log = FrameLog()
        self.valid: set[OperatorAddress] = set()
        self.barred: frozenset[OperatorAddress] = frozenset()
        self.here: frozenset[OperatorAddress] = frozenset()
        for what in (KEYS, DIGESTS, self.ref):
            self.witness.see(what, (), 0.0)

    def deals(self, who: Iterable[OperatorAddress], at: float = 1.0) -> "Record":
        self.valid |= set(who)
        self.witness.see(self.ref, self.valid, at)
        return self

    def sees(self, what: str, who: Iterable[OperatorAddress], at: float) -> "Record":
        known = set(self.witness.until(what, END)) | set(who)
        self.witness.see(what, known, at)
        return self

    def votes(
        self, view: int, who: Iterable[OperatorAddress], phase: Phase = Phase.PREPARE, choice: int = 1
    ) -> None:
        for sender in who:
            body = vote_body(view, phase, bytes([choice]) * 32, bytes(64))
            self.log.add(self.cast.frame(sender, FrameKind.VOTE, body))

    def changes_view(self, view: int, who: Iterable[OperatorAddress]) -> None:
        for sender in who:
            self.log.add(self.cast.frame(sender, FrameKind.VIEW_CHANGE, view_change_body(view, None)))

    def blame(
        self, *, me: OperatorAddress | None = None, view: int = 0, newcomers: int = 0, leader: int = 3
    ) -> Blame:
        keyed = self.all if self.is_genesis else self.all[7 - newcomers :]
        duties = Duties(
            source=self.ref,
            is_genesis=self.is_genesis,
            keyed=frozenset(keyed),
            keys_needed=7 if self.is_genesis else max(0, 5 - (7 - newcomers)),
            dealers=frozenset(self.all),
            dealings_needed=7 if self.is_genesis else 5,
            counted=frozenset(self.valid),
            barred=self.barred,
        )
        leads = {v: self.all[leader + v] for v in range(3)}
        inquest = Inquest(self.cast.session, me or self.me, self.witness, self.log, END)
        return inquest.blame(duties, ViewHistory(view, dict(leads), self.here))


# -- before the first view ---------------------------------------------------------------------------------------


def test_dealers_without_a_valid_dealing_are_named_and_liars_apart() -> None:
    """Four of seven dealt, five are needed."""
    record = Record().deals(Record().all[:4])
    record.barred = frozenset(record.all[6:])
    assert record.blame() == Blame(no_dealing=record.all[4:6], bad_dealing=record.all[6:])


def test_a_dealing_of_the_last_moment_is_late() -> None:
    """Nobody could propose on it. One that came a stage before the end is in time; then the first view is judged."""
    record = Record().deals(Record().all[:4])
    late = Record().deals(Record().all[:4])
    late.deals(late.all[4:5], at=END - STAGE + 0.1)
    assert late.blame().no_dealing == late.all[4:]
    record.deals(record.all[4:5], at=END - STAGE)
    assert record.blame().no_dealing == ()


def test_dealers_that_wait_for_keys_are_not_named() -> None:
    """Of four newcomers two have to be there, and so early that dealers could answer."""
    for at, named in ((END - 2 * STAGE + 0.1, True), (END - 2 * STAGE, False)):
        record = Record().sees(KEYS, Record().all[3:5], at)
        blame = record.blame(newcomers=4)
        assert blame.no_key == (record.all[3:] if named else ())
        assert bool(blame.no_dealing) is not named


def test_a_genesis_names_who_has_not_announced_in_time() -> None:
    """Keys and digests apart; then those whose dealings lack, if they had announced."""
    record = Record(rotates=False).sees(KEYS, Record().all[:6], 1.0).sees(DIGESTS, Record().all[:5], 1.0)
    assert record.blame() == Blame(no_key=record.all[6:], no_hash=record.all[5:])
    record.sees(KEYS, record.all, 2.0).sees(DIGESTS, record.all, 2.0).deals(record.all[:5])
    assert record.blame() == Blame(no_dealing=record.all[5:])


def test_a_short_session_is_judged_by_a_fourth_of_its_time() -> None:
    """It is no reason to name those that did their part at once."""
    record = Record()
    record.witness = Witness()
    record.witness.see(record.ref, (), END - 1.0)
    record.witness.see(record.ref, record.all[:5], END - 0.26)
    record.valid = set(record.all[:5])
    assert record.blame().no_dealing == ()
    record.witness = Witness()
    record.witness.see(record.ref, (), END - 1.0)
    record.witness.see(record.ref, record.all[:5], END - 0.24)
    assert record.blame().no_dealing == record.all


# -- views ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def dealt() -> Record:
    """All dealt at once, and view 0 began and ran to the end."""
    record = Record().deals(Record().all)
    record.witness.enter(0, 1.0, waits=False)
    return record


def test_a_leader_without_a_proposal_is_named(dealt: Record) -> None:
    """Or with one that I did not prepare; members that did not vote then are not."""
    assert dealt.blame() == Blame(no_proposal=dealt.all[3:4])
    dealt.log.add(dealt.cast.frame(dealt.all[3], FrameKind.PROPOSAL, proposal_body(0, GENESIS, None, None)))
    dealt.votes(0, dealt.others[:2])
    assert dealt.blame() == Blame(no_proposal=dealt.all[3:4])


def test_members_that_were_never_heard_of_excuse_the_leader(dealt: Record) -> None:
    """It proposed, I prepared, others say nothing at all. If they spoke elsewhere, it may have shown them nothing."""
    dealt.votes(0, dealt.all[:4])
    assert dealt.blame() == Blame(no_vote=dealt.all[4:])
    dealt.changes_view(1, dealt.all[4:])
    assert dealt.blame() == Blame(no_quorum=dealt.all[3:4], no_vote=dealt.all[4:])


def test_votes_for_different_transcripts_are_no_quorum(dealt: Record) -> None:
    """All voted, three of them for something else: who proposed both is named."""
    dealt.votes(0, dealt.all[:4])
    dealt.votes(0, dealt.all[4:], choice=2)
    assert dealt.blame() == Blame(no_quorum=dealt.all[3:4])


def test_who_does_not_commit_to_what_was_prepared_is_named(dealt: Record) -> None:
    """Votes to prepare are no excuse."""
    dealt.votes(0, dealt.all)
    dealt.votes(0, dealt.all[:4], Phase.COMMIT)
    assert dealt.blame() == Blame(no_quorum=dealt.all[3:4], no_vote=dealt.all[4:])


def test_a_view_that_few_members_enter_names_the_others(dealt: Record) -> None:
    """The view before it ran out and is judged as well; a view that I have just entered is not."""
    dealt.witness.enter(1, 2.0, waits=True)
    dealt.here = frozenset(dealt.all[:4])
    assert dealt.blame(view=1) == Blame(no_proposal=dealt.all[3:4], no_view_change=dealt.all[4:])
    dealt.witness.enter(1, END - 0.3, waits=False)
    assert dealt.blame(view=1) == Blame(no_proposal=dealt.all[3:4])
    dealt.witness.enter(2, END - 0.1, waits=True)
    assert dealt.blame(view=2) == Blame(no_proposal=dealt.all[3:4])


def test_views_that_ran_out_before_the_dealings_were_there_are_not_judged() -> None:
    """Their leaders had nothing to propose."""
    record = Record()
    record.witness.enter(0, 1.0, waits=False)
    record.witness.enter(1, 2.0, waits=False)
    record.deals(record.all, at=3.0)
    assert record.blame(view=1) == Blame(no_proposal=record.all[4:5])


def test_another_agreement_begins_with_new_views(dealt: Record) -> None:
    """A genesis became a rotation. If no view can be judged, those that say nothing are named."""
    dealt.witness.forget_views()
    dealt.changes_view(1, dealt.all[1:5])
    assert dealt.blame() == Blame(no_vote=dealt.all[5:])


def test_who_is_no_member_does_not_judge_views(dealt: Record) -> None:
    """It enters none."""
    assert dealt.blame(me=OperatorAddress(bytes(20))) == Blame()


def test_names_are_logged_by_what_lacks() -> None:
    """Nothing of what nobody lacks."""
    (one, two, *_) = Record().all
    blame = Blame(no_key=(one,), no_vote=(one, two))
    assert blame.named == {"no_key": ["0x" + one.hex()], "no_vote": ["0x" + one.hex(), "0x" + two.hex()]}
    assert blame.operators == {one, two}
    assert Blame().named == {}
