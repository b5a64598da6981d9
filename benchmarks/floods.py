"""Strangers of every kind at once: ``python -m benchmarks.floods``.

    python -m benchmarks.floods [--minutes 10] [--operators 4] [--each]

Real node processes with an HTTP API, and ``benchmarks.strangers`` in a process of its own. Those do to each operator what strangers
can: requests whose answers are not read, forged records of operators, handshakes that are not completed, idle HTTP connections and
uploads that lack a byte, requests for applications that do not exist. An honest client decrypts without pause, as the creator of an
application, first without the strangers and then beside them; ``/ready`` of each operator is read once a second. With ``--each``
the kinds come one after the other, each for so many minutes, and memory is not judged.

*Resident* is the memory of the largest operator's process in MB: the median of the second minute of a part, and the largest of its
last. The run fails, with exit code 1, if memory grew by more than a tenth in between, if a boundary was not certified, if a
decryption failed, or if ``/ready`` was not answered with 200. The strangers get the processor time that others leave, but all
operators share it; latencies are not those of a machine for each.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import httpx
import trio

from benchmarks.network import GENESIS_SECONDS, resident_mb
from benchmarks.strangers import KINDS, Target
from benchmarks.tables import show
from eigenkms.client.api import Client, open_client
from eigenkms.client.attesters import EcdsaAttester
from eigenkms.client.cluster_info import ClusterInfo
from eigenkms.devnet import cli_runner
from eigenkms.devnet.boundary_tracker import BoundaryRecord, BoundaryTracker
from eigenkms.devnet.load_generator import LatencyStats, LoadGenerator
from eigenkms.devnet.network import Devnet
from eigenkms.devnet.node_config import Access, Timing
from eigenkms.devnet.node_processes import NodeProcess
from eigenkms.devnet.nurseries import background_task
from eigenkms.devnet.provisioning import open_network
from eigenkms.errors import NetworkError
from eigenkms.types import AppId, Version

TIMING = Timing(interval_blocks=30, block_seconds=1.0, window_seconds=1.5)
ACCESS = Access(
    "attested",
    {
        "attestation_methods": ["ecdsa"],
        "http_listen": "127.0.0.1:0",
        "http_plain": True,
    },
)
QUIET_SECONDS = 60.0
READY_SECONDS = 10.0
"""Until an answer to ``/ready`` counts as none: the strangers' process takes as much of the processors as it gets."""
BOUNDARY_SECONDS = 120.0
GROWTH = 1.1


@dataclass(frozen=True)
class Creator:
    """A ``Decryptor`` that is the creator of its applications."""

    client: Client
    attester: EcdsaAttester

    @property
    def version(self) -> Version | None:
        return self.client.version

    async def decrypt(self, app_id: AppId, ciphertext: bytes) -> bytes:
        return await self.client.decrypt(app_id, ciphertext, attester=self.attester)


class Resident(NamedTuple):
    """When, and the MB of the largest operator."""

    when: float
    megabytes: float


class Ready(NamedTuple):
    """When it was asked, and the seconds that the answer took."""

    when: float
    took: float


@dataclass
class Watch:
    """Samples memory and readiness of all operators once a second.

    Times are in seconds since it began.
    """

    pids: Sequence[int]
    ports: Sequence[int]
    resident: list[Resident] = field(default_factory=list)
    ready: list[Ready] = field(default_factory=list)
    not_ready: list[str] = field(default_factory=list)
    begun: float = field(default_factory=trio.current_time)

    @property
    def now(self) -> float:
        return trio.current_time() - self.begun

    async def run(self) -> None:
        """Until cancelled."""
        async with httpx.AsyncClient(trust_env=False, timeout=READY_SECONDS) as http:
            while True:
                self.resident.append(Resident(self.now, max(resident_mb(pid) for pid in self.pids)))
                for port in self.ports:
                    await self._ask(http, port)
                await trio.sleep(1)

    async def _ask(self, http: httpx.AsyncClient, port: int) -> None:
        begun = self.now
        try:
            answer = await http.get(f"http://127.0.0.1:{port}/ready")
        except httpx.HTTPError as error:
            self.not_ready.append(repr(error))
            return
        self.ready.append(Ready(begun, self.now - begun))
        if answer.status_code != httpx.codes.OK:
            self.not_ready.append(f"{answer.status_code} {answer.text[:200]}")

    def memory(self, part: "Part") -> tuple[float, float]:
        """Return two figures of a part's memory, in MB.

        They are the median of its second minute, or of all of a shorter part, and the largest of its last minute.
        """
        early = self._megabytes(part.begun + 60, part.begun + 120) or self._megabytes(part.begun, part.ended)
        return statistics.median(early), max(self._megabytes(part.ended - 60, part.ended))

    def _megabytes(self, begun: float, ended: float) -> list[float]:
        return [sample.megabytes for sample in self.resident if begun <= sample.when < ended]


@dataclass(frozen=True)
class Part:
    """A stretch of the run, ``begun`` and ``ended`` in the seconds of ``Watch``."""

    name: str
    begun: float
    ended: float
    decrypts: LatencyStats
    rounds: Sequence[BoundaryRecord]


