"""One correct operator: the real machines of protocol 2, the disk under them, and what it has said so far.

The machine is ``Participant``, unchanged. Its jobs are answered at once. What it asks to be durable is on the disk before
anything of the same step is said. A step can be *torn*: the process dies after so many durable writes, says nothing of what is
left, and starts again from the disk.
"""

import copy
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from eigenkms.crypto import bn254, pvss
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.crypto.shamir import Polynomial
from eigenkms.protocols.ceremony.context import CeremonyContext, SourceVersion
from eigenkms.protocols.ceremony.effects import (
    Broadcast,
    JournalRecord,
    RunJob,
    StoreCertifiedVersion,
    StorePreparedVersion,
)
from eigenkms.protocols.ceremony.holdings import KnownVersion
from eigenkms.protocols.ceremony.jobs import CheckJob, CheckResult, DealJob, Job, OpenJob, Result
from eigenkms.protocols.ceremony.participant import Participant, SessionEffect
from eigenkms.protocols.ceremony.proposals import Decision
from eigenkms.types import OperatorSet, SessionId
from eigenkms.wire.dealing import DealingRow
from eigenkms.wire.dealing_header import DealingHeader
from eigenkms.wire.frames import Frame, FrameKind
from eigenkms.wire.messages import Proposal, slot_of
from eigenkms.wire.session import Session
from eigenkms.wire.transcript import ListedKey, Transcript
from eigenkms.wire.votes import Certificate
from tests.protocols.rooms import GRACE, Disk, KeyRow
from tests.sim.exhaustive.scene import Scene
from tests.support.randomness import counter_rng

LONG = 100.0
"""Seconds that outlast every view and every grace."""


class Draw:
    """The source of randomness of one operator: what it yields depends on the session that a step belongs to."""

    def __init__(self, scene: Scene, index: int) -> None:
        self._owner = scene.addresses[index].hex()

    def begin(self, session: Session) -> None:
        """The first draw is the session's encryption key, the one that the scene knows."""
        self._draw = counter_rng(f"encryption key {self._owner} {session.boundary.number}")

    def __call__(self, count: int) -> bytes:
        return self._draw(count)


IMMUTABLE: tuple[type, ...] = (
    Certificate,
    Decision,
    DealingHeader,
    Draw,
    Frame,
    SourceVersion,
    JournalRecord,
    KeyRow,
    KnownVersion,
    ListedKey,
    OperatorSet,
    Polynomial,
    Proposal,
    DealingRow,
    SecretScalar,
    Session,
    CeremonyContext,
    Transcript,
    bn254.KeyPair,
    pvss.EncryptedShare,
    pvss.EncryptedShares,
    pvss.EncryptionKey,
    pvss.ShareRecipient,
)
"""What two copies of a machine may share: values, and the source of randomness, which every step begins anew."""


@contextmanager
def cheap_copies() -> Iterator[None]:
    """Inside the block, copying a machine copies no immutable value."""
    for kind in IMMUTABLE:
        kind.__deepcopy__ = lambda self, _memo: self  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for kind in IMMUTABLE:
            del kind.__deepcopy__  # type: ignore[attr-defined]


