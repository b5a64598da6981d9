"""The peer-to-peer host: one call opens it, one nursery owns everything in it.

The layers above have operators, keys and protocols. This layer has only peers, bytes, protocols and topics. It offers *calls* to a
peer with an answer, *gossip* to all peers that the gate admits, and the *connections* under both, which it keeps up itself.
``limits`` bounds what a stranger can use. ``hardening`` makes libp2p survive one. ::

    open_host ─┬─ libp2p swarm, pubsub and router   (its death ends the context with HostStoppedError)
               ├─ listener   ── one task a connection
               ├─ dialer     ── one task a dial, an address that it tries, a name
               ├─ RPC client ── one task an outbound stream
               └─ upkeep     ── gossip streams, idle clients

At the end of the context the host stops accepting, says goodbye to all peers at once and cuts the rest, within two seconds.
``import libp2p`` takes half a second, so it happens when a host is opened and not when this module is imported.
"""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from importlib import import_module
from typing import Any, Final

import trio

from eigenkms.p2p.connections import Connections
from eigenkms.p2p.counters import Counters
from eigenkms.p2p.dialing.connector import Connector
from eigenkms.p2p.dialing.dialer import Dialer
from eigenkms.p2p.dialing.stream_opener import StreamOpener
from eigenkms.p2p.errors import CallRefusedError, CallTimeout, HostStoppedError, PeerUnreachable, RpcRefusal
from eigenkms.p2p.gate import ProtocolGate
from eigenkms.p2p.gossip import GossipService, Subscription
from eigenkms.p2p.identity import PeerAddress, PeerId, PeerKey, TransportAddress
from eigenkms.p2p.limits import Limits
from eigenkms.p2p.listening.handshake_turns import OperatorAddresses
from eigenkms.p2p.listening.listener import TcpListener, bind_all, raise_file_limit
from eigenkms.p2p.rpc.client import RpcClient
from eigenkms.p2p.rpc.server import RpcServer
from eigenkms.p2p.types import GOSSIP, Gate, GossipMessage, Handler, Request, Statistics, Validator
from eigenkms.p2p.upgrader import Upgrader
from eigenkms.types import DialOutcome

__all__ = [
    "GOSSIP",
    "CallRefusedError",
    "CallTimeout",
    "Gate",
    "GossipMessage",
    "Handler",
    "Host",
    "HostStoppedError",
    "Limits",
    "PeerUnreachable",
    "Request",
    "RpcRefusal",
    "Statistics",
    "Validator",
    "open_host",
]

log = logging.getLogger("eigenkms.p2p.host")


