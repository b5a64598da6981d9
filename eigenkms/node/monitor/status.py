"""What a node says of itself: to anybody who asks it through libp2p, and, in full, to its own operator."""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from eigenkms.chain.boundaries import BoundaryFollower, BoundaryStatistics
from eigenkms.chain.operator_set_source import OperatorSetSource
from eigenkms.chain.rpc_pool import RpcPool
from eigenkms.config.node import NodeConfig, parameters_of
from eigenkms.node.anchor_publisher import AnchorPublisher
from eigenkms.node.engine import Engine
from eigenkms.node.issuer import PartialSignatureIssuer
from eigenkms.node.key_versions import Versions
from eigenkms.node.monitor.canary import Canary
from eigenkms.node.monitor.operator_status import OperatorStatus
from eigenkms.node.network.peer_book import PeerBook
from eigenkms.node.network.ping import PeerPinger
from eigenkms.types import ClusterId, OperatorAddress

if TYPE_CHECKING:
    from eigenkms.p2p.host import Host

CHAIN_FAILURES: Final = 3
"""Looks at the chain in a row that fail until the node says that it is not ready."""


class StatusReporter:
    """Reads the parts of one node. ``follower``, ``host`` and ``overview`` are there from when the node runs."""

    def __init__(
        self,
        config: NodeConfig,
        cluster: ClusterId,
        chain: OperatorSetSource,
        peers: PeerBook,
        versions: Versions,
        engine: Engine,
        releaser: PartialSignatureIssuer,
    ) -> None:
        self._config = config
        self._cluster = cluster
        self._chain = chain
        self._peers = peers
        self._versions = versions
        self._engine = engine
        self._releaser = releaser
        self.follower: BoundaryFollower | None = None
        self.anchoring: AnchorPublisher | None = None
        self.host: Host | None = None
        self.overview: OperatorStatus | None = None
        self.canary: Canary | None = None
        self.pulse: PeerPinger | None = None
        self.boundary_error: str | None = None
        """Why no session was opened at the newest boundary, if the chain is the reason."""

    def not_ready(self) -> list[str]:
        """Why this node cannot serve keys at the moment, one sentence each.

        After each certificate the older share is destroyed, and the new one comes within moments: its rows are here or fetched, and
        decrypted. A client is told ``busy`` and asks again, so a node is ready then.
        """
        reasons = []
        has_share = any(held.share is not None for held in self._versions)
        if not has_share and not self._engine.is_obtaining_a_share:
            reasons.append("no share of the master key is held")
        follower = None if self.follower is None else self.follower.statistics()
        if follower is None or follower.head is None:
            reasons.append("the chain has not been read yet")
        elif self._config.policy.mode == "attested":
            # only then a key depends on what the chain says now
            if follower.failures_in_row >= CHAIN_FAILURES:
                reasons.append("the chain cannot be read")
            elif self._is_stale:
                reasons.append("the chain's newest block is old")
        return reasons

    def full(self) -> dict[str, object]:
        """What the operator sees on its monitoring listener: all of ``public``, and what is nobody else's business."""
        sung = None if self.canary is None else self.canary.result
        told = {
            **self.public(),
            **self._chain_fields(),
            "canary": None if sung is None else sung.fields,
        }
        if self.overview is None:
            return told
        follower = BoundaryStatistics() if self.follower is None else self.follower.statistics()
        return {**told, **self.overview.fields(told, self.not_ready(), follower, self.host)}

    def _chain_fields(self) -> dict[str, object]:
        """Of each RPC what is known, without what may be secret in its URL."""
        pool = self._chain.rpc
        if not isinstance(pool, RpcPool):
            return {}
        return {
            "rpc": [
                {
                    "endpoint": each.endpoint,
                    "state": each.state.value,
                    "in_use": each.in_use,
                    "last_error": each.last_error,
                    "latency_ms": None if each.latency is None else round(each.latency * 1000, 1),
                    "head": None if each.head is None else each.head.number,
                }
                for each in pool.status()
            ],
            "rpc_disagreements": pool.disagreements,
            "rpc_split": pool.split,
        }

    @property
    def _is_stale(self) -> bool:
        pool = self._chain.rpc
        return isinstance(pool, RpcPool) and pool.stale

    def public(self) -> dict[str, object]:
        """What ``eigenkms status`` shows; nothing in it is secret."""
        newest = self._versions.newest
        released = self._releaser.head
        ceremony = self._engine.newest
        session = None if ceremony is None else ceremony.status()
        follower = self.follower.statistics() if self.follower is not None else None
        connected = self.host.connected() if self.host is not None else frozenset()
        bound = [p for p in connected if self._peers.operator_of(p) is not None]
        return {
            "operator": "0x" + self._config.operator.hex(),
            "cluster": self._cluster.hex(),
            "version": None if newest is None else int(newest.epoch.transcript.version),
            "transcript": None if newest is None else newest.epoch.transcript.hash.hex(),
            "mpk": None if newest is None else newest.epoch.transcript.mpk.hex(),
            "share": newest is not None and newest.share is not None,
            "policy": self._config.policy.mode,
            "operators": len(self._peers.operators),
            "peers": len(bound),
            "outdated": [] if self.pulse is None else listed(self.pulse.outdated),
            "session": None if ceremony is None else ceremony.session.id.hex(),
            "phase": None if session is None else session.phase,
            "source": None if session is None else session.source,
            "missing": [] if session is None else listed(session.missing),
            "boundary": None if follower is None or follower.boundary is None else follower.boundary.number,
            "head": None if follower is None or follower.head is None else follower.head.number,
            "chain_error": follower.last_failure
            if follower is not None and follower.failures_in_row
            else self.boundary_error,
            "chain_stale": self._is_stale,
            "released": released.number,
            "release_head": released.hash.hex(),
            "evidence": self._engine.evidence,
            "accused": sorted("0x" + accused.hex() for accused in self._engine.accused),
            "anchored": None if self.anchoring is None else self.anchoring.anchored,
            "anchor_error": None if self.anchoring is None else self.anchoring.failure,
            "canary": None if self.canary is None or self.canary.result is None else self.canary.result.ok,
            "time": time.time(),
            "parameters": parameters_of(self._config),
        }


def listed(operators: Iterable[OperatorAddress]) -> list[str]:
    """Addresses as they are shown."""
    return ["0x" + operator.hex() for operator in operators]
