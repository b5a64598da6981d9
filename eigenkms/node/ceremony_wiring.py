"""Wiring of the services that make key versions, over an open host.

Each service is complete when it is constructed, so the order here is the order of their needs. The pinger's latencies feed the
participant. The engine needs the participant, and the network needs the engine. The boundary handler needs all of them.
"""

import os
from dataclasses import dataclass

from eigenkms.chain.boundaries import BoundaryFollower
from eigenkms.node.anchor_publisher import AnchorPublisher, anchoring_terms
from eigenkms.node.backing_services import BackingServices
from eigenkms.node.boundary_handler import BoundaryHandler
from eigenkms.node.engine.engine import Engine
from eigenkms.node.engine.workers import Workers
from eigenkms.node.network.head_verifier import HeadVerifier
from eigenkms.node.network.operator_network import OperatorNetwork
from eigenkms.node.network.peer_records import PeerRecordService
from eigenkms.node.network.ping import PeerPinger
from eigenkms.node.network.signature_checks import SignatureChecks
from eigenkms.node.network.version_sync import VersionSync
from eigenkms.node.session_opener import SessionOpener
from eigenkms.node.state import NodeState
from eigenkms.p2p.host import Host
from eigenkms.protocols.ceremony.participant import Participant
from eigenkms.wire.frames import Frame


@dataclass(frozen=True)
class CeremonyServices:
    """The services of one node that make key versions.

    ``publisher`` is None if no anchor is configured.
    """

    pinger: PeerPinger
    workers: Workers
    engine: Engine
    checks: SignatureChecks
    records: PeerRecordService
    network: OperatorNetwork
    sync: VersionSync
    follower: BoundaryFollower
    boundaries: BoundaryHandler
    publisher: AnchorPublisher | None


def wire_ceremonies(
    backing: BackingServices, state: NodeState, host: Host, own_record: Frame
) -> CeremonyServices:
    """Wire the services over ``host``.

    ``own_record`` is this node's peer record there.
    """
    config, peers = backing.config, state.peers
    pinger = PeerPinger(peers)
    workers = Workers(os.urandom)
    engine = _make_engine(backing, state, pinger, workers)
    checks = SignatureChecks(peers)
    records = PeerRecordService(peers, checks, own_record)
    network = OperatorNetwork(host, peers, engine, records, backing.cluster, window=backing.parameters.window)
    verifier = HeadVerifier(backing.chain, backing.cluster, state.versions, backing.parameters.min_operators)
    sync = VersionSync(verifier, host, engine, network, window=backing.parameters.window)
    follower = BoundaryFollower(
        backing.chain,
        config.session.interval_blocks,
        config.session.poll_seconds,
        start_after=state.guard.limits.floor,
    )
    boundaries = BoundaryHandler(SessionOpener(backing, state, engine, network), sync, follower)
    publisher = _make_publisher(backing, engine)
    return CeremonyServices(
        pinger, workers, engine, checks, records, network, sync, follower, boundaries, publisher
    )


def _make_engine(backing: BackingServices, state: NodeState, pinger: PeerPinger, workers: Workers) -> Engine:
    participant = Participant(backing.config.operator, backing.keys.bn254, os.urandom, pinger.grace)
    return Engine(participant, backing.store, state.versions, workers, state.peers.key_of)


def _make_publisher(backing: BackingServices, engine: Engine) -> AnchorPublisher | None:
    """Return the publisher if there is an anchor.

    Without the operator's account it publishes nothing.
    """
    config, anchor, account = backing.config, backing.anchor, backing.keys.account
    if anchor is None:
        return None
    terms = anchoring_terms(config.anchor.max_gas_price_gwei)
    writer = None if account is None else anchor.sender(account, terms)
    return AnchorPublisher(anchor, writer, config.operator, engine.wait_for_newer)
