"""The operator node: storage, chain, network and machines in one nursery.

    run_node ─┬─ boundary follower      (chain errors are retried for ever, and shown)
              ├─ boundaries             (operator set at each, session opened or passed)
              ├─ sources                (versions made without this node are asked for)
              ├─ engine                 (the machines; a disk that refuses ends the node)
              └─ links                  (greet, pull, push, fetch, gossip)

SIGTERM and SIGINT cancel the root; everything durable is durable already, so leaving takes the time of saying goodbye.
"""

import logging
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address

import trio

from eigenkms.applications import Applications
from eigenkms.chain.anchor import Anchor, open_anchor
from eigenkms.chain.applications import applications_of
from eigenkms.chain.boundaries import BoundaryFollower, newest_boundary
from eigenkms.chain.operator_set import ChainOperator, RawOperatorSet
from eigenkms.chain.operator_set_source import OperatorSetSource, open_chain
from eigenkms.config.node import NodeConfig
from eigenkms.crypto import bn254
from eigenkms.errors import ChainError, InputError
from eigenkms.node import log_fields
from eigenkms.node.anchor_publisher import AnchorPublisher, anchoring_terms
from eigenkms.node.authorisation.factory import open_policy
from eigenkms.node.authorisation.policy import Policy
from eigenkms.node.engine import Engine
from eigenkms.node.http.api import KeyApi
from eigenkms.node.http.listener import HttpBinding, serve_api
from eigenkms.node.issuer import PartialSignatureIssuer, open_releaser
from eigenkms.node.key_versions import Versions
from eigenkms.node.monitor.api import MonitorApi, serve_monitor
from eigenkms.node.monitor.canary import Canary
from eigenkms.node.monitor.clock_skew import warn_if_behind
from eigenkms.node.monitor.details import NodeDetailsReader
from eigenkms.node.monitor.log_bounds import bounded_lines
from eigenkms.node.monitor.metric_tables import MetricsInput
from eigenkms.node.monitor.metrics import Metrics
from eigenkms.node.monitor.page import page_routes
from eigenkms.node.monitor.recent_warnings import RecentWarnings
from eigenkms.node.monitor.status import StatusReporter
from eigenkms.node.network.client_handlers import ClientHandlers, explain
from eigenkms.node.network.operator_handlers import OperatorHandlers
from eigenkms.node.network.operator_network import OperatorNetwork
from eigenkms.node.network.peer_book import FUTURE_MS, PeerBook
from eigenkms.node.network.peer_records import PeerRecordService
from eigenkms.node.network.ping import PeerPinger
from eigenkms.node.network.signature_checks import SignatureChecks
from eigenkms.node.network.version_sync import VersionSync
from eigenkms.node.systemd import SystemdNotifier
from eigenkms.node.workers import Workers
from eigenkms.p2p.host import GOSSIP, Host, open_host
from eigenkms.p2p.identity import PeerId, PeerKey
from eigenkms.protocols.ceremony.participant import Participant
from eigenkms.protocols.wire import rpc_methods
from eigenkms.protocols.wire.peer_record import build_peer_record
from eigenkms.protocols.wire.session import Parameters, Session, cluster_id
from eigenkms.storage.familiar import FamiliarApplications
from eigenkms.storage.rebuild import RESTORED
from eigenkms.storage.store import Store, StoreIdentity
from eigenkms.types import BlockRef, ClusterId, OperatorAddress

log = logging.getLogger(__name__)

_FLOOR, _CONSENT, _SEQUENCE = "vote-floor", "genesis-consent", "record-sequence"


@dataclass(frozen=True)
class NodeKeys:
    """What the node's keystores hold, and the password its data folder is sealed under."""

    bn254: bn254.KeyPair
    peer: PeerKey
    password: str = field(repr=False)
    account: bytes | None = field(repr=False, default=None)
    """The operator's own account, 32 bytes, where it anchors versions."""


async def run_node(
    config: NodeConfig,
    keys: NodeKeys,
    task_status: trio.TaskStatus[Host] = trio.TASK_STATUS_IGNORED,
    *,
    applications: Applications | None = None,
) -> None:
    """Run until cancelled. ``applications`` is asked by the policy attested; without it, the chain's app controller.

    Raises ``EigenKmsError`` for what the operator must mend.
    """
    with bounded_lines():
        await _run_node(config, keys, task_status, applications)


