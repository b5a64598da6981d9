"""The record of one agreement: proposals, votes, views, certificates, the lock.

Frames are taken in here. ``agreement`` draws the conclusions. Certificates are taken in at any time, also when this operator votes
no more. ∅ may be voted afresh once the next boundary was seen. A rotation ends there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from eigenkms.protocols.ceremony.effects import (
    Effect,
    JournalRecord,
)
from eigenkms.protocols.ceremony.frame_faults import FrameFaults
from eigenkms.protocols.ceremony.pacemaker import Pacemaker
from eigenkms.protocols.ceremony.proposals import Decision, ProposalSource
from eigenkms.protocols.ceremony.signer import SlotSigner
from eigenkms.protocols.ceremony.transcript_pool import TranscriptPool
from eigenkms.protocols.ceremony.vote_lock import VoteLock
from eigenkms.protocols.ceremony.vote_pool import VoteKey, VotePool
from eigenkms.types import OperatorAddress
from eigenkms.wire.frames import Frame, FrameKind
from eigenkms.wire.messages import (
    Proposal,
    certificate_body,
    read_certificate_frame,
    read_proposal,
    read_view_change,
    read_vote,
)
from eigenkms.wire.transcript import (
    Transcript,
)
from eigenkms.wire.votes import (
    Certificate,
    decode_certificate,
)


@dataclass(frozen=True)
class AgreementStatistics:
    """Sizes of the parts of an agreement that members could fill.

    Each part has a bound.
    """

    votes: Mapping[VoteKey, int]
    """Votes that are kept, by what they are for."""
    proposals: int
    """Views of which a proposal is kept."""
    transcripts: frozenset[bytes]
    """Hashes of the transcripts that are kept."""
    verified: int
    """Certificates of which it is remembered whether they are good."""
    views: Mapping[OperatorAddress, int]
    """The highest view of each member that changed its view."""
    highest: Certificate | None
    """The highest prepare certificate."""


class AgreementRecord:
    """The record of one session.

    ``mpk`` is the master key that a rotation keeps (``None``: genesis).
    """

    def __init__(self, signer: SlotSigner, proposal_source: ProposalSource, mpk: bytes | None = None) -> None:
        self._signer = signer
        self._proposal_source = proposal_source
        self.session = signer.session
        self.me = signer.me
        self._pacemaker = Pacemaker(signer.session)
        self._transcripts = TranscriptPool(signer.session, mpk)
        self._faults = FrameFaults(signer.session, self._transcripts)
        self._lock = VoteLock()
        self._proposals: dict[int, list[Proposal]] = {}
        self._vote_pool = VotePool(signer.session)
        self._is_stopped = False
        """This operator votes here no more."""
        self._void_allowed = False
        """A genesis that the next boundary left behind may end without a key."""

    # -- what the journal holds ------------------------------------------------------------------------------

    def restore(self, records: Iterable[JournalRecord], now: float) -> None:
        """Take back locks and transcripts.

        Own votes and view changes arrive through ``receive``.
        """
        for record in records:
            if record.kind == "transcript":
                self._transcripts.add(record.body)
            elif record.kind == "lock":
                self._lock.certificate = decode_certificate(record.body)
                self._transcripts.add_certificate(self._lock.certificate)
                self._pacemaker.entered_at = now
        self._transcripts.note_restored()

    def learn_decision(self, transcript: Transcript | None, certificate: Certificate) -> None:
        """Take a certificate and its transcript from outside the frames, if it verifies."""
        if transcript is not None:
            self._transcripts.add(transcript.encoded)
        self._transcripts.add_certificate(certificate)

    def restore_decision(self, certificate: Certificate) -> None:
        """Take back the certificate that the journal holds; its transcript is here."""
        self._transcripts.restore_decision(certificate)

    # -- frames ----------------------------------------------------------------------------------------------

    def receive(self, frame: Frame, now: float) -> list[Effect]:
        """Take note of a verified frame; report it if it is a fault by itself."""
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
                if self._faults.trusts(frame.sender) and self._transcripts.is_valid(message.certificate):
                    self._add_transcript(message.transcript)
                    self._transcripts.add_certificate(message.certificate)
            case _:
                raise ValueError(f"{frame.kind.name} frames are not agreement's")
        return self._faults.check(frame)

    def forget(self, frame: Frame) -> None:
        """Drop what is kept of a frame that fell out of the log, as its view is old."""
        if frame.kind is FrameKind.VOTE:
            self._vote_pool.remove(frame)
        elif frame.kind is FrameKind.PROPOSAL:
            self._forget_proposal(read_proposal(frame))
            proposed = {proposal.transcript for made in self._proposals.values() for proposal in made}
            self._transcripts.prune(proposed, self._lock.certificate)

    def _forget_proposal(self, proposal: Proposal) -> None:
        """Drop it, and keep those of the same view by the leaders from other sources."""
        made = [other for other in self._proposals.pop(proposal.view, ()) if other != proposal]
        if made:
            self._proposals[proposal.view] = made

    def _add_transcript(self, encoded: bytes | None) -> None:
        if encoded is not None:
            self._transcripts.add(encoded)

    def _receive_proposal(self, frame: Frame, now: float) -> None:
        proposal = read_proposal(frame)
        if proposal.justification is not None and not self._faults.trusts(frame.sender):
            return
        self._add_transcript(proposal.transcript)
        self._transcripts.add_certificate(proposal.justification)
        self._proposals.setdefault(proposal.view, []).append(proposal)
        if proposal.view == self.view:
            self._pacemaker.begin(now)

    def _receive_view_change(self, frame: Frame, now: float) -> None:
        change = read_view_change(frame)
        if self._faults.trusts(frame.sender):
            self._transcripts.add_certificate(change.prepared)
        self._pacemaker.note_view(frame.sender, change.view)
        if frame.sender == self.me:
            self._pacemaker.restart(change.view, now)
        elif self._void_allowed or self._pacemaker.has_weak_quorum:
            self._pacemaker.begin(
                now
            )  # this operator missed the start, or left the session, and others go on

    # -- progress --------------------------------------------------------------------------------------------

    def statistics(self) -> AgreementStatistics:
        """Return what is kept at this moment."""
        return AgreementStatistics(
            self._vote_pool.counts(),
            len(self._proposals),
            frozenset(self._transcripts),
            self._transcripts.verified_count,
            self._pacemaker.views(),
            self._transcripts.highest,
        )

    @property
    def started(self) -> bool:
        """Whether the first view began."""
        return self._pacemaker.entered_at is not None

    @property
    def view(self) -> int:
        """The view that this operator is in."""
        return self._pacemaker.view

    @property
    def is_waiting(self) -> bool:
        """Whether too few members are in this operator's view for its time to run."""
        return self._pacemaker.is_waiting

    @property
    def here(self) -> frozenset[OperatorAddress]:
        """Members that are in this operator's view or above, by their own frames."""
        return self._pacemaker.here

    @property
    def has_activity(self) -> bool:
        """Whether anybody proposed, voted or changed the view: somebody may be bound."""
        return bool(self._proposals or self._vote_pool or self._pacemaker)

    @property
    def decision(self) -> Decision | None:
        """The decision, once a certificate is known."""
        return self._transcripts.decision

    @property
    def locked(self) -> Transcript | None:
        """The transcript that this operator committed to last."""
        lock = self._lock.certificate
        return None if lock is None else self._transcripts.get(lock.hash)

    @property
    def locked_in(self) -> int:
        """The view in which this operator committed last, -1 if it never did."""
        return self._lock.view

    @property
    def prepared(self) -> tuple[Transcript, Certificate] | None:
        """The transcript with the highest prepare certificate, unless ∅ or unknown."""
        return self._transcripts.prepared

    def on_next_boundary(self) -> None:
        """Vote only for ∅ or a justified proposal from now on; a rotation is over."""
        if self._transcripts.is_genesis:
            self._void_allowed = True
        else:
            self.stop_voting()

    def stop_voting(self) -> None:
        """Propose and vote here no more; certificates are still taken in."""
        self._is_stopped = True

    @property
    def _takes_part(self) -> bool:
        """Whether this operator may still propose and vote."""
        return not self._is_stopped and self.me in self.session.x

    # -- the decision ----------------------------------------------------------------------------------------

    def journal_decision(self, decision: Decision) -> list[Effect]:
        """Make the decision durable, unless it was in an earlier run."""
        return self._transcripts.journal_decision(decision)

    def announcement(self, decision: Decision) -> Frame:
        """Return the decision as a frame that anyone can be served."""
        encoded = None if decision.transcript is None else decision.transcript.encoded
        return self._signer.build(FrameKind.CERTIFICATE, certificate_body(encoded, decision.certificate))
