"""One session from boundary to certificate, with one journal and one frame log.

A ceremony either makes a master key (*genesis*) or renews its shares (*rotation*) from a version, its *source*. A higher source
that turns up later is dealt from as well; a genesis ceremony in which nobody can have bound this operator becomes a rotation
when a version turns up. These states and their transitions are in ``session_state``.

A caller feeds it verified frames, bodies of dealings, results of jobs, the time, and the news of the next boundary, and carries
out the effects it returns. After a crash, a new ``Ceremony`` made from the journal's records goes on where the old one stopped;
frames of others are pulled again (``sync_request`` / ``sync_reply``), since gossip may lose anything.
"""

from collections.abc import Sequence

from eigenkms.crypto import pvss
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.protocols.ceremony.agreement import Agreement
from eigenkms.protocols.ceremony.base_versions import BaseVersions
from eigenkms.protocols.ceremony.ceremony_reader import CeremonyReader
from eigenkms.protocols.ceremony.context import CeremonyContext, SourceVersion, StartData
from eigenkms.protocols.ceremony.effects import (
    Broadcast,
    Effect,
    EraseJournalSecrets,
    JournalRecord,
    LogEvent,
    Persist,
    ReportFault,
    StorePreparedVersion,
)
from eigenkms.protocols.ceremony.frame_filter import FrameFilter
from eigenkms.protocols.ceremony.genesis import GenesisSharingPhase
from eigenkms.protocols.ceremony.jobs import CheckResult, DealResult
from eigenkms.protocols.ceremony.outcome import outcome_of
from eigenkms.protocols.ceremony.session_state import DECIDED, OPEN_TO_SOURCES, PAST, SessionEvent, next_state
from eigenkms.protocols.ceremony.sharing import SharingPhase
from eigenkms.protocols.records.evidence import Evidence, Fault
from eigenkms.wire.frames import Frame, FrameKind, decode_frame
from eigenkms.wire.key_directory import key_slot
from eigenkms.wire.messages import GENESIS, SourceRef, key_body, read_dealing, read_vote, ref_of
from eigenkms.wire.session import Session
from eigenkms.wire.transcript import Transcript
from eigenkms.wire.votes import VOID_HASH, Certificate, decode_certificate