@dataclass
class Life:
    """The machine of operator ``index``, its disk, its clock in seconds, and the frames that it said: by session and slot."""

    scene: Scene
    index: int
    draw: Draw
    operator: Participant
    disk: Disk
    now: float = 0.0
    said: dict[tuple[SessionId, Any], Frame] = field(default_factory=dict)
    outbox: list[Frame] = field(default_factory=list)
    """What was said since the last copy, or since somebody took it."""
    equivocated: tuple[Frame, ...] = ()
    """Two frames of one slot, which no correct operator says."""

    @classmethod
    def begin(cls, scene: Scene, index: int) -> "Life":
        """With a share of the first version, and the key that it lists."""
        first, me = scene.first, scene.addresses[index]
        disk = Disk(keys={first.transcript.boundary.number: first.keys[me]})
        disk.versions[first.transcript.hash] = KeyRow(first.transcript, first.certificate, first.shares[me])
        draw = Draw(scene, index)
        life = cls(scene, index, draw, _operator(scene, index, draw), disk)
        life.restart()
        return life

    def copy(self) -> "Life":
        operator, disk = copy.deepcopy((self.operator, self.disk))
        return replace(self, operator=operator, disk=disk, said=dict(self.said), outbox=[])

    # -- steps -------------------------------------------------------------------------------------------------

    def step(
        self, act: Callable[[Participant], Sequence[SessionEffect]], session: Session | None = None
    ) -> None:
        """One call of the machine, and of its jobs until none is left; ``session`` if it may begin one."""
        if session is not None:
            self.draw.begin(session)
        jobs: deque[Job] = deque()
        self._carry_out(act(self.operator), jobs)
        while jobs:
            result = self._do(jobs.popleft())
            self._carry_out(self.operator.take_result(result, self.now), jobs)

    def restart(self) -> None:
        """Start from the disk, as a node does: versions and keys, then sessions, oldest first, then the time."""
        operator = self.operator = _operator(self.scene, self.index, self.draw)
        for row in self.disk.versions.values():
            operator.load_version(row.transcript, row.certificate, row.share)
        for number, key in self.disk.keys.items():
            operator.load_key(number, key)
        for session in tuple(self.disk.sessions.values()):
            records = tuple(self.disk.journals[session.id])
            self.step(lambda o, s=session, r=records: o.restore(s, r, self.now, self.now), session)
        self.step(lambda o: o.tick(self.now))

    def _do(self, job: Job) -> Result:
        match job:
            case DealJob():
                done = self.scene.dealt(self.index, job.context.session, job.context.source)
                assert (done.job.recipients, done.job.context) == (job.recipients, job.context)
                assert done.job.polynomial.constant == job.polynomial.constant
                return done
            case CheckJob():
                return CheckResult(frozenset(dealing.name for dealing in job.dealings), frozenset())
            case OpenJob():
                return self.scene.open(self.index, job)

    def _carry_out(self, effects: Sequence[SessionEffect], jobs: deque[Job]) -> None:
        for item in effects:
            if isinstance(item.effect, StorePreparedVersion | StoreCertifiedVersion):
                self.scene.register(item.effect.transcript)
        self.disk.take(effects)
        for item in effects:
            if isinstance(item.effect, Broadcast):
                self._say(item.effect.frame)
            elif isinstance(item.effect, RunJob):
                jobs.append(item.effect.job)

    def _say(self, frame: Frame) -> None:
        self.outbox.append(frame)
        before = self.said.setdefault((frame.session, slot_of(frame)), frame)
        if before.key != frame.key and frame.kind is not FrameKind.KEY:
            self.equivocated = (before, frame)

    # -- inputs ------------------------------------------------------------------------------------------------

    def hear(self, *frames: Frame) -> None:
        """Frames that come one by one; what the machine does not want is dropped, as a node does."""
        for frame in frames:
            if self.operator.should_verify(frame):
                self.step(lambda o, f=frame: o.receive([f], self.now))

    def join(self, session: Session) -> None:
        """The chain shows a boundary: its session is on the disk first."""
        self.disk.open(session)
        self.step(lambda o: o.boundary(session, self.now), session)
        for idle in self.operator.prune():
            del self.disk.journals[idle.id], self.disk.sessions[idle.id]

    def take_body(self, name: bytes, body: bytes) -> None:
        if name in self.operator.wanted_bodies:
            self.step(lambda o: o.take_body(name, body, self.now))

    def take_rows(self) -> None:
        """Somebody serves all rows that the machine wants."""
        for name in self.operator.wanted_rows:
            row = self.scene.row(name, self.index)
            self.step(lambda o, n=name, r=row: o.take_row(n, r, self.now))

    def wait(self) -> None:
        """Let every timer fire that runs now."""
        self.now += LONG
        self.step(lambda o: o.tick(self.now))


def _operator(scene: Scene, index: int, draw: Draw) -> Participant:
    me = scene.addresses[index]
    return Participant(me, scene.cast.keys[me], draw, lambda: GRACE)
