"""The launcher of a Confidential Space VM for a workload: HTTP on a unix socket, and tokens of ``tests.support.token_issuer``.

It takes what the real one does: POST of a JSON object with ``audience``, ``token_type`` and ``nonces`` and nothing that it does not
know, to ``/v1/token`` or ``/v1/intel/token``; the token is the body of the answer, an error is text.
"""

import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from tests.support.token_issuer import gcp_claims, intel_claims, token

_serial = itertools.count(1)
Answer = tuple[int, bytes]


def fresh(claims: dict[str, Any], audience: str, now: float) -> dict[str, Any]:
    """Claims as of ``now``, with an id of their own."""
    times = {"iat": int(now), "nbf": int(now), "exp": int(now) + 3600}
    return {**claims, "aud": audience, "jti": f"{time.time_ns()}-{next(_serial)}", **times}


@dataclass
class Launcher:
    """``app_id`` is what the VM's name ends with. ``answer`` replaces what it says; ``hang``: nothing; ``endless``: without end."""

    socket: Path
    app_id: str
    clock: Callable[[], float] = time.time
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    answer: Callable[[str, dict[str, Any]], Answer] | None = None
    hang: bool = False
    endless: bool = False

    def token(self, path: str, wanted: dict[str, Any]) -> Answer:
        """What the real one would answer."""
        if set(wanted) - {"audience", "token_type", "nonces"}:
            return 400, b"failed to parse POST body as TokenOptions: unknown field"
        if not wanted.get("token_type"):
            return 400, b"token_type is a required parameter"
        if not all(8 <= len(nonce) <= 88 for nonce in wanted["nonces"]) or len(wanted["nonces"]) > 6:
            return 400, b"invalid nonces"
        nonces = wanted["nonces"] if len(wanted["nonces"]) > 1 else wanted["nonces"][0]
        claims = {"/v1/token": gcp_claims, "/v1/intel/token": intel_claims}[path](nonces)
        claims["submods"]["gce"]["instance_name"] = f"tee-{self.app_id}"
        return 200, token(fresh(claims, wanted["audience"], self.clock()))


async def _converse(launcher: Launcher, stream: trio.SocketStream) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        received += await _some(stream)
    head, _, body = received.partition(b"\r\n\r\n")
    verb, path, _ = head.split(b"\r\n")[0].decode().split(" ")
    size = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(body) < size:
        body += await _some(stream)
    wanted = json.loads(body)
    launcher.asked.append((path, wanted))
    if launcher.hang:
        await trio.sleep_forever()
    status, answer = (launcher.answer or launcher.token)(path, wanted) if verb == "POST" else (405, b"")
    length = b"" if launcher.endless else b"content-length: %d\r\n" % len(answer)
    await stream.send_all(b"HTTP/1.1 %d Told\r\nconnection: close\r\n%b\r\n%b" % (status, length, answer))
    while launcher.endless:
        await stream.send_all(b"a" * 4096)


async def _some(stream: trio.SocketStream) -> bytes:
    chunk = await stream.receive_some()
    if not chunk:
        raise trio.BrokenResourceError
    return chunk


@asynccontextmanager
async def launch(
    socket: Path, app_id: str, clock: Callable[[], float] = time.time
) -> AsyncIterator[Launcher]:
    """A launcher that listens on ``socket`` until the block ends."""
    launcher = Launcher(socket, app_id, clock)

    async def converse(stream: trio.SocketStream) -> None:
        try:
            async with stream:
                await _converse(launcher, stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # the workload left

    listening = trio.socket.socket(trio.socket.AF_UNIX)
    await listening.bind(str(socket))
    listening.listen(64)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, converse, [trio.SocketListener(listening)])
        yield launcher
        nursery.cancel_scope.cancel()
