"""A small world for the real machines: virtual clock, virtual network, journals that survive crashes; one seed, one story.

Every operator is the real ``Operator`` machine; frames are the real encoded bytes, decoded and verified on arrival. Only the
clock, the network and the disk are made here. Whatever an operator does is held against the laws (laws.py) when it does it.
"""

import hashlib
import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TypeAlias

from eigenkms.crypto import bn254
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.errors import RemoteProtocolError
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
from eigenkms.protocols.evidence import Evidence, Fault
from eigenkms.protocols.frames import Frame, decode_frame, verify_frame
from eigenkms.protocols.operator import Operator, SessionEffect
from eigenkms.protocols.requests import Epoch, check_epoch
from eigenkms.protocols.session import Parameters, Session, cluster_id
from eigenkms.protocols.settlement import SettlementProof
from eigenkms.protocols.transcript import Transcript
from eigenkms.protocols.votes import Certificate
from eigenkms.types import BlockRef, Cluster, Member, OperatorAddress, OperatorSet, SessionId
from tests.sim.laws import Laws

CLUSTER = cluster_id(Cluster(31337, bytes(range(20)), 0))
Rng: TypeAlias = Callable[[int], bytes]
Tamper: TypeAlias = Callable[[Frame, OperatorAddress | None], Sequence[tuple[OperatorAddress | None, Frame]]]


@dataclass
class Faults:
    """What the network does to one message; probabilities, and seconds."""

    loss: float = 0.0
    duplicate: float = 0.0
    min_delay: float = 0.001
    max_delay: float = 0.05
    sync_seconds: float = 0.3


@dataclass
class Disk:
    """What survives a crash."""

    sessions: dict[SessionId, tuple[Session, float]] = field(default_factory=dict)
    journal: dict[SessionId, list[JournalRecord]] = field(default_factory=dict)
    versions: list[tuple[Transcript, Certificate, SecretScalar | None]] = field(default_factory=list)
    settled: dict[bytes, SettlementProof | None] = field(default_factory=dict)
    """Settlement proofs by transcript hash; none for a genesis."""
    erased: set[bytes] = field(default_factory=set)
    """Transcript hashes of versions whose share is gone."""
    closed: list[Certificate] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)


