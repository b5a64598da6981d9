"""Agreement in small steps: one operator's votes, locks and views against whatever the others may say."""

import pkgutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from eigenkms.crypto import bn254
from eigenkms.protocols.ceremony import transcript_pool
from eigenkms.protocols.ceremony.agreement import Agreement
from eigenkms.protocols.ceremony.ceremony import Ceremony
from eigenkms.protocols.ceremony.effects import (
    CloseSession,
    Effect,
    StoreCertifiedVersion,
    StorePreparedVersion,
)
from eigenkms.protocols.ceremony.frame_log import MAX_REPEATS, MAX_VIEWS
from eigenkms.protocols.ceremony.pacemaker import REPEAT_WINDOWS
from eigenkms.protocols.records.evidence import Fault
from eigenkms.protocols.records.evidence_check import check_evidence
from eigenkms.types import OperatorAddress
from eigenkms.wire import messages
from eigenkms.wire.codec import Fields
from eigenkms.wire.frames import Frame, FrameKind, decode_frame
from eigenkms.wire.messages import (
    GENESIS,
    SourceRef,
    certificate_body,
    key_body,
    proposal_body,
    read_proposal,
    read_view_change,
    read_vote,
    ref_of,
    view_change_body,
    vote_body,
)
from eigenkms.wire.session import Session
from eigenkms.wire.transcript import ListedKey, Transcript, decode_transcript
from eigenkms.wire.votes import (
    VOID_HASH,
    Certificate,
    Phase,
    aggregate,
    check_certificate,
    vote_digest,
)
from tests.protocols.parts import agreement_of, base_versions_of, frame_log_of
from tests.protocols.rooms import KeyVersion, Table, seat_of, version_of
from tests.protocols.support import accusations, broadcasts, cast, journal


class Voter:
    """One operator that waits for the first proposal; all others speak through this class.

    ``place`` is its place in the order of leaders, the last by default. It holds every dealing, unless ``serves`` is false.
    """

    def __init__(
        self,
        *,
        place: int | None = None,
        superseded: bool = False,
        n: int = 4,
        rotates: bool = False,
        serves: bool = True,
    ) -> None:
        self.cast = cast(n)
        self.source: KeyVersion | None = version_of(self.cast) if rotates else None
        if rotates:
            self.cast = self.cast.at(10)
        order = self.cast.session.coordinators
        self.me = order[n - 1 if place is None else place]
        self.others = [a for a in order if a != self.me]
        self.table = Table(
            self.cast,
            lambda _s, _l, f: f.kind not in (FrameKind.PROPOSAL, FrameKind.VOTE),
            source=self.source,
        )
        self.table.serves = lambda asker, _name: serves or asker != self.me
        self.table.start()
        self.ceremony: Ceremony = self.table.seats[self.me]
        draft = base_versions_of(self.table.seats[self.others[0]]).draft()
        assert draft is not None
        self.transcript: Transcript = draft.transcript
        self.keys = draft.keys
        self.now = 0.1
        if superseded:
            self.table.take(self.me, self.ceremony.on_next_boundary(self.now))

    @property
    def agreement(self) -> Agreement:
        return agreement_of(self.ceremony)

    @property
    def dealt_from(self) -> SourceRef:
        return ref_of(None if self.source is None else self.source.transcript)

    def receive(self, *frames: Frame) -> list[Effect]:
        effects: list[Effect] = []
        for frame in frames:
            assert self.ceremony.should_verify(frame)
            effects += self.ceremony.receive([frame], self.now)
        self.table.effects[self.me] += effects
        return effects

    def advance(self, seconds: float) -> list[Effect]:
        self.now += seconds
        effects = self.ceremony.tick(self.now)
        self.table.effects[self.me] += effects
        return effects

    def proposal(
        self,
        view: int,
        transcript: Transcript | None,
        proof: Certificate | None = None,
        keys: Sequence[bytes] | None = None,
    ) -> Frame:
        encoded = None if transcript is None else transcript.encoded
        shown = self.keys if keys is None else keys
        source = self.dealt_from if transcript is not None else GENESIS
        leader = self.cast.session.coordinator(view)
        return self.cast.frame(leader, FrameKind.PROPOSAL, proposal_body(view, source, encoded, proof, shown))

    def propose(
        self, view: int, transcript: Transcript | None, proof: Certificate | None = None
    ) -> list[Effect]:
        return self.receive(self.proposal(view, transcript, proof))

    def change(self, sender: OperatorAddress, view: int, prepared: Certificate | None = None) -> Frame:
        return self.cast.frame(sender, FrameKind.VIEW_CHANGE, view_change_body(view, prepared))

    def enters(self, view: int, prepared: Certificate | None = None, count: int = 2) -> list[Effect]:
        """Others change to ``view``."""
        return self.receive(*(self.change(a, view, prepared) for a in self.others[:count]))

    def certificate(
        self,
        view: int,
        digest: bytes,
        phase: Phase = Phase.PREPARE,
        signers: Sequence[OperatorAddress] | None = None,
    ) -> Certificate:
        chosen = self.cast.addresses if signers is None else signers
        signed = vote_digest(self.cast.session.id, view, phase, digest)
        votes = {a: bn254.sign(self.cast.keys[a], signed) for a in chosen}
        return aggregate(self.cast.session.id, view, phase, digest, votes, self.cast.session.recipients)

    def announced(self, sender: OperatorAddress, certificate: Certificate, encoded: bytes | None) -> Frame:
        return self.cast.frame(sender, FrameKind.CERTIFICATE, certificate_body(encoded, certificate))

    @property
    def prepared(self) -> Certificate:
        """A prepare certificate of view 0."""
        return self.certificate(0, self.transcript.hash)

    def vote(self, sender: OperatorAddress, view: int, phase: Phase, digest: bytes) -> Frame:
        signature = bn254.sign(self.cast.keys[sender], vote_digest(self.cast.session.id, view, phase, digest))
        return self.cast.frame(sender, FrameKind.VOTE, vote_body(view, phase, digest, signature))

    def restarts(self) -> list[Effect]:
        again = self.table.sit(self.me, journal(self.table.effects[self.me]))
        self.ceremony = self.table.seats[self.me] = again
        return again.start(self.now)


