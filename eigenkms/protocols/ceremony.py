"""One session from boundary to certificate: the dealing exchange and the agreement, with one journal and one frame log.

A caller feeds it verified frames, the time, and the news of the next boundary, and carries out the effects it returns: first
all that is durable, then what is sent. After a crash, a new ``Ceremony`` made from the journal's records goes on where the old
one stopped; what came from others is pulled again (``sync_request`` / ``sync_reply``), since gossip may lose anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from eigenkms.crypto import bn254
from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.protocols.agreement import Agreement, Decision
from eigenkms.protocols.effects import (
    Accuse,
    Broadcast,
    Certified,
    Closed,
    Effect,
    JournalRecord,
    Note,
    Persist,
)
from eigenkms.protocols.exchange import Exchange
from eigenkms.protocols.frame_log import FrameLog
from eigenkms.protocols.frames import BROADCAST_KINDS, Frame, Kind, decode_frame
from eigenkms.protocols.messages import (
    read_answer,
    read_opening,
    read_proposal,
    read_sync,
    read_vote,
    sync_body,
)
from eigenkms.protocols.session import Session
from eigenkms.protocols.transcript import Transcript
from eigenkms.protocols.voice import Voice
from eigenkms.protocols.votes import VOID_HASH, decode_certificate
from eigenkms.types import OperatorAddress

SYNC_REPLY_BYTES = 512 * 1024
_EXCHANGE_KINDS = frozenset({Kind.HASH, Kind.DEALING, Kind.SHARE, Kind.REPORT, Kind.ANSWER, Kind.OPENING})
_AGREEMENT_KINDS = frozenset({Kind.PROPOSAL, Kind.VOTE, Kind.VIEW_CHANGE, Kind.CERTIFICATE})
SESSION_KINDS = _EXCHANGE_KINDS | _AGREEMENT_KINDS
"""Kinds of frames that a ceremony takes in."""


@dataclass(frozen=True)
class CeremonyStatus:
    """A session as an operator wants to see it. ``missing`` are operators from whom no dealing hash has come."""

    phase: str
    view: int
    missing: tuple[OperatorAddress, ...]
    frames: int
    dropped: int


class Ceremony:
    """One operator's side of one genesis session.

    ``opened_at`` is the time, on the caller's clock in seconds, at which the boundary was first seen; ``records`` what an earlier
    life journaled. ``rng`` yields secret randomness.
    """

    def __init__(
        self,
        session: Session,
        *,
        me: OperatorAddress,
        key: bn254.KeyPair,
        rng: Rng,
        opened_at: float,
        records: Sequence[JournalRecord] = (),
    ) -> None:
        self.session = session
        self.me = me
        self._log = FrameLog()
        self._voice = Voice(session, me, key, self._log)
        self._exchange = Exchange(self._voice, rng, opened_at)
        self._agreement = Agreement(self._voice, self._exchange)
        self._shares: dict[bytes, SecretScalar] = {}
        self._announced = False
        self._was_decided = False
        self._restored = tuple(records)
        self._superseded = False
        self._prepared = False

    # -- events ----------------------------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Begin, or resume from the journal: say again what was said, then go on."""
        self._exchange.restore(self._restored, now)
        self._agreement.restore(self._restored, now)
        again: list[Effect] = []
        for record in self._restored:
            if record.kind == "frame":
                frame = decode_frame(record.body)
                self._log.add(frame)
                self._route(frame, now)
                again.append(Broadcast(frame))
            elif record.kind == "share":
                self._shares[record.body[:32]] = SecretScalar.from_bytes(record.body[32:])
            elif record.kind == "certificate":
                self._agreement.restore_decision(decode_certificate(record.body))
                self._was_decided = True
        self._restored = ()
        return again + self._run(now)

    def wants(self, frame: Frame) -> bool:
        """Whether a decoded frame is worth verifying: in scope, readable, not known, not a flood.

        Raises ``WrongScopeError`` if it does not belong here, ``MalformedError`` if its body is not its kind's.
        """
        frame.check_scope(
            cluster=self.session.cluster, me=self.me, members=self.session.recipients, session=self.session.id
        )
        if frame.kind not in SESSION_KINDS or frame.sender == self.me:
            return False
        if (frame.recipient is None) != (frame.kind in BROADCAST_KINDS):
            return False
        return self._log.wants(frame) and self._concerns_members(frame)

    def _concerns_members(self, frame: Frame) -> bool:
        """Whether those whom a frame names are members, and a proposal is its view's coordinator's."""
        match frame.kind:
            case Kind.ANSWER:
                return read_answer(frame).recipient in self.session.x
            case Kind.OPENING:
                return read_opening(frame).dealer in self.session.x
            case Kind.PROPOSAL:
                return frame.sender == self.session.coordinator(read_proposal(frame).view)
            case _:
                return True

    def receive(self, frames: Sequence[Frame], now: float) -> list[Effect]:
        """Take verified frames that ``wants`` accepted."""
        effects: list[Effect] = []
        for frame in frames:
            if self._log.has(frame):
                continue  # twice in one batch
            evidence = self._log.add(frame)
            if evidence is not None:
                effects.append(Accuse(evidence))
                self._exchange.equivocated(frame)
            elif self._log.has(frame):
                self._route(frame, now)
        return effects + self._run(now)

    def tick(self, now: float) -> list[Effect]:
        """Time passed."""
        return self._run(now)

    def supersede(self, now: float) -> list[Effect]:
        """The next boundary was seen."""
        if not self._superseded:
            self._superseded = True
            self._agreement.supersede()
        return self._run(now)

    def deadline(self, now: float) -> float | None:
        """When to call ``tick`` if nothing else happens."""
        if self._agreement.decision is not None:
            return None
        times = (self._exchange.deadline(now), self._agreement.deadline(now))
        return min((t for t in times if t is not None), default=None)

    # -- pulling what was lost -------------------------------------------------------------------------------

    def sync_request(self) -> Frame:
        """A signed list of what I have, to ask any member for the rest."""
        return self._voice.build(Kind.SYNC, sync_body(self._log.keys()))

    @property
    def lacking(self) -> tuple[OperatorAddress, ...]:
        """Dealers whose share is not here yet: only they can be asked for it."""
        return self._exchange.lacking if self.pulls else ()

    def sync_reply(self, request: Frame) -> list[Frame]:
        """Frames that the (verified) request lacks, and the requester's share of my dealing.

        They hold a secret of ``request.sender``: a caller hands them to nobody but that operator. Raises ``WrongScopeError``
        for a request from outside the session, ``MalformedError`` for one that cannot be read.
        """
        request.check_scope(
            cluster=self.session.cluster, me=self.me, members=self.session.recipients, session=self.session.id
        )
        have = read_sync(request)
        frames = self._log.missing(have, SYNC_REPLY_BYTES)
        share = self._exchange.share_for(request.sender)
        if share is not None and share.key not in have:
            frames.append(share)
        return frames

    # -- what the node asks ----------------------------------------------------------------------------------

    @property
    def decided(self) -> bool:
        return self._agreement.decision is not None

    @property
    def pulls(self) -> bool:
        """Whether others may have what I need: an undecided session that goes on, or a certified one without my share.

        A session that the next boundary left behind sleeps, unless my vote binds me or a view change wakes it.
        """
        decision = self._agreement.decision
        if decision is None:
            return not self._superseded or self.binding or self._agreement.started
        return decision.transcript is not None and decision.transcript.hash not in self._shares

    @property
    def may_matter(self) -> bool:
        """Whether somebody may still be bound to this session, so that it must stay answerable."""
        return self.decided or self._agreement.touched

    @property
    def binding(self) -> bool:
        """I voted for a key here and no certificate closed it: I may join no later genesis.

        A vote for ∅ helps no key into being, so it does not bind; else one liar could wake a session that too few were in to
        close it, and bind those few for ever.
        """
        return self._prepared and not self.decided

    def status(self) -> CeremonyStatus:
        decision = self._agreement.decision
        if decision is not None:
            phase = "void" if decision.transcript is None else "certified"
        elif self._agreement.started:
            phase = "voting"
        else:
            phase = "dealing"
        return CeremonyStatus(
            phase, self._agreement.view, self._exchange.missing, len(self._log), self._log.dropped
        )

    # -- inside ----------------------------------------------------------------------------------------------

    def _route(self, frame: Frame, now: float) -> None:
        if frame.kind in _EXCHANGE_KINDS:
            self._exchange.receive(frame, now)
            return
        self._agreement.receive(frame, now)
        if frame.sender == self.me and frame.kind is Kind.VOTE:
            self._prepared |= read_vote(frame).hash != VOID_HASH

    def _run(self, now: float) -> list[Effect]:
        """Let the parts advance until nothing follows from what they know; my own frames are news to them too."""
        for frame in self._log.take_evicted():
            self._agreement.forget(frame)
        effects: list[Effect] = []
        while not self.decided:
            step = [*self._exchange.advance(now), *self._agreement.advance(now)]
            for effect in step:
                if isinstance(effect, Broadcast):
                    self._route(effect.frame, now)
                elif isinstance(effect, Persist) and effect.record.kind == "share":
                    self._shares[effect.record.body[:32]] = SecretScalar.from_bytes(effect.record.body[32:])
            effects += step
            if not step:
                break
        return effects + self._conclude()

    def _conclude(self) -> list[Effect]:
        """On the decision: journal it once, hand the version over, and again when my share of it is complete."""
        decision = self._agreement.decision
        if decision is None:
            return []
        if decision.transcript is None:
            return [] if self._announced else self._close(decision)
        transcript = decision.transcript
        had_share = transcript.hash in self._shares
        effects = self._collect_share(transcript)
        share = self._shares.get(transcript.hash)
        if self._announced and (had_share or share is None):
            return effects
        journal = self._journal_decision(decision)
        note = Note("certified", self._summary(decision, transcript, share is not None))
        return [*effects, *journal, Certified(transcript, decision.certificate, share), note]

    def _close(self, decision: Decision) -> list[Effect]:
        certificate = decision.certificate
        note = Note("closed without a key", {"view": certificate.view})
        return [*self._journal_decision(decision), Closed(certificate), note]

    def _journal_decision(self, decision: Decision) -> list[Effect]:
        """Keep transcript and certificate for whoever asks, and durably unless an earlier life did."""
        if self._announced:
            return []
        self._announced = True
        self._log.add(self._agreement.announcement(decision))
        if self._was_decided:
            return []
        transcript = decision.transcript
        journal = [] if transcript is None else self._agreement.journal_transcript(transcript)
        return [*journal, Persist(JournalRecord("certificate", decision.certificate.encoded))]

    def _collect_share(self, transcript: Transcript) -> list[Effect]:
        """Complete my share of a certified version, which may take until long after the certificate."""
        if transcript.hash in self._shares:
            return []
        effects = self._exchange.collect()
        share = self._exchange.combined_share(transcript)
        if share is None:
            return effects
        self._shares[transcript.hash] = share
        journal = JournalRecord("share", transcript.hash + share.to_bytes(), secret=True)
        return [*effects, Persist(journal)]

    def _summary(self, decision: Decision, transcript: Transcript, has_share: bool) -> dict[str, object]:
        return {
            "view": decision.certificate.view,
            "version": int(transcript.version),
            "mpk": transcript.mpk.hex()[:16],
            "signers": len(decision.certificate.signers(self.session.recipients)),
            "share": has_share,
        }
