"""An ASGI server on trio: HTTP/1.1 with the grammar of h11, and a bound on everything that a stranger decides.

A connection is one task: a head, a body that the application asks for piece by piece, an answer, and again. Whatever is waited for
has a deadline: the handshake, a head as a whole, a body as a whole, each write. A client that is slower is gone, and one address
holds no more than its part of the connections. There is no HTTP/2, no upgrade and no pipelining beyond one request at a time.

Cancellation ends all connections at once: a requester that did not get its answer asks again.
"""

import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

import h11
import trio

from eigenkms.node.http.limits import client_of

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
App = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]
Stream = trio.SocketStream | trio.SSLStream
Listener = trio.SocketListener | trio.SSLListener
_RECEIVE_HEAD: Final = 8 * 1024
"""h11 looks at its bound when it wants more, so a head may be larger than that by what comes in one piece."""
_RECEIVE_BODY: Final = 64 * 1024
_PIECES_AT_ONCE: Final = 128
MAX_PIECES: Final = 8192
"""Chunks of a body, or what arrives of it at a time; each costs as much as a kilobyte."""
_GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """Numbers of connections, bytes and seconds."""

    connections: int = 512
    connections_of_one: int = 128
    head_bytes: int = 16 * 1024
    handshake_seconds: float = 10
    head_seconds: float = 10
    idle_seconds: float = 60
    body_seconds: float = 30
    write_seconds: float = 30
    linger_seconds: float = 1


