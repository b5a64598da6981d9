"""Real node processes on this machine: ``python -m benchmarks.network``.

    python -m benchmarks.network [genesis] [--operators 4 7] [--window 1.5]
    python -m benchmarks.network rotation [--operators 20] [--absent 0 1 6] [--rotations 3] [--window 6] [--engine anvil]

The chain makes blocks on demand. The benchmark mines up to a boundary when the last rotation is over and ``REST_SECONDS`` have
passed. So a run takes as long as its rotations, and a slow machine has no rotation that fails for lack of time.

*genesis*: the making of a master key, decryption and idling. The logs of the nodes time genesis, from the first line that saw the
boundary to the last certificate. Warm decryption is one client with its connections open. Cold is a new client each time, which
contacts chain and operators anew. The command line adds the start of a Python process. Idle figures are read from /proc over
``IDLE_SECONDS`` after a rotation.

*rotation*: seconds from the first log line that saw a boundary, medians of ``--rotations``, without a client. First all operators
are present, then all but one, then all but the ⌊(n − 1)/3⌋ that may be absent or lie. ``--absent`` chooses other numbers. The
processes of absent operators are killed. The first rotation after that is not counted, as an operator that was killed may still
lead there. The columns:

* the time to the certificate at a quorum, and at the last operator that is present
* the time to the last new share, and until all that are present have erased their older shares
* *ratio*: the time to the last certificate, divided by that of the network's first row
* *views*: how many the longest rotation took. It is one, unless a leader was too slow
* CPU: of the processes over these rotations, less their use when idle, divided by processes and rotations

All processes share this machine. With fewer of them each waits less for a processor. So the rows with operators absent are faster
than they would be with a machine for each.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import trio

from benchmarks.tables import show
from eigenkms.client.api import Client, encrypt, open_client
from eigenkms.crypto.scalars import threshold
from eigenkms.devnet.boundary_tracker import BoundaryRecord, BoundaryTracker
from eigenkms.devnet.console import print_stderr
from eigenkms.devnet.network import Devnet
from eigenkms.devnet.node_config import Timing
from eigenkms.devnet.node_processes import NodeProcess
from eigenkms.devnet.operators import DevnetOperator
from eigenkms.devnet.provisioning import open_network
from eigenkms.errors import EigenKmsError, InputError
from eigenkms.types import AppId

APP = AppId("benchmark-app")
WARM_ROUNDS, COLD_ROUNDS = 50, 5
IDLE_SECONDS = 10.0
LINK_SECONDS = 10.0
"""Before genesis, in seconds: operators that have just started connect to each other."""
REST_SECONDS = 2.0
"""After a rotation, in seconds: the operators clean up, which belongs neither to the next rotation nor to idling."""
GENESIS_WINDOW = 1.0
ROTATIONS = 3
GENESIS_SECONDS = 600.0
"""Until a genesis or rotation counts as failed, in seconds."""
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process, in MB."""
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1]) / 1000


async def idle(network: Devnet) -> tuple[float, float]:
    """Measure idle nodes for ``IDLE_SECONDS``.

    Return the mean of a node: its CPU in percent of a core, and its resident memory in MB.
    """
    pids = [node.process.pid for node in running(network)]
    before = [cpu_seconds(pid) for pid in pids]
    await trio.sleep(IDLE_SECONDS)
    used = [cpu_seconds(pid) - b for pid, b in zip(pids, before, strict=True)]
    return 100 * statistics.mean(used) / IDLE_SECONDS, statistics.mean(resident_mb(pid) for pid in pids)


def running(network: Devnet) -> list[NodeProcess]:
    """Return the nodes that were not killed."""
    return [node for node in network.nodes.values() if not node.ended.is_set()]


def cpu_of(network: Devnet) -> float:
    """Return the user and system time of all running nodes so far, in seconds."""
    return sum(cpu_seconds(node.process.pid) for node in running(network))


def timing(window: float) -> Timing:
    """Return the timing of a network whose chain makes blocks on demand.

    ``window`` is the protocol window in seconds.
    """
    return Timing(interval_blocks=4, block_seconds=60.0, window_seconds=window, on_demand=True)


