"""Agreement in small steps: one operator's votes, locks and views against whatever the others may say."""

from collections.abc import Sequence

import pytest

from eigenkms.crypto import bn254
from eigenkms.protocols.agreement import Agreement
from eigenkms.protocols.ceremony import Ceremony
from eigenkms.protocols.effects import Certified, Closed, Effect
from eigenkms.protocols.evidence import Fault
from eigenkms.protocols.frame_log import MAX_REPEATS, MAX_VIEWS
from eigenkms.protocols.frames import Frame, Kind
from eigenkms.protocols.messages import (
    certificate_body,
    proposal_body,
    read_proposal,
    read_view_change,
    read_vote,
    view_change_body,
    vote_body,
)
from eigenkms.protocols.transcript import Transcript
from eigenkms.protocols.views import REPEAT_WINDOWS
from eigenkms.protocols.votes import VOID_HASH, Certificate, Phase, aggregate, vote_digest
from eigenkms.types import OperatorAddress
from tests.protocols.support import Table, accusations, broadcasts, cast, journal


class Voter:
    """One operator that holds everything and waits for the first proposal; all others speak through this class."""

    def __init__(
        self, *, coordinates: int | None = None, superseded: bool = False, n: int = 4, quorum: int = 0
    ) -> None:
        self.cast = cast(n, quorum=quorum)
        order = self.cast.session.coordinators
        self.me = order[n - 1 if coordinates is None else coordinates]
        self.others = [a for a in order if a != self.me]
        table = Table(self.cast, lambda s, l, f: f.kind not in (Kind.PROPOSAL, Kind.VOTE))
        table.start()
        self.table = table
        self.ceremony: Ceremony = table.seats[self.me]
        transcript = self.ceremony._exchanges.current.transcript()
        assert transcript is not None
        self.transcript: Transcript = transcript
        self.now = 0.1
        if superseded:
            self.ceremony.supersede(self.now)

    @property
    def agreement(self) -> Agreement:
        return self.ceremony._agreement

    def hears(self, *frames: Frame) -> list[Effect]:
        effects: list[Effect] = []
        for frame in frames:
            assert self.ceremony.wants(frame)
            effects += self.ceremony.receive([frame], self.now)
        self.table.effects[self.me] += effects
        return effects

    def waits(self, seconds: float) -> list[Effect]:
        self.now += seconds
        effects = self.ceremony.tick(self.now)
        self.table.effects[self.me] += effects
        return effects

    def proposes(
        self, view: int, transcript: Transcript | None, proof: Certificate | None = None
    ) -> list[Effect]:
        encoded = None if transcript is None else transcript.encoded
        coordinator = self.cast.session.coordinator(view)
        root = self.root if proof is not None and proof.hash != VOID_HASH else None
        return self.hears(
            self.cast.frame(coordinator, Kind.PROPOSAL, proposal_body(view, encoded, proof, root))
        )

    def enters(self, view: int, prepared: Certificate | None = None, count: int = 2) -> list[Effect]:
        """Others change to ``view``."""
        bodies = [(a, view_change_body(view, prepared)) for a in self.others[:count]]
        return self.hears(*(self.cast.frame(a, Kind.VIEW_CHANGE, body) for a, body in bodies))

    def certificate(
        self,
        view: int,
        digest: bytes,
        phase: Phase = Phase.PREPARE,
        signers: Sequence[OperatorAddress] | None = None,
    ) -> Certificate:
        chosen = self.cast.addresses if signers is None else signers
        votes = {
            a: bn254.sign(self.cast.keys[a], vote_digest(self.cast.session.id, view, phase, digest))
            for a in chosen
        }
        return aggregate(self.cast.session.id, view, phase, digest, votes, self.cast.session.recipients)

    @property
    def root(self) -> Certificate:
        return self.certificate(0, self.transcript.hash)

    def vote(self, sender: OperatorAddress, view: int, phase: Phase, digest: bytes) -> Frame:
        signature = bn254.sign(self.cast.keys[sender], vote_digest(self.cast.session.id, view, phase, digest))
        return self.cast.frame(sender, Kind.VOTE, vote_body(view, phase, digest, signature))

    def restarts(self) -> list[Effect]:
        records = journal(self.table.effects[self.me])
        self.ceremony = self.cast.ceremony(self.me, records=records)
        return self.ceremony.start(self.now)