class Server:
    """Serves ``app`` on listeners that are open already."""

    def __init__(self, app: App, limits: ServerLimits) -> None:
        self._app = app
        self._limits = limits
        self._connections: Counter[str] = Counter()

    async def serve(
        self, listeners: list[Listener], task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Until cancelled; closes the listeners."""
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, self._welcome, listeners)
            task_status.started()

    async def _welcome(self, stream: Stream) -> None:
        tls = isinstance(stream, trio.SSLStream)
        transport: Any = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
        try:
            peer, here = transport.socket.getpeername(), transport.socket.getsockname()
            with self._place(client_of(peer[0])) as free:
                if not free:
                    return
                if isinstance(stream, trio.SSLStream):
                    with trio.fail_after(self._limits.handshake_seconds):
                        await stream.do_handshake()
                connection = {"client": peer[:2], "server": here[:2], "scheme": "https" if tls else "http"}
                await _Connection(self._app, self._limits, stream, connection).run()
        except _GONE as error:
            log.debug("HTTP connection ended: %r", error)

    @contextmanager
    def _place(self, client: str) -> Iterator[bool]:
        """Whether there is one; it is held meanwhile."""
        full = self._connections.total() >= self._limits.connections
        if full or self._connections[client] >= self._limits.connections_of_one:
            log.debug("HTTP connection of %s refused: too many", client)
            yield False
            return
        self._connections[client] += 1
        try:
            yield True
        finally:
            self._connections[client] -= 1
            if not self._connections[client]:
                del self._connections[client]


class _Connection:
    """Requests of one client, one after the other."""

    def __init__(self, app: App, limits: ServerLimits, stream: Stream, about: Mapping[str, Any]) -> None:
        self._app = app
        self._about = about
        self.limits = limits
        self._stream = stream
        self.h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head_bytes)

    async def run(self) -> None:
        patience = self.limits.head_seconds
        while (request := await self._next_request(patience)) is not None:
            await self._answer(request)
            if self.h11.our_state is not h11.DONE or self.h11.their_state is not h11.DONE:
                break
            self.h11.start_next_cycle()
            patience = self.limits.idle_seconds
        await self._linger()

    async def _next_request(self, seconds: float) -> h11.Request | None:
        """None at the end of the connection, or of our patience with it."""
        try:
            with trio.fail_after(seconds):
                event = await self.next_event(_RECEIVE_HEAD)
        except h11.RemoteProtocolError as error:
            await self._refuse(error.error_status_hint)
            return None
        return event if isinstance(event, h11.Request) else None

    async def next_event(self, size: int = _RECEIVE_BODY) -> h11.Event | None:
        """None never comes before the end of a request."""
        while (event := self.h11.next_event()) is h11.NEED_DATA:
            self.h11.receive_data(await self._stream.receive_some(size))
        return event if isinstance(event, h11.Event) else None

    async def write(self, *events: h11.Event) -> None:
        encoded = b"".join(self.h11.send(event) or b"" for event in events)
        with trio.fail_after(self.limits.write_seconds):
            await self._stream.send_all(encoded)

    async def _refuse(self, status: int) -> None:
        """Of a head that is not HTTP, or too large."""
        if self.h11.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            headers = [("connection", "close"), ("content-length", "0")]
            await self.write(h11.Response(status_code=status, headers=headers), h11.EndOfMessage())

    async def _answer(self, request: h11.Request) -> None:
        target = re.sub(rb"^https?://[^/?#]*(?=/)", b"", request.target)  # RFC 9112, 3.2.2
        path, _, query = target.partition(b"?")
        if not path.startswith(b"/"):
            await self._refuse(400)
            return
        exchange = _Exchange(self, request)
        scope = {
            **self._about,
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": request.http_version.decode(),
            "method": request.method.decode(),
            "path": unquote_to_bytes(path).decode(errors="replace"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": list(request.headers),
        }
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except _GONE:
            raise
        except Exception:
            log.exception("%s %s", scope["method"], scope["path"])
            await self._refuse(500)

    async def _linger(self) -> None:
        """Read on for a moment: closing with unread bytes would take the answer away from whoever still sends."""
        with trio.move_on_after(self.limits.linger_seconds):
            if isinstance(self._stream, trio.SocketStream):
                await self._stream.send_eof()
            unread = self.h11.their_state in (h11.SEND_BODY, h11.ERROR)
            while unread and await self._stream.receive_some(_RECEIVE_BODY):
                pass
        with trio.move_on_after(self.limits.linger_seconds):
            await self._stream.aclose()


class _Exchange:
    """One request and its answer, as ASGI's two functions."""

    def __init__(self, connection: _Connection, request: h11.Request) -> None:
        self._connection = connection
        self._headless = request.method == b"HEAD"
        self._deadline = trio.current_time() + connection.limits.body_seconds
        self._lost = False
        self._ended = False
        self._pieces = 0
        self._begun: Message | None = None
        fields = dict(request.headers)
        if fields.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in fields:
            connection.h11.next_event()  # the end of a request without a body, which no bytes are needed for

    async def receive(self) -> Message:
        """The next piece of the body; if it is late or broken, ``http.disconnect``. After the last piece nothing comes any more:
        that a client has left shows when its answer is written.
        """
        if self._ended:
            await trio.sleep_forever()
        try:
            body = await self._next_piece()
        except (*_GONE, h11.RemoteProtocolError) as error:
            log.debug("HTTP body not received: %r", error)
            self._lost = True
        if self._lost:
            return {"type": "http.disconnect"}
        self._ended = body is None
        return {"type": "http.request", "body": body or b"", "more_body": not self._ended}

    async def _next_piece(self) -> bytes | None:
        """None at the end."""
        machine = self._connection.h11
        if machine.their_state is not h11.SEND_BODY:
            return None
        await trio.lowlevel.checkpoint()  # what was received already may be many pieces
        with trio.fail_at(self._deadline):
            if machine.they_are_waiting_for_100_continue:
                await self._connection.write(h11.InformationalResponse(status_code=100, headers=[]))
            event: object = await self._connection.next_event()
        body = bytearray()
        for _ in range(_PIECES_AT_ONCE):
            if not isinstance(event, h11.Data):
                break
            body += event.data
            self._pieces += 1
            event = machine.next_event()
        if self._pieces > MAX_PIECES:
            raise h11.RemoteProtocolError(f"a body in more than {MAX_PIECES} pieces")
        if isinstance(event, h11.Data):
            body += event.data
        return bytes(body) if body else None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begun = message
            return
        assert message["type"] == "http.response.body"
        events: list[h11.Event] = []
        if self._begun is not None:
            events.append(self._head(self._begun))
            self._begun = None
        if message.get("body") and not self._headless:
            events.append(h11.Data(data=message["body"]))
        if not message.get("more_body"):
            events.append(h11.EndOfMessage())
        await self._connection.write(*events)

    def _head(self, begun: Message) -> h11.Response:
        headers = [*begun.get("headers", ()), (b"date", formatdate(usegmt=True).encode())]
        if self._connection.h11.their_state is not h11.DONE:
            headers.append((b"connection", b"close"))
        return h11.Response(status_code=begun["status"], headers=headers)
