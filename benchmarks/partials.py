"""Partial signatures while shares are renewed: ``python -m benchmarks.partials``.

    python -m benchmarks.partials [--operators 20] [--rotations 2] [--window 6] [--engine anvil]

Real node processes, and a client in this process that requests ``RATE`` partial signatures a second, whether or not the ones before
were answered. Connections are open, and nothing is shown for the right to the key. The chain makes blocks on demand. The benchmark
mines up to a boundary when the last rotation is over and ``QUIET_SECONDS`` have passed.

A rotation begins when the first operator sees the boundary. A request is *rotating* if it overlaps with the time from then until
the operators that are asked hold their new shares. It is *quiet* if it overlaps with no rotation of any operator. A request for a
version whose share was erased is repeated for the newest, and counts from then. At the certificate an operator destroys its older
share, and until it has the new one it refuses. These requests are *refused*, which is counted apart. The longest such time is
shown, from the nodes' logs.

First all operators are asked in turn, and all processes share all processors. There an answer is slowed down by the rotation of the
other operators more than by that of its own. So in a second part one operator is asked, which has a processor of its own together
with this process. The others share the rest, and their rotations last longer than they otherwise would.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import trio

from benchmarks.network import APP, Rotations, started_network, usual_window
from benchmarks.tables import show
from eigenkms.client.api import Client, open_client
from eigenkms.client.ciphertexts import NEWEST
from eigenkms.crypto import sealing
from eigenkms.devnet.boundary_tracker import BoundaryRecord
from eigenkms.devnet.load_generator import LatencyStats
from eigenkms.devnet.network import Devnet
from eigenkms.devnet.operators import DevnetOperator
from eigenkms.errors import EigenKmsError
from eigenkms.p2p.errors import CallRefusedError
from eigenkms.types import OperatorAddress
from eigenkms.wire import rpc_methods
from eigenkms.wire.certified_transcript import CertifiedTranscript
from eigenkms.wire.client_rpc import PartialRequest, decode_info, encode_info_request, open_partial
from eigenkms.wire.transcript import Transcript

RATE = 20.0
PATIENCE = 60.0
ROTATIONS = 2
"""Each has hundreds of answers: a rotation of 20 operators takes half a minute."""
REFUSALS = frozenset({"unknown-version", "no-share", "busy"})
"""The codes of an operator that lacks its share, or still decrypts it."""
QUIET_SECONDS = 20.0
"""Before each boundary, in seconds: 400 answers."""


class Answer(NamedTuple):
    """The begin of a request, in unix seconds, and its length.

    ``took`` is in seconds, ``None`` if the request was refused.
    """

    begun: float
    took: float | None

    def overlaps(self, begun: float, over: float) -> bool:
        return self.begun < over and self.begun + (self.took or 0) > begun


class PartialsClient:
    """Requests partial signatures from ``operators`` in turn.

    Each request is for the newest version that its operator has shown.
    """

    def __init__(self, client: Client, operators: Sequence[OperatorAddress]) -> None:
        self.answers: list[Answer] = []
        self._client = client
        self._operators = operators
        self._versions: dict[OperatorAddress, CertifiedTranscript] = {}
        self._private, self._public = sealing.x25519_keypair(os.urandom)

    async def connect(self) -> None:
        """Open the connections, and request an answer of each, which is not counted."""
        await self._client.refresh()
        for operator in self._operators:
            await self._look(operator)
            await self._ask(operator)
        self.answers.clear()

    async def run(self) -> None:
        """Request ``RATE`` signatures a second until cancelled."""
        due = trio.current_time()
        async with trio.open_nursery() as nursery:
            for operator in cycle(self._operators):
                nursery.start_soon(self._ask, operator)
                due += 1 / RATE
                await trio.sleep_until(due)

    async def _ask(self, operator: OperatorAddress) -> None:
        """Record the operator's answer for its newest version, or its refusal."""
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
            sealed = await self._client.transport.call(
                operator, rpc_methods.PARTIAL, request.encoded, PATIENCE
            )
        except CallRefusedError as refused:
            if refused.code in REFUSALS:
                return Answer(begun, None)
            if refused.code == "deadline":  # of the node, under load: as bad as an answer that took so long
                return Answer(begun, time.perf_counter() - started)
            raise
        took = time.perf_counter() - started
        open_partial(self._private, request, transcript, sealed)
        return Answer(begun, took)

    async def _look(self, operator: OperatorAddress) -> None:
        """Request the newest version of an operator; nothing of it is verified."""
        request = encode_info_request(self._client.transport.cluster, os.urandom(32))
        shown = await self._client.transport.call(operator, rpc_methods.INFO, request, PATIENCE)
        self._versions[operator] = decode_info(shown).epoch


