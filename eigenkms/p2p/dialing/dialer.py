"""Dial peers: from a peer id to a connection, and again when it is lost.

Dials run in the host's own nursery, so a caller that waits for one may be cancelled without effect on it. Per peer there is one
dial at a time. Its back-off doubles from a quarter of a second to half a minute, with jitter, and starts again once a connection
has lasted. A dial tries a peer's addresses side by side (``connector``) and ends after five seconds. A few begin at once, because
a handshake computes. A dial that lasts longer than a second only waits, and gives its turn to the next peer. So peers that never
answer delay no other peer.

If two operators want each other, the one with the lower peer id dials. The other waits two seconds and then dials too, since the
first may be unable to (a firewall, an address that changed).
"""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import trio

from eigenkms.p2p.connections import Connections
from eigenkms.p2p.counters import Counters
from eigenkms.p2p.dialing.connector import Connector
from eigenkms.p2p.errors import PeerUnreachable
from eigenkms.p2p.identity import PeerId, TransportAddress, parse_transport
from eigenkms.p2p.limits import Limits

log = logging.getLogger("eigenkms.p2p.dialing.dialer")

_LASTED: Final = 5.0
_FAIL_FAST: Final = 1.0


@dataclass(slots=True)
class _Peer:
    """The addresses of a peer, and the state of its dials."""

    addresses: tuple[TransportAddress, ...] = ()
    first: int = 0
    """The address with which the next dial begins, if there are more than one dial tries."""
    renewed_at: float = float("-inf")
    """When new addresses last ended the back-off."""
    dialling: trio.Event | None = None
    race: trio.CancelScope | None = None
    """Of the dial under way; cancelled when the peer is connected by other means."""
    backoff: float = 0.0
    next_dial: float = 0.0
    since: float | None = None
    """When it was first seen to be missing; None while it is connected."""
    connected_at: float | None = None
    """When its connection was first seen; None while there is none."""
    failed_at: float = -1e9
    failure: PeerUnreachable | None = None

    def in_turn(self, most: int) -> tuple[TransportAddress, ...]:
        """Return the addresses of the next dial."""
        if len(self.addresses) <= most:
            return self.addresses
        first = self.first % len(self.addresses)
        return (*self.addresses[first:], *self.addresses[:first])[:most]

    def skip(self, most: int) -> None:
        """Let the next dial begin with the addresses that this one had no room for."""
        self.first += most

    def renew(self, addresses: tuple[TransportAddress, ...], now: float, pause: float) -> None:
        """Take other addresses.

        They end the back-off, unless others did so within ``pause`` seconds.
        """
        if now - self.renewed_at >= pause:
            self.backoff = self.next_dial = 0.0
            self.renewed_at = now
        self.addresses = addresses
        self.failed_at = -1e9

    def note(self, connected: bool, now: float) -> None:
        """Update ``since`` and ``connected_at``.

        A connection that lasted ends the series of back-offs.
        """
        if self.connected_at is not None and now - self.connected_at > _LASTED:
            self.backoff = self.next_dial = 0.0
        if connected:
            self.since, self.failure = None, None
            self.connected_at = now if self.connected_at is None else self.connected_at
        else:
            self.connected_at = None
            self.since = now if self.since is None else self.since


def read_addresses(peer: PeerId, addresses: Sequence[object]) -> tuple[TransportAddress, ...]:
    """Return the transport parts of multiaddrs, or of their text.

    They may name ``peer`` and no other. Raises InputError.
    """
    transports = []
    for address in map(str, addresses):
        transport, separator, named = address.partition("/p2p/")
        if separator and PeerId.parse(named) != peer:
            log.warning("address %s of %s names another peer: ignored", address, peer)
            continue
        transports.append(parse_transport(transport))
    return tuple(dict.fromkeys(transports))


