"""The bytes of the public status and of ``/status.json``, in golden/status_text.json: names, order and values.

A change that is meant is written by ``python -m tests.node.monitor.test_status_json``.
"""

import json
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from eigenkms.chain.boundaries import BoundaryStatistics
from eigenkms.chain.provider import ProviderState
from eigenkms.chain.provider_health import ProviderHealth
from eigenkms.chain.provider_probes import ProviderProbes
from eigenkms.chain.rpc import JsonRpc
from eigenkms.chain.rpc_pool import RpcPool
from eigenkms.node.key_versions import HeldVersion
from eigenkms.node.monitor.canary import CanaryResult
from eigenkms.node.monitor.details import NodeDetailsReader
from eigenkms.node.monitor.recent_warnings import RecentWarnings
from eigenkms.node.monitor.status import StatusReporter
from eigenkms.node.network.peer_book import PeerEntry
from eigenkms.node.network.ping import PingResult
from eigenkms.protocols.ceremony.session_progress import CeremonyStatus, SessionStep
from eigenkms.protocols.records.audit_log import LogHead
from eigenkms.types import BlockRef
from tests.support.fake_network import CLUSTER, make_network
from tests.support.nodes import make_config

GOLDEN = Path(__file__).with_name("golden") / "status_text.json"
NOW = 1_900_000_000.25
STARTED_AT, ANSWERED_AT, HEAD_AT = -12.34, -1.5, -3.25
"""On trio's clock, which stands at 0."""


def block(number: int) -> BlockRef:
    return BlockRef(number, number.to_bytes(32, "big"), 1_800_000_000 + number)


class Parts:
    """The parts that a reporter reads, in the middle of a rotation: each is a value of its own, or one like it."""

    def __init__(self, folder: Path) -> None:
        network = make_network()
        self.addresses = [operator.address for operator in network.operators]
        self.config = make_config(network, 0, folder, announce=("/dns4/kms.example/tcp/9400",))
        held = HeldVersion(network.epoch, network.first.shares[self.addresses[0]])
        self.versions = SimpleVersions([held])
        peers = [operator.peer.peer_id for operator in network.operators]
        entries = (
            PeerEntry(self.addresses[0], "nowhere", peers[0], (), former=False, proven=False),
            PeerEntry(
                self.addresses[1], "s" * 300, peers[1], ("/ip4/9.9.9.9/tcp/1",) * 9, False, proven=True
            ),
            PeerEntry(self.addresses[2], "", None, (), former=False, proven=False),
            PeerEntry(self.addresses[3], "gone", peers[3], (), former=True, proven=True),
        )
        self.peers = SimpleNamespace(
            operators=self.addresses[:3],
            entries=lambda: entries,
            operator_of={peers[1]: self.addresses[1], peers[3]: self.addresses[3]}.get,
        )
        self.host = SimpleNamespace(connected=lambda: frozenset(peers[1:]))
        self.ceremony = SimpleNamespace(
            session=network.session,
            is_rotation=True,
            status=lambda: CeremonyStatus("voting", 2, tuple(self.addresses[2:]), 1_800_000_000),
            progress=self.progress,
        )
        self.engine = SimpleNamespace(
            newest=self.ceremony,
            is_obtaining_a_share=False,
            evidence=3,
            accused={self.addresses[3]: 1, self.addresses[1]: 2},
            served=lambda _transcript: 4,
        )
        self.issuer = SimpleNamespace(head=LogHead(7, b"\x07" * 32))
        self.pinger = SimpleNamespace(result_of=self.ping, outdated=(self.addresses[2],))
        result = CanaryResult(
            False, NOW, 5.00049, 1_800_000_100, 2, 4, (self.addresses[2],), (self.addresses[3],), "two"
        )
        self.canary = SimpleNamespace(result=result)
        self.chain = SimpleNamespace(rpc=rpc_pool())
        self.follower = SimpleNamespace(
            statistics=lambda: BoundaryStatistics(
                block(117), HEAD_AT, block(110), 3, 1, 4, "call eth_call: no"
            )
        )
        self.publisher: Any = SimpleNamespace(anchored=None, failure="send a transaction: no ether")
        self.boundary_error: str | None = None
        self.recent = RecentWarnings()
        for text in ("first", "second", "first"):
            self.recent.handle(logging.LogRecord("eigenkms.test", logging.WARNING, "", 1, text, None, None))

    def progress(self) -> tuple[SessionStep, ...]:
        a, b, c, d = self.addresses
        return (
            SessionStep("dealt", (a, b, c), (a, b, c, d), 3),
            SessionStep("prepared", (a,), (a, b, c, d), 3),
            SessionStep("committed", (), (a, b, c, d), 3),
        )

    def ping(self, operator: object) -> PingResult:
        return PingResult(0.01234, ANSWERED_AT, 1) if operator == self.addresses[1] else PingResult()

    def reporter(self) -> StatusReporter:
        """All parts there."""
        parts: Any = SimpleNamespace(
            backing=SimpleNamespace(
                config=self.config, cluster=CLUSTER, chain=self.chain, issuer=self.issuer
            ),
            state=SimpleNamespace(peers=self.peers, versions=self.versions),
            ceremonies=SimpleNamespace(
                engine=self.engine,
                follower=self.follower,
                pinger=self.pinger,
                boundaries=SimpleNamespace(error=self.boundary_error),
                publisher=self.publisher,
            ),
        )
        details: Any = NodeDetailsReader(
            self.config,
            *(self.peers, self.versions, self.engine, self.pinger),  # type: ignore[arg-type]
            self.recent,
            STARTED_AT,
        )
        host: Any = self.host
        canary: Any = self.canary
        return StatusReporter(parts.backing, parts.state, host, parts.ceremonies, canary, details)