def _votes(effects: Sequence[Effect]) -> list[tuple[int, Phase, bytes]]:
    return [(v.view, v.phase, v.hash) for v in map(read_vote, broadcasts(effects, FrameKind.VOTE))]


# -- preparing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rotates", [False, True])
def test_a_fresh_proposal_is_prepared_once(rotates: bool) -> None:
    """Of the leader, in its view, with all dealings held; a second proposal is evidence and changes nothing."""
    voter = Voter(rotates=rotates)
    assert _votes(voter.propose(0, voter.transcript)) == [(0, Phase.PREPARE, voter.transcript.hash)]
    second = voter.receive(voter.proposal(0, voter.transcript, keys=()))
    assert [e.fault for e in accusations(second)] == [Fault.EQUIVOCATION]
    assert not _votes(second)


def test_what_is_voted_for_is_durable_before() -> None:
    """Every dealing that the transcript names, with its body, and the transcript; in another view nothing of it again."""
    voter = Voter()
    effects = voter.propose(0, voter.transcript)
    others = voter.cast.session.n - 1
    kinds = [record.kind for record in journal(effects)]
    assert kinds == ["dealing", "body"] * others + ["transcript", "frame"]
    voter.enters(1)
    again = voter.propose(1, voter.transcript, voter.prepared)
    assert [record.kind for record in journal(again)] == ["frame"]
    assert _votes(again) == [(1, Phase.PREPARE, voter.transcript.hash)]


def test_only_the_leader_proposes() -> None:
    """Others' proposals are not even looked at, nor those from a source that is not dealt from here."""
    voter = Voter()
    leader = voter.cast.session.coordinator(0)
    for sender in voter.others[1:]:
        body = proposal_body(0, GENESIS, voter.transcript.encoded, None)
        assert not voter.ceremony.should_verify(voter.cast.frame(sender, FrameKind.PROPOSAL, body))
    unknown = proposal_body(0, SourceRef(4711, bytes(32)), voter.transcript.encoded, None)
    assert not voter.ceremony.should_verify(voter.cast.frame(leader, FrameKind.PROPOSAL, unknown))


def test_a_proposal_names_the_source_of_its_transcript() -> None:
    """Who leads depends on it: a transcript from another version than the named one is not prepared."""
    voter = Voter(rotates=True)
    version = voter.dealt_from.version
    for other in (
        replace(voter.transcript, source_version=version - 1),
        replace(voter.transcript, source_hash=bytes(32)),
    ):
        voter = Voter(rotates=True)
        assert not _votes(voter.receive(voter.proposal(0, other)))


def test_a_proposal_of_another_view_waits_for_it() -> None:
    """Nothing is voted above my view; entering it, I vote; below it, never again."""
    voter = Voter()
    assert not _votes(voter.propose(1, voter.transcript))
    assert _votes(voter.enters(1)) == [(1, Phase.PREPARE, voter.transcript.hash)]
    assert not _votes(voter.propose(0, voter.transcript))


def test_entering_a_view_ends_voting_in_lower_ones_after_a_crash_too() -> None:
    """The view change is journaled: the next life is in that view, and says it again."""
    voter = Voter()
    voter.enters(2)
    again = voter.restarts()
    assert [read_view_change(f).view for f in broadcasts(again, FrameKind.VIEW_CHANGE)] == [2]
    assert voter.agreement.view == voter.ceremony.view == 2
    assert not _votes(voter.propose(0, voter.transcript))
    assert not _votes(voter.propose(1, voter.transcript))


def test_a_vote_is_repeated_to_the_byte_after_a_crash() -> None:
    """And no second one is cast in its place, for whatever hash."""
    voter = Voter(superseded=True)
    first = broadcasts(voter.propose(0, None), FrameKind.VOTE)
    again = voter.restarts()
    assert broadcasts(again, FrameKind.VOTE) == first
    voter.ceremony.on_next_boundary(voter.now)
    assert not _votes(voter.propose(0, voter.transcript, None))


def test_void_may_be_voted_only_after_the_next_boundary_and_then_nothing_fresh() -> None:
    """Before it a key, after it ∅ or a justified proposal."""
    early = Voter()
    assert not _votes(early.propose(0, None))
    late = Voter(superseded=True)
    assert not _votes(late.propose(0, late.transcript))
    void = Voter(superseded=True)
    assert _votes(void.propose(0, None)) == [(0, Phase.PREPARE, VOID_HASH)]
    justified = Voter(superseded=True)
    justified.enters(1)
    assert _votes(justified.propose(1, justified.transcript, justified.prepared)) == [
        (1, Phase.PREPARE, justified.transcript.hash)
    ]


