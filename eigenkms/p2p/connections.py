"""The authenticated connections of a host: admission and eviction.

libp2p's swarm keeps the list; this class decides what enters it. A trusted peer always gets in and may have four connections: one
that it dialled, one that this host dialled, and a successor of each. A successor is needed while the loss of a dead connection is
not yet noticed. All other peers are clients, and clients have a fixed number of places, per address and in total. A newcomer always
gets one: the client without a request for the longest time loses its own. So an attacker that fills all places and stays silent
excludes no client. One that keeps sending requests pays a handshake and a request for every place, each time.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from weakref import WeakSet

import trio

from eigenkms.p2p.counters import Counters
from eigenkms.p2p.errors import PeerUnreachable
from eigenkms.p2p.identity import PeerId
from eigenkms.p2p.limits import Limits
from eigenkms.p2p.prefixes import prefix_of

log = logging.getLogger("eigenkms.p2p.connections")

_SWEEP: Final = 10.0


def is_loopback(ip: str) -> bool:
    """Return whether the address is this machine's own."""
    return ip.startswith("127.") or ip in {"::1", ""}


def is_alive(muxed: Any) -> bool:
    """Return whether a connection is neither cut nor closed, by either side."""
    return muxed.socket.socket.fileno() != -1 and not muxed.event_shutting_down.is_set()


def remote_ip(socket: trio.SocketStream) -> str:
    """Return the address at the other end, "" if it is gone already."""
    with suppress(OSError):
        return str(socket.socket.getpeername()[0])
    return ""


class Connections:
    """The connections of one swarm."""

    def __init__(
        self,
        swarm: Any,
        own: PeerId,
        limits: Limits,
        trusted: Callable[[PeerId], bool],
        counters: Counters,
        *,
        on_admitted: Callable[[PeerId, str], None],
        on_closed: Callable[[Any], None],
    ) -> None:
        self.swarm = swarm
        self.own = own
        self.limits = limits
        self.trusted = trusted
        self.counters = counters
        self._on_admitted = on_admitted
        """Called with a trusted peer and its IP address."""
        self._on_closed = on_closed
        self._changed = trio.Event()
        self._admitted: WeakSet[Any] = WeakSet()
        swarm.register_notifee(self)

    # ----- who is connected

    def _all(self) -> list[Any]:
        return [
            conn for conn in self.swarm.get_connections() if not conn.is_closed and is_alive(conn.muxed_conn)
        ]

    def of(self, peer: PeerId) -> list[Any]:
        """Return the open connections of a peer, the newest last."""
        return [conn for conn in self._all() if conn.muxed_conn.peer_id.to_bytes() == peer.raw]

    def peers(self) -> frozenset[PeerId]:
        """Return all peers with an open connection."""
        return frozenset(PeerId(conn.muxed_conn.peer_id.to_bytes()) for conn in self._all())

    def clients(self) -> list[Any]:
        """Return the muxed connections of peers that are not trusted."""
        muxed = [conn.muxed_conn for conn in self._all()]
        return [each for each in muxed if not self.trusted(PeerId(each.peer_id.to_bytes()))]

    async def changed(self) -> None:
        """Return when a connection is next opened or closed."""
        await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # ----- what the swarm reports (libp2p's notifee interface)

    async def connected(self, _network: Any, _connection: Any) -> None:
        self._wake()

    async def disconnected(self, _network: Any, connection: Any) -> None:
        self.counters.lost_connections += 1
        self._on_closed(connection)
        self._wake()

    async def opened_stream(self, _network: Any, _stream: Any) -> None:
        """Do nothing."""

    async def closed_stream(self, _network: Any, _stream: Any) -> None:
        """Do nothing."""

    async def listen(self, _network: Any, _address: Any) -> None:
        """Do nothing."""

    async def listen_close(self, _network: Any, _address: Any) -> None:
        """Do nothing."""

    # ----- who may enter

    async def admit(self, muxed: Any, direction: str) -> None:
        """Give an authenticated connection to the swarm.

        Raises PeerUnreachable if it cannot be had.
        """
        peer = PeerId(muxed.peer_id.to_bytes())
        if peer == self.own:
            muxed.abort("is this very host")
            raise PeerUnreachable(f"connect to {peer}: that is this host")
        trusted = self.trusted(peer)
        muxed.trust(trusted)
        self._admitted.add(muxed)
        ip = remote_ip(muxed.socket)
        self._make_room(peer, None if trusted else ip)
        seconds = self.limits.connections.admission
        try:
            with trio.CancelScope(deadline=trio.current_time() + seconds, shield=True) as scope:
                await self.swarm.add_conn(muxed, direction)
        except Exception as error:
            muxed.abort("could not be set up")
            raise PeerUnreachable(f"connect to {peer}: it hung up") from error
        if scope.cancelled_caught:
            muxed.abort("took too long to be set up")
            raise PeerUnreachable(f"connect to {peer}: not set up within {seconds:g} s")
        log.debug("connected to %s (%s)", peer, direction)
        if trusted:
            self._on_admitted(peer, ip)

    def _make_room(self, peer: PeerId, client_ip: str | None) -> None:
        self._evict([conn.muxed_conn for conn in self.of(peer)], self.limits.connections.per_peer)
        if client_ip is None:
            return
        clients = self.clients()
        per_ip = (
            self.limits.connections.loopback_per_ip
            if is_loopback(client_ip)
            else self.limits.connections.clients_per_ip
        )
        prefix = prefix_of(client_ip)
        self._evict([each for each in clients if prefix_of(remote_ip(each.socket)) == prefix], per_ip)
        self._evict(clients, self.limits.connections.clients)

    def _evict(self, muxed: list[Any], places: int) -> None:
        for each in sorted(muxed, key=lambda one: one.last_request)[: max(0, len(muxed) + 1 - places)]:
            self.counters.evicted += 1
            each.abort("made room")

    async def sweep(self) -> None:
        """Apply changed trust and disconnect idle clients, every ten seconds."""
        while True:
            await trio.sleep(_SWEEP)
            now = trio.current_time()
            async with trio.open_nursery() as nursery:
                for conn in self._all():
                    trusted = self.trusted(PeerId(conn.muxed_conn.peer_id.to_bytes()))
                    conn.muxed_conn.trust(trusted)
                    if not trusted and now - conn.muxed_conn.last_request > self.limits.rpc.idle_stream:
                        nursery.start_soon(conn.muxed_conn.goodbye)

    async def disconnect(self, peer: PeerId) -> None:
        """Say goodbye to one peer, and cut it after ``close_timeout``."""
        await self._end(self.of(peer))

    async def close(self) -> None:
        """Say goodbye to all peers at once, and cut the rest after ``close_timeout``."""
        with trio.CancelScope(shield=True):
            await self._end(self.swarm.get_connections())

    async def _end(self, leaving: list[Any]) -> None:
        async with trio.open_nursery() as timer:
            timer.start_soon(self._cut, leaving)
            async with trio.open_nursery() as nursery:
                for conn in leaving:
                    nursery.start_soon(conn.muxed_conn.goodbye)
            timer.cancel_scope.cancel()

    def cut_all(self) -> None:
        """Close the socket of every connection that was ever admitted.

        One of them may have been in set-up when the host closed.
        """
        for muxed in self._admitted:
            muxed.socket.socket.close()

    async def _cut(self, connections: list[Any]) -> None:
        """Cut connections after ``close_timeout``.

        A goodbye to a peer that does not read is shielded like any write (P4): only a closed socket ends it.
        """
        await trio.sleep(self.limits.connections.close_timeout)
        for conn in connections:
            conn.muxed_conn.abort("did not let go")
