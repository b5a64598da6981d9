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
certificates are taken in at any time. An operator that is no recipient only listens.
"""

from collections.abc import Sequence

from eigenkms.protocols.ceremony.agreement_record import AgreementRecord
from eigenkms.protocols.ceremony.effects import (
    Broadcast,
    Effect,
    JournalRecord,
    LogEvent,
    Persist,
)
from eigenkms.protocols.ceremony.proposals import Draft
from eigenkms.protocols.records.evidence import Fault
from eigenkms.wire.frames import FrameKind
from eigenkms.wire.messages import (
    GENESIS,
    Proposal,
    proposal_body,
    source_of,
    view_change_body,
    vote_body,
)
from eigenkms.wire.transcript import (
    Transcript,
)
from eigenkms.wire.votes import (
    VOID_HASH,
    Certificate,
    Phase,
    vote_digest,
)


class Agreement(AgreementRecord):
    """One operator's side of an agreement: it leads, votes, and adds votes up."""

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

    def deadline(self, since: float) -> float | None:
        """Return when, after ``since``, ``advance`` would act without any frame."""
        if self.decision is not None or not self.started or not self._takes_part:
            return None
        return self._pacemaker.deadline(since)

    def _rebroadcast(self, now: float) -> list[Effect]:
        """Repeat the view change every few windows, until t' members are in this view."""
        said = self._signer.previous((FrameKind.VIEW_CHANGE, self.view))
        return [Broadcast(said)] if said is not None and self._pacemaker.should_rebroadcast(now) else []

    def _tally(self) -> list[Effect]:
        """Turn votes into certificates.

        Report the signer of a frame around a vote that does not verify.
        """
        effects: list[Effect] = []
        for ballot in self._vote_pool.pending:
            _, phase, transcript_hash = ballot
            if self._vote_pool.count(ballot) < self.session.threshold:
                continue
            certificate = self._vote_pool.certificate(ballot)
            if certificate is None or not self._transcripts.is_valid(certificate):
                for frame in self._vote_pool.reject_invalid(ballot):
                    effects += self._faults.report(Fault.BAD_VOTE, frame)
                continue
            known = transcript_hash == VOID_HASH or transcript_hash in self._transcripts
            if known or phase is Phase.PREPARE:
                self._vote_pool.close(ballot)
            self._transcripts.add_certificate(certificate)
        return effects

    def _move_view(self, now: float) -> list[Effect]:
        """Leave a view that took too long, or follow n−t'+1 members to higher ones."""
        target = self._pacemaker.next_view(now)
        if target == self.view:
            return []
        self._pacemaker.enter(target, now)
        said = self._signer.sign_once(
            FrameKind.VIEW_CHANGE,
            (FrameKind.VIEW_CHANGE, target),
            lambda: view_change_body(target, self._transcripts.highest),
        )
        return [*said, LogEvent("view", {"view": target})]

    def _propose(self, now: float) -> list[Effect]:
        """Propose as leader.

        The highest prepared transcript that is known, else a fresh one, else (once allowed) ∅.
        """
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
        """Return what this operator would propose, ∅ as ``None``, and what justifies it."""
        highest = self._transcripts.highest
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
        """Prepare a proposal of the view, if the lock and the dealings allow it."""
        if self._signer.previous((FrameKind.VOTE, self.view, int(Phase.PREPARE))) is not None:
            return []
        made = sorted(self._proposals.get(self.view, ()), key=lambda proposal: proposal.source, reverse=True)
        return next((voted for proposal in made if (voted := self._prepare_one(proposal, now))), [])

    def _prepare_one(self, proposal: Proposal, now: float) -> list[Effect]:
        transcript = self._transcripts.find(proposal)
        if transcript is None and proposal.transcript is not None:
            return []
        transcript_hash = VOID_HASH if transcript is None else transcript.hash
        justified = self._justified(proposal, transcript_hash)
        if proposal.justification is not None and justified is None:
            return []
        if not self._lock.allows(transcript_hash, justified):
            return []
        if transcript is None:
            return (
                [] if justified is None and not self._void_allowed else self._vote(Phase.PREPARE, VOID_HASH)
            )
        if justified is None and not self._supports(transcript, proposal.keys, now):
            return []
        if not self._proposal_source.holds(transcript):
            return []
        journal = [*self._proposal_source.journal(transcript), *self._transcripts.journal(transcript)]
        return [*journal, *self._vote(Phase.PREPARE, transcript_hash)]

    def _supports(self, transcript: Transcript, keys: Sequence[bytes], now: float) -> bool:
        return not self._void_allowed and self._proposal_source.supports(transcript, keys, now)

    def _justified(self, proposal: Proposal, transcript_hash: bytes) -> int | None:
        """Return the view whose prepare certificate justifies the proposal."""
        certificate = proposal.justification
        if (
            certificate is None
            or certificate.phase is not Phase.PREPARE
            or certificate.hash != transcript_hash
        ):
            return None
        if certificate.view >= proposal.view or not self._transcripts.is_valid(certificate):
            return None
        return certificate.view

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
        """Lock durably and commit, on a prepare certificate of the current view."""
        prepared = self._transcripts.highest
        slot = (FrameKind.VOTE, self.view, int(Phase.COMMIT))
        if prepared is None or prepared.view != self.view or self._signer.previous(slot) is not None:
            return []
        transcript = self._transcripts.get(prepared.hash)
        if transcript is None and prepared.hash != VOID_HASH:
            return []  # the lock is on a version, and its number has to be known in later sessions
        self._lock.certificate = prepared
        known = [] if transcript is None else self._transcripts.journal(transcript)
        lock: Effect = Persist(JournalRecord("lock", prepared.encoded))
        return [*known, lock, *self._vote(Phase.COMMIT, prepared.hash)]