class Node:
    """One operator: a machine while it is up, a disk always."""

    def __init__(self, world: "World", key: bn254.KeyPair, address: OperatorAddress) -> None:
        self.world, self.key, self.address = world, key, address
        self.disk = Disk()
        self.operator: Operator | None = None
        self.persisted = 0
        self.next_tick: float | None = None
        self.crash_after: int | None = None
        """Crash once so many records are durable, before anything of that step is sent."""
        self.crash_after_sending: int | None = None
        """Crash in the midst of sending: after so many frames of a step, the rest of which is never sent."""
        self.postponed: Session | None = None
        """The newest boundary's session, not joined because an older one binds me: joined once that is closed without a key."""
        self.asked_for: dict[OperatorAddress, int] = {}
        """Sources that somebody deals from, and that I asked about."""
        self.notes: list[Note] = []
        self.tamper: Tamper | None = None
        """A Byzantine operator rewrites what it sends: (recipient or None for all, frame)."""
        self.up()

    def up(self) -> None:
        """Start, or start again from the disk."""
        self.operator = operator = Operator(self.address, self.key, self.world.rng)
        for transcript, _, share in self.disk.versions:
            operator.know(transcript, share, settled=transcript.hash in self.disk.settled)
        now = self.world.now
        for session_id, (session, opened_at) in sorted(
            self.disk.sessions.items(), key=lambda item: item[1][0].boundary.number
        ):
            if self.operator is operator:
                records = self.disk.journal.get(session_id, [])
                self.carry_out(operator.restore(session, records, opened_at, now))
        if self.operator is operator:
            self.carry_out(operator.tick(now))

    def boundary(self, session: Session) -> None:
        """The chain showed a boundary."""
        operator = self.operator
        if operator is None:
            return
        if not operator.may_join(session):
            waits = operator.binding is not None or not operator.has_source
            self.postponed = session if waits else None
            self.carry_out(operator.pass_boundary(session, self.world.now))
            return
        self.postponed = None
        self.world.joins(self, session)
        self.disk.sessions[session.id] = (session, self.world.now)
        self.carry_out(operator.boundary(session, self.world.now))
        if self.operator is operator:
            self.take([f.encoded for f in operator.take_early(session)])

    def take(self, frames: Sequence[bytes]) -> None:
        """Frames arrive, as bytes."""
        if self.operator is None:
            return
        good = []
        for data in frames:
            try:
                frame = decode_frame(data)
                if not self.operator.wants(frame):
                    continue
                verify_frame(frame, self.world.keys.get(frame.sender, bytes(128)))
            except RemoteProtocolError:
                self.world.refused += 1
                continue
            good.append(frame)
        self.carry_out(self.operator.receive(good, self.world.now))
        self.ask_for_sources()

    def ask_for_sources(self) -> None:
        """Who deals from a version that I do not know can prove that it is settled."""
        unknown = {} if self.operator is None else self.operator.unknown_sources
        for sender, source in unknown.items():
            if sender in self.world.nodes and self.asked_for.get(sender) != source:
                self.asked_for[sender] = source
                self.world.ask_settled(self, self.world.nodes[sender])

    @property
    def newest_settled(self) -> tuple[Transcript, Certificate, SettlementProof | None] | None:
        """What is answered to whoever asks."""
        settled = [(t, c) for t, c, _ in self.disk.versions if t.hash in self.disk.settled]
        if not settled:
            return None
        transcript, certificate = max(settled, key=lambda found: found[0].version)
        return transcript, certificate, self.disk.settled[transcript.hash]

    def learn(self, transcript: Transcript, certificate: Certificate, proof: SettlementProof | None) -> None:
        """A settled version that somebody else proved."""
        if self.operator is None:
            return
        check_epoch(Epoch(transcript, certificate), CLUSTER)
        if proof is not None:
            proof.verify(transcript)
        elif transcript.source_version:
            return
        self.disk.versions.append((transcript, certificate, None))
        self.disk.settled[transcript.hash] = proof
        self.carry_out(self.operator.learn(transcript, certificate, settled=True, now=self.world.now))
        postponed, self.postponed = self.postponed, None
        if postponed is not None:
            self.boundary(postponed)

    def tick(self) -> None:
        if self.operator is not None:
            self.carry_out(self.operator.tick(self.world.now))

    def pull(self) -> None:
        """Ask one other operator for what gossip lost."""
        if self.operator is None:
            return
        others = [a for a in self.world.nodes if a != self.address]
        for ceremony in self.operator.live:
            if others:
                request = ceremony.sync_request()
                self.world.send(self.address, self.world.random.choice(others), request, reply=True)

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
            return frames
        served = []
        for frame in frames:
            if frame.sender != self.address:
                served.append(frame)
                continue
            recipient = frame.recipient or request.sender
            served += [f for to, f in self.tamper(frame, recipient) if to in (None, request.sender)]
        return served

    def carry_out(self, effects: Sequence[SessionEffect]) -> None:
        """Durable things first, then what is sent."""
        for item in effects:
            session, effect = item.session, item.effect
            if isinstance(effect, Erase):
                self.erase(effect.transcript_hash)
                continue
            if session is None:
                continue
            if isinstance(effect, Persist):
                self.disk.journal.setdefault(session.id, []).append(effect.record)
                self.persisted += 1
                if self.crash_after is not None and self.persisted >= self.crash_after:
                    self.crash()
                    return
            elif isinstance(effect, Certified):
                self.disk.versions.append((effect.transcript, effect.certificate, effect.share))
                if not effect.transcript.source_version:
                    self.disk.settled[effect.transcript.hash] = None
                self.world.certifies(self, effect)
            elif isinstance(effect, Settled):
                self.disk.settled[effect.transcript.hash] = effect.proof
                self.world.trace(f"settled {effect.transcript.hash.hex()[:8]}", self.address)
            elif isinstance(effect, Shred):
                records = self.disk.journal.get(effect.session, [])
                self.disk.journal[effect.session] = [r for r in records if not r.secret]
                self.disk.sessions.pop(effect.session, None)
            elif isinstance(effect, Closed):
                self.disk.closed.append(effect.certificate)
                self.world.closes(self, effect)
            elif isinstance(effect, Accuse):
                self.disk.evidence.append(effect.evidence)
                self.world.accuses(self, effect.evidence)
            elif isinstance(effect, Note):
                self.notes.append(effect)
                self.world.trace(f"note {session.id.hex()[:6]} {effect.event} {effect.fields}", self.address)
        for item in effects:
            if isinstance(item.effect, Broadcast):
                self.say(None, item.effect.frame)
            elif isinstance(item.effect, Direct):
                self.say(item.effect.recipient, item.effect.frame)
            else:
                continue
            if self.crash_after_sending is not None:
                self.crash_after_sending -= 1
                if self.crash_after_sending <= 0:
                    self.crash()
                    return
        self.world.schedule_tick(self)
        postponed = self.postponed
        if postponed is not None and any(isinstance(item.effect, Closed) for item in effects):
            self.postponed = None
            self.boundary(postponed)

    def erase(self, transcript_hash: bytes) -> None:
        """The share of a version is gone for good."""
        self.disk.versions = [
            (t, c, None if t.hash == transcript_hash else share) for t, c, share in self.disk.versions
        ]
        self.disk.erased.add(transcript_hash)
        self.world.trace(f"erased {transcript_hash.hex()[:8]}", self.address)

    def say(self, recipient: OperatorAddress | None, frame: Frame) -> None:
        outgoing = [(recipient, frame)] if self.tamper is None else self.tamper(frame, recipient)
        for to, what in outgoing:
            targets = [to] if to is not None else [a for a in self.world.nodes if a != self.address]
            for target in targets:
                self.world.send(self.address, target, what)

    def crash(self) -> None:
        self.operator = None
        self.postponed = None
        self.crash_after = self.crash_after_sending = None
        self.world.trace("crash", self.address)


