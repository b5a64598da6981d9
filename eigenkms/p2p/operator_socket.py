"""The socket of an operator on chain: one text for two kinds of readers.

An operator without an HTTP API publishes a multiaddr. An operator with one publishes a URL whose path is that multiaddr::

    /ip4/192.0.2.7/tcp/9400/p2p/16Uiu2HA…
    https://kms.example.org:8443/ip4/192.0.2.7/tcp/9400/p2p/16Uiu2HA…

Clients of the reference append a path to the whole text and send the request there (``http.Get(socket + "/pubkey")``), so the API
answers under that path too. Nodes and clients of this project take the multiaddr out of the path.

The other form that the reference's client accepts, ``http://PEERID:PORT@HOST:PORT``, was not chosen. It puts both services on one
host. A URL with credentials is sent as a header of HTTP authentication, and ``fetch`` of JavaScript refuses it (Fetch Standard,
"new Request"). Proxies and logs hide it as a password.

Anybody can write to the chain, so a socket has a bound and one spelling. The host is in lower case or a canonical IP address. There
is no default port, and neither credentials nor query nor fragment.
"""

import re
from dataclasses import dataclass
from typing import Final

from eigenkms.errors import InputError
from eigenkms.p2p.identity import PeerAddress, TransportAddress, parse_address, parse_transport

MAX_SOCKET_TEXT: Final = 1024
SCHEMES: Final = {"http": 80, "https": 443}
"""Schemes that the clients of the reference (Go, ``net/http``) support, and the port of each."""
_ORIGIN: Final = re.compile(r"(https?)://(?:\[([0-9a-f:.]+)\]|([a-z0-9.-]+))(?::([0-9]{1,5}))?\Z")
_ENDS_IN_NUMBER: Final = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)\Z")
"""A host that HTTP clients read as an IPv4 address in some form (URL Standard, 3.5, "ends in a number checker")."""
_URL_HINT: Final = "a URL of an API looks like https://kms.example.org or https://192.0.2.7:8443"


@dataclass(frozen=True, slots=True)
class HttpOrigin:
    """Scheme, host and port of an HTTP API. ``str()`` gives the URL without a path."""

    scheme: str
    transport: TransportAddress

    @property
    def is_secure(self) -> bool:
        """Return whether the API speaks TLS."""
        return self.scheme == "https"

    def __str__(self) -> str:
        host = f"[{self.transport.host}]" if self.transport.kind == "ip6" else self.transport.host
        port = "" if self.transport.port == SCHEMES[self.scheme] else f":{self.transport.port}"
        return f"{self.scheme}://{host}{port}"


@dataclass(frozen=True, slots=True)
class OperatorSocket:
    """A parsed socket: the peer's address, and the HTTP API if there is one.

    ``str()`` gives the socket.
    """

    address: PeerAddress
    http: HttpOrigin | None = None

    def __str__(self) -> str:
        return f"{self.http or ''}{self.address}"


def parse_origin(text: str) -> HttpOrigin:
    """Read ``http[s]://HOST[:PORT]`` in its one spelling.

    Raises InputError for anything else.
    """
    match = _ORIGIN.match(text) if len(text) <= MAX_SOCKET_TEXT else None
    if match is None:
        raise InputError(
            f"read URL {text[:80]!r}: not of the form https://HOST or https://HOST:PORT, in lower case, without a path",
            hint=_URL_HINT,
        )
    scheme, ip6, name, port = match.groups()
    kind = "ip6" if ip6 else "ip4" if _ENDS_IN_NUMBER.match(name) else "dns"
    try:
        transport = parse_transport(f"/{kind}/{ip6 or name}/tcp/{port or SCHEMES[scheme]}")
    except InputError as error:
        raise InputError(
            f"read URL {text[:80]!r}: its host or port is not canonical", hint=_URL_HINT
        ) from error
    origin = HttpOrigin(scheme, transport)
    if str(origin) != text:
        raise InputError(f"read URL {text[:80]!r}: its canonical spelling is {origin}", hint=_URL_HINT)
    return origin


def parse_socket(text: str) -> OperatorSocket:
    """Read a socket in either form. Raises InputError for anything else."""
    if not text.startswith(tuple(f"{scheme}://" for scheme in SCHEMES)):
        return OperatorSocket(parse_address(text))
    if len(text) > MAX_SOCKET_TEXT:
        raise InputError(f"read socket {text[:80]!r}: {len(text)} characters are too many", hint=_URL_HINT)
    scheme, _, rest = text.partition("://")
    authority, slash, path = rest.partition("/")
    origin = parse_origin(f"{scheme}://{authority}")
    if not slash or not path:
        raise InputError(
            f"read socket {text[:80]!r}: it is a URL alone, and names no peer",
            hint="the path of the URL must be the multiaddr of the operator's peer",
        )
    return OperatorSocket(parse_address(f"/{path}"), origin)


def describe_unusable(text: str) -> str:
    """Return why nobody can dial a socket that ``parse_socket`` refuses.

    The reason is a sentence on an operator.
    """
    if not text:
        return "it has no socket on chain"
    return f"its socket on chain is no multiaddr with a peer id: {text[:80]!r}"
