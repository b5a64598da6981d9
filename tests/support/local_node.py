"""One node in this process, complete before it runs: until it has a host of its own, it is over one without a network."""

from dataclasses import fields, is_dataclass, replace
from typing import Any

import trio

from eigenkms.node.app import Node
from eigenkms.node.backing_services import BackingServices
from eigenkms.node.ceremony_wiring import CeremonyServices
from eigenkms.node.key_versions import Versions
from eigenkms.node.monitor.recent_warnings import RecentWarnings
from eigenkms.node.network.own_record import make_own_record
from eigenkms.node.network.peer_book import PeerBook
from eigenkms.node.registration import RegistrationCheck
from eigenkms.node.server_wiring import NodeServers
from eigenkms.node.state import NodeState
from eigenkms.node.vote_guard import VoteGuard, VoteLimits
from eigenkms.p2p.host import Host
from eigenkms.p2p.identity import PeerId
from eigenkms.p2p.types import Statistics
from eigenkms.wire.frames import Frame


class IsolatedHost:
    """A host that nobody is connected to."""

    def __init__(self, peer_id: PeerId) -> None:
        self.peer_id = peer_id
        self.addresses = ()

    def connected(self) -> frozenset[PeerId]:
        return frozenset()

    def statistics(self) -> Statistics:
        return _zeros(Statistics)


def _zeros(kind: Any) -> Any:
    """Counters that all are 0, those of nested groups too."""
    values = {each.name: _zeros(each.type) if is_dataclass(each.type) else 0 for each in fields(kind)}
    return kind(**values)


class LocalNode:
    """A node that is built again over each host that it gets; the parts are those of the last one.

    ``own_record`` is its peer record before it has a host of its own.
    """

    def __init__(
        self, backing: BackingServices, own_record: Frame, recent: RecentWarnings | None = None
    ) -> None:
        config, keys = backing.config, backing.keys
        self.backing = backing
        self.own_record = own_record
        self.recent = RecentWarnings() if recent is None else recent
        peers = PeerBook(backing.cluster, config.operator, keys.peer.peer_id)
        versions = Versions(backing.store)
        self.state = NodeState(
            peers,
            versions,
            RegistrationCheck(config.operator, keys.bn254.g2),
            VoteGuard(VoteLimits(), backing.chain, versions, backing.anchor, genesis=config.session.genesis),
        )
        self.build(IsolatedHost(keys.peer.peer_id))

    def build(self, host: Any, own_record: Frame | None = None, *, started_at: float = 0.0) -> Node:
        """Wire the parts over a host; ``own_record`` by default as before."""
        self.own_record = own_record or self.own_record
        self.node = Node(self.backing, self.state, host, self.own_record, self.recent, started_at=started_at)
        return self.node

    @property
    def host(self) -> Host:
        return self.node.host

    @property
    def ceremonies(self) -> CeremonyServices:
        return self.node.ceremonies

    @property
    def services(self) -> NodeServers:
        return self.node.services

    def status(self) -> dict[str, object]:
        """What everybody may ask for."""
        return self.services.reporter.public_status().to_json()

    async def check_registration(self) -> None:
        await self.state.registration.check_at_start(self.backing.chain, self.state.peers)

    async def guard_votes(self) -> None:
        guard = await VoteGuard.open(self.backing, self.state.versions)
        self.state = replace(self.state, guard=guard)

    async def build_over(self, host: Host) -> Node:
        """As ``run_node`` does once the host is open."""
        record = await make_own_record(self.backing, host)
        return self.build(host, record, started_at=trio.current_time())