def _votes(effects: Sequence[Effect]) -> list[tuple[int, Phase, bytes]]:
    return [(v.view, v.phase, v.hash) for v in map(read_vote, broadcasts(effects, Kind.VOTE))]


# -- preparing -----------------------------------------------------------------------------------------------


def test_a_fresh_proposal_is_prepared_once() -> None:
    """Of the coordinator, in its view, with all shares held; a second proposal is evidence and changes nothing."""
    voter = Voter()
    assert _votes(voter.proposes(0, voter.transcript)) == [(0, Phase.PREPARE, voter.transcript.hash)]
    coordinator = voter.cast.session.coordinator(0)
    second = voter.hears(voter.cast.frame(coordinator, Kind.PROPOSAL, proposal_body(0, None, None)))
    assert [e.fault for e in accusations(second)] == [Fault.EQUIVOCATION]
    assert not _votes(second)


def test_only_the_coordinator_proposes() -> None:
    """Others' proposals are not even looked at."""
    voter = Voter()
    for sender in voter.others[1:]:
        assert not voter.ceremony.wants(
            voter.cast.frame(sender, Kind.PROPOSAL, proposal_body(0, voter.transcript.encoded, None))
        )


def test_a_proposal_of_another_view_waits_for_it() -> None:
    """Nothing is voted above my view; entering it, I vote; below it, never again."""
    voter = Voter()
    assert not _votes(voter.proposes(1, voter.transcript))
    assert _votes(voter.enters(1)) == [(1, Phase.PREPARE, voter.transcript.hash)]
    assert not _votes(voter.proposes(0, voter.transcript))


def test_entering_a_view_ends_voting_in_lower_ones_after_a_crash_too() -> None:
    """The view change is journaled: the next life is in that view, and says it again."""
    voter = Voter()
    voter.enters(2)
    again = voter.restarts()
    assert [read_view_change(f).view for f in broadcasts(again, Kind.VIEW_CHANGE)] == [2]
    assert voter.agreement.view == 2
    assert not _votes(voter.proposes(0, voter.transcript))
    assert not _votes(voter.proposes(1, voter.transcript))


def test_a_vote_is_repeated_to_the_byte_after_a_crash() -> None:
    """And no second one is cast in its place, for whatever hash."""
    voter = Voter(superseded=True)
    first = broadcasts(voter.proposes(0, None), Kind.VOTE)
    again = voter.restarts()
    assert broadcasts(again, Kind.VOTE) == first
    voter.ceremony.supersede(voter.now)
    assert not _votes(voter.proposes(0, voter.transcript, None))


def test_void_may_be_voted_only_after_the_next_boundary_and_then_nothing_fresh() -> None:
    """Before it a key, after it ∅ or a justified proposal."""
    early = Voter()
    assert not _votes(early.proposes(0, None))
    late = Voter(superseded=True)
    assert not _votes(late.proposes(0, late.transcript))
    void = Voter(superseded=True)
    assert _votes(void.proposes(0, None)) == [(0, Phase.PREPARE, VOID_HASH)]
    justified = Voter(superseded=True)
    justified.enters(1)
    assert _votes(justified.proposes(1, justified.transcript, justified.root)) == [
        (1, Phase.PREPARE, justified.transcript.hash)
    ]


@pytest.mark.parametrize(
    ("locked", "justification", "allowed"),
    [
        (None, None, True),
        (1, None, False),
        (1, 0, False),
        (1, 1, False),
        (1, 2, True),
        (1, 4, False),  # not below the proposal's view
        (0, 1, True),
    ],
)
def test_the_lock_rule(locked: int | None, justification: int | None, allowed: bool) -> None:
    """Locked on a key in view w, ∅ is prepared in view 3 only with a prepare certificate for ∅ of a view between."""
    voter = Voter(coordinates=2, superseded=True)
    digest = voter.transcript.hash
    if locked is not None:
        if locked:
            voter.enters(locked)
        locking = voter.hears(
            voter.cast.frame(
                voter.others[0], Kind.CERTIFICATE, certificate_body(None, voter.certificate(locked, digest))
            )
        )
        assert _votes(locking) == [(locked, Phase.COMMIT, digest)]
    voter.enters(3)
    proof = (
        None if justification is None else voter.certificate(justification, VOID_HASH, signers=voter.others)
    )
    expected = [(3, Phase.PREPARE, VOID_HASH)] if allowed else []
    assert _votes(voter.proposes(3, None, proof)) == expected


