"""The engine: feeds the operator's machines and carries out what they ask, durable things first.

Machines are not thread-safe and a step may cost many pairings, so every step runs in one worker thread under one lock, and its
durable effects are fsynced there before the lock is given up; only then is anything of the step sent. Frames wait in a bounded
queue and are taken in batches, so that their signatures are verified together. A full queue drops frames: gossip may lose
anything, and what is missing is pulled.

If the disk refuses, the node stops: a machine whose promises were not kept must not speak again.
"""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import trio

from eigenkms.errors import RemoteProtocolError
from eigenkms.node.versions import Versions
from eigenkms.protocols.ceremony import Ceremony
from eigenkms.protocols.effects import (
    Accuse,
    Broadcast,
    Certified,
    Closed,
    Direct,
    JournalRecord,
    Note,
    Persist,
)
from eigenkms.protocols.frames import Frame, decode_frame, verify_frames
from eigenkms.protocols.operator import Operator, SessionEffect
from eigenkms.protocols.requests import Epoch
from eigenkms.protocols.session import Session, decode_session, encode_session
from eigenkms.storage.store import Record, Store
from eigenkms.types import OperatorAddress, SessionId

log = logging.getLogger(__name__)

MAX_QUEUED_FRAMES = 4096
MAX_BATCH = 128
MAX_IDLE_SECONDS = 60.0
KEPT_BOUNDARIES = 16
"""Boundaries after which the shredded journal of a session is dropped."""


class Outlet(Protocol):
    """Where frames leave the node."""

    async def broadcast(self, frame: Frame) -> None: ...

    async def direct(self, recipient: OperatorAddress, frame: Frame) -> None: ...


@dataclass(frozen=True)
class EngineStatistics:
    """Counters since the start."""

    frames: int = 0
    """Frames that were taken, verified or not."""
    refused: int = 0
    """Frames that did not decode, belong here, or verify."""
    dropped: int = 0
    """Frames that found the queue full."""


