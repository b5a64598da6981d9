"""One simulated operator: the real machine while it is up, a disk always.

A step is carried out as the real engine does it (eigenkms/node/engine.py): what must outlive a crash is committed first, one
transaction for each session and one for each other thing; only when all of them are durable is anything of the step sent. A
crash falls between two transactions, or between two frames: a transaction that was not committed is lost as a whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from eigenkms.crypto import bn254
from eigenkms.errors import RemoteProtocolError
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
from eigenkms.protocols.evidence import Evidence
from eigenkms.protocols.frames import Frame
from eigenkms.protocols.operator import Operator, SessionEffect
from eigenkms.protocols.session import Session
from eigenkms.protocols.transcript import Transcript
from eigenkms.protocols.votes import Certificate
from eigenkms.types import OperatorAddress, SessionId
from tests.sim.clock import Clock, Skew

if TYPE_CHECKING:
    from tests.sim.world import World

Tamper: TypeAlias = Callable[[Frame, OperatorAddress | None], Sequence[tuple[OperatorAddress | None, Frame]]]
Transaction: TypeAlias = Callable[[], None]


@dataclass
class Disk:
    """What survives a crash. A session comes with the time of day at which it was opened."""

    sessions: dict[SessionId, tuple[Session, float]] = field(default_factory=dict)
    journal: dict[SessionId, list[JournalRecord]] = field(default_factory=dict)
    versions: list[tuple[Transcript, Certificate, object]] = field(default_factory=list)
    closed: list[Certificate] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)


class Node:
    """``name`` is for people. A Byzantine operator has a ``tamper`` that rewrites what it says."""

    def __init__(self, world: "World", key: bn254.KeyPair, address: OperatorAddress, name: str) -> None:
        self.world, self.key, self.address, self.name = world, key, address, name
        self.disk = Disk()
        self.operator: Operator | None = None
        self.clock = Clock(world.random, Skew(), 0.0)
        self.persisted = 0
        """Transactions that are durable."""
        self.crash_after: int | None = None
        """Crash once so many transactions are durable, before anything of that step is sent."""
        self.crash_after_sending: int | None = None
        """Crash in the midst of sending: after so many frames of a step, the rest of which is never sent."""
        self.postponed: Session | None = None
        """The newest boundary's session, not joined because an older one binds me: joined once that is closed without a key."""
        self.newest_boundary = -1
        """Number of the newest boundary that the chain showed in this life; the chain never shows one below it."""
        self.chain_lag = 0.0
        """How much later than others this node's chain shows it anything, in seconds."""
        self.sees_chain = True
        self.next_tick: float | None = None
        self.crashes = 0
        self.notes: list[Note] = []
        self.tamper: Tamper | None = None
        """(recipient or None for all, frame) to what is said instead."""
        self.up()

    @property
    def now(self) -> float:
        """By its own monotonic clock."""
        return self.clock.monotonic(self.world.now)

    def up(self) -> None:
        """Start, or start again from the disk."""
        world = self.world
        self.clock = Clock(world.random, world.faults.skew, world.now)
        self.operator = operator = Operator(self.address, self.key, world.rng)
        operator.has_version = bool(self.disk.versions)
        self.newest_boundary = -1
        self.next_tick = None
        today = self.clock.time_of_day(world.now)
        for session, opened in sorted(self.disk.sessions.values(), key=lambda s: s[0].boundary.number):
            if self.operator is operator:
                records = self.disk.journal.get(session.id, [])
                opened_at = self.now - max(0.0, today - opened)
                self.carry_out(operator.restore(session, records, opened_at, self.now))

    # -- events ------------------------------------------------------------------------------------------------

    def boundary(self, session: Session) -> None:
        """The chain showed a boundary, unless a newer one was shown before."""
        operator = self.operator
        if operator is None or session.boundary.number < self.newest_boundary:
            return
        self.newest_boundary = session.boundary.number
        self.world.trace(self, f"sees boundary {session.boundary.number} ({session.id.hex()[:6]})")
        if not operator.may_join(session):
            self.postponed = session if operator.binding is not None else None
            self.carry_out(operator.pass_boundary(session, self.now))
            return
        self.postponed = None
        self.world.laws.joins(self, session)
        opened = self.clock.time_of_day(self.world.now)
        if not self._commit(partial(self.disk.sessions.__setitem__, session.id, (session, opened))):
            return
        effects = operator.boundary(session, self.now)
        early = [frame.encoded for frame in operator.take_early(session)]
        self.carry_out([*effects, *self._received(operator, early)])

    def take(self, frames: Sequence[bytes]) -> None:
        """Frames arrive, as bytes."""
        if self.operator is not None:
            self.carry_out(self._received(self.operator, frames))

    def _received(self, operator: Operator, frames: Sequence[bytes]) -> list[SessionEffect]:
        good = []
        for data in frames:
            try:
                frame = self.world.wire.read(data)
                if not operator.wants(frame):
                    continue
            except RemoteProtocolError:
                self.world.refused += 1
                continue
            if self.world.is_signed(frame):
                good.append(frame)
            else:
                self.world.refused += 1
        return operator.receive(good, self.now) if good else []

    def tick(self) -> None:
        self.next_tick = None
        operator = self.operator
        if operator is None:
            return
        self.carry_out(operator.tick(self.now))
        if self.operator is operator:
            self.world.laws.waits(self, operator.deadline(self.now))

    def pull(self) -> None:
        """Ask one other operator for what gossip lost."""
        if self.operator is None:
            return
        others = [a for a in self.world.nodes if a != self.address]
        for ceremony in self.operator.live:
            if others:
                self.world.ask(self, self.world.random.choice(others), ceremony.sync_request())

    def asked(self, request: Frame) -> list[Frame]:
        """What is served on a pull; a Byzantine operator tampers with its own part of that too."""
        ceremony = None if self.operator is None else self.operator.ceremony(request.session)
        if ceremony is None:
            return []
        try:
            frames = ceremony.sync_reply(request)
        except RemoteProtocolError:
            self.world.refused += 1
            return []
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

    # -- effects -----------------------------------------------------------------------------------------------

    def carry_out(self, effects: Sequence[SessionEffect]) -> None:
        """Durable things first, then what is sent."""
        if not all(self._commit(transaction) for transaction in self._transactions(effects)):
            return
        for item in effects:
            if isinstance(item.effect, Note):
                self.notes.append(item.effect)
                session, fields = item.session.id.hex()[:6], item.effect.fields
                self.world.trace(self, f"{item.effect.event} in {session} {fields}")
        if not all(self._send(item) for item in effects):
            return
        self.world.schedule_tick(self)
        postponed = self.postponed
        if postponed is not None and any(isinstance(item.effect, Closed) for item in effects):
            self.postponed = None
            self.boundary(postponed)

    def _transactions(self, effects: Sequence[SessionEffect]) -> list[Transaction]:
        """What the engine commits for one step, in its order."""
        journals: dict[SessionId, list[JournalRecord]] = {}
        closed: dict[SessionId, Closed] = {}
        for item in effects:
            if isinstance(item.effect, Persist):
                journals.setdefault(item.session.id, []).append(item.effect.record)
            elif isinstance(item.effect, Closed):
                closed[item.session.id] = item.effect
        transactions: list[Transaction] = [
            partial(self._append, session, records, closed.get(session))
            for session, records in journals.items()
        ]
        for item in effects:
            match item.effect:
                case Certified() as certified:
                    transactions.append(partial(self._certify, certified))
                case Accuse(evidence):
                    transactions.append(partial(self._accuse, evidence))
        return transactions

    def _append(self, session: SessionId, records: Sequence[JournalRecord], closed: Closed | None) -> None:
        self.disk.journal.setdefault(session, []).extend(records)
        if closed is not None:
            self.disk.closed.append(closed.certificate)
            self.world.laws.closes(self, closed)

    def _certify(self, effect: Certified) -> None:
        self.disk.versions.append((effect.transcript, effect.certificate, effect.share))
        self.world.laws.certifies(self, effect)

    def _accuse(self, evidence: Evidence) -> None:
        self.disk.evidence.append(evidence)
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
        if isinstance(item.effect, Broadcast):
            self.say(None, item.effect.frame)
        elif isinstance(item.effect, Direct):
            self.say(item.effect.recipient, item.effect.frame)
        else:
            return True
        if self.crash_after_sending is not None:
            self.crash_after_sending -= 1
            if self.crash_after_sending <= 0:
                self.crash()
                return False
        return True

    def say(self, recipient: OperatorAddress | None, frame: Frame) -> None:
        if self.tamper is None:
            self.world.laws.speaks(self, frame)
        outgoing = [(recipient, frame)] if self.tamper is None else self.tamper(frame, recipient)
        for to, what in outgoing:
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
