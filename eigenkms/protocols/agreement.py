"""Agreement on one transcript: single-shot, two phases, views with locks (docs/protocol.md, Agreement).

Theory of operation. In each *view* one member coordinates: it proposes a transcript, fresh or justified by a prepare
certificate. Members *prepare* it; enough prepare votes are a prepare certificate. On a prepare certificate of the view it is
in, a member *locks* the transcript, durably, and *commits*; t' commit votes of one view are the epoch certificate. A view that
takes too long is left for the next, longer one with another coordinator, and never voted in again.

Why two transcripts cannot both be certified: two quorums share a correct member; a correct member votes once a view and phase
(the journaled slot), only in its current view (entering one is journaled by its view change), and having locked (w, h) prepares
another hash only on proof that a quorum prepared it in a view between w and now, which the lock on h in w excludes.

Which view a member is in, and for how long, is the matter of protocols/views; votes add up in protocols/ballots.

∅, the end of a genesis session without a key, is a hash like any other here: it may be proposed fresh once the next boundary
has been seen, and needs t' votes in both phases. A key needs all n (or the genesis quorum) to prepare it, *once*: that first
certificate, its *root*, shows that everybody holds a share of it. In later views t' prepare votes are enough beside the root;
if they were not, one liar that prepared and then fell silent would keep everybody bound to the session for ever.

In a *rotation* nothing is bound and there is no ∅: t' votes are a quorum in both phases, and the session ends for an operator at
the next boundary, when it stops voting; certificates are taken in at any time. Whoever is not among the recipients (a holder of
the source that has left the set) only listens.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from eigenkms.crypto.scalars import SecretScalar
from eigenkms.errors import VerificationError
from eigenkms.protocols.ballots import Ballots
from eigenkms.protocols.codec import MalformedError
from eigenkms.protocols.effects import Broadcast, Effect, JournalRecord, Note, Persist
from eigenkms.protocols.frames import Frame, Kind
from eigenkms.protocols.messages import (
    GENESIS_SOURCE,
    Proposal,
    certificate_body,
    proposal_body,
    read_certificate_frame,
    read_proposal,
    read_view_change,
    read_vote,
    view_change_body,
    vote_body,
)
from eigenkms.protocols.session import Session
from eigenkms.protocols.transcript import Transcript, check_self_consistent, decode_transcript
from eigenkms.protocols.views import Views
from eigenkms.protocols.voice import Voice
from eigenkms.protocols.votes import (
    VOID_HASH,
    BadCertificateError,
    Certificate,
    Phase,
    decode_certificate,
    vote_digest,
)

MAX_VERIFIED = 1024
"""Certificates remembered as good; beyond, they are verified anew."""


class Deliberation(Protocol):
    """What agreement asks of the dealing exchanges of its session."""

    def ready(self, now: float) -> bool:
        """Whether the first proposal is due."""

    def transcript(self) -> Transcript | None:
        """The transcript of a fresh proposal, or ``None`` if there is nothing to propose."""

    def supports(self, transcript: Transcript, *, strictly: bool) -> bool:
        """Whether I may prepare this fresh transcript now. ``strictly`` if I shall also believe that everybody else can."""

    def combined_share(self, transcript: Transcript) -> SecretScalar | None:
        """My share of the transcript's key, or ``None`` if I lack a part of it."""


def quorum(session: Session, phase: Phase, transcript_hash: bytes, *, rooted: bool = False) -> int:
    """Votes needed: t', but a genesis key needs all n (or the genesis quorum) to prepare it for the first time; ``rooted`` if that
    is done, or not asked for, as in a rotation.
    """
    if phase is Phase.PREPARE and transcript_hash != VOID_HASH and not rooted:
        return max(session.genesis_quorum, session.threshold)
    return session.threshold


def check_certificate(certificate: Certificate, session: Session, *, rooted: bool = False) -> None:
    """Raise ``BadCertificateError`` unless ``certificate`` is one of ``session`` with its quorum; ``rooted`` as for ``quorum``."""
    if certificate.session != session.id:
        raise BadCertificateError("verify certificate: it is for another session")
    needed = quorum(session, certificate.phase, certificate.hash, rooted=rooted)
    certificate.verify(session.recipients, needed)


