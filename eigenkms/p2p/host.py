"""The peer-to-peer host: one call opens it, one nursery owns everything in it.

Above it are operators, keys and protocols; in here there are only peers, bytes, protocols and topics. It offers three
things: *calls* to a peer with an answer, *gossip* to all peers that the gate admits, and the *connections* that both need,
kept up without further ado. What can be asked of a stranger is in ``limits``; how libp2p is made to survive one is in
``hardening``. ::

    open_host ─┬─ libp2p swarm, pubsub and router   (its death ends the context with HostStopped)
               ├─ listener ── one task a connection
               ├─ dialler  ── one task a dial, an address that it tries, a name
               ├─ sessions ── one task a stream we ask on
               └─ upkeep   ── gossip streams, idle clients

Leaving the context stops accepting, says goodbye to all peers at once and cuts what is left: within two seconds.
``import libp2p`` costs half a second, so it happens when a host is opened and not when this module is imported.
"""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from importlib import import_module
from typing import Any

import trio

from eigenkms.p2p.connections import Connections, is_alive, remote_ip
from eigenkms.p2p.counters import Counters
from eigenkms.p2p.deadlines import within
from eigenkms.p2p.dialing.connector import Connector
from eigenkms.p2p.dialing.dialer import Dialer
from eigenkms.p2p.errors import CallTimeout, HostStopped, PeerUnreachable, RpcRefusal, RpcRefused
from eigenkms.p2p.gossip import GossipService, Subscription
from eigenkms.p2p.identity import PeerAddress, PeerId, PeerKey, TransportAddress
from eigenkms.p2p.limits import Limits
from eigenkms.p2p.listening.handshake_turns import OperatorAddresses
from eigenkms.p2p.listening.listener import TcpListener, bind_all, raise_file_limit
from eigenkms.p2p.listening.read_allowances import Allowances
from eigenkms.p2p.rpc.client import RpcClient
from eigenkms.p2p.rpc.memory import MemoryPool
from eigenkms.p2p.rpc.server import RpcServer
from eigenkms.p2p.types import GOSSIP, Gate, GossipMessage, Handler, Request, Statistics, Validator
from eigenkms.types import DialOutcome

__all__ = [
    "GOSSIP",
    "CallTimeout",
    "Gate",
    "GossipMessage",
    "Handler",
    "Host",
    "HostStopped",
    "Limits",
    "PeerUnreachable",
    "Request",
    "RpcRefusal",
    "RpcRefused",
    "Statistics",
    "Validator",
    "open_host",
]

log = logging.getLogger("eigenkms.p2p.host")


def _safe_gate(gate: Gate | None) -> Gate:
    """The gate as it is asked everywhere: without one all are admitted; one that raises refuses."""
    if gate is None:
        return lambda _peer, _protocol: True

    def asked(peer: PeerId, protocol: str) -> bool:
        try:
            return bool(gate(peer, protocol))
        except Exception:
            log.exception("gate for %s on %s", peer, protocol)
            return False

    return asked


