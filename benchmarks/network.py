"""Real node processes on this machine: ``python -m benchmarks.network [genesis|rotation] [--operators 4 7] [--window 1.5]``.

*genesis*: making a master key, decryption and idling. Genesis is timed by the nodes' own clocks, from the first log line that saw
the boundary to the last certificate. Warm decryption is one client with its connections open; cold is a new client each time, chain
and operators contacted anew; the command line adds the start of a Python process. Idle figures are read from /proc over ten seconds
without a session.

*rotation*: from the first log line that saw a boundary to the certificate at a quorum and at the last operator, and to the last
that knew the version to be settled; medians over several boundaries, no operator missing, no client. CPU is that of all nodes over
these intervals, less what they use when idle, divided by nodes and rotations. A boundary comes every twenty windows of the
protocol (``--window``, seconds), as in the presets.
"""

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import trio

from benchmarks.tables import show
from eigenkms.chain.rpc import JsonRpc
from eigenkms.client.api import Client, encrypt, open_client
from eigenkms.devnet.members import Timing
from eigenkms.devnet.network import Network, open_network
from eigenkms.devnet.rounds import Round, Rounds
from eigenkms.types import AppId

APP = AppId("benchmark-app")
WARM_ROUNDS, COLD_ROUNDS = 50, 5
IDLE_SECONDS = 10.0
INTERVAL_BLOCKS = 30
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


async def idle(network: Network) -> tuple[float, float]:
    """Mean (CPU percent, resident MB) of a node that has nothing to do."""
    pids = [node.process.pid for node in network.nodes.values()]
    before = [cpu_seconds(pid) for pid in pids]
    await trio.sleep(IDLE_SECONDS)
    used = [cpu_seconds(pid) - b for pid, b in zip(pids, before, strict=True)]
    return 100 * statistics.mean(used) / IDLE_SECONDS, statistics.mean(resident_mb(pid) for pid in pids)


async def after_boundary(network: Network) -> None:
    """Wait until a boundary has just passed, so that starting processes does not overlap with the session that is timed."""
    async with JsonRpc(network.engine.url) as rpc:
        while not 1 <= int(str(await rpc.call("eth_blockNumber")), 16) % INTERVAL_BLOCKS <= 3:  # noqa: ASYNC110 - no event
            await trio.sleep(0.5)


async def timed_decrypt(client: Client, ciphertext: bytes) -> float:
    """Milliseconds of one decryption."""
    begun = time.perf_counter()
    await client.decrypt(APP, ciphertext)
    return 1000 * (time.perf_counter() - begun)


async def measure_rotation(operators: int, engine: str, window: float) -> dict[str, str]:
    """Several rotations of one network with nothing else to do. A boundary comes every twenty windows of so many seconds."""
    timing = Timing(round(20 * window), 1.0, window)
    async with open_network(None, operators=operators, engine=engine, timing=timing) as network:
        rounds = Rounds()
        network.hear(rounds.hear)
        await network.start_all()
        await network.genesis(GENESIS_SECONDS)
        first = await renewed(
            rounds, rounds.genesis.block
        )  # whatever starting has left to do is done by then
        percent, megabytes = await idle(network)
        begun, before = trio.current_time(), cpu_of(network)
        found = [first]
        while len(found) <= ROTATIONS:
            found.append(await renewed(rounds, found[-1].block))
        took = trio.current_time() - begun
        cpu = (cpu_of(network) - before) / operators - took * percent / 100
    made = found[1:]
    return {
        "operators": str(operators),
        "window, s": f"{window:g}",
        "rotation at a quorum, s": f"{statistics.median(r.seconds or 0 for r in made):.2f}",
        "at the last, s": f"{statistics.median(r.last_seconds or 0 for r in made):.2f}",
        "share at the last, s": f"{statistics.median(r.shared_seconds or 0 for r in made):.2f}",
        "CPU, s a node": f"{cpu / ROTATIONS:.2f}",
        "resident, MB": f"{megabytes:.0f}",
    }


async def renewed(rounds: Rounds, block: int) -> Round:
    """The next boundary, once every operator holds its share."""
    found = await rounds.after(block, GENESIS_SECONDS)
    with trio.fail_after(GENESIS_SECONDS):
        await rounds.until(lambda: len(found.certified.shares) == found.operators)
    return found


def cpu_of(network: Network) -> float:
    """Of all nodes, so far."""
    return sum(cpu_seconds(node.process.pid) for node in network.nodes.values())


async def measure(operators: int, engine: str, window: float) -> dict[str, str]:
    """One network from nothing to its figures."""
    timing = Timing(INTERVAL_BLOCKS, 1.0, window)
    async with open_network(None, operators=operators, engine=engine, timing=timing) as network:
        rounds = Rounds()
        network.hear(rounds.hear)
        await after_boundary(network)
        await network.start_all()
        await network.genesis(GENESIS_SECONDS)
        genesis = rounds.genesis_seconds
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
        percent, megabytes = await idle(network)
    return {
        "operators": str(operators),
        "genesis, s": f"{genesis:.2f}",
        "CPU to genesis, s a node": f"{cpu:.2f}",
        "decrypt warm p50 / p99, ms": f"{statistics.median(warm):.0f} / {sorted(warm)[int(0.99 * len(warm))]:.0f}",
        "decrypt cold p50, ms": f"{statistics.median(cold):.0f}",
        "idle CPU, %": f"{percent:.1f}",
        "resident, MB": f"{megabytes:.0f}",
    }


MEASURES = {"genesis": (measure, (4, 7), 1.0), "rotation": (measure_rotation, (4, 7, 13, 20), 1.5)}
"""What is measured; for how many operators, and with which window in seconds, if nobody says."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", default="genesis", choices=list(MEASURES))
    parser.add_argument("--operators", type=int, nargs="+")
    parser.add_argument("--engine", default="embedded", choices=["embedded", "anvil"])
    parser.add_argument("--window", type=float, metavar="SECONDS")
    chosen = parser.parse_args(arguments)
    measured, usual, window = MEASURES[chosen.what]
    window = chosen.window or window
    rows = [trio.run(measured, operators, chosen.engine, window) for operators in chosen.operators or usual]
    show("real node processes on loopback", rows)


if __name__ == "__main__":
    main()