@dataclass(frozen=True)
class Decision:
    """``transcript`` is ``None`` for ∅."""

    certificate: Certificate
    transcript: Transcript | None


class Agreement:
    """One operator's side of the agreement of a session; ``mpk`` is the master key that a rotation keeps (``None``: genesis)."""

    def __init__(self, voice: Voice, deliberation: Deliberation, mpk: bytes | None = None) -> None:
        self._voice = voice
        self._deliberation = deliberation
        self.session = voice.session
        self.me = voice.me
        self._mpk = mpk
        self._ended = False
        self._views = Views(voice.session)
        self._may_void = False
        self._lock: Certificate | None = None
        self._highest: Certificate | None = None
        self._roots: dict[bytes, Certificate] = {}
        self._durable_roots: set[bytes] = set()
        self._transcripts: dict[bytes, Transcript] = {}
        self._proposals: dict[int, Proposal] = {}
        self._ballots = Ballots(voice.session)
        self._verified: set[bytes] = set()
        self._durable: set[bytes] = set()
        self._shared: set[bytes] = set()
        self.decision: Decision | None = None

    # -- what the journal holds ------------------------------------------------------------------------------

    def restore(self, records: Iterable[JournalRecord], now: float) -> None:
        """Take back locks and transcripts; own votes and view changes arrive through ``receive``."""
        for record in records:
            if record.kind == "transcript":
                self._learn_transcript(record.body)
            elif record.kind == "root":
                root = decode_certificate(record.body)
                self._learn_certificate(root)
                self._durable_roots.add(root.hash)
            elif record.kind == "lock":
                self._lock = decode_certificate(record.body)
                self._learn_certificate(self._lock)
                self._views.entered_at = now
            elif record.kind == "share":
                self._shared.add(record.body[:32])
        self._durable = set(self._transcripts)

    def restore_decision(self, certificate: Certificate) -> None:
        """The session was decided in an earlier life."""
        self._decide(certificate)

    def learn_decision(self, transcript: Transcript, certificate: Certificate) -> None:
        """An epoch certificate with its transcript, from elsewhere than the session's frames; believed if it verifies."""
        self._learn_transcript(transcript.encoded)
        self._learn_certificate(certificate)

    # -- frames ----------------------------------------------------------------------------------------------

    def receive(self, frame: Frame, now: float) -> None:
        """Take note of a verified frame; ``advance`` draws the conclusions."""
        match frame.kind:
            case Kind.PROPOSAL:
                self._receive_proposal(frame, now)
            case Kind.VOTE:
                self._ballots.add(frame)
                if frame.sender == self.me:
                    self._views.restart(read_vote(frame).view, now)
            case Kind.VIEW_CHANGE:
                self._receive_view_change(frame, now)
            case Kind.CERTIFICATE:
                message = read_certificate_frame(frame)
                if self._is_valid(message.certificate):
                    self._learn_transcript(message.transcript)
                    self._learn_certificate(message.certificate)
            case _:
                raise ValueError(f"{frame.kind.name} frames are not agreement's")

    def forget(self, frame: Frame) -> None:
        """A frame of an old view fell out of the log: so does what was kept of it here."""
        if frame.kind is Kind.VOTE:
            self._ballots.drop(frame)
        elif frame.kind is Kind.PROPOSAL:
            self._proposals.pop(read_proposal(frame).view, None)
            needed = self._durable | {c.hash for c in (self._highest, self._lock) if c is not None}
            proposed = {proposal.transcript for proposal in self._proposals.values()}
            self._transcripts = {
                h: t for h, t in self._transcripts.items() if h in needed or t.encoded in proposed
            }

    def _receive_proposal(self, frame: Frame, now: float) -> None:
        proposal = read_proposal(frame)
        self._learn_transcript(proposal.transcript)
        self._learn_certificate(proposal.root)
        self._learn_certificate(proposal.justification)
        self._proposals[proposal.view] = proposal
        if proposal.view == self.view:
            self._views.begin(now)

    def _receive_view_change(self, frame: Frame, now: float) -> None:
        change = read_view_change(frame)
        self._learn_certificate(change.root)
        self._learn_certificate(change.prepared)
        self._views.note(frame.sender, change.view)
        if frame.sender == self.me:
            self._views.restart(change.view, now)
        elif self._may_void or self._views.include_a_correct_member:
            self._views.begin(now)  # I gave this session up, or missed its start, and others go on

    def _learn_transcript(self, encoded: bytes | None) -> None:
        """Keep a transcript that is this session's and consistent in itself; ignore any other."""
        if encoded is None:
            return
        session = self.session
        ours = (session.cluster, session.id, session.boundary, session.recipients)
        try:
            found = decode_transcript(encoded)
            if (found.cluster, found.session, found.boundary, found.recipients) != ours:
                return
            if found.hash not in self._transcripts and self._is_of_this_kind(found):
                check_self_consistent(found)
                self._transcripts[found.hash] = found
        except (MalformedError, VerificationError):
            return

    def _is_of_this_kind(self, transcript: Transcript) -> bool:
        """A genesis names no source; a rotation names one and keeps the master key."""
        if self._mpk is None:
            return transcript.source_version == GENESIS_SOURCE
        return transcript.source_version != GENESIS_SOURCE and transcript.mpk == self._mpk

    def _learn_certificate(self, certificate: Certificate | None) -> None:
        """Keep a certificate that verifies: the highest prepare, or the decision."""
        if certificate is None or not self._is_valid(certificate):
            return
        if certificate.phase is Phase.PREPARE:
            if self._mpk is None and self._is_root(certificate):
                self._roots.setdefault(certificate.hash, certificate)
            self._raise_highest(certificate)
        else:
            self._decide(certificate)

    def _is_valid(self, certificate: Certificate) -> bool:
        if certificate.encoded in self._verified:
            return True
        try:
            check_certificate(certificate, self.session, rooted=self._is_rooted(certificate.hash))
        except BadCertificateError:
            return False
        if len(self._verified) >= MAX_VERIFIED:
            self._verified.clear()
        self._verified.add(certificate.encoded)
        return True

    def _is_rooted(self, transcript_hash: bytes) -> bool:
        """Whether t' prepare votes are enough for this hash."""
        return self._mpk is not None or transcript_hash in self._roots

    def _is_root(self, certificate: Certificate) -> bool:
        signers = certificate.signers(self.session.recipients)
        return len(signers) >= quorum(self.session, certificate.phase, certificate.hash)

    def _root_of(self, certificate: Certificate | None) -> Certificate | None:
        """What must travel beside a certificate that is not a root itself."""
        if certificate is None or self._mpk is not None or self._is_root(certificate):
            return None
        return self._roots[certificate.hash]

    def _raise_highest(self, certificate: Certificate) -> None:
        if self._highest is None or certificate.view > self._highest.view:
            self._highest = certificate

    def _decide(self, certificate: Certificate) -> None:
        transcript = self._transcripts.get(certificate.hash)
        void = certificate.hash == VOID_HASH and self._mpk is None
        if self.decision is None and (transcript is not None or void):
            self.decision = Decision(certificate, transcript)

    # -- progress --------------------------------------------------------------------------------------------

    @property
    def started(self) -> bool:
        """Whether the first view began."""
        return self._views.entered_at is not None

    @property
    def view(self) -> int:
        """The view that I am in."""
        return self._views.view

    @property
    def touched(self) -> bool:
        """Whether anybody was seen to propose, vote or change the view: somebody may be bound to this session."""
        return bool(self._proposals or self._ballots or self._views)

    def supersede(self) -> None:
        """The next boundary was seen: in a genesis only ∅ or a justified proposal may be voted from now on; a rotation is over."""
        if self._mpk is None:
            self._may_void = True
        else:
            self.leave()

    def leave(self) -> None:
        """Propose and vote here no more; certificates are still taken in."""
        self._ended = True

    def advance(self, now: float) -> list[Effect]:
        """Do everything that the frames so far and the time allow, until the decision."""
        if not self.started and self._takes_part and self._deliberation.ready(now):
            self._views.begin(now)
        effects = self._tally()
        if self.started and self.decision is None and self._takes_part:
            self._views.count(now)
            effects += self._repeat(now)
            effects += self._move_view(now)
            effects += self._propose(now)
            effects += self._prepare()
            effects += self._commit()
        return effects

    @property
    def _takes_part(self) -> bool:
        """Whether I may still propose and vote."""
        return not self._ended and self.me in self.session.x

    def deadline(self, now: float) -> float | None:
        """When ``advance`` would do something without any further frame."""
        if self.decision is not None or not self.started or not self._takes_part:
            return None
        return self._views.deadline(now)

    def _repeat(self, now: float) -> list[Effect]:
        """While I wait for t' members in my view, say every few windows again that I am there."""
        said = self._voice.said((Kind.VIEW_CHANGE, self.view))
        return [Broadcast(said)] if said is not None and self._views.repeats(now) else []

    def _tally(self) -> list[Effect]:
        """Turn votes into certificates; accuse whoever signed a frame around a vote that does not verify."""
        effects: list[Effect] = []
        for ballot in self._ballots.open:
            _, phase, transcript_hash = ballot
            rooted = self._is_rooted(transcript_hash)
            if self._ballots.count(ballot) < quorum(self.session, phase, transcript_hash, rooted=rooted):
                continue
            certificate = self._ballots.certificate(ballot)
            if certificate is None or not self._is_valid(certificate):
                effects += self._ballots.expel_bad(ballot)
                continue
            known = transcript_hash == VOID_HASH or transcript_hash in self._transcripts
            if known or phase is Phase.PREPARE:
                self._ballots.close(ballot)
            self._learn_certificate(certificate)
        return effects

    def _move_view(self, now: float) -> list[Effect]:
        """Leave a view that took too long, or follow n−t'+1 members that are in higher ones."""
        target = self._views.target(now)
        if target == self.view:
            return []
        self._views.enter(target, now)
        said = self._voice.say(
            Kind.VIEW_CHANGE,
            (Kind.VIEW_CHANGE, target),
            lambda: view_change_body(target, self._highest, self._root_of(self._highest)),
        )
        return [*said, Note("view", {"view": target})]

    def _propose(self, now: float) -> list[Effect]:
        """As coordinator: the highest prepared transcript I know, else a fresh one, else (once allowed) ∅."""
        view, slot = self.view, (Kind.PROPOSAL, self.view)
        if self.session.coordinator(view) != self.me or self._voice.said(slot) is not None:
            return []
        if view > 0 and not self._views.heard_enough(now):
            return []
        chosen = self._choose(now)
        if chosen is None:
            return []
        transcript, justification = chosen
        encoded = None if transcript is None else transcript.encoded
        root = self._root_of(justification)
        said = self._voice.say(Kind.PROPOSAL, slot, lambda: proposal_body(view, encoded, justification, root))
        return [*said, Note("proposed", {"view": view, "void": transcript is None})]

    def _choose(self, now: float) -> tuple[Transcript | None, Certificate | None] | None:
        highest = self._highest
        if highest is not None:
            if highest.hash == VOID_HASH:
                return None, highest
            transcript = self._transcripts.get(highest.hash)
            return None if transcript is None else (transcript, highest)
        if self._may_void:
            return None, None
        fresh = self._deliberation.transcript() if self._deliberation.ready(now) else None
        return None if fresh is None else (fresh, None)

    def _prepare(self) -> list[Effect]:
        """Prepare the proposal of my view, if the lock and (for a fresh one) my own shares allow."""
        proposal = self._proposals.get(self.view)
        slot = (Kind.VOTE, self.view, int(Phase.PREPARE))
        if proposal is None or self._voice.said(slot) is not None:
            return []
        transcript = self._proposed_transcript(proposal)
        if transcript is None and proposal.transcript is not None:
            return []
        transcript_hash = VOID_HASH if transcript is None else transcript.hash
        justified = self._justified(proposal, transcript_hash)
        if proposal.justification is not None and justified is None:
            return []
        if not self._lock_allows(transcript_hash, justified):
            return []
        journal: list[Effect] = []
        if transcript is not None:
            if justified is None and (self._may_void or not self._supports(transcript)):
                return []
            journal = self._journal_prepared(transcript)
        elif justified is None and not self._may_void:
            return []
        return [*journal, *self._vote(Phase.PREPARE, transcript_hash)]

    def _supports(self, transcript: Transcript) -> bool:
        """Strictly in the first view. Later what I know and others do not must not divide us any more: what I hold I prepare."""
        return self._deliberation.supports(transcript, strictly=self.view == 0)

    def _proposed_transcript(self, proposal: Proposal) -> Transcript | None:
        """The proposal's transcript if it is a valid one that I learnt."""
        if proposal.transcript is None:
            return None
        return next((t for t in self._transcripts.values() if t.encoded == proposal.transcript), None)

    def _justified(self, proposal: Proposal, transcript_hash: bytes) -> int | None:
        """The view whose prepare certificate justifies the proposal."""
        certificate = proposal.justification
        if (
            certificate is None
            or certificate.phase is not Phase.PREPARE
            or certificate.hash != transcript_hash
        ):
            return None
        if certificate.view >= proposal.view or not self._is_valid(certificate):
            return None
        return certificate.view

    def _lock_allows(self, transcript_hash: bytes, justified: int | None) -> bool:
        lock = self._lock
        return (
            lock is None or lock.hash == transcript_hash or (justified is not None and lock.view < justified)
        )

    def _journal_prepared(self, transcript: Transcript) -> list[Effect]:
        """The transcript and my combined share, durable before any prepare vote for it leaves."""
        effects = self.journal_transcript(transcript)
        share = self._deliberation.combined_share(transcript)
        if share is not None and transcript.hash not in self._shared:
            self._shared.add(transcript.hash)
            body = transcript.hash + share.to_bytes()
            effects.append(Persist(JournalRecord("share", body, secret=True)))
        return effects

    def journal_transcript(self, transcript: Transcript) -> list[Effect]:
        """The transcript durable, once."""
        if transcript.hash in self._durable:
            return []
        self._durable.add(transcript.hash)
        return [Persist(JournalRecord("transcript", transcript.encoded))]

    def _vote(self, phase: Phase, transcript_hash: bytes) -> list[Effect]:
        view = self.view
        digest = vote_digest(self.session.id, view, phase, transcript_hash)
        said = self._voice.say(
            Kind.VOTE,
            (Kind.VOTE, view, int(phase)),
            lambda: vote_body(view, phase, transcript_hash, self._voice.sign(digest)),
        )
        return [
            *said,
            Note("voted", {"phase": phase.name.lower(), "view": view, "hash": transcript_hash.hex()[:16]}),
        ]

    def _commit(self) -> list[Effect]:
        """On a prepare certificate of my view: lock, durably, and commit."""
        prepared = self._highest
        slot = (Kind.VOTE, self.view, int(Phase.COMMIT))
        if prepared is None or prepared.view != self.view or self._voice.said(slot) is not None:
            return []
        self._lock = prepared
        journal: list[Effect] = [Persist(JournalRecord("lock", prepared.encoded))]
        root = self._root_of(prepared)
        if root is not None and root.hash not in self._durable_roots:
            self._durable_roots.add(root.hash)
            journal.insert(0, Persist(JournalRecord("root", root.encoded)))
        return [*journal, *self._vote(Phase.COMMIT, prepared.hash)]

    def announcement(self, decision: Decision) -> Frame:
        """The decision as a frame that anyone can be served."""
        encoded = None if decision.transcript is None else decision.transcript.encoded
        return self._voice.build(Kind.CERTIFICATE, certificate_body(encoded, decision.certificate))
