"""The state of a node before its network: peers, versions, registration, votes."""

from dataclasses import dataclass

from eigenkms.node.backing_services import BackingServices
from eigenkms.node.key_versions import Versions
from eigenkms.node.network.peer_book import PeerBook
from eigenkms.node.registration import RegistrationCheck
from eigenkms.node.vote_guard import VoteGuard


@dataclass(frozen=True)
class NodeState:
    """Read by ``read_state``; every part is complete."""

    peers: PeerBook
    versions: Versions
    registration: RegistrationCheck
    guard: VoteGuard


async def read_state(backing: BackingServices) -> NodeState:
    """Check this operator's registration, then fix where it may vote.

    Both come before anything is sent. Raises ``InputError`` if the chain lists another key, and ``ChainError``.
    """
    config, keys = backing.config, backing.keys
    peers = PeerBook(backing.cluster, config.operator, keys.peer.peer_id)
    versions = Versions(backing.store)
    registration = RegistrationCheck(config.operator, keys.bn254.g2)
    await registration.check_at_start(backing.chain, peers)
    guard = await VoteGuard.open(backing, versions)
    return NodeState(peers, versions, registration, guard)
