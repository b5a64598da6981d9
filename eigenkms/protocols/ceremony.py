"""One session from boundary to certificate, and on to settlement: exchanges, agreement, confirms; one journal, one frame log.

A ceremony either makes a master key (*genesis*) or renews its shares from a settled version (*rotation*, of which that is the
*source*). A higher source that turns up later is dealt from as well; a genesis ceremony in which nobody can have bound this
operator becomes a rotation when a version turns up.

A caller feeds it verified frames, the time, and the news of the next boundary, and carries out the effects it returns: first
all that is durable, then what is sent. After a crash, a new ``Ceremony`` made from the journal's records goes on where the old
one stopped; what came from others is pulled again (``sync_request`` / ``sync_reply``), since gossip may lose anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

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
    Settled,
)
from eigenkms.protocols.exchanges import Exchanges
from eigenkms.protocols.frame_log import FrameLog
from eigenkms.protocols.frames import BROADCAST_KINDS, Frame, Kind, decode_frame
from eigenkms.protocols.genesis import Genesis
from eigenkms.protocols.messages import (
    EXCHANGE_KINDS,
    GENESIS_SOURCE,
    read_sync,
    read_vote,
    slot_of,
    source_of,
    sync_body,
)
from eigenkms.protocols.parties import Parties
from eigenkms.protocols.progress import Step, steps_of
from eigenkms.protocols.resharing import Resharing
from eigenkms.protocols.session import Session
from eigenkms.protocols.settlement import SettlementProof
from eigenkms.protocols.settling import Settling
from eigenkms.protocols.transcript import Transcript
from eigenkms.protocols.voice import Voice
from eigenkms.protocols.votes import VOID_HASH, Certificate, decode_certificate
from eigenkms.types import OperatorAddress

SYNC_REPLY_BYTES = 512 * 1024
_AGREEMENT_KINDS = frozenset({Kind.PROPOSAL, Kind.VOTE, Kind.VIEW_CHANGE, Kind.CERTIFICATE})
SESSION_KINDS = EXCHANGE_KINDS | _AGREEMENT_KINDS | {Kind.CONFIRM}
"""Kinds of frames that a ceremony takes in."""


@dataclass(frozen=True)
class HeldSource:
    """A settled version that a rotation deals from, and my share of it if I hold one."""

    transcript: Transcript
    share: SecretScalar | None = field(repr=False)


@dataclass(frozen=True)
class CeremonyStatus:
    """A session as an operator wants to see it. ``missing`` are operators that should have dealt and have not, ``unconfirmed``
    those whose promise to keep the new version has not come. ``source`` is the version dealt from, 0 at genesis.
    """

    phase: str
    view: int
    missing: tuple[OperatorAddress, ...]
    frames: int
    dropped: int
    source: int = GENESIS_SOURCE
    unconfirmed: tuple[OperatorAddress, ...] = ()


class Ceremony:
    """One operator's side of one session: a genesis, or with ``sources`` (ascending) a rotation.

    ``opened_at`` is the time, on the caller's clock in seconds, at which the boundary was first seen; ``records`` what an earlier
    life journaled. ``rng`` yields secret randomness. A ``silent`` one says nothing that it could have said differently before its
    journal was lost in part: it listens, and serves what it dealt.
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
        sources: Sequence[HeldSource] = (),
        silent: bool = False,
    ) -> None:
        self.session = session
        self._silent = silent
        self.me = me
        self._rng = rng
        self._opened_at = opened_at
        self._log = FrameLog()
        self._voice = Voice(session, me, key, self._log)
        self._settling = Settling(self._voice, rng)
        self._settled = False
        self.is_shredded = False
        """Whether ``forget_secrets`` was called."""
        self._parties = Parties(session, me)
        self._exchanges = Exchanges()
        self._agreement = Agreement(
            self._voice, self._exchanges, sources[0].transcript.mpk if sources else None
        )
        if not sources:
            self._exchanges.add(Genesis(self._voice, rng, opened_at))
        for source in sources:
            self._exchanges.add(Resharing(self._voice, rng, opened_at, source.transcript, source.share))
            self._parties.admit(source.transcript)
        if silent:
            self._agreement.leave()
        self._shares: dict[bytes, SecretScalar] = {}
        self._announced = False
        self._was_decided = False
        self._restored = tuple(records)
        self._superseded = False
        self._prepared = False

    # -- events ----------------------------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Begin, or resume from the journal: say again what was said, then go on."""
        if self._restored:
            for exchange in self._exchanges:
                exchange.restore(self._restored, now)
        self._agreement.restore(self._restored, now)
        known = {record.body for record in self._restored if record.kind == "source"}
        if any(record.kind == "silent" for record in self._restored):
            self._fall_silent()
        again: list[Effect] = [
            Persist(JournalRecord("source", source.hash))
            for source in self.sources
            if source.hash not in known
        ]
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

    def add_source(self, source: HeldSource, now: float) -> list[Effect]:
        """A higher settled version turned up: deal from it as well. A genesis becomes a rotation, unless my vote binds me to it."""
        transcript = source.transcript
        older = all(known.version < transcript.version for known in self.sources)
        before = transcript.boundary.number < self.session.boundary.number
        closed = self.binding or self.decided or self._superseded or self._silent
        if closed or not older or not before:
            return []
        exchanges = self._exchanges if self.is_rotation else Exchanges()
        exchanges.add(Resharing(self._voice, self._rng, now, transcript, source.share))
        if not self.is_rotation:
            self._agreement = Agreement(self._voice, exchanges, transcript.mpk)
            self._exchanges = exchanges
        self._parties.admit(transcript)
        if len(self.sources) == 1:
            for frame in self._log:
                self._route(frame, now)
        note = Note("source", {"version": int(transcript.version)})
        return [Persist(JournalRecord("source", transcript.hash)), note, *self._run(now)]

    def wants(self, frame: Frame) -> bool:
        """Whether a decoded frame is worth verifying: in scope, readable, not known, not a flood.

        Raises ``WrongScopeError`` if it does not belong here, ``MalformedError`` if its body is not its kind's.
        """
        if self._is_of_unknown_source(frame):
            return False
        self._parties.check_scope(frame)
        if frame.kind not in SESSION_KINDS:
            return False
        if (frame.recipient is None) != (frame.kind in BROADCAST_KINDS):
            return False
        if frame.sender == self.me:
            return self._is_of_another_life(frame)
        return self._log.wants(frame) and self._parties.are_named_by(frame)

    def _is_of_another_life(self, frame: Frame) -> bool:
        """Whether I said something here that my journal does not know: an older copy of it was put back, or two of them run.

        Of a view below those that the log keeps it cannot tell.
        """
        return slot_of(frame) is not None and not self._silent and self._log.wants(frame)

    def _is_of_unknown_source(self, frame: Frame) -> bool:
        """Whether a frame is dealt from a version that I do not deal from; whose word that is I remember if it is a higher one."""
        ours = (self.session.cluster, self.session.id)
        if frame.kind not in EXCHANGE_KINDS or (frame.cluster, frame.session) != ours:
            return False
        source = source_of(frame)
        if self._exchanges.get(source) is not None:
            return False
        if not self.decided:
            self._parties.heard(frame.sender, source)
        return True

    def receive(self, frames: Sequence[Frame], now: float) -> list[Effect]:
        """Take verified frames that ``wants`` accepted."""
        effects: list[Effect] = []
        for frame in frames:
            if self._log.has(frame):
                continue  # twice in one batch
            if frame.sender == self.me:
                effects += self._fall_silent()
                continue
            evidence = self._log.add(frame)
            if evidence is not None:
                effects.append(
                    Accuse(replace(evidence, source=self._parties.source_of_outsider(frame.sender)))
                )
                for exchange in self._exchanges:
                    exchange.equivocated(frame)
            elif self._log.has(frame):
                self._route(frame, now)
        return effects + self._run(now)

    def _fall_silent(self) -> list[Effect]:
        """Say nothing more here: whatever I said now could contradict what another life of mine said."""
        if self._silent:
            return []
        self._silent = True
        self._agreement.leave()
        return [
            Persist(JournalRecord("silent", b"")),
            Note("another copy of this operator speaks: silent from now on", {}),
        ]

    def decide(self, transcript: Transcript, certificate: Certificate, now: float) -> list[Effect]:
        """The epoch certificate of this session, verified by the caller, came outside the session's frames."""
        self._agreement.learn_decision(transcript, certificate)
        return self._run(now)

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
        if self._agreement.decision is not None or self._only_listens:
            return None
        times = [self._agreement.deadline(now), *(e.deadline(now) for e in self._exchanges)]
        return min((t for t in times if t is not None), default=None)

    # -- pulling what was lost -------------------------------------------------------------------------------

    def sync_request(self) -> Frame:
        """A signed list of what I have, to ask any member for the rest."""
        return self._voice.build(Kind.SYNC, sync_body(self._log.keys()))

    @property
    def lacking(self) -> tuple[OperatorAddress, ...]:
        """Dealers whose share is not here yet: only they can be asked for it."""
        return self._exchanges.current.lacking if self.pulls and not self._holds_share else ()

    def sync_reply(self, request: Frame) -> list[Frame]:
        """Frames that the (verified) request lacks, and the requester's share of my dealing.

        They hold a secret of ``request.sender``: a caller hands them to nobody but that operator. Raises ``WrongScopeError``
        for a request from outside the session, ``MalformedError`` for one that cannot be read.
        """
        self._parties.check_scope(request)
        have = read_sync(request)
        frames = self._log.missing(have, SYNC_REPLY_BYTES)
        return frames + [s for s in self._exchanges.shares_for(request.sender) if s.key not in have]

    # -- what the node asks ----------------------------------------------------------------------------------

    @property
    def decided(self) -> bool:
        return self._agreement.decision is not None

    @property
    def is_rotation(self) -> bool:
        return bool(self.sources)

    @property
    def sources(self) -> tuple[Transcript, ...]:
        """The versions that are dealt from here, ascending; none at genesis."""
        return self._parties.sources

    @property
    def unknown_sources(self) -> dict[OperatorAddress, int]:
        """Who deals from which version that I do not know: it may be a higher settled one, which they can prove."""
        return self._parties.unknown_sources

    @property
    def proof(self) -> SettlementProof | None:
        """The settlement proof of the version that was made here."""
        return self._settling.proof

    def key_of(self, sender: OperatorAddress) -> bytes | None:
        """BN254 G2 key of a recipient, or else of a holder of a source."""
        return self._parties.key_of(sender)

    def forget_secrets(self) -> None:
        """What is dealt from here may be served no more: a version that needs none of it is settled."""
        self.is_shredded = True
        for exchange in self._exchanges:
            exchange.forget_secrets()

    @property
    def is_running(self) -> bool:
        """Whether this rotation may still be decided by votes of mine."""
        return self.is_rotation and not self._superseded and not self.decided

    @property
    def _holds_share(self) -> bool:
        decision = self._agreement.decision
        return (
            decision is not None
            and decision.transcript is not None
            and decision.transcript.hash in self._shares
        )

    @property
    def pulls(self) -> bool:
        """Whether others may have what I need: an undecided session that goes on, a certified one without my share, and until the
        next boundary the confirms that settle it.

        A genesis session that the next boundary left behind sleeps, unless my vote binds me or a view change wakes it.
        """
        decision = self._agreement.decision
        if decision is None:
            awake = not self.is_rotation and (self.binding or self._agreement.started)
            return not self._superseded or awake
        if decision.transcript is None:
            return False
        lacks_share = self.me in self.session.x and not self._holds_share
        return lacks_share or (self.is_rotation and not self._settled and not self._superseded)

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
        return self._prepared and not self.decided and not self.is_rotation

    def status(self) -> CeremonyStatus:
        decision = self._agreement.decision
        if decision is not None:
            phase = "void" if decision.transcript is None else "certified"
        elif self._agreement.started:
            phase = "voting"
        else:
            phase = "dealing"
        current = self._exchanges.current
        certified_here = self.is_rotation and phase == "certified"
        return CeremonyStatus(
            phase,
            self._agreement.view,
            current.missing,
            len(self._log),
            self._log.dropped,
            current.source_version,
            self._settling.unconfirmed if certified_here and not self._settled else (),
        )

    def progress(self) -> tuple[Step, ...]:
        """Who has done which part; may be called from another thread than the one that steps."""
        agreement = self._agreement
        frames = tuple(self._log)
        return steps_of(self.session, frames, self._exchanges.current, agreement.view, agreement.decision)

    # -- inside ----------------------------------------------------------------------------------------------

    def _route(self, frame: Frame, now: float) -> None:
        if frame.kind in EXCHANGE_KINDS:
            exchange = self._exchanges.get(source_of(frame))
            if exchange is not None:
                exchange.receive(frame, now)
            return
        if frame.kind is Kind.CONFIRM:
            self._settling.receive(frame)
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
            step = [*self._advance_exchanges(now), *self._agreement.advance(now)]
            for effect in step:
                if isinstance(effect, Broadcast):
                    self._route(effect.frame, now)
                elif isinstance(effect, Persist) and effect.record.kind == "share":
                    self._shares[effect.record.body[:32]] = SecretScalar.from_bytes(effect.record.body[32:])
            effects += step
            if not step:
                break
        return effects + self._conclude()

    def _advance_exchanges(self, now: float) -> list[Effect]:
        """A rotation that the next boundary left behind says nothing more, and takes in what it is late for."""
        return [
            effect
            for e in self._exchanges
            for effect in (e.collect() if self._only_listens else e.advance(now))
        ]

    @property
    def _only_listens(self) -> bool:
        return self._silent or (self.is_rotation and self._superseded)

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
        if not self._announced or (share is not None and not had_share):
            journal = self._journal_decision(decision)
            note = Note("certified", self._summary(decision, transcript, share is not None))
            effects += [*journal, Certified(transcript, decision.certificate, share), note]
        if self.is_rotation:
            effects += self._settle(decision.certificate, transcript, share)
        return effects

    def _settle(
        self, certificate: Certificate, transcript: Transcript, share: SecretScalar | None
    ) -> list[Effect]:
        """Promise to keep my share, and say so once enough have promised."""
        effects = self._settling.advance(transcript, None if self._silent else share)
        if self._settling.proof is None or self._settled:
            return effects
        self._settled = True
        note = Note("settled", {"version": int(transcript.version)})
        return [*effects, Settled(transcript, certificate, self._settling.proof), note]

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
        effects = [effect for exchange in self._exchanges for effect in exchange.collect()]
        share = self._exchanges.combined_share(transcript)
        if share is None:
            return effects
        self._shares[transcript.hash] = share
        if self.is_shredded:
            return effects  # its journal holds no secrets any more; the version's own row does
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