def test_locks_survive_a_crash() -> None:
    """Locked, crashed, back: the lock stands, and travels in the next view change."""
    voter = Voter(superseded=True)
    voter.hears(
        voter.cast.frame(
            voter.others[0], Kind.CERTIFICATE, certificate_body(voter.transcript.encoded, voter.root)
        )
    )
    voter.restarts()
    voter.ceremony.supersede(voter.now)
    (change,) = broadcasts(voter.enters(1), Kind.VIEW_CHANGE)
    assert read_view_change(change).prepared == voter.root
    assert not _votes(voter.proposes(1, None))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda v: v.certificate(0, v.transcript.hash, signers=v.others),  # too few for a root
        lambda v: v.certificate(0, v.transcript.hash, phase=Phase.COMMIT),
        lambda v: v.certificate(0, b"\x01" * 32),
        lambda v: v.certificate(1, v.transcript.hash),
        lambda v: v.certificate(7, v.transcript.hash),
    ],
)
def test_a_justification_must_justify(wrong: object) -> None:
    """Enough signers, phase prepare, this hash, a lower view; else the proposal is not even taken as fresh."""
    voter = Voter()
    voter.enters(1)
    encoded = voter.transcript.encoded
    coordinator = voter.cast.session.coordinator(1)
    body = proposal_body(1, encoded, wrong(voter), None)  # type: ignore[operator]
    prepares = [
        v
        for v in _votes(voter.hears(voter.cast.frame(coordinator, Kind.PROPOSAL, body)))
        if v[1] is Phase.PREPARE
    ]
    assert not prepares


def test_a_wrong_transcript_is_not_prepared() -> None:
    """Right session, consistent, but A is not the sum of its dealings; or it is of dealers that are not counted."""
    voter = Voter()
    fields = {name: getattr(voter.transcript, name) for name in voter.transcript.__dataclass_fields__}
    a_reversed = fields["commitments"][::-1]
    for changes in (
        {"commitments": a_reversed, "mpk": a_reversed[0]},
        {"dealers": fields["dealers"][1:]},
        {"dealers": ((OperatorAddress(bytes(20)), bytes(32)), *fields["dealers"])},
    ):
        fresh = Voter()
        assert not _votes(fresh.proposes(0, Transcript(**{**fields, **changes})))
    elsewhere = Voter()
    elsewhere.proposes(0, Transcript(**{**fields, "session": bytes(32)}))
    assert not elsewhere.agreement._transcripts, "another session's is not even kept"


def test_a_fresh_vote_waits_for_the_shares() -> None:
    """The proposal comes before a share: the vote follows when the share does, in the same view."""
    voter = Voter()
    missing = voter.others[0]
    share = voter.ceremony._exchanges.current._shares.pop(missing)
    assert not _votes(voter.proposes(0, voter.transcript))
    voter.ceremony._exchanges.current._shares[missing] = share
    assert _votes(voter.waits(0.1)) == [(0, Phase.PREPARE, voter.transcript.hash)]


def test_a_justified_vote_needs_no_share_and_a_later_fresh_one_journals_it() -> None:
    """What is durable is what the vote promises."""
    voter = Voter()
    missing = voter.others[0]
    share = voter.ceremony._exchanges.current._shares.pop(missing)
    voter.enters(1)
    effects = voter.proposes(1, voter.transcript, voter.root)
    assert [v[1] for v in _votes(effects)] == [Phase.PREPARE]
    assert [r.kind for r in journal(effects) if r.kind in ("transcript", "share")] == ["transcript"]
    voter.ceremony._exchanges.current._shares[missing] = share
    voter.enters(2)
    effects = voter.proposes(2, voter.transcript)
    assert [r.kind for r in journal(effects) if r.kind in ("transcript", "share")] == ["share"]


# -- committing and deciding -----------------------------------------------------------------------------------


