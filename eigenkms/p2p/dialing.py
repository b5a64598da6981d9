"""The address book and the dialler: from a peer id to a connection, and back to one when it is lost.

Dials run in the host's own nursery; whoever waits for one may be cancelled without touching it. Per peer there is one dial
at a time and a back-off that doubles from a quarter of a second to half a minute, with jitter, and starts afresh once a
connection has lasted. Of two operators that want each other the one with the lower peer id dials; the other waits
two seconds and dials too if nothing came, since the first may be unable to (a firewall, an address that changed).
"""

import errno
import logging
import random
import socket as stdlib_socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import trio

from eigenkms.p2p.connections import Connections
from eigenkms.p2p.counters import Counters
from eigenkms.p2p.deadlines import within
from eigenkms.p2p.errors import PeerUnreachable
from eigenkms.p2p.identity import PeerId, TransportAddress, is_public, parse_transport
from eigenkms.p2p.limits import Limits
from eigenkms.types import Reach

log = logging.getLogger("eigenkms.p2p.dialing")

Secure = Callable[[trio.SocketStream, PeerId], Awaitable[Any]]

_ANOTHER_PEER: Final = "another peer answers there"
_LASTED: Final = 5.0
_FAIL_FAST: Final = 1.0
_FAMILIES: Final = {"dns4": stdlib_socket.AF_INET, "dns6": stdlib_socket.AF_INET6}


@dataclass(slots=True)
class _Peer:
    """What the dialler knows about a peer."""

    addresses: tuple[TransportAddress, ...] = ()
    dialling: trio.Event | None = None
    backoff: float = 0.0
    next_dial: float = 0.0
    since: float | None = None
    """When it was first seen to be missing; None while it is connected."""
    connected_at: float | None = None
    """When its connection was first seen; None while there is none."""
    failed_at: float = -1e9
    failure: PeerUnreachable | None = None

    def note(self, connected: bool, now: float) -> None:
        """Keep ``since`` and ``connected_at``; a connection that lasted ends the series of back-offs."""
        if self.connected_at is not None and now - self.connected_at > _LASTED:
            self.backoff = self.next_dial = 0.0
        if connected:
            self.since, self.failure = None, None
            self.connected_at = now if self.connected_at is None else self.connected_at
        else:
            self.connected_at = None
            self.since = now if self.since is None else self.since


def read_addresses(peer: PeerId, addresses: Sequence[object]) -> tuple[TransportAddress, ...]:
    """The transport parts of multiaddrs (or their text), which may name ``peer`` and no other. Raises InputError."""
    transports = []
    for address in map(str, addresses):
        transport, separator, named = address.partition("/p2p/")
        if separator and PeerId.parse(named) != peer:
            log.warning("address %s of %s names another peer: ignored", address, peer)
            continue
        transports.append(parse_transport(transport))
    return tuple(dict.fromkeys(transports))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it came from, the members of groups one by one."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and len(chain) < 8:
        chain.append(cause)
    for each in chain:
        yield from each.exceptions if isinstance(each, BaseExceptionGroup) else (each,)


def _reason(error: BaseException) -> str:
    """What went wrong with a dial, in words."""
    causes = list(_causes(error))
    if any("Mismatch" in type(each).__name__ or "mismatch" in str(each) for each in causes):
        return _ANOTHER_PEER
    for each in causes:
        if isinstance(each, OSError) and each.strerror:
            return each.strerror.lower()
    return "it did not prove who it is"


def _met(error: BaseException) -> Reach:
    """What a dial that failed with ``error`` met."""
    found = {one.errno for one in _causes(error) if isinstance(one, OSError) and one.errno is not None}
    if found == {errno.ECONNREFUSED}:
        return Reach.REFUSED
    return Reach.OTHER_PEER if _reason(error) == _ANOTHER_PEER else Reach.FAILED


async def _resolve(address: TransportAddress) -> str:
    """The first IP address that the host of ``address`` stands for."""
    family = _FAMILIES.get(address.kind, stdlib_socket.AF_UNSPEC)
    found = await trio.socket.getaddrinfo(
        address.host, address.port, family=family, type=stdlib_socket.SOCK_STREAM
    )
    return str(found[0][4][0])


async def _open_tcp(address: TransportAddress) -> trio.SocketStream:
    host = await _resolve(address) if address.kind in _FAMILIES else address.host
    return await trio.open_tcp_stream(host, address.port)


