"""What must always hold (docs/protocol.md), checked by somebody who sees everything that any correct operator does.

The judge also adds up all votes that correct operators ever cast, arrived or not, and grants every Byzantine operator a vote for
anything: if those could make two certificates, the law is broken even if no certificate was ever put together.
"""

from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING

from eigenkms.crypto.feldman import public_share_of
from eigenkms.protocols.codec import MalformedError
from eigenkms.protocols.effects import Certified, Closed
from eigenkms.protocols.evidence import Evidence, check_evidence
from eigenkms.protocols.frames import Frame, Kind, decode_frame
from eigenkms.protocols.messages import read_proposal, read_view_change, read_vote, slot_of
from eigenkms.protocols.session import Session
from eigenkms.protocols.transcript import decode_transcript
from eigenkms.protocols.votes import VOID_HASH, BadCertificateError, Certificate, Phase
from eigenkms.types import OperatorAddress, SessionId

if TYPE_CHECKING:
    from tests.sim.world import Node, World


class Laws:
    """Raises ``AssertionError`` with the world's story when a law is broken."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self._spoken: dict[tuple[OperatorAddress, SessionId, object], bytes] = {}
        self._entered: dict[tuple[OperatorAddress, SessionId], int] = {}
        self._voted: dict[tuple[OperatorAddress, int, int, Phase], tuple[SessionId, bytes]] = {}
        self._commits: dict[tuple[SessionId, int, bytes], set[OperatorAddress]] = defaultdict(set)
        self._certifiable: dict[SessionId, bytes] = {}
        self._decided: dict[SessionId, bytes] = {}
        self._mpks: set[bytes] = set()
        self._mpk_of: dict[bytes, bytes] = {}
        self._proposed_fresh: set[tuple[SessionId, int]] = set()

    def _require(self, holds: bool, complaint: str) -> None:
        assert holds, self.world.story(complaint)

    # -- speech ------------------------------------------------------------------------------------------------

    def speaks(self, node: "Node", frame: Frame) -> None:
        """No correct operator says two things in one slot, votes twice, or votes below a view it entered; across crashes too."""
        if frame.kind is Kind.PROPOSAL:
            self._note_transcript(frame)
        if node.tamper is not None:
            return
        slot = slot_of(frame)
        if slot is None:
            return
        key = (frame.sender, frame.session, slot)
        known = self._spoken.get(key)
        if known is not None:
            self._require(known == frame.payload, f"{frame} said twice, differently")
            return
        self._spoken[key] = frame.payload
        if frame.kind is Kind.VIEW_CHANGE:
            place = (frame.sender, frame.session)
            self._entered[place] = max(self._entered.get(place, 0), read_view_change(frame).view)
        elif frame.kind is Kind.PROPOSAL:
            proposal = read_proposal(frame)
            if proposal.justification is None:
                self._proposed_fresh.add((frame.session, proposal.view))
        elif frame.kind is Kind.VOTE:
            self._votes(node, frame)

    def _note_transcript(self, frame: Frame) -> None:
        """Which master key a hash that may be voted for stands for."""
        with suppress(MalformedError):
            encoded = read_proposal(frame).transcript
            if encoded is not None:
                transcript = decode_transcript(encoded)
                self._mpk_of[transcript.hash] = transcript.mpk

    def _votes(self, node: "Node", frame: Frame) -> None:
        vote, session = read_vote(frame), self.world.session(frame.session)
        entered = self._entered.get((frame.sender, frame.session), 0)
        self._require(vote.view >= entered, f"vote in view {vote.view} after entering {entered}")
        place = (frame.sender, session.boundary.number, vote.view, vote.phase)
        choice = self._voted.setdefault(place, (frame.session, vote.hash))
        self._require(
            choice == (frame.session, vote.hash), "two votes at one boundary number, view and phase"
        )
        if vote.phase is Phase.COMMIT:
            self._commits[frame.session, vote.view, vote.hash].add(frame.sender)
            self._could_certify(session, vote.view, vote.hash)
        elif vote.hash != VOID_HASH and (frame.session, vote.view) in self._proposed_fresh:
            records = node.disk.journal.get(frame.session, [])
            kept = any(r.kind == "share" and r.body[:32] == vote.hash for r in records)
            kept |= any(t.hash == vote.hash for t, _, share in node.disk.versions if share is not None)
            self._require(kept, "a fresh prepare vote whose signer's combined share is not durable")

    def _could_certify(self, session: Session, view: int, digest: bytes) -> None:
        liars = sum(1 for a in session.recipients.addresses if self.world.nodes[a].tamper is not None)
        votes = len(self._commits[session.id, view, digest]) + liars
        if 3 * votes < 2 * session.n:
            return
        known = self._certifiable.setdefault(session.id, digest)
        self._require(known == digest, "votes for two certificates of one session exist")
        keys = {self._mpk_of.get(h, h) for h in self._certifiable.values() if h != VOID_HASH}
        self._require(len(keys) <= 1, "votes for two master keys exist")

    def waits(self, node: "Node", deadline: float | None) -> None:
        """A machine that was told the time asks to be told again later, not at once and for ever."""
        self._require(deadline is None or deadline > node.now, f"{node.name} asks for a time that has passed")

    # -- one genesis -------------------------------------------------------------------------------------------

    def joins(self, node: "Node", session: Session) -> None:
        """Nobody begins a session while bound to another, at a boundary number it was at before, or with a key in hand."""
        numbers = [s.boundary.number for s, _ in node.disk.sessions.values()]
        self._require(session.boundary.number > max(numbers, default=-1), "a boundary number joined twice")
        if node.operator is not None and node.operator.has_source:
            return  # a rotation binds nobody
        self._require(not node.disk.versions, "genesis joined with a key in hand")
        open_sessions = set(node.disk.sessions) - {c.session for c in node.disk.closed}
        for other in open_sessions:
            bound = any(read_vote(frame).hash != VOID_HASH for frame in self._own_votes(node, other))
            self._require(not bound, "a second genesis joined while bound to a first")

    def _own_votes(self, node: "Node", session: SessionId) -> list[Frame]:
        frames = [decode_frame(r.body) for r in node.disk.journal.get(session, []) if r.kind == "frame"]
        return [frame for frame in frames if frame.kind is Kind.VOTE]

    # -- results -----------------------------------------------------------------------------------------------

    def certifies(self, node: "Node", effect: Certified) -> None:
        """One key per cluster, one certificate per session, shares on the certified vector."""
        if node.tamper is not None:
            return
        transcript, certificate = effect.transcript, effect.certificate
        session = self.world.session(certificate.session)
        self._counts(certificate, session)
        self._require(certificate.hash == transcript.hash, "a certificate of another transcript")
        self._decides(session.id, transcript.hash)
        self._mpks.add(transcript.mpk)
        self._require(len(self._mpks) == 1, "two master keys")
        if effect.share is not None:
            fits = public_share_of(effect.share) == transcript.public_share(node.address)
            self._require(fits, "a share is off the certified vector")

    def closes(self, node: "Node", effect: Closed) -> None:
        if node.tamper is None:
            self._counts(effect.certificate, self.world.session(effect.certificate.session))
            self._decides(effect.certificate.session, VOID_HASH)

    def _counts(self, certificate: Certificate, session: Session) -> None:
        """Enough commit votes, by the judge's own arithmetic."""
        self._require(
            certificate.phase is Phase.COMMIT, "decided by a certificate that is no commit certificate"
        )
        try:
            certificate.verify(session.recipients, -(-2 * session.n // 3))
        except BadCertificateError as error:
            self._require(False, str(error))

    def _decides(self, session: SessionId, digest: bytes) -> None:
        known = self._decided.setdefault(session, digest)
        self._require(known == digest, "two certificates for one session")

    def accuses(self, node: "Node", evidence: Evidence) -> None:
        """Evidence convinces a third party, and never of an honest operator."""
        if node.tamper is not None:
            return
        check_evidence(evidence, self.world.session(evidence.session))
        honest = self.world.nodes[evidence.accused].tamper is None
        self._require(not honest, f"evidence of {evidence.fault} accuses an honest operator")