def test_commit_only_on_a_certificate_of_my_view() -> None:
    """An older one raises what I know, and no vote; lock and vote are journaled in this order."""
    voter = Voter()
    voter.enters(1)
    old = voter.cast.frame(voter.others[0], Kind.CERTIFICATE, certificate_body(None, voter.root))
    assert not _votes(voter.hears(old))
    now = voter.certificate(1, voter.transcript.hash)
    effects = voter.hears(voter.cast.frame(voter.others[1], Kind.CERTIFICATE, certificate_body(None, now)))
    assert _votes(effects) == [(1, Phase.COMMIT, voter.transcript.hash)]
    assert [r.kind for r in journal(effects)] == ["lock", "frame"]


def test_votes_add_up_to_the_decision() -> None:
    """All n prepare votes make me commit; t' commit votes of one view decide, in whatever order they come."""
    voter = Voter()
    digest = voter.transcript.hash
    commits = [voter.vote(a, 0, Phase.COMMIT, digest) for a in voter.others[:2]]
    assert not voter.hears(*commits)
    voter.proposes(0, voter.transcript)
    effects = voter.hears(*(voter.vote(a, 0, Phase.PREPARE, digest) for a in voter.others))
    assert _votes(effects) == [(0, Phase.COMMIT, digest)]
    (certified,) = [e for e in effects if isinstance(e, Certified)]
    assert certified.transcript == voter.transcript
    assert certified.share is not None
    assert voter.ceremony.status().phase == "certified"
    assert voter.ceremony.deadline(voter.now) is None
    assert not voter.waits(10)


def test_a_decision_of_an_unknown_transcript_waits_for_it() -> None:
    """Commit votes alone say which hash; the transcript may come later, from anybody."""
    voter = Voter()
    digest = voter.transcript.hash
    assert not voter.hears(*(voter.vote(a, 4, Phase.COMMIT, digest) for a in voter.others))
    assert not voter.ceremony.decided
    certificate = voter.certificate(4, digest, Phase.COMMIT, voter.others)
    body = certificate_body(voter.transcript.encoded, certificate)
    effects = voter.hears(voter.cast.frame(voter.others[0], Kind.CERTIFICATE, body))
    assert [type(e) for e in effects if isinstance(e, Certified)] == [Certified]


def test_a_certificate_without_its_transcript_decides_nothing() -> None:
    """Nor does a transcript with a certificate of another, or one that proves nothing."""
    voter = Voter()
    good = voter.certificate(0, voter.transcript.hash, Phase.COMMIT, voter.others)
    few = voter.certificate(0, voter.transcript.hash, Phase.COMMIT, voter.others[:2])
    other = voter.certificate(0, b"\x05" * 32, Phase.COMMIT, voter.others)
    encoded = voter.transcript.encoded
    senders = iter(voter.others * 2)
    for transcript, certificate in ((None, good), (b"nonsense", good), (encoded, few), (encoded, other)):
        voter.hears(
            voter.cast.frame(next(senders), Kind.CERTIFICATE, certificate_body(transcript, certificate))
        )
        assert not voter.ceremony.decided
        kept = voter.transcript.hash in voter.agreement._transcripts
        assert kept == (certificate is other), "kept only beside a certificate that verifies"


def test_void_closes_the_session() -> None:
    """T' commit votes for ∅: closed, and free for the next genesis."""
    voter = Voter(superseded=True)
    voter.proposes(0, None)
    effects = voter.hears(*(voter.vote(a, 0, Phase.PREPARE, VOID_HASH) for a in voter.others[:2]))
    assert _votes(effects) == [(0, Phase.COMMIT, VOID_HASH)]
    effects = voter.hears(*(voter.vote(a, 0, Phase.COMMIT, VOID_HASH) for a in voter.others[:2]))
    assert [type(e) for e in effects if isinstance(e, Closed)] == [Closed]
    assert (voter.ceremony.decided, voter.ceremony.binding) == (True, False)
    assert voter.ceremony.status().phase == "void"


def test_only_a_vote_for_a_key_binds() -> None:
    """A vote for ∅ leaves an operator free."""
    void, key = Voter(superseded=True), Voter()
    void.proposes(0, None)
    key.proposes(0, key.transcript)
    assert (void.ceremony.binding, key.ceremony.binding) == (False, True)


# -- the root ------------------------------------------------------------------------------------------------


