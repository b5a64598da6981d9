"""A rotation of many operators: ``python -m benchmarks.simulated``.

    python -m benchmarks.simulated [--operators 7 20 50 64]

The protocol machines of all operators run in one process on the real curves, over the simulator's virtual network (tests/sim).
There is no loss and no liar, and the holders of the source are the recipients. They begin with a version that a dealer made, so
that only the rotation is measured: from the boundary until everybody holds its new share.

*CPU* is that of the machines and the curves, divided by the operators. The simulator verifies a dealing, and the signature of a
frame, once for all who receive it. The cost of those that reach one node, in batches as the node verifies them, is measured apart
and added. *Bytes* are those of the different frames and bodies that one operator makes, and of those that reach it. Gossip brings
some of them more than once.

*Delays* is the time from the boundary until the last operator has the certificate, divided by the time that a message takes. It is
taken from a rotation of its own. There each message takes 100 ms, all operators see the boundary at once, and computing takes no
time, so its curves are the simulator's toys. The *grace*, for which a leader waits for dealings that are late, is one delay, as the
node has it. With one operator absent, the rotation before is not counted, as the absent one might still lead there.
"""

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.tables import show
from eigenkms.crypto.backends import bls12381
from eigenkms.node.engine.frame_queue import MAX_BATCH
from eigenkms.protocols.ceremony.jobs import CheckJob, Job, Result, run_job
from eigenkms.protocols.ceremony.participant import Participant
from eigenkms.types import OperatorAddress
from eigenkms.wire.frames import Frame, decode_frame, verify_frames
from tests.protocols.rooms import version_of
from tests.protocols.support import Cast
from tests.sim.disk import StoredVersion
from tests.sim.world import Faults, Node, World, logarithms
from tests.support.toy_backend import toy_crypto

SECONDS, POLL = 120.0, 0.25
"""Of virtual time: how long a rotation may take, and how often its end is looked for, as looking takes time too."""
DELAY = 0.1
"""Seconds one way, where delays are counted."""
DELAY_WINDOW_MS = 10_000
"""There: a window that no view outlasts."""


class Unjudged:
    """In the place of the simulator's laws: to check them is no work of a node."""

    def __getattr__(self, _name: str) -> Any:
        return lambda *_: None


class FoundedWorld(World):
    """A world without laws, in which all operators hold shares of one version.

    The version lists their keys. Its dealer is forgotten.
    """

    def __init__(self, n: int, **settings: Any) -> None:
        super().__init__(n, seed=n, **settings)
        self.laws = Unjudged()  # type: ignore[assignment]
        session = self.next_boundary(only=())
        keys = {address: node.key for address, node in self.nodes.items()}
        made = version_of(Cast(session, keys, self.rng))
        for address, node in self.nodes.items():
            node.disk.add_version(made.transcript, made.certificate)
            node.disk.hold(made.transcript.hash, made.shares[address])
            node.disk.keep_key(session.boundary.number, made.keys[address])
            node.up()

    def trace(self, *_: Any) -> None:
        """Drop a line, as nobody reads the story."""