class Host:
    """An open host. Made by ``open_host``; unusable after its context ends."""

    def __init__(self, key: PeerKey, limits: Limits, gate: Gate | None, topics: Sequence[str]) -> None:
        swarm_module = import_module("eigenkms.p2p.hardening.swarm")
        links = import_module("eigenkms.p2p.hardening.handshake")
        self._limits = limits
        self._counters = Counters()
        self._strangers = MemoryPool(limits.strangers)
        self._allowances = Allowances(limits.client_rate)
        self._gate = _safe_gate(gate)
        self._libp2p = swarm_module.build(key, limits)
        self._open_stream = swarm_module.open_stream
        swarm = self._libp2p.get_network()
        self.peer_id = key.peer_id
        self.addresses: tuple[PeerAddress, ...] = ()
        self._operators = OperatorAddresses()
        self._connections = Connections(swarm, key.peer_id, limits, self._trusted, self._counters)
        self._connections.admitted_hooks.append(self._operators.add_seen)

        async def secure(socket: trio.SocketStream, expected: PeerId | None = None) -> Any:
            allowance = self._allowances.of(remote_ip(socket))
            return await links.secure(swarm, socket, expected, limits, self._strangers, allowance)

        self._listener = TcpListener(secure, self._connections, self._operators, limits, self._counters)
        self._connector = Connector(secure, key.peer_id, limits, self._counters)
        self._dialler = Dialer(self._connector, self._connections, limits, self._counters)
        self._sessions = RpcClient(self._open, limits)
        self._server = RpcServer(self._gate, self._trusted, limits, self._counters)
        self._topics = GossipService(self._libp2p, topics, self._trusted, limits, self._counters)
        self._connections.closed_hooks.append(self._topics.connection_closed)
        swarm_module.guard_streams(self._libp2p, self._serve_stream, self._count_bad_stream, limits)

    def __repr__(self) -> str:
        return f"<Host {self.peer_id}>"

    def _trusted(self, peer: PeerId) -> bool:
        return self._gate(peer, GOSSIP)

    # ----- calls

    def serve(self, protocol: str, handler: Handler) -> None:
        """Answer requests on ``protocol`` (``/eigenkms/NAME/VERSION``) with ``handler``, from peers that the gate admits."""
        self._server.add(protocol, handler)
        self._libp2p.set_stream_handler(protocol, None)

    async def call(
        self,
        peer: PeerId,
        protocol: str,
        method: str,
        body: bytes,
        *,
        timeout: float = 5.0,  # noqa: ASYNC109 - part of the promise
    ) -> bytes:
        """Ask ``peer`` for ``method`` on ``protocol``; the body of its answer, at most ``Limits.body`` bytes.

        Connects if need be. Raises PeerUnreachable, CallTimeout (after ``timeout`` seconds, all included), RpcRefused
        if the peer refuses, InputError for a body over the limit. May be cancelled at any time without harm to the
        connection. When it raises PeerUnreachable or CallTimeout, the request may have been carried out all the same.
        """
        return await self._sessions.get(peer, protocol).call(method, body, timeout)

    async def _open(self, peer: PeerId, protocol: str) -> Any:
        """A stream of ``protocol`` to ``peer``; a connection that turns out to be dead is replaced once."""
        for _ in range(2):
            await self._dialler.connect(peer)
            connections = self._connections.of(peer)
            if not connections:
                break
            try:
                return await self._open_stream(self._libp2p, connections[-1], peer, protocol, self._limits)
            except Exception as error:
                if is_alive(connections[-1].muxed_conn):
                    raise PeerUnreachable(f"open {protocol} to {peer}: it refused the stream") from error
        raise PeerUnreachable(f"connect to {peer}: it hung up")

    async def _serve_stream(self, stream: Any, protocol: str) -> None:
        stream.muxed_conn.trust(self._trusted(stream.peer))
        if not self._gate(stream.peer, protocol):
            self._counters.gated_streams += 1
            log.debug("%s refused to %s", protocol, stream.peer)
        elif protocol == GOSSIP:
            await self._topics.read_from(stream)
        else:
            await self._server.serve(stream, protocol)

    def _count_bad_stream(self, reason: str) -> None:
        self._counters.bad_streams += 1
        self._counters.bad_frames += reason == "FrameError"

    # ----- connections

    def set_addresses(self, peer: PeerId, addresses: Sequence[object]) -> None:
        """Where ``peer`` can be dialled: multiaddrs or their text, with or without ``/p2p/``, the best first.

        Replaces what was known; an empty sequence forgets it. Raises InputError for text that is no address.
        """
        self._dialler.set_addresses(peer, addresses)
        self._operators.set_announced(peer, addresses)

    def set_home(self, address: TransportAddress | None) -> None:
        """An address of the network that this host and its peers are in. If it is public, no private address is dialled."""
        self._connector.home = address

    def keep_connected(self, peers: set[PeerId] | frozenset[PeerId]) -> None:
        """Dial these peers whenever they are not connected. Replaces the former set; closes nothing.

        Sockets from their addresses do not wait behind those of strangers.
        """
        kept = frozenset(peers) - {self.peer_id}
        self._dialler.keep(kept)
        self._operators.set_operators(kept)

    async def part(self, peer: PeerId) -> None:
        """Close its connections. Whether it may come back is the gate's to say."""
        await self._connections.part(peer)

    def connected(self) -> frozenset[PeerId]:
        """The peers with an open connection, clients included."""
        return self._connections.peers()

    async def wait_connected(self, peer: PeerId, timeout: float) -> None:  # noqa: ASYNC109
        """Return when ``peer`` is connected, by whomever. Raises PeerUnreachable after ``timeout`` seconds."""
        with within(timeout) as scope:
            while peer not in self._connections.peers():
                await self._connections.changed()
        if scope.cancelled_caught:
            raise PeerUnreachable(f"wait for {peer}: not connected within {timeout:g} s")

    async def probe(
        self,
        peer: PeerId,
        address: TransportAddress,
        *,
        timeout: float,  # noqa: ASYNC109 - part of the promise
        public_only: bool = False,
    ) -> DialOutcome:
        """What a dial of its own to ``peer`` at ``address`` meets within ``timeout`` seconds; it is closed again at once.

        ``public_only`` tries no address of a private network, whatever this host's home is. Never raises.
        """
        return await self._connector.probe(peer, address, timeout, public_only=public_only)

    # ----- gossip

    async def publish(self, topic: str, data: bytes) -> None:
        """Hand ``data`` to the mesh of ``topic``; not to our own subscription. Best effort: what is lost must be pulled.

        Raises InputError over ``Limits.gossip`` bytes, or for a topic that the host was not opened with.
        """
        await self._topics.publish(topic, data)

    def subscribe(self, topic: str, validator: Validator) -> Subscription:
        """Messages of ``topic`` that ``validator`` takes, from now on, and what peers still hold of the last 30 seconds.

        It holds ``Limits.subscription`` messages, and ``Limits.gossip_of_one`` bytes of each origin; newer ones are dropped, and
        counted, until it is read. Raises InputError for a topic that the host was not opened with, or that is subscribed already.
        """
        return self._topics.subscribe(topic, validator)

    # ----- what is going on

    def statistics(self) -> Statistics:
        """Counters since the host was opened, and what is open now."""
        counted = {name: getattr(self._counters, name) for name in Counters.__slots__}
        return Statistics(
            connected=len(self._connections.peers()),
            clients=len(self._connections.clients()),
            handshakes=self._listener.handshakes,
            gossip_peers=self._topics.peers,
            gossip_errors=self._topics.errors,
            held_for_strangers=self._strangers.held,
            cut_strangers=self._strangers.cuts,
            **counted,
        )

    # ----- life

    async def _run_services(self, started: trio.Event) -> None:
        """libp2p's own services; each dies with an exception if one of its tasks does."""
        background = import_module("libp2p.tools.anyio_service").background_trio_service
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._libp2p.run([]))
            for service in self._topics.services():
                await stack.enter_async_context(background(service))
            started.set()
            await trio.sleep_forever()

    async def _start(
        self, nursery: trio.Nursery, bound: Sequence[tuple[TransportAddress, trio.SocketListener]]
    ) -> None:
        services = trio.Event()
        nursery.start_soon(self._run_services, services)
        await services.wait()
        for part in (self._dialler, self._sessions, self._topics):
            nursery.start_soon(part.run)
            await part.started.wait()
        nursery.start_soon(self._connections.sweep)
        self.addresses = tuple(PeerAddress(address, self.peer_id) for address, _ in bound)
        if bound:
            nursery.start_soon(self._listener.serve, [listener for _, listener in bound], nursery)

    async def _stop(self) -> None:
        for part in (self._listener, self._dialler, self._sessions):
            part.stop()
        await self._connections.close()
        self._topics.close()

    def _release(self) -> None:
        self._connections.cut_all()


