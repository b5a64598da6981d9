"""A small world for the real machines: virtual clocks, a virtual network and chain, disks that survive crashes.

Every operator is the real ``Operator`` machine; frames are the real encoded bytes, decoded and verified on arrival. Only the
clocks (clock.py), the network, the chain's boundaries and the disks (node.py) are made here. Whatever an operator does is held
against the laws (laws.py) when it does it. All that happens is written into a trace, the hash of which names the story.
"""

import hashlib
import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import ClassVar, TypeAlias

from eigenkms.crypto import bn254
from eigenkms.errors import VerificationError
from eigenkms.protocols.evidence import Evidence, Fault
from eigenkms.protocols.frames import Frame, Kind
from eigenkms.protocols.requests import Epoch, check_epoch
from eigenkms.protocols.session import Parameters, Session, cluster_id
from eigenkms.types import BlockRef, Cluster, Member, OperatorAddress, OperatorSet, SessionId
from tests.sim.clock import Skew
from tests.sim.disk import Disk, StoredVersion
from tests.sim.laws import Laws
from tests.sim.node import Node
from tests.sim.wire import Wire

__all__ = ["CLUSTER", "Disk", "Faults", "Node", "World"]

CLUSTER = cluster_id(Cluster(31337, bytes(range(20)), 0))
NO_KEY = bytes(128)
BEGINNING = 1_700_000_000
"""Unix time of block 0; a block lasts a second."""
Rng: TypeAlias = Callable[[int], bytes]


@dataclass
class Faults:
    """What the network does to one message, and how wrong clocks are; probabilities, and seconds."""

    loss: float = 0.0
    duplicate: float = 0.0
    min_delay: float = 0.001
    max_delay: float = 0.05
    sync_seconds: float = 0.3
    skew: Skew = field(default_factory=Skew)


