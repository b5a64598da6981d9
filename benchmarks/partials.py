"""Partial signatures while shares are renewed: ``python -m benchmarks.partials [--operators 20] [--window 6]``.

Real node processes, and a client in this process that requests ``RATE`` partial signatures a second, whether or not the ones before
were answered. Connections are open, and nothing is shown for the right to the key. A request that overlaps with the time from the
first operator that saw a boundary until those that are asked hold their new shares is *rotating*; all others are *quiet*. A request
for a version whose share was erased is repeated for the newest, and counts from then. At the certificate an operator destroys its
older share, and until it has the new one it refuses. These requests are *refused*, which is counted apart. The longest such time is
shown, from the nodes' logs.

First all operators are asked in turn, and all processes share all processors. There an answer is slowed down by the rotation of the
other operators more than by that of its own. So in a second part one operator is asked, which has a processor of its own together
with this process. The others share the rest, and their rotations last longer than they otherwise would.
"""

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import trio

from benchmarks.network import APP, GENESIS_SECONDS, ROTATIONS, Rotations, usual_window
from benchmarks.tables import show
from eigenkms.client.api import Client, open_client
from eigenkms.client.ciphertexts import NEWEST
from eigenkms.crypto import sealing
from eigenkms.devnet.boundary_tracker import BoundaryRecord
from eigenkms.devnet.load_generator import LatencyStats
from eigenkms.devnet.network import Devnet
from eigenkms.devnet.node_config import Timing
from eigenkms.devnet.operators import DevnetOperator
from eigenkms.devnet.provisioning import open_network
from eigenkms.p2p.errors import CallRefusedError
from eigenkms.protocols.wire import rpc_methods
from eigenkms.protocols.wire.certified_transcript import CertifiedTranscript
from eigenkms.protocols.wire.client_rpc import PartialRequest, decode_info, encode_info_request, open_partial
from eigenkms.protocols.wire.transcript import Transcript
from eigenkms.types import OperatorAddress

RATE = 20.0
PATIENCE = 60.0


class Answer(NamedTuple):
    """When it was asked for, in unix seconds; the seconds it took, ``None`` if it was a refusal."""

    begun: float
    took: float | None

    def overlaps(self, begun: float, over: float) -> bool:
        return self.begun < over and self.begun + (self.took or 0) > begun


class PartialsClient:
    """Asks ``operators`` in turn for partial signatures, each for the version that it showed last."""

    def __init__(self, client: Client, operators: Sequence[OperatorAddress]) -> None:
        self.answers: list[Answer] = []
        self._client = client
        self._operators = operators
        self._versions: dict[OperatorAddress, CertifiedTranscript] = {}
        self._private, self._public = sealing.x25519_keypair(os.urandom)

    async def connect(self) -> None:
        """Open the connections, and one answer of each, which is not counted."""
        await self._client.refresh()
        for operator in self._operators:
            await self._look(operator)
            await self._ask(operator)
        self.answers.clear()

    async def run(self) -> None:
        """Until cancelled."""
        due = trio.current_time()
        async with trio.open_nursery() as nursery:
            for operator in cycle(self._operators):
                nursery.start_soon(self._ask, operator)
                due += 1 / RATE
                await trio.sleep_until(due)

    async def _ask(self, operator: OperatorAddress) -> None:
        """An answer for the newest version that the operator shows, or a refusal of that one."""
        while True:
            transcript = self._versions[operator].transcript
            answer = await self._answer(operator, transcript)
            if answer.took is None:
                await self._look(operator)
            if answer.took is not None or self._versions[operator].transcript.hash == transcript.hash:
                break
        self.answers.append(answer)

    async def _answer(self, operator: OperatorAddress, transcript: Transcript) -> Answer:
        request = PartialRequest(
            transcript.cluster, APP, NEWEST, transcript.hash, self._public, os.urandom(32)
        )
        begun, started = time.time(), time.perf_counter()
        try:
            sealed = await self._client.ask(operator, rpc_methods.PARTIAL, request.encoded, PATIENCE)
        except CallRefusedError as refused:
            if refused.code in {"unknown-version", "no-share"}:
                return Answer(begun, None)
            if refused.code == "deadline":  # of the node, under load: as bad as an answer that took so long
                return Answer(begun, time.perf_counter() - started)
            raise
        took = time.perf_counter() - started
        open_partial(self._private, request, transcript, sealed)
        return Answer(begun, took)

    async def _look(self, operator: OperatorAddress) -> None:
        """Which version is the newest there; nothing of it is verified."""
        request = encode_info_request(self._client.cluster, os.urandom(32))
        shown = await self._client.ask(operator, rpc_methods.INFO, request, PATIENCE)
        self._versions[operator] = decode_info(shown).epoch