def test_a_rotation_ends_at_the_next_boundary() -> None:
    """There is no ∅, and no vote, proposal or view change any more; a certificate is taken in."""
    voter = Voter(rotates=True)
    assert not _votes(voter.receive(voter.cast.frame(voter.others[0], FrameKind.CERTIFICATE, _void(voter))))
    assert not voter.ceremony.decided
    voter.table.take(voter.me, voter.ceremony.on_next_boundary(voter.now))
    for effects in (
        voter.propose(0, voter.transcript),
        voter.enters(1, voter.prepared, count=3),
        voter.advance(60),
    ):
        assert not broadcasts(effects, FrameKind.VOTE)
        assert not broadcasts(effects, FrameKind.VIEW_CHANGE)
    assert voter.ceremony.deadline() is None
    certificate = voter.certificate(3, voter.transcript.hash, Phase.COMMIT, voter.others)
    effects = voter.receive(voter.announced(voter.others[1], certificate, voter.transcript.encoded))
    assert [e.transcript for e in effects if isinstance(e, StoreCertifiedVersion)] == [voter.transcript]


def _void(voter: Voter) -> list[object]:
    return certificate_body(None, voter.certificate(0, VOID_HASH, Phase.COMMIT, voter.others))


def test_one_that_is_no_recipient_only_listens() -> None:
    """A leaver neither votes nor changes the view, whatever it hears, and takes the certificate."""
    everybody = cast(5)
    leaver = everybody.addresses[0]
    who = everybody.at(10, everybody.addresses[1:])
    table = Table(who, source=version_of(everybody))
    table.start()
    for now in (1.0, 2.0):
        table.at(now)
    assert leaver in table.decided()
    assert {f.kind for k in FrameKind for f in table.said(leaver, k)} == {FrameKind.DEALING}


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
    voter = Voter(place=2, superseded=True)
    digest = voter.transcript.hash
    if locked is not None:
        if locked:
            voter.enters(locked)
        frame = voter.announced(voter.others[0], voter.certificate(locked, digest), voter.transcript.encoded)
        assert _votes(voter.receive(frame)) == [(locked, Phase.COMMIT, digest)]
    voter.enters(3)
    proof = (
        None if justification is None else voter.certificate(justification, VOID_HASH, signers=voter.others)
    )
    expected = [(3, Phase.PREPARE, VOID_HASH)] if allowed else []
    assert _votes(voter.propose(3, None, proof)) == expected


def test_a_lock_on_a_hash_lets_the_same_hash_be_prepared_again() -> None:
    """Fresh or justified."""
    voter = Voter()
    frame = voter.announced(voter.others[0], voter.prepared, voter.transcript.encoded)
    assert _votes(voter.receive(frame)) == [(0, Phase.COMMIT, voter.transcript.hash)]
    voter.enters(1)
    assert _votes(voter.propose(1, voter.transcript)) == [(1, Phase.PREPARE, voter.transcript.hash)]


def test_locks_survive_a_crash() -> None:
    """Locked, crashed, back: the lock stands, and travels in the next view change."""
    voter = Voter(superseded=True)
    voter.receive(voter.announced(voter.others[0], voter.prepared, voter.transcript.encoded))
    voter.restarts()
    voter.ceremony.on_next_boundary(voter.now)
    (change,) = broadcasts(voter.enters(1), FrameKind.VIEW_CHANGE)
    assert read_view_change(change).prepared == voter.prepared
    assert not _votes(voter.propose(1, None))


def test_a_crash_between_lock_and_commit_commits_in_the_next_life() -> None:
    """What is durable is not written again, and the view runs at once."""
    voter = Voter()
    voter.receive(voter.announced(voter.others[0], voter.prepared, voter.transcript.encoded))
    records = journal(voter.table.effects[voter.me])
    assert [r.kind for r in records[-3:]] == ["transcript", "lock", "frame"]
    again = voter.table.sit(voter.me, records[:-1])
    effects = again.start(voter.now)
    assert _votes(effects) == [(0, Phase.COMMIT, voter.transcript.hash)]
    assert "transcript" not in [r.kind for r in journal(effects)]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda v: v.certificate(0, v.transcript.hash, signers=v.others[:2]),
        lambda v: v.certificate(0, v.transcript.hash, phase=Phase.COMMIT),
        lambda v: v.certificate(0, b"\x01" * 32),
        lambda v: v.certificate(1, v.transcript.hash),
        lambda v: v.certificate(7, v.transcript.hash),
        lambda v: replace(v.prepared, session=bytes(32)),
        lambda v: replace(v.prepared, signature=v.certificate(1, v.transcript.hash).signature),
    ],
    ids=["few", "phase", "hash", "this view", "higher view", "session", "signature"],
)
def test_a_justification_must_justify(wrong: Callable[[Voter], Certificate]) -> None:
    """Enough signers, phase prepare, this session and hash, a lower view; else the proposal is not even taken as fresh."""
    voter = Voter()
    voter.enters(1)
    effects = voter.receive(voter.proposal(1, voter.transcript, wrong(voter)))
    assert not [v for v in _votes(effects) if v[1] is Phase.PREPARE]


