"""A small world for the real machines: virtual clocks, network, chain and processors, and disks that survive crashes.

Every operator is the real ``Participant`` machine; frames are the real encoded bytes, decoded and verified on arrival. Only the
clocks (clock.py), the network, the chain's boundaries, the processors and the disks (node.py) are made here. Jobs take virtual time
and are computed when that time is over; what depends on nothing but public bytes, whether dealings are valid, is computed once for
all operators. Whatever an operator does is held against the laws (laws.py) when it does it. All that happens is written into a
trace, the hash of which names the story.
"""

import hashlib
import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from typing import Any, TypeAlias, cast

from eigenkms.crypto import bn254, pvss
from eigenkms.crypto.backends import bls12381
from eigenkms.crypto.scalars import R
from eigenkms.errors import VerificationError
from eigenkms.protocols.ceremony.jobs import CheckJob, CheckResult, Job, Result, UncheckedDealing, run_job
from eigenkms.protocols.ceremony.participant import Participant
from eigenkms.protocols.records.evidence import Evidence, Fault
from eigenkms.types import BlockRef, Cluster, Member, OperatorAddress, OperatorSet, SessionId
from eigenkms.wire.certified_transcript import CertifiedTranscript
from eigenkms.wire.frames import Frame, FrameKind
from eigenkms.wire.messages import GENESIS_SOURCE
from eigenkms.wire.session import Parameters, Session, cluster_id
from eigenkms.wire.transcript import check_self_consistent
from eigenkms.wire.votes import BadCertificateError, Phase
from tests.sim.clock import Skew
from tests.sim.disk import StoredVersion
from tests.sim.laws import Laws
from tests.sim.node import Node
from tests.sim.wire import Wire
from tests.support.toy_backend import TOY

__all__ = ["CLUSTER", "Faults", "Node", "World"]

CLUSTER = cluster_id(Cluster(31337, bytes(range(20)), 0))
NO_KEY = bytes(128)
BEGINNING = 1_700_000_000
"""Unix time of block 0; a block lasts a second."""
GRACE = 0.2
"""Seconds; some round trips of a network in peace."""
Rng: TypeAlias = Callable[[int], bytes]
Answer: TypeAlias = Callable[[], Callable[[], None] | None]
"""What is asked for: the delivery of the answer, or ``None`` if there is none."""


@dataclass
class Faults:
    """What the network does to one message, and how wrong clocks are; probabilities, and seconds."""

    loss: float = 0.0
    duplicate: float = 0.0
    min_delay: float = 0.001
    max_delay: float = 0.05
    sync_seconds: float = 0.3
    skew: Skew = field(default_factory=Skew)


class ToyLogarithms(pvss.LogarithmTable):
    """On the toy curves a point is its own logarithm."""

    def __init__(self) -> None:
        super().__init__(width=2)

    def find(self, point: Any, bound: int) -> int | None:
        value = point if 2 * point < R else point - R
        return value if abs(value) <= bound else None


@lru_cache(maxsize=2)
def logarithms(backend: str) -> pvss.LogarithmTable:
    """The table of the curve in use, which is named so."""
    return ToyLogarithms() if backend == TOY.bls12381.name else pvss.LogarithmTable()


