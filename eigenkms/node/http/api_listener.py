"""The listener of the HTTP API: its address, and its certificate."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import trio

from eigenkms.config.addresses import HttpAddress
from eigenkms.config.tls import TlsFiles
from eigenkms.errors import InputError
from eigenkms.node.http.connection import App
from eigenkms.node.http.limits import ACCEPTS_OF_ONE, ServerLimits
from eigenkms.node.http.server import HttpServer, Listener

if TYPE_CHECKING:
    from eigenkms.config.node import NodeConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HttpBinding:
    """Open listeners, with the URL at which clients reach them.

    ``certificate_end`` is the end of their certificate's validity, None without a certificate.
    """

    listeners: list[Listener]
    url: str
    certificate_end: datetime | None = None


class ApiListener:
    """Listens for the HTTP API where the configuration says, if it says so."""

    def __init__(self, config: "NodeConfig") -> None:
        self._config = config
        self.certificate_end: datetime | None = None
        """End of the certificate's validity; None before the listener is open, and without a certificate."""

    async def serve(
        self, app: App, task_status: trio.TaskStatus[HttpBinding | None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve ``app`` until cancelled.

        Reports the binding to ``task_status``, None if no address is configured. Raises ``InputError`` if it cannot listen.
        """
        config = self._config
        if config.http.listen is None:
            task_status.started(None)
            return
        tls = None
        if config.http.certificate is not None and config.http.key is not None:
            tls = TlsFiles(config.http.certificate, config.http.key)
        bound = await bind(config.http.listen, tls)
        self.certificate_end = bound.certificate_end
        log.info("HTTP API at %s", bound.url, extra={"fields": {"event": "http", "url": bound.url}})
        self._warn_if_expired()
        async with trio.open_nursery() as nursery:
            await nursery.start(HttpServer(app, self._limits).serve, bound.listeners)
            task_status.started(bound)

    @property
    def _limits(self) -> ServerLimits:
        connections = self._config.http.connections
        return ServerLimits(
            connections=connections,
            connections_of_one=max(1, connections // 4),
            accepts_of_one=max(ACCEPTS_OF_ONE, 2 * self._config.http.rate),
        )

    def _warn_if_expired(self) -> None:
        if self.certificate_end is not None and self.certificate_end <= datetime.now(UTC):
            log.warning(
                "certificate %s expired on %s: clients refuse it",
                self._config.http.certificate,
                f"{self.certificate_end:%Y-%m-%d}",
            )


async def bind(address: HttpAddress, tls: TlsFiles | None, *, setting: str = "--http-listen") -> HttpBinding:
    """Open listeners at ``address``, with TLS if ``tls`` is given.

    Raises ``InputError`` for an address or files that cannot be used. The error asks to change ``setting``.
    """
    context, end = None, None
    if tls is not None:
        context = await trio.to_thread.run_sync(tls.load)
        _, end = await trio.to_thread.run_sync(tls.validity)
    try:
        opened = await trio.open_tcp_listeners(address.port, host=str(address.host))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(
            f"listen for HTTP on {address}: {reason}", hint=f"give another {setting}, or free that port"
        ) from error
    port = opened[0].socket.getsockname()[1]
    url = f"{'http' if context is None else 'https'}://{HttpAddress(address.host, port)}"
    if context is None:
        return HttpBinding(list(opened), url)
    secured: list[Listener] = [trio.SSLListener(each, context, https_compatible=True) for each in opened]
    return HttpBinding(secured, url, end)