@asynccontextmanager
async def started_network(operators: int, engine: str, window: float) -> AsyncIterator["Rotations"]:
    """Open a network whose operators are up and connected, and made a master key."""
    async with open_network(None, operators=operators, engine=engine, timing=timing(window)) as network:
        rotations = Rotations(network)
        await network.start_all()
        await trio.sleep(LINK_SECONDS)
        await network.mine_boundary()
        await network.genesis(GENESIS_SECONDS)
        print_stderr(f"{operators} operators: genesis took {rotations.rounds.genesis_seconds:.1f} s")
        await trio.sleep(REST_SECONDS)
        yield rotations


async def timed_decrypt(client: Client, ciphertext: bytes) -> float:
    """Decrypt once, and return the milliseconds that it took."""
    begun = time.perf_counter()
    await client.decrypt(APP, ciphertext)
    return 1000 * (time.perf_counter() - begun)


def usual_window(operators: int) -> float:
    """Return the default of ``--window`` in seconds.

    It grows with the operators, as they share the processors.
    """
    return max(1.5, 0.3 * operators)


class Rotation(NamedTuple):
    """The figures of one rotation.

    Times are in seconds from the first operator that saw the boundary.
    """

    quorum: float
    last: float
    shared: float
    erased: float
    views: int


@dataclass
class Rotations:
    """Makes rotations of a network, and reads their figures in its logs."""

    network: Devnet
    rounds: BoundaryTracker = field(default_factory=BoundaryTracker)
    _views: dict[str, int] = field(default_factory=dict)
    _last: BoundaryRecord | None = None

    def __post_init__(self) -> None:
        self.network.add_listener(self.rounds.on_event)
        self.network.add_listener(self._hear)

    def _hear(self, _member: DevnetOperator, event: Mapping[str, Any]) -> None:
        if event["event"] == "certified" and "view" in event:
            session, view = str(event["session"]), int(event["view"])
            self._views[session] = max(view, self._views.get(session, view))

    async def following(self) -> tuple[BoundaryRecord, BoundaryRecord]:
        """Rotate once; return the rotation (or genesis) before, and this one.

        A rotation is over when all operators that run hold their shares and have erased the older ones. They rest after it. Raises
        ``NetworkError`` if there is no certificate within ``GENESIS_SECONDS``, and ``trio.TooSlowError`` if the rest takes as long.
        """
        before = self._last or self.rounds.genesis
        present = {node.member.index for node in running(self.network)}
        block = await self.network.mine_boundary()
        found = await self.rounds.outcome(block, GENESIS_SECONDS)
        with trio.fail_after(GENESIS_SECONDS):
            made, older = found.certified, before.certified
            await self.rounds.until(lambda: present <= made.shares.keys() & older.erased.keys())
        self._last = self.rounds.at(block)
        print_stderr(
            f"{len(present)} of {found.operators} operators: certified after {self._last.last_seconds:.1f} s"
        )
        await trio.sleep(REST_SECONDS)
        return before, self._last

    async def measure(self) -> Rotation:
        """Return the figures of the next rotation."""
        before, found = await self.following()
        return Rotation(
            quorum=found.seconds or 0,
            last=found.last_seconds or 0,
            shared=found.shared_seconds or 0,
            erased=max(before.certified.erased.values()) - found.seen,
            views=1 + self._views[found.session],
        )


@dataclass(frozen=True)
class Part:
    """Rotations with the same operators present.

    ``cpu`` is in seconds of a node and rotation, ``megabytes`` is the memory of an idle node.
    """

    rotations: Sequence[Rotation]
    cpu: float
    megabytes: float

    def median(self, what: str) -> float:
        """Return the median of a field of ``Rotation``."""
        return float(statistics.median(getattr(rotation, what) for rotation in self.rotations))


async def measure_part(rotations: Rotations, count: int) -> Part:
    """Measure ``count`` rotations of the running operators, after an uncounted one."""
    network = rotations.network
    await rotations.following()
    percent, megabytes = await idle(network)
    begun, before = trio.current_time(), cpu_of(network)
    found = [await rotations.measure() for _ in range(count)]
    took = trio.current_time() - begun
    cpu = (cpu_of(network) - before) / len(running(network)) - took * percent / 100
    return Part(found, cpu / count, megabytes)