class World:
    """n operators, one seed."""

    def __init__(
        self, n: int, seed: int, *, faults: Faults | None = None, quorum: int = 0, window_ms: int = 1000
    ) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.rng: Rng = self.random.randbytes
        self.now = 0.0
        self.faults = faults or Faults()
        self.parameters = Parameters(10, "latest", window_ms, genesis_quorum=quorum)
        self.refused = 0
        self.events = 0
        self.partition: Callable[[OperatorAddress, OperatorAddress], bool] = lambda _a, _b: False
        self.holds_back: Callable[[Frame, OperatorAddress], bool] = lambda _frame, _to: False
        """Frames that never reach somebody, from whoever they come."""
        self.listener: Callable[[str], None] | None = None
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._hash = hashlib.sha256()
        self._block = 0
        self._fork = 0
        pairs = sorted((OperatorAddress(self.rng(20)), bn254.KeyPair.generate(self.rng)) for _ in range(n))
        self.keys = {a: k.g2 for a, k in pairs}
        self.laws = Laws(self)
        self.nodes: dict[OperatorAddress, Node] = {}
        for address, key in pairs:
            self.nodes[address] = Node(self, key, address)
        self.sessions: list[Session] = []
        for node in self.nodes.values():
            self.at(self.random.uniform(0, self.faults.sync_seconds), lambda node=node: self._pull(node))

    # -- time --------------------------------------------------------------------------------------------------

    def at(self, delay: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + delay, next(self._order), action))

    def _pull(self, node: Node) -> None:
        node.pull()
        self.at(self.faults.sync_seconds * self.random.uniform(0.8, 1.2), lambda: self._pull(node))

    def schedule_tick(self, node: Node) -> None:
        deadline = None if node.operator is None else node.operator.deadline(self.now)
        if deadline is None or deadline == node.next_tick:
            return
        node.next_tick = deadline
        self.at(max(0.0, deadline - self.now) + 1e-6, node.tick)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass; stop early once ``until`` holds. Returns whether it holds."""
        end = self.now + seconds
        while self._queue and self._queue[0][0] <= end:
            if until():
                return True
            self.now, _, action = heapq.heappop(self._queue)
            self.events += 1
            action()
        self.now = end
        return until()

    # -- network -----------------------------------------------------------------------------------------------

    def send(
        self, sender: OperatorAddress, to: OperatorAddress, frame: Frame, *, reply: bool = False
    ) -> None:
        self.laws.speaks(self.nodes[sender], frame)
        self.trace(f"send {frame.kind.name} {frame.key.hex()}", to)
        copies = 1 + (self.random.random() < self.faults.duplicate)
        for _ in range(copies):
            if self.random.random() < self.faults.loss or self.partition(sender, to):
                continue
            delay = self.random.uniform(self.faults.min_delay, self.faults.max_delay)
            if reply:
                self.at(delay, lambda: self._answer(sender, to, frame))
            else:
                self._deliver(delay, to, [frame])

    def _answer(self, asker: OperatorAddress, asked: OperatorAddress, request: Frame) -> None:
        frames = self.nodes[asked].asked(request)
        if frames and self.random.random() >= self.faults.loss and not self.partition(asker, asked):
            delay = self.random.uniform(self.faults.min_delay, self.faults.max_delay)
            self._deliver(delay, asker, frames)

    def ask_settled(self, asker: Node, asked: Node) -> None:
        """What the node asks outside the machines: whoever deals from a higher version to prove that it is settled."""

        def answer() -> None:
            asker.asked_for.pop(asked.address, None)
            found = None if asked.operator is None else asked.newest_settled
            if found is not None and not self.partition(asker.address, asked.address):
                asker.learn(*found)

        self.at(2 * self.random.uniform(self.faults.min_delay, self.faults.max_delay), answer)

    def _deliver(self, delay: float, to: OperatorAddress, frames: Sequence[Frame]) -> None:
        arriving = [f.encoded for f in frames if not self.holds_back(f, to)]
        if arriving:
            self.at(delay, lambda: self.nodes[to].take(arriving))

    # -- the chain ---------------------------------------------------------------------------------------------

    def next_boundary(
        self,
        *,
        only: Sequence[OperatorAddress] | None = None,
        spread: float = 0.2,
        members: Sequence[OperatorAddress] | None = None,
    ) -> Session:
        """A boundary; every node that is up sees it a little later than another."""
        self._block += 10
        return self._show(only, spread, members)

    def reorg_boundary(
        self, *, only: Sequence[OperatorAddress] | None = None, spread: float = 0.2
    ) -> Session:
        """The newest boundary becomes another block with the same number."""
        self._fork += 1
        return self._show(only, spread, None)

    def _show(
        self,
        only: Sequence[OperatorAddress] | None,
        spread: float,
        members: Sequence[OperatorAddress] | None,
    ) -> Session:
        digest = hashlib.sha256(b"block%d/%d" % (self._block, self._fork)).digest()
        block = BlockRef(self._block, digest, 1_700_000_000 + self._block)
        chosen = OperatorSet(tuple(Member(a, self.keys[a]) for a in sorted(members or self.keys)))
        session = Session(CLUSTER, block, chosen, self.parameters)
        self.sessions.append(session)
        for address in only if only is not None else self.nodes:
            self.at(self.random.uniform(0, spread), lambda a=address: self.nodes[a].boundary(session))
        return session

    def restart(self, node: Node) -> None:
        """Up again from its disk; sees the newest boundary if it has not yet."""
        node.up()
        if self.sessions:
            node.boundary(self.sessions[-1])

    # -- what must always hold -----------------------------------------------------------------------------------

    def joins(self, node: Node, session: Session) -> None:
        self.laws.joins(node, session)

    def certifies(self, node: Node, effect: Certified) -> None:
        self.laws.certifies(node, effect)

    def closes(self, node: Node, effect: Closed) -> None:
        self.laws.closes(node, effect)

    def accuses(self, node: Node, evidence: Evidence) -> None:
        self.laws.accuses(node, evidence)

    def correct(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.tamper is None]

    def session(self, session_id: SessionId) -> Session:
        """Raises ``KeyError`` for a session that no boundary opened."""
        return {s.id: s for s in self.sessions}[session_id]

    def evidence(self) -> list[Evidence]:
        """All evidence that correct nodes keep; each item was checked against the laws when it was found."""
        return [evidence for node in self.correct() for evidence in node.disk.evidence]

    def accused(self) -> dict[OperatorAddress, set[Fault]]:
        """Who is accused of what."""
        found: dict[OperatorAddress, set[Fault]] = {}
        for evidence in self.evidence():
            found.setdefault(evidence.accused, set()).add(evidence.fault)
        return found

    def certified(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.disk.versions]

    def all_certified(self) -> bool:
        return all(node.disk.versions for node in self.correct())

    def all_hold_shares(self) -> bool:
        return all(any(s is not None for _, _, s in node.disk.versions) for node in self.correct())

    # -- the story -----------------------------------------------------------------------------------------------

    def trace(self, what: str, who: OperatorAddress) -> None:
        line = f"{self.now:.6f} {what} {who.hex()}"
        self._hash.update(line.encode())
        if self.listener is not None:
            self.listener(line)

    @property
    def trace_hash(self) -> str:
        return self._hash.hexdigest()

    def story(self, complaint: str) -> str:
        return (
            f"seed {self.seed}, n={len(self.nodes)}, t={self.now:.3f}: {complaint}; "
            f"replay a random story with: python -m tests.sim.replay {self.seed}"
        )