def test_after_the_root_a_quorum_prepares() -> None:
    """All n prepared once. In a later view t' prepare votes are enough to commit, and the root is journaled before the lock."""
    voter = Voter()
    digest = voter.transcript.hash
    voter.enters(1)
    voter.proposes(1, voter.transcript, voter.root)
    effects = voter.hears(*(voter.vote(a, 1, Phase.PREPARE, digest) for a in voter.others[:2]))
    assert _votes(effects) == [(1, Phase.COMMIT, digest)]
    assert [r.kind for r in journal(effects)] == ["root", "lock", "frame"]
    voter.restarts()
    (change,) = broadcasts(voter.enters(2), Kind.VIEW_CHANGE)
    found = read_view_change(change)
    assert (found.prepared is not None and found.prepared.view, found.root) == (1, voter.root)


def test_without_the_root_a_quorum_is_too_few() -> None:
    """T' prepare votes for a key that not all n prepared are no certificate, neither tallied nor told."""
    voter = Voter()
    digest = voter.transcript.hash
    voter.proposes(0, voter.transcript)
    assert not _votes(voter.hears(*(voter.vote(a, 0, Phase.PREPARE, digest) for a in voter.others[:2])))
    few = voter.certificate(0, digest, signers=voter.others)
    voter.hears(voter.cast.frame(voter.others[0], Kind.VIEW_CHANGE, view_change_body(1, few)))
    assert voter.agreement._highest is None


def test_a_coordinator_hands_the_root_on() -> None:
    """A justified proposal carries the first certificate where the newest has fewer signers."""
    voter = Voter(coordinates=2)
    digest = voter.transcript.hash
    later = voter.certificate(1, digest, signers=voter.others)
    changes = [
        voter.cast.frame(a, Kind.VIEW_CHANGE, view_change_body(2, later, voter.root)) for a in voter.others
    ]
    known = voter.cast.frame(voter.others[0], Kind.PROPOSAL, proposal_body(0, voter.transcript.encoded, None))
    (proposal,) = broadcasts(voter.hears(known, *changes), Kind.PROPOSAL)
    found = read_proposal(proposal)
    assert (found.view, found.justification, found.root) == (2, later, voter.root)


# -- views ---------------------------------------------------------------------------------------------------


def test_view_zero_ends_with_its_time_and_later_ones_run_from_a_quorum() -> None:
    """Cut off, an operator goes to view 1 and waits there, saying so again every few windows; with t' beside it, time runs."""
    voter = Voter()
    assert voter.ceremony.deadline(voter.now) == pytest.approx(0.5)
    (change,) = broadcasts(voter.waits(0.4), Kind.VIEW_CHANGE)
    assert read_view_change(change).view == 1
    assert not voter.waits(REPEAT_WINDOWS - 0.1)
    assert voter.ceremony.deadline(voter.now) == pytest.approx(0.5 + REPEAT_WINDOWS)
    assert broadcasts(voter.waits(0.2), Kind.VIEW_CHANGE) == [change]
    assert not voter.waits(0.2)
    voter.hears(*(voter.cast.frame(a, Kind.VIEW_CHANGE, view_change_body(1, None)) for a in voter.others[:2]))
    assert not broadcasts(voter.waits(0.9), Kind.VIEW_CHANGE)
    (change,) = broadcasts(voter.waits(0.2), Kind.VIEW_CHANGE)
    assert read_view_change(change).view == 2


def test_enough_members_above_take_me_along() -> None:
    """N − t' + 1 view changes for views above mine take me to the lowest of them; fewer, and one liar's, do not."""
    voter = Voter(n=7)
    high = [
        voter.cast.frame(a, Kind.VIEW_CHANGE, view_change_body(v, None))
        for a, v in zip(voter.others, (9, 5, 7), strict=False)
    ]
    assert not voter.hears(*high[:2])
    (change,) = broadcasts(voter.hears(high[2]), Kind.VIEW_CHANGE)
    assert read_view_change(change).view == 5