class Host:
    """An open host. Made by ``open_host``; unusable after its context ends."""

    def __init__(
        self,
        key: PeerKey,
        limits: Limits,
        gate: Gate | None,
        topics: Sequence[str],
        listening: Sequence[TransportAddress] = (),
    ) -> None:
        swarm_module = import_module("eigenkms.p2p.hardening.swarm")
        self.peer_id: Final = key.peer_id
        self.addresses: Final = tuple(PeerAddress(address, key.peer_id) for address in listening)
        self._gate = ProtocolGate(gate)
        self._counters = Counters()
        self._operators = OperatorAddresses()
        self._libp2p = swarm_module.build(key, limits)
        swarm, trusts = self._libp2p.get_network(), self._gate.trusts
        self._gossip = GossipService(self._libp2p, topics, trusts, limits, self._counters)
        self._connections = Connections(
            swarm,
            key.peer_id,
            limits,
            trusts,
            self._counters,
            on_admitted=self._operators.add_seen,
            on_closed=self._gossip.connection_closed,
        )
        self._upgrader = Upgrader(swarm, limits)
        upgrade = self._upgrader.upgrade
        self._listener = TcpListener(upgrade, self._connections, self._operators, limits, self._counters)
        self._connector = Connector(upgrade, key.peer_id, limits, self._counters)
        self._dialer = Dialer(self._connector, self._connections, limits, self._counters)
        opener = StreamOpener(self._libp2p, self._dialer, self._connections, limits)
        self._rpc_client = RpcClient(opener.open, limits)
        self._rpc_server = RpcServer(self._gate, limits, self._counters)
        swarm_module.guard_streams(self._libp2p, self._serve_stream, self._count_bad_stream, limits)

    def __repr__(self) -> str:
        return f"<Host {self.peer_id}>"

    # ----- calls

    def serve(self, protocol: str, handler: Handler) -> None:
        """Answer requests on ``protocol`` with ``handler``.

        They come from peers that the gate admits. A protocol is written ``/eigenkms/NAME/VERSION``.
        """
        self._rpc_server.add(protocol, handler)
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
        """Call ``method`` of ``peer`` on ``protocol`` and return the body of the answer.

        The body has at most ``Limits.rpc.body`` bytes. Connects if need be. Raises PeerUnreachable, CallTimeout (after
        ``timeout`` seconds, all included), CallRefusedError if the peer refuses, InputError for a body over the limit. May be
        cancelled at any time without harm to the connection. If it raises PeerUnreachable or CallTimeout, the request may
        still have been carried out.
        """
        return await self._rpc_client.get(peer, protocol).call(method, body, timeout)

    async def _serve_stream(self, stream: Any, protocol: str) -> None:
        stream.muxed_conn.trust(self._gate.trusts(stream.peer))
        if not self._gate.admits(stream.peer, protocol):
            self._counters.gated_streams += 1
            log.debug("%s refused to %s", protocol, stream.peer)
        elif protocol == GOSSIP:
            await self._gossip.read_from(stream)
        else:
            await self._rpc_server.serve(stream, protocol)

    def _count_bad_stream(self, reason: str) -> None:
        self._counters.bad_streams += 1
        self._counters.bad_frames += reason == "FrameError"

    # ----- connections

    def set_addresses(self, peer: PeerId, addresses: Sequence[object]) -> None:
        """Set the addresses of ``peer``, the best first.

        They are multiaddrs or their text, with or without ``/p2p/``. They replace the former ones; an empty sequence forgets
        them. Raises InputError for text that is no address.
        """
        self._dialer.set_addresses(peer, addresses)
        self._operators.set_announced(peer, addresses)

    def set_home(self, address: TransportAddress | None) -> None:
        """Set an address of the network of this host and its peers.

        If it is public, no private address is dialled.
        """
        self._connector.home = address

    def keep_connected(self, peers: set[PeerId] | frozenset[PeerId]) -> None:
        """Dial these peers whenever they are not connected.

        Replaces the former set; closes nothing.

        Sockets from their addresses do not wait behind those of strangers.
        """
        kept = frozenset(peers) - {self.peer_id}
        self._dialer.keep_connected(kept)
        self._operators.set_operators(kept)

    async def disconnect(self, peer: PeerId) -> None:
        """Close the connections of ``peer``. The gate decides whether it may come back."""
        await self._connections.disconnect(peer)

    def connected(self) -> frozenset[PeerId]:
        """Return the peers with an open connection, clients included."""
        return self._connections.peers()

    async def wait_connected(self, peer: PeerId, timeout: float) -> None:  # noqa: ASYNC109
        """Return when ``peer`` is connected, inbound or outbound.

        Raises PeerUnreachable after ``timeout`` seconds.
        """
        with trio.move_on_after(max(0.0, timeout)) as scope:
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
        """Dial ``peer`` at ``address`` and return the outcome within ``timeout`` seconds.

        The connection is closed. ``public_only`` tries no address of a private network, whatever this host's home is. Never raises.
        """
        return await self._connector.probe(peer, address, timeout, public_only=public_only)

    # ----- gossip

    async def publish(self, topic: str, data: bytes) -> None:
        """Publish ``data`` to the mesh of ``topic``, not to this host's own subscription.

        A lost message must be pulled.

        Raises InputError over ``Limits.gossip.message`` bytes, or for a topic that the host was not opened with.
        """
        await self._gossip.publish(topic, data)

    def subscribe(self, topic: str, validator: Validator) -> Subscription:
        """Return the messages of ``topic`` that ``validator`` accepts.

        These are new ones, and those of the last 30 s that peers hold. The subscription holds ``Limits.gossip.subscription``
        messages, and ``Limits.gossip.of_one`` bytes of each origin. Newer ones are dropped, and counted, until it is read.
        Raises InputError for a topic that the host was not opened with, or that has a subscription already.
        """
        return self._gossip.subscribe(topic, validator)

    # ----- statistics

    def statistics(self) -> Statistics:
        """Return the connections of now, and counters since the host was opened."""
        counted = {name: getattr(self._counters, name) for name in Counters.__slots__ if "gossip" not in name}
        return Statistics(
            connected=len(self._connections.peers()),
            clients=len(self._connections.clients()),
            handshakes=self._listener.handshakes,
            gossip=self._gossip.statistics(),
            held_for_strangers=self._upgrader.strangers.held,
            cut_strangers=self._upgrader.strangers.cuts,
            **counted,
        )

    # ----- start and stop

    async def _run_services(self, started: trio.Event) -> None:
        """Run libp2p's own services; each dies with an exception if one of its tasks does."""
        background = import_module("libp2p.tools.anyio_service").background_trio_service
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._libp2p.run([]))
            for service in self._gossip.services():
                await stack.enter_async_context(background(service))
            started.set()
            await trio.sleep_forever()

    async def _start(self, nursery: trio.Nursery, listeners: Sequence[trio.SocketListener]) -> None:
        services = trio.Event()
        nursery.start_soon(self._run_services, services)
        await services.wait()
        for part in (self._dialer, self._rpc_client, self._gossip):
            nursery.start_soon(part.run)
            await part.started.wait()
        nursery.start_soon(self._connections.sweep)
        if listeners:
            nursery.start_soon(self._listener.serve, listeners, nursery)

    async def _stop(self) -> None:
        for part in (self._listener, self._dialer, self._rpc_client):
            part.stop()
        await self._connections.close()
        self._gossip.close()

    def _release(self) -> None:
        self._connections.cut_all()


