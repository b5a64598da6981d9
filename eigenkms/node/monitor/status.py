"""Reads the status of a node from its parts.

The public one, and the whole one for its operator.
"""

import time
from dataclasses import replace
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
from eigenkms.node.monitor.details import NodeDetailsReader
from eigenkms.node.monitor.operator_status import OperatorStatus, RpcPoolStatus
from eigenkms.node.network.peer_book import PeerBook
from eigenkms.node.network.ping import PeerPinger
from eigenkms.public_status import (
    ChainStatus,
    KeyStatus,
    MembershipStatus,
    PublicStatus,
    RecordsStatus,
    SessionStatus,
)
from eigenkms.types import ClusterId

if TYPE_CHECKING:
    from eigenkms.p2p.host import Host

CHAIN_FAILURES: Final = 3
"""Failed reads of the chain in a row after which the node is not ready."""


class StatusReporter:
    """Reads the parts of one node.

    ``follower``, ``host`` and ``overview`` are there from when the node runs.
    """

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
        self.overview: NodeDetailsReader | None = None
        self.canary: Canary | None = None
        self.pulse: PeerPinger | None = None
        self.boundary_error: str | None = None
        """Why no session was opened at the newest boundary, if the chain is the reason."""

    def not_ready(self) -> list[str]:
        """Return why this node cannot serve keys, one sentence each.

        After each certificate the older share is destroyed, and the new one comes within moments: its rows are here or fetched, and
        decrypted. A client is refused as ``busy`` and retries, so a node is ready then.
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

    def operator_status(self) -> OperatorStatus:
        """Return the whole status, which the operator sees on its monitoring listener."""
        canary = None if self.canary is None else self.canary.result
        status = OperatorStatus(public=self.public_status(), rpc=self._rpc_status(), canary=canary)
        if self.overview is None:
            return status
        follower = BoundaryStatistics() if self.follower is None else self.follower.statistics()
        return replace(status, details=self.overview.read(status, self.not_ready(), follower, self.host))

    def _rpc_status(self) -> RpcPoolStatus | None:
        pool = self._chain.rpc
        if not isinstance(pool, RpcPool):
            return None
        return RpcPoolStatus(providers=pool.status(), disagreements=pool.disagreements, split=pool.split)

    @property
    def _is_stale(self) -> bool:
        pool = self._chain.rpc
        return isinstance(pool, RpcPool) and pool.stale

    def public_status(self) -> PublicStatus:
        """Return the status that anybody may request; nothing in it is secret."""
        newest = self._versions.newest
        canary = None if self.canary is None else self.canary.result
        return PublicStatus(
            operator=self._config.operator,
            cluster=self._cluster,
            policy=self._config.policy.mode,
            key=KeyStatus(
                transcript=None if newest is None else newest.epoch.transcript,
                has_share=newest is not None and newest.share is not None,
            ),
            membership=self._membership(),
            session=self._session(),
            chain=self._chain_status(),
            records=self._records(),
            canary=None if canary is None else canary.ok,
            time=time.time(),
            parameters=parameters_of(self._config),
        )

    def _membership(self) -> MembershipStatus:
        connected = frozenset() if self.host is None else self.host.connected()
        return MembershipStatus(
            operators=len(self._peers.operators),
            connected=sum(self._peers.operator_of(peer) is not None for peer in connected),
            outdated=() if self.pulse is None else self.pulse.outdated,
        )

    def _session(self) -> SessionStatus | None:
        ceremony = self._engine.newest
        if ceremony is None:
            return None
        status = ceremony.status()
        return SessionStatus(
            id=ceremony.session.id, phase=status.phase, source=status.source, missing=status.missing
        )

    def _chain_status(self) -> ChainStatus:
        follower = BoundaryStatistics() if self.follower is None else self.follower.statistics()
        return ChainStatus(
            boundary=None if follower.boundary is None else follower.boundary.number,
            head=None if follower.head is None else follower.head.number,
            error=follower.last_failure if follower.failures_in_row else self.boundary_error,
            is_stale=self._is_stale,
        )

    def _records(self) -> RecordsStatus:
        anchoring = self.anchoring
        return RecordsStatus(
            audit_log=self._releaser.head,
            evidence=self._engine.evidence,
            accused=tuple(self._engine.accused),
            anchored=None if anchoring is None else anchoring.anchored,
            anchor_error=None if anchoring is None else anchoring.failure,
        )
