"""One simulated operator: the real machine while it is up, a disk always.

A step is carried out as the real engine does it (eigenkms/node/engine): what must outlive a crash is committed first, one
transaction for each session and one for each other thing; only when all of them are durable is anything of the step sent. A
crash falls between two transactions, or between two frames: a transaction that was not committed is lost as a whole.

Around the machine stands what the real node (eigenkms/node/app.py, links.py) does: it joins a boundary's session if its store may
vote there and pulls what gossip lost. Bodies of dealings are pushed to all and fetched from anybody, rows are fetched by those that
were away, long work takes time beside the machine and is lost in a crash, and versions that others deal from are learnt from their
proofs.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from eigenkms.crypto import bn254
from eigenkms.crypto.pvss import DealingContext
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.errors import EigenKmsError, RemoteProtocolError
from eigenkms.protocols.ceremony.effects import (
    Broadcast,
    CloseSession,
    DropJournal,
    Effect,
    EraseJournalSecrets,
    EraseKeys,
    EraseShare,
    JournalRecord,
    KeepKey,
    KeepShare,
    LogEvent,
    Persist,
    Publish,
    ReportFault,
    RunJob,
    StoreCertifiedVersion,
    StorePreparedVersion,
)
from eigenkms.protocols.ceremony.forgeries import Forgeries
from eigenkms.protocols.ceremony.jobs import CheckJob, Job, Result
from eigenkms.protocols.ceremony.participant import Participant, SessionEffect
from eigenkms.protocols.records.evidence import Evidence
from eigenkms.types import OperatorAddress, SessionId
from eigenkms.wire.certified_transcript import CertifiedTranscript
from eigenkms.wire.dealing import DealingRow
from eigenkms.wire.frames import Frame, FrameKind, build_frame
from eigenkms.wire.messages import certificate_body
from eigenkms.wire.session import Session
from tests.sim.clock import Clock, Skew
from tests.sim.disk import Disk

if TYPE_CHECKING:
    from tests.sim.world import World

Tamper: TypeAlias = Callable[[Frame, OperatorAddress | None], Sequence[tuple[OperatorAddress | None, Frame]]]
Transaction: TypeAlias = Callable[[], None]
Answer: TypeAlias = tuple[CertifiedTranscript, ...]
ServesBody: TypeAlias = Callable[[OperatorAddress, bytes, bytes | None], bytes | None]
"""(asker, name of the dealing, its body if it is here) to what is served."""
KEPT_BODIES = 64
"""Bodies that came before their headers."""
ASKED_FOR_BODIES = 2
"""Operators that are asked at a time for a body or a row."""


class Node:
    """``name`` is for people. A Byzantine operator has a ``tamper`` that rewrites what it says."""

    def __init__(self, world: "World", key: bn254.KeyPair, address: OperatorAddress, name: str) -> None:
        self.world, self.key, self.address, self.name = world, key, address, name
        self.disk = Disk()
        self.operator: Participant | None = None
        self.clock = Clock(world.random, Skew(), 0.0)
        self.persisted = 0
        """Transactions that are durable."""
        self.crash_after: int | None = None
        """Crash once so many transactions are durable, before anything of that step is sent."""
        self.crash_after_sending: int | None = None
        """Crash in the midst of sending: after so many frames of a step, the rest of which is never sent."""
        self.postponed: Session | None = None
        """The newest boundary's session, not joined because an older one binds me, or because no version to deal from is known."""
        self.newest_boundary = -1
        """Number of the newest boundary that the chain showed in this life; the chain never shows one below it."""
        self.chain_lag = 0.0
        """How much later than others this node's chain shows it anything, in seconds."""
        self.sees_chain = True
        self.next_tick: float | None = None
        self.crashes = 0
        self.backup: Disk | None = None
        self.has_lost_disk = False
        self.notes: list[LogEvent] = []
        self.tamper: Tamper | None = None
        """(recipient or None for all, frame) to what is said instead."""
        self.works_on: Callable[[Job, Result], Result] = lambda _job, result: result
        """What a Byzantine operator makes of the result of a job."""
        self.serves_body: ServesBody = lambda _to, _name, body: body
        """What a Byzantine operator serves instead of a body, if it has one; ``None``: nothing."""
        self.is_deaf_to: Callable[[Frame], bool] = lambda _frame: False
        """Frames of others that a Byzantine operator leaves unread."""
        self.grace = world.grace
        self.answers_head: Callable[[Answer], Answer] = lambda answer: answer
        """What a Byzantine operator answers to who asks for the versions that it deals from."""
        self.verified: Counter[tuple[SessionId, OperatorAddress]] = Counter()
        """Frames of each session and sender whose signature this life verified."""
        self.checked: set[DealingContext] = set()
        """What the dealings are for that this life verified."""
        self.forgeries = Forgeries()
        self.forged: Counter[OperatorAddress] = Counter()
        """Bad signatures that were verified since the newest boundary, by who handed the frames over."""
        self._bodies: OrderedDict[bytes, bytes] = OrderedDict()
        self._asks = False
        self.up()

    @property
    def now(self) -> float:
        """By its own monotonic clock."""
        return self.clock.monotonic(self.world.now)

    def up(self) -> None:
        """Start, or start again from the disk."""
        world = self.world
        self.clock = Clock(world.random, world.faults.skew, world.now)
        self.operator = operator = Participant(self.address, self.key, world.rng, lambda: self.grace)
        for version in self.disk.held:
            operator.load_version(version.transcript, version.certificate, version.share)
        for number, key in self.disk.keys.items():
            operator.load_key(number, key)
        self.newest_boundary = self.disk.floor
        self.next_tick = None
        self._asks = False
        self._bodies.clear()
        self.verified.clear()
        self.checked.clear()
        self.forgeries.renew()
        self.forged.clear()
        today = self.clock.time_of_day(world.now)
        kept = [s for s in self.disk.sessions.values() if s.session.id not in self.disk.dropped]
        effects: list[SessionEffect] = []
        for stored in sorted(kept, key=lambda s: s.session.boundary.number):
            records = self.disk.journal.get(stored.session.id, [])
            opened_at = self.now - max(0.0, today - stored.opened)
            silent = stored.session.boundary.number <= self.disk.floor
            try:
                effects += operator.restore(stored.session, records, opened_at, self.now, listen_only=silent)
            except RemoteProtocolError:
                assert self.tamper is not None, "restore: the journal of an honest operator is refused"
                self.disk.drop_session(stored.session.id)  # it journaled its own bad dealing
        self.carry_out([*effects, *operator.tick(self.now)])
        self.world.laws.serves(self)

    # -- events ------------------------------------------------------------------------------------------------

    def boundary(self, session: Session) -> None:
        """The chain showed a boundary, unless a newer one was shown before."""
        operator = self.operator
        if operator is None or session.boundary.number < self.newest_boundary:
            return
        self.world.laws.keeps_budgets(self)
        self.forgeries.renew()
        self.forged.clear()
        self._forget_verified(operator)
        self.newest_boundary = session.boundary.number
        self.world.trace(self, f"sees boundary {session.boundary.number} ({session.id.hex()[:6]})")
        if not operator.has_version:
            for other in self.world.nodes.values():
                self.world.ask_head(self, other)
            if session.parameters.genesis_quorum:  # fewer than all can make a key: does one exist?
                self.world.at(3 * self.world.faults.max_delay, partial(self._at_boundary, operator, session))
                return
        self._at_boundary(operator, session)

    def _at_boundary(self, operator: Participant, session: Session) -> None:
        """Join the session unless something forbids it."""
        if self.operator is not operator or session.boundary.number < self.newest_boundary:
            return
        may_vote = session.boundary.number > self.disk.floor
        joined = operator.ceremony(session.id) is not None
        if may_vote and self._may_join(operator, session):
            joined = True
            if not self._join(operator, session):
                return
        else:
            self.carry_out(operator.pass_boundary(session, self.now))
        if self.operator is operator:
            self._forget(operator)
        waits = not joined and (operator.binding_session is not None or not operator.has_version)
        self.postponed = session if waits and may_vote else None

    def _may_join(self, operator: Participant, session: Session) -> bool:
        number = session.boundary.number
        was_there = any(s.session.boundary.number == number for s in self.disk.sessions.values())
        may_found = self.disk.consent and not self.disk.held and not self.world.ever_left(number)
        return (may_found or operator.has_version) and operator.may_join(session) and not was_there

    def _join(self, operator: Participant, session: Session) -> bool:
        """Whether the node survives it."""
        self.world.laws.joins(self, session)
        opened = self.clock.time_of_day(self.world.now)
        if not self._commit(partial(self.disk.open_session, session, opened)):
            return False
        effects = operator.boundary(session, self.now)
        early = [frame.encoded for frame in operator.pop_buffered(session)]
        self.carry_out([*effects, *self._received(operator, early)])
        return self.operator is operator

    def _forget(self, operator: Participant) -> None:
        for session in operator.prune():
            self.disk.drop_session(session.id)
            self.world.trace(self, f"forgets {session.id.hex()[:6]}")
            self.world.laws.keeps_a_version()
        self._forget_verified(operator)
        self.world.laws.forgets(self)

    def _forget_verified(self, operator: Participant) -> None:
        """What is not known here, or not any more, is counted anew from each boundary on."""
        for place in [place for place in self.verified if operator.ceremony(place[0]) is None]:
            del self.verified[place]

    def take(self, frames: Sequence[bytes], source: OperatorAddress) -> None:
        """Frames arrive, as bytes, handed over by ``source``."""
        if self.operator is not None:
            self.carry_out(self._received(self.operator, frames, source))

    def _received(
        self, operator: Participant, frames: Sequence[bytes], source: OperatorAddress | None = None
    ) -> list[SessionEffect]:
        good = []
        for data in frames:
            if self.forgeries.is_spent(source):
                break
            try:
                frame = self.world.wire.read(data)
                if not operator.should_verify(frame) or self._ignores(frame):
                    continue
            except RemoteProtocolError:
                self.world.refused += 1
                continue
            if self.world.is_signed(frame):
                good.append(frame)
            else:
                self.world.refused += 1
                self._charge(source)
        self.world.laws.verifies(self, good)
        return operator.receive(good, self.now) if good else []

    def _charge(self, source: OperatorAddress | None) -> None:
        """Nobody pays for frames that were good before their boundary was seen."""
        if source is not None:
            self.forgeries.charge(source)
            self.forged[source] += 1
            self.world.laws.finds_forged(self, source)

    def _ignores(self, frame: Frame) -> bool:
        """The honest machine inside a Byzantine operator would fall silent if it saw what became of its words."""
        return (self.tamper is not None and frame.sender == self.address) or self.is_deaf_to(frame)

    def take_result(self, life: Participant, result: Result) -> None:
        """A job is done, if this is still the life that asked for it."""
        if self.operator is life:
            self.carry_out(life.take_result(result, self.now))

    def tick(self) -> None:
        self.next_tick = None
        operator = self.operator
        if operator is None:
            return
        self.carry_out(operator.tick(self.now))
        if self.operator is operator:
            self.world.laws.waits(self, operator.deadline())

    # -- bodies and rows -----------------------------------------------------------------------------------------

    def take_body(self, name: bytes, body: bytes) -> None:
        """The body of a dealing came, asked for or not."""
        operator = self.operator
        if operator is None:
            return
        if name not in operator.wanted_bodies:
            self._bodies[name] = body
            if len(self._bodies) > KEPT_BODIES:
                self._bodies.popitem(last=False)
            return
        try:
            effects = operator.take_body(name, body, self.now)
        except RemoteProtocolError:
            self.world.refused += 1
            return
        self.carry_out(effects)

    def _take_early_bodies(self) -> None:
        """Bodies that came before their headers are wanted now."""
        operator = self.operator
        for name in () if operator is None else operator.wanted_bodies:
            body = self._bodies.pop(name, None)
            if body is not None and self.operator is operator:
                self.take_body(name, body)

    def take_row(self, name: bytes, row: DealingRow) -> None:
        operator = self.operator
        if operator is None or name not in operator.wanted_rows:
            return
        try:
            effects = operator.take_row(name, row, self.now)
        except RemoteProtocolError:
            self.world.refused += 1
            return
        self.carry_out(effects)

    def served_body(self, asker: OperatorAddress, name: bytes) -> bytes | None:
        """What is served to who asks for a body."""
        if self.operator is None:
            return None
        return self.serves_body(asker, name, self.operator.body(name))

    def served_row(self, asker: OperatorAddress, name: bytes) -> DealingRow | None:
        return None if self.operator is None else self.operator.row(name, asker)

    # -- pulling -----------------------------------------------------------------------------------------------

    def pull(self) -> None:
        """Ask one other operator for what gossip lost, and some for bodies, rows and versions that lack."""
        operator, world = self.operator, self.world
        others = [a for a in world.nodes if a != self.address]
        if operator is None or not others:
            return
        asked = world.random.choice(others)
        for ceremony in operator.syncable:
            world.ask(self, asked, ceremony.sync_request())
        for name in operator.wanted_bodies:
            for address in world.random.sample(others, min(len(others), ASKED_FOR_BODIES)):
                world.ask_body(self, world.nodes[address], name)
        for name in operator.wanted_rows:
            for address in world.random.sample(others, min(len(others), ASKED_FOR_BODIES)):
                world.ask_row(self, world.nodes[address], name)
        if not operator.has_version:
            world.ask_head(self, world.nodes[world.random.choice(others)])

    def asked(self, request: Frame) -> list[Frame]:
        """What is served on a pull; a Byzantine operator tampers with its own part of that too."""
        if self.operator is None:
            return []
        ceremony = self.operator.ceremony(request.session)
        try:
            frames = [] if ceremony is None else ceremony.sync_reply(request)
        except RemoteProtocolError:
            self.world.refused += 1
            return []
        frames = frames or self._stored_certificate(request)
        if self.tamper is None:
            for frame in frames:
                if frame.sender == self.address:
                    self.world.laws.speaks(self, frame)
            return frames
        served = []
        for frame in frames:
            if frame.sender != self.address:
                served.append(frame)
                continue
            recipient = frame.recipient or request.sender
            served += [f for to, f in self.tamper(frame, recipient) if to in (None, request.sender)]
        return served

    def _stored_certificate(self, request: Frame) -> list[Frame]:
        """The certificate of a session that is long over, for somebody who missed its end."""
        newest = self.disk.held[-1] if self.disk.held else None
        if newest is None or newest.transcript.session != request.session:
            return []
        body = certificate_body(newest.transcript.encoded, newest.certificate)
        return [
            build_frame(
                self.key,
                kind=FrameKind.CERTIFICATE,
                cluster=request.cluster,
                sender=self.address,
                session=request.session,
                body=body,
            )
        ]

    # -- versions to deal from -----------------------------------------------------------------------------------

    def head_answer(self) -> Answer:
        """The versions that this operator deals from or serves: the highest certified one, and the head."""
        operator = self.operator
        found = () if operator is None else (operator.certified, operator.head)
        answer = dict.fromkeys(
            CertifiedTranscript(v.transcript, v.certificate) for v in found if v is not None
        )
        return self.answers_head(tuple(answer))

    def told_head(self, answer: Answer) -> None:
        """Accept versions that prove themselves, if the chain has their blocks."""
        for epoch in answer:
            operator = self.operator
            if operator is None:
                return
            try:
                if not operator.can_adopt(epoch.transcript):
                    continue
                self.world.verify_version(epoch)
            except EigenKmsError:
                self.world.refused += 1
                continue
            effects = operator.adopt(epoch.transcript, epoch.certificate, self.now)
            if any(isinstance(e.effect, StoreCertifiedVersion | StorePreparedVersion) for e in effects):
                self.world.trace(self, f"learns version {epoch.transcript.version}")
            self.carry_out(effects)
        self._join_late()

    def _ask_for_sources(self) -> None:
        """Who deals from a version that is not known here can prove it."""
        operator = self.operator
        if operator is None or self._asks or not operator.unknown_sources:
            return
        self._asks = True
        for sender in operator.unknown_sources:
            if sender in self.world.nodes:
                self.world.ask_head(self, self.world.nodes[sender])
        self.world.at(self.world.parameters.window / 8, self._may_ask_again)

    def _may_ask_again(self) -> None:
        self._asks = False
        self._ask_for_sources()

    def _join_late(self) -> None:
        postponed, self.postponed = self.postponed, None
        if postponed is not None and self.operator is not None:
            self._at_boundary(self.operator, postponed)

    # -- effects -----------------------------------------------------------------------------------------------

    def carry_out(self, effects: Sequence[SessionEffect]) -> None:
        """Durable things first, then what is sent, then what takes long."""
        operator = self.operator
        if not all(self._commit(transaction) for transaction in self._transactions(effects)):
            return
        for item in effects:
            if isinstance(item.effect, LogEvent):
                self.notes.append(item.effect)
                where = "" if item.session is None else f" in {item.session.id.hex()[:6]}"
                self.world.trace(self, f"{item.effect.event}{where} {item.effect.fields}")
                if item.effect.event == "ended without a certificate" and item.session is not None:
                    self.world.laws.blames(self, item.session)
        if effects:
            self.world.laws.after_step(self)
        if not all(self._send(item) for item in effects):
            return
        for item in effects:
            if isinstance(item.effect, RunJob) and operator is not None:
                if isinstance(item.effect.job, CheckJob):
                    self.world.laws.checks(self, item.effect.job)
                self.world.work(self, operator, item.effect.job)
        self.world.schedule_tick(self)
        self._ask_for_sources()
        self._take_early_bodies()
        if any(isinstance(item.effect, CloseSession) for item in effects):
            self._join_late()

    def _transactions(self, effects: Sequence[SessionEffect]) -> list[Transaction]:
        """What a store commits for one step: keys before the frames that publish them, journals, then the rest in order."""
        journals: dict[SessionId, list[JournalRecord]] = {}
        closed: dict[SessionId, CloseSession] = {}
        transactions: list[Transaction] = []
        for item in effects:
            match item.effect:
                case KeepKey(number, key):
                    transactions.append(partial(self.disk.keep_key, number, key))
                case Persist(record) if item.session is not None:
                    journals.setdefault(item.session.id, []).append(record)
                case CloseSession() as ended if item.session is not None:
                    closed[item.session.id] = ended
        for session in dict.fromkeys([*journals, *closed]):
            records, ended_by = journals.get(session, []), closed.get(session)
            transactions.append(partial(self._append, session, records, ended_by))
        later = (self._later_transaction(item.effect) for item in effects)
        return [*transactions, *(transaction for transaction in later if transaction is not None)]

    def _later_transaction(self, effect: Effect) -> Transaction | None:
        match effect:
            case StoreCertifiedVersion() | StorePreparedVersion():
                return partial(self._add_version, effect)
            case KeepShare(transcript_hash, share):
                return partial(self._hold, transcript_hash, share)
            case EraseShare(transcript_hash):
                return partial(self._erase, transcript_hash)
            case EraseKeys(numbers):
                return partial(self._erase_keys, numbers)
            case EraseJournalSecrets(session):
                return partial(self.disk.shred_session, session)
            case DropJournal(session):
                return partial(self.disk.drop_session, session)
            case ReportFault(evidence):
                return partial(self._accuse, evidence)
            case _:
                return None

    def _append(
        self, session: SessionId, records: Sequence[JournalRecord], closed: CloseSession | None
    ) -> None:
        self.disk.append(session, records, None if closed is None else closed.certificate)
        if closed is not None:
            self.world.laws.closes(self, closed)

    def _add_version(self, effect: StoreCertifiedVersion | StorePreparedVersion) -> None:
        self.disk.add_version(effect.transcript, effect.certificate)
        if isinstance(effect, StoreCertifiedVersion):
            self.world.laws.certifies(self, effect)
        else:
            self.world.laws.prepares(self, effect)

    def _hold(self, transcript_hash: bytes, share: SecretScalar) -> None:
        self.disk.hold(transcript_hash, share)
        self.world.laws.holds(self, transcript_hash, share)

    def _erase(self, transcript_hash: bytes) -> None:
        self.world.laws.erases(self, transcript_hash)
        self.disk.erase(transcript_hash)
        self.world.trace(self, f"erases {transcript_hash.hex()[:8]}")
        self.world.laws.keeps_a_version()

    def _erase_keys(self, numbers: frozenset[int]) -> None:
        self.disk.erase_keys(numbers)
        self.world.trace(self, f"erases keys {sorted(numbers)}")
        self.world.laws.keeps_a_version()

    def _accuse(self, evidence: Evidence) -> None:
        self.disk.add_evidence(evidence)
        self.world.trace(self, f"accuses {self.world.name(evidence.accused)} of {evidence.fault}")
        self.world.laws.accuses(self, evidence)

    def _commit(self, transaction: Transaction) -> bool:
        """Whether the node survives the commit."""
        transaction()
        self.persisted += 1
        if self.crash_after is not None and self.persisted >= self.crash_after:
            self.crash()
            return False
        return True

    def _send(self, item: SessionEffect) -> bool:
        """Whether the node survives the sending."""
        match item.effect:
            case Publish(name, body):
                self._push(name, body)
            case Broadcast(frame):
                self.say(frame)
                if self.crash_after_sending is not None:
                    self.crash_after_sending -= 1
                    if self.crash_after_sending <= 0:
                        self.crash()
                        return False
        return True

    def _push(self, name: bytes, body: bytes) -> None:
        for address in self.world.nodes:
            served = self.serves_body(address, name, body)
            if address != self.address and served is not None:
                self.world.send_body(self, address, name, served)

    def say(self, frame: Frame) -> None:
        """To everybody; what a Byzantine operator makes of it, to whom it likes."""
        if self.tamper is None:
            self.world.laws.speaks(self, frame)
        for to, what in [(None, frame)] if self.tamper is None else self.tamper(frame, None):
            if what.kind is FrameKind.PROPOSAL:
                self.world.laws.proposes(what)
            targets = [to] if to is not None else [a for a in self.world.nodes if a != self.address]
            for target in targets:
                self.world.send(self.address, target, what)

    def crash(self) -> None:
        """Nothing but the disk is left. Whoever is down already stays so."""
        self.crashes += self.operator is not None
        self.operator = None
        self.postponed = None
        self.crash_after = self.crash_after_sending = None
        self.world.trace(self, "crashes")

    def back_up(self) -> None:
        """Copy the disk as it is now."""
        self.backup = self.disk.copy()

    def lose_disk(self) -> None:
        """Crash, and go on from the last copy of the disk, or from an empty one. The store notices: it may have voted up to the
        newest boundary, and been part of a genesis.
        """
        self.crash()
        newest = self.world.sessions[-1].boundary.number if self.world.sessions else -1
        self.disk = Disk() if self.backup is None else self.backup.copy()
        self.disk.floor, self.disk.consent = newest, False
        self.has_lost_disk = True
        self.world.trace(self, "loses its disk")
