"""The operator node: storage, chain, network and machines in one nursery.

    run_node ─┬─ boundary follower      (chain errors are retried for ever, and shown)
              ├─ boundaries             (operator set at each, session opened or passed)
              ├─ engine                 (the machines; a disk that refuses ends the node)
              └─ links                  (greet, pull, gossip)

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
from typing import TYPE_CHECKING

import trio

from eigenkms.chain.boundaries import BoundaryFollower, newest_boundary
from eigenkms.chain.config import ChainConfig
from eigenkms.chain.epochs import verify_epoch
from eigenkms.chain.reader import EigenLayerChain, OperatorRead, open_chain
from eigenkms.crypto import bn254
from eigenkms.errors import ChainError, EigenKmsError, InputError
from eigenkms.node.config import NodeConfig
from eigenkms.node.engine import Engine
from eigenkms.node.links import Links
from eigenkms.node.peers import PeerBook
from eigenkms.node.policy import Policy
from eigenkms.node.services import Services, explain
from eigenkms.node.versions import Versions
from eigenkms.p2p.host import GOSSIP, Host, open_host
from eigenkms.p2p.identity import PeerId, PeerKey
from eigenkms.protocols import wire
from eigenkms.protocols.operator import Operator
from eigenkms.protocols.peer_record import build_peer_record
from eigenkms.protocols.requests import decode_info, encode_info_request
from eigenkms.protocols.session import Parameters, Session, cluster_id
from eigenkms.storage.store import Store, StoreIdentity
from eigenkms.types import BlockRef, ClusterId

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger(__name__)

_FLOOR, _CONSENT = "vote-floor", "genesis-consent"


@dataclass(frozen=True)
class NodeKeys:
    """What the node's keystores hold, and the password its data folder is sealed under."""

    bn254: bn254.KeyPair
    peer: PeerKey
    password: str = field(repr=False)


async def run_node(
    config: NodeConfig, keys: NodeKeys, task_status: "TaskStatus[Host]" = trio.TASK_STATUS_IGNORED
) -> None:
    """Run until cancelled. Raises ``EigenKmsError`` for what the operator must mend."""
    chain_config = ChainConfig(
        rpc_url=config.rpc_url,
        chain_id=config.chain_id,
        avs=config.avs,
        operator_set_id=config.operator_set_id,
        allocation_manager=config.allocation_manager,
        key_registrar=config.key_registrar,
        finality=config.finality,
    )
    cluster = cluster_id(chain_config.cluster)
    async with open_chain(chain_config) as chain, _open_store(config, keys, cluster) as store:
        node = Node(config, keys, cluster, chain, store)
        await node.check_registration()
        await node.guard_votes()
        async with open_host(
            keys.peer,
            listen=config.listen,
            gate=node.gate,
            topics=[wire.gossip_topic(cluster)],
        ) as host:
            await node.run(host, task_status)