@pytest.mark.slow
def test_a_wrong_transcript_is_not_prepared() -> None:
    """Right session, consistent, but A is not the sum of its dealings; or it names others than were dealt, or too few."""
    voter = Voter()
    right = voter.transcript
    swapped = right.commitments[::-1]
    (first, name), *rest = right.dealers
    for wrong in (
        replace(right, commitments=swapped, mpk=swapped[0]),
        replace(right, dealers=right.dealers[1:]),
        replace(right, dealers=((OperatorAddress(bytes(20)), bytes(32)), *right.dealers)),
        replace(right, dealers=((first, name[::-1]), *rest)),
        replace(right, source_hash=b"\x01" * 32),
        replace(right, source_version=7),
        replace(right, keys=()),
        replace(right, keys=right.keys[::-1]),
        replace(right, keys=(ListedKey(5, right.keys[0].public), *right.keys[1:])),  # type: ignore[union-attr]
    ):
        fresh = Voter()
        assert fresh.transcript == right
        assert not _votes(fresh.propose(0, wrong))
    for elsewhere in (replace(right, session=bytes(32)), replace(right, threshold=2)):
        fresh = Voter()
        fresh.propose(0, elsewhere)
        assert not fresh.agreement.statistics().transcripts, (
            "that of another session or one that contradicts itself is not even kept"
        )


def test_a_rotation_takes_no_genesis_and_no_other_master_key_and_the_other_way_round() -> None:
    """Neither as a proposal nor with a certificate."""
    for rotates in (False, True):
        voter, other = Voter(rotates=rotates), Voter(rotates=not rotates)
        alien = replace(other.transcript, session=voter.cast.session.id, boundary=voter.cast.session.boundary)
        certificate = voter.certificate(0, alien.hash, Phase.COMMIT)
        voter.receive(voter.announced(voter.others[0], certificate, alien.encoded))
        assert not voter.ceremony.decided
    voter = Voter()
    keyless = replace(voter.transcript, keys=())
    certificate = voter.certificate(0, keyless.hash, Phase.COMMIT)
    voter.receive(voter.announced(voter.others[0], certificate, keyless.encoded))
    assert not voter.ceremony.decided, "that is one of protocol 1"
    voter = Voter(rotates=True)
    foreign = version_of(voter.cast, source=voter.dealt_from.version).transcript
    certificate = voter.certificate(0, foreign.hash, Phase.COMMIT)
    voter.receive(voter.announced(voter.others[0], certificate, foreign.encoded))
    assert not voter.ceremony.decided


@pytest.mark.parametrize("justified", [False, True])
def test_a_vote_waits_for_the_dealings(justified: bool) -> None:
    """Whether fresh or justified: what is certified must be in reach. It follows when they are verified, in the same view."""
    voter = Voter(serves=False)
    view = 0
    if justified:
        voter.enters(1)
        view = 1
    assert not _votes(voter.propose(view, voter.transcript, voter.prepared if justified else None))
    voter.table.serves = lambda _asker, _name: True
    voter.table.now = voter.now
    before = len(voter.table.effects[voter.me])
    voter.table.settle()
    votes = _votes(voter.table.effects[voter.me][before:])
    assert votes[0] == (view, Phase.PREPARE, voter.transcript.hash)


# -- committing and deciding -----------------------------------------------------------------------------------


def test_commit_only_on_a_certificate_of_my_view() -> None:
    """An older one raises what I know, and no vote; lock and vote are journaled in this order, after the transcript."""
    voter = Voter()
    voter.enters(1)
    voter.propose(0, voter.transcript)
    assert not _votes(voter.receive(voter.announced(voter.others[0], voter.prepared, None)))
    now = voter.certificate(1, voter.transcript.hash)
    effects = voter.receive(voter.announced(voter.others[1], now, None))
    assert _votes(effects) == [(1, Phase.COMMIT, voter.transcript.hash)]
    assert [r.kind for r in journal(effects)] == ["transcript", "lock", "frame"]


def test_a_commit_needs_the_transcript() -> None:
    """Its number has to be known in later sessions; it may come from anybody."""
    voter = Voter()
    assert not _votes(voter.receive(voter.announced(voter.others[0], voter.prepared, None)))
    effects = voter.receive(voter.announced(voter.others[1], voter.prepared, voter.transcript.encoded))
    assert (0, Phase.COMMIT, voter.transcript.hash) in _votes(effects)


def test_a_rotation_hands_over_what_it_prepared() -> None:
    """Each certificate that is the highest so far, once; a genesis hands over nothing before its decision."""
    voter = Voter(rotates=True)
    effects = voter.receive(voter.announced(voter.others[0], voter.prepared, voter.transcript.encoded))
    assert [e for e in effects if isinstance(e, StorePreparedVersion)] == [
        StorePreparedVersion(voter.transcript, voter.prepared)
    ]
    assert voter.ceremony.locked == voter.transcript
    assert not [e for e in voter.advance(0.1) if isinstance(e, StorePreparedVersion)]
    higher = voter.certificate(2, voter.transcript.hash)
    effects = voter.receive(voter.change(voter.others[0], 3, higher))
    assert [e for e in effects if isinstance(e, StorePreparedVersion)] == [
        StorePreparedVersion(voter.transcript, higher)
    ]
    effects = voter.receive(voter.change(voter.others[1], 3, voter.certificate(1, voter.transcript.hash)))
    assert not [e for e in effects if isinstance(e, StorePreparedVersion)]
    genesis = Voter()
    effects = genesis.receive(
        genesis.announced(genesis.others[0], genesis.prepared, genesis.transcript.encoded)
    )
    assert not [e for e in effects if isinstance(e, StorePreparedVersion)]
    assert genesis.ceremony.locked is None


