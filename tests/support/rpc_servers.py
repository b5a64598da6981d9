"""Real HTTP servers that misbehave: one that says what it is told to, and a proxy that tampers with an engine's answers."""

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import trio

from tests.support.waiting import PATIENCE

_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # plain HTTP only, and cheap to make

Call = dict[str, Any]
Answerer = Callable[[bytes], Awaitable["Reply"]]
Tamper = Callable[[Call, dict[str, Any]], dict[str, Any] | None]
"""A call and its answer → the answer to give, or None for "come back later"."""


@dataclass(frozen=True)
class Reply:
    """``body`` as it goes over the wire; ``cut`` closes the connection in the middle of it, ``hang`` never answers."""

    body: bytes = b""
    status: int = 200
    headers: tuple[str, ...] = ()
    cut: bool = False
    hang: bool = False


def result(value: Any, number: int = 1) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "result": value}).encode()


@dataclass
class Server:
    """``seen`` are the bodies of the requests that came."""

    port: int
    seen: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


async def _read_request(stream: trio.SocketStream) -> bytes | None:
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = await stream.receive_some()
        if not chunk:
            return None
        received += chunk
    head, body = received.split(b"\r\n\r\n", 1)
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    while len(body) < length:
        body += await stream.receive_some()
    return body


async def _write_reply(stream: trio.SocketStream, reply: Reply) -> None:
    headers = [f"HTTP/1.1 {reply.status} Scripted", f"content-length: {len(reply.body)}", *reply.headers]
    body = reply.body[: len(reply.body) // 2] if reply.cut else reply.body
    await stream.send_all("\r\n".join(headers).encode() + b"\r\n\r\n" + body)


@asynccontextmanager
async def serve(answer: Answerer) -> AsyncIterator[Server]:
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server = Server(listeners[0].socket.getsockname()[1])

        async def converse(stream: trio.SocketStream) -> None:
            try:
                while (body := await _read_request(stream)) is not None:
                    server.seen.append(body)
                    reply = await answer(body)
                    if reply.hang:
                        await trio.sleep_forever()
                    await _write_reply(stream, reply)
                    if reply.cut:
                        return
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

        nursery.start_soon(trio.serve_listeners, converse, listeners)
        yield server
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def scripted(*replies: Reply) -> AsyncIterator[Server]:
    """Gives the replies in turn, the last one for ever."""
    queue = list(replies)

    async def answer(_body: bytes) -> Reply:
        return queue.pop(0) if len(queue) > 1 else queue[0]

    async with serve(answer) as server:
        yield server


@asynccontextmanager
async def tampering(upstream: str, tamper: Tamper) -> AsyncIterator[Server]:
    """Forwards to a real node; ``tamper`` sees each call with its answer and returns the answer to give."""
    headers = {"content-type": "application/json"}
    async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False, headers=headers, verify=_TLS) as client:

        async def answer(body: bytes) -> Reply:
            calls = json.loads(body)
            answers = (await client.post(upstream, content=body)).json()
            if isinstance(calls, list):
                by_id = {entry["id"]: entry for entry in answers}
                changed: Any = [tamper(call, by_id[call["id"]]) for call in calls]
            else:
                changed = tamper(calls, answers)
            gone = changed is None or (isinstance(changed, list) and None in changed)
            return Reply(status=503) if gone else Reply(json.dumps(changed).encode())

        async with serve(answer) as server:
            yield server