async def _run_node(
    config: NodeConfig, keys: NodeKeys, task_status: trio.TaskStatus[Host], applications: Applications | None
) -> None:
    chain_config = config.chain
    cluster = cluster_id(chain_config.cluster)
    async with (
        RecentWarnings.collect() as recent,
        open_chain(chain_config, watch=True) as chain,
        _open_store(config, keys, cluster) as store,
        open_policy(config, cluster, applications or await _applications(config, chain)) as policy,
        open_releaser(config.data_dir, cluster, config.operator, keys.bn254) as releaser,
        _open_anchor(config, cluster) as anchor,
    ):
        node = Node(config, keys, cluster, chain, store, policy, releaser, recent, anchor)
        await node.check_registration()
        await node.guard_votes()
        async with open_host(
            keys.peer,
            listen=config.network.listen,
            gate=node.gate,
            topics=[rpc_methods.gossip_topic(cluster)],
        ) as host:
            await node.run(host, task_status)


async def _applications(config: NodeConfig, chain: OperatorSetSource) -> Applications | None:
    """Those of the chain, if the policy asks for them. Raises ``StorageError``, ``ChainError`` if their contract is not there."""
    if config.policy.mode != "attested":
        return None
    kept = await trio.to_thread.run_sync(FamiliarApplications.open, config.data_dir)
    found = await trio.to_thread.run_sync(applications_of, chain, kept)
    if found is not None:
        await found.check()
    return found


async def run_until_signalled(config: NodeConfig, keys: NodeKeys) -> None:
    """``run_node`` that SIGTERM and SIGINT stop cleanly; a process manager is told when it is up, and when it stops."""
    supervisor = SystemdNotifier(os.environ)
    async with trio.open_nursery() as root:

        async def stop_on_signal() -> None:
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                async for number in signals:
                    log.info("stopping on %s", signal.Signals(number).name)
                    supervisor.tell("STOPPING=1")
                    root.cancel_scope.cancel()
                    return

        root.start_soon(stop_on_signal)
        root.start_soon(supervisor.keep_beating)
        await root.start(run_node, config, keys)
        supervisor.tell("READY=1")


@asynccontextmanager
async def _open_anchor(config: NodeConfig, cluster: ClusterId) -> AsyncIterator[Anchor | None]:
    """The anchor, if there is one; whether it can be reached shows later, as nothing waits for it."""
    if config.anchor.registry is None:
        yield None
        return
    async with open_anchor(config.anchor.registry, cluster) as anchor:
        yield anchor


@asynccontextmanager
async def _open_store(config: NodeConfig, keys: NodeKeys, cluster: ClusterId) -> AsyncIterator[Store]:
    identity = StoreIdentity(cluster, config.operator)

    def opener() -> Store:
        return Store.open(config.data_dir, password=keys.password, identity=identity, rng=os.urandom)

    store = await trio.to_thread.run_sync(opener)
    try:
        yield store
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(store.close)