class Rotated(NamedTuple):
    """A rotation, in unix seconds, and the longest that one of those that are asked was without a share."""

    begun: float
    over: float
    gap: float


def rotated(before: BoundaryRecord, found: BoundaryRecord, asked: Sequence[DevnetOperator]) -> Rotated:
    """By the logs of those that are asked."""
    shares = {member.index: found.certified.shares[member.index] for member in asked}
    gaps = [held - before.certified.erased[index] for index, held in shares.items()]
    return Rotated(found.seen, max(shares.values()), max(0.0, *gaps))


def set_processors(pid: int, processors: set[int]) -> None:
    """For all threads of a process; new ones are where the thread is that starts them."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):  # it has just ended
            os.sched_setaffinity(int(thread.name), processors)


@contextmanager
def own_processor(network: Devnet, asked: DevnetOperator) -> Iterator[None]:
    """One for the asked operator and this process, the rest for the other operators."""
    everywhere = os.sched_getaffinity(0)
    own = {min(everywhere)}
    for index, node in network.nodes.items():
        set_processors(node.process.pid, own if index == asked.index else everywhere - own)
    set_processors(os.getpid(), own)
    try:
        yield
    finally:
        set_processors(os.getpid(), everywhere)


async def measure_part(
    rotations: Rotations, client: Client, asked: Sequence[DevnetOperator], how: str
) -> list[dict[str, str]]:
    """The answers of these operators in ``ROTATIONS`` rotations and between them."""
    partials = PartialsClient(client, [member.address for member in asked])
    await partials.connect()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partials.run)
        made = [rotated(*await rotations.following(), asked) for _ in range(ROTATIONS)]
        nursery.cancel_scope.cancel()
    quiet, rotating = list[Answer](), list[Answer]()
    for answer in partials.answers:
        (rotating if any(answer.overlaps(m.begun, m.over) for m in made) else quiet).append(answer)
    slow, gap = quantile(quiet, 0.99), max(m.gap for m in made)
    return [
        {
            "asked": how,
            "when": when,
            "answers": str(sum(answer.took is not None for answer in answers)),
            "p50, ms": f"{1000 * quantile(answers, 0.5):.1f}",
            "p99, ms": f"{1000 * quantile(answers, 0.99):.1f}",
            "p99 to quiet": f"{quantile(answers, 0.99) / slow:.1f}",
            "refused": str(sum(answer.took is None for answer in answers)),
            "longest without a share, s": without,
        }
        for when, answers, without in (("quiet", quiet, ""), ("rotating", rotating, f"{gap:.2f}"))
    ]


def quantile(answers: Sequence[Answer], share: float) -> float:
    """Of the seconds that answers took, without the refusals."""
    return LatencyStats([answer.took for answer in answers if answer.took is not None]).quantile(share)


async def measure(operators: int, engine: str, window: float) -> list[dict[str, str]]:
    """One network, both parts."""
    timing = Timing(round(20 * window), 1.0, window)
    async with open_network(None, operators=operators, engine=engine, timing=timing) as network:
        rotations = Rotations(network)
        await network.start_all()
        await network.genesis(GENESIS_SECONDS)
        async with open_client(network.client_settings) as client:
            await rotations.following()
            rows = await measure_part(rotations, client, network.members, "all in turn")
            if len(os.sched_getaffinity(0)) > 1:
                asked = network.members[-1]
                with own_processor(network, asked):
                    rows += await measure_part(rotations, client, [asked], "one, on a processor of its own")
    return [{"operators": str(operators), **row} for row in rows]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operators", type=int, default=20)
    parser.add_argument("--engine", default="embedded", choices=["embedded", "anvil"])
    parser.add_argument("--window", type=float, metavar="SECONDS")
    chosen = parser.parse_args(arguments)
    window = chosen.window or usual_window(chosen.operators)
    rows = trio.run(measure, chosen.operators, chosen.engine, window)
    show(f"partial signatures, {RATE:g} requested a second, window {window:g} s", rows)


if __name__ == "__main__":
    main()
