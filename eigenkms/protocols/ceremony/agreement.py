"""Agreement on one transcript: single-shot, two phases, views with locks.

Theory of operation. In each *view* one member leads (who, depends on the source of what it proposes): it proposes a transcript,
fresh or justified by a prepare certificate. Members *prepare* it if they hold every dealing that it names, verified and
durable; t' prepare votes are a prepare certificate. On a prepare certificate of the view it is in, a member *locks* the
transcript, durably, and *commits*; t' commit votes of one view are the epoch certificate. A view that takes too long is left
for the next, longer one with another leader, and never voted in again.

Why two transcripts of a session cannot both be certified: two quorums share a correct member; a correct member votes once a
view and phase (the journaled slot), only in its current view (entering one is journaled by its view change), and having locked
(w, h) prepares another hash only on proof that a quorum prepared it in a view between w and now, which the lock on h in w
excludes.

Why a certified version is never out of reach: t' members prepared it, so at least one correct one holds all its dealings, and any
recipient decrypts its share from them, whenever it comes back.

Across sessions views go on as one sequence, ordered by boundary and view. A lock on a version keeps a member from preparing, in
a later session, a fresh transcript that deals from an older one (``ProposalSource.supports``). So once a version is certified, no
session that deals from an older one is prepared any more.

∅, the end of a genesis session without a key, is a hash like any other here: it may be proposed fresh once the next boundary
has been seen. In a rotation there is no ∅, and the session ends for an operator at the next boundary, when it stops voting;
certificates are taken in at any time. Whoever is not among the recipients only listens.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from eigenkms.errors import VerificationError
from eigenkms.protocols.ceremony.effects import (
    Broadcast,
    Effect,
    JournalRecord,
    LogEvent,
    Persist,
    ReportFault,
)
from eigenkms.protocols.ceremony.pacemaker import Pacemaker
from eigenkms.protocols.ceremony.signer import SlotSigner
from eigenkms.protocols.ceremony.vote_pool import VotePool
from eigenkms.protocols.records.evidence import Evidence, Fault, carried_certificate, is_bad_proposal
from eigenkms.protocols.wire.codec import MalformedError
from eigenkms.protocols.wire.frames import Frame, FrameKind
from eigenkms.protocols.wire.messages import (
    GENESIS,
    GENESIS_SOURCE,
    Proposal,
    SourceRef,
    certificate_body,
    proposal_body,
    read_certificate_frame,
    read_proposal,
    read_view_change,
    read_vote,
    source_of,
    view_change_body,
    vote_body,
)
from eigenkms.protocols.wire.transcript import (
    Transcript,
    check_self_consistent,
    decode_transcript,
    hash_transcript,
)
from eigenkms.protocols.wire.votes import (
    VOID_HASH,
    BadCertificateError,
    Certificate,
    Phase,
    check_certificate,
    decode_certificate,
    vote_digest,
)
from eigenkms.types import OperatorAddress

MAX_VERIFIED = 1024
"""Certificates of which it is remembered whether they are good; beyond, they are verified anew."""


@dataclass(frozen=True)
class Draft:
    """A fresh transcript, and the KEY frames that its new keys are from."""

    transcript: Transcript
    keys: tuple[bytes, ...]


class ProposalSource(Protocol):
    """What agreement asks of the dealings of its session."""

    def leader(self, view: int, source: SourceRef) -> OperatorAddress | None:
        """Who leads a view with transcripts from this source, ``None`` if the source is not known here."""

    @property
    def source(self) -> SourceRef:
        """What a fresh transcript of mine deals from."""

    def ready(self, now: float) -> bool:
        """Whether the first proposal is due."""

    def draft(self) -> Draft | None:
        """What to propose afresh, or ``None`` if there is nothing to propose."""

    def supports(self, transcript: Transcript, keys: Sequence[bytes], now: float) -> bool:
        """Whether I may prepare this fresh transcript now."""

    def holds(self, transcript: Transcript) -> bool:
        """Whether I hold every dealing that the transcript names, verified, and it is what they make."""

    def journal(self, transcript: Transcript) -> list[Effect]:
        """Make the dealings that the transcript names durable, as far as they are not."""


@dataclass(frozen=True)
class Decision:
    """``transcript`` is ``None`` for ∅."""

    certificate: Certificate
    transcript: Transcript | None


class Agreement:
    """One operator's side of the agreement of a session; ``mpk`` is the master key that a rotation keeps (``None``: genesis)."""

    def __init__(self, voice: SlotSigner, deliberation: ProposalSource, mpk: bytes | None = None) -> None:
        self._signer = voice
        self._proposal_source = deliberation
        self.session = voice.session
        self.me = voice.me
        self._mpk = mpk
        self._is_stopped = False
        self._pacemaker = Pacemaker(voice.session)
        self._void_allowed = False
        self._lock: Certificate | None = None
        self._highest: Certificate | None = None
        self._transcripts: dict[bytes, Transcript] = {}
        self._proposals: dict[int, list[Proposal]] = {}
        self._vote_pool = VotePool(voice.session)
        self._verified: dict[bytes, bool] = {}
        self._durable: set[bytes] = set()
        self._reported: set[tuple[OperatorAddress, Fault]] = set()
        self.decision: Decision | None = None
        self._journaled_decision: Certificate | None = None

    # -- what the journal holds ------------------------------------------------------------------------------

    def restore(self, records: Iterable[JournalRecord], now: float) -> None:
        """Take back locks and transcripts; own votes and view changes arrive through ``receive``."""
        for record in records:
            if record.kind == "transcript":
                self._learn_transcript(record.body)
            elif record.kind == "lock":
                self._lock = decode_certificate(record.body)
                self._learn_certificate(self._lock)
                self._pacemaker.entered_at = now
        self._durable = set(self._transcripts)

    def learn_decision(self, transcript: Transcript | None, certificate: Certificate) -> None:
        """A certificate with its transcript, from elsewhere than the session's frames; believed if it verifies."""
        if transcript is not None:
            self._learn_transcript(transcript.encoded)
        self._learn_certificate(certificate)

    def restore_decision(self, certificate: Certificate) -> None:
        """Take back the certificate that the journal holds; its transcript is here."""
        self._journaled_decision = certificate
        self._learn_certificate(certificate)

    # -- frames ----------------------------------------------------------------------------------------------

    def receive(self, frame: Frame, now: float) -> list[Effect]:
        """Take note of a verified frame; ``advance`` draws the conclusions, except that a frame is a fault by itself."""
        match frame.kind:
            case FrameKind.PROPOSAL:
                self._receive_proposal(frame, now)
            case FrameKind.VOTE:
                self._vote_pool.add(frame)
                if frame.sender == self.me:
                    self._pacemaker.restart(read_vote(frame).view, now)
            case FrameKind.VIEW_CHANGE:
                self._receive_view_change(frame, now)
            case FrameKind.CERTIFICATE:
                message = read_certificate_frame(frame)
                if self._is_trusted(frame.sender) and self._is_valid(message.certificate):
                    self._keep_transcript(message.transcript)
                    self._learn_certificate(message.certificate)
            case _:
                raise ValueError(f"{frame.kind.name} frames are not agreement's")
        fault = self._fault_of(frame)
        return [] if fault is None else self._report_fault(fault, frame)

    def _fault_of(self, frame: Frame) -> Fault | None:
        """What of a frame its sender cannot have verified before it signed it."""
        certificate = carried_certificate(frame) if self._is_trusted(frame.sender) else None
        if certificate is not None and not self._is_valid(certificate):
            return Fault.BAD_CERTIFICATE
        if frame.kind is FrameKind.PROPOSAL:
            proposal = read_proposal(frame)
            if self._proposed_transcript(proposal) is None and is_bad_proposal(proposal, self.session):
                return Fault.BAD_PROPOSAL
        return None

    def _is_trusted(self, sender: OperatorAddress) -> bool:
        """Whether certificates that ``sender`` shows are worth a pairing: one that showed a bad one could show thousands."""
        return (sender, Fault.BAD_CERTIFICATE) not in self._reported

    def _report_fault(self, fault: Fault, frame: Frame) -> list[Effect]:
        """Once for each operator and fault. A holder of a source that is no member gives no such evidence."""
        place = (frame.sender, fault)
        if place in self._reported or frame.sender not in self.session.x:
            return []
        self._reported.add(place)
        return [ReportFault(Evidence(fault, frame.sender, self.session.id, (frame,)))]

    def forget(self, frame: Frame) -> None:
        """A frame of an old view fell out of the log: so does what was kept of it here."""
        if frame.kind is FrameKind.VOTE:
            self._vote_pool.remove(frame)
        elif frame.kind is FrameKind.PROPOSAL:
            self._forget_proposal(read_proposal(frame))
            needed = self._durable | {c.hash for c in (self._highest, self._lock) if c is not None}
            proposed = {proposal.transcript for made in self._proposals.values() for proposal in made}
            self._transcripts = {
                h: t for h, t in self._transcripts.items() if h in needed or t.encoded in proposed
            }

    def _forget_proposal(self, proposal: Proposal) -> None:
        """Not those of the same view by the leaders from other sources."""
        made = [other for other in self._proposals.pop(proposal.view, ()) if other != proposal]
        if made:
            self._proposals[proposal.view] = made

    def _receive_proposal(self, frame: Frame, now: float) -> None:
        proposal = read_proposal(frame)
        if proposal.justification is not None and not self._is_trusted(frame.sender):
            return
        self._keep_transcript(proposal.transcript)
        self._learn_certificate(proposal.justification)
        self._proposals.setdefault(proposal.view, []).append(proposal)
        if proposal.view == self.view:
            self._pacemaker.begin(now)

    def _receive_view_change(self, frame: Frame, now: float) -> None:
        change = read_view_change(frame)
        if self._is_trusted(frame.sender):
            self._learn_certificate(change.prepared)
        self._pacemaker.note_view(frame.sender, change.view)
        if frame.sender == self.me:
            self._pacemaker.restart(change.view, now)
        elif self._void_allowed or self._pacemaker.has_weak_quorum:
            self._pacemaker.begin(now)  # I gave this session up, or missed its start, and others go on

    def _keep_transcript(self, encoded: bytes | None) -> None:
        if encoded is not None:
            self._learn_transcript(encoded)

    def _learn_transcript(self, encoded: bytes) -> None:
        """Keep a transcript that is this session's and consistent in itself; ignore any other."""
        session = self.session
        if hash_transcript(encoded) in self._transcripts:
            return
        ours = (session.cluster, session.id, session.boundary, session.recipients)
        try:
            found = decode_transcript(encoded)
            if (found.cluster, found.session, found.boundary, found.recipients) != ours:
                return
            if self._is_of_this_kind(found):
                check_self_consistent(found)
                self._transcripts[found.hash] = found
        except (MalformedError, VerificationError):
            return

    def _is_of_this_kind(self, transcript: Transcript) -> bool:
        """A genesis names no source; a rotation names one and keeps the master key. Both list keys."""
        if not transcript.keys:
            return False
        if self._mpk is None:
            return transcript.source_version == GENESIS_SOURCE
        return transcript.source_version != GENESIS_SOURCE and transcript.mpk == self._mpk

    def _learn_certificate(self, certificate: Certificate | None) -> None:
        """Keep a certificate that verifies: the highest prepare, or the decision."""
        if certificate is None or not self._is_valid(certificate):
            return
        if certificate.phase is Phase.COMMIT:
            self._decide(certificate)
        elif self._highest is None or certificate.view > self._highest.view:
            self._highest = certificate

    def _is_valid(self, certificate: Certificate) -> bool:
        """CPU: a pairing, once. A bad one is remembered too: each step of a view checks the proposal that it justifies."""
        known = self._verified.get(certificate.encoded)
        if known is None:
            if len(self._verified) >= MAX_VERIFIED:
                self._verified.clear()
            known = self._verified[certificate.encoded] = self._verifies(certificate)
        return known

    def _verifies(self, certificate: Certificate) -> bool:
        try:
            check_certificate(certificate, self.session)
        except BadCertificateError:
            return False
        return True

    def _decide(self, certificate: Certificate) -> None:
        transcript = self._transcripts.get(certificate.hash)
        void = certificate.hash == VOID_HASH and self._mpk is None
        if self.decision is None and (transcript is not None or void):
            self.decision = Decision(certificate, transcript)

    # -- progress --------------------------------------------------------------------------------------------

    @property
    def started(self) -> bool:
        """Whether the first view began."""
        return self._pacemaker.entered_at is not None

    @property
    def view(self) -> int:
        """The view that I am in."""
        return self._pacemaker.view

    @property
    def is_waiting(self) -> bool:
        """Whether too few members are in my view for its time to run."""
        return self._pacemaker.is_waiting

    @property
    def here(self) -> frozenset[OperatorAddress]:
        """Members that said that they are in my view or above."""
        return self._pacemaker.here

    @property
    def has_activity(self) -> bool:
        """Whether anybody was seen to propose, vote or change the view: somebody may be bound to this session."""
        return bool(self._proposals or self._vote_pool or self._pacemaker)

    @property
    def locked(self) -> Transcript | None:
        """The transcript that I committed to last."""
        return None if self._lock is None else self._transcripts.get(self._lock.hash)

    @property
    def locked_in(self) -> int:
        """The view in which I committed last, -1 if I never did."""
        return -1 if self._lock is None else self._lock.view

    @property
    def prepared(self) -> tuple[Transcript, Certificate] | None:
        """The transcript with the highest prepare certificate that I know of, unless it is ∅ or unknown."""
        highest = self._highest
        transcript = None if highest is None else self._transcripts.get(highest.hash)
        return None if transcript is None or highest is None else (transcript, highest)

    def on_next_boundary(self) -> None:
        """The next boundary was seen: in a genesis only ∅ or a justified proposal may be voted from now on; a rotation is over."""
        if self._mpk is None:
            self._void_allowed = True
        else:
            self.stop_voting()

    def stop_voting(self) -> None:
        """Propose and vote here no more; certificates are still taken in."""
        self._is_stopped = True

    def advance(self, now: float) -> list[Effect]:
        """Do everything that the frames so far and the time allow, until the decision."""
        if not self.started and self._takes_part and self._proposal_source.ready(now):
            self._pacemaker.begin(now)
        effects = self._tally()
        if self.started and self.decision is None and self._takes_part:
            self._pacemaker.note_quorum(now)
            effects += self._rebroadcast(now)
            effects += self._move_view(now)
            effects += self._propose(now)
            effects += self._prepare(now)
            effects += self._commit()
        return effects

    @property
    def _takes_part(self) -> bool:
        """Whether I may still propose and vote."""
        return not self._is_stopped and self.me in self.session.x

    def deadline(self, since: float) -> float | None:
        """When, after ``since``, ``advance`` would do something without any further frame."""
        if self.decision is not None or not self.started or not self._takes_part:
            return None
        return self._pacemaker.deadline(since)

    def _rebroadcast(self, now: float) -> list[Effect]:
        """While I wait for t' members in my view, say every few windows again that I am there."""
        said = self._signer.previous((FrameKind.VIEW_CHANGE, self.view))
        return [Broadcast(said)] if said is not None and self._pacemaker.should_rebroadcast(now) else []

    def _tally(self) -> list[Effect]:
        """Turn votes into certificates; accuse whoever signed a frame around a vote that does not verify."""
        effects: list[Effect] = []
        for ballot in self._vote_pool.pending:
            _, phase, transcript_hash = ballot
            if self._vote_pool.count(ballot) < self.session.threshold:
                continue
            certificate = self._vote_pool.certificate(ballot)
            if certificate is None or not self._is_valid(certificate):
                for frame in self._vote_pool.reject_invalid(ballot):
                    effects += self._report_fault(Fault.BAD_VOTE, frame)
                continue
            known = transcript_hash == VOID_HASH or transcript_hash in self._transcripts
            if known or phase is Phase.PREPARE:
                self._vote_pool.close(ballot)
            self._learn_certificate(certificate)
        return effects

    def _move_view(self, now: float) -> list[Effect]:
        """Leave a view that took too long, or follow n−t'+1 members that are in higher ones."""
        target = self._pacemaker.next_view(now)
        if target == self.view:
            return []
        self._pacemaker.enter(target, now)
        said = self._signer.sign_once(
            FrameKind.VIEW_CHANGE,
            (FrameKind.VIEW_CHANGE, target),
            lambda: view_change_body(target, self._highest),
        )
        return [*said, LogEvent("view", {"view": target})]

    def _propose(self, now: float) -> list[Effect]:
        """As leader: the highest prepared transcript I know, else a fresh one, else (once allowed) ∅."""
        view, slot = self.view, (FrameKind.PROPOSAL, self.view)
        if self._signer.previous(slot) is not None or (view > 0 and not self._pacemaker.may_propose(now)):
            return []
        chosen = self._chosen(now)
        if chosen is None:
            return []
        draft, justification = chosen
        source = GENESIS if draft is None else source_of(draft.transcript)
        if self._proposal_source.leader(view, source) != self.me:
            return []
        encoded, keys = (None, ()) if draft is None else (draft.transcript.encoded, draft.keys)
        body = proposal_body(view, source, encoded, justification, keys)
        said = self._signer.sign_once(FrameKind.PROPOSAL, slot, lambda: body)
        return [*said, LogEvent("proposed", {"view": view, "void": draft is None})]

    def _chosen(self, now: float) -> tuple[Draft | None, Certificate | None] | None:
        """What I would propose, ∅ as ``None``, and what justifies it."""
        highest = self._highest
        if highest is not None:
            transcript = self._transcripts.get(highest.hash)
            if transcript is None:
                return (None, highest) if highest.hash == VOID_HASH else None
            return Draft(transcript, ()), highest
        if self._void_allowed:
            return None, None
        leads = self._proposal_source.leader(self.view, self._proposal_source.source) == self.me
        draft = self._proposal_source.draft() if leads and self._proposal_source.ready(now) else None
        return None if draft is None else (draft, None)

    def _prepare(self, now: float) -> list[Effect]:
        """Prepare a proposal of my view, if the lock and what I hold allow it."""
        if self._signer.previous((FrameKind.VOTE, self.view, int(Phase.PREPARE))) is not None:
            return []
        made = sorted(self._proposals.get(self.view, ()), key=lambda proposal: proposal.source, reverse=True)
        return next((voted for proposal in made if (voted := self._prepare_one(proposal, now))), [])

    def _prepare_one(self, proposal: Proposal, now: float) -> list[Effect]:
        transcript = self._proposed_transcript(proposal)
        if transcript is None and proposal.transcript is not None:
            return []
        transcript_hash = VOID_HASH if transcript is None else transcript.hash
        justified = self._justified(proposal, transcript_hash)
        if proposal.justification is not None and justified is None:
            return []
        if not self._lock_allows(transcript_hash, justified):
            return []
        if transcript is None:
            return (
                [] if justified is None and not self._void_allowed else self._vote(Phase.PREPARE, VOID_HASH)
            )
        if justified is None and not self._supports(transcript, proposal.keys, now):
            return []
        if not self._proposal_source.holds(transcript):
            return []
        journal = [*self._proposal_source.journal(transcript), *self.journal_transcript(transcript)]
        return [*journal, *self._vote(Phase.PREPARE, transcript_hash)]

    def _supports(self, transcript: Transcript, keys: Sequence[bytes], now: float) -> bool:
        return not self._void_allowed and self._proposal_source.supports(transcript, keys, now)

    def _proposed_transcript(self, proposal: Proposal) -> Transcript | None:
        """The proposal's transcript if it is a valid one that I learnt, from the source that the proposal names."""
        for transcript in self._transcripts.values():
            if transcript.encoded == proposal.transcript and source_of(transcript) == proposal.source:
                return transcript
        return None

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

    def journal_transcript(self, transcript: Transcript) -> list[Effect]:
        """The transcript durable, once."""
        if transcript.hash in self._durable:
            return []
        self._durable.add(transcript.hash)
        return [Persist(JournalRecord("transcript", transcript.encoded))]

    def journal_decision(self, decision: Decision) -> list[Effect]:
        """Return what makes the decision durable, unless it was in an earlier run."""
        if self._journaled_decision is not None:
            return []
        transcript = decision.transcript
        journal = [] if transcript is None else self.journal_transcript(transcript)
        return [*journal, Persist(JournalRecord("certificate", decision.certificate.encoded))]

    def _vote(self, phase: Phase, transcript_hash: bytes) -> list[Effect]:
        view = self.view
        digest = vote_digest(self.session.id, view, phase, transcript_hash)
        said = self._signer.sign_once(
            FrameKind.VOTE,
            (FrameKind.VOTE, view, int(phase)),
            lambda: vote_body(view, phase, transcript_hash, self._signer.sign(digest)),
        )
        return [
            *said,
            LogEvent(
                "voted", {"phase": phase.name.lower(), "view": view, "hash": transcript_hash.hex()[:16]}
            ),
        ]

    def _commit(self) -> list[Effect]:
        """On a prepare certificate of my view: lock, durably, and commit."""
        prepared = self._highest
        slot = (FrameKind.VOTE, self.view, int(Phase.COMMIT))
        if prepared is None or prepared.view != self.view or self._signer.previous(slot) is not None:
            return []
        transcript = self._transcripts.get(prepared.hash)
        if transcript is None and prepared.hash != VOID_HASH:
            return []  # the lock is on a version, and its number has to be known in later sessions
        self._lock = prepared
        known = [] if transcript is None else self.journal_transcript(transcript)
        lock: Effect = Persist(JournalRecord("lock", prepared.encoded))
        return [*known, lock, *self._vote(Phase.COMMIT, prepared.hash)]

    def announcement(self, decision: Decision) -> Frame:
        """The decision as a frame that anyone can be served."""
        encoded = None if decision.transcript is None else decision.transcript.encoded
        return self._signer.build(FrameKind.CERTIFICATE, certificate_body(encoded, decision.certificate))