class World:
    """n operators, one seed. Times in seconds from the world's beginning."""

    node_type: ClassVar[type[Node]] = Node
    laws_type: ClassVar[type[Laws]] = Laws

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
        self.wire = Wire()
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._hash = hashlib.sha256()
        self._block = 0
        self._fork = 0
        pairs = sorted((OperatorAddress(self.rng(20)), bn254.KeyPair.generate(self.rng)) for _ in range(n))
        self.keys = {a: k.g2 for a, k in pairs}
        self.laws = self.laws_type(self)
        self.nodes: dict[OperatorAddress, Node] = {}
        self.sessions: list[Session] = []
        """All that any block opened, the one of the newest canonical boundary last."""
        self._by_id: dict[SessionId, Session] = {}
        self._canonical: dict[int, Session] = {}
        for i, (address, key) in enumerate(pairs):
            self.nodes[address] = self.node_type(self, key, address, f"op{i}")
        for node in self.nodes.values():
            self.at(self.random.uniform(0, self.faults.sync_seconds), lambda node=node: self._pull(node))

    # -- time --------------------------------------------------------------------------------------------------

    def at(self, delay: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + delay, next(self._order), action))

    def _pull(self, node: Node) -> None:
        node.pull()
        self.at(self.faults.sync_seconds * self.random.uniform(0.8, 1.2), lambda: self._pull(node))

    def schedule_tick(self, node: Node) -> None:
        """Wake ``node`` when its machine wants to be."""
        deadline = None if node.operator is None else node.operator.deadline(node.now)
        if deadline is None or deadline == node.next_tick:
            return
        node.next_tick = deadline
        self.at(max(0.0, node.clock.true(deadline) - self.now) + 1e-6, node.tick)

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

    def is_signed(self, frame: Frame) -> bool:
        """By the key that its sender has on chain."""
        return self.wire.is_signed(frame, self.keys.get(frame.sender, NO_KEY))

    def send(self, sender: OperatorAddress, to: OperatorAddress, frame: Frame) -> None:
        """One frame on its way, if it gets there."""
        for _ in range(self._copies(self.nodes[sender], self.nodes[to], frame)):
            self._deliver(to, [frame])

    def ask(self, asker: Node, asked: OperatorAddress, request: Frame) -> None:
        """A pull: the request goes one way, the frames that answer it come back."""
        for _ in range(self._copies(asker, self.nodes[asked], request)):
            self.at(self._delay(), lambda: self._answer(asker.address, asked, request))

    def _copies(self, sender: Node, to: Node, frame: Frame) -> int:
        """How many copies of a message arrive."""
        self.trace(sender, f"-> {to.name} {self.wire.name(frame)}")
        sent = 1 + (self.random.random() < self.faults.duplicate)
        cut = self.partition(sender.address, to.address)
        return sum(self.random.random() >= self.faults.loss and not cut for _ in range(sent))

    def _delay(self) -> float:
        return self.random.uniform(self.faults.min_delay, self.faults.max_delay)

    def _answer(self, asker: OperatorAddress, asked: OperatorAddress, request: Frame) -> None:
        frames = self.nodes[asked].asked(request)
        if frames and self._arrives(self.nodes[asked], self.nodes[asker]):
            names = ", ".join(self.wire.name(frame) for frame in frames)
            self.trace(self.nodes[asked], f"=> {self.name(asker)} {names}")
            self._deliver(asker, frames)

    def _deliver(self, to: OperatorAddress, frames: Sequence[Frame]) -> None:
        for frame in frames:
            if frame.kind is Kind.PROPOSAL:
                self.laws.proposes(frame)
        arriving = [f.encoded for f in frames if not self.holds_back(f, to)]
        if arriving:
            self.at(self._delay(), lambda: self.nodes[to].take(arriving))

    def ask_settled(self, asker: Node, asked: Node) -> None:
        """A call that asks for the settled version to deal from; its answer, if one comes, within two delays."""
        if asker is asked or not self._arrives(asker, asked):
            return
        self.at(self._delay(), lambda: self._answer_settled(asker, asked))

    def _answer_settled(self, asker: Node, asked: Node) -> None:
        answer = asked.settled_answer()
        if answer is not None and self._arrives(asked, asker):
            self.at(self._delay(), lambda: asker.told_settled(answer))

    def _arrives(self, sender: Node, to: Node) -> bool:
        lost = self.random.random() < self.faults.loss
        return not lost and not self.partition(sender.address, to.address)

    # -- the chain ---------------------------------------------------------------------------------------------

    def next_boundary(
        self,
        *,
        only: Sequence[OperatorAddress] | None = None,
        spread: float = 0.2,
        members: Sequence[OperatorAddress] | None = None,
    ) -> Session:
        """A boundary; every node that is up sees it a little later than another, and later still if its chain lags."""
        self._block += self.parameters.interval_blocks
        return self._show(only, spread, members)

    def reorg_boundary(
        self,
        *,
        only: Sequence[OperatorAddress] | None = None,
        spread: float = 0.2,
        members: Sequence[OperatorAddress] | None = None,
    ) -> Session:
        """The newest boundary becomes another block with the same number. Who has seen neither may see either first."""
        self._fork += 1
        return self._show(only, spread, members)

    def _show(
        self,
        only: Sequence[OperatorAddress] | None,
        spread: float,
        members: Sequence[OperatorAddress] | None,
    ) -> Session:
        digest = hashlib.sha256(b"block%d/%d" % (self._block, self._fork)).digest()
        block = BlockRef(self._block, digest, BEGINNING + self._block)
        chosen = OperatorSet(tuple(Member(a, self.keys[a]) for a in sorted(members or self.keys)))
        session = Session(CLUSTER, block, chosen, self.parameters)
        self.sessions.append(session)
        self._by_id[session.id] = session
        self._canonical[session.boundary.number] = session
        for address in only if only is not None else self.nodes:
            node = self.nodes[address]
            if node.sees_chain:
                self.at(self.random.uniform(0, spread) + node.chain_lag, lambda n=node: n.boundary(session))
        return session

    def ever_left(self, number: int) -> bool:
        """Whether anybody who was a member at some boundary was none at a later one, up to this number."""
        seen: set[OperatorAddress] = set()
        for session in (s for n, s in sorted(self._canonical.items()) if n <= number):
            members = set(session.recipients.addresses)
            if seen - members:
                return True
            seen |= members
        return False

    def verify_epoch(self, epoch: Epoch) -> None:
        """What a node checks with the chain: the certificate, and that the block is canonical and had this set."""
        check_epoch(epoch, CLUSTER)
        session = self._canonical.get(epoch.transcript.boundary.number)
        if session is None or (session.boundary, session.recipients) != (
            epoch.transcript.boundary,
            epoch.transcript.recipients,
        ):
            raise VerificationError("verify epoch certificate: its block is not on this chain")

    def restart(self, node: Node) -> None:
        """Up again from its disk; sees the newest boundary if it has not yet."""
        node.up()
        if self.sessions and node.sees_chain:
            node.boundary(self.sessions[-1])

    # -- what everybody did --------------------------------------------------------------------------------------

    def name(self, address: OperatorAddress) -> str:
        return self.nodes[address].name if address in self.nodes else "0x" + address.hex()[:8]

    def correct(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.tamper is None]

    def session(self, session_id: SessionId) -> Session:
        """Raises ``KeyError`` for a session that no boundary opened."""
        return self._by_id[session_id]

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
        """Everybody correct has a share of some version."""
        return all(any(v.share is not None for v in node.disk.held) for node in self.correct())

    def members(self, session: Session) -> list[Node]:
        """The correct ones."""
        return [self.nodes[a] for a in session.recipients.addresses if self.nodes[a].tamper is None]

    def is_certified(self, session: Session) -> bool:
        """Whether all correct members know the version that the session made."""
        return all(self.version_of(node, session) is not None for node in self.members(session))

    def is_shared(self, session: Session) -> bool:
        """Whether all correct members hold their shares of it."""
        found = (self.version_of(node, session) for node in self.members(session))
        return all(version is not None and version.share is not None for version in found)

    def is_settled(self, session: Session) -> bool:
        """Whether all correct members know that it is settled."""
        found = (self.version_of(node, session) for node in self.members(session))
        return all(version is not None and version.settled for version in found)

    @property
    def is_orphaned(self) -> bool:
        """Whether some settled version was made at a block that is not on the chain any more."""
        settled = (v.transcript for n in self.nodes.values() for v in n.disk.held if v.settled)
        return any(self._canonical[t.boundary.number].boundary != t.boundary for t in settled)

    def version_of(self, node: Node, session: Session) -> StoredVersion | None:
        """The version that ``session`` made, as ``node`` has it."""
        return next((v for v in node.disk.versions.values() if v.transcript.session == session.id), None)

    # -- the trace ---------------------------------------------------------------------------------------------

    def trace(self, who: Node, what: str) -> None:
        line = f"{self.now:.6f} {who.name} {what}"
        self._hash.update(line.encode())
        if self.listener is not None:
            self.listener(line)

    @property
    def trace_hash(self) -> str:
        """The same for the same seed, on every machine."""
        return self._hash.hexdigest()

    def story(self, complaint: str) -> str:
        return f"seed {self.seed}, n={len(self.nodes)}, t={self.now:.3f}: {complaint}"