class Engine:
    """``key_of`` gives the BN254 G2 key of a current operator, for frames that come before their boundary."""

    def __init__(
        self,
        operator: Operator,
        store: Store,
        versions: Versions,
        key_of: Callable[[OperatorAddress], bytes | None],
    ) -> None:
        self._operator = operator
        self._store = store
        self._versions = versions
        self._key_of = key_of
        self._lock = trio.Lock()
        self._limiter = trio.CapacityLimiter(1)
        self._send, self._receive = trio.open_memory_channel[bytes](MAX_QUEUED_FRAMES)
        self._wake = trio.Event()
        self._postponed: Session | None = None
        self._statistics = EngineStatistics()
        self.evidence = len(store.evidence())
        """Pieces of evidence that the store holds."""

    def statistics(self) -> EngineStatistics:
        return self._statistics

    def offer(self, data: bytes) -> None:
        """An encoded frame from the network; never blocks."""
        try:
            self._send.send_nowait(data)
        except trio.WouldBlock:
            self._statistics = replace(self._statistics, dropped=self._statistics.dropped + 1)

    # -- tasks -----------------------------------------------------------------------------------------------

    async def run(self, outlet: Outlet) -> None:
        """Take frames and the passing of time until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._take_frames, outlet)
            nursery.start_soon(self._keep_time, outlet)

    async def _take_frames(self, outlet: Outlet) -> None:
        async for first in self._receive:
            batch = [first]
            while len(batch) < MAX_BATCH:
                try:
                    batch.append(self._receive.receive_nowait())
                except trio.WouldBlock:
                    break
            await self._step(outlet, lambda now, batch=batch: self._process(batch, now))  # type: ignore[misc]

    async def _keep_time(self, outlet: Outlet) -> None:
        while True:
            now = trio.current_time()
            deadline = self._operator.deadline(now)
            self._wake = trio.Event()
            with trio.move_on_at(now + MAX_IDLE_SECONDS if deadline is None else deadline) as waiting:
                await self._wake.wait()
            if waiting.cancelled_caught:
                await self._step(outlet, self._operator.tick)

    async def _step(self, outlet: Outlet, work: Callable[[float], list[SessionEffect]]) -> None:
        """One step of the machines: compute, make durable, then send."""
        async with self._lock:
            effects = await trio.to_thread.run_sync(
                self._compute, work, trio.current_time(), limiter=self._limiter
            )
        self._wake.set()
        for item in effects:
            if isinstance(item.effect, Broadcast):
                await outlet.broadcast(item.effect.frame)
            elif isinstance(item.effect, Direct):
                await outlet.direct(item.effect.recipient, item.effect.frame)
        self._report(effects)
        await self._join_postponed(outlet, effects)

    def _compute(self, work: Callable[[float], list[SessionEffect]], now: float) -> list[SessionEffect]:
        effects = work(now)
        self._make_durable(effects)
        return effects

    # -- events ----------------------------------------------------------------------------------------------

    async def restore(self, outlet: Outlet, now_unix: float) -> None:
        """Resume the undecided sessions of an earlier life, oldest first."""

        def work(now: float) -> list[SessionEffect]:
            effects: list[SessionEffect] = []
            headers = [h for h in self._store.sessions() if not h.shredded]
            for header in sorted(headers, key=lambda h: h.block_number):
                records = tuple(
                    JournalRecord(r.kind, r.body, r.secret)  # type: ignore[arg-type]
                    for r in self._store.records(header.session)
                )
                opened_at = now - max(0.0, now_unix - header.opened)
                effects += self._operator.restore(decode_session(header.header), records, opened_at, now)
            return effects

        await self._step(outlet, work)

    async def boundary(self, outlet: Outlet, session: Session, *, may_join: bool) -> bool:
        """A boundary was seen; whether this operator takes part in its session."""
        joined = False

        def work(now: float) -> list[SessionEffect]:
            nonlocal joined
            if not may_join or not self._operator.may_join(session) or self._voted_elsewhere(session):
                return self._operator.pass_boundary(session, now)
            joined = True
            self._store.open_session(session.id, session.boundary.number, encode_session(session))
            effects = self._operator.boundary(session, now)
            early = self._operator.take_early(session)
            return effects + self._verified(early, now)

        await self._step(outlet, work)
        await self._forget(session)
        self._postponed = session if may_join and self._operator.binding is not None else None
        return joined

    async def _join_postponed(self, outlet: Outlet, effects: Sequence[SessionEffect]) -> None:
        """The session that bound this operator at the newest boundary was just closed without a key: join that one after all."""
        session = self._postponed
        if session is not None and any(isinstance(item.effect, Closed) for item in effects):
            self._postponed = None
            if await self.boundary(outlet, session, may_join=True):
                log.info("session %s: joined, now that the one before it is closed", session.id.hex()[:8])

    def _voted_elsewhere(self, session: Session) -> bool:
        """At most one session a boundary number, whatever its block hash."""
        opened = self._store.sessions_at(session.boundary.number)
        return any(header.session != session.id for header in opened)

    async def _forget(self, newest: Session) -> None:
        """Shred the journals that nobody needs any more."""

        def work() -> None:
            for session in self._operator.forget():
                self._store.shred_session(session.id)
            interval = newest.parameters.interval_blocks
            self._store.forget_sessions(max(0, newest.boundary.number - KEPT_BOUNDARIES * interval))

        async with self._lock:
            await trio.to_thread.run_sync(work, limiter=self._limiter)

    async def adopt(self, epoch: Epoch) -> None:
        """A version that others certified and the chain confirmed; this operator holds no share of it."""

        def work() -> None:
            self._versions.add(epoch, None)
            self._operator.has_version = True

        async with self._lock:
            await trio.to_thread.run_sync(work, limiter=self._limiter)

    # -- pulling ---------------------------------------------------------------------------------------------

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

        def work() -> list[Frame]:
            ceremony = self._operator.ceremony(request.session)
            return [] if ceremony is None else ceremony.sync_reply(request)

        async with self._lock:
            return await trio.to_thread.run_sync(work, limiter=self._limiter)

    # -- inside ----------------------------------------------------------------------------------------------

    def _process(self, batch: Sequence[bytes], now: float) -> list[SessionEffect]:
        frames: list[Frame] = []
        for data in batch:
            try:
                frame = decode_frame(data)
                if self._operator.wants(frame):
                    frames.append(frame)
            except RemoteProtocolError as error:
                self._count_refused(str(error))
        self._statistics = replace(self._statistics, frames=self._statistics.frames + len(batch))
        return self._verified(frames, now)

    def _verified(self, frames: Sequence[Frame], now: float) -> list[SessionEffect]:
        """Verify the signatures of all frames in one batch, and take the good ones."""
        known = [(frame, key) for frame in frames if (key := self._key_for(frame)) is not None]
        bad = set(verify_frames([f for f, _ in known], [k for _, k in known], os.urandom))
        for index in bad:
            self._count_refused(f"{known[index][0]!r}: bad signature")
        good = [frame for index, (frame, _) in enumerate(known) if index not in bad]
        return self._operator.receive(good, now) if good else []

    def _key_for(self, frame: Frame) -> bytes | None:
        ceremony = self._operator.ceremony(frame.session)
        if ceremony is None:
            return self._key_of(frame.sender)
        member = ceremony.session.recipients.get(frame.sender)
        return None if member is None else member.key

    def _count_refused(self, why: str) -> None:
        self._statistics = replace(self._statistics, refused=self._statistics.refused + 1)
        log.debug("frame refused: %s", why)

    def _make_durable(self, effects: Sequence[SessionEffect]) -> None:
        """Everything that must outlive a crash before anything of this step is sent; one transaction a session."""
        journals: dict[SessionId, list[Record]] = {}
        for item in effects:
            if isinstance(item.effect, Persist):
                record = item.effect.record
                journals.setdefault(item.session.id, []).append(
                    Record(record.kind, record.body, record.secret)
                )
        for session_id, records in journals.items():
            self._store.append(session_id, records)
        for item in effects:
            effect = item.effect
            if isinstance(effect, Certified):
                self._versions.add(Epoch(effect.transcript, effect.certificate), effect.share)
                self._shred_dealt(item.session, effect)
            elif isinstance(effect, Accuse):
                evidence = effect.evidence
                frames = [f.encoded for f in evidence.frames]
                self.evidence += self._store.add_evidence(
                    evidence.fault.value, evidence.accused, evidence.session, frames
                )

    def _shred_dealt(self, session: Session, certified: Certified) -> None:
        """Polynomials determine everybody's shares: once all n hold theirs durably, nobody needs mine any more."""
        if session.genesis_quorum == session.n and certified.share is not None:
            self._store.shred_session(session.id)

    def _report(self, effects: Sequence[SessionEffect]) -> None:
        """Tell people."""
        for item in effects:
            effect, session = item.effect, item.session.id.hex()[:8]
            if isinstance(effect, Note):
                extra = {"session": session, "event": effect.event, **effect.fields}
                log.info(
                    "session %s: %s %s", session, effect.event, _plain(effect.fields), extra={"fields": extra}
                )
            elif isinstance(effect, Accuse):
                accused, fault = effect.evidence.accused.hex(), effect.evidence.fault.value
                log.warning("session %s: evidence of %s against 0x%s", session, fault, accused)


def _plain(fields: dict[str, object]) -> str:
    return " ".join(f"{name}={value}" for name, value in fields.items())