class Node:
    """The parts of one running node, wired."""

    def __init__(
        self,
        config: NodeConfig,
        keys: NodeKeys,
        cluster: ClusterId,
        chain: OperatorSetSource,
        store: Store,
        policy: Policy,
        releaser: PartialSignatureIssuer,
        recent: RecentWarnings | None = None,
        anchor: Anchor | None = None,
    ) -> None:
        self._config = config
        self._keys = keys
        self._cluster = cluster
        self._chain = chain
        self._store = store
        self._policy = policy
        self._releaser = releaser
        self._recent = RecentWarnings() if recent is None else recent
        self._peers = PeerBook(cluster, config.operator, keys.peer.peer_id)
        self._pulse = PeerPinger(self._peers)
        self._versions = Versions(store)
        operator = Participant(config.operator, keys.bn254, os.urandom, self._pulse.grace)
        self._workers = Workers(os.urandom)
        self._engine = Engine(operator, store, self._versions, self._workers, self._peers.key_of)
        checks = SignatureChecks(self._peers)
        self._greeter = PeerRecordService(self._peers, checks)
        self._anchoring: AnchorPublisher | None = None
        if anchor is not None:
            terms = anchoring_terms(config.anchor.max_gas_price_gwei)
            writer = None if keys.account is None else anchor.sender(keys.account, terms)
            self._anchoring = AnchorPublisher(anchor, writer, config.operator, self._engine.other_than)
        canary = self._canary = Canary(
            cluster, config.operator, self._versions, self._peers, config.monitor.canary_seconds
        )
        self._report = StatusReporter(
            config, cluster, chain, self._peers, self._versions, self._engine, releaser
        )
        self._report.anchoring = self._anchoring
        self._report.canary = canary
        self._report.pulse = self._pulse
        self._services = ClientHandlers(
            cluster=cluster,
            me=config.operator,
            key=keys.bn254,
            engine=self._engine,
            peers=self._peers,
            versions=self._versions,
            policy=policy,
            releaser=releaser,
            greeter=self._greeter,
            checks=checks,
            status=self._report.public_status,
        )
        self._operator_services = OperatorHandlers(cluster, self._peers, self._engine, canary.answer)
        self._api = KeyApi(
            cluster=cluster,
            operator=config.operator,
            versions=self._versions,
            policy=policy,
            releaser=releaser,
            not_ready=self._report.not_ready,
            rate=config.http.rate,
            app_sign=config.http.app_sign,
        )
        self._metrics = Metrics()
        self._metrics.look = self._look
        self._monitor = MonitorApi(
            status=self._report.operator_status,
            not_ready=self._report.not_ready,
            names=config.monitor.names,
            routes=[*page_routes(), self._metrics.route],
        )
        self._parameters = Parameters(
            interval_blocks=config.session.interval_blocks,
            finality=str(config.chain.finality),
            window_ms=config.session.window_ms,
            genesis_quorum=config.session.genesis_quorum,
            min_operators=config.session.min_operators,
        )
        self._floor = 0
        self._consent = False
        self._seen_before = False
        self._doubts = 0
        self._clock_behind = 0.0
        self._api_bound: HttpBinding | None = None
        self._host: Host | None = None

    def status(self) -> dict[str, object]:
        """What this node says of itself to anybody who asks; nothing in it is secret."""
        return self._report.public_status().to_json()

    def _look(self) -> MetricsInput:
        """What the metrics are read from."""
        return MetricsInput(
            status=self._report.operator_status(),
            ready=not self._report.not_ready(),
            now=trio.current_time(),
            follower=None if self._report.follower is None else self._report.follower.statistics(),
            engine=self._engine.statistics(),
            host=None if self._host is None else self._host.statistics(),
            canary=self._canary,
            data_dir=self._config.data_dir,
            clock_behind=self._clock_behind,
            certificate_end=None if self._api_bound is None else self._api_bound.certificate_end,
        )

    def gate(self, peer: PeerId, protocol: str) -> bool:
        """Strangers reach the client protocol only."""
        if protocol in (GOSSIP, rpc_methods.OPERATOR_PROTOCOL):
            return self._peers.may_speak(peer)
        return protocol == rpc_methods.CLIENT_PROTOCOL

    # -- before anything is said -----------------------------------------------------------------------------

    async def check_registration(self) -> None:
        """The chain must know this operator under this very key; an operator that is not a member yet waits."""
        found = await self._chain.operators_at(await self._chain.head())
        self._clock_behind = warn_if_behind(found.block, time.time())
        self._peers.update(found.operators)
        for address, reason in found.rejected:
            log.warning("operator 0x%s is left out: %s", address.hex(), reason)
        if self._config.operator not in found.operator_set.addresses:
            log.warning(
                "operator 0x%s is not in the operator set at this block: waiting to be registered",
                self._config.operator.hex(),
            )
        self._check_own_key(found)

    def _check_own_key(self, found: RawOperatorSet) -> None:
        """Raise ``InputError`` if the chain knows this operator under another key than the keystore's."""
        mine = found.operator_set.get(self._config.operator)
        if mine is not None and mine.key != self._keys.bn254.g2:
            raise InputError(
                f"use the BN254 keystore: the key of operator 0x{mine.address.hex()} on chain is another one",
                hint="give the keystore of the key that was registered for this operator and operator set",
            )

    async def guard_votes(self) -> None:
        """A new, restored or copied store may have forgotten votes: it votes in no boundary up to the newest one, and in
        no genesis unless the operator says that it may (docs/protocol.md, Crashes).
        """
        head, newest = await self._chain.head(), await self._chain.newest_number()
        seen = newest_boundary(max(head.number, newest), self._config.session.interval_blocks)
        await trio.to_thread.run_sync(self._guard, seen)

    def _guard(self, newest: int) -> None:
        store = self._store
        if store.get_meta(_FLOOR) is None or store.rolled_back:
            if store.rolled_back:
                log.warning("the data folder is a restored or copied one: not voting up to block %d", newest)
            store.set_meta(_FLOOR, str(newest).encode())
            store.set_meta(_CONSENT, b"0")
            store.acknowledge_rollback()
        if self._config.session.genesis and store.get_meta(RESTORED) is None:
            store.set_meta(_CONSENT, b"1")
        elif self._config.session.genesis and not len(self._versions):
            log.warning(
                "genesis is set, but this data folder was restored or begun anew, and an earlier one may have taken part in one: "
                "no genesis with it"
            )
        self._floor = int(store.get_meta(_FLOOR) or b"0")
        self._consent = store.get_meta(_CONSENT) == b"1"
        if not self._consent and not len(self._versions):
            log.warning(
                "this data folder is new and genesis is not allowed: start with --genesis if this operator has never "
                "taken part in a genesis with another data folder"
            )

    # -- running ---------------------------------------------------------------------------------------------

    async def run(self, host: Host, task_status: trio.TaskStatus[Host] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve and take part, until cancelled."""
        self._host = self._report.host = self._services.reacher.host = host
        self._report.overview = NodeDetailsReader(
            self._config,
            self._peers,
            self._versions,
            self._engine,
            self._pulse,
            self._recent,
            started_at=trio.current_time(),
        )
        self._greeter.record = build_peer_record(
            self._keys.bn254,
            cluster=self._cluster,
            operator=self._config.operator,
            peer_id=bytes(host.peer_id),
            addresses=self._announced(host),
            sequence=await trio.to_thread.run_sync(self._next_sequence),
        )
        links = OperatorNetwork(host, self._peers, self._engine, self._greeter, self._cluster)
        links.set_window(self._parameters.window)
        sources = VersionSync(
            self._chain,
            self._cluster,
            host,
            self._peers,
            self._versions,
            self._engine,
            links,
            self._parameters,
        )
        host.serve(rpc_methods.CLIENT_PROTOCOL, self._metrics.metered(self._services.client))
        host.serve(rpc_methods.OPERATOR_PROTOCOL, self._metrics.metered(self._operator_services.answer))
        links.refresh()
        send, receive = trio.open_memory_channel[BlockRef](1)
        follower = self._report.follower = BoundaryFollower(
            self._chain,
            self._config.session.interval_blocks,
            self._config.session.poll_seconds,
            start_after=self._floor,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._workers.prepare)
            nursery.start_soon(links.run)
            nursery.start_soon(self._pulse.run, host)
            nursery.start_soon(self._releaser.run)
            if self._policy.authoriser is not None:
                nursery.start_soon(self._policy.authoriser.run)
            nursery.start_soon(self._engine.run, links)
            await self._engine.restore(links, time.time(), floor=self._floor)
            self._api_bound = await nursery.start(
                serve_api, self._config, self._metrics.counted(self._api.app)
            )
            await nursery.start(serve_monitor, self._config.monitor.listen, self._monitor.app)
            nursery.start_soon(follower.run, send)
            nursery.start_soon(self._boundaries, receive, links, sources, follower)
            nursery.start_soon(sources.learn)
            nursery.start_soon(sources.find)
            nursery.start_soon(self._canary.run, host)
            if self._anchoring is not None:
                nursery.start_soon(self._anchoring.run)
                if self._config.session.genesis and not len(self._versions):
                    nursery.start_soon(self._anchoring.warn_of_genesis)
            log.info(
                "node of operator 0x%s is up as peer %s",
                self._config.operator.hex(),
                host.peer_id,
                extra={"fields": {"event": "up", "peer": str(host.peer_id)}},
            )
            task_status.started(host)

    def _announced(self, host: Host) -> list[str]:
        """Addresses for my record, without the peer id; none that only mean "wherever I am"."""
        bound = (a for a in host.addresses if not ip_address(a.transport.host).is_unspecified)
        return list(self._config.network.announce) or [a.multiaddr for a in bound]

    def _next_sequence(self) -> int:
        """Unix milliseconds, or one more than this node's last record had: where the clock went back, the others would keep an
        older one, with an older peer id. Not if the clock was so far ahead that nobody took that record.
        """
        now = time.time_ns() // 1_000_000
        last = int(self._store.get_meta(_SEQUENCE) or b"0")
        sequence = max(now, last + 1) if last <= now + FUTURE_MS else now
        self._store.set_meta(_SEQUENCE, str(sequence).encode())
        return sequence

    async def _boundaries(
        self,
        receive: trio.MemoryReceiveChannel[BlockRef],
        links: OperatorNetwork,
        sources: VersionSync,
        follower: BoundaryFollower,
    ) -> None:
        async with trio.open_nursery() as nursery:
            async for block in receive:
                if not self._engine.has_version:
                    # where fewer than all can make a key: first hear whether one exists
                    if self._parameters.genesis_quorum:
                        await sources.ask_all()
                    else:
                        nursery.start_soon(sources.ask_all)
                await self._attend(block, links, follower)

    async def _attend(self, block: BlockRef, links: OperatorNetwork, follower: BoundaryFollower) -> None:
        """What is to be done at a boundary. If the chain cannot say enough, or RPCs disagree, it comes again."""
        try:
            await self._at_boundary(block, links)
        except ChainError as error:
            self._doubts += 1
            self._report.boundary_error = str(error)
            text = "boundary at block %d opens no session: %s; trying again"
            if not follower.requeue(block):
                text = "boundary at block %d is lost to this node: %s"
            elif self._doubts & (self._doubts - 1):  # told at the 1st, 2nd, 4th, 8th … in a row
                return
            log.warning(text, block.number, explain(error))
            return
        except InputError as error:
            log.warning("boundary at block %d has no session: %s", block.number, explain(error))
        self._doubts = 0
        self._report.boundary_error = None

    async def _at_boundary(self, block: BlockRef, links: OperatorNetwork) -> None:
        found = await self._chain.agreed_operators_at(block)
        self._clock_behind = warn_if_behind(block, time.time())
        for address, reason in found.rejected:
            log.warning("operator 0x%s is left out: %s", address.hex(), reason)
        before = await self._operators_before(block)
        holders = self._holders | {operator.address for operator in before}
        self._peers.update(found.operators, holders=holders, former=before)
        links.refresh()
        self._check_own_key(found)
        session = Session(self._cluster, block, found.operator_set, self._parameters)
        joined = await self._engine.boundary(
            links,
            session,
            may_vote=block.number > self._floor,
            may_found=await self._may_found(block),
        )
        log.info(
            "boundary at block %d: session %s, %d operators%s",
            block.number,
            log_fields.named(session.id),
            session.n,
            "" if joined else ", not joined",
            extra=log_fields.of(
                session.id, "boundary", block=block.number, operators=session.n, joined=joined
            ),
        )

    @property
    def _holders(self) -> frozenset[OperatorAddress]:
        """Who deals at the next boundary, member or not."""
        known = self._versions.known()
        return frozenset(known[-1].epoch.transcript.recipients.addresses) if known else frozenset()

    async def _operators_before(self, block: BlockRef) -> tuple[ChainOperator, ...]:
        """The set one boundary ago, read once after the start: whoever left it since may still have to deal to this node."""
        number = block.number - self._config.session.interval_blocks
        if self._seen_before or number <= 0:
            return ()
        self._seen_before = True
        try:
            before = await self._chain.block(number)
            found = None if before is None else await self._chain.agreed_operators_at(before)
        except ChainError as error:
            log.info("operators at block %d are not known: %s", number, explain(error))
            return ()
        return () if found is None else found.operators

    async def _may_found(self, block: BlockRef) -> bool:
        """Whether this operator may take part in a genesis at this boundary."""
        if not self._consent or len(self._versions):
            return False
        if not self._config.session.genesis and await self._chain.members_ever_left(block):
            log.warning(
                "an operator once left this set and may hold a key: genesis needs --genesis on every operator"
            )
            return False
        reason = None
        if not self._config.session.genesis and self._anchoring is not None:
            reason = await self._anchoring.forbids_genesis()
        if reason is not None:
            log.warning("%s: genesis needs --genesis on every operator", reason)
        return reason is None