def test_a_coordinator_waits_for_the_rest_a_little() -> None:
    """T' members in the view, then all n or a quarter of a window: whoever knows a prepared transcript shall be heard."""
    voter = Voter(coordinates=1)
    assert not broadcasts(voter.enters(1, count=2), Kind.PROPOSAL)
    assert voter.ceremony.deadline(voter.now) == pytest.approx(voter.now + 0.25)
    late = voter.cast.frame(voter.others[2], Kind.VIEW_CHANGE, view_change_body(1, voter.root))
    first = voter.cast.frame(
        voter.cast.session.coordinator(0), Kind.PROPOSAL, proposal_body(0, voter.transcript.encoded, None)
    )
    (proposal,) = broadcasts(voter.hears(first, late), Kind.PROPOSAL)
    assert read_proposal(proposal).justification == voter.root
    alone = Voter(coordinates=1)
    alone.enters(1, count=2)
    (proposal,) = broadcasts(alone.waits(0.25), Kind.PROPOSAL)
    assert read_proposal(proposal).justification is None


def test_a_coordinator_that_lacks_the_prepared_transcript_proposes_nothing() -> None:
    """Another one may have it; a fresh or an empty proposal would lose against the locks."""
    voter = Voter(coordinates=1)
    voter.hears(
        *(
            voter.cast.frame(a, Kind.VIEW_CHANGE, view_change_body(1, voter.certificate(0, b"\x09" * 32)))
            for a in voter.others
        )
    )
    assert not broadcasts(voter.waits(0.3), Kind.PROPOSAL)


def test_a_coordinator_proposes_void_when_nothing_is_prepared() -> None:
    """After the next boundary, fresh; and justified where ∅ is prepared already."""
    voter = Voter(coordinates=1, superseded=True)
    (proposal,) = broadcasts(voter.enters(1, count=3), Kind.PROPOSAL)
    assert (read_proposal(proposal).transcript, read_proposal(proposal).justification) == (None, None)
    again = Voter(coordinates=1, superseded=True)
    prepared = again.certificate(0, VOID_HASH, signers=again.others)
    (proposal,) = broadcasts(again.enters(1, prepared, count=3), Kind.PROPOSAL)
    assert read_proposal(proposal).justification == prepared


def test_a_prepared_transcript_hidden_in_one_view_and_released_in_the_next_breaks_nothing() -> None:
    """Whoever did not lock follows the certificate wherever it turns up; whoever voted in the view above does not go back."""
    voter = Voter(coordinates=1, superseded=True)
    voter.enters(2)
    assert _votes(voter.proposes(2, None)) == [(2, Phase.PREPARE, VOID_HASH)]
    hidden = voter.certificate(1, voter.transcript.hash)
    released = voter.cast.frame(voter.others[0], Kind.VIEW_CHANGE, view_change_body(3, hidden))
    assert not _votes(voter.hears(released))
    voter.hears(voter.cast.frame(voter.others[1], Kind.VIEW_CHANGE, view_change_body(3, None)))
    assert voter.agreement.view == 3
    assert _votes(voter.proposes(3, voter.transcript, hidden)) == [(3, Phase.PREPARE, voter.transcript.hash)]


def test_one_view_change_wakes_a_session_left_behind() -> None:
    """Before the next boundary n − t' + 1 are needed; after it a single one, as its sender may be bound."""
    who = cast(4)
    ceremony = who.ceremony(who.addresses[0])
    ceremony.start(0.0)
    change = [who.frame(a, Kind.VIEW_CHANGE, view_change_body(1, None)) for a in who.addresses[1:3]]
    ceremony.receive(change[:1], 1.0)
    assert not ceremony._agreement.started
    ceremony.receive(change[1:], 1.0)
    assert ceremony._agreement.started
    sleeper = who.ceremony(who.addresses[0])
    sleeper.start(0.0)
    sleeper.supersede(1.0)
    assert (sleeper.pulls, sleeper.may_matter, sleeper.deadline(5.0)) == (False, False, None)
    sleeper.receive(change[:1], 5.0)
    assert (sleeper.pulls, sleeper.may_matter, sleeper._agreement.started) == (True, True, True)


# -- bounds --------------------------------------------------------------------------------------------------


