"""Real node processes on this machine: ``python -m benchmarks.network [genesis|rotation] [--operators 4 7] [--window 1.5]``.

*genesis*: making a master key, decryption and idling. Genesis is timed by the nodes' own clocks, from the first log line that saw
the boundary to the last certificate. Warm decryption is one client with its connections open; cold is a new client each time, chain
and operators contacted anew; the command line adds the start of a Python process. Idle figures are read from /proc over ten seconds
after a rotation.

*rotation*: from the first log line that saw a boundary; medians of three, no client. First all operators are present, then all but
one, then all but the ⌊(n − 1)/3⌋ that may be absent or lie; their processes are killed. The first rotation after that is not
counted, as an operator that was killed might still lead there. Measured is the time to the certificate at a quorum and at the last
operator that is present, to the last new share, and until all that are present have erased their older shares. *Ratio* is the time
to the last certificate, divided by that with all present. *Views* is how many the longest rotation took: one, unless a leader was
too slow. CPU is that of the processes over these intervals, less what they use when idle, divided by processes and rotations. A
boundary comes every twenty windows of the protocol (``--window``, seconds), as in the presets.

All processes share this machine. With fewer of them each waits less for a processor, so a row with operators absent is faster than
it would be with a machine for each.
"""

import argparse
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import trio

from benchmarks.tables import show
from eigenkms.chain.rpc import JsonRpc
from eigenkms.client.api import Client, encrypt, open_client
from eigenkms.devnet.boundary_tracker import BoundaryRecord, BoundaryTracker
from eigenkms.devnet.network import Devnet
from eigenkms.devnet.node_config import Timing
from eigenkms.devnet.node_processes import NodeProcess
from eigenkms.devnet.operators import DevnetOperator
from eigenkms.devnet.provisioning import open_network
from eigenkms.errors import NetworkError
from eigenkms.types import AppId

APP = AppId("benchmark-app")
WARM_ROUNDS, COLD_ROUNDS = 50, 5
IDLE_SECONDS = 10.0
INTERVAL_BLOCKS, GENESIS_WINDOW = 30, 1.0
ROTATIONS = 3
GENESIS_SECONDS = 600.0
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_mb(pid: int) -> float:
    """Resident memory now, in MB."""
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1]) / 1000


async def idle(network: Devnet) -> tuple[float, float]:
    """Mean (CPU percent, resident MB) of a node that has nothing to do."""
    pids = [node.process.pid for node in running(network)]
    before = [cpu_seconds(pid) for pid in pids]
    await trio.sleep(IDLE_SECONDS)
    used = [cpu_seconds(pid) - b for pid, b in zip(pids, before, strict=True)]
    return 100 * statistics.mean(used) / IDLE_SECONDS, statistics.mean(resident_mb(pid) for pid in pids)


def running(network: Devnet) -> list[NodeProcess]:
    """Nodes that were not killed."""
    return [node for node in network.nodes.values() if not node.ended.is_set()]


def cpu_of(network: Devnet) -> float:
    """Of all nodes that run, so far."""
    return sum(cpu_seconds(node.process.pid) for node in running(network))


async def after_boundary(network: Devnet) -> None:
    """Wait until a boundary has just passed, so that starting processes does not overlap with the session that is timed."""
    async with JsonRpc(network.engine.url) as rpc:
        while not 1 <= int(str(await rpc.call("eth_blockNumber")), 16) % INTERVAL_BLOCKS <= 3:  # noqa: ASYNC110 - no event
            await trio.sleep(0.5)


async def timed_decrypt(client: Client, ciphertext: bytes) -> float:
    """Milliseconds of one decryption."""
    begun = time.perf_counter()
    await client.decrypt(APP, ciphertext)
    return 1000 * (time.perf_counter() - begun)


def usual_window(operators: int) -> float:
    """Seconds, if nobody says. It grows with the operators, as they share the processors."""
    return max(1.5, 0.3 * operators)


class Rotation(NamedTuple):
    """What one took, in seconds from the first operator that saw the boundary."""

    quorum: float
    last: float
    shared: float
    erased: float
    views: int


@dataclass
class Rotations:
    """Rotations of a network one after the other, as its logs show them."""

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
        """The last rotation, or genesis, and the one after it, once all that run hold their shares and have erased the older ones.

        Raises ``NetworkError`` if it is not certified before the next boundary.
        """
        before = self._last or self.rounds.genesis
        present = {node.member.index for node in running(self.network)}
        block = (await self.rounds.after(before.block, GENESIS_SECONDS)).block
        if not (await self.rounds.outcome(block, GENESIS_SECONDS)).is_certified:
            raise NetworkError(
                f"rotate at block {block}: no certificate before the next boundary",
                hint="give a longer --window",
            )
        with trio.fail_after(GENESIS_SECONDS):
            made, older = self.rounds.at(block).certified, before.certified
            await self.rounds.until(lambda: present <= made.shares.keys() & older.erased.keys())
        self._last = self.rounds.at(block)
        return before, self._last

    async def measure(self) -> Rotation:
        """The next one."""
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
    """Rotations with the same operators present; CPU seconds a node and rotation, and MB of an idle node."""

    rotations: Sequence[Rotation]
    cpu: float
    megabytes: float

    def median(self, what: str) -> float:
        return float(statistics.median(getattr(rotation, what) for rotation in self.rotations))


