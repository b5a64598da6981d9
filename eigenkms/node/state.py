"""The state of a node before its network: peers, versions, registration, votes."""

from dataclasses import dataclass

from eigenkms.node.key_versions import Versions
from eigenkms.node.network.peer_book import PeerBook
from eigenkms.node.registration import RegistrationCheck
from eigenkms.node.resources import NodeResources
from eigenkms.node.vote_guard import VoteGuard


@dataclass(frozen=True)
class NodeState:
    """Read by ``read_state``; every part is complete."""

    peers: PeerBook
    versions: Versions
    registration: RegistrationCheck
    guard: VoteGuard


async def read_state(resources: NodeResources) -> NodeState:
    """Check this operator's registration, then fix where it may vote.

    Both come before anything is sent. Raises ``InputError`` if the chain lists another key, and ``ChainError``.
    """
    config, keys = resources.config, resources.keys
    peers = PeerBook(resources.cluster, config.operator, keys.peer.peer_id)
    versions = Versions(resources.store)
    registration = RegistrationCheck(config.operator, keys.bn254.g2)
    await registration.check_at_start(resources.chain, peers)
    guard = await VoteGuard.open(resources, versions)
    return NodeState(peers, versions, registration, guard)