class World:
    """n operators, one seed. Times in seconds from the world's beginning.

    A job takes between half of ``cpu`` and all of it.
    """

    def __init__(
        self,
        n: int,
        seed: int,
        *,
        faults: Faults | None = None,
        quorum: int = 0,
        window_ms: int = 1000,
        grace: float = GRACE,
        cpu: float = 0.02,
    ) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.rng: Rng = self.random.randbytes
        self.now = 0.0
        self.faults = faults or Faults()
        self.parameters = Parameters(10, "latest", window_ms, genesis_quorum=quorum)
        self.grace = grace
        self.cpu = cpu
        self.refused = 0
        self.events = 0
        self.partition: Callable[[OperatorAddress, OperatorAddress], bool] = lambda _a, _b: False
        self.holds_back: Callable[[Frame, OperatorAddress], bool] = lambda _frame, _to: False
        """Frames that never reach somebody, from whoever they come."""
        self.listener: Callable[[str], None] | None = None
        self.wire = Wire()
        self._checked: dict[tuple[bytes, object, int], bool] = {}
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
        self._canonical: dict[int, Session] = {}
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
        deadline = None if node.operator is None else node.operator.deadline()
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

    # -- processors --------------------------------------------------------------------------------------------

    def work(self, node: Node, life: Participant, job: Job) -> None:
        """Carry out a job beside the machine; its result comes if that life still goes on."""

        def done() -> None:
            if node.operator is life:
                node.take_result(life, node.works_on(job, self._result(job)))

        self.at(self.random.uniform(self.cpu / 2, self.cpu), done)

    def _result(self, job: Job) -> Result:
        table = logarithms(bls12381().name)
        if not isinstance(job, CheckJob):
            return run_job(job, self.rng, table)
        new = tuple(d for d in job.dealings if self._place(d) not in self._checked)
        found = cast("CheckResult", run_job(CheckJob(new), self.rng, table))
        for dealing in new:
            self._checked[self._place(dealing)] = dealing.name in found.valid
        valid = frozenset(d.name for d in job.dealings if self._checked[self._place(d)])
        return CheckResult(valid, frozenset(d.name for d in job.dealings) - valid)

    @staticmethod
    def _place(dealing: UncheckedDealing) -> tuple[bytes, object, int]:
        """All that the validity of a dealing depends on; its name stands for header and body."""
        return (dealing.name, (dealing.recipients, dealing.claim.constant), dealing.threshold)

    # -- network -----------------------------------------------------------------------------------------------

    def is_signed(self, frame: Frame) -> bool:
        """By the key that its sender has on chain."""
        return self.wire.is_signed(frame, self.keys.get(frame.sender, NO_KEY))

    def send(self, sender: OperatorAddress, to: OperatorAddress, frame: Frame) -> None:
        """One frame on its way, if it gets there."""
        self.laws.hears(frame)
        for _ in range(self._copies(self.nodes[sender], self.nodes[to], frame)):
            self._deliver(sender, to, [frame])

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

    def _arrives(self, sender: Node, to: Node) -> bool:
        lost = self.random.random() < self.faults.loss
        return not lost and not self.partition(sender.address, to.address)

    def _delay(self) -> float:
        return self.random.uniform(self.faults.min_delay, self.faults.max_delay)

    def _answer(self, asker: OperatorAddress, asked: OperatorAddress, request: Frame) -> None:
        frames = self.nodes[asked].asked(request)
        if frames and self._arrives(self.nodes[asked], self.nodes[asker]):
            names = ", ".join(self.wire.name(frame) for frame in frames)
            self.trace(self.nodes[asked], f"=> {self.name(asker)} {names}")
            self._deliver(asked, asker, frames)

    def _deliver(self, source: OperatorAddress, to: OperatorAddress, frames: Sequence[Frame]) -> None:
        for frame in frames:
            if frame.kind is FrameKind.PROPOSAL:
                self.laws.proposes(frame)
        arriving = [f.encoded for f in frames if not self.holds_back(f, to)]
        if arriving:
            self.at(self._delay(), lambda: self.nodes[to].take(arriving, source))

    def send_body(self, sender: Node, to: OperatorAddress, name: bytes, body: bytes) -> None:
        """The body of a dealing, pushed."""
        if self._arrives(sender, self.nodes[to]):
            self.at(self._delay(), lambda: self.nodes[to].take_body(name, body))

    def _call(self, asker: Node, asked: Node, answer: Answer) -> None:
        """A request goes one way; what it is answered with, if anything, comes back."""

        def arrives() -> None:
            deliver = answer()
            if deliver is not None and self._arrives(asked, asker):
                self.at(self._delay(), deliver)

        if asker is not asked and self._arrives(asker, asked):
            self.at(self._delay(), arrives)

    def ask_body(self, asker: Node, asked: Node, name: bytes) -> None:
        def answer() -> Callable[[], None] | None:
            body = asked.served_body(asker.address, name)
            return None if body is None else lambda: asker.take_body(name, body)

        self._call(asker, asked, answer)

    def ask_row(self, asker: Node, asked: Node, name: bytes) -> None:
        def answer() -> Callable[[], None] | None:
            row = asked.served_row(asker.address, name)
            return None if row is None else lambda: asker.take_row(name, row)

        self._call(asker, asked, answer)

    def ask_head(self, asker: Node, asked: Node) -> None:
        """A call that asks for the versions that somebody deals from, with their certificates."""

        def answer() -> Callable[[], None] | None:
            versions = asked.head_answer()
            return (lambda: asker.told_head(versions)) if versions else None

        self._call(asker, asked, answer)

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

    def verify_version(self, epoch: CertifiedTranscript) -> None:
        """What a node checks with the chain: the certificate of either phase, and that the block of this number had this set.

        A genesis that is merely prepared is no version: another one may be certified instead.
        """
        transcript, certificate = epoch.transcript, epoch.certificate
        if transcript.cluster != CLUSTER:
            raise VerificationError("verify version: it is of another cluster")
        check_self_consistent(transcript)
        if (certificate.session, certificate.hash) != (transcript.session, transcript.hash):
            raise BadCertificateError("verify version: its certificate is of another transcript")
        if certificate.phase is not Phase.COMMIT and transcript.source_version == GENESIS_SOURCE:
            raise BadCertificateError("verify version: a genesis without its epoch certificate")
        certificate.verify(transcript.recipients, transcript.threshold)
        session = self._canonical.get(transcript.boundary.number)
        if session is None or session.recipients != transcript.recipients:
            raise VerificationError("verify version: its operators are not those of the chain")

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

    def sound(self) -> list[Node]:
        """Those that are correct and never lost their disk."""
        return [node for node in self.correct() if not node.has_lost_disk]

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
        return [node for node in self.correct() if node.disk.certified is not None]

    def all_hold_shares(self) -> bool:
        """Everybody correct has a share of some certified version."""
        return all(
            any(v.share is not None and v.is_certified for v in node.disk.held) for node in self.correct()
        )

    def members(self, session: Session) -> list[Node]:
        """The correct ones."""
        return [self.nodes[a] for a in session.recipients.addresses if self.nodes[a].tamper is None]

    def is_shared(self, session: Session) -> bool:
        """Whether all correct members hold their shares of the version that it made."""
        found = (self.version_of(node, session) for node in self.members(session))
        return all(version is not None and version.share is not None for version in found)

    def version_of(self, node: Node, session: Session) -> StoredVersion | None:
        """The version that ``session`` made, as ``node`` has it, if it is certified."""
        found = (v for v in node.disk.versions.values() if v.transcript.session == session.id)
        return next((v for v in found if v.is_certified), None)

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
