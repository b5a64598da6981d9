"""Reads the status of a node from its parts.

The public status is for anybody, the whole one for the operator.
"""

import time
from typing import TYPE_CHECKING, Final

from eigenkms.chain.rpc_pool import RpcPool
from eigenkms.config.node import parameters_of
from eigenkms.node.backing_services import BackingServices
from eigenkms.node.ceremony_wiring import CeremonyServices
from eigenkms.node.monitor.canary import Canary
from eigenkms.node.monitor.details import NodeDetailsReader, StatusReadings
from eigenkms.node.monitor.operator_status import OperatorStatus, RpcPoolStatus
from eigenkms.node.state import NodeState
from eigenkms.public_status import (
    ChainStatus,
    KeyStatus,
    MembershipStatus,
    PublicStatus,
    RecordsStatus,
    SessionStatus,
)

if TYPE_CHECKING:
    from eigenkms.p2p.host import Host

CHAIN_FAILURES: Final = 3
"""Failed reads of the chain in a row after which the node is not ready."""


class StatusReporter:
    """Reads the parts of one node. ``details`` are for its operator alone."""

    def __init__(
        self,
        backing: BackingServices,
        state: NodeState,
        host: "Host",
        ceremonies: CeremonyServices,
        canary: Canary,
        details: NodeDetailsReader,
    ) -> None:
        self._config = backing.config
        self._cluster = backing.cluster
        self._chain = backing.chain
        self._issuer = backing.issuer
        self._peers = state.peers
        self._versions = state.versions
        self._host = host
        self._ceremonies = ceremonies
        self._engine = ceremonies.engine
        self._canary = canary
        self._details = details

    def not_ready(self) -> list[str]:
        """Return why this node cannot serve keys, one sentence each.

        After each certificate the older share is destroyed, and the new one comes within moments: its rows are here or fetched, and
        decrypted. A client is refused as ``busy`` and retries, so a node is ready then.
        """
        reasons = []
        has_share = any(held.share is not None for held in self._versions)
        if not has_share and not self._engine.is_obtaining_a_share:
            reasons.append("no share of the master key is held")
        follower = self._ceremonies.follower.statistics()
        if follower.head is None:
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
        public, rpc, canary = self.public_status(), self._rpc_status(), self._canary.result
        follower = self._ceremonies.follower.statistics()
        readings = StatusReadings(public, rpc, canary, self.not_ready(), follower)
        details = self._details.read(readings, self._host)
        return OperatorStatus(public=public, rpc=rpc, canary=canary, details=details)

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
        canary = self._canary.result
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
        return MembershipStatus(
            operators=len(self._peers.operators),
            connected=sum(self._peers.operator_of(peer) is not None for peer in self._host.connected()),
            outdated=self._ceremonies.pinger.outdated,
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
        follower = self._ceremonies.follower.statistics()
        return ChainStatus(
            boundary=None if follower.boundary is None else follower.boundary.number,
            head=None if follower.head is None else follower.head.number,
            error=follower.last_failure if follower.failures_in_row else self._ceremonies.boundaries.error,
            is_stale=self._is_stale,
        )

    def _records(self) -> RecordsStatus:
        publisher = self._ceremonies.publisher
        return RecordsStatus(
            audit_log=self._issuer.head,
            evidence=self._engine.evidence,
            accused=tuple(self._engine.accused),
            anchored=None if publisher is None else publisher.anchored,
            anchor_error=None if publisher is None else publisher.failure,
        )