def test_votes_add_up_to_the_decision() -> None:
    """T' prepare votes make me commit; t' commit votes of one view decide, in whatever order they come."""
    voter = Voter()
    digest = voter.transcript.hash
    commits = [voter.vote(a, 0, Phase.COMMIT, digest) for a in voter.others[:2]]
    assert not voter.receive(*commits)
    voter.propose(0, voter.transcript)
    assert not voter.receive(voter.vote(voter.others[0], 0, Phase.PREPARE, digest))
    effects = voter.receive(voter.vote(voter.others[1], 0, Phase.PREPARE, digest))
    assert _votes(effects) == [(0, Phase.COMMIT, digest)]
    (certified,) = [e for e in effects if isinstance(e, StoreCertifiedVersion)]
    assert certified.transcript == voter.transcript
    assert [r.kind for r in journal(effects)] == ["lock", "frame", "certificate"]
    assert voter.ceremony.deadline() is None
    assert not voter.advance(10)


def test_a_decision_of_an_unknown_transcript_waits_for_it() -> None:
    """Commit votes alone say which hash; the transcript may come later, from anybody."""
    voter = Voter()
    digest = voter.transcript.hash
    assert not voter.receive(*(voter.vote(a, 4, Phase.COMMIT, digest) for a in voter.others))
    assert not voter.ceremony.decided
    certificate = voter.certificate(4, digest, Phase.COMMIT, voter.others)
    effects = voter.receive(voter.announced(voter.others[0], certificate, voter.transcript.encoded))
    assert [type(e) for e in effects if isinstance(e, StoreCertifiedVersion)] == [StoreCertifiedVersion]


def test_a_decision_whose_transcript_comes_as_a_proposal_follows_from_the_votes() -> None:
    """The ballot stays open until the transcript is known."""
    voter = Voter()
    digest = voter.transcript.hash
    voter.receive(*(voter.vote(a, 4, Phase.COMMIT, digest) for a in voter.others))
    effects = voter.propose(0, voter.transcript)
    assert [e.transcript for e in effects if isinstance(e, StoreCertifiedVersion)] == [voter.transcript]


def test_a_certificate_without_its_transcript_decides_nothing() -> None:
    """Nor does a transcript with a certificate of another, or one that proves nothing."""
    voter = Voter()
    good = voter.certificate(0, voter.transcript.hash, Phase.COMMIT, voter.others)
    few = voter.certificate(0, voter.transcript.hash, Phase.COMMIT, voter.others[:2])
    other = voter.certificate(0, b"\x05" * 32, Phase.COMMIT, voter.others)
    encoded = voter.transcript.encoded
    senders = iter(voter.others * 2)
    for transcript, certificate in ((None, good), (b"nonsense", good), (encoded, few), (encoded, other)):
        voter.receive(voter.announced(next(senders), certificate, transcript))
        assert not voter.ceremony.decided
        kept = voter.transcript.hash in voter.agreement.statistics().transcripts
        assert kept == (certificate is other), "kept only beside a certificate that verifies"


def test_void_closes_the_session() -> None:
    """T' commit votes for ∅: closed, and free for the next genesis; in every later life too."""
    voter = Voter(superseded=True)
    voter.propose(0, None)
    effects = voter.receive(*(voter.vote(a, 0, Phase.PREPARE, VOID_HASH) for a in voter.others[:2]))
    assert _votes(effects) == [(0, Phase.COMMIT, VOID_HASH)]
    effects = voter.receive(*(voter.vote(a, 0, Phase.COMMIT, VOID_HASH) for a in voter.others[:2]))
    assert [type(e) for e in effects if isinstance(e, CloseSession)] == [CloseSession]
    for _ in range(2):
        assert (voter.ceremony.decided, voter.ceremony.has_prepared_key) == (True, False)
        again = voter.restarts()
        assert [type(e) for e in again if isinstance(e, CloseSession)] == [CloseSession]
        assert not journal(again)


def test_only_a_vote_for_a_key_binds() -> None:
    """A vote for ∅ leaves an operator free; a rotation binds nobody."""
    void, key, rotation = Voter(superseded=True), Voter(), Voter(rotates=True)
    void.propose(0, None)
    for voter in (key, rotation):
        assert _votes(voter.propose(0, voter.transcript))
    assert [v.ceremony.has_prepared_key for v in (void, key, rotation)] == [False, True, False]


