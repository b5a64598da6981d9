"""Upgrade of a socket to an authenticated, muxed connection.

The bounds of strangers hold until the peer is authenticated.
"""

from importlib import import_module
from typing import Any, Final

import trio

from eigenkms.p2p.connections import remote_ip
from eigenkms.p2p.identity import PeerId
from eigenkms.p2p.limits import Limits
from eigenkms.p2p.listening.read_allowances import Allowances
from eigenkms.p2p.rpc.memory import MemoryPool


class Upgrader:
    """Upgrades the sockets of one swarm.

    All strangers share ``strangers``, and those of one address an allowance.
    """

    def __init__(self, swarm: Any, limits: Limits) -> None:
        self.strangers: Final = MemoryPool(limits.rpc.strangers)
        self._secure = import_module("eigenkms.p2p.hardening.handshake").secure
        self._allowances = Allowances(limits.streams.client_rate)
        self._swarm = swarm
        self._limits = limits

    async def upgrade(self, socket: trio.SocketStream, expected: PeerId | None = None) -> Any:
        """Return the muxed connection; ``expected`` is the peer if this host dialled.

        See ``handshake.secure``.
        """
        allowance = self._allowances.of(remote_ip(socket))
        return await self._secure(self._swarm, socket, expected, self._limits, self.strangers, allowance)
