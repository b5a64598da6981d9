"""The engine: it feeds the operator's machines and applies their effects.

    intake ──→ machines ──→ effect store ──→ sink        (frames, bodies)
       ↑          ↑  └──────────────────────→ workers    (jobs, whose results are steps of their own)
    network     time

A step of the machines runs in a worker thread, and is durable when it returns (``step_runner``). Then its frames are sent and its
bodies published. Its jobs are started beside the machines, as a job takes longer than a step may. Last its events are logged.

A session that could not be joined at its boundary may be joined late. That happens once the session that bound this operator is
closed, or once a version to deal from is known.

If the disk refuses, the node stops: a machine whose promises were not kept must not speak again.
"""

import logging
from collections.abc import Hashable, Mapping, Sequence
from typing import Protocol

import trio

from eigenkms.crypto.pvss import EncryptionKey
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.errors import RemoteProtocolError
from eigenkms.node import log_fields
from eigenkms.node.engine.effect_store import EffectStore
from eigenkms.node.engine.intake import Intake, KeyOf
from eigenkms.node.engine.newest_version import NewestVersion
from eigenkms.node.engine.queries import EngineQueries
from eigenkms.node.engine.session_entry import DeferredSession, SessionEntry
from eigenkms.node.engine.session_reporter import SessionReporter
from eigenkms.node.engine.statistics import EngineCounters, EngineStatistics
from eigenkms.node.engine.step_runner import Step, StepRunner, WantedDealings
from eigenkms.node.engine.workers import Workers
from eigenkms.node.key_versions import Versions
from eigenkms.protocols.ceremony.ceremony import Ceremony
from eigenkms.protocols.ceremony.effects import Broadcast, CloseSession, Publish, RunJob
from eigenkms.protocols.ceremony.jobs import Job
from eigenkms.protocols.ceremony.participant import Participant, SessionEffect
from eigenkms.storage.store import Store
from eigenkms.types import OperatorAddress
from eigenkms.wire.certified_transcript import CertifiedTranscript
from eigenkms.wire.dealing import DealingRow
from eigenkms.wire.frames import Frame
from eigenkms.wire.messages import SourceRef
from eigenkms.wire.rpc_methods import VersionHead
from eigenkms.wire.session import Session
from eigenkms.wire.transcript import Transcript

log = logging.getLogger(__name__)


class FrameSink(Protocol):
    """Sends frames and bodies to the other operators."""

    async def broadcast(self, frame: Frame) -> None: ...

    async def publish(self, session: Session, name: bytes, body: bytes) -> None: ...


