"""Accepting strangers: from a listening socket to a connection that ``connections`` may admit.

Until a socket has proven who it is, nothing is known about it but its IP address. Such sockets have places of their own,
three seconds, and 64 KiB; when the places are full, the oldest handshake goes, first among those of the same address. An
honest handshake takes some ten milliseconds, so fifteen hundred silent sockets do not keep it out: they only push out
each other. Ports are bound without SO_REUSEPORT, with which a second process would silently take half of the connections.
"""

import errno
import logging
import resource
import socket as stdlib_socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from eigenkms.errors import InputError
from eigenkms.p2p.connections import Connections, is_loopback, remote_ip
from eigenkms.p2p.counters import Counters
from eigenkms.p2p.errors import PeerUnreachable
from eigenkms.p2p.identity import TransportAddress, parse_transport
from eigenkms.p2p.limits import Limits

log = logging.getLogger("eigenkms.p2p.listener")

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
    """A listener needs more file descriptors than the customary 1024: take what the system allows, up to 8192."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    log.info("raised the limit of open files from %d to %d", soft, wanted)


@dataclass(eq=False, slots=True)
class _Handshake:
    ip: str
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class Listener:
    """Accepts on bound sockets for one host."""

    def __init__(self, secure: Secure, connections: Connections, limits: Limits, counters: Counters) -> None:
        self._secure = secure
        self._connections = connections
        self._limits = limits
        self._counters = counters
        self._handshakes: dict[_Handshake, None] = {}
        self._accepting = trio.CancelScope()

    @property
    def handshakes(self) -> int:
        """Sockets that have not yet proven who they are."""
        return len(self._handshakes)

    async def serve(self, listeners: Sequence[trio.SocketListener], nursery: trio.Nursery) -> None:
        """Accept until ``stop``; each connection is a task of ``nursery``. Closes the listeners."""
        with self._accepting:
            await trio.serve_listeners(self._welcome, listeners, handler_nursery=nursery)

    def stop(self) -> None:
        """Accept no more. Connections that are open stay open."""
        self._accepting.cancel()

    async def _welcome(self, socket: trio.SocketStream) -> None:
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
        """The muxed connection; None for one that failed, dawdled or made room."""
        handshake = _Handshake(remote_ip(socket))
        self._make_room(handshake.ip)
        self._handshakes[handshake] = None
        handshake.scope.deadline = trio.current_time() + self._limits.upgrade_timeout
        try:
            with handshake.scope:
                return await self._secure(socket)
        except Exception as error:  # noqa: BLE001 - a stranger's bytes; libp2p raises what it likes
            log.debug("handshake with %s: %s", handshake.ip, type(error).__name__)
        finally:
            self._handshakes.pop(handshake, None)
        return None

    def _make_room(self, ip: str) -> None:
        places = self._limits.loopback_per_ip if is_loopback(ip) else self._limits.handshakes_per_ip
        same = [each for each in self._handshakes if each.ip == ip]
        if len(same) >= places:
            self._evict(same[0])
        elif len(self._handshakes) >= self._limits.handshakes:
            self._evict(next(iter(self._handshakes)))

    def _evict(self, handshake: _Handshake) -> None:
        self._counters.evicted += 1
        del self._handshakes[handshake]
        handshake.scope.cancel()