class Rotated(NamedTuple):
    """A rotation, in unix seconds.

    ``gap`` is the longest time that one of the operators that are asked was without a share, in seconds.
    """

    begun: float
    held: float
    """When the last of those that are asked held its share."""
    over: float
    """When all operators held their shares and had erased the older ones."""
    gap: float


def rotated(before: BoundaryRecord, found: BoundaryRecord, asked: Sequence[DevnetOperator]) -> Rotated:
    """Return a rotation as the logs of the operators show it."""
    held, erased = found.certified.shares, before.certified.erased
    own = {member.index: held[member.index] for member in asked}
    gaps = [when - erased[index] for index, when in own.items()]
    return Rotated(found.seen, max(own.values()), max(*held.values(), *erased.values()), max(0.0, *gaps))


def set_processors(pid: int, processors: set[int]) -> None:
    """Bind all threads of a process to processors.

    A new thread is bound as the one that starts it.
    """
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):  # it has just ended
            os.sched_setaffinity(int(thread.name), processors)


@contextmanager
def own_processor(network: Devnet, asked: DevnetOperator) -> Iterator[None]:
    """Give the asked operator and this process a processor, and the others the rest."""
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
    rotations: Rotations, client: Client, asked: Sequence[DevnetOperator], how: str, count: int
) -> list[dict[str, str]]:
    """Measure ``count`` rotations, and the quiet before each.

    Return the rows of the answers of the ``asked`` operators.
    """
    partials = PartialsClient(client, [member.address for member in asked])
    await partials.connect()
    made = list[Rotated]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partials.run)
        for _ in range(count):
            await trio.sleep(QUIET_SECONDS)
            made.append(rotated(*await rotations.following(), asked))
        nursery.cancel_scope.cancel()
    rotating = [a for a in partials.answers if any(a.overlaps(m.begun, m.held) for m in made)]
    quiet = [a for a in partials.answers if not any(a.overlaps(m.begun, m.over) for m in made)]
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
    """Return a quantile of the seconds that answers took, without the refusals."""
    return LatencyStats([answer.took for answer in answers if answer.took is not None]).quantile(share)


async def measure(operators: int, options: argparse.Namespace) -> list[dict[str, str]]:
    """Return the rows of both parts, of one network."""
    window = options.window or usual_window(operators)
    async with started_network(operators, options.engine, window) as rotations:
        network, count = rotations.network, options.rotations
        async with open_client(network.client_settings) as client:
            rows = await measure_part(rotations, client, network.members, "all in turn", count)
            if len(os.sched_getaffinity(0)) > 1:
                asked = network.members[-1]
                how = "one, on a processor of its own"
                with own_processor(network, asked):
                    rows += await measure_part(rotations, client, [asked], how, count)
    return [{"operators": str(operators), "window, s": f"{window:g}", **row} for row in rows]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table.

    ``arguments`` are those of the command line by default.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--operators", type=int, default=20)
    parser.add_argument("--engine", default="embedded", choices=["embedded", "anvil"])
    parser.add_argument("--window", type=float, metavar="SECONDS")
    parser.add_argument("--rotations", type=int, default=ROTATIONS, help="in each of the two parts")
    chosen = parser.parse_args(arguments)
    try:
        rows = trio.run(measure, chosen.operators, chosen)
    except EigenKmsError as error:
        sys.exit(f"error: {error}")
    show(f"partial signatures, {RATE:g} requested a second", rows)


if __name__ == "__main__":
    main()
