"""Where the HTTP API listens, and with which certificate: what can be wrong with it is said before the node is up."""

import logging
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from cryptography import x509

from eigenkms.errors import InputError
from eigenkms.node.http.connection import App
from eigenkms.node.http.limits import ACCEPTS_OF_ONE, ServerLimits
from eigenkms.node.http.server import Listener, Server

if TYPE_CHECKING:
    from trio_typing import TaskStatus

    from eigenkms.node.config import NodeConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HttpAddress:
    """An address of this machine and a port, 0 for any free one."""

    host: IPv4Address | IPv6Address
    port: int

    @classmethod
    def parse(cls, text: str) -> "HttpAddress":
        """``127.0.0.1:8000`` or ``[::1]:8000``. Raises ``ValueError``."""
        host, colon, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        try:
            address = ip_address(host[1:-1] if bracketed else host)
        except ValueError:
            address = None
        fits = isinstance(address, IPv6Address) == bracketed
        if address is None or not colon or not fits or not (port.isascii() and port.isdecimal()):
            raise ValueError(
                f"{text[:60]!r} is not an IP address and a port, such as 127.0.0.1:8000 or [::1]:8000"
            )
        if int(port[:6]) > 65535:
            raise ValueError(f"port {port[:12]} is not in 0..65535")
        return cls(address, int(port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if isinstance(self.host, IPv6Address) else str(self.host)
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the certificate with its chain, and its key."""

    certificate: Path
    key: Path

    def load(self) -> ssl.SSLContext:
        """Raises ``InputError``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        for path in (self.certificate, self.key):
            _check_readable(path)
        try:
            context.load_cert_chain(self.certificate, self.key, password=lambda: b"")
        except (ssl.SSLError, OSError, ValueError) as error:
            raise InputError(
                f"use certificate {self.certificate} with key {self.key}: they are not PEM files that belong together",
                hint="give --http-certificate the whole chain and --http-key its key, not encrypted",
            ) from error
        return context

    def validity(self) -> tuple[datetime, datetime]:
        """From when until when each certificate of the chain is valid. Raises ``InputError``."""
        try:
            chain = x509.load_pem_x509_certificates(self.certificate.read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(
                f"read certificate {self.certificate}: it is not PEM", hint="check --http-certificate"
            ) from error
        return max(c.not_valid_before_utc for c in chain), min(c.not_valid_after_utc for c in chain)


def _check_readable(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"read {path}: {reason}", hint="check --http-certificate and --http-key") from error


@dataclass(frozen=True)
class Bound:
    """Listeners that are open, the URL at which they are reached, and until when their certificate is valid, if they have one."""

    listeners: list[Listener]
    url: str
    certificate_end: datetime | None = None


async def serve_api(
    config: "NodeConfig", app: App, task_status: "TaskStatus[Bound | None]" = trio.TASK_STATUS_IGNORED
) -> None:
    """The HTTP API until cancelled, if there is to be one; started with where it is. Raises ``InputError`` if it cannot listen."""
    if config.http_listen is None:
        task_status.started(None)
        return
    tls = None
    if config.http_certificate is not None and config.http_key is not None:
        tls = TlsFiles(config.http_certificate, config.http_key)
    bound = await bind(config.http_listen, tls)
    connections = config.http_connections
    limits = ServerLimits(
        connections=connections,
        connections_of_one=max(1, connections // 4),
        accepts_of_one=max(ACCEPTS_OF_ONE, 2 * config.http_rate),
    )
    log.info("HTTP API at %s", bound.url, extra={"fields": {"event": "http", "url": bound.url}})
    if bound.certificate_end is not None and bound.certificate_end <= datetime.now(UTC):
        log.warning(
            "certificate %s expired on %s: clients refuse it",
            config.http_certificate,
            f"{bound.certificate_end:%Y-%m-%d}",
        )
    async with trio.open_nursery() as nursery:
        await nursery.start(Server(app, limits).serve, bound.listeners)
        task_status.started(bound)


async def bind(address: HttpAddress, tls: TlsFiles | None, *, setting: str = "--http-listen") -> Bound:
    """Raises ``InputError`` for an address or files that cannot be used; ``setting`` is the one to change."""
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
        return Bound(list(opened), url)
    secured: list[Listener] = [trio.SSLListener(each, context, https_compatible=True) for each in opened]
    return Bound(secured, url, end)