@cache
def _load() -> None:
    """Import libp2p, which takes half a second, and check that it is the version that the guards are for."""
    for module in ("swarm", "handshake", "gossip"):
        import_module(f"eigenkms.p2p.hardening.{module}")
    import_module("eigenkms.p2p.hardening").apply_process_wide()


@asynccontextmanager
async def open_host(
    key: PeerKey,
    *,
    listen: Sequence[str] = (),
    limits: Limits | None = None,
    gate: Gate | None = None,
    topics: Sequence[str] = (),
) -> AsyncIterator[Host]:
    """A running host for the length of the context.

    ``listen``: multiaddrs such as ``/ip4/0.0.0.0/tcp/9000`` (port 0 takes a free one, see ``Host.addresses``); clients
    have none. ``gate``: who may use which protocol; without one, everybody. A peer that it admits to ``GOSSIP`` is
    trusted, all others are clients. ``topics``: the only topics that exist; without any there is no gossip.

    Raises InputError naming the address that cannot be bound, HardeningError for another libp2p than ours, HostStopped if
    the swarm dies while the context is open. What the body of the context raises passes through as it is.
    """
    if not _load.cache_info().currsize:
        await trio.to_thread.run_sync(_load, limiter=trio.CapacityLimiter(1))
    bound = bind_all(listen)
    if bound:
        raise_file_limit()
    host = Host(key, limits or Limits(), gate, topics)
    failure: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                await host._start(nursery, bound)  # noqa: SLF001 - the same module
                try:
                    yield host
                except Exception as error:  # noqa: BLE001 - raised again below, outside of the nursery
                    failure = error
            finally:
                await host._stop()  # noqa: SLF001
                nursery.cancel_scope.cancel()
    except* Exception as group:
        log.exception("host %s stopped", host.peer_id)
        failure = HostStopped(f"run host {host.peer_id}: {_first(group)}")
        failure.__cause__ = group
    finally:
        host._release()  # noqa: SLF001
        for _, listener in bound:
            listener.socket.close()
    if failure is not None:
        raise failure


def _first(group: BaseExceptionGroup[Exception]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
