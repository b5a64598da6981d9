"""The engine: feeds the operator's machines and carries out what they ask, durable things first.

Machines are not thread-safe and a step may cost many pairings, so every step runs in one worker thread under one lock, and its
durable effects are fsynced there before the lock is given up; only then is anything of the step sent. What takes longer than a step
may is done beside the machines (``Workers``), and its result is a step of its own.

Frames wait in bounded queues, one a source, and are taken in batches, so that their signatures are verified together. A full queue
drops frames: gossip may lose anything, and what is missing is pulled. Each step takes the bodies that have come and are wanted.

The order of a step's durable effects. Keys and versions come first, as journals refer to them; then the journals; then what is
given up because of them. So a crash in between leaves something twice or too long, and never a promise without its ground.

Time is told to the machines in every step that comes when something is due, whatever the step is for, and in one of its own if no
other comes. So what is due is not put off by what comes in meanwhile.

If the disk refuses, the node stops: a machine whose promises were not kept must not speak again.
"""

import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import trio

from eigenkms.crypto.pvss import EncryptionKey
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.errors import RemoteProtocolError, StorageError
from eigenkms.node import log_fields
from eigenkms.node.frame_queue import FairFrameQueue, Offer
from eigenkms.node.key_versions import Versions
from eigenkms.node.network.dealing_bodies import DealingBodies
from eigenkms.node.workers import Workers
from eigenkms.protocols.ceremony.ceremony import FAILED, Ceremony
from eigenkms.protocols.ceremony.effects import (
    Broadcast,
    Certified,
    Closed,
    Erase,
    EraseJournal,
    EraseKeys,
    Forget,
    Held,
    JournalRecord,
    KeepKey,
    LogEvent,
    Persist,
    Prepared,
    Publish,
    ReportFault,
    Work,
)
from eigenkms.protocols.ceremony.forgeries import Forgeries
from eigenkms.protocols.ceremony.holdings import NOT_OPENED
from eigenkms.protocols.ceremony.jobs import Job
from eigenkms.protocols.ceremony.participant import Participant, SessionEffect
from eigenkms.protocols.records.evidence import Evidence
from eigenkms.protocols.records.evidence_bundle import Bundle
from eigenkms.protocols.wire.client_rpc import MAX_PAGE_BYTES, CertifiedTranscript, EvidencePage
from eigenkms.protocols.wire.dealing import DealingRow
from eigenkms.protocols.wire.frames import Frame, decode_frame, verify_frames
from eigenkms.protocols.wire.messages import SourceRef
from eigenkms.protocols.wire.rpc_methods import VersionHead
from eigenkms.protocols.wire.session import Session, decode_session, encode_session
from eigenkms.protocols.wire.transcript import Transcript
from eigenkms.storage.store import Record, Store
from eigenkms.types import OperatorAddress, SessionId

log = logging.getLogger(__name__)

_LEVELS = {FAILED: logging.WARNING, NOT_OPENED: logging.ERROR}
"""Of events that somebody must act on; all others are information."""

Answer = TypeVar("Answer")

MAX_IDLE_SECONDS = 60.0
"""After so long without a step the machines are told the time, although they asked for none."""

KEPT_BOUNDARIES = 16
"""Boundaries after which it is forgotten that a session was joined of which the journal was dropped."""

KEPT_ERASED = 16
"""Erased versions of which transcript and certificate stay."""

SHARE_SECONDS = 15.0
"""From the erasure of a share until the next one is to be here, on a busy machine and with rows that must be fetched."""


class FrameSink(Protocol):
    """Where frames and bodies leave the node."""

    async def broadcast(self, frame: Frame) -> None: ...

    async def publish(self, session: Session, name: bytes, body: bytes) -> None: ...


@dataclass(frozen=True)
class EngineStatistics:
    """Counters since the start."""

    frames: int = 0
    """Frames that were taken, verified or not."""
    bodies: int = 0
    """Bodies of dealings that came, wanted or not."""
    refused: int = 0
    """Frames, bodies and rows that did not decode, belong here, or verify."""
    dropped: int = 0
    """Frames that found their source's queue full, or came after too many forged ones of it, and bodies that newer ones of their
    source displaced.
    """
    notes: Counter[str] = field(default_factory=Counter)
    """How often each thing was noted of a session, by the name of its event."""
    certified_after: float | None = None
    """Seconds from the newest boundary that was joined to the certificate of a version there."""


