"""One HTTP connection: head, body and answer, one request after another.

The application asks for a body piece by piece. Every wait has a deadline. A head, a body and an answer each have one as a whole, in
however many pieces they are read. A body also has one for each pause. The connection of a slower client ends.

The first 64 KiB of an answer are its connection's own. Bytes beyond that come from a budget while they wait for their reader, and
an answer that finds no room in it becomes 503.
"""

import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from email.utils import formatdate
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import h11
import trio

from eigenkms.node.http.connection_table import ConnectionEntry, ConnectionState
from eigenkms.node.http.limits import ByteBudget, ServerLimits, TooManyError

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
App = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]
Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]
_RECEIVE_HEAD: Final = 8 * 1024
"""h11 looks at its bound when it wants more, so a head may be larger than that by what comes in one piece."""
_RECEIVE_BODY: Final = 64 * 1024
_SEND: Final = 64 * 1024
"""Bytes given to the stream at a time: TLS keeps a second copy of them."""
_PIECES_AT_ONCE: Final = 128
MAX_PIECES: Final = 8192
"""Chunks of a body, or what arrives of it at a time; each costs as much as a kilobyte."""
GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, OSError)


class Connection:
    """Requests of one client, one after the other.

    ``about`` has the fields that all of them have in their ASGI scope: client, server and scheme.
    """

    def __init__(
        self,
        app: App,
        limits: ServerLimits,
        stream: Stream,
        entry: ConnectionEntry,
        unread: ByteBudget,
        about: Mapping[str, Any],
    ) -> None:
        self._app = app
        self._about = about
        self._stream = stream
        self.limits = limits
        self.entry = entry
        self.unread = unread
        self.h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head_bytes)

    async def run(self) -> None:
        patience = self.limits.head_seconds
        while (request := await self._next_request(patience)) is not None:
            self.entry.enter(ConnectionState.WORK)
            await self._answer(request)
            self.entry.enter(ConnectionState.IDLE)
            if self.h11.our_state is not h11.DONE or self.h11.their_state is not h11.DONE:
                break
            self.h11.start_next_cycle()
            patience = self.limits.idle_seconds
        await self._drain()

    async def _next_request(self, seconds: float) -> h11.Request | None:
        """Return the next head, None if the connection ended or the head was malformed.

        Raises ``trio.TooSlowError`` after ``seconds``.
        """
        try:
            with trio.fail_after(seconds):
                event = await self.next_event(_RECEIVE_HEAD)
        except h11.RemoteProtocolError as error:
            await self.refuse(error.error_status_hint)
            return None
        return event if isinstance(event, h11.Request) else None

    async def next_event(self, size: int = _RECEIVE_BODY) -> h11.Event | None:
        """Return the next event of h11, reading at most ``size`` bytes at a time.

        Returns None if h11 is paused, which it never is before the end of a request.
        """
        while (event := self.h11.next_event()) is h11.NEED_DATA:
            self.h11.receive_data(bytes(await self._stream.receive_some(size)))
        return event if isinstance(event, h11.Event) else None

    async def write(self, *events: h11.Event, by: float) -> None:
        """Send events to the client, which must take them before ``by`` on trio's clock.

        Raises ``trio.TooSlowError`` if it has not.
        """
        pieces = [piece for event in events if (piece := self.h11.send(event))]
        if sum(map(len, pieces)) <= _SEND:
            pieces = [b"".join(pieces)]
        with self.entry.transferring(), trio.fail_at(by):
            for view in [memoryview(piece) for piece in pieces]:
                for start in range(0, len(view), _SEND):
                    await self._stream.send_all(view[start : start + _SEND])

    async def refuse(self, status: int) -> bool:
        """Answer with ``status`` and no body, and end the connection.

        Returns False, and sends nothing, if an answer has begun already.
        """
        if self.h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return False
        headers = [("connection", "close"), ("content-length", "0")]
        by = trio.current_time() + self.limits.answer_seconds
        await self.write(h11.Response(status_code=status, headers=headers), h11.EndOfMessage(), by=by)
        return True

    async def _answer(self, request: h11.Request) -> None:
        target = re.sub(rb"^https?://[^/?#]*(?=/)", b"", request.target)  # RFC 9112, 3.2.2
        path, _, query = target.partition(b"?")
        if not path.startswith(b"/"):
            await self.refuse(400)
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
        except GONE:
            raise
        except Exception:
            log.exception("%s %s", scope["method"], scope["path"])
            await self.refuse(500)

    async def _drain(self) -> None:
        """Read on for a moment, then close.

        To close with unread bytes would take the answer away from a client that still sends.
        """
        self.entry.enter(ConnectionState.IDLE)
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

    def __init__(self, connection: Connection, request: h11.Request) -> None:
        now, limits = trio.current_time(), connection.limits
        self._connection = connection
        self._headless = request.method == b"HEAD"
        self._body_by = now + limits.body_seconds
        self._patience = limits.stall_seconds
        """Seconds that the next bytes of the body may take: time that was waited is taken off, bytes that came are added."""
        self._answer_by = now + limits.answer_seconds
        self._refused = False
        self._lost = False
        self._ended = False
        self._pieces = 0
        self._begun: Message | None = None
        fields = dict(request.headers)
        if fields.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in fields:
            connection.h11.next_event()  # the end of a request without a body, which no bytes are needed for

    async def receive(self) -> Message:
        """Return the next piece of the body, or ``http.disconnect`` if it fails.

        A piece fails if it is late or broken. After the last piece this waits for ever: a client that has left shows when its
        answer is written.
        """
        if self._ended:
            await trio.sleep_forever()
        try:
            body = await self._next_piece()
        except (*GONE, h11.RemoteProtocolError) as error:
            log.debug("HTTP body not received: %r", error)
            self._lost = True
        if self._lost:
            return {"type": "http.disconnect"}
        self._ended = body is None
        return {"type": "http.request", "body": body or b"", "more_body": not self._ended}

    async def _next_piece(self) -> bytes | None:
        """Return the next piece of the body, None at its end.

        Raises ``trio.TooSlowError`` if it is late, and ``h11.RemoteProtocolError`` if it is broken.
        """
        machine = self._connection.h11
        if machine.their_state is not h11.SEND_BODY:
            return None
        await trio.lowlevel.checkpoint()  # a body that is here already may be many pieces
        begun = trio.current_time()
        event = await self._awaited(min(self._body_by, begun + self._patience))
        body = self._body_from(event)
        self._patience = max(0, self._patience - (trio.current_time() - begun))
        self._patience += len(body) / self._connection.limits.body_rate
        self._patience = min(self._patience, self._connection.limits.stall_seconds)
        return body or None

    async def _awaited(self, by: float) -> object:
        """Return the next event before ``by``.

        Asks the client to go on if it waits for that (status 100). Raises ``trio.TooSlowError``.
        """
        with self._connection.entry.transferring(), trio.fail_at(by):
            if self._connection.h11.they_are_waiting_for_100_continue:
                await self._connection.write(h11.InformationalResponse(status_code=100, headers=[]), by=by)
            return await self._connection.next_event()

    def _body_from(self, event: object) -> bytes:
        """Return the bytes of ``event`` and of those after it that are here already.

        Raises ``h11.RemoteProtocolError`` for a body in too many pieces.
        """
        machine = self._connection.h11
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
        return bytes(body)

    async def send(self, message: Message) -> None:
        if self._refused:
            return
        if message["type"] == "http.response.start":
            self._begun = message
            self._answer_by = trio.current_time() + self._connection.limits.answer_seconds
            return
        assert message["type"] == "http.response.body"
        body = b"" if self._headless else message.get("body", b"")
        with self._connection.unread.hold(self._connection.entry.client) as take:
            try:
                take(len(body))
            except TooManyError as error:
                await self._give_up(error)
                return
            await self._connection.write(*self._events(body, message), by=self._answer_by)

    async def _give_up(self, error: TooManyError) -> None:
        """Refuse the answer for which there is no room while the client reads.

        Raises ``trio.TooSlowError`` if the answer has begun.
        """
        log.debug("HTTP answer for %s refused: too much is unread", self._connection.entry.client)
        self._refused = await self._connection.refuse(503)
        if not self._refused:
            raise trio.TooSlowError from error

    def _events(self, body: bytes, message: Message) -> Iterator[h11.Event]:
        if self._begun is not None:
            yield self._head(self._begun)
            self._begun = None
        if body:
            yield h11.Data(data=body)
        if not message.get("more_body"):
            yield h11.EndOfMessage()

    def _head(self, begun: Message) -> h11.Response:
        headers = [*begun.get("headers", ()), (b"date", formatdate(usegmt=True).encode())]
        if self._connection.h11.their_state is not h11.DONE:
            headers.append((b"connection", b"close"))
        return h11.Response(status_code=begun["status"], headers=headers)