def test_a_body_is_read_once_however_many_parts_look_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of proposals and view changes, with what stands in them: as they come, and at each step after that."""
    voter = Voter()
    sent = [voter.proposal(0, voter.transcript)]
    sent += [voter.change(a, 1, voter.prepared) for a in voter.others[:2]]
    sent.append(voter.proposal(1, voter.transcript, voter.prepared))
    frames = [decode_frame(frame.encoded) for frame in sent]
    read, fields = Counter[str](), messages.Fields

    def count(value: object, arity: int, what: str) -> Fields:
        read[what] += 1
        return fields(value, arity, what)

    def decode(data: bytes) -> Transcript:
        read["transcript"] += 1
        return decode_transcript(data)

    monkeypatch.setattr(messages, "Fields", count)
    monkeypatch.setattr(transcript_pool, "decode_transcript", decode)
    own = [
        *broadcasts(voter.receive(*frames), FrameKind.VIEW_CHANGE),
        *broadcasts(voter.advance(1), FrameKind.VIEW_CHANGE),
    ]
    assert (read["proposal"], read["view change"], read["transcript"]) == (2, 2 + len(own), 1)


# -- views ---------------------------------------------------------------------------------------------------


def test_view_zero_ends_with_its_time_and_later_ones_run_from_a_quorum() -> None:
    """Cut off, an operator goes to view 1 and waits there, saying so again every few windows; with t' beside it, time runs."""
    voter = Voter()
    voter.now = 0.3
    assert voter.agreement.deadline(voter.now) == pytest.approx(0.5)
    (change,) = broadcasts(voter.advance(0.2), FrameKind.VIEW_CHANGE)
    assert read_view_change(change).view == 1
    assert not voter.advance(REPEAT_WINDOWS - 0.1)
    assert voter.agreement.deadline(voter.now) == pytest.approx(0.5 + REPEAT_WINDOWS)
    assert broadcasts(voter.advance(0.2), FrameKind.VIEW_CHANGE) == [change]
    assert not voter.advance(0.2)
    voter.receive(*(voter.change(a, 1) for a in voter.others[:2]))
    assert not broadcasts(voter.advance(0.9), FrameKind.VIEW_CHANGE)
    (change,) = broadcasts(voter.advance(0.2), FrameKind.VIEW_CHANGE)
    assert read_view_change(change).view == 2


def test_enough_members_above_take_me_along() -> None:
    """N − t' + 1 view changes for views above mine take me to the lowest of them; fewer, and one liar's, do not."""
    voter = Voter(n=7)
    high = [voter.change(a, v) for a, v in zip(voter.others, (9, 5, 7), strict=False)]
    assert not voter.receive(*high[:2])
    (change,) = broadcasts(voter.receive(high[2]), FrameKind.VIEW_CHANGE)
    assert read_view_change(change).view == 5


def test_a_leader_waits_for_the_rest_a_little() -> None:
    """T' members in the view, then all n or a quarter of a window: whoever knows a prepared transcript shall be heard."""
    voter = Voter(place=1)
    assert not broadcasts(voter.enters(1, count=2), FrameKind.PROPOSAL)
    assert voter.agreement.deadline(voter.now) == pytest.approx(voter.now + 0.25)
    late = voter.change(voter.others[2], 1, voter.prepared)
    (proposal,) = broadcasts(voter.receive(voter.proposal(0, voter.transcript), late), FrameKind.PROPOSAL)
    assert read_proposal(proposal).justification == voter.prepared
    alone = Voter(place=1)
    alone.enters(1, count=2)
    (proposal,) = broadcasts(alone.advance(0.25), FrameKind.PROPOSAL)
    found = read_proposal(proposal)
    assert (found.justification, found.source) == (None, GENESIS)
    assert set(found.keys) == set(alone.keys)


def test_a_leader_that_lacks_the_prepared_transcript_proposes_nothing() -> None:
    """Another one may have it; a fresh or an empty proposal would lose against the locks."""
    voter = Voter(place=1)
    voter.receive(*(voter.change(a, 1, voter.certificate(0, b"\x09" * 32)) for a in voter.others))
    assert not broadcasts(voter.advance(0.3), FrameKind.PROPOSAL)


def test_a_leader_proposes_void_when_nothing_is_prepared() -> None:
    """After the next boundary, fresh; and justified where ∅ is prepared already."""
    voter = Voter(place=1, superseded=True)
    (proposal,) = broadcasts(voter.enters(1, count=3), FrameKind.PROPOSAL)
    assert (read_proposal(proposal).transcript, read_proposal(proposal).justification) == (None, None)
    again = Voter(place=1, superseded=True)
    prepared = again.certificate(0, VOID_HASH, signers=again.others)
    (proposal,) = broadcasts(again.enters(1, prepared, count=3), FrameKind.PROPOSAL)
    assert read_proposal(proposal).justification == prepared


def test_a_prepared_transcript_hidden_in_one_view_and_released_in_the_next_breaks_nothing() -> None:
    """Whoever did not lock follows the certificate wherever it turns up; whoever voted in the view above does not go back."""
    voter = Voter(place=1, superseded=True)
    voter.enters(2)
    assert _votes(voter.propose(2, None)) == [(2, Phase.PREPARE, VOID_HASH)]
    hidden = voter.certificate(1, voter.transcript.hash)
    assert not _votes(voter.receive(voter.change(voter.others[0], 3, hidden)))
    voter.receive(voter.change(voter.others[1], 3))
    assert voter.agreement.view == 3
    assert _votes(voter.propose(3, voter.transcript, hidden)) == [(3, Phase.PREPARE, voter.transcript.hash)]


