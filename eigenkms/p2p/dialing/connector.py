"""From a peer's addresses to an authenticated connection, within one deadline.

Anybody may have written an address. So all of these are expected: a name that its server does not answer, a socket that stays
silent, another peer, and an address of this host's own network. Addresses are tried side by side (``race``), names are looked up
aside (``resolver``), and a host whose own address is public dials public addresses alone.
"""

import errno
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import trio

from eigenkms.p2p.counters import Counters
from eigenkms.p2p.dialing.race import first_of
from eigenkms.p2p.dialing.resolver import SLOW_SECONDS, Resolver
from eigenkms.p2p.errors import PeerUnreachable
from eigenkms.p2p.identity import PeerId, TransportAddress, is_public
from eigenkms.p2p.limits import Limits
from eigenkms.types import DialOutcome

log = logging.getLogger("eigenkms.p2p.dialing.connector")

Secure = Callable[[trio.SocketStream, PeerId], Awaitable[Any]]

_ANOTHER_PEER: Final = "another peer answers there"


class PrivateAddressError(PeerUnreachable):
    """The address is one of a private network, and this host is in the public one."""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and its causes, the members of groups one by one."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and len(chain) < 8:
        chain.append(cause)
    for each in chain:
        yield from each.exceptions if isinstance(each, BaseExceptionGroup) else (each,)


def _reason(error: BaseException) -> str:
    """Return the reason of a failed dial, in words."""
    causes = list(_causes(error))
    if any("Mismatch" in type(each).__name__ or "mismatch" in str(each) for each in causes):
        return _ANOTHER_PEER
    for each in causes:
        if isinstance(each, OSError) and each.strerror:
            return each.strerror.lower()
    return "it did not prove who it is"


def _reach_from_error(error: BaseException) -> DialOutcome:
    """Return the outcome of a dial that failed with ``error``."""
    if isinstance(error, PrivateAddressError):
        return DialOutcome.NOT_PUBLIC
    found = {one.errno for one in _causes(error) if isinstance(one, OSError) and one.errno is not None}
    if found == {errno.ECONNREFUSED}:
        return DialOutcome.REFUSED
    return DialOutcome.OTHER_PEER if _reason(error) == _ANOTHER_PEER else DialOutcome.FAILED


def _discard(muxed: Any) -> None:
    muxed.abort("was not needed: another address was faster")


class Connector:
    """Makes outbound connections of one host; gives none of them to the swarm.

    ``home`` is an address of the network that this host is in, as its peers see it. If it is public, no address that is not public
    is dialled. Of a name, the addresses decide, and a name without any counts as public. Without a home every address is dialled.
    """

    def __init__(self, secure: Secure, own: PeerId, limits: Limits, counters: Counters) -> None:
        self._secure = secure
        self._own = own
        self._limits = limits
        self._counters = counters
        self.resolver = Resolver()
        self.home: TransportAddress | None = None

    async def connect(self, peer: PeerId, addresses: Sequence[TransportAddress]) -> Any:
        """Return the connection of the first address at which ``peer`` authenticates.

        Raises PeerUnreachable after ``Limits.dialing.dial_timeout`` seconds, all included.
        """
        seconds = self._limits.dialing.dial_timeout
        with trio.move_on_after(seconds) as scope:
            public_only = await self._is_public()
            attempts = [partial(self._reach, peer, address, public_only) for address in addresses]
            muxed = await first_of(attempts, _discard)
        if scope.cancelled_caught:
            where = str(addresses[0]) if len(addresses) == 1 else f"{len(addresses)} addresses"
            raise PeerUnreachable(f"dial {peer} at {where}: no answer within {seconds:g} s")
        return muxed

    async def probe(
        self, peer: PeerId, address: TransportAddress, seconds: float, *, public_only: bool
    ) -> DialOutcome:
        """Return the outcome of a new dial, independent of existing connections.

        The connection is closed again. Never raises.
        """
        reached = DialOutcome.TIMED_OUT
        try:
            with trio.move_on_after(max(0.0, seconds)):
                muxed = await self._reach(peer, address, public_only or await self._is_public())
                reached = DialOutcome.REACHED
                await muxed.goodbye()
        except Exception as error:  # noqa: BLE001 - a stranger's bytes; libp2p raises what it likes
            log.debug("probe %s at %s: %s", peer, address, error)
            return _reach_from_error(error)
        return reached

    async def _is_public(self) -> bool:
        """Return whether this host is in the public network, for all that can be seen."""
        if self.home is None:
            return False
        with trio.move_on_after(SLOW_SECONDS):
            try:
                return any(map(is_public, await self.resolver.resolve(self._own, self.home)))
            except OSError as error:
                log.debug("own address %s: %s", self.home, _reason(error))
        return True

    async def _reach(self, peer: PeerId, address: TransportAddress, public_only: bool) -> Any:
        """Return the muxed connection to ``peer`` at what ``address`` stands for.

        Raises PeerUnreachable.
        """
        try:
            ips = await self.resolver.resolve(peer, address)
        except OSError as error:
            raise PeerUnreachable(f"dial {peer} at {address}: {_reason(error)}") from error
        allowed = [ip for ip in ips if is_public(ip)] if public_only else ips
        if not allowed:
            raise PrivateAddressError(
                f"dial {peer} at {address}: an address of a private network, which hosts of the public one do not dial"
            )
        return await first_of([partial(self._authenticate, peer, address, ip) for ip in allowed], _discard)

    async def _authenticate(self, peer: PeerId, address: TransportAddress, ip: str) -> Any:
        self._counters.dials += 1
        try:
            socket = await trio.open_tcp_stream(ip, address.port)
            try:
                return await self._secure(socket, peer)
            except BaseException:
                await trio.aclose_forcefully(socket)
                raise
        except Exception as error:  # libp2p raises what it likes, and a handshake has no other failures
            raise PeerUnreachable(f"dial {peer} at {address}: {_reason(error)}") from error