@dataclass(frozen=True)
class Run:
    """The network, who looks at it, and who decrypts."""

    rounds: BoundaryTracker
    watch: Watch
    steady: LoadGenerator

    async def part(self, name: str, seconds: float) -> Part:
        """Let so much time pass, and then what is left of an interval."""
        self.steady.lap()
        begun, found = self.watch.now, list[BoundaryRecord]()
        last = self.rounds.newest_certified or self.rounds.genesis
        while self.watch.now < begun + seconds:
            seen = await self.rounds.after(last.block, BOUNDARY_SECONDS)
            last = await self.rounds.outcome(seen.block, BOUNDARY_SECONDS)
            found.append(last)
        return Part(name, begun, self.watch.now, self.steady.lap(), found)


@asynccontextmanager
async def flooded(
    network: Devnet, info: ClusterInfo, ports: Sequence[int], kinds: Iterable[str], done: dict[str, int]
) -> AsyncIterator[None]:
    """Run strangers of these kinds for the length of the context.

    At its end the counts of their acts are added to ``done``, by kind.
    """
    transcript = info.epoch.transcript
    targets = [
        Target(transcript.cluster.hex(), member.address.hex(), transcript.hash.hex(), member.multiaddr, port)
        for member, port in zip(network.members, ports, strict=True)
    ]
    command = [sys.executable, "-m", "benchmarks.strangers", *kinds]
    lines = "".join(target.line for target in targets).encode()
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        await process.stdin.send_all(lines)
        await process.stdin.aclose()
        yield
        if process.poll() is not None:
            raise NetworkError(f"flood the network: the strangers ended with code {process.returncode}")
        process.terminate()
        with trio.fail_after(READY_SECONDS):
            done.update(json.loads(b"".join([piece async for piece in process.stdout])))
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def http_port(node: NodeProcess) -> int:
    """Return the port of a node's HTTP API, from its log."""
    return int((await node.wait_event("http", GENESIS_SECONDS))["url"].rpartition(":")[2])


async def measure(
    operators: int, seconds: float, floods: Mapping[str, Iterable[str]]
) -> tuple[Watch, list[Part], dict[str, int]]:
    """Measure a network in quiet, then among the strangers of each part."""
    async with open_network(None, operators=operators, timing=TIMING, access=ACCESS) as network:
        rounds = BoundaryTracker()
        network.add_listener(rounds.on_event)
        await network.start_all()
        await network.genesis(GENESIS_SECONDS)
        ports = [await http_port(network.nodes[member.index]) for member in network.members]
        app = AppId(await cli_runner.application(network, lambda _line: None))
        key = bytes.fromhex(network.creator_key.read_text().strip().removeprefix("0x"))
        async with open_client(network.client_settings) as client:
            info = await client.fetch()
            steady = LoadGenerator(Creator(client, EcdsaAttester(key)), info, [app])
            watch = Watch([node.process.pid for node in network.nodes.values()], ports)
            async with background_task(watch.run), background_task(steady.run):
                run = Run(rounds, watch, steady)
                parts, done = [await run.part("quiet", QUIET_SECONDS)], dict[str, int]()
                for name, kinds in floods.items():
                    async with flooded(network, info, ports, kinds, done):
                        parts.append(await run.part(name, seconds))
                return watch, parts, done


def row(watch: Watch, part: Part) -> dict[str, str]:
    """Return the row of a part."""
    certified = [each for each in part.rounds if each.is_certified]
    ready = [sample.took for sample in watch.ready if part.begun <= sample.when < part.ended]
    return {
        "": part.name,
        "rotations certified": f"{len(certified)} of {len(part.rounds)}",
        "longest, s": f"{max(each.seconds or 0 for each in certified):.1f}",
        "decrypts": str(part.decrypts.succeeded),
        "failed": str(part.decrypts.failed),
        "p50, ms": f"{1000 * part.decrypts.quantile(0.5):.0f}",
        "p99, ms": f"{1000 * part.decrypts.quantile(0.99):.0f}",
        "/ready": str(len(ready)),
        "longest, ms": f"{1000 * max(ready):.0f}",
        "resident, MB": " → ".join(f"{value:.0f}" for value in watch.memory(part)),
    }


def growth(watch: Watch, part: Part) -> Iterator[str]:
    """Yield the fault of memory that grew."""
    before, after = watch.memory(part)
    if after > GROWTH * before:
        yield f"resident memory grew from {before:.0f} to {after:.0f} MB"


def faults(part: Part) -> Iterator[str]:
    """Yield the promises that a part broke."""
    for each in part.rounds:
        if not each.is_certified:
            yield f"the boundary at block {each.block} was not certified"
    if part.decrypts.failed:
        yield f"{part.decrypts.failed} decryptions failed; the first: {part.decrypts.failures[0].why}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--operators", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--each", action="store_true")
    chosen = parser.parse_args(arguments)
    floods = {kind: [kind] for kind in KINDS} if chosen.each else {"among strangers": list(KINDS)}
    watch, parts, done = trio.run(measure, chosen.operators, 60 * chosen.minutes, floods)
    show(f"{chosen.operators} operators among strangers", [row(watch, part) for part in parts])
    print("done by strangers:", ", ".join(f"{count:,} {kind}" for kind, count in done.items()))
    found = [fault for part in parts for fault in faults(part)]
    if not chosen.each:
        found += [fault for part in parts for fault in growth(watch, part)]
    if watch.not_ready:
        found.append(
            f"{len(watch.not_ready)} answers to /ready were not 200; the first: {watch.not_ready[0]}"
        )
    if len(done) < len(KINDS):
        found.append(f"of {len(KINDS)} kinds of strangers only {len(done)} did what they do")
    for fault in found:
        print(f"fault: {fault}")
    print("verdict:", "failed" if found else "passed")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