async def run_until_signalled(config: NodeConfig, keys: NodeKeys) -> None:
    """``run_node`` that SIGTERM and SIGINT stop cleanly."""
    async with trio.open_nursery() as root:

        async def stop_on_signal() -> None:
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                async for number in signals:
                    log.info("stopping on %s", signal.Signals(number).name)
                    root.cancel_scope.cancel()
                    return

        root.start_soon(stop_on_signal)
        await run_node(config, keys)


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
        self, config: NodeConfig, keys: NodeKeys, cluster: ClusterId, chain: EigenLayerChain, store: Store
    ) -> None:
        self._config = config
        self._keys = keys
        self._cluster = cluster
        self._chain = chain
        self._store = store
        self._peers = PeerBook(cluster, config.operator, keys.peer.peer_id)
        self._versions = Versions(store)
        operator = Operator(config.operator, keys.bn254, os.urandom)
        operator.has_version = len(self._versions) > 0
        self._engine = Engine(operator, store, self._versions, self._peers.key_of)
        self._services = Services(
            cluster=cluster,
            me=config.operator,
            key=keys.bn254,
            engine=self._engine,
            peers=self._peers,
            versions=self._versions,
            policy=Policy("open" if config.policy == "open" else "closed"),
            status=self.status,
        )
        self._parameters = Parameters(
            interval_blocks=config.interval_blocks,
            finality=str(config.finality),
            window_ms=config.window_ms,
            genesis_quorum=config.genesis_quorum,
            min_operators=config.min_operators,
        )
        self._floor = 0
        self._consent = False
        self._follower: BoundaryFollower | None = None
        self._host: Host | None = None

    def gate(self, peer: PeerId, protocol: str) -> bool:
        """Strangers reach the client protocol only."""
        if protocol in (GOSSIP, wire.OPERATOR_PROTOCOL):
            return self._peers.may_speak(peer)
        return protocol == wire.CLIENT_PROTOCOL

    # -- before anything is said -----------------------------------------------------------------------------

    async def check_registration(self) -> None:
        """The chain must know this operator under this very key; an operator that is not a member yet waits."""
        found = await self._chain.operators_at(await self._chain.head())
        self._peers.update(found.operators)
        for address, reason in found.rejected:
            log.warning("operator 0x%s is left out: %s", address.hex(), reason)
        if self._config.operator not in found.operator_set.addresses:
            log.warning(
                "operator 0x%s is not in the operator set at this block: waiting to be registered",
                self._config.operator.hex(),
            )
        self._check_own_key(found)

    def _check_own_key(self, found: OperatorRead) -> None:
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
        head = await self._chain.head()
        await trio.to_thread.run_sync(self._guard, newest_boundary(head.number, self._config.interval_blocks))

    def _guard(self, newest: int) -> None:
        store = self._store
        if store.get_meta(_FLOOR) is None or store.rolled_back:
            if store.rolled_back:
                log.warning("the data folder is a restored or copied one: not voting up to block %d", newest)
            store.set_meta(_FLOOR, str(newest).encode())
            store.set_meta(_CONSENT, b"0")
            store.acknowledge_rollback()
        if self._config.genesis:
            store.set_meta(_CONSENT, b"1")
        self._floor = int(store.get_meta(_FLOOR) or b"0")
        self._consent = store.get_meta(_CONSENT) == b"1"
        if not self._consent and not len(self._versions):
            log.warning(
                "this data folder is new and genesis is not allowed: start with --genesis if this operator has never "
                "taken part in a genesis with another data folder"
            )

    # -- running ---------------------------------------------------------------------------------------------

    async def run(self, host: Host, task_status: "TaskStatus[Host]" = trio.TASK_STATUS_IGNORED) -> None:
        """Serve and take part, until cancelled."""
        self._host = host
        record = build_peer_record(
            self._keys.bn254,
            cluster=self._cluster,
            operator=self._config.operator,
            peer_id=bytes(host.peer_id),
            addresses=self._announced(host),
            sequence=time.time_ns() // 1_000_000,
        )
        self._services.announce(record)
        links = Links(host, self._peers, self._engine, self._services, self._cluster, record)
        links.pace(self._parameters.window)
        host.serve(wire.CLIENT_PROTOCOL, self._services.client)
        host.serve(wire.OPERATOR_PROTOCOL, self._services.operator)
        links.refresh()
        send, receive = trio.open_memory_channel[BlockRef](1)
        self._follower = BoundaryFollower(
            self._chain, self._config.interval_blocks, self._config.poll_seconds, start_after=self._floor
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(links.run)
            nursery.start_soon(self._engine.run, links)
            await self._engine.restore(links, time.time())
            nursery.start_soon(self._follower.run, send)
            nursery.start_soon(self._boundaries, receive, links)
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
        return list(self._config.announce) or [a.multiaddr for a in bound]

    async def _boundaries(self, receive: trio.MemoryReceiveChannel[BlockRef], links: Links) -> None:
        async with trio.open_nursery() as nursery:
            async for block in receive:
                if not len(self._versions):
                    if (
                        self._parameters.genesis_quorum
                    ):  # fewer than all can make a key: first hear whether one exists
                        await self._catch_up()
                    else:
                        nursery.start_soon(self._catch_up)
                try:
                    await self._at_boundary(block, links)
                except ChainError as error:
                    log.warning("boundary at block %d is lost to this node: %s", block.number, explain(error))
                except InputError as error:
                    log.warning("boundary at block %d has no session: %s", block.number, explain(error))

    async def _at_boundary(self, block: BlockRef, links: Links) -> None:
        found = await self._chain.operators_at(block)
        for address, reason in found.rejected:
            log.warning("operator 0x%s is left out: %s", address.hex(), reason)
        self._peers.update(found.operators)
        links.refresh()
        self._check_own_key(found)
        session = Session(self._cluster, block, found.operator_set, self._parameters)
        self._tell_missing()
        joined = await self._engine.boundary(links, session, may_join=await self._may_join(block))
        fields = {"event": "boundary", "block": block.number, "operators": session.n, "joined": joined}
        log.info(
            "boundary at block %d: session %s, %d operators%s",
            block.number,
            session.id.hex()[:8],
            session.n,
            "" if joined else ", not joined",
            extra={"fields": {**fields, "session": session.id.hex()[:8]}},
        )

    async def _may_join(self, block: BlockRef) -> bool:
        if block.number <= self._floor or not self._consent or len(self._versions):
            return False
        if not self._config.genesis and await self._chain.members_ever_left(block):
            log.warning(
                "an operator once left this set and may hold a key: genesis needs --genesis on every operator"
            )
            return False
        return True

    def _tell_missing(self) -> None:
        """Name who kept the last session from a key."""
        for ceremony in self._engine.live[-1:]:
            missing = ceremony.status().missing
            if missing:
                names = ", ".join("0x" + a.hex() for a in missing)
                log.warning(
                    "session %s stayed without a key: no dealing came from %s; trying again at this boundary",
                    ceremony.session.id.hex()[:8],
                    names,
                    extra={"fields": {"event": "void", "missing": ["0x" + a.hex() for a in missing]}},
                )

    async def _catch_up(self) -> None:
        """Ask connected operators whether a version exists that this node missed; adopt one that the chain confirms."""
        assert self._host is not None
        bound = [p for p in sorted(self._host.connected()) if self._peers.operator_of(p) is not None]
        async with trio.open_nursery() as nursery:
            for peer in bound:
                nursery.start_soon(self._ask_version, peer)

    async def _ask_version(self, peer: PeerId) -> None:
        assert self._host is not None
        request = encode_info_request(self._cluster, os.urandom(32))
        try:
            answer = await self._host.call(peer, wire.CLIENT_PROTOCOL, wire.INFO, request, timeout=2.0)
            epoch = decode_info(answer).epoch
            await verify_epoch(self._chain, self._cluster, epoch)
        except EigenKmsError as error:
            log.debug("newest version of %s: %s", peer, error)
            return
        binding = [c for c in self._engine.live if c.session.id == epoch.transcript.session]
        if not binding:
            log.warning("a master key exists that this node took no part in: it waits for the next reshare")
            await self._engine.adopt(epoch)

    # -- status ----------------------------------------------------------------------------------------------

    def status(self) -> dict[str, object]:
        """What ``eigenkms status`` shows; nothing in it is secret."""
        newest = self._versions.newest
        live = self._engine.live
        follower = self._follower.statistics() if self._follower is not None else None
        connected = self._host.connected() if self._host is not None else frozenset()
        bound = [p for p in connected if self._peers.operator_of(p) is not None]
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
            "session": None if not live else live[-1].session.id.hex(),
            "phase": None if not live else live[-1].status().phase,
            "missing": [] if not live else ["0x" + a.hex() for a in live[-1].status().missing],
            "boundary": None if follower is None or follower.boundary is None else follower.boundary.number,
            "head": None if follower is None or follower.head is None else follower.head.number,
            "chain_error": None
            if follower is None or not follower.failures_in_row
            else follower.last_failure,
            "evidence": self._engine.evidence,
        }
