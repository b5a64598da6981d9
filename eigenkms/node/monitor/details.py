"""Reading of the details that a node's operator sees, from the parts of the node."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

from eigenkms.chain.boundaries import BoundaryStatistics, newest_boundary
from eigenkms.config.node import NodeConfig
from eigenkms.node.engine.engine import Engine
from eigenkms.node.key_versions import HeldVersion, Versions
from eigenkms.node.monitor.canary import CanaryResult
from eigenkms.node.monitor.health import HealthInput, assess
from eigenkms.node.monitor.operator_status import (
    CeremonyDetails,
    MemberStatus,
    NextBoundary,
    NodeDetails,
    RpcPoolStatus,
    VersionStatus,
)
from eigenkms.node.monitor.recent_warnings import RecentWarnings
from eigenkms.node.network.peer_book import PeerBook, PeerEntry
from eigenkms.node.network.ping import PeerPinger
from eigenkms.protocols.ceremony.ceremony import Ceremony
from eigenkms.public_status import PublicStatus

if TYPE_CHECKING:
    from eigenkms.p2p.host import Host

MAX_SHOWN_VERSIONS: Final = 20


@dataclass(frozen=True)
class StatusReadings:
    """Readings of a node at one moment, from which its details follow.

    ``not_ready`` lists why keys cannot be served. ``rpc`` is None with a single RPC, ``canary`` before its first result.
    """

    public: PublicStatus
    rpc: RpcPoolStatus | None
    canary: CanaryResult | None
    not_ready: list[str]
    follower: BoundaryStatistics


@dataclass(frozen=True)
class NodeDetailsReader:
    """Reads the parts of one node. ``started_at`` is on trio's clock."""

    config: NodeConfig
    peers: PeerBook
    versions: Versions
    engine: Engine
    pulse: PeerPinger
    recent: RecentWarnings
    started_at: float

    def read(self, readings: StatusReadings, host: "Host") -> NodeDetails:
        """Return the details of the node over ``host``."""
        now = trio.current_time()
        connected = host.connected()
        members = tuple(self._member(entry, connected, now) for entry in self.peers.entries())
        found = self._health_input(readings, members)
        ceremony = self.engine.newest
        return NodeDetails(
            health=assess(found),
            uptime_seconds=now - self.started_at,
            chain=self.config.chain,
            session=self.config.session,
            next_boundary=self._next_boundary(readings.follower, now),
            versions=tuple(self._versions()),
            ceremony=None if ceremony is None else _ceremony(ceremony),
            members=members,
            warnings=self.recent.list()[::-1],
        )

    def _health_input(self, readings: StatusReadings, members: tuple[MemberStatus, ...]) -> HealthInput:
        public, rpc = readings.public, readings.rpc
        newest, ceremony = public.key.transcript, self.engine.newest
        holders = frozenset() if newest is None else frozenset(newest.recipients.addresses)
        current = [member for member in members if not member.is_former]
        is_late = ceremony is not None and self._should_be_over(ceremony, readings.follower)
        return HealthInput(
            not_ready=tuple(readings.not_ready),
            member=any(member.is_self for member in current),
            share=public.key.has_share or newest is None,
            away=tuple(member.operator for member in current if not member.is_there),
            outdated=public.membership.outdated,
            operators=len(current),
            holders=len(holders & {member.operator for member in members if member.is_there}),
            threshold=0 if newest is None else newest.threshold,
            phase=ceremony.status().phase if ceremony is not None and is_late else None,
            chain_error=public.chain.error,
            accused=tuple(member.operator for member in current if member.evidence),
            anchor_error=public.records.anchor_error,
            canary=readings.canary,
            rpc_states=() if rpc is None else tuple(each.state for each in rpc.providers),
            stale=public.chain.is_stale,
        )

    def _should_be_over(self, ceremony: Ceremony, follower: BoundaryStatistics) -> bool:
        """Return whether half an interval has passed since its boundary, and no whole one."""
        head = 0 if follower.head is None else follower.head.number
        interval = self.config.session.interval_blocks
        return interval <= 2 * (head - ceremony.session.boundary.number) < 2 * interval

    def _next_boundary(self, follower: BoundaryStatistics, now: float) -> NextBoundary | None:
        """Return the next boundary.

        Its time is estimated by the expected time between blocks, from when the head was first seen.
        """
        if follower.head is None or follower.head_at is None:
            return None
        head, session = follower.head.number, self.config.session
        block = newest_boundary(head, session.interval_blocks) + session.interval_blocks
        seconds = (block - head) * session.block_seconds - (now - follower.head_at)
        return NextBoundary(block=block, blocks=block - head, seconds=max(0.0, seconds))

    def _versions(self) -> Iterator[VersionStatus]:
        """Return the newest versions, the newest first."""
        for held in reversed(list(self.versions)[-MAX_SHOWN_VERSIONS:]):
            yield self._version(held)

    def _version(self, held: HeldVersion) -> VersionStatus:
        transcript, certificate = held.epoch.transcript, held.epoch.certificate
        return VersionStatus(
            transcript=transcript,
            signers=len(certificate.signers(transcript.recipients)),
            served=self.engine.served(transcript),
            has_share=held.share is not None,
        )

    def _member(self, entry: PeerEntry, connected: frozenset[object], now: float) -> MemberStatus:
        ping, is_self = self.pulse.result_of(entry.operator), entry.operator == self.config.operator
        is_connected = entry.peer in connected
        return MemberStatus(
            operator=entry.operator,
            is_self=is_self,
            is_former=entry.former,
            peer=entry.peer,
            socket=entry.socket,
            addresses=self.config.network.announce if is_self else entry.addresses,
            is_connected=is_connected,
            is_proven=is_connected and entry.proven,
            ping=ping,
            seen_seconds=None if ping.seen_at is None else now - ping.seen_at,
            evidence=self.engine.accused.get(entry.operator, 0),
        )


def _ceremony(ceremony: Ceremony) -> CeremonyDetails:
    return CeremonyDetails(
        session=ceremony.session,
        is_rotation=ceremony.is_rotation,
        status=ceremony.status(),
        steps=ceremony.progress(),
    )
