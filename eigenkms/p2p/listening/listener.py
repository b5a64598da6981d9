"""Accept strangers: from a listening socket to a connection that may be admitted.

Until a socket is authenticated, only its IP address is known. Such sockets have places of their own. A socket has three seconds to
send something and get a turn (``handshake_turns``), three more, and 64 KiB. When the places are full, the oldest handshake is cut,
first among those of the same prefix. An honest handshake takes some ten milliseconds, so fifteen hundred silent sockets do not keep
it out: they only push out each other. Places and turns exist twice, for strangers and for addresses of operators. So an operator
that restarts gets in, whatever strangers do. Ports are bound without SO_REUSEPORT, with which a second process would silently take
half of the connections.
"""

import errno
import logging
import resource
import socket as stdlib_socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from eigenkms.errors import InputError
from eigenkms.p2p.connections import Connections, is_loopback, remote_ip
from eigenkms.p2p.counters import Counters
from eigenkms.p2p.errors import PeerUnreachable
from eigenkms.p2p.identity import TransportAddress, parse_transport
from eigenkms.p2p.limits import Limits
from eigenkms.p2p.listening.handshake_turns import HandshakeTurns, OperatorAddresses
from eigenkms.p2p.prefixes import prefix_of

log = logging.getLogger("eigenkms.p2p.listening.listener")

BACKLOG: Final = 1024
OPEN_FILES: Final = 8192

_BIND_HINTS: Final = {
    errno.EADDRINUSE: "another process, maybe this node's predecessor, holds the port; stop it or choose another port",
    errno.EACCES: "ports below 1024 need a privilege; choose another port",
    errno.EADDRNOTAVAIL: "the address is none of this machine's; 0.0.0.0 listens on all of them",
}

Secure = Callable[[trio.SocketStream], Awaitable[Any]]


def _bind(address: TransportAddress) -> trio.SocketListener:
    family = stdlib_socket.AF_INET6 if address.kind == "ip6" else stdlib_socket.AF_INET
    raw = stdlib_socket.socket(family, stdlib_socket.SOCK_STREAM)
    try:
        raw.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_REUSEADDR, 1)
        if family == stdlib_socket.AF_INET6:
            raw.setsockopt(stdlib_socket.IPPROTO_IPV6, stdlib_socket.IPV6_V6ONLY, 1)
        raw.bind((address.host, address.port))
        raw.listen(BACKLOG)
    except OSError as error:
        raw.close()
        hint = _BIND_HINTS.get(error.errno or 0)
        raise InputError(f"listen on {address}: {error.strerror or error}", hint=hint) from error
    return trio.SocketListener(trio.socket.from_stdlib_socket(raw))


def bind_all(addresses: Sequence[str]) -> list[tuple[TransportAddress, trio.SocketListener]]:
    """Bind all addresses or none. Raises InputError naming the one that cannot be had."""
    bound: list[tuple[TransportAddress, trio.SocketListener]] = []
    try:
        for text in addresses:
            address = parse_transport(text, listening=True)
            listener = _bind(address)
            port = listener.socket.getsockname()[1]
            bound.append((TransportAddress(address.kind, address.host, port), listener))
    except InputError:
        for _, listener in bound:
            listener.socket.close()
        raise
    return bound


def raise_file_limit() -> None:
    """Raise the limit of open files as far as the system allows, up to 8192.

    A listener needs more than the customary 1024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    log.info("raised the limit of open files from %d to %d", soft, wanted)


@dataclass(eq=False, slots=True)
class _Handshake:
    prefix: str
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class _Lobby:
    """The sockets of one lane that have not yet proven who they are."""

    def __init__(self, limits: Limits, counters: Counters) -> None:
        self.handshakes: dict[_Handshake, None] = {}
        self.turns = HandshakeTurns(
            limits.handshakes.rate,
            limits.handshakes.burst,
            limits.handshakes.prefix_rate,
            limits.handshakes.prefix_burst,
        )
        self._limits = limits
        self._counters = counters

    @contextmanager
    def place(self, ip: str) -> Iterator[_Handshake]:
        """Hold a place; its scope is cancelled if a newcomer needs it."""
        handshake = _Handshake(prefix_of(ip))
        self._make_room(handshake.prefix, ip)
        self.handshakes[handshake] = None
        try:
            with handshake.scope:
                yield handshake
        finally:
            self.handshakes.pop(handshake, None)

    def _make_room(self, prefix: str, ip: str) -> None:
        places = (
            self._limits.connections.loopback_per_ip if is_loopback(ip) else self._limits.handshakes.per_ip
        )
        same = [each for each in self.handshakes if each.prefix == prefix]
        if len(same) >= places:
            self._evict(same[0])
        elif len(self.handshakes) >= self._limits.handshakes.at_once:
            self._evict(next(iter(self.handshakes)))

    def _evict(self, handshake: _Handshake) -> None:
        self._counters.evicted += 1
        del self.handshakes[handshake]
        handshake.scope.cancel()


class TcpListener:
    """Accepts on bound sockets for one host.

    Sockets from ``operators`` have places and turns of their own.
    """

    def __init__(
        self,
        secure: Secure,
        connections: Connections,
        operators: OperatorAddresses,
        limits: Limits,
        counters: Counters,
    ) -> None:
        self._secure = secure
        self._connections = connections
        self._operators = operators
        self._limits = limits
        self._counters = counters
        self._strangers = _Lobby(limits, counters)
        self._familiar = _Lobby(limits, counters)
        self._accepting = trio.CancelScope()

    @property
    def handshakes(self) -> int:
        """Sockets that have not yet proven who they are."""
        return len(self._strangers.handshakes) + len(self._familiar.handshakes)

    async def serve(self, listeners: Sequence[trio.SocketListener], nursery: trio.Nursery) -> None:
        """Accept until ``stop``; each connection is a task of ``nursery``.

        Closes the listeners.
        """
        for lobby in (self._strangers, self._familiar):
            nursery.start_soon(lobby.turns.run)
        with self._accepting:
            await trio.serve_listeners(self._accept, list(listeners), handler_nursery=nursery)

    def stop(self) -> None:
        """Accept no more. Connections that are open stay open."""
        self._accepting.cancel()

    async def _accept(self, socket: trio.SocketStream) -> None:
        self._counters.accepted += 1
        muxed = await self._authenticate(socket)
        if muxed is None:
            self._counters.refused_handshakes += 1
            return
        try:
            await self._connections.admit(muxed, "inbound")
        except PeerUnreachable as error:
            log.debug("inbound: %s", error)
        except Exception:
            log.exception("admit %s", muxed.peer_id)
        else:
            await muxed.event_closed.wait()

    async def _authenticate(self, socket: trio.SocketStream) -> Any | None:
        """Return the muxed connection; None for one that failed, dawdled or made room."""
        ip = remote_ip(socket)
        lobby = self._familiar if prefix_of(ip) in self._operators else self._strangers
        try:
            with lobby.place(ip) as handshake:
                handshake.scope.deadline = trio.current_time() + self._limits.handshakes.upgrade_timeout
                if not await socket.socket.recv(1, stdlib_socket.MSG_PEEK):
                    return None
                await lobby.turns.take(handshake.prefix)
                self._counters.handshakes_begun += 1
                handshake.scope.deadline = trio.current_time() + self._limits.handshakes.upgrade_timeout
                return await self._secure(socket)
        except Exception as error:  # noqa: BLE001 - a stranger's bytes; libp2p raises what it likes
            log.debug("handshake with %s: %s", ip, type(error).__name__)
        return None