@cache
def _load() -> None:
    """Import libp2p, which takes half a second, and check its version."""
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
    """Run a host for the length of the context.

    ``listen``: multiaddrs such as ``/ip4/0.0.0.0/tcp/9000`` (port 0 takes a free one, see ``Host.addresses``). Clients
    have none. ``gate``: decides which peer may use which protocol. Without one, every peer may. A peer that it admits to
    ``GOSSIP`` is trusted, all others are clients. ``topics``: the only topics. Without any there is no gossip.

    Raises InputError naming the address that cannot be bound, HardeningError for another libp2p than ours, HostStoppedError if
    the swarm dies while the context is open. An exception of the context's body passes through unchanged.
    """
    if not _load.cache_info().currsize:
        await trio.to_thread.run_sync(_load, limiter=trio.CapacityLimiter(1))
    bound = bind_all(listen)
    if bound:
        raise_file_limit()
    listeners = [listener for _, listener in bound]
    host = Host(key, limits or Limits(), gate, topics, [address for address, _ in bound])
    failure: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                await host._start(nursery, listeners)  # noqa: SLF001 - the same module
                try:
                    yield host
                except Exception as error:  # noqa: BLE001 - raised again below, outside of the nursery
                    failure = error
            finally:
                await host._stop()  # noqa: SLF001
                nursery.cancel_scope.cancel()
    except* Exception as group:
        log.exception("host %s stopped", host.peer_id)
        failure = HostStoppedError(f"run host {host.peer_id}: {_first(group)}")
        failure.__cause__ = group
    finally:
        host._release()  # noqa: SLF001
        for listener in listeners:
            listener.socket.close()
    if failure is not None:
        raise failure


def _first(group: BaseExceptionGroup[Exception]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
