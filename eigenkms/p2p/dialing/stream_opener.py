"""Open a stream to a peer, over a connection that is dialled if need be."""

from importlib import import_module
from typing import Any

from eigenkms.p2p.connections import Connections, is_alive
from eigenkms.p2p.dialing.dialer import Dialer
from eigenkms.p2p.errors import PeerUnreachable
from eigenkms.p2p.identity import PeerId
from eigenkms.p2p.limits import Limits


class StreamOpener:
    """Opens the outbound streams of one libp2p host."""

    def __init__(self, libp2p: Any, dialer: Dialer, connections: Connections, limits: Limits) -> None:
        self._open_stream = import_module("eigenkms.p2p.hardening.swarm").open_stream
        self._libp2p = libp2p
        self._dialer = dialer
        self._connections = connections
        self._limits = limits

    async def open(self, peer: PeerId, protocol: str) -> Any:
        """Return a stream of ``protocol`` to ``peer``. Raises PeerUnreachable.

        A connection that turns out to be dead is replaced once.
        """
        for _ in range(2):
            await self._dialer.connect(peer)
            connections = self._connections.of(peer)
            if not connections:
                break
            try:
                return await self._open_stream(self._libp2p, connections[-1], peer, protocol, self._limits)
            except Exception as error:
                if is_alive(connections[-1].muxed_conn):
                    raise PeerUnreachable(f"open {protocol} to {peer}: it refused the stream") from error
        raise PeerUnreachable(f"connect to {peer}: it hung up")