async def measure_part(rotations: Rotations) -> Part:
    """``ROTATIONS`` of those that run now, after one that is not counted."""
    network = rotations.network
    await rotations.following()
    percent, megabytes = await idle(network)
    begun, before = trio.current_time(), cpu_of(network)
    found = [await rotations.measure() for _ in range(ROTATIONS)]
    took = trio.current_time() - begun
    cpu = (cpu_of(network) - before) / len(running(network)) - took * percent / 100
    return Part(found, cpu / ROTATIONS, megabytes)


async def measure_rotation(operators: int, engine: str, window: float | None) -> list[dict[str, str]]:
    """One network with nothing else to do: a row with all present, one with all but one, and one with as few as may be."""
    window = window or usual_window(operators)
    timing = Timing(round(20 * window), 1.0, window)
    most = (operators - 1) // 3
    parts: dict[int, Part] = {}
    async with open_network(None, operators=operators, engine=engine, timing=timing) as network:
        rotations = Rotations(network)
        await network.start_all()
        await network.genesis(GENESIS_SECONDS)
        for absent in sorted({0, min(1, most), most}):
            for index in range(operators - len(running(network)), absent):
                await network.kill(index)
            parts[absent] = await measure_part(rotations)
    return [
        {
            "operators": str(operators),
            "present": f"all but {absent}" if absent else "all",
            "window, s": f"{window:g}",
            "certificate at a quorum, s": f"{part.median('quorum'):.2f}",
            "at the last, s": f"{part.median('last'):.2f}",
            "ratio": f"{part.median('last') / parts[0].median('last'):.2f}",
            "share at the last, s": f"{part.median('shared'):.2f}",
            "older shares erased at all, s": f"{part.median('erased'):.2f}",
            "views": str(max(rotation.views for rotation in part.rotations)),
            "CPU, s a node": f"{part.cpu:.2f}",
            "resident, MB": f"{part.megabytes:.0f}",
        }
        for absent, part in parts.items()
    ]


async def measure_genesis(operators: int, engine: str, window: float | None) -> list[dict[str, str]]:
    """One network from nothing to its figures."""
    timing = Timing(INTERVAL_BLOCKS, 1.0, window or GENESIS_WINDOW)
    async with open_network(None, operators=operators, engine=engine, timing=timing) as network:
        rotations = Rotations(network)
        await after_boundary(network)
        await network.start_all()
        await network.genesis(GENESIS_SECONDS)
        genesis = rotations.rounds.genesis_seconds
        cpu = statistics.mean(cpu_seconds(n.process.pid) for n in network.nodes.values())
        settings = network.client_settings
        async with open_client(settings) as client:
            info = await client.fetch()
            ciphertext = encrypt(info, APP, b"x" * 1024)
            await timed_decrypt(client, ciphertext)
            warm = [await timed_decrypt(client, ciphertext) for _ in range(WARM_ROUNDS)]
        cold = []
        for _ in range(COLD_ROUNDS):
            begun = time.perf_counter()
            async with open_client(settings) as client:
                await client.decrypt(APP, ciphertext)
            cold.append(1000 * (time.perf_counter() - begun))
        decrypted = time.time()
        while (await rotations.following())[1].seen < decrypted:
            pass  # it began before
        percent, megabytes = await idle(network)
    row = {
        "operators": str(operators),
        "genesis, s": f"{genesis:.2f}",
        "CPU to genesis, s a node": f"{cpu:.2f}",
        "decrypt warm p50 / p99, ms": f"{statistics.median(warm):.0f} / {sorted(warm)[int(0.99 * len(warm))]:.0f}",
        "decrypt cold p50, ms": f"{statistics.median(cold):.0f}",
        "idle CPU, %": f"{percent:.1f}",
        "resident, MB": f"{megabytes:.0f}",
    }
    return [row]


MEASURES = {"genesis": (measure_genesis, (4, 7)), "rotation": (measure_rotation, (4, 7, 20))}
"""What is measured, and for how many operators if nobody says."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", default="genesis", choices=list(MEASURES))
    parser.add_argument("--operators", type=int, nargs="+")
    parser.add_argument("--engine", default="embedded", choices=["embedded", "anvil"])
    parser.add_argument("--window", type=float, metavar="SECONDS")
    chosen = parser.parse_args(arguments)
    measured, usual = MEASURES[chosen.what]
    rows = []
    for operators in chosen.operators or usual:
        rows += trio.run(measured, operators, chosen.engine, chosen.window)
    show("real node processes on loopback", rows)


if __name__ == "__main__":
    main()
