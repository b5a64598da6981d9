"""One rotation of many operators, on the real curves: ``python -m benchmarks.simulated [--operators 20 50 100]``.

The protocol machines of all operators run in one process over the simulator's virtual network (tests/sim), in peace: no loss, no
liars, the holders of the source are the recipients. They begin with a version that a dealer made, so that only the rotation is
measured: from the boundary until everybody holds its new share and knows that the version is settled.

*CPU* is that of the machines and the curves, divided by the operators. The simulator verifies the signature of a frame once for
all who receive it; what a node needs for those that reach it, in batches as the node does it, is measured apart and added. *Bytes*
are those of the different frames that one operator signs, and of those that reach it; gossip brings some of them more than once.
"""

import argparse
import os
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.tables import show
from eigenkms.node.inbox import MAX_BATCH
from eigenkms.protocols.frames import Frame, decode_frame, verify_frames
from eigenkms.types import OperatorAddress
from tests.protocols.support import Cast, version_of
from tests.sim.world import Faults, World

SECONDS, POLL = 120.0, 0.25
"""Of virtual time: how long a rotation may take, and how often its end is looked for, as looking takes time too."""


class Unjudged:
    """In the place of the simulator's laws: to check them is no work of a node."""

    def __getattr__(self, _name: str) -> Any:
        return lambda *_: None


class Counted(World):
    """Keeps what one operator signs and what reaches it, each frame once."""

    def __init__(self, n: int, seed: int) -> None:
        super().__init__(n, seed, faults=Faults(max_delay=0.02, sync_seconds=1.0))
        self.laws = Unjudged()  # type: ignore[assignment]
        self.one = next(iter(self.nodes))
        self.signed: set[bytes] = set()
        self.received: set[bytes] = set()

    def trace(self, *_: Any) -> None:
        """Nobody reads it."""

    def send(self, sender: OperatorAddress, to: OperatorAddress, frame: Frame) -> None:
        if sender == self.one:
            self.signed.add(frame.encoded)
        super().send(sender, to, frame)

    def _deliver(self, to: OperatorAddress, frames: Sequence[Frame]) -> None:
        if to == self.one:
            self.received.update(f.encoded for f in frames)
        super()._deliver(to, frames)

    def found(self) -> None:
        """Everybody gets a share from a dealer that forgets it, of a version that all certified."""
        session = self.next_boundary(only=())
        keys = {address: node.key for address, node in self.nodes.items()}
        made = version_of(Cast(session, keys, self.rng))
        for address, node in self.nodes.items():
            node.disk.add_version(made.transcript, made.certificate, made.shares[address])
            node.up()

    def verifying(self) -> float:
        """CPU seconds that verifying all frames that reached one operator takes, in batches."""
        frames = [decode_frame(data) for data in sorted(self.received)]
        begun = time.process_time()
        for first in range(0, len(frames), MAX_BATCH):
            batch = frames[first : first + MAX_BATCH]
            assert not verify_frames(batch, [self.keys[f.sender] for f in batch], os.urandom)
        return time.process_time() - begun


def measure(operators: int) -> dict[str, str]:
    """One rotation."""
    world = Counted(operators, seed=operators)
    world.found()
    begun = time.process_time()
    session = world.next_boundary()
    while not (world.is_shared(session) and world.is_settled(session)) and world.now < SECONDS:
        world.run(POLL)
    if not world.is_settled(session):
        raise RuntimeError(f"no rotation of {operators} operators within {SECONDS} s of virtual time")
    took, verifying = (time.process_time() - begun) / operators, world.verifying()
    return {
        "operators": str(operators),
        "CPU, s a node": f"{took + verifying:.2f}",
        "of it signatures of frames": f"{verifying:.2f}",
        "frames to a node": f"{len(world.received):,}",
        "kB to a node": f"{sum(map(len, world.received)) / 1000:,.0f}",
        "kB of its own": f"{sum(map(len, world.signed)) / 1000:,.0f}",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operators", type=int, nargs="+", default=[20, 50, 100])
    rows = [measure(operators) for operators in parser.parse_args(arguments).operators]
    show("one rotation in the simulator, real curves", rows)


if __name__ == "__main__":
    main()