class SimpleVersions(list[HeldVersion]):
    """As ``Versions``, without a store."""

    @property
    def newest(self) -> HeldVersion | None:
        return self[-1] if self else None


def rpc_pool() -> RpcPool:
    """Two endpoints, of which the first fails."""
    clients = [JsonRpc("https://one.example/KEY"), JsonRpc("https://two.example/KEY")]
    health = ProviderHealth(clients, 31337, stale_seconds=30.0)
    pool = RpcPool(health, ProviderProbes(health), deadline=1.0)
    first, second = pool.providers
    first.state, first.last_error = ProviderState.FAILING, "call eth_call: 503"
    second.state, second.latency, second.head = ProviderState.OK, 0.04567, block(118)
    health.disagreements, pool.probes.split = 2, "one says this, two says that"
    return pool


def rotating(parts: Parts) -> StatusReporter:
    """In the middle of a rotation, with something wrong everywhere."""
    return parts.reporter()


def starting(parts: Parts) -> StatusReporter:
    """No key, no session, nobody connected."""
    parts.versions.clear()
    parts.engine.newest, parts.engine.accused = None, {}
    parts.canary.result = parts.chain.rpc = parts.publisher = None
    parts.follower.statistics = BoundaryStatistics
    parts.host.connected = frozenset
    parts.boundary_error = "read the operator set: no"
    return parts.reporter()


def well(parts: Parts) -> StatusReporter:
    """Certified, everybody is there."""
    parts.engine.accused = {}
    parts.ceremony.status = lambda: CeremonyStatus("certified", 0, (), 1_800_000_000)
    parts.pinger.outdated = ()
    parts.canary.result = CanaryResult(True, NOW, 0.5, 1_800_000_100, 4, 4)
    parts.follower.statistics = lambda: BoundaryStatistics(block(119), HEAD_AT, block(110))
    parts.chain.rpc = parts.publisher = None
    return parts.reporter()


SCENES: dict[str, Callable[[Parts], StatusReporter]] = {
    scene.__name__: scene for scene in (rotating, starting, well)
}


def texts(scene: str, folder: Path) -> dict[str, str]:
    """What is sent to everybody, and to the operator alone."""

    async def read() -> dict[str, str]:
        made = SCENES[scene](Parts(folder))
        return {
            "public": json.dumps(made.public_status().to_json()),
            "operator": json.dumps(made.operator_status().to_json()),
        }

    return trio.run(read, clock=MockClock())


@pytest.mark.parametrize("scene", SCENES)
def test_status_is_the_same_to_the_byte(scene: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields, their order, and how each value is written."""
    monkeypatch.setattr("time.time", lambda: NOW)
    monkeypatch.setattr("eigenkms.node.monitor.operator_status.__version__", "0.1.0")
    golden = json.loads(GOLDEN.read_text())[scene]
    found = texts(scene, tmp_path)
    assert {name: found[name] for name in golden} == golden


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.time", lambda: NOW)
        patch.setattr("eigenkms.node.monitor.operator_status.__version__", "0.1.0")
        found = {scene: texts(scene, Path(folder)) for scene in SCENES}
    GOLDEN.write_text(json.dumps(found, indent=2) + "\n")
    sys.stdout.write(f"wrote {GOLDEN}\n")