class Counted(FoundedWorld):
    """Keeps the messages that one operator makes and receives, each once.

    It also keeps the dealings that the operator verifies.
    """

    def __init__(self, n: int) -> None:
        super().__init__(n, faults=Faults(max_delay=0.02, sync_seconds=1.0))
        self.one = next(iter(self.nodes))
        self.made: set[bytes] = set()
        self.frames: set[bytes] = set()
        self.bodies: set[bytes] = set()
        self.checks: list[CheckJob] = []
        self.checking = 0.0
        """CPU seconds in which dealings were verified for all."""

    def send(self, sender: OperatorAddress, to: OperatorAddress, frame: Frame) -> None:
        if sender == self.one:
            self.made.add(frame.encoded)
        super().send(sender, to, frame)

    def send_body(self, sender: Node, to: OperatorAddress, name: bytes, body: bytes) -> None:
        if sender.address == self.one:
            self.made.add(body)
        if to == self.one:
            self.bodies.add(body)
        super().send_body(sender, to, name, body)

    def _deliver(self, source: OperatorAddress, to: OperatorAddress, frames: Sequence[Frame]) -> None:
        if to == self.one:
            self.frames.update(f.encoded for f in frames)
        super()._deliver(source, to, frames)

    def work(self, node: Node, life: Participant, job: Job) -> None:
        if node.address == self.one and isinstance(job, CheckJob):
            self.checks.append(job)
        super().work(node, life, job)

    def _result(self, job: Job) -> Result:
        begun = time.process_time()
        result = super()._result(job)
        if isinstance(job, CheckJob):
            self.checking += time.process_time() - begun
        return result

    def verifying_dealings(self) -> float:
        """CPU seconds that one operator's checks of dealings take."""
        begun = time.process_time()
        for job in self.checks:
            run_job(job, self.rng, None)
        return time.process_time() - begun

    def verifying_frames(self) -> float:
        """Return the CPU seconds of verifying one operator's frames, in batches."""
        frames = [decode_frame(data) for data in sorted(self.frames)]
        begun = time.process_time()
        for first in range(0, len(frames), MAX_BATCH):
            batch = frames[first : first + MAX_BATCH]
            assert not verify_frames(batch, [self.keys[f.sender] for f in batch], os.urandom)
        return time.process_time() - begun


def count_delays(operators: int, absent: int = 0) -> float:
    """Return the message delays from a boundary to the last certificate.

    That is the certificate at the last operator that is present.
    """
    with toy_crypto():
        faults = Faults(min_delay=DELAY, max_delay=DELAY)
        world = FoundedWorld(operators, faults=faults, window_ms=DELAY_WINDOW_MS, grace=DELAY, cpu=0.0)
        gone, present = list(world.nodes.values())[:absent], list(world.nodes.values())[absent:]
        for node in gone:
            node.crash()
        if absent:
            rotate(world, present)
        return rotate(world, present) / DELAY


def rotate(world: World, present: Sequence[Node]) -> float:
    """Rotate, and return the virtual seconds until all present have the certificate.

    They hold their shares when this returns.
    """
    session, begun = world.next_boundary(spread=0.0), world.now

    def versions() -> Iterator[StoredVersion | None]:
        return (world.version_of(node, session) for node in present)

    if not world.run(SECONDS, lambda: all(versions())):
        raise RuntimeError(f"no rotation of {len(world.nodes)} operators within {SECONDS} s of virtual time")
    took = world.now - begun
    world.run(
        SECONDS, lambda: all(version is not None and version.share is not None for version in versions())
    )
    return took


def measure(operators: int) -> dict[str, str]:
    """Return the row of one rotation."""
    logarithms(bls12381().name)  # made once in a process
    world = Counted(operators)
    begun = time.process_time()
    session = world.next_boundary()
    while not world.is_shared(session) and world.now < SECONDS:
        world.run(POLL)
    if not world.is_shared(session):
        raise RuntimeError(f"no rotation of {operators} operators within {SECONDS} s of virtual time")
    took = (time.process_time() - begun - world.checking) / operators
    dealings, frames = world.verifying_dealings(), world.verifying_frames()
    return {
        "operators": str(operators),
        "CPU, s a node": f"{took + dealings + frames:.2f}",
        "of it dealings of others": f"{dealings:.2f}",
        "of it signatures of frames": f"{frames:.2f}",
        "frames to a node": f"{len(world.frames):,}",
        "kB to a node": f"{sum(map(len, world.frames | world.bodies)) / 1000:,.0f}",
        "kB of its own": f"{sum(map(len, world.made)) / 1000:,.0f}",
        "delays to the certificate": f"{count_delays(operators):.1f}",
        "the same, one absent": f"{count_delays(operators, absent=1):.1f}",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--operators", type=int, nargs="+", default=[7, 20, 50, 64])
    rows = [measure(operators) for operators in parser.parse_args(arguments).operators]
    show("one rotation in the simulator, real curves", rows)


if __name__ == "__main__":
    main()
