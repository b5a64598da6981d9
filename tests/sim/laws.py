"""What must always hold (docs/protocol.md), checked by somebody who sees everything that any correct operator does.

The judge also adds up all votes that correct operators ever cast, arrived or not, and grants every Byzantine operator a vote for
anything: if those could make two certificates, the law is broken even if no certificate was ever put together.

Which laws of the page are checked where: 1 ``certifies``, ``_could_certify``; 2 ``certifies``; 3 ``_votes``; 4 ``keeps_a_version``;
5 ``speaks``, ``_votes``; 6 in story.py; 7 ``is_durable``, ``erases``; 8 ``accuses``.
"""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from eigenkms.crypto.feldman import public_share_of
from eigenkms.errors import VerificationError
from eigenkms.protocols.codec import MalformedError
from eigenkms.protocols.effects import Certified, Closed, Erase, Settled
from eigenkms.protocols.evidence import Evidence
from eigenkms.protocols.evidence_bundle import Bundle, check_bundle, decode_bundle
from eigenkms.protocols.frames import Frame, Kind, decode_frame
from eigenkms.protocols.messages import (
    GENESIS_SOURCE,
    read_confirm,
    read_proposal,
    read_view_change,
    read_vote,
    slot_of,
)
from eigenkms.protocols.operator import SessionEffect
from eigenkms.protocols.requests import Epoch
from eigenkms.protocols.session import Session
from eigenkms.protocols.settlement import SettlementProof
from eigenkms.protocols.transcript import Transcript, decode_transcript
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
        self._key_at: dict[int, bytes] = {}
        self._mpks: set[bytes] = set()
        self._proposed: dict[bytes, Transcript] = {}
        self._proposed_fresh: set[tuple[SessionId, int]] = set()
        self._certified: dict[bytes, Transcript] = {}
        self._source_at: dict[tuple[OperatorAddress, SessionId], int] = {}
        """The highest settled version that somebody knew when it joined a session."""
        self._confirmed: dict[bytes, set[OperatorAddress]] = defaultdict(set)
        self.settled: set[bytes] = set()
        """Transcript hashes of versions that some correct operator saw settled."""
        self._is_proven = False
        """Whether some settlement proof exists."""

    def _require(self, holds: bool, complaint: str) -> None:
        assert holds, self.world.story(complaint)

    # -- speech ------------------------------------------------------------------------------------------------

    def speaks(self, node: "Node", frame: Frame) -> None:
        """No correct operator says two things in one slot, votes twice, or votes below a view it entered; across crashes too."""
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
        match frame.kind:
            case Kind.VIEW_CHANGE:
                place = (frame.sender, frame.session)
                self._entered[place] = max(self._entered.get(place, 0), read_view_change(frame).view)
            case Kind.VOTE:
                self._votes(node, frame)
            case Kind.CONFIRM:
                confirmed = read_confirm(frame).hash
                holds = node.disk.holds_share(confirmed)
                self._require(holds, "a confirm by somebody whose share is not durable")
                self._confirmed[confirmed].add(frame.sender)

    def proposes(self, frame: Frame) -> None:
        """Anybody proposes: which master key and source the hash stands for that may be voted for."""
        with suppress(MalformedError):
            proposal = read_proposal(frame)
            if proposal.justification is None:
                self._proposed_fresh.add((frame.session, proposal.view))
            if proposal.transcript is not None:
                transcript = decode_transcript(proposal.transcript)
                self._proposed[transcript.hash] = transcript

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
            kept = node.disk.holds_share(vote.hash)
            self._require(kept, "a fresh prepare vote whose signer's combined share is not durable")
            self._has_source(self._proposed[vote.hash])
            known = self._source_at.get((node.address, frame.session), 0)
            fresh = self._proposed[vote.hash].source_version >= known
            self._require(fresh, "a fresh prepare vote for a transcript from an old source")

    def _has_source(self, transcript: Transcript) -> None:
        """A fresh transcript is voted for only if its source is settled. The voter may have crashed between journaling the vote and
        noting that, so this is not about what it knows now.
        """
        if transcript.source_version != GENESIS_SOURCE:
            settled = transcript.source_hash in self.settled or self._could_settle(transcript.source_hash)
            self._require(settled, "a fresh prepare vote for a transcript from an unsettled version")

    def _could_settle(self, transcript_hash: bytes) -> bool:
        """Whether the confirms of correct members that ever were said, and those of all liars, make a settlement proof."""
        source = self._certified.get(transcript_hash)
        if source is None:
            return False
        members = source.recipients.addresses
        liars = {a for a in members if self.world.nodes[a].tamper is not None}
        return len(liars | self._confirmed[transcript_hash]) >= _settlement_quorum(len(members))

    def _could_certify(self, session: Session, view: int, digest: bytes) -> None:
        liars = sum(1 for a in session.recipients.addresses if self.world.nodes[a].tamper is not None)
        votes = len(self._commits[session.id, view, digest]) + liars
        if 3 * votes < 2 * session.n:
            return
        known = self._certifiable.setdefault(session.id, digest)
        self._require(known == digest, "votes for two certificates of one session exist")
        keys = {self._mpk_of(h) for h in self._certifiable.values() if h != VOID_HASH}
        self._require(len(keys) <= 1, "votes for two master keys exist")

    def _mpk_of(self, transcript_hash: bytes) -> bytes:
        proposed = self._proposed.get(transcript_hash)
        return transcript_hash if proposed is None else proposed.mpk

    def waits(self, node: "Node", deadline: float | None) -> None:
        """A machine that was told the time asks to be told again later, not at once and for ever."""
        self._require(deadline is None or deadline > node.now, f"{node.name} asks for a time that has passed")

    # -- one session a boundary, one genesis -----------------------------------------------------------------------

    def joins(self, node: "Node", session: Session) -> None:
        """Nobody begins a session at a boundary number it was at before, or that an earlier disk of it may have voted at; nor a
        genesis while bound to another, or with a key in hand.
        """
        numbers = [stored.session.boundary.number for stored in node.disk.sessions.values()]
        newest = max([node.disk.floor, *numbers])
        self._require(session.boundary.number > newest, "a boundary number joined twice")
        if node.disk.newest_settled is not None:
            source = int(node.disk.newest_settled.transcript.version)
            self._source_at[node.address, session.id] = source
        if node.operator is not None and node.operator.has_source:
            return  # a rotation binds nobody
        self._require(not node.disk.held, "genesis joined with a key in hand")
        for other in set(node.disk.sessions) - set(node.disk.closed):
            bound = any(read_vote(frame).hash != VOID_HASH for frame in self._own_votes(node, other))
            self._require(not bound, "a second genesis joined while bound to a first")

    def _own_votes(self, node: "Node", session: SessionId) -> list[Frame]:
        frames = [decode_frame(r.body) for r in node.disk.journal.get(session, []) if r.kind == "frame"]
        return [frame for frame in frames if frame.kind is Kind.VOTE]

    # -- results -----------------------------------------------------------------------------------------------

    def certifies(self, node: "Node", effect: Certified) -> None:
        """One key per cluster, one certificate per session and boundary number, from a settled source, shares on its vector."""
        if node.tamper is not None:
            return
        transcript, certificate = effect.transcript, effect.certificate
        self._certificate_counts(transcript, certificate)
        if effect.share is not None:
            fits = public_share_of(effect.share) == transcript.public_share(node.address)
            self._require(fits, "a share is off the certified vector")
        self.keeps_a_version()

    def _certificate_counts(self, transcript: Transcript, certificate: Certificate) -> None:
        session = self.world.session(certificate.session)
        self._counts(certificate, session)
        self._require(certificate.hash == transcript.hash, "a certificate of another transcript")
        self._decides(session.id, transcript.hash)
        number = session.boundary.number
        self._require(
            self._key_at.setdefault(number, transcript.hash) == transcript.hash,
            "two transcripts certified at one boundary number",
        )
        self._mpks.add(transcript.mpk)
        self._require(len(self._mpks) == 1, "two master keys")
        if transcript.source_version == GENESIS_SOURCE:
            self.settled.add(transcript.hash)
        else:
            self._require(
                transcript.source_hash in self.settled, "certified from a version that is not settled"
            )
        self._certified[transcript.hash] = transcript

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

    # -- settling and erasing ----------------------------------------------------------------------------------

    def settles(self, node: "Node", effect: Settled) -> None:
        """Enough members confirmed, by the judge's own arithmetic, and those of them that are correct hold their shares."""
        if node.tamper is not None:
            return
        transcript, proof = effect.transcript, effect.proof
        self._certificate_counts(transcript, effect.certificate)
        if proof is None:
            self._require(transcript.source_version == GENESIS_SOURCE, "settled without a proof")
            return
        self._proves(transcript, proof)
        self.settled.add(transcript.hash)
        self._is_proven = True

    def _proves(self, transcript: Transcript, proof: SettlementProof) -> None:
        n = len(transcript.recipients)
        members = zip(
            transcript.recipients.addresses,
            f"{int.from_bytes(proof.bitmap, 'big'):0{8 * len(proof.bitmap)}b}",
            strict=False,
        )
        signers = [a for a, bit in members if bit == "1"]
        needed = _settlement_quorum(n)
        self._require(len(signers) >= needed, f"settled by {len(signers)} confirms, {needed} needed")
        for address in signers:
            holder = self.world.nodes[address]
            stored = holder.disk.versions.get(transcript.hash)
            erased = stored is not None and stored.erased
            kept = holder.disk.holds_share(transcript.hash) or erased or holder.has_lost_disk
            self._require(holder.tamper is not None or kept, "settled by somebody correct who holds no share")

    def erases(self, node: "Node", transcript_hash: bytes) -> None:
        """Nothing but a settled higher version erases a share."""
        if node.tamper is None:
            erased, newest = node.disk.versions[transcript_hash], node.disk.newest_settled
            higher = newest is not None and newest.transcript.version > erased.transcript.version
            self._require(higher, "a share erased before a higher version is settled")

    def keeps_a_version(self) -> None:
        """Some certified version has t correct holders, once there is one. With a lowered genesis quorum and liars that is only
        hoped, until a version is settled by confirms.
        """
        correct = self.world.correct()
        hoped = self.world.parameters.genesis_quorum and len(correct) < len(self.world.nodes)
        if not self._certified or (hoped and not self._is_proven):
            return
        best = 0.0
        for transcript in self._certified.values():
            holders = sum(
                node.disk.holds_share(transcript.hash)
                for node in correct
                if transcript.recipients.get(node.address) is not None
            )
            if holders >= transcript.threshold:
                return
            best = max(best, holders / transcript.threshold)
        self._require(False, f"no version has enough correct holders: {best:.0%} of t at best")

    def is_durable(self, node: "Node", effects: Sequence[SessionEffect]) -> None:
        """After a step that erases a version, its share can be computed from nothing that is left on the disk."""
        if node.tamper is not None:
            return
        for item in effects:
            if isinstance(item.effect, Erase):
                stored = node.disk.versions.get(item.effect.transcript_hash)
                left = [] if stored is None else node.disk.secrets_of(stored.transcript)
                self._require(not left, f"an erased share is still there: {', '.join(left)}")

    # -- evidence ----------------------------------------------------------------------------------------------

    def accuses(self, node: "Node", evidence: Evidence) -> None:
        """Evidence, written down and read again, convinces a third party, and never of an honest operator."""
        if node.tamper is not None:
            return
        session, source = self.world.session(evidence.session), None
        if evidence.source is not None:
            stored = node.disk.versions.get(evidence.source.hash)
            self._require(stored is not None, "evidence about a version whose certificate is not kept")
            assert stored is not None
            source = Epoch(stored.transcript, stored.certificate)
        self._convinces(Bundle(session, evidence, source))
        honest = self.world.nodes[evidence.accused].tamper is None
        self._require(not honest, f"evidence of {evidence.fault} accuses an honest operator")
        certified = source is None or source.transcript.hash in self._certified
        self._require(certified, "evidence that rests on a version which is not certified")

    def _convinces(self, bundle: Bundle) -> None:
        """Somebody who has nothing but the bytes."""
        try:
            again = decode_bundle(bundle.encoded)
            check_bundle(again)
        except (MalformedError, VerificationError) as error:
            self._require(False, f"evidence that convinces nobody: {error}")
        else:
            same = again.evidence == bundle.evidence
            self._require(same, "evidence that is another one once it was written down")


def _settlement_quorum(n: int) -> int:
    """How many confirms, t' + ⌈n/3⌉ − 1, in the judge's own arithmetic."""
    return -(-2 * n // 3) + -(-n // 3) - 1
