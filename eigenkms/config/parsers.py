"""Parsers of settings: each turns the text form of a value into the value.

A parser raises ``ValueError`` with the reason as a clause ("'x' is not an integer"). ``described`` gives a parser the form that it
takes, in words, and an example, for pages and messages. The network's modules are imported when a value needs them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from eigenkms.config.home_folder import expanded
from eigenkms.errors import InputError
from eigenkms.plain_text import decode_text

if TYPE_CHECKING:
    from eigenkms.chain.config import Finality
    from eigenkms.config.addresses import HttpAddress
    from eigenkms.p2p.identity import TransportAddress

ADDRESS_FORM: Final = "0x and 40 hex digits"
_LISTEN_EXAMPLE, _DIAL_EXAMPLE = "/ip4/0.0.0.0/tcp/9400", "/ip4/192.0.2.7/tcp/9400"

Parser = Callable[[str], Any]
"""Turn the text form into the value, or raise ``ValueError``."""


@dataclass(frozen=True, slots=True)
class DescribedParser:
    """A parser with the form that it takes, in words, and an example."""

    parse: Parser
    form: str
    example: str

    def __call__(self, text: str) -> Any:
        return self.parse(text)


def described(form: str, example: str) -> Callable[[Parser], DescribedParser]:
    """Return a decorator that gives a parser its form and an example."""
    return lambda parse: DescribedParser(parse, form, example)


def text(value: str) -> str:
    """Return the text as it is."""
    return value


def integer(low: int, high: int) -> Parser:
    """Return a parser of decimal integers in low..high."""

    @described(f"{low} to {high}", str(low))
    def parse(value: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,20}", value, re.ASCII):
            raise ValueError(f"{value[:40]!r} is not an integer")
        if not low <= int(value) <= high:
            raise ValueError(f"{value} is not in {low}..{high}")
        return int(value)

    return parse


def seconds(low: float, high: float) -> Parser:
    """Return a parser of decimal numbers of seconds in low..high."""

    @described(f"{low:g} to {high:g}", f"{low:g}")
    def parse(value: str) -> float:
        if not re.fullmatch(r"[0-9]{1,10}(\.[0-9]{1,10})?", value, re.ASCII):
            raise ValueError(f"{value[:40]!r} is not a number of seconds")
        if not low <= float(value) <= high:
            raise ValueError(f"{value} seconds are not in {low:g}..{high:g}")
        return float(value)

    return parse


def seconds_or_never(low: float, high: float) -> Parser:
    """Return a parser as ``seconds``, which takes 0 too."""

    def parse(value: str) -> float:
        number: float = seconds(0, high)(value)
        if 0 < number < low:
            raise ValueError(f"{value} seconds are neither 0 nor in {low:g}..{high:g}")
        return number

    return parse


def boolean(value: str) -> bool:
    """Parse true or false, 1 or 0, yes or no, in any case."""
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if value.lower() not in known:
        raise ValueError(f"{value[:40]!r} is not true or false")
    return known[value.lower()]


def choice(*names: str) -> Parser:
    """Return a parser that takes one of the names."""

    @described(" or ".join(filter(None, (", ".join(names[:-1]), names[-1]))), names[0])
    def parse(value: str) -> str:
        if value not in names:
            raise ValueError(f"{value[:40]!r} is not one of {', '.join(names)}")
        return value

    return parse


@described("path of a file or folder", "file")
def path(value: str) -> Path:
    """Parse a path, in which ``~`` is the home folder."""
    return expanded(value)


@described(ADDRESS_FORM, "0x1234567890123456789012345678901234567890")
def address(value: str) -> bytes:
    """Parse an address other than zero: ``0x`` and 40 hex digits, giving 20 bytes.

    Digits in both cases must have the checksum of EIP-55.
    """
    from eigenkms.crypto.app_ids import is_mistyped

    if not re.fullmatch(r"0x[0-9a-fA-F]{40}", value, re.ASCII):
        raise ValueError(f"{value[:60]!r} is not an address (0x and 40 hex digits)")
    if is_mistyped(value[2:]):
        raise ValueError(f"{value}: its checksum is wrong (EIP-55)")
    raw = bytes.fromhex(value[2:])
    if not any(raw):
        raise ValueError("the zero address is nobody's")
    return raw


@described("finalized, safe, latest or latest-K", "finalized")
def finality(value: str) -> "Finality":
    """Parse a finality: the newest block that counts."""
    from eigenkms.chain.config import Finality

    try:
        return Finality.parse(value)
    except InputError as error:
        raise ValueError(f"{value[:40]!r} is not one of {Finality.FORMS}") from error


@described("http:// or https:// URL", "https://your-own-node.example.org")
def rpc_url(value: str) -> str:
    """Parse an ``http`` or ``https`` URL.

    It may hold an API key, so no message repeats it.
    """
    if not re.fullmatch(r"https?://[^\s/?#]+[^\s]*", value):
        raise ValueError("it is not an http:// or https:// URL")
    return value


@described("an https:// URL, or an http:// one of this machine", "http://127.0.0.1:9000")
def signer_url(value: str) -> str:
    """Parse an ``https`` URL, or an ``http`` one of this machine.

    Requests to sign for an account must not cross a network unencrypted.
    """
    loopback = r"http://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?(/[^\s]*)?"
    if not re.fullmatch(rf"https://[^\s/?#]+[^\s]*|{loopback}", value):
        raise ValueError("it is neither an https:// URL nor an http:// one of this machine (127.0.0.1)")
    return value


@described("https:// URL", "https://example.org")
def https_url(value: str) -> str:
    """Parse an ``https`` URL."""
    if not re.fullmatch(r"https://[^\s/?#]+[^\s]*", value):
        raise ValueError(f"{value[:80]!r} is not an https:// URL")
    return value


@described("/ip4|ip6/ADDRESS/tcp/PORT", _LISTEN_EXAMPLE)
def listen_address(value: str) -> str:
    """Parse a multiaddr to listen on: ``/ip4|ip6/ADDRESS/tcp/PORT``, port 0 for any."""
    return str(_multiaddr(value, listening=True))


@described("/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT", _DIAL_EXAMPLE)
def public_address(value: str) -> str:
    """Parse a multiaddr that others can dial.

    ``/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT``, not ``0.0.0.0``.
    """
    from eigenkms.p2p.identity import why_undialable

    address = _multiaddr(value, listening=False)
    reason = why_undialable(address, local=True)
    if reason is not None:
        raise ValueError(f"nobody can dial {address}: {reason}")
    return str(address)


def _multiaddr(value: str, *, listening: bool) -> "TransportAddress":
    from eigenkms.p2p.identity import parse_transport

    example = _LISTEN_EXAMPLE if listening else _DIAL_EXAMPLE
    try:
        return parse_transport(value, listening=listening)
    except InputError as error:
        raise ValueError(f"{value[:80]!r} is not a multiaddr such as {example}") from error


@described("IP address and port", "127.0.0.1:8000")
def http_address(value: str) -> "HttpAddress":
    """Parse an IP address and a port.

    ``127.0.0.1:8000`` or ``[::1]:8000``, port 0 for any.
    """
    from eigenkms.config.addresses import HttpAddress

    return HttpAddress.parse(value)


@described("https://HOST or https://HOST:PORT", "https://kms.example.org:8443")
def http_origin(value: str) -> str:
    """Parse the URL of an HTTP API: scheme, host and port, without a path."""
    from eigenkms.p2p.operator_socket import parse_origin

    try:
        return str(parse_origin(value))
    except InputError as error:
        raise ValueError(f"{value[:80]!r} is not a URL: {str(error).partition(': ')[2]}") from error


@described("port, or IP address and port", "127.0.0.1:9464")
def monitor_address(value: str) -> "HttpAddress":
    """Parse as ``http_address``; a port alone is one of 127.0.0.1."""
    parsed: HttpAddress = http_address(f"127.0.0.1:{value}" if value.isdecimal() else value)
    return parsed


@described("192 hex digits, or @FILE", "@mpk.hex")
def g2_point(value: str) -> bytes:
    """Parse a master public key of 96 bytes.

    Hex, or ``@FILE`` that holds the hex or the bytes.
    """
    raw = _file_content(value[1:]) if value.startswith("@") else value.encode()
    if len(raw) == 96:
        return raw
    digits = decode_text(raw).strip().removeprefix("0x")
    if not re.fullmatch(r"[0-9a-fA-F]{192}", digits, re.ASCII):
        raise ValueError("it is not a master public key (96 bytes: 192 hex digits, or @FILE)")
    return bytes.fromhex(digits)


def _file_content(name: str) -> bytes:
    try:
        with expanded(name).open("rb") as file:
            return file.read(1000)
    except OSError as error:
        raise ValueError(f"{name}: {(error.strerror or str(error)).lower()}") from error
