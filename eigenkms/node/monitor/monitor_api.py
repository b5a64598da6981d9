"""The monitoring listener.

Health and status for the operator and its programs, read-only, on this machine by default.

It is another listener than the HTTP API's, since it says more than strangers need: where peers are, which RPC answers. It has no
login and no TLS, so it belongs on a loopback address or in a network of one's own. A stranger's page may lead a browser on the
operator's machine here, under a name that the stranger controls (DNS rebinding). So a request is answered only if it names this
machine by an IP address, by localhost or by one of ``names``.
"""

import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from eigenkms.config.addresses import HttpAddress
from eigenkms.node.http.api_listener import bind
from eigenkms.node.http.connection import App
from eigenkms.node.http.limits import ServerLimits
from eigenkms.node.http.server import HttpServer
from eigenkms.node.monitor.operator_status import OperatorStatus

log = logging.getLogger(__name__)

LIMITS: Final = ServerLimits(connections=64, connections_of_one=32)
_HEADERS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


class MonitorApi:
    """``app`` is its ASGI application; ``routes`` are further ones.

    ``status`` returns everything that the operator may see, ``not_ready`` the reasons why keys cannot be served, one sentence each.
    ``names`` are host names that requests may give, besides addresses and localhost.
    """

    def __init__(
        self,
        *,
        status: Callable[[], OperatorStatus],
        not_ready: Callable[[], Sequence[str]],
        names: Collection[str] = (),
        routes: Sequence[BaseRoute] = (),
    ) -> None:
        self._status = status
        self._not_ready = not_ready
        inner = Starlette(
            routes=[
                Route("/health", self._health, methods=["GET"]),
                Route("/ready", self._ready, methods=["GET"]),
                Route("/status.json", self._tell_status, methods=["GET"]),
                *routes,
            ]
        )
        inner.router.redirect_slashes = False
        self.app: App = _KnownHosts(inner, names)

    async def _health(self, _: Request) -> Response:
        return answer({"status": "ok"})

    async def _ready(self, _: Request) -> Response:
        reasons = list(self._not_ready())
        return answer({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)

    async def _tell_status(self, _: Request) -> Response:
        return answer(self._status().to_json())


def answer(fields: Mapping[str, object], *, status: int = 200) -> Response:
    """JSON that no cache keeps."""
    return Response(json.dumps(fields).encode(), status, _HEADERS, "application/json")


class _KnownHosts:
    """Refuses what was asked of another name than this machine's."""

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app = app
        self._names = {"localhost", *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app if self._is_known(Request(scope).headers.get("host", "")) else _misdirected
        await app(scope, receive, send)

    def _is_known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True


async def _misdirected(scope: Scope, receive: Receive, send: Send) -> None:
    hint = "ask by IP address or localhost, or give the name with --monitor-name"
    told = {"error": {"code": "unknown-host", "message": "this node is not known by that name", "hint": hint}}
    await answer(told, status=421)(scope, receive, send)


async def serve_monitor(
    address: HttpAddress | None,
    app: App,
    task_status: trio.TaskStatus[str | None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled, if there is to be a listener; started with its URL.

    Raises ``InputError`` if it cannot listen.
    """
    if address is None:
        task_status.started(None)
        return
    bound = await bind(address, None, setting="--monitor-listen")
    log.info("status page at %s", bound.url, extra={"fields": {"event": "monitor", "url": bound.url}})
    if not address.host.is_loopback:
        log.warning("whoever reaches %s sees the state of this node, peers' addresses included", bound.url)
    async with trio.open_nursery() as nursery:
        await nursery.start(HttpServer(app, LIMITS).serve, bound.listeners)
        task_status.started(bound.url)