class Engine:
    """Runs one participant. ``queries`` answer what the network asks of it."""

    def __init__(
        self,
        participant: Participant,
        store: Store,
        versions: Versions,
        workers: Workers,
        key_of: KeyOf,
    ) -> None:
        _load(participant, store, versions)
        counters = EngineCounters()
        self.effects = EffectStore(store, versions)
        self._participant = participant
        self._versions = versions
        self._workers = workers
        self._counters = counters
        self._intake = Intake(participant, key_of, counters)
        self._steps = StepRunner(participant, self.effects, self._intake)
        self._reporter = SessionReporter(counters)
        self._entry = SessionEntry(participant, store, self._intake, self._reporter)
        self._newest = NewestVersion(versions)
        self.queries = EngineQueries(self._steps, participant, versions, self.effects)
        self._jobs = trio.open_memory_channel[Job](float("inf"))
        """Unbounded, as the machines ask for a few jobs at a time and for none again before it is done."""
        self._deferred: DeferredSession | None = None
        self._base_unknown = trio.Event()

    def statistics(self) -> EngineStatistics:
        return self._counters.statistics

    def submit(self, origin: Hashable, frame: Frame | bytes) -> None:
        """Queue a frame under the origin that is accountable for it. Never blocks."""
        self._intake.submit(origin, frame)

    def submit_body(self, origin: Hashable, name: bytes, body: bytes) -> None:
        """Keep the body of a dealing, which ``origin`` served or pushed. Never blocks."""
        self._intake.submit_body(origin, name, body)

    # -- tasks -----------------------------------------------------------------------------------------------

    async def run(self, sink: FrameSink) -> None:
        """Take frames, bodies, results and the passing of time until cancelled."""
        _, jobs = self._jobs
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._take_frames, sink)
            nursery.start_soon(self._take_bodies, sink)
            nursery.start_soon(self._keep_time, sink)
            async for job in jobs:
                nursery.start_soon(self._run_job, sink, job)

    async def _take_frames(self, sink: FrameSink) -> None:
        while True:
            batch = await self._intake.frames.take()
            await self._step(sink, lambda now, batch=batch: self._intake.process(batch, now))  # type: ignore[misc]

    async def _take_bodies(self, sink: FrameSink) -> None:
        while True:
            await self._intake.bodies.arrival()
            await self._step(sink, lambda _now: [])

    async def _keep_time(self, sink: FrameSink) -> None:
        while True:
            await self._steps.wait_until_due()
            await self._step(sink, lambda _now: [])

    async def _run_job(self, sink: FrameSink, job: Job) -> None:
        result = await self._workers.run_job(job)
        await self._step(sink, lambda now: self._participant.take_result(result, now))

    async def _step(self, sink: FrameSink, work: Step) -> None:
        """Make one step of the machines, then apply its effects and log its events."""
        effects = await self._steps.step(work)
        self._newest.wake_if_changed()
        if self._participant.unknown_sources:
            self._base_unknown.set()
        await self._apply(sink, effects)
        self._reporter.report(effects)
        if any(isinstance(item.effect, CloseSession) for item in effects):
            await self._join_late(sink, "the one before it is closed")

    async def _apply(self, sink: FrameSink, effects: Sequence[SessionEffect]) -> None:
        """Send frames, publish bodies, start jobs. Frames come first, as others wait."""
        for item in effects:
            if isinstance(item.effect, Broadcast):
                await sink.broadcast(item.effect.frame)
        for item in effects:
            if isinstance(item.effect, Publish) and item.session is not None:
                await sink.publish(item.session, item.effect.name, item.effect.body)
        send, _ = self._jobs
        for item in effects:
            if isinstance(item.effect, RunJob):
                send.send_nowait(item.effect.job)

    # -- events ----------------------------------------------------------------------------------------------

    async def restore(self, sink: FrameSink, now_unix: float, *, floor: int = 0) -> None:
        """Resume the sessions of an earlier process, oldest first.

        Those at or below block ``floor`` only listen, as the store may have forgotten votes there.
        """
        await self._step(sink, lambda now: self._entry.restore(now, now_unix, floor=floor))

    async def boundary(self, sink: FrameSink, session: Session, *, may_vote: bool, may_found: bool) -> bool:
        """Enter the session of a boundary; return whether this operator takes part.

        ``may_vote``: the store can have forgotten no vote at this boundary. ``may_found``: nor one in a genesis.
        """
        joined = False

        def work(now: float) -> list[SessionEffect]:
            nonlocal joined
            joined, effects = self._entry.enter(session, now, may_vote=may_vote, may_found=may_found)
            return effects

        await self._step(sink, work)
        await self._steps.run(lambda: self._entry.prune(session))
        waits = not joined and (
            self._participant.binding_session is not None or not self._participant.has_version
        )
        self._deferred = DeferredSession(session, may_found) if waits and may_vote else None
        return joined

    async def _join_late(self, sink: FrameSink, reason: str) -> None:
        """Join the deferred session, if there is one."""
        deferred, self._deferred = self._deferred, None
        if deferred is None:
            return
        session = deferred.session
        if await self.boundary(sink, session, may_vote=True, may_found=deferred.may_found):
            log.info(
                "session %s: joined, now that %s",
                log_fields.short_id(session.id),
                reason,
                extra=log_fields.session_fields(session.id, "joined-late"),
            )

    async def adopt_version(self, sink: FrameSink, head: VersionHead) -> None:
        """Adopt a version that others certified or prepared, unless it is superseded.

        The caller has checked it, with the chain (``check_head``, ``verify_holders``).
        """
        await self._step(sink, lambda now: self._adopt(head, now))
        if self.has_version:
            await self._join_late(sink, "the version to deal from is known")

    def _adopt(self, head: VersionHead, now: float) -> list[SessionEffect]:
        transcript, share = head.transcript, None
        if head.proof is not None and self._participant.can_adopt(transcript):
            share = self._versions.share_of(transcript.hash)
            self._versions.add(CertifiedTranscript(transcript, head.certificate), head.proof)
        return self._participant.adopt(transcript, head.certificate, now, share)

    async def take_row(self, sink: FrameSink, name: bytes, row: DealingRow) -> None:
        """Take this operator's row of a dealing, which a peer served."""

        def work(now: float) -> list[SessionEffect]:
            try:
                return self._participant.take_row(name, row, now)
            except RemoteProtocolError as error:
                self._counters.refuse(None, str(error))
                return []

        await self._step(sink, work)

    # -- state -----------------------------------------------------------------------------------------------

    @property
    def has_version(self) -> bool:
        """Whether this operator knows a version to deal from."""
        return self._participant.has_version

    def is_obtaining(self, transcript_hash: bytes) -> bool:
        """Return whether this operator's share of a version is on its way.

        May be called while a step runs.
        """
        return self._participant.is_obtaining(transcript_hash)

    @property
    def is_obtaining_a_share(self) -> bool:
        """Whether a share comes in the place of one that was just erased."""
        return self._steps.is_obtaining_a_share

    @property
    def newest(self) -> Ceremony | None:
        """The session of the newest boundary that was joined."""
        return self._participant.newest

    @property
    def live(self) -> tuple[Ceremony, ...]:
        """Sessions in which others may have frames that are not here, oldest first."""
        return self._participant.syncable

    @property
    def accused(self) -> Mapping[OperatorAddress, int]:
        """Pieces of evidence that the store holds, by the accused operator."""
        return self.effects.accused

    @property
    def evidence(self) -> int:
        """Pieces of evidence that the store holds."""
        return sum(self.accused.values())

    def served(self, transcript: Transcript) -> int | None:
        """Return how many recipients a version has a share for.

        None if its dealings are not here.
        """
        maker = self._participant.ceremony(transcript.session)
        return None if maker is None else maker.served(transcript)

    # -- what others wait for ----------------------------------------------------------------------------------

    @property
    def wanted(self) -> WantedDealings:
        """Dealings of which something is to be fetched now."""
        return self._steps.wanted

    async def wait_for_wanted(self) -> WantedDealings:
        """Wait until something is to be fetched."""
        return await self._steps.wait_for_wanted()

    async def unknown_bases(self) -> dict[OperatorAddress, SourceRef]:
        """Wait until an operator deals from a version that is not known here."""
        await self._base_unknown.wait()
        self._base_unknown = trio.Event()
        return self._participant.unknown_sources

    async def wait_for_newer(self, transcript_hash: bytes | None) -> CertifiedTranscript:
        """Return the newest certified version once its hash is another one."""
        return await self._newest.wait_for_newer(transcript_hash)


def _load(participant: Participant, store: Store, versions: Versions) -> None:
    """Give the participant the versions and encryption keys of earlier processes."""
    for held in versions.known():
        participant.load_version(held.epoch.transcript, held.epoch.certificate, held.share)
    for number, secret in store.keys().items():
        participant.load_key(number, EncryptionKey.of(SecretScalar.from_bytes(secret)))
