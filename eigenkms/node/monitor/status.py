"""What a node says of itself: to anybody who asks it through libp2p, and, in full, to its own operator."""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from eigenkms.chain.rpc_pool import RpcPool
from eigenkms.config.node import parameters_of
from eigenkms.node.ceremony_parts import CeremonyParts
from eigenkms.node.monitor.canary import Canary
from eigenkms.node.monitor.operator_status import OperatorStatus
from eigenkms.node.resources import NodeResources
from eigenkms.node.state import NodeState
from eigenkms.types import OperatorAddress

if TYPE_CHECKING:
    from eigenkms.p2p.host import Host

CHAIN_FAILURES: Final = 3
"""Looks at the chain in a row that fail until the node says that it is not ready."""


class StatusReporter:
    """Reads the parts of one node. ``details`` are for its operator alone."""

    def __init__(
        self,
        resources: NodeResources,
        state: NodeState,
        host: "Host",
        ceremonies: CeremonyParts,
        canary: Canary,
        details: OperatorStatus,
    ) -> None:
        self._config = resources.config
        self._cluster = resources.cluster
        self._chain = resources.chain
        self._issuer = resources.issuer
        self._peers = state.peers
        self._versions = state.versions
        self._host = host
        self._ceremonies = ceremonies
        self._engine = ceremonies.engine
        self._canary = canary
        self._details = details

    def not_ready(self) -> list[str]:
        """Why this node cannot serve keys at the moment, one sentence each.

        After each certificate the older share is destroyed, and the new one comes within moments: its rows are here or fetched, and
        decrypted. A client is told ``busy`` and asks again, so a node is ready then.
        """
        reasons = []
        has_share = any(held.share is not None for held in self._versions)
        if not has_share and not self._engine.is_obtaining_a_share:
            reasons.append("no share of the master key is held")
        follower = self._ceremonies.follower.statistics()
        if follower.head is None:
            reasons.append("the chain has not been read yet")
        elif self._config.policy == "attested":
            # only then a key depends on what the chain says now
            if follower.failures_in_row >= CHAIN_FAILURES:
                reasons.append("the chain cannot be read")
            elif self._is_stale:
                reasons.append("the chain's newest block is old")
        return reasons

    def full(self) -> dict[str, object]:
        """What the operator sees on its monitoring listener: all of ``public``, and what is nobody else's business."""
        result = self._canary.result
        told = {
            **self.public(),
            **self._chain_fields(),
            "canary": None if result is None else result.fields,
        }
        follower = self._ceremonies.follower.statistics()
        return {**told, **self._details.fields(told, self.not_ready(), follower, self._host)}

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
        released = self._issuer.head
        ceremony = self._engine.newest
        session = None if ceremony is None else ceremony.status()
        follower, publisher = self._ceremonies.follower.statistics(), self._ceremonies.publisher
        bound = [p for p in self._host.connected() if self._peers.operator_of(p) is not None]
        return {
            "operator": "0x" + self._config.operator.hex(),
            "cluster": self._cluster.hex(),
            "version": None if newest is None else int(newest.epoch.transcript.version),
            "transcript": None if newest is None else newest.epoch.transcript.hash.hex(),
            "mpk": None if newest is None else newest.epoch.transcript.mpk.hex(),
            "share": newest is not None and newest.share is not None,
            "policy": self._config.policy,
            "operators": len(self._peers.operators),
            "peers": len(bound),
            "outdated": listed(self._ceremonies.pinger.outdated),
            "session": None if ceremony is None else ceremony.session.id.hex(),
            "phase": None if session is None else session.phase,
            "source": None if session is None else session.source,
            "missing": [] if session is None else listed(session.missing),
            "boundary": None if follower.boundary is None else follower.boundary.number,
            "head": None if follower.head is None else follower.head.number,
            "chain_error": follower.last_failure
            if follower.failures_in_row
            else self._ceremonies.boundaries.error,
            "chain_stale": self._is_stale,
            "released": released.number,
            "release_head": released.hash.hex(),
            "evidence": self._engine.evidence,
            "accused": sorted("0x" + accused.hex() for accused in self._engine.accused),
            "anchored": None if publisher is None else publisher.anchored,
            "anchor_error": None if publisher is None else publisher.failure,
            "canary": None if self._canary.result is None else self._canary.result.ok,
            "time": time.time(),
            "parameters": parameters_of(self._config),
        }


def listed(operators: Iterable[OperatorAddress]) -> list[str]:
    """Addresses as they are shown."""
    return ["0x" + operator.hex() for operator in operators]