def test_a_flood_leaves_no_more_than_its_bounds() -> None:
    """Votes and proposals of far views, certificates without end: what is kept of a sender has a bound, and others lose nothing."""
    voter = Voter()
    voter.proposes(0, voter.transcript)
    liar = voter.cast.session.coordinators[1]
    fields = {name: getattr(voter.transcript, name) for name in voter.transcript.__dataclass_fields__}
    for k in range(1, 60):
        view = 4 * k + 1
        odd = Transcript(**{**fields, "source_hash": k.to_bytes(32, "big")})
        other = Transcript(**{**fields, "source_hash": (k + 1000).to_bytes(32, "big")})
        frames = [
            voter.vote(liar, view, Phase.PREPARE, k.to_bytes(32, "big")),
            voter.cast.frame(liar, Kind.PROPOSAL, proposal_body(view, odd.encoded, None)),
            voter.cast.frame(
                liar,
                Kind.CERTIFICATE,
                certificate_body(other.encoded, voter.certificate(view, bytes([k]) * 32, signers=[liar])),
            ),
            voter.cast.frame(liar, Kind.VOTE, vote_body(view, Phase.PREPARE, bytes([k]) * 32, bytes(64))),
        ]
        for frame in frames:
            if voter.ceremony.wants(frame):
                voter.ceremony.receive([frame], voter.now)
    kept = [f for f in voter.ceremony._log if f.sender == liar]
    by_kind = {
        kind: sum(f.kind is kind for f in kept) for kind in (Kind.VOTE, Kind.PROPOSAL, Kind.CERTIFICATE)
    }
    assert by_kind == {Kind.VOTE: MAX_VIEWS, Kind.PROPOSAL: MAX_VIEWS, Kind.CERTIFICATE: MAX_REPEATS}
    agreement = voter.agreement
    assert len(agreement._ballots._votes) <= MAX_VIEWS + 1
    assert len(agreement._proposals) <= MAX_VIEWS + 1
    assert len(agreement._transcripts) <= MAX_VIEWS + 1
    assert voter.transcript.hash in agreement._transcripts
    assert other.hash not in agreement._transcripts, "no certificate came with it"
    assert voter.ceremony.status().dropped > 0


def test_certificates_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it they are verified again, and still believed."""
    monkeypatch.setattr("eigenkms.protocols.agreement.MAX_VERIFIED", 2)
    voter = Voter()
    for view in range(5):
        assert voter.agreement._is_valid(voter.certificate(view, VOID_HASH))
    assert len(voter.agreement._verified) <= 2
    assert voter.agreement._is_valid(voter.certificate(0, VOID_HASH))


def test_what_falls_out_of_the_log_is_forgotten_here_too() -> None:
    """A vote leaves its ballot with the others' votes in it; view changes keep what they taught."""
    voter = Voter()
    digest = voter.transcript.hash
    votes = [
        voter.cast.frame(a, Kind.VOTE, vote_body(0, Phase.PREPARE, digest, bytes(64))) for a in voter.others
    ]
    change = voter.cast.frame(voter.others[0], Kind.VIEW_CHANGE, view_change_body(1, None))
    voter.hears(*votes[:2], change)
    ballot = (0, Phase.PREPARE, digest)
    assert set(voter.agreement._ballots._votes[ballot]) == set(voter.others[:2])
    voter.agreement.forget(votes[0])
    assert set(voter.agreement._ballots._votes[ballot]) == {voter.others[1]}
    voter.agreement.forget(votes[1])
    assert ballot not in voter.agreement._ballots._votes
    voter.agreement.forget(change)
    assert voter.agreement._views._members == {voter.others[0]: 1}


def test_a_flood_in_one_batch_is_bounded_like_any_other() -> None:
    """Each frame alone was worth a look; together they are too many, and the rest is dropped."""
    voter = Voter()
    frames = [
        voter.cast.frame(voter.others[0], Kind.CERTIFICATE, certificate_body(bytes([k]), _nothing(voter)))
        for k in range(MAX_REPEATS + 2)
    ]
    before = voter.ceremony.status().frames
    assert all(voter.ceremony.wants(f) for f in frames)
    assert voter.ceremony.receive(frames, voter.now) == []
    assert voter.ceremony.status().frames == before + MAX_REPEATS
    assert voter.ceremony.status().dropped == 2


def _nothing(voter: Voter) -> Certificate:
    """A certificate that nobody signed."""
    return Certificate(voter.cast.session.id, 0, Phase.COMMIT, bytes(32), b"\x00", bytes(64))