def test_one_view_change_wakes_a_session_left_behind() -> None:
    """Before the next boundary n − t' + 1 are needed; after it a single one, as its sender may be bound."""
    who = cast(4)
    ceremony = seat_of(who, who.addresses[0])
    ceremony.start(0.0)
    change = [who.frame(a, FrameKind.VIEW_CHANGE, view_change_body(1, None)) for a in who.addresses[1:3]]
    ceremony.receive(change[:1], 1.0)
    assert not agreement_of(ceremony).started
    ceremony.receive(change[1:], 1.0)
    assert agreement_of(ceremony).started
    sleeper = seat_of(who, who.addresses[0])
    sleeper.start(0.0)
    sleeper.on_next_boundary(1.0)
    assert (sleeper.needs_sync, sleeper.must_stay_answerable, sleeper.deadline()) == (False, False, None)
    sleeper.receive(change[:1], 5.0)
    assert (sleeper.needs_sync, sleeper.must_stay_answerable, agreement_of(sleeper).started) == (
        True,
        True,
        True,
    )


# -- bad votes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", ["another hash", "no point", "cancels out"])
def test_a_vote_that_does_not_verify_is_evidence_and_stops_nobody(bad: str) -> None:
    """Whoever signed a frame around it is accused, and the others' votes count."""
    voter = Voter()
    digest, liar = voter.transcript.hash, voter.others[2]
    voter.propose(0, voter.transcript)
    voter.receive(voter.vote(voter.others[0], 0, Phase.PREPARE, digest))
    signed = vote_digest(voter.cast.session.id, 0, Phase.PREPARE, digest)
    secrets = [voter.cast.keys[a].secret for a in (voter.me, voter.others[0])]
    signature = {
        "another hash": bn254.sign(voter.cast.keys[liar], bytes(32)),
        "no point": b"\xff" * 64,
        "cancels out": bn254.sign(bn254.KeyPair(-sum(secrets) % bn254.N), signed),
    }[bad]
    effects = voter.receive(
        voter.cast.frame(liar, FrameKind.VOTE, vote_body(0, Phase.PREPARE, digest, signature))
    )
    (evidence,) = accusations(effects)
    assert (evidence.fault, evidence.accused) == (Fault.BAD_VOTE, liar)
    check_evidence(evidence, voter.cast.session)
    assert not _votes(effects)
    effects = voter.receive(voter.vote(voter.others[1], 0, Phase.PREPARE, digest))
    assert _votes(effects) == [(0, Phase.COMMIT, digest)]


# -- bounds --------------------------------------------------------------------------------------------------


def test_a_flood_leaves_no_more_than_its_bounds() -> None:
    """Votes and proposals of far views, certificates without end: what is kept of a sender has a bound, and others lose nothing."""
    voter = Voter()
    voter.propose(0, voter.transcript)
    liar = voter.cast.session.coordinators[1]
    for k in range(1, 60):
        view = 4 * k + 1
        odd, other = (replace(voter.transcript, source_hash=(k + i).to_bytes(32, "big")) for i in (0, 1000))
        nothing = voter.certificate(view, bytes([k]) * 32, signers=[liar])
        for frame in (
            voter.vote(liar, view, Phase.PREPARE, k.to_bytes(32, "big")),
            voter.proposal(view, odd),
            voter.announced(liar, nothing, other.encoded),
            voter.cast.frame(
                liar, FrameKind.VOTE, vote_body(view, Phase.PREPARE, bytes([k]) * 32, bytes(64))
            ),
        ):
            if voter.ceremony.should_verify(frame):
                voter.ceremony.receive([frame], voter.now)
    kept = [f.kind for f in frame_log_of(voter.ceremony) if f.sender == liar]
    assert kept.count(FrameKind.VOTE) == MAX_VIEWS
    assert kept.count(FrameKind.PROPOSAL) == MAX_VIEWS
    assert kept.count(FrameKind.CERTIFICATE) == MAX_REPEATS
    kept_here = voter.agreement.statistics()
    assert len(kept_here.votes) <= MAX_VIEWS + 1
    assert kept_here.proposals <= MAX_VIEWS + 1
    assert len(kept_here.transcripts) <= MAX_VIEWS + 1
    assert voter.transcript.hash in kept_here.transcripts
    assert other.hash not in kept_here.transcripts, "no certificate came with it"
    assert frame_log_of(voter.ceremony).dropped > 0


def test_what_is_prepared_or_locked_outlives_its_proposal() -> None:
    """The frame of an old view falls out of the log; the transcript that it brought stays, as it may be proposed again."""
    voter = Voter(place=2)
    proposal = voter.proposal(0, voter.transcript)
    voter.enters(1)
    voter.receive(proposal, voter.change(voter.others[2], 2, voter.prepared))
    voter.agreement.forget(proposal)
    assert voter.agreement.prepared == (voter.transcript, voter.prepared)
    voted = Voter()
    proposal = voted.proposal(0, voted.transcript)
    assert _votes(voted.receive(proposal))
    voted.agreement.forget(proposal)
    assert voted.transcript.hash in voted.agreement.statistics().transcripts, "it is durable"
    unprepared = Voter()
    proposal = unprepared.proposal(1, unprepared.transcript)
    unprepared.receive(proposal)
    unprepared.agreement.forget(proposal)
    assert not unprepared.agreement.statistics().transcripts


def test_a_leader_that_proposes_in_many_views_displaces_no_proposal_of_another() -> None:
    """With two sources a view can have two leaders. What one of them has in too many views falls out alone."""
    voter = Voter()
    liar = voter.cast.frame(voter.others[2], FrameKind.PROPOSAL, proposal_body(1, GENESIS, None, None, ()))
    voter.agreement.receive(liar, voter.now)
    voter.receive(voter.proposal(1, voter.transcript, voter.prepared))
    voter.agreement.forget(liar)
    assert _votes(voter.enters(1)) == [(1, Phase.PREPARE, voter.transcript.hash)]


