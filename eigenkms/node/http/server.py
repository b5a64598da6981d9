"""An ASGI server on trio, with a bound on everything that a stranger decides.

It speaks HTTP/1.1 with the grammar of h11. There is no HTTP/2, no upgrade and no pipelining beyond one request at a time.

A connection is one task (``connection``). An IPv4 address or an IPv6 /64 holds no more than its share of the connections. A full
server ends a connection that waits for its client, and takes the newcomer (``connection_table``).

Cancellation ends all connections. A requester that did not get its answer asks again.
"""

import logging
from typing import Any, Final

import trio

from eigenkms.node.http.connection import GONE, App, Connection, Stream
from eigenkms.node.http.connection_table import ConnectionEntry, ConnectionTable
from eigenkms.node.http.limits import ByteBudget, ServerLimits
from eigenkms.p2p.prefixes import prefix_of
from eigenkms.rate_limiter import RateLimiter

log = logging.getLogger(__name__)

Listener = trio.SocketListener | trio.SSLListener[trio.SocketStream]
_BURST_SECONDS: Final = 5
"""A client that was quiet may open at once what it may open in so many seconds."""


class HttpServer:
    """Serves ``app`` on listeners that are open already.

    ``connections`` and ``unread`` show tests which connections and bytes are held.
    """

    def __init__(self, app: App, limits: ServerLimits) -> None:
        self._app = app
        self._limits = limits
        self._accepts = RateLimiter(
            limits.accepts_of_one, _BURST_SECONDS * limits.accepts_of_one, trio.current_time
        )
        self.connections: Final = ConnectionTable(limits.connections, limits.connections_of_one)
        self.unread: Final = ByteBudget()

    async def serve(
        self, listeners: list[Listener], task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled, then close the listeners."""
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, self._accept, listeners)
            task_status.started()

    async def _accept(self, stream: Stream) -> None:
        transport: Any = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
        try:
            peer, here = transport.socket.getpeername(), transport.socket.getsockname()
            client = prefix_of(peer[0])
            if self._accepts.acquire(client):
                log.debug("HTTP connection of %s refused: too many in a short time", client)
                return
            with self.connections.reserve(client) as entry:
                if entry is None:
                    log.debug("HTTP connection of %s refused: too many", client)
                    return
                with entry.scope:
                    await self._converse(stream, entry, {"client": peer[:2], "server": here[:2]})
        except GONE as error:
            log.debug("HTTP connection ended: %r", error)

    async def _converse(self, stream: Stream, entry: ConnectionEntry, about: dict[str, Any]) -> None:
        tls = isinstance(stream, trio.SSLStream)
        if isinstance(stream, trio.SSLStream):
            with trio.fail_after(self._limits.handshake_seconds):
                await stream.do_handshake()
        about["scheme"] = "https" if tls else "http"
        await Connection(self._app, self._limits, stream, entry, self.unread, about).run()