class Dialer:
    """Keeps the peers of one host connected, and connects others on demand."""

    def __init__(
        self, connector: Connector, connections: Connections, limits: Limits, counters: Counters
    ) -> None:
        self._connector = connector
        self._connections = connections
        self._limits = limits
        self._counters = counters
        self._peers: dict[PeerId, _Peer] = {}
        self._kept: frozenset[PeerId] = frozenset()
        self._turns = trio.Semaphore(limits.dialing.at_once)
        self._wanted = trio.Event()
        self._nursery: trio.Nursery | None = None
        self.started = trio.Event()

    def set_addresses(self, peer: PeerId, addresses: Sequence[object]) -> None:
        """Replace what is known about where ``peer`` is. Raises InputError.

        New addresses are tried immediately, but once in ``Limits.dialing.backoff_max`` seconds: endless renewals wait.
        """
        transports = read_addresses(peer, addresses)
        if not transports and peer not in self._kept:
            self._peers.pop(peer, None)
            return
        known = self._peers.get(peer)
        if known is None:
            self._peers[peer] = _Peer(transports)
        elif transports != known.addresses:
            known.renew(transports, trio.current_time(), self._limits.dialing.backoff_max)
        else:
            return
        self._wanted.set()

    def keep_connected(self, peers: frozenset[PeerId]) -> None:
        """Dial these peers, and only these, whenever they are not connected."""
        self._kept = peers
        self._wanted.set()

    # ----- on demand

    async def connect(self, peer: PeerId) -> None:
        """Return when ``peer`` is connected.

        Raises PeerUnreachable; fails at once within a second of a failed dial.
        """
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
        self._nursery.start_soon(self._dial, peer, known, known.dialling, self._nursery)

    async def _dial(self, peer: PeerId, known: _Peer, done: trio.Event, nursery: trio.Nursery) -> None:
        try:
            await self._turns.acquire()
            nursery.start_soon(self._end_turn, done)
            await self._dial_addresses(peer, known)
            known.failure = None
        except PeerUnreachable as error:
            self._counters.failed_dials += 1
            known.failure = error
            known.failed_at = trio.current_time()
            known.skip(self._limits.dialing.addresses)
            log.debug("%s", error)
        finally:
            self._back_off(known)
            known.dialling = known.race = None
            done.set()
            self._wanted.set()

    def _back_off(self, known: _Peer) -> None:
        """Wait longer each time."""
        limits = self._limits
        known.backoff = min(max(2 * known.backoff, limits.dialing.backoff_min), limits.dialing.backoff_max)
        known.next_dial = trio.current_time() + known.backoff * random.uniform(0.5, 1.5)  # noqa: S311 - jitter

    async def _dial_addresses(self, peer: PeerId, known: _Peer) -> None:
        addresses = known.in_turn(self._limits.dialing.addresses)
        if self._connections.of(peer):
            return
        if not addresses:
            raise PeerUnreachable(f"connect to {peer}: no address is known")
        with trio.CancelScope() as race:
            known.race = race
            muxed = await self._connector.connect(peer, addresses)
        if not race.cancelled_caught:
            known.race = None
            await self._connections.admit(muxed, "outbound")

    async def _end_turn(self, done: trio.Event) -> None:
        """Give the turn to the next dial once this one is done, or only waits."""
        with trio.move_on_after(self._limits.dialing.turn):
            await done.wait()
        self._turns.release()

    # ----- supervision

    async def run(self) -> None:
        """Keep the wanted peers connected, and dial on demand, until ``stop``."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._connector.resolver.open(nursery)
            try:
                self.started.set()
                nursery.start_soon(self._watch_connections)
                while True:
                    await self._supervise()
            finally:
                self._nursery = None
                self._connector.resolver.close()

    def stop(self) -> None:
        """Dial nobody any more."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    async def _watch_connections(self) -> None:
        while True:
            await self._connections.changed()
            races = {peer: known.race for peer, known in self._peers.items() if known.race is not None}
            for peer in self._connections.peers() & races.keys() if races else ():
                races[peer].cancel()
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
            return now + self._limits.dialing.backoff_max
        grace = self._limits.dialing.grace if self._connections.own > peer and known.failure is None else 0.0
        due = max(known.next_dial, (now if known.since is None else known.since) + grace)
        if due > now:
            return due
        self._start(peer, known)
        return now + self._limits.dialing.backoff_max