class Ceremony(CeremonyReader):
    """One operator's side of one session: a genesis, or with ``sources`` a rotation.

    ``sources`` ascend. ``opened_at`` is the time, on the caller's clock in seconds, at which the boundary was first seen. ``data``
    is what an earlier run journaled, and the encryption key to publish here. ``floor`` is the version of this operator's lock. With
    ``listen_only`` it signs nothing that it could have signed differently before its journal was lost in part.
    """

    def __init__(
        self,
        session: Session,
        context: CeremonyContext,
        opened_at: float,
        *,
        data: StartData,
        sources: Sequence[SourceVersion] = (),
        floor: SourceRef = GENESIS,
        listen_only: bool = False,
    ) -> None:
        mpk = sources[0].transcript.mpk if sources else None
        super().__init__(session, context, opened_at, floor, mpk)
        if not sources:
            genesis = GenesisSharingPhase(self._signer, self._keys, context.rng, opened_at, context.grace())
            self._sources.add(genesis)
        for source in sources:
            self._sources.add(self._dealings_from(source, opened_at))
            self._membership.add_source(source.transcript)
        self._filter = FrameFilter(context.me, self._membership, self._log)
        self._reported_prepare: bytes | None = None
        self._start_data = data
        if listen_only:
            self._stop_signing()

    def _dealings_from(self, source: SourceVersion, opened_at: float) -> SharingPhase:
        rng, grace = self._context.rng, self._context.grace()
        return SharingPhase(self._signer, self._keys, rng, opened_at, grace, source.transcript, source.share)

    # -- the beginning -----------------------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Begin, or resume from the journal: broadcast again what was signed, then go on."""
        self._observer.start(now)
        data, self._start_data = self._start_data, StartData()
        known = frozenset(data.bodies("source"))
        effects: list[Effect] = [
            Persist(JournalRecord("source", source.encoded))
            for source in self.sources
            if source.encoded not in known
        ]
        if data.has("silent"):
            self._stop_signing()
        if self.is_rotation and data.has("polynomial"):
            # a genesis until its source was journaled, and then a crash
            effects.append(EraseJournalSecrets(self.session.id))
        effects += self._replay(data, now)
        return [*effects, *self._publish_key(data.fresh), *self._advance(now)]

    def _replay(self, data: StartData, now: float) -> list[Effect]:
        """Take back what the journal holds."""
        own = [decode_frame(body) for body in data.bodies("frame")]
        dealt = [decode_frame(body) for body in data.bodies("dealing")]
        # dealings of others are to be served: their dealers may be gone
        for frame in (*own, *(frame for frame in dealt if frame.sender != self.me)):
            self._log.add(frame)
        for dealings in self._sources:
            dealings.restore(data.records)
        self._agreement.restore(data.records, now)
        effects: list[Effect] = []
        for frame in own:
            effects += self._dispatch(frame, now)
            effects.append(Broadcast(frame))
        for body in data.bodies("certificate"):
            self._agreement.restore_decision(decode_certificate(body))
        return effects

    def _publish_key(self, key: pvss.EncryptionKey | None) -> list[Effect]:
        """Publish this operator's fresh encryption key, which the caller made durable."""
        slot = (FrameKind.KEY, 0)
        if key is None or self._is_silent or self.me not in self.session.x:
            return []
        proof = pvss.prove_possession(key, key_slot(self.session, self.me), self._context.rng)
        signed = self._signer.sign_once(FrameKind.KEY, slot, lambda: key_body(key.public, proof))
        frame = self._signer.previous(slot)
        assert frame is not None
        self._keys.add(frame)
        return [*signed]

    # -- events ------------------------------------------------------------------------------------------------

    def add_source(self, source: SourceVersion, now: float) -> list[Effect]:
        """Deal from a better head as well.

        A genesis becomes a rotation, unless this operator's vote binds it.
        """
        transcript = source.transcript
        known = self._sources.get(ref_of(transcript)) is not None
        before = transcript.boundary.number < self.session.boundary.number
        if self._state not in OPEN_TO_SOURCES or self._is_silent or known or not before:
            return []
        effects: list[Effect] = [] if self.is_rotation else self._become_rotation(transcript.mpk)
        self._state = next_state(self._state, SessionEvent.SOURCE)
        dealings = self._dealings_from(source, now)
        self._sources.add(dealings)
        self._membership.add_source(transcript)
        effects.append(Persist(JournalRecord("source", transcript.encoded)))
        for frame in tuple(self._log):
            first = len(self.sources) == 1
            of_it = frame.kind is FrameKind.DEALING and read_dealing(frame).source == dealings.ref
            if of_it or (first and frame.kind not in (FrameKind.KEY, FrameKind.HASH, FrameKind.DEALING)):
                effects += self._dispatch(frame, now)
        event = LogEvent("source", {"version": int(transcript.version)})
        return [*effects, event, *self._advance(now)]

    def _become_rotation(self, mpk: bytes) -> list[Effect]:
        """Drop the genesis dealings and their agreement."""
        effects = self.forget_secrets()
        self._sources = BaseVersions(self.session.recipients, GENESIS)
        self._agreement = Agreement(self._signer, self._sources, mpk)
        self._observer.forget_views()
        return effects

    def add_share(self, source: Transcript, share: SecretScalar, now: float) -> list[Effect]:
        """Take this operator's share of a source, which it lacked."""
        dealings = self._sources.get(ref_of(source))
        if dealings is None or self._is_passive:
            return []
        dealings.add_share(share)
        return self._advance(now)

    def should_verify(self, frame: Frame) -> bool:
        """Return whether a decoded frame is worth a signature check.

        Raises what ``FrameFilter.accepts`` raises.
        """
        return self._filter.accepts(frame, self._sources, is_silent=self._is_silent)

    def receive(self, frames: Sequence[Frame], now: float) -> list[Effect]:
        """Take verified frames that ``should_verify`` accepted."""
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
        return effects + self._advance(now)

    def take_body(self, name: bytes, body: bytes, now: float) -> list[Effect]:
        """Take the body of a dealing, from anybody.

        Raises ``RemoteProtocolError`` for bytes that are not the named dealing's.
        """
        effects = [effect for dealings in self._sources for effect in dealings.take_body(name, body)]
        return effects + self._advance(now)

    def take_result(self, result: CheckResult | DealResult, now: float) -> list[Effect]:
        """Take the result of a job that was asked for here, or in an earlier run."""
        effects: list[Effect] = []
        if isinstance(result, DealResult):
            dealings = self._sources.get(result.job.source)
            if dealings is not None and not self._is_passive:
                effects += dealings.take_deal_result(result)
        else:
            for dealings in self._sources:
                effects += dealings.take_check_result(result)
        return effects + self._advance(now)

    def _enter_listen_only(self) -> list[Effect]:
        """Sign nothing more here: a frame could contradict another copy of this operator."""
        if self._is_silent:
            return []
        self._stop_signing()
        return [
            Persist(JournalRecord("silent", b"")),
            LogEvent("another copy of this operator speaks: silent from now on", {}),
        ]

    def _stop_signing(self) -> None:
        self._is_silent = True
        self._agreement.stop_voting()

    def raise_floor(self, floor: SourceRef) -> None:
        """Support fresh transcripts from this certified version or later ones alone."""
        self._sources.raise_floor(floor)

    def forget_secrets(self) -> list[Effect]:
        """Deal no more: a version of this session or a later one is certified."""
        return [effect for dealings in self._sources for effect in dealings.forget_secrets()]

    def decide(self, transcript: Transcript, certificate: Certificate, now: float) -> list[Effect]:
        """Take a certificate that the caller verified, from outside the frames."""
        self._agreement.learn_decision(transcript, certificate)
        return self._advance(now)

    def tick(self, now: float) -> list[Effect]:
        """Do what follows from the passing of time."""
        return self._advance(now)

    def on_next_boundary(self, now: float) -> list[Effect]:
        """Note that the next boundary was seen.

        The first time, name the operators that were late.
        """
        effects: list[Effect] = []
        if self._state not in PAST:
            self._state = next_state(self._state, SessionEvent.BOUNDARY)
            if not self.decided and not self._is_silent:
                effects += self._observer.name_late(self._sources, self._agreement, now)
            self._agreement.on_next_boundary()
        return effects + self._advance(now)

    # -- steps -------------------------------------------------------------------------------------------------

    def _dispatch(self, frame: Frame, now: float) -> list[Effect]:
        """Hand a frame to the part that it is for."""
        match frame.kind:
            case FrameKind.KEY:
                return [] if self._keys.add(frame) else [self._report_fault(Fault.BAD_KEY, frame)]
            case FrameKind.HASH:
                genesis = self._sources.get(GENESIS)
                return genesis.announce(frame) if isinstance(genesis, GenesisSharingPhase) else []
            case FrameKind.DEALING:
                dealings = self._sources.get(read_dealing(frame).source)
                return [] if dealings is None else dealings.receive(frame)
            case _:
                if frame.sender == self.me and frame.kind is FrameKind.VOTE:
                    self._note_vote(read_vote(frame).hash)
                return self._agreement.receive(frame, now)

    def _note_vote(self, transcript_hash: bytes) -> None:
        """Note a vote of this operator: one for a key binds it."""
        if transcript_hash != VOID_HASH:
            self._state = next_state(self._state, SessionEvent.KEY_VOTE)

    def _report_fault(self, fault: Fault, *frames: Frame) -> ReportFault:
        """Report with the source that makes the accused a party, if it is no member: it signs nothing here but dealings from it."""
        accused, source = frames[0].sender, None
        if accused not in self.session.x:
            dealings = self._sources.get(read_dealing(frames[0]).source)
            source = None if dealings is None else dealings.source
        return ReportFault(Evidence(fault, accused, self.session.id, frames, source))

    def _advance(self, now: float) -> list[Effect]:
        """Let the parts advance until nothing follows from what they know.

        This operator's own frames are news to them too.
        """
        self._observer.advanced_at = now
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
        if self._state not in PAST and not self.decided:
            self._observer.observe(self._keys, self._sources, self._agreement, now)
        return effects + self._finalise()

    def _advance_dealings(self, now: float) -> list[Effect]:
        if self._is_passive:
            return []
        return [effect for dealings in self._sources for effect in dealings.advance(now)]

    def _finalise(self) -> list[Effect]:
        """Hand over what was prepared, and the decision once."""
        decision = self._agreement.decision
        if decision is None:
            return self._report_prepared()
        if self._state in DECIDED:
            return []
        self._state = next_state(self._state, SessionEvent.DECISION)
        self._log.add(self._agreement.announcement(decision))
        return [*self._agreement.journal_decision(decision), *outcome_of(decision, self.session)]

    def _report_prepared(self) -> list[Effect]:
        """Hand over, in a rotation, a prepare certificate that is the highest so far."""
        prepared = self._agreement.prepared if self.is_rotation else None
        if prepared is None or prepared[1].encoded == self._reported_prepare:
            return []
        self._reported_prepare = prepared[1].encoded
        return [StorePreparedVersion(*prepared)]
