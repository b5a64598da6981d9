"""One simulated operator: the real machine while it is up, a disk always.

A step is carried out as the real engine does it (eigenkms/node/engine.py): what must outlive a crash is committed first, one
transaction for each session and one for each other thing; only when all of them are durable is anything of the step sent. A
crash falls between two transactions, or between two frames: a transaction that was not committed is lost as a whole.

Around the machine stands what the real node (eigenkms/node/app.py, links.py) does: it joins a boundary's session if its store may
vote there, pulls what gossip lost, and asks others for the settled version to deal from when it does not know it.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from eigenkms.crypto import bn254
from eigenkms.errors import EigenKmsError, RemoteProtocolError
from eigenkms.protocols.effects import (
    Accuse,
    Broadcast,
    Certified,
    Closed,
    Direct,
    Erase,
    JournalRecord,
    Note,
    Persist,
    Settled,
    Shred,
)
from eigenkms.protocols.evidence import Evidence
from eigenkms.protocols.frames import Frame, Kind, build_frame
from eigenkms.protocols.messages import GENESIS_SOURCE, certificate_body
from eigenkms.protocols.operator import Operator, SessionEffect
from eigenkms.protocols.requests import Epoch, check_settled, decode_settled, encode_settled
from eigenkms.protocols.session import Session
from eigenkms.types import OperatorAddress, SessionId
from tests.sim.clock import Clock, Skew
from tests.sim.disk import KEPT_BOUNDARIES, Disk

if TYPE_CHECKING:
    from tests.sim.world import World

Tamper: TypeAlias = Callable[[Frame, OperatorAddress | None], Sequence[tuple[OperatorAddress | None, Frame]]]
Transaction: TypeAlias = Callable[[], None]
MAX_ASKED = 4
"""Dealers whose share is lacking that are pulled from besides the one whose turn it is."""


class Node:
    """``name`` is for people. A Byzantine operator has a ``tamper`` that rewrites what it says."""

    disk_type: ClassVar[type[Disk]] = Disk

    def __init__(self, world: "World", key: bn254.KeyPair, address: OperatorAddress, name: str) -> None:
        self.world, self.key, self.address, self.name = world, key, address, name
        self.disk = self.disk_type()
        self.operator: Operator | None = None
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
        self.notes: list[Note] = []
        self.tamper: Tamper | None = None
        """(recipient or None for all, frame) to what is said instead."""
        self.answers_settled: Callable[[bytes | None], bytes | None] | None = None
        """What a Byzantine operator answers to who asks for its settled version, instead of the truth."""
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
        self.operator = operator = Operator(self.address, self.key, world.rng)
        for version in self.disk.held:
            operator.know(version.transcript, version.share, settled=version.settled)
        self.newest_boundary = self.disk.floor
        self.next_tick = None
        self._asks = False
        today = self.clock.time_of_day(world.now)
        kept = [stored for stored in self.disk.sessions.values() if not stored.shredded]
        effects: list[SessionEffect] = []
        for stored in sorted(kept, key=lambda s: s.session.boundary.number):
            records = self.disk.journal.get(stored.session.id, [])
            opened_at = self.now - max(0.0, today - stored.opened)
            silent = stored.session.boundary.number <= self.disk.floor
            effects += operator.restore(stored.session, records, opened_at, self.now, silent=silent)
        self.carry_out([*effects, *operator.tick(self.now)])

    # -- events ------------------------------------------------------------------------------------------------

    def boundary(self, session: Session) -> None:
        """The chain showed a boundary, unless a newer one was shown before."""
        operator = self.operator
        if operator is None or session.boundary.number < self.newest_boundary:
            return
        self.newest_boundary = session.boundary.number
        self.world.trace(self, f"sees boundary {session.boundary.number} ({session.id.hex()[:6]})")
        if not operator.has_source:
            for other in self.world.nodes.values():
                self.world.ask_settled(self, other)
            if (
                session.parameters.genesis_quorum
            ):  # fewer than all can make a key: first hear whether one exists
                self.world.at(3 * self.world.faults.max_delay, partial(self._at_boundary, operator, session))
                return
        self._at_boundary(operator, session)

    def _at_boundary(self, operator: Operator, session: Session) -> None:
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
            self._forget(operator, session)
        waits = not joined and (operator.binding is not None or not operator.has_source)
        self.postponed = session if waits and may_vote else None

    def _may_join(self, operator: Operator, session: Session) -> bool:
        number = session.boundary.number
        was_there = any(s.session.boundary.number == number for s in self.disk.sessions.values())
        may_found = self.disk.consent and not self.disk.held and not self.world.ever_left(number)
        return (may_found or operator.has_source) and operator.may_join(session) and not was_there

    def _join(self, operator: Operator, session: Session) -> bool:
        """Whether the node survives it."""
        self.world.laws.joins(self, session)
        opened = self.clock.time_of_day(self.world.now)
        if not self._commit(partial(self.disk.open_session, session, opened)):
            return False
        effects = operator.boundary(session, self.now)
        early = [frame.encoded for frame in operator.take_early(session)]
        self.carry_out([*effects, *self._received(operator, early)])
        return self.operator is operator

    def _forget(self, operator: Operator, newest: Session) -> None:
        for session in operator.forget():
            self.disk.shred_session(session.id)
        interval = newest.parameters.interval_blocks
        self.disk.forget_sessions(newest.boundary.number - KEPT_BOUNDARIES * interval)

    def take(self, frames: Sequence[bytes]) -> None:
        """Frames arrive, as bytes."""
        if self.operator is not None:
            self.carry_out(self._received(self.operator, frames))

    def _received(self, operator: Operator, frames: Sequence[bytes]) -> list[SessionEffect]:
        good = []
        for data in frames:
            try:
                frame = self.world.wire.read(data)
                if not operator.wants(frame) or self._is_its_own_lie(frame):
                    continue
            except RemoteProtocolError:
                self.world.refused += 1
                continue
            if self.world.is_signed(frame):
                good.append(frame)
            else:
                self.world.refused += 1
        return operator.receive(good, self.now) if good else []

    def _is_its_own_lie(self, frame: Frame) -> bool:
        """The honest machine inside a Byzantine operator would fall silent if it heard what became of its words."""
        return self.tamper is not None and frame.sender == self.address

    def tick(self) -> None:
        self.next_tick = None
        operator = self.operator
        if operator is None:
            return
        self.carry_out(operator.tick(self.now))
        if self.operator is operator:
            self.world.laws.waits(self, operator.deadline(self.now))

    # -- pulling -----------------------------------------------------------------------------------------------

    def pull(self) -> None:
        """Ask one other operator for what gossip lost, and dealers for the shares that lack."""
        operator = self.operator
        others = [a for a in self.world.nodes if a != self.address]
        if operator is None or not others:
            return
        live = operator.live
        wanted = sorted({a for ceremony in live for a in ceremony.lacking} - {self.address})
        asked = dict.fromkeys([self.world.random.choice(others), *wanted[:MAX_ASKED]])
        for ceremony in live:
            request = ceremony.sync_request()
            for address in asked:
                self.world.ask(self, address, request)
        if not operator.has_source:
            self.world.ask_settled(self, self.world.nodes[self.world.random.choice(others)])

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
                kind=Kind.CERTIFICATE,
                cluster=request.cluster,
                sender=self.address,
                session=request.session,
                body=body,
            )
        ]

    # -- the settled version to deal from ------------------------------------------------------------------------

    def settled_answer(self) -> bytes | None:
        """What is answered to who asks for the highest settled version."""
        found = None if self.operator is None else self.disk.newest_settled
        answer = None
        if found is not None:
            answer = encode_settled(Epoch(found.transcript, found.certificate), found.proof)
        return answer if self.answers_settled is None else self.answers_settled(answer)

    def told_settled(self, answer: bytes) -> None:
        """Believe an answer that proves itself, if the chain has its block, and it is higher than what is known."""
        operator = self.operator
        if operator is None:
            return
        try:
            epoch, proof = decode_settled(answer)
            known = self.disk.newest_settled
            if known is not None and known.transcript.version >= epoch.transcript.version:
                return
            self.world.verify_epoch(epoch)
            check_settled(epoch, proof)
        except EigenKmsError:
            self.world.refused += 1
            return
        transcript, certificate = epoch.transcript, epoch.certificate
        self.world.trace(self, f"learns version {transcript.version}")
        if not self._commit(partial(self._settle, Settled(transcript, certificate, proof))):
            return
        self.carry_out(operator.learn(transcript, certificate, settled=True, now=self.now))
        self._join_late()

    def _ask_for_sources(self) -> None:
        """Whoever deals from a version that I do not know can prove that it is settled."""
        operator = self.operator
        if operator is None or self._asks or not operator.unknown_sources:
            return
        self._asks = True
        for sender in operator.unknown_sources:
            if sender in self.world.nodes:
                self.world.ask_settled(self, self.world.nodes[sender])
        self.world.at(self.world.parameters.window / 4, self._may_ask_again)

    def _may_ask_again(self) -> None:
        self._asks = False

    def _join_late(self) -> None:
        postponed, self.postponed = self.postponed, None
        if postponed is not None and self.operator is not None:
            self._at_boundary(self.operator, postponed)

    # -- effects -----------------------------------------------------------------------------------------------

    def carry_out(self, effects: Sequence[SessionEffect]) -> None:
        """Durable things first, then what is sent."""
        if not all(self._commit(transaction) for transaction in self._transactions(effects)):
            return
        self.world.laws.is_durable(self, effects)
        for item in effects:
            if isinstance(item.effect, Note) and item.session is not None:
                self.notes.append(item.effect)
                session, fields = item.session.id.hex()[:6], item.effect.fields
                self.world.trace(self, f"{item.effect.event} in {session} {fields}")
        if not all(self._send(item) for item in effects):
            return
        self.world.schedule_tick(self)
        self._ask_for_sources()
        if any(isinstance(item.effect, Closed) for item in effects):
            self._join_late()

    def _transactions(self, effects: Sequence[SessionEffect]) -> list[Transaction]:
        """What the engine commits for one step, in its order."""
        journals: dict[SessionId, list[JournalRecord]] = {}
        closed: dict[SessionId, Closed] = {}
        for item in effects:
            if item.session is None:
                continue
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
                    if item.session is not None and self._is_all_dealt(item.session, certified):
                        transactions.append(partial(self.disk.shred_session, item.session.id))
                case Settled() as settled:
                    transactions.append(partial(self._settle, settled))
                case Erase(transcript_hash):
                    transactions.append(partial(self._erase, transcript_hash))
                case Shred(session):
                    transactions.append(partial(self._shred, session))
                case Accuse(evidence):
                    transactions.append(partial(self._accuse, evidence))
        return transactions

    @staticmethod
    def _is_all_dealt(session: Session, certified: Certified) -> bool:
        """All n of a genesis hold their shares, so nobody needs mine any more."""
        at_genesis = certified.transcript.source_version == GENESIS_SOURCE
        return at_genesis and session.genesis_quorum == session.n and certified.share is not None

    def _append(self, session: SessionId, records: Sequence[JournalRecord], closed: Closed | None) -> None:
        self.disk.append(session, records, None if closed is None else closed.certificate)
        if closed is not None:
            self.world.laws.closes(self, closed)

    def _certify(self, effect: Certified) -> None:
        self.disk.add_version(effect.transcript, effect.certificate, effect.share)
        self.world.laws.certifies(self, effect)

    def _settle(self, effect: Settled) -> None:
        self.disk.settle(effect.transcript, effect.certificate, effect.proof)
        self.world.trace(
            self, f"settles version {effect.transcript.version} {effect.transcript.hash.hex()[:8]}"
        )
        self.world.laws.settles(self, effect)

    def _erase(self, transcript_hash: bytes) -> None:
        self.world.laws.erases(self, transcript_hash)
        self.disk.erase(transcript_hash)
        self.world.trace(self, f"erases {transcript_hash.hex()[:8]}")
        self.world.laws.keeps_a_version()

    def _shred(self, session: SessionId) -> None:
        self.disk.shred_session(session)
        self.world.trace(self, f"shreds {session.hex()[:6]}")
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
            if what.kind is Kind.PROPOSAL:
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
        self.disk = self.disk_type() if self.backup is None else self.backup.copy()
        self.disk.floor, self.disk.consent = newest, False
        self.has_lost_disk = True
        self.world.trace(self, "loses its disk")
