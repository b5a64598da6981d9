"""A small world for the real machines: virtual clocks, a virtual network and chain, disks that survive crashes; one seed, one story.

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
from typing import TypeAlias

from eigenkms.crypto import bn254
from eigenkms.protocols.evidence import Evidence, Fault
from eigenkms.protocols.frames import Frame
from eigenkms.protocols.session import Parameters, Session, cluster_id
from eigenkms.types import BlockRef, Cluster, Member, OperatorAddress, OperatorSet, SessionId
from tests.sim.clock import Skew
from tests.sim.laws import Laws
from tests.sim.node import Disk, Node
from tests.sim.wire import Wire

__all__ = ["CLUSTER", "Disk", "Faults", "Node", "World"]

CLUSTER = cluster_id(Cluster(31337, bytes(range(20)), 0))
NO_KEY = bytes(128)
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
        self.laws = Laws(self)
        self.nodes: dict[OperatorAddress, Node] = {}
        self.sessions: list[Session] = []
        """All that any block opened, the one of the newest canonical boundary last."""
        self._by_id: dict[SessionId, Session] = {}
        for i, (address, key) in enumerate(pairs):
            self.nodes[address] = Node(self, key, address, f"op{i}")
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
        if frames and self.random.random() >= self.faults.loss and not self.partition(asked, asker):
            names = ", ".join(self.wire.name(frame) for frame in frames)
            self.trace(self.nodes[asked], f"=> {self.name(asker)} {names}")
            self._deliver(asker, frames)

    def _deliver(self, to: OperatorAddress, frames: Sequence[Frame]) -> None:
        arriving = [f.encoded for f in frames if not self.holds_back(f, to)]
        if arriving:
            self.at(self._delay(), lambda: self.nodes[to].take(arriving))

    # -- the chain ---------------------------------------------------------------------------------------------

    def next_boundary(
        self,
        *,
        only: Sequence[OperatorAddress] | None = None,
        spread: float = 0.2,
        members: Sequence[OperatorAddress] | None = None,
    ) -> Session:
        """A boundary; every node that is up sees it a little later than another, and later still if its chain lags."""
        self._block += 10
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
        block = BlockRef(self._block, digest, 1_700_000_000 + self._block)
        chosen = OperatorSet(tuple(Member(a, self.keys[a]) for a in sorted(members or self.keys)))
        session = Session(CLUSTER, block, chosen, self.parameters)
        self.sessions.append(session)
        self._by_id[session.id] = session
        for address in only if only is not None else self.nodes:
            node = self.nodes[address]
            if node.sees_chain:
                self.at(self.random.uniform(0, spread) + node.chain_lag, lambda n=node: n.boundary(session))
        return session

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
        return all(any(s is not None for _, _, s in node.disk.versions) for node in self.correct())

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