async def measure_rotation(operators: int, options: argparse.Namespace) -> list[dict[str, str]]:
    """Measure the rotations of one network.

    Return a row for each number of absent operators.
    """
    window = options.window or usual_window(operators)
    numbers, parts = numbers_absent(operators, options.absent), dict[int, Part]()
    async with started_network(operators, options.engine, window) as rotations:
        for absent in numbers:
            for index in range(operators - len(running(rotations.network)), absent):
                await rotations.network.kill(index)
            parts[absent] = await measure_part(rotations, options.rotations)
    first = next(iter(parts.values())).median("last")
    return [
        {
            "operators": str(operators),
            "present": f"all but {absent}" if absent else "all",
            "window, s": f"{window:g}",
            "certificate at a quorum, s": f"{part.median('quorum'):.2f}",
            "at the last, s": f"{part.median('last'):.2f}",
            "ratio": f"{part.median('last') / first:.2f}",
            "share at the last, s": f"{part.median('shared'):.2f}",
            "older shares erased at all, s": f"{part.median('erased'):.2f}",
            "views": str(max(rotation.views for rotation in part.rotations)),
            "CPU, s a node": f"{part.cpu:.2f}",
            "resident, MB": f"{part.megabytes:.0f}",
        }
        for absent, part in parts.items()
    ]


def numbers_absent(operators: int, chosen: Sequence[int] | None) -> list[int]:
    """Return the numbers of absent operators to measure, in rising order.

    ``chosen`` are those of the command line. Raises ``InputError`` for one that leaves no quorum.
    """
    most = operators - threshold(operators)
    numbers = sorted({0, min(1, most), most} if chosen is None else set(chosen))
    if not 0 <= numbers[0] <= numbers[-1] <= most:
        raise InputError(f"measure {operators} operators: --absent must be from 0 to {most}")
    return numbers


async def measure_genesis(operators: int, options: argparse.Namespace) -> list[dict[str, str]]:
    """Return the row of one network, from nothing to its figures."""
    async with started_network(operators, options.engine, options.window or GENESIS_WINDOW) as rotations:
        network = rotations.network
        cpu = statistics.mean(cpu_seconds(n.process.pid) for n in network.nodes.values())
        warm, cold = await measure_decryptions(network)
        await rotations.following()
        percent, megabytes = await idle(network)
    row = {
        "operators": str(operators),
        "genesis, s": f"{rotations.rounds.genesis_seconds:.2f}",
        "CPU to genesis, s a node": f"{cpu:.2f}",
        "decrypt warm p50 / p99, ms": f"{statistics.median(warm):.0f} / {sorted(warm)[int(0.99 * len(warm))]:.0f}",
        "decrypt cold p50, ms": f"{statistics.median(cold):.0f}",
        "idle CPU, %": f"{percent:.1f}",
        "resident, MB": f"{megabytes:.0f}",
    }
    return [row]


async def measure_decryptions(network: Devnet) -> tuple[list[float], list[float]]:
    """Return the milliseconds of each warm and each cold decryption of 1 kB."""
    async with open_client(network.client_settings) as client:
        ciphertext = encrypt(await client.fetch(), APP, b"x" * 1024)
        await timed_decrypt(client, ciphertext)
        warm = [await timed_decrypt(client, ciphertext) for _ in range(WARM_ROUNDS)]
    cold = []
    for _ in range(COLD_ROUNDS):
        begun = time.perf_counter()
        async with open_client(network.client_settings) as client:
            await client.decrypt(APP, ciphertext)
        cold.append(1000 * (time.perf_counter() - begun))
    return warm, cold


MEASURES = {"genesis": (measure_genesis, (4, 7)), "rotation": (measure_rotation, (4, 7, 20))}
"""By name, a measurement and the numbers of operators that are its default."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table.

    ``arguments`` are those of the command line by default.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", default="genesis", choices=list(MEASURES))
    parser.add_argument("--operators", type=int, nargs="+")
    parser.add_argument("--engine", default="embedded", choices=["embedded", "anvil"])
    parser.add_argument("--window", type=float, metavar="SECONDS")
    parser.add_argument("--absent", type=int, nargs="+", help="rotation: numbers of killed operators")
    parser.add_argument("--rotations", type=int, default=ROTATIONS, help="rotation: rotations of each row")
    chosen = parser.parse_args(arguments)
    measured, usual = MEASURES[chosen.what]
    rows = []
    for operators in chosen.operators or usual:
        try:
            rows += trio.run(measured, operators, chosen)
        except EigenKmsError as error:
            sys.exit(f"error: {error}")
    show("real node processes on loopback", rows)


if __name__ == "__main__":
    main()