class Dialler:
    """Keeps the peers of one host connected, and connects others on demand."""

    def __init__(self, secure: Secure, connections: Connections, limits: Limits, counters: Counters) -> None:
        self._secure = secure
        self._connections = connections
        self._limits = limits
        self._counters = counters
        self._peers: dict[PeerId, _Peer] = {}
        self._kept: frozenset[PeerId] = frozenset()
        self._slots = trio.CapacityLimiter(limits.dials)
        self._wanted = trio.Event()
        self._nursery: trio.Nursery | None = None
        self.started = trio.Event()

    def set_addresses(self, peer: PeerId, addresses: Sequence[object]) -> None:
        """Replace what is known about where ``peer`` is. New addresses are tried at once. Raises InputError."""
        transports = read_addresses(peer, addresses)
        if not transports and peer not in self._kept:
            self._peers.pop(peer, None)
            return
        known = self._peers.setdefault(peer, _Peer())
        if transports != known.addresses:
            known.addresses = transports
            known.backoff = known.next_dial = 0.0
            known.failed_at = -1e9
            self._wanted.set()

    def keep(self, peers: frozenset[PeerId]) -> None:
        """These peers, and only these, are dialled without being asked for."""
        self._kept = peers
        self._wanted.set()

    # ----- on demand

    async def connect(self, peer: PeerId) -> None:
        """Return when ``peer`` is connected. Raises PeerUnreachable; fails at once within a second of a failed dial."""
        if self._connections.of(peer):
            return
        known = self._peers.setdefault(peer, _Peer())
        if known.dialling is None:
            if known.failure is not None and trio.current_time() - known.failed_at < _FAIL_FAST:
                raise PeerUnreachable(str(known.failure)) from known.failure
            self._start(peer, known)
        if known.dialling is not None:
            await known.dialling.wait()
        if not self._connections.of(peer):
            raise PeerUnreachable(str(known.failure or f"connect to {peer}: it hung up")) from known.failure

    def _start(self, peer: PeerId, known: _Peer) -> None:
        if self._nursery is None:
            raise PeerUnreachable(f"connect to {peer}: this host is closed")
        known.dialling = trio.Event()
        self._nursery.start_soon(self._dial, peer, known)

    async def _dial(self, peer: PeerId, known: _Peer) -> None:
        done = known.dialling
        try:
            async with self._slots:
                await self._dial_addresses(peer, known)
            known.failure = None
        except PeerUnreachable as error:
            self._counters.failed_dials += 1
            known.failure = error
            known.failed_at = trio.current_time()
            log.debug("%s", error)
        finally:
            self._back_off(known)
            known.dialling = None
            if done is not None:
                done.set()
            self._wanted.set()

    def _back_off(self, known: _Peer) -> None:
        """Wait longer each time."""
        limits = self._limits
        known.backoff = min(max(2 * known.backoff, limits.backoff_min), limits.backoff_max)
        known.next_dial = trio.current_time() + known.backoff * random.uniform(0.5, 1.5)  # noqa: S311 - jitter

    async def _dial_addresses(self, peer: PeerId, known: _Peer) -> None:
        failure = PeerUnreachable(f"connect to {peer}: no address is known")
        for address in known.addresses:
            if self._connections.of(peer):
                return
            try:
                await self._dial_address(peer, address)
            except PeerUnreachable as error:
                failure = error
            else:
                return
        if not self._connections.of(peer):
            raise failure

    async def _dial_address(self, peer: PeerId, address: TransportAddress) -> None:
        self._counters.dials += 1
        seconds = self._limits.dial_timeout
        try:
            with within(seconds) as scope:
                muxed = await self._authenticate(peer, address)
        except Exception as error:
            raise PeerUnreachable(f"dial {peer} at {address}: {_reason(error)}") from error
        if scope.cancelled_caught:
            raise PeerUnreachable(f"dial {peer} at {address}: no answer within {seconds:g} s")
        await self._connections.admit(muxed, "outbound")

    async def _authenticate(self, peer: PeerId, address: TransportAddress) -> Any:
        socket = await _open_tcp(address)
        try:
            return await self._secure(socket, peer)
        except BaseException:
            await trio.aclose_forcefully(socket)
            raise

    # ----- to see what is there

    async def probe(
        self, peer: PeerId, address: TransportAddress, seconds: float, *, public_only: bool
    ) -> Reach:
        """What a fresh dial meets, whatever connections there are. Nothing is kept of it. Never raises."""
        reached = Reach.TIMED_OUT
        try:
            with within(seconds):
                ip = await _resolve(address)
                if public_only and not is_public(ip):
                    return Reach.NOT_PUBLIC
                found = TransportAddress("ip6" if ":" in ip else "ip4", ip, address.port)
                muxed = await self._authenticate(peer, found)
                reached = Reach.REACHED
                await muxed.goodbye()
        except Exception as error:  # noqa: BLE001 - a stranger's bytes; libp2p raises what it likes
            log.debug("probe %s at %s: %s", peer, address, _reason(error))
            return _met(error)
        return reached

    # ----- supervision

    async def run(self) -> None:
        """Keep the wanted peers connected, and dial on demand, until ``stop``."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                self.started.set()
                nursery.start_soon(self._watch_connections)
                while True:
                    await self._supervise()
            finally:
                self._nursery = None

    def stop(self) -> None:
        """Dial nobody any more."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    async def _watch_connections(self) -> None:
        while True:
            await self._connections.changed()
            self._wanted.set()

    async def _supervise(self) -> None:
        self._wanted = trio.Event()
        now = trio.current_time()
        connected = self._connections.peers()
        due = [self._due(peer, peer in connected, now) for peer in self._kept]
        with trio.CancelScope(deadline=min(due, default=now + 60.0)):
            await self._wanted.wait()

    def _due(self, peer: PeerId, connected: bool, now: float) -> float:
        """Dial a kept peer if it is time to; return when to look again."""
        known = self._peers.setdefault(peer, _Peer())
        known.note(connected, now)
        if connected:
            return now + _LASTED
        if known.dialling is not None or not known.addresses:
            return now + self._limits.backoff_max
        grace = self._limits.dial_grace if self._connections.own > peer and known.failure is None else 0.0
        due = max(known.next_dial, (now if known.since is None else known.since) + grace)
        if due > now:
            return due
        self._start(peer, known)
        return now + self._limits.backoff_max
