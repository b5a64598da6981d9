"""One session from boundary to certificate: keys, dealings, agreement; one journal, one frame log.

A ceremony either makes a master key (*genesis*) or renews its shares (*rotation*) from a version, its *source*. A higher source
that turns up later is dealt from as well; a genesis ceremony in which nobody can have bound this operator becomes a rotation
when a version turns up.

A caller feeds it verified frames, bodies of dealings, results of jobs, the time, and the news of the next boundary, and carries
out the effects it returns. After a crash, a new ``Ceremony`` made from the journal's records goes on where the old one stopped;
what came from others is pulled again (``sync_request`` / ``sync_reply``), since gossip may lose anything.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from eigenkms.crypto import bn254, pvss
from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.protocols.ceremony.agreement import Agreement, Decision
from eigenkms.protocols.ceremony.base_versions import BaseVersions
from eigenkms.protocols.ceremony.blame import DIGESTS, KEYS, Blame, Inquest, ViewHistory, Witness
from eigenkms.protocols.ceremony.dealings import DealingStage, KnownDealing, SharingPhase
from eigenkms.protocols.ceremony.effects import (
    Broadcast,
    CloseSession,
    Effect,
    EraseJournalSecrets,
    JournalRecord,
    LogEvent,
    Persist,
    ReportFault,
    StoreCertified,
    StorePrepared,
)
from eigenkms.protocols.ceremony.frame_log import FrameLog
from eigenkms.protocols.ceremony.genesis import GenesisSharing
from eigenkms.protocols.ceremony.jobs import CheckResult, DealResult
from eigenkms.protocols.ceremony.membership import SessionMembership
from eigenkms.protocols.ceremony.session_progress import CeremonyStatus, SessionStep, session_steps
from eigenkms.protocols.ceremony.signer import SlotSigner
from eigenkms.protocols.records.evidence import Evidence, Fault
from eigenkms.protocols.wire.frames import Frame, FrameKind, decode_frame
from eigenkms.protocols.wire.key_directory import KeyDirectory, key_slot
from eigenkms.protocols.wire.messages import (
    GENESIS,
    SESSION_KINDS,
    SourceRef,
    key_body,
    read_dealing,
    read_proposal,
    read_sync,
    read_vote,
    ref_of,
    slot_of,
    source_of,
    sync_body,
)
from eigenkms.protocols.wire.session import Session
from eigenkms.protocols.wire.transcript import Transcript
from eigenkms.protocols.wire.votes import VOID_HASH, Certificate, decode_certificate
from eigenkms.types import OperatorAddress

FAILED = "ended without a certificate"
"""The event of a session that the next boundary found so."""
SYNC_REPLY_BYTES = 512 * 1024
BYTES_A_PARTY = 1024
"""A frame may have so many bytes for each party, and for four more. The largest, a proposal that shows everybody's key, has two
thirds of it. Frames of 256 operators fit any session otherwise, and a sender has twelve of the largest kinds in each that is kept.
"""


@dataclass(frozen=True)
class SourceVersion:
    """A version that a rotation deals from, and my share of it if I hold one."""

    transcript: Transcript
    share: SecretScalar | None = field(repr=False)


@dataclass(frozen=True)
class CeremonyContext:
    """What is the same for all ceremonies of one operator: who it is, its BN254 key, its source of randomness, and how long, in
    seconds, a session that begins now waits for those that may be late (some round trips).
    """

    me: OperatorAddress
    key: bn254.KeyPair = field(repr=False)
    rng: Rng
    grace: Callable[[], float]


class Ceremony:
    """One operator's side of one session: a genesis, or with ``sources`` (ascending) a rotation.

    ``opened_at`` is the time, on the caller's clock in seconds, at which the boundary was first seen; ``records`` what an
    earlier life journaled; ``fresh`` the encryption key to publish here, if there is one; ``floor`` the version of this
    operator's lock. A ``silent`` one says nothing that it could have said differently before its journal was lost in part.
    """

    def __init__(
        self,
        session: Session,
        setting: CeremonyContext,
        opened_at: float,
        *,
        records: Sequence[JournalRecord] = (),
        sources: Sequence[SourceVersion] = (),
        fresh: pvss.EncryptionKey | None = None,
        floor: SourceRef = GENESIS,
        listen_only: bool = False,
    ) -> None:
        self.session = session
        self.me = setting.me
        self._context = setting
        self._opened_at = opened_at
        self._fresh = fresh
        self._log = FrameLog()
        self._signer = SlotSigner(session, setting.me, setting.key, self._log)
        self._keys = KeyDirectory(session)
        self._membership = SessionMembership(session, setting.me)
        self._sources = BaseVersions(session.recipients, floor)
        self._agreement = Agreement(
            self._signer, self._sources, sources[0].transcript.mpk if sources else None
        )
        if not sources:
            genesis = GenesisSharing(self._signer, self._keys, setting.rng, opened_at, setting.grace())
            self._sources.add(genesis)
        for source in sources:
            self._sources.add(self._dealings_from(source, opened_at))
            self._membership.add_source(source.transcript)
        self._silent = False
        if listen_only:
            self._leave()
        self._announced = False
        self._prepared_told: bytes | None = None
        self._was_decided = False
        self._restored = tuple(records)
        self._superseded = False
        self._prepared = False
        self._witness = Witness()
        self._started_at = opened_at
        self._ran_at = opened_at
        """Until when what follows from the passing of time was done."""
        self.blame: Blame | None = None
        """Whom I had not heard from in time, if the next boundary found this session without a certificate."""

    def _dealings_from(self, source: SourceVersion, opened_at: float) -> SharingPhase:
        setting = self._context
        return SharingPhase(
            self._signer,
            self._keys,
            setting.rng,
            opened_at,
            setting.grace(),
            source.transcript,
            source.share,
        )

    # -- events ------------------------------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Begin, or resume from the journal: say again what was said, then go on."""
        self._started_at = now
        known = {record.body for record in self._restored if record.kind == "source"}
        effects: list[Effect] = [
            Persist(JournalRecord("source", source.encoded))
            for source in self.sources
            if source.encoded not in known
        ]
        if any(record.kind == "silent" for record in self._restored):
            self._leave()
        if self.is_rotation and any(record.kind == "polynomial" for record in self._restored):
            effects.append(
                EraseJournalSecrets(self.session.id)
            )  # a genesis until its source was journaled, and then a crash
        own = [decode_frame(r.body) for r in self._restored if r.kind == "frame"]
        for frame in own:
            self._log.add(frame)
        for record in self._restored:
            if record.kind == "dealing" and (frame := decode_frame(record.body)).sender != self.me:
                self._log.add(frame)  # to be served: its dealer may be gone
        for dealings in self._sources:
            dealings.restore(self._restored)
        self._agreement.restore(self._restored, now)
        for frame in own:
            effects += self._dispatch(frame, now)
            effects.append(Broadcast(frame))
        for record in self._restored:
            if record.kind == "certificate":
                self._agreement.learn_decision(None, decode_certificate(record.body))
                self._was_decided = True
        self._restored = ()
        return [*effects, *self._publish_key(), *self._run(now)]

    def _publish_key(self) -> list[Effect]:
        """My fresh encryption key, which the caller made durable."""
        key, slot = self._fresh, (FrameKind.KEY, 0)
        if key is None or self._silent or self.me not in self.session.x:
            return []
        proof = pvss.prove_possession(key, key_slot(self.session, self.me), self._context.rng)
        said: list[Effect] = [
            *self._signer.sign_once(FrameKind.KEY, slot, lambda: key_body(key.public, proof))
        ]
        frame = self._signer.previous(slot)
        assert frame is not None
        self._keys.add(frame)
        return said

    def add_source(self, source: SourceVersion, now: float) -> list[Effect]:
        """A better head turned up: deal from it as well. A genesis becomes a rotation, unless my vote binds me to it."""
        transcript = source.transcript
        known = self._sources.get(ref_of(transcript)) is not None
        before = transcript.boundary.number < self.session.boundary.number
        closed = self.has_prepared_key or self.decided or self._superseded or self._silent
        if closed or known or not before:
            return []
        effects: list[Effect] = []
        if not self.is_rotation:
            effects += self.forget_secrets()
            self._sources = BaseVersions(self.session.recipients, GENESIS)
            self._agreement = Agreement(self._signer, self._sources, transcript.mpk)
            self._witness.forget_views()
        dealings = self._dealings_from(source, now)
        self._sources.add(dealings)
        self._membership.add_source(transcript)
        effects.append(Persist(JournalRecord("source", transcript.encoded)))
        for frame in tuple(self._log):
            first = len(self.sources) == 1
            of_it = frame.kind is FrameKind.DEALING and read_dealing(frame).source == dealings.ref
            if of_it or (first and frame.kind not in (FrameKind.KEY, FrameKind.HASH, FrameKind.DEALING)):
                effects += self._dispatch(frame, now)
        note = LogEvent("source", {"version": int(transcript.version)})
        return [*effects, note, *self._run(now)]

    def add_share(self, source: Transcript, share: SecretScalar, now: float) -> list[Effect]:
        """My share of a source, which I lacked."""
        dealings = self._sources.get(ref_of(source))
        if dealings is None or self._is_passive:
            return []
        dealings.add_share(share)
        return self._run(now)

    def should_verify(self, frame: Frame) -> bool:
        """Whether a decoded frame is worth verifying: in scope, readable, not known, not a flood.

        Raises ``WrongScopeError`` if it does not belong here, ``MalformedError`` if its body is not its kind's.
        """
        if frame.kind not in SESSION_KINDS or frame.recipient is not None:
            return False
        if len(frame.encoded) > BYTES_A_PARTY * (self._membership.count + 4):
            return False
        if self._is_of_unknown_source(frame):
            return False
        self._membership.check_scope(frame)
        if frame.sender == self.me:
            return self._is_own_frame_not_in_journal(frame)
        return self._log.accepts(frame) and self._may_say(frame)

    def _may_say(self, frame: Frame) -> bool:
        """Whether a proposal is its view's leader's, and a dealing of a holder of its source; other frames are any party's.

        Evidence of a bad dealing convicts nobody else.
        """
        if frame.kind is FrameKind.DEALING:
            dealings = self._sources.get(read_dealing(frame).source)
            return dealings is not None and frame.sender in dealings.dealers
        if frame.kind is not FrameKind.PROPOSAL:
            return True
        proposal = read_proposal(frame)
        return frame.sender == self._sources.leader(proposal.view, proposal.source)

    def _is_own_frame_not_in_journal(self, frame: Frame) -> bool:
        """Whether I said something here that my journal does not know: an older copy of it was put back, or two of them run.

        Of a view below those that the log keeps it cannot tell.
        """
        return slot_of(frame) is not None and not self._silent and self._log.accepts(frame)

    def _is_of_unknown_source(self, frame: Frame) -> bool:
        if frame.kind is not FrameKind.DEALING:
            return False
        source = read_dealing(frame).source
        if self._sources.get(source) is not None:
            return False
        self._sources.note_unknown(frame.sender, source)
        return True

    def receive(self, frames: Sequence[Frame], now: float) -> list[Effect]:
        """Verified frames that ``wants`` accepted."""
        effects: list[Effect] = []
        for frame in frames:
            if self._log.has(frame):
                continue  # twice in one batch
            if frame.sender == self.me:
                effects += self._enter_listen_only()
                continue
            twice = self._log.add(frame)
            if twice is not None:
                effects.append(self._report_fault(Fault.EQUIVOCATION, *twice))
                if frame.kind is FrameKind.DEALING:
                    for dealings in self._sources:
                        dealings.note_equivocation(frame.sender)
            elif self._log.has(frame):
                effects += self._dispatch(frame, now)
        return effects + self._run(now)

    def take_body(self, name: bytes, body: bytes, now: float) -> list[Effect]:
        """The body of a dealing, from anybody. Raises ``RemoteProtocolError`` for bytes that are not the named dealing's."""
        effects = [effect for dealings in self._sources for effect in dealings.take_body(name, body)]
        return effects + self._run(now)

    def take_result(self, result: CheckResult | DealResult, now: float) -> list[Effect]:
        """What became of a job that was asked for here, or in an earlier life."""
        effects: list[Effect] = []
        if isinstance(result, DealResult):
            dealings = self._sources.get(result.job.source)
            if dealings is not None and not self._is_passive:
                effects += dealings.take_deal_result(result)
        else:
            for dealings in self._sources:
                effects += dealings.take_check_result(result)
        return effects + self._run(now)

    def _enter_listen_only(self) -> list[Effect]:
        """Say nothing more here: whatever I said now could contradict what another life of mine said."""
        if self._silent:
            return []
        self._leave()
        return [
            Persist(JournalRecord("silent", b"")),
            LogEvent("another copy of this operator speaks: silent from now on", {}),
        ]

    def _leave(self) -> None:
        self._silent = True
        self._agreement.stop_voting()

    def raise_floor(self, floor: SourceRef) -> None:
        """A version is certified: no fresh transcript from another one that is not later is supported any more."""
        self._sources.raise_floor(floor)

    def forget_secrets(self) -> list[Effect]:
        """A version of this session or a later one is certified: deal no more."""
        return [effect for dealings in self._sources for effect in dealings.forget_secrets()]

    def decide(self, transcript: Transcript, certificate: Certificate, now: float) -> list[Effect]:
        """A certificate of this session, verified by the caller, came outside the session's frames."""
        self._agreement.learn_decision(transcript, certificate)
        return self._run(now)

    def tick(self, now: float) -> list[Effect]:
        """Time passed."""
        return self._run(now)

    def on_next_boundary(self, now: float) -> list[Effect]:
        """The next boundary was seen."""
        effects: list[Effect] = []
        if not self._superseded:
            self._superseded = True
            effects += self._name_late(now)
            self._agreement.on_next_boundary()
        return effects + self._run(now)

    def _name_late(self, now: float) -> list[Effect]:
        """Say once whom I had not heard from in time, unless the session is decided, or was over before this life of mine."""
        if self.decided or self._silent or now <= self._started_at:
            return []
        leads = {v: self._sources.leader(v, self._sources.source) for v in self._witness.entered}
        views = ViewHistory(self.view, leads, self._agreement.here)
        inquest = Inquest(self.session, self.me, self._witness, self._log, now)
        self.blame = inquest.blame(self._judged_dealings(now).duties, views)
        return [LogEvent(FAILED, self.blame.named)]

    def _judged_dealings(self, now: float) -> SharingPhase:
        """Those from the source that was known last, unless it was for less than a quarter of the time: then the one before it."""
        known = tuple(self._sources)
        old = [d for d in known if self._witness.since(d.ref) <= now - (now - self._started_at) / 4]
        return old[-1] if old else known[0]

    def deadline(self) -> float | None:
        """When to call ``tick`` if nothing else happens, in seconds on the caller's clock.

        One that has passed is returned until an event of this session comes with a later time: what other sessions
        take in meanwhile does not make it forgotten.
        """
        if self.decided or self._is_passive:
            return None
        since = self._ran_at
        times = [self._agreement.deadline(since), *(d.deadline(since) for d in self._sources)]
        return min((t for t in times if t is not None), default=None)

    # -- pulling what was lost ---------------------------------------------------------------------------------

    def sync_request(self) -> Frame:
        """A signed list of what I have, to ask any member for the rest."""
        return self._signer.build(FrameKind.SYNC, sync_body(self._log.keys()))

    def sync_reply(self, request: Frame) -> list[Frame]:
        """Frames that the (verified) request lacks. Raises ``WrongScopeError``, ``MalformedError``."""
        self._membership.check_scope(request)
        return self._log.frames_missing_from(read_sync(request), SYNC_REPLY_BYTES)

    @property
    def wanted_bodies(self) -> tuple[bytes, ...]:
        """Names of dealings whose bodies are to be fetched from anybody."""
        if self._is_passive or self.decided:
            return ()
        return tuple(name for dealings in self._sources for name in dealings.wanted)

    def body(self, name: bytes) -> bytes | None:
        """The body of a dealing that is here, to be served to anybody in the session."""
        for known in self._known:
            if known.header.name == name and known.stage is DealingStage.VALID:
                return known.body
        return None

    def dealing(self, name: bytes) -> KnownDealing | None:
        """A dealing of which the body is here, by its name; one that a certified transcript names is valid."""
        held = (DealingStage.HELD, DealingStage.VALID)
        return next((k for k in self._known if k.header.name == name and k.stage in held), None)

    @property
    def _known(self) -> list[KnownDealing]:
        return [
            known
            for dealings in self._sources
            for dealer in sorted(dealings.dealers)
            if (known := dealings.get(dealer)) is not None
        ]

    # -- what the node asks ------------------------------------------------------------------------------------

    @property
    def decided(self) -> bool:
        return self._agreement.decision is not None

    @property
    def decision(self) -> Decision | None:
        return self._agreement.decision

    @property
    def locked(self) -> Transcript | None:
        """What I committed to here, if this is a rotation."""
        return self._agreement.locked if self.is_rotation else None

    @property
    def locked_in(self) -> int:
        """In which view I committed to it, -1 if to nothing."""
        return self._agreement.locked_in

    @property
    def is_rotation(self) -> bool:
        return bool(self.sources)

    @property
    def sources(self) -> tuple[Transcript, ...]:
        """The versions that are dealt from here, ascending; none at genesis."""
        return self._membership.sources

    @property
    def unknown_sources(self) -> dict[OperatorAddress, SourceRef]:
        """Who deals from which version that I do not know: it may be a better one, which they can prove."""
        return self._sources.unknown

    def key_of(self, sender: OperatorAddress) -> bytes | None:
        """BN254 G2 key of a recipient, or else of a holder of a source."""
        return self._membership.key_of(sender)

    @property
    def view(self) -> int:
        return self._agreement.view

    def status(self) -> CeremonyStatus:
        """Where the session stands; may be called from another thread than the one that steps, as ``progress``."""
        decision, dealings = self._agreement.decision, self._sources.current
        if decision is not None:
            phase = "void" if decision.transcript is None else "certified"
        else:
            phase = "voting" if self._agreement.started else "dealing"
        return CeremonyStatus(phase, self._agreement.view, dealings.missing, dealings.ref.version)

    def served(self, transcript: Transcript) -> int | None:
        """How many recipients all dealings of a transcript serve; None if they are not all here."""
        dealings = self._sources.get(source_of(transcript))
        if dealings is None or not dealings.holds(transcript):
            return None
        return len(dealings.served_by(transcript))

    def progress(self) -> tuple[SessionStep, ...]:
        """Who has done which part."""
        agreement, frames = self._agreement, tuple(self._log)
        return session_steps(self.session, frames, self._sources.current, agreement.view, agreement.decision)

    @property
    def needs_sync(self) -> bool:
        """Whether others may have what I need: an undecided session that goes on.

        A genesis session that the next boundary left behind sleeps, unless my vote binds me or a view change wakes it.
        """
        if self.decided:
            return False
        awake = not self.is_rotation and (self.has_prepared_key or self._agreement.started)
        return not self._superseded or awake

    @property
    def must_stay_answerable(self) -> bool:
        """Whether somebody may still be bound to this session, so that it must stay answerable."""
        return self.decided or self._agreement.has_activity

    @property
    def has_prepared_key(self) -> bool:
        """I voted for a key in this genesis and no certificate closed it: I may join no later genesis.

        A vote for ∅ does not bind.
        """
        return self._prepared and not self.decided and not self.is_rotation

    # -- inside ------------------------------------------------------------------------------------------------

    def _dispatch(self, frame: Frame, now: float) -> list[Effect]:
        match frame.kind:
            case FrameKind.KEY:
                return [] if self._keys.add(frame) else [self._report_fault(Fault.BAD_KEY, frame)]
            case FrameKind.HASH:
                genesis = self._sources.get(GENESIS)
                if isinstance(genesis, GenesisSharing):
                    return genesis.announce(frame)
            case FrameKind.DEALING:
                dealings = self._sources.get(read_dealing(frame).source)
                if dealings is not None:
                    return dealings.receive(frame)
            case _:
                if frame.sender == self.me and frame.kind is FrameKind.VOTE:
                    self._prepared |= read_vote(frame).hash != VOID_HASH
                return self._agreement.receive(frame, now)
        return []

    def _report_fault(self, fault: Fault, *frames: Frame) -> ReportFault:
        """With the source that makes the accused a party, if it is no member: all that it signs here is dealings from it."""
        accused, source = frames[0].sender, None
        if accused not in self.session.x:
            dealings = self._sources.get(read_dealing(frames[0]).source)
            source = None if dealings is None else dealings.source
        return ReportFault(Evidence(fault, accused, self.session.id, frames, source))

    def _run(self, now: float) -> list[Effect]:
        """Let the parts advance until nothing follows from what they know; my own frames are news to them too."""
        self._ran_at = now
        for frame in self._log.drain_evicted():
            self._agreement.forget(frame)
        effects: list[Effect] = []
        while not self.decided:
            step = [*self._advance_dealings(now), *self._agreement.advance(now)]
            for effect in step:
                if isinstance(effect, Broadcast):
                    step = [*step, *self._dispatch(effect.frame, now)]
            effects += step
            if not step:
                break
        self._observe(now)
        return effects + self._finalise()

    def _observe(self, now: float) -> None:
        """Note what is here by now."""
        if self._superseded or self.decided:
            return
        witness = self._witness
        witness.see(KEYS, self._keys.owners, now)
        for dealings in self._sources:
            witness.see(dealings.ref, dealings.counted, now)
            if isinstance(dealings, GenesisSharing):
                witness.see(DIGESTS, dealings.announced, now)
        if self._agreement.started:
            witness.enter(self.view, now, waits=self._agreement.is_waiting)

    def _advance_dealings(self, now: float) -> list[Effect]:
        """A rotation that the next boundary left behind deals no more."""
        if self._is_passive:
            return []
        return [effect for dealings in self._sources for effect in dealings.advance(now)]

    @property
    def _is_passive(self) -> bool:
        return self._silent or (self.is_rotation and self._superseded)

    def _finalise(self) -> list[Effect]:
        """Hand over what was prepared, and the decision once."""
        decision = self._agreement.decision
        if decision is None:
            return self._tell_prepared()
        if self._announced:
            return []
        self._announced = True
        self._log.add(self._agreement.announcement(decision))
        journal: list[Effect] = []
        transcript = decision.transcript
        if not self._was_decided:
            journal = [] if transcript is None else self._agreement.journal_transcript(transcript)
            journal.append(Persist(JournalRecord("certificate", decision.certificate.encoded)))
        if transcript is None:
            note = LogEvent("closed without a key", {"view": decision.certificate.view})
            return [*journal, CloseSession(decision.certificate), note]
        summary = {
            "view": decision.certificate.view,
            "version": int(transcript.version),
            "mpk": transcript.mpk.hex()[:16],
            "signers": len(decision.certificate.signers(self.session.recipients)),
        }
        return [*journal, StoreCertified(transcript, decision.certificate), LogEvent("certified", summary)]

    def _tell_prepared(self) -> list[Effect]:
        """In a rotation: a prepare certificate that is the highest so far."""
        prepared = self._agreement.prepared if self.is_rotation else None
        if prepared is None or prepared[1].encoded == self._prepared_told:
            return []
        self._prepared_told = prepared[1].encoded
        return [StorePrepared(*prepared)]