def test_certificates_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it they are verified again, and still accepted."""
    monkeypatch.setattr("eigenkms.protocols.ceremony.transcript_pool.MAX_VERIFIED", 2)
    voter = Voter()
    certificates = [voter.certificate(view, VOID_HASH) for view in range(5)]
    for view, certificate in enumerate(certificates):
        assert not accusations(voter.receive(voter.change(voter.others[0], view + 1, certificate)))
        assert voter.agreement.statistics().highest == certificate
    assert voter.agreement.statistics().verified <= 2
    assert not accusations(voter.receive(voter.change(voter.others[1], 6, certificates[0])))


def test_what_is_wrong_with_a_proposal_is_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forged justification or key frame costs a pairing once, not in every step of the view; more frames than keys cost none."""
    verified: list[object] = []

    def count(name: str) -> None:
        verify = pkgutil.resolve_name(name)

        def counted(item: object, *args: object) -> None:
            verified.append(item)
            verify(item, *args)

        monkeypatch.setattr(name, counted)

    count("eigenkms.protocols.ceremony.transcript_pool.check_certificate")
    count("eigenkms.wire.key_directory.verify_frame")
    forged = replace(Voter().prepared, signature=Voter().certificate(1, VOID_HASH).signature)
    justified, keyed, many = Voter(place=2), Voter(), Voter()
    justified.enters(1)
    verified.clear()
    justified.propose(1, justified.transcript, forged)
    key = keyed.cast.frame(keyed.others[0], FrameKind.KEY, key_body(bytes(48), bytes(80)))
    keyed.receive(keyed.proposal(0, keyed.transcript, keys=(*keyed.keys[1:], key.encoded)))
    for voter in (justified, keyed):
        assert not _votes(voter.advance(0.01) + voter.advance(0.01))
    assert len(verified) == 2
    assert not _votes(many.receive(many.proposal(0, many.transcript, keys=(*many.keys, key.encoded))))
    assert len(verified) == 2


def test_who_showed_a_bad_certificate_shows_no_more_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pairing and one piece of evidence, however many follow; its views and votes count on, and others' certificates."""
    voter, verified = Voter(), list[Certificate]()

    def count(certificate: Certificate, session: Session) -> None:
        verified.append(certificate)
        check_certificate(certificate, session)

    monkeypatch.setattr(transcript_pool, "check_certificate", count)
    liar, other = voter.others[:2]
    bad = [replace(voter.prepared, hash=bytes([k]) * 32) for k in range(1, 7)]
    changes = [voter.change(liar, k, certificate) for k, certificate in enumerate(bad, 1)]
    effects = voter.receive(*changes, voter.announced(liar, bad[0], None))
    (evidence,) = accusations(effects)
    assert (evidence.fault, evidence.accused) == (Fault.BAD_CERTIFICATE, liar)
    assert verified == bad[:1]
    assert voter.agreement.statistics().views[liar] == len(bad)
    voter.receive(voter.change(other, 1, voter.prepared))
    assert verified == [bad[0], voter.prepared]
    assert voter.agreement.statistics().highest == voter.prepared


@pytest.mark.slow
def test_what_falls_out_of_the_log_is_forgotten_here_too() -> None:
    """A vote leaves its ballot with the others' votes in it; view changes keep what they taught."""
    voter = Voter()
    digest = voter.transcript.hash
    votes = [
        voter.cast.frame(a, FrameKind.VOTE, vote_body(0, Phase.PREPARE, digest, bytes(64)))
        for a in voter.others
    ]
    change = voter.change(voter.others[0], 1)
    voter.receive(*votes[:2], change)
    ballot = (0, Phase.PREPARE, digest)
    assert voter.agreement.statistics().votes == {ballot: 2}
    voter.agreement.forget(votes[0])
    assert voter.agreement.statistics().votes == {ballot: 1}
    voter.agreement.forget(votes[1])
    assert voter.agreement.statistics().votes == {}
    voter.agreement.forget(change)
    assert voter.agreement.statistics().views == {voter.others[0]: 1}


def test_a_flood_in_one_batch_is_bounded_like_any_other() -> None:
    """Each frame alone was worth a look; together they are too many, and the rest is dropped."""
    voter = Voter()
    nothing = Certificate(voter.cast.session.id, 0, Phase.COMMIT, bytes(32), b"\x00", bytes(64))
    frames = [voter.announced(voter.others[0], nothing, bytes([k])) for k in range(MAX_REPEATS + 2)]
    before = len(frame_log_of(voter.ceremony))
    assert all(voter.ceremony.should_verify(f) for f in frames)
    (evidence,) = accusations(voter.ceremony.receive(frames, voter.now))
    assert evidence.fault is Fault.BAD_CERTIFICATE, "of them all, one"
    assert len(frame_log_of(voter.ceremony)) == before + MAX_REPEATS
    assert frame_log_of(voter.ceremony).dropped == 2


def test_agreement_takes_only_its_own_frames() -> None:
    """A caller's mistake is an error, not a silence."""
    voter = Voter()
    with pytest.raises(ValueError, match="HASH frames are not agreement's"):
        voter.agreement.receive(voter.cast.frame(voter.me, FrameKind.HASH, [bytes(32)]), 0.0)
