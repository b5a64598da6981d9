"""A small world for the machines of protocol 2: virtual clocks, network, chain and processors, and disks that survive crashes.

It stands on the world of protocol 1 (tests/sim/world.py). New here are bodies and rows that travel beside the frames, and jobs,
which take virtual time and are computed when that time is over. What a job yields that depends on nothing but public bytes, whether
dealings are valid, is computed once for all operators.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, cast

from eigenkms.crypto import pvss
from eigenkms.crypto.backends import bls12381
from eigenkms.crypto.scalars import R
from eigenkms.errors import VerificationError
from eigenkms.protocols.frames import Frame
from eigenkms.protocols.messages import GENESIS_SOURCE
from eigenkms.protocols.requests import Epoch
from eigenkms.protocols.session import Session
from eigenkms.protocols.transcript import check_self_consistent
from eigenkms.protocols.v2.jobs import Check, Checked, Job, Result, Unchecked, carry_out
from eigenkms.protocols.v2.operator import Operator
from eigenkms.protocols.votes import BadCertificateError, Phase
from eigenkms.types import OperatorAddress
from tests.sim.v2.disk import StoredVersion
from tests.sim.v2.laws import Laws
from tests.sim.v2.node import Node
from tests.sim.world import CLUSTER, Faults
from tests.sim.world import World as BaseWorld
from tests.support.toy_backend import TOY

if TYPE_CHECKING:
    from tests.sim.node import Node as BaseNode

__all__ = ["CLUSTER", "Faults", "Node", "World"]

GRACE = 0.2
"""Seconds; some round trips of a network in peace."""


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


class World(BaseWorld):
    """n operators, one seed. ``cpu`` is what a job takes at most, in seconds; at least half of that."""

    node_type = Node
    laws_type: ClassVar[type[Laws]] = Laws  # type: ignore[assignment]
    laws: Laws  # type: ignore[assignment]

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
        self.grace = grace
        self.cpu = cpu
        self._checked: dict[tuple[bytes, object, int], bool] = {}
        super().__init__(n, seed, faults=faults, quorum=quorum, window_ms=window_ms)

    def node(self, address: OperatorAddress) -> Node:
        return cast("Node", self.nodes[address])

    # -- processors --------------------------------------------------------------------------------------------

    def work(self, node: Node, life: Operator, job: Job) -> None:
        """Carry out a job beside the machine; its result comes if that life still goes on."""

        def done() -> None:
            if node.operator is life:
                node.take_result(life, node.works_on(job, self._result(job)))

        self.at(self.random.uniform(self.cpu / 2, self.cpu), done)

    def _result(self, job: Job) -> Result:
        table = logarithms(bls12381().name)
        if not isinstance(job, Check):
            return carry_out(job, self.rng, table)
        new = tuple(d for d in job.dealings if self._place(d) not in self._checked)
        found = cast("Checked", carry_out(Check(new), self.rng, table))
        for dealing in new:
            self._checked[self._place(dealing)] = dealing.name in found.valid
        valid = frozenset(d.name for d in job.dealings if self._checked[self._place(d)])
        return Checked(valid, frozenset(d.name for d in job.dealings) - valid)

    @staticmethod
    def _place(dealing: Unchecked) -> tuple[bytes, object, int]:
        """All that the validity of a dealing depends on; its name stands for header and body."""
        return (dealing.name, (dealing.recipients, dealing.claim.constant), dealing.threshold)

    # -- network -----------------------------------------------------------------------------------------------

    def _call(
        self, asker: "BaseNode", asked: "BaseNode", answer: Callable[[], Callable[[], None] | None]
    ) -> None:
        """A request goes one way; what it is answered with, if anything, comes back."""

        def arrives() -> None:
            deliver = answer()
            if deliver is not None and self._arrives(asked, asker):
                self.at(self._delay(), deliver)

        if asker is not asked and self._arrives(asker, asked):
            self.at(self._delay(), arrives)

    def send_body(self, sender: Node, to: OperatorAddress, name: bytes, body: bytes) -> None:
        """The body of a dealing, pushed."""
        if self._arrives(sender, self.nodes[to]):
            self.at(self._delay(), lambda: self.node(to).take_body(name, body))

    def ask_body(self, asker: Node, asked: OperatorAddress, name: bytes) -> None:
        other = self.node(asked)

        def answer() -> Callable[[], None] | None:
            body = other.served_body(asker.address, name)
            return None if body is None else lambda: asker.take_body(name, body)

        self._call(asker, other, answer)

    def ask_row(self, asker: Node, asked: OperatorAddress, name: bytes) -> None:
        other = self.node(asked)

        def answer() -> Callable[[], None] | None:
            row = other.served_row(asker.address, name)
            return None if row is None else lambda: asker.take_row(name, row)

        self._call(asker, other, answer)

    def ask_head(self, asker: Node, asked: Node) -> None:
        """A call that asks for the versions that somebody deals from, with their certificates."""

        def answer() -> Callable[[], None] | None:
            versions = asked.head_answer()
            return (lambda: asker.told_head(versions)) if versions else None

        self._call(asker, asked, answer)

    def says(self, frame: Frame) -> None:
        """Anybody says this to anybody."""
        self.laws.hears(frame)

    def send(self, sender: OperatorAddress, to: OperatorAddress, frame: Frame) -> None:
        self.says(frame)
        super().send(sender, to, frame)

    # -- the chain ---------------------------------------------------------------------------------------------

    def verify_version(self, epoch: Epoch) -> None:
        """What a node checks with the chain: the certificate of either phase, and that the block is canonical and had this set.

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
        if session is None or (session.boundary, session.recipients) != (
            transcript.boundary,
            transcript.recipients,
        ):
            raise VerificationError("verify version: its block is not on this chain")

    # -- what everybody did --------------------------------------------------------------------------------------

    def correct(self) -> list[Node]:  # type: ignore[override]
        return [node for node in self.nodes.values() if node.tamper is None]  # type: ignore[misc]

    def sound(self) -> list[Node]:
        """Those that are correct and never lost their disk."""
        return [node for node in self.correct() if not node.has_lost_disk]

    def version_of(self, node: Node, session: Session) -> StoredVersion | None:  # type: ignore[override]
        """The version that ``session`` made, as ``node`` has it, if it is certified."""
        found = (v for v in node.disk.versions.values() if v.transcript.session == session.id)
        return next((v for v in found if v.is_certified), None)

    def all_hold_shares(self) -> bool:
        """Everybody correct has a share of some certified version."""
        return all(
            any(v.share is not None and v.is_certified for v in node.disk.held) for node in self.correct()
        )

    def certified(self) -> list[Node]:  # type: ignore[override]
        return [node for node in self.correct() if node.disk.certified is not None]

    def all_certified(self) -> bool:
        return len(self.certified()) == len(self.correct())

    @property
    def is_orphaned(self) -> bool:
        """Whether some version that an operator deals from was made at a block that is not on the chain any more."""
        heads = (n.disk.held[-1].transcript for n in self.correct() if n.disk.held)
        certified = (n.disk.certified.transcript for n in self.correct() if n.disk.certified is not None)
        return any(self._canonical[t.boundary.number].boundary != t.boundary for t in (*heads, *certified))
