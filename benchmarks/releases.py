"""Cost of the release log: ``python -m benchmarks.releases``.

    python -m benchmarks.releases [--requests 600] [--rounds 5]

One node in this process answers requests for partial signatures, so many at once, with its policy open: no network and no
evidence, only what every answer needs. *With* the log each answer waits until its entry is on the disk of this folder, *without*
it goes at once. Rounds alternate; the ratio is the median of the rounds' ratios, and the absolute numbers are the medians. Then
what an entry takes on the disk, and how fast a log is verified.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import trio

from benchmarks.tables import show
from eigenkms.crypto import sealing
from eigenkms.p2p.identity import PeerKey
from eigenkms.p2p.types import Request
from eigenkms.protocols.records.audit_log import IssuedSignature, LogHead, LogVerifier
from eigenkms.storage.audit_log_store import RELEASES_NAME, AuditLog, Signer, read_releases
from eigenkms.types import AppId
from eigenkms.wire import rpc_methods
from eigenkms.wire.client_rpc import PartialRequest
from tests.support.fake_network import CLUSTER, FakeNetwork, make_network
from tests.support.local_node import LocalNode
from tests.support.nodes import a_node, keep_version
from tests.support.randomness import counter_rng

AT_ONCE = (1, 8, 64)
APP = AppId("0x" + "ab" * 20)


class Counting:
    """The log, with how many additions it took; or none at all."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self.is_on = True
        self.additions = 0

    @property
    def head(self) -> LogHead:
        return self._log.head

    def append(self, releases: Sequence[IssuedSignature], sign: Signer) -> None:
        if self.is_on:
            self.additions += 1
            self._log.append(releases, sign)


async def measure(node: LocalNode, request: PartialRequest, count: int, at_once: int) -> float:
    """Return the answers a second to ``count`` requests, ``at_once`` at a time."""
    peer, left = PeerKey.generate().peer_id, iter(range(count))

    async def ask() -> None:
        for number in left:
            body = replace(request, nonce=number.to_bytes(32, "big")).encoded
            await node.services.client_handlers.answer(Request(peer, rpc_methods.PARTIAL, body))

    begun = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(ask)
    return count / (time.perf_counter() - begun)


async def compare(
    node: LocalNode, log: Counting, request: PartialRequest, count: int, rounds: int
) -> list[dict[str, str]]:
    rows = []
    for at_once in AT_ONCE:
        speeds: dict[bool, list[float]] = {True: [], False: []}
        log.additions, before = 0, log.head.number
        for _ in range(rounds):
            for log.is_on in (False, True):
                speeds[log.is_on].append(await measure(node, request, count, at_once))
        ratios = [on / off for on, off in zip(speeds[True], speeds[False], strict=True)]
        rows.append(
            {
                "at once": str(at_once),
                "without, 1/s": f"{statistics.median(speeds[False]):.0f}",
                "with, 1/s": f"{statistics.median(speeds[True]):.0f}",
                "ratio": f"{statistics.median(ratios):.2f}",
                "entries an addition": f"{(log.head.number - before) / log.additions:.1f}",
            }
        )
    return rows


def verify(folder: Path) -> dict[str, str]:
    begun = time.perf_counter()
    with read_releases(folder) as reader:
        verifier = LogVerifier(reader.header, reader.signed)
        for entry in reader.entries():
            verifier.take(entry)
        verifier.finish()
        entries = reader.signed.head.number
    took = time.perf_counter() - begun
    return {
        "entries": str(entries),
        "bytes an entry": f"{(folder / RELEASES_NAME).stat().st_size / entries:.0f}",
        "verified, 1/s": f"{entries / took:,.0f}",
    }


def answer(network: FakeNetwork, folder: Path, count: int, rounds: int) -> list[dict[str, str]]:
    _, public = sealing.x25519_keypair(counter_rng("reply key"))
    request = PartialRequest(CLUSTER, APP, 2, network.epoch.transcript.hash, public, bytes(32))
    keep_version(network, 0, folder)
    with a_node(network, 0, folder) as node:
        node.state.peers.update(network.chain.operators)
        log = node.backing.issuer._log = Counting(node.backing.issuer._log)  # type: ignore[arg-type]
        return trio.run(compare, node, log, request, count, rounds)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", type=Path, help="a folder on the disk that is to be measured")
    options = parser.parse_args(arguments)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(dir=options.dir) as made:
        warnings.simplefilter("ignore")
        folder = Path(made) / "node"
        show(
            "partial signatures at one node, with and without the release log",
            answer(make_network(), folder, options.requests, options.rounds),
        )
        show("the log", [verify(folder)])


if __name__ == "__main__":
    main()