@dataclass(frozen=True)
class Wanted:
    """Names of dealings of which the body, or this operator's row, is to be fetched."""

    bodies: tuple[bytes, ...]
    rows: tuple[bytes, ...]

    def __bool__(self) -> bool:
        return bool(self.bodies or self.rows)


@dataclass(frozen=True)
class _Postponed:
    """The newest boundary's session, not joined when it was seen: an older one binds, or there is nothing to deal from yet."""

    session: Session
    may_found: bool


class Engine:
    """``key_of`` gives the BN254 G2 key of a current operator, for frames that come before their boundary."""

    def __init__(
        self,
        operator: Participant,
        store: Store,
        versions: Versions,
        workers: Workers,
        key_of: Callable[[OperatorAddress], bytes | None],
    ) -> None:
        self._operator = operator
        self._store = store
        self._versions = versions
        self._workers = workers
        self._key_of = key_of
        self._lock = trio.Lock()
        self._is_ahead_of_disk = False
        self._limiter = trio.CapacityLimiter(1)
        self._showing = trio.CapacityLimiter(1)
        self._frames = FairFrameQueue()
        self._forgeries = Forgeries()
        self._bodies = DealingBodies()
        self._asked, self._jobs = trio.open_memory_channel[Job](float("inf"))
        """Unbounded, as the machines ask for a few jobs at a time and for none again before it is done."""
        self._wake = trio.Event()
        self._postponed: _Postponed | None = None
        self._source_wanted = trio.Event()
        self._wanted = Wanted((), ())
        self._lacks = trio.Event()
        self._tick_at = math.inf
        """When, on trio's clock, the machines are told the time at the latest; nothing is due before the first step."""
        self._newest_changed = trio.Event()
        self._newest_told = versions.newest
        for held in versions.known():
            operator.know(held.epoch.transcript, held.epoch.certificate, held.share)
        for number, secret in store.keys().items():
            operator.know_key(number, EncryptionKey.of(SecretScalar.from_bytes(secret)))
        self._statistics = EngineStatistics()
        self._begun: dict[SessionId, float] = {}
        self._erased_at = -math.inf
        """When the newest boundary's session was joined, on trio's clock."""
        self.accused: Mapping[OperatorAddress, int] = store.accused()
        """Pieces of evidence that the store holds, by whom they are against; replaced, never changed."""

    def statistics(self) -> EngineStatistics:
        return self._statistics

    @property
    def evidence(self) -> int:
        """Pieces of evidence that the store holds."""
        return sum(self.accused.values())

    def offer(self, source: Hashable, frame: Frame | bytes) -> None:
        """A frame from the network, and who vouches for its being worth a look; never blocks.

        Bytes are decoded beside the event loop; a frame that was decoded on its way is not decoded again.
        """
        if not self._frames.put(source, frame):
            self._statistics = replace(self._statistics, dropped=self._statistics.dropped + 1)

    def offer_body(self, source: Hashable, name: bytes, body: bytes) -> None:
        """The body of a dealing, which ``source`` served or pushed. Never blocks."""
        displaced = self._bodies.put(source, name, body)
        self._statistics = replace(
            self._statistics,
            bodies=self._statistics.bodies + 1,
            dropped=self._statistics.dropped + displaced,
        )

    # -- tasks -----------------------------------------------------------------------------------------------

    async def run(self, outlet: FrameSink) -> None:
        """Take frames, bodies, results and the passing of time until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._take_frames, outlet)
            nursery.start_soon(self._take_bodies, outlet)
            nursery.start_soon(self._keep_time, outlet)
            async for job in self._jobs:
                nursery.start_soon(self._work, outlet, job)

    async def _take_frames(self, outlet: FrameSink) -> None:
        while True:
            batch = await self._frames.take()
            await self._step(outlet, lambda now, batch=batch: self._process(batch, now))  # type: ignore[misc]

    async def _take_bodies(self, outlet: FrameSink) -> None:
        while True:
            await self._bodies.arrival()
            await self._step(outlet, lambda _now: [])

    async def _work(self, outlet: FrameSink, job: Job) -> None:
        result = await self._workers.carry_out(job)
        await self._step(outlet, lambda now: self._operator.take_result(result, now))

    async def _keep_time(self, outlet: FrameSink) -> None:
        while True:
            self._wake = trio.Event()
            with trio.move_on_at(self._tick_at):
                await self._wake.wait()
            if trio.current_time() >= self._tick_at:
                await self._step(outlet, lambda _now: [])

    async def _step(self, outlet: FrameSink, work: Callable[[float], list[SessionEffect]]) -> None:
        """One step of the machines: compute, make durable, send, and hand on what takes longer."""
        async with self._lock:
            effects = await trio.to_thread.run_sync(
                self._compute, work, trio.current_time(), limiter=self._limiter
            )
        self._tell_waiting()
        for item in effects:
            if isinstance(item.effect, Broadcast):
                await outlet.broadcast(item.effect.frame)
        for item in effects:
            if isinstance(item.effect, Publish) and item.session is not None:
                await outlet.publish(item.session, item.effect.name, item.effect.body)
        for item in effects:
            if isinstance(item.effect, Work):
                self._asked.send_nowait(item.effect.job)
        self._report(effects)
        await self._join_postponed(outlet, effects)

    def _tell_waiting(self) -> None:
        """Wake those who wait for what a step may have changed."""
        self._wake.set()
        if self._versions.newest is not self._newest_told:
            self._newest_told = self._versions.newest
            self._newest_changed.set()
            self._newest_changed = trio.Event()
        if self._operator.unknown_sources:
            self._source_wanted.set()
        if self._wanted:
            self._lacks.set()

    def _compute(self, work: Callable[[float], list[SessionEffect]], now: float) -> list[SessionEffect]:
        """The machines are ahead of the disk until all is durable; if it never is, nobody gets anything out of them any more."""
        if self._is_ahead_of_disk:
            raise StorageError(
                "go on: an earlier step could not be made durable", hint="start the node again"
            )
        self._is_ahead_of_disk = True
        effects = work(now)
        if now >= self._tick_at:
            effects = [*effects, *self._operator.tick(now)]
        effects = [*effects, *self._feed(now)]
        if any(isinstance(item.effect, Erase) for item in effects):
            self._erased_at = now
        self._make_durable(effects)
        self._is_ahead_of_disk = False
        operator = self._operator
        self._wanted = Wanted(operator.wanted_bodies, operator.wanted_rows)
        due, latest = operator.deadline(), now + MAX_IDLE_SECONDS
        self._tick_at = latest if due is None else due
        return effects

    def _feed(self, now: float) -> list[SessionEffect]:
        """Give the machines the bodies that they want and that have come."""
        effects: list[SessionEffect] = []
        for name, body in self._bodies.take(self._operator.wanted_bodies):
            try:
                effects += self._operator.take_body(name, body, now)
            except RemoteProtocolError as error:
                self._count_refused(None, str(error))
        return effects

    # -- events ----------------------------------------------------------------------------------------------

    async def restore(self, outlet: FrameSink, now_unix: float, *, floor: int = 0) -> None:
        """Resume the sessions of an earlier life, oldest first; in silence those at or below block ``floor``, where the store may
        have forgotten votes.
        """

        def work(now: float) -> list[SessionEffect]:
            effects: list[SessionEffect] = []
            headers = [h for h in self._store.sessions() if not h.shredded]
            for header in sorted(headers, key=lambda h: h.block_number):
                is_of_protocol_1 = decode_session(header.header).id != header.session
                if is_of_protocol_1:  # nothing in it is of use now
                    self._store.drop_session(header.session)
                    continue
                records = tuple(
                    JournalRecord(r.kind, r.body, r.secret)  # type: ignore[arg-type]
                    for r in self._store.records(header.session)
                )
                opened_at = now - max(0.0, now_unix - header.opened)
                session, silent = decode_session(header.header), header.block_number <= floor
                effects += self._operator.restore(session, records, opened_at, now, silent=silent)
            return effects + self._operator.tick(now)

        await self._step(outlet, work)

    async def boundary(self, outlet: FrameSink, session: Session, *, may_vote: bool, may_found: bool) -> bool:
        """A boundary was seen; whether this operator takes part in its session.

        ``may_vote``: its store can have forgotten no vote at this boundary. ``may_found``: nor one in a genesis.
        """
        joined = False

        def work(now: float) -> list[SessionEffect]:
            nonlocal joined
            self._forgeries.renew()
            joined = self._operator.ceremony(session.id) is not None
            permitted = may_vote and (may_found or self._operator.has_version)
            if not permitted or not self._operator.may_join(session) or self._was_at(session):
                return self._operator.pass_boundary(session, now)
            joined = True
            self._begun = {session.id: now}
            self._store.open_session(session.id, session.boundary.number, encode_session(session))
            effects = self._operator.boundary(session, now)
            early = self._operator.take_early(session)
            return effects + self._verified([(None, frame) for frame in early], now)

        await self._step(outlet, work)
        await self._forget(session)
        waits = not joined and (self._operator.binding is not None or not self._operator.has_version)
        self._postponed = _Postponed(session, may_found) if waits and may_vote else None
        return joined

    async def _join_postponed(self, outlet: FrameSink, effects: Sequence[SessionEffect]) -> None:
        """The session that bound this operator at the newest boundary was just closed without a key: join that one after all."""
        if any(isinstance(item.effect, Closed) for item in effects):
            await self._join_late(outlet, "the one before it is closed")

    async def _join_late(self, outlet: FrameSink, why: str) -> None:
        """Join the newest boundary's session, which could not be joined when the boundary was seen."""
        postponed, self._postponed = self._postponed, None
        if postponed is None:
            return
        session = postponed.session
        if await self.boundary(outlet, session, may_vote=True, may_found=postponed.may_found):
            log.info(
                "session %s: joined, now that %s",
                log_fields.named(session.id),
                why,
                extra=log_fields.of(session.id, "joined-late"),
            )

    def _was_at(self, session: Session) -> bool:
        """At most one session a boundary number, whatever its block hash, and at most once: of one that was joined and is not live
        any more the journal was dropped, and what was said in it is forgotten.
        """
        return bool(self._store.sessions_at(session.boundary.number))

    async def _forget(self, newest: Session) -> None:
        """Drop the journals that nobody needs any more."""

        def work() -> None:
            for session in self._operator.forget():
                self._store.drop_session(session.id)
            interval = newest.parameters.interval_blocks
            self._store.forget_sessions(max(0, newest.boundary.number - KEPT_BOUNDARIES * interval))
            self._store.forget_versions(KEPT_ERASED)

        async with self._lock:
            await trio.to_thread.run_sync(work, limiter=self._limiter)

    async def learn(self, outlet: FrameSink, head: VersionHead) -> None:
        """A version that others certified or prepared and the chain confirmed, unless it is one of the past by now.

        The caller has checked it (``check_head``, chain/certificate_check).
        """
        transcript = head.transcript

        def work(now: float) -> list[SessionEffect]:
            if head.proof is not None and self._operator.may_learn(transcript):
                share = self._versions.share_of(transcript.hash)
                self._versions.add(CertifiedTranscript(transcript, head.certificate), head.proof)
                return self._operator.learn(transcript, head.certificate, now, share)
            return self._operator.learn(transcript, head.certificate, now)

        await self._step(outlet, work)
        if self.has_version:
            await self._join_late(outlet, "the version to deal from is known")

    async def take_row(self, outlet: FrameSink, name: bytes, row: DealingRow) -> None:
        """My row of a dealing, which a peer served."""

        def work(now: float) -> list[SessionEffect]:
            try:
                return self._operator.take_row(name, row, now)
            except RemoteProtocolError as error:
                self._count_refused(None, str(error))
                return []

        await self._step(outlet, work)

    @property
    def has_version(self) -> bool:
        """Whether this operator knows a version to deal from."""
        return self._operator.has_version

    def is_obtaining(self, transcript_hash: bytes) -> bool:
        """Whether this operator's share of a version is on its way; may be called while a step runs."""
        return self._operator.is_obtaining(transcript_hash)

    @property
    def is_obtaining_a_share(self) -> bool:
        """Whether a share comes in the place of one that was erased less than ``SHARE_SECONDS`` ago, as after each certificate.

        May be read while a step runs.
        """
        return self._operator.is_obtaining_a_share and trio.current_time() < self._erased_at + SHARE_SECONDS

    async def unknown_sources(self) -> dict[OperatorAddress, SourceRef]:
        """Wait until somebody deals, in the newest session, from a version that this operator does not know."""
        await self._source_wanted.wait()
        self._source_wanted = trio.Event()
        return self._operator.unknown_sources

    @property
    def wanted(self) -> Wanted:
        """What is to be fetched now."""
        return self._wanted

    async def wants(self) -> Wanted:
        """Wait until something is to be fetched."""
        while not self._wanted:
            self._lacks = trio.Event()
            await self._lacks.wait()
        return self._wanted

    async def other_than(self, transcript_hash: bytes | None) -> CertifiedTranscript:
        """The newest certified version, once its transcript has another hash than this one."""
        while True:
            newest = self._versions.newest
            if newest is not None and newest.epoch.transcript.hash != transcript_hash:
                return newest.epoch
            await self._newest_changed.wait()

    @property
    def newest(self) -> Ceremony | None:
        """The session of the newest boundary that was joined."""
        return self._operator.newest

    def served(self, transcript: Transcript) -> int | None:
        """How many recipients a version has a share for; None if its dealings are not here."""
        maker = self._operator.ceremony(transcript.session)
        return None if maker is None else maker.served(transcript)

    # -- what others ask for -----------------------------------------------------------------------------------

    @property
    def live(self) -> tuple[Ceremony, ...]:
        return self._operator.live

    async def sync_requests(self) -> list[Frame]:
        """A request for each live session."""

        def work() -> list[Frame]:
            return [ceremony.sync_request() for ceremony in self._operator.live]

        async with self._lock:
            return await trio.to_thread.run_sync(work, limiter=self._limiter)

    async def sync_reply(self, request: Frame) -> list[Frame]:
        """What the (verified) asker lacks of a session that is still known here."""

        def read() -> list[Frame]:
            ceremony = self._operator.ceremony(request.session)
            return [] if ceremony is None else ceremony.sync_reply(request)

        return await self._read(read, [])

    async def body(self, name: bytes) -> bytes | None:
        """The body of a dealing, if it is here."""
        return await self._read(lambda: self._operator.body(name), None)

    async def row(self, name: bytes, recipient: OperatorAddress) -> DealingRow | None:
        """One recipient's row of a dealing, if it is here."""
        return await self._read(lambda: self._operator.row(name, recipient), None)

    async def head(self) -> VersionHead | None:
        """The highest version that is certified or prepared; none of a genesis that is merely prepared."""

        def read() -> VersionHead | None:
            head = self._operator.head
            if head is None:
                return None
            held = self._versions.get(head.transcript.hash)
            return VersionHead(head.transcript, head.certificate, None if held is None else held.proof)

        return await self._read(read, None)

    async def _read(self, read: Callable[[], Answer], nothing: Answer) -> Answer:
        """Ask the machines between steps; ``nothing`` if they are ahead of the disk."""

        def work() -> Answer:
            return nothing if self._is_ahead_of_disk else read()

        async with self._lock:
            return await trio.to_thread.run_sync(work, limiter=self._limiter)

    # -- inside ----------------------------------------------------------------------------------------------

    def _process(self, batch: Sequence[Offer], now: float) -> list[SessionEffect]:
        worth: list[tuple[Hashable, Frame]] = []
        looked_at = [(source, item) for source, item in batch if not self._forgeries.is_spent(source)]
        for source, item in looked_at:
            try:
                frame = decode_frame(item) if isinstance(item, bytes) else item
                if self._operator.wants(frame):
                    worth.append((source, frame))
            except RemoteProtocolError as error:
                self._count_refused(None, str(error))
        statistics, left_out = self._statistics, len(batch) - len(looked_at)
        self._statistics = replace(
            statistics, frames=statistics.frames + len(batch), dropped=statistics.dropped + left_out
        )
        return self._verified(worth, now)

    def _verified(self, offers: Sequence[tuple[Hashable, Frame]], now: float) -> list[SessionEffect]:
        """Verify the signatures of all frames in one batch, and take the good ones; their sources pay for the bad ones."""
        known = [(s, frame, key) for s, frame in offers if (key := self._key_for(frame)) is not None]
        bad = set(verify_frames([f for _, f, _ in known], [k for _, _, k in known], os.urandom))
        for index in bad:
            source, frame, _ = known[index]
            self._forgeries.charge(source)
            self._count_refused(frame.session, f"{frame!r}: bad signature")
        good = [frame for index, (_, frame, _) in enumerate(known) if index not in bad]
        return self._operator.receive(good, now) if good else []

    def _key_for(self, frame: Frame) -> bytes | None:
        ceremony = self._operator.ceremony(frame.session)
        if ceremony is None:
            return self._key_of(frame.sender)
        return ceremony.key_of(frame.sender)

    def _count_refused(self, session: SessionId | None, why: str) -> None:
        self._statistics = replace(self._statistics, refused=self._statistics.refused + 1)
        log.debug("refused: %s", why, extra=log_fields.of(session, "refused"))

    def _make_durable(self, effects: Sequence[SessionEffect]) -> None:
        """Everything that must outlive a crash before anything of this step is sent."""
        for item in effects:
            self._keep(item)
        journals: dict[SessionId, list[Record]] = {}
        for item in effects:
            if isinstance(item.effect, Persist) and item.session is not None:
                record = item.effect.record
                journals.setdefault(item.session.id, []).append(
                    Record(record.kind, record.body, record.secret)
                )
        for session_id, records in journals.items():
            self._store.append(session_id, records)
        for item in effects:
            self._give_up(item)
        for item in effects:
            if isinstance(item.effect, ReportFault) and item.session is not None:
                self._keep_evidence(item.session, item.effect.evidence)

    def _keep(self, item: SessionEffect) -> None:
        """Keys, versions and shares, in the order of the step."""
        match item.effect:
            case KeepKey(number, key):
                self._store.keep_key(number, key.secret.to_bytes())
            case Prepared(transcript, certificate) | Certified(transcript, certificate):
                self._versions.add(CertifiedTranscript(transcript, certificate))
            case Held(transcript_hash, share):
                self._versions.hold(transcript_hash, share)

    def _give_up(self, item: SessionEffect) -> None:
        """What is destroyed, in the order of the step."""
        match item.effect:
            case Erase(transcript_hash):
                self._erase(transcript_hash)
            case EraseKeys(numbers):
                self._store.erase_keys(numbers)
            case EraseJournal(session):
                self._store.destroy_secrets(session)
            case Forget(session):
                self._store.drop_session(session)

    def _erase(self, transcript_hash: bytes) -> None:
        epoch, erased = self._versions.epoch(transcript_hash), transcript_hash.hex()[:16]
        self._versions.erase(transcript_hash)
        session = None if epoch is None else epoch.transcript.session
        extra = log_fields.of(session, "erased", transcript=erased)
        log.info("version with transcript %s: my share is erased", erased, extra=extra)

    def _keep_evidence(self, session: Session, evidence: Evidence) -> None:
        """With its session, so that it outlives it."""
        accused, bundle = evidence.accused, Bundle(session, evidence).encoded
        if self._store.add_evidence(evidence.fault.value, accused, evidence.session, bundle):
            self.accused = {**self.accused, accused: self.accused.get(accused, 0) + 1}

    async def evidence_page(self, after: int) -> EvidencePage:
        """What this operator holds against others, with ids above ``after``."""
        rows, more = await trio.to_thread.run_sync(
            self._store.evidence_page, after, MAX_PAGE_BYTES, limiter=self._showing
        )
        return EvidencePage(tuple((row.id, row.bundle) for row in rows), more)

    def _report(self, effects: Sequence[SessionEffect]) -> None:
        """Tell people."""
        for item in effects:
            effect, session = item.effect, None if item.session is None else item.session.id
            name = "" if session is None else log_fields.named(session)
            if isinstance(effect, LogEvent):
                self._count(item.session, effect)
                extra = log_fields.of(session, effect.event, **effect.fields)
                level = _LEVELS.get(effect.event, logging.INFO)
                log.log(level, "session %s: %s %s", name, effect.event, _plain(effect.fields), extra=extra)
            elif isinstance(effect, ReportFault):
                accused, fault = "0x" + effect.evidence.accused.hex(), effect.evidence.fault.value
                extra = log_fields.of(session, "evidence", fault=fault, accused=accused)
                log.warning("session %s: evidence of %s against %s", name, fault, accused, extra=extra)

    def _count(self, session: Session | None, note: LogEvent) -> None:
        self._statistics.notes[note.event] += 1
        begun = None if session is None else self._begun.get(session.id)
        if note.event == "certified" and begun is not None:
            self._statistics = replace(self._statistics, certified_after=trio.current_time() - begun)


def _plain(fields: dict[str, object]) -> str:
    """``name=value`` of each, lists with commas."""
    texts = {n: ",".join(map(str, v)) if isinstance(v, list) else v for n, v in fields.items()}
    return " ".join(f"{name}={text}" for name, text in texts.items())
