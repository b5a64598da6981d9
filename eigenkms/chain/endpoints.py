"""The URL of an RPC: its public part, its secrets, and whether two are one endpoint.

An RPC URL is a secret in practice, since providers put API keys in its user part, its path or its query. Messages show scheme,
host and port only.

Several RPCs are several witnesses of the chain, so one endpoint in two spellings must not be counted twice: it would outvote
an honest one. Two URLs are one endpoint if host, port and path are the same (RFC 3986, section 6.2): in any case, with the
scheme's port or without, with a slash at the end or without, percent-encoded or not. Scheme, user part, query and fragment
are left out: they state how it is queried, by whom, or are not sent. One provider under two names, or with two keys in the
path, is not recognised.
"""

import ipaddress
import posixpath
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from eigenkms.errors import InputError

MIN_SECRET: Final = 6
"""Characters from which on a part of a URL is kept out of messages that the RPC writes."""
_PORTS: Final = {"http": 80, "https": 443}
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "0.0.0.0", "::"})  # noqa: S104 - to recognise them
"""This machine: Linux connects the two that stand for every address to itself."""


def display_url(url: str) -> str:
    """Return scheme, host and port of an RPC URL. A possible API key is left out."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "<unreadable URL>"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{port}"


def secrets_of(url: str) -> tuple[str, ...]:
    """Return the parts of an RPC URL that may be an API key, longest first."""
    parts = urlsplit(url)
    found = {parts.username, parts.password, *parts.path.split("/"), *(v for _, v in parse_qsl(parts.query))}
    found |= {unquote(part) for part in found if part}
    return tuple(sorted((part for part in found if part and len(part) >= MIN_SECRET), key=len, reverse=True))


def check_distinct(urls: Sequence[str]) -> None:
    """Raise InputError if two URLs are one endpoint. Nothing secret is in the message."""
    first: dict[object, int] = {}
    for number, url in enumerate(urls, 1):
        before = first.setdefault(_identity(url), number)
        if before != number:
            raise InputError(
                f"open the chain RPC: rpc {before} and rpc {number} are one endpoint ({display_url(url)}), and so one witness",
                hint="give RPCs of different providers as rpc_url, or one URL only",
            )


def _identity(url: str) -> object:
    """Return a value that two URLs of one endpoint share; the URL itself if it is none."""
    try:
        parts = urlsplit(url)
        return _host(parts), _port(parts), posixpath.normpath("/" + unquote(parts.path).lstrip("/"))
    except ValueError:
        return url


def _port(parts: SplitResult) -> int | None:
    return None if parts.port == _PORTS.get(parts.scheme) else parts.port


def _host(parts: SplitResult) -> str:
    host = unquote(parts.hostname or "").rstrip(".")
    with suppress(UnicodeError):
        host = host.encode("idna").decode().lower()
    if re.fullmatch(r"[0-9a-fx.]+", host):  # the old spellings of an IPv4 address: 127.1, 0x7f.1, 2130706433
        with suppress(OSError):
            host = socket.inet_ntoa(socket.inet_aton(host))
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        host = str(getattr(address, "ipv4_mapped", None) or address)
    is_local = host in _LOOPBACK or host == "localhost" or host.endswith(".localhost")
    return "localhost" if is_local else host
