"""The identity of a peer: its secp256k1 key, its id and its dialable address.

A peer id is the multihash of the peer's public key (libp2p specifications, "Peer Ids and Keys"). A secp256k1 key is
short enough to be inlined (identity multihash), so the id *is* the key::

    00 25            identity multihash, 37 bytes follow
    08 02            protobuf field 1, key type 2 = Secp256k1
    12 21 <33 bytes> protobuf field 2, the compressed point

In base58 that always begins with ``16Uiu2HA``. Noise proves possession of the key, hence of the id. Peers with keys of
other types may connect as clients; an *address* names an operator and must carry the secp256k1 form.

Addresses are multiaddrs, ``/ip4/192.0.2.7/tcp/9000/p2p/16Uiu2HA…``. They come from a chain that anyone may write to, so
the parser accepts one spelling of each address and nothing else. This module imports no libp2p: a command that only
reads an address stays fast.
"""

import ipaddress
import re
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Self

import coincurve

from eigenkms.errors import InputError

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGITS: Final = {char: value for value, char in enumerate(_ALPHABET)}
_SECP256K1_PREFIX: Final = bytes.fromhex("0025080212") + b"\x21"
_SECP256K1_LENGTH: Final = len(_SECP256K1_PREFIX) + 33
_MAX_PEER_ID_TEXT: Final = 64
_MAX_ADDRESS_TEXT: Final = 512
_DNS_NAME: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\Z"
)
_PORT: Final = re.compile(r"(0|[1-9][0-9]{0,4})\Z")
_TRANSLATED: Final = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96")))
"""IPv6 addresses that stand for IPv4 ones, whatever those are (RFC 6052, RFC 8215, RFC 4291)."""
_THIS_NETWORK: Final = ipaddress.ip_network("0.0.0.0/8")
"""Addresses of "this network" (RFC 1122, 3.2.1.3), of which Linux dials 0.0.0.0 as its own."""
_RESERVED: Final = ipaddress.ip_network("240.0.0.0/4")
"""Addresses for future use (RFC 1112), and the limited broadcast."""
_OWN: Final = "it is a machine's own (loopback)"
_ADDRESS_HINT: Final = "an address looks like /ip4/192.0.2.7/tcp/9000/p2p/16Uiu2HA…"


@lru_cache(maxsize=4096)
def _base58(raw: bytes) -> str:
    number = int.from_bytes(raw, "big")
    digits = []
    while number:
        number, digit = divmod(number, 58)
        digits.append(_ALPHABET[digit])
    zeros = len(raw) - len(raw.lstrip(b"\0"))
    return _ALPHABET[0] * zeros + "".join(reversed(digits))


def _unbase58(text: str) -> bytes:
    """Raise KeyError on a character outside the base58 alphabet."""
    number = 0
    for char in text:
        number = number * 58 + _DIGITS[char]
    zeros = len(text) - len(text.lstrip(_ALPHABET[0]))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")


@dataclass(frozen=True, slots=True, order=True)
class PeerId:
    """The multihash of a peer's public key.

    ``str()`` gives base58, ``bytes()`` the multihash; ordered by bytes.
    """

    raw: bytes

    def __post_init__(self) -> None:
        if not 2 <= len(self.raw) <= 64:
            raise ValueError(f"peer id has {len(self.raw)} bytes, not 2 to 64")

    def __str__(self) -> str:
        return _base58(self.raw)

    def __repr__(self) -> str:
        return f"PeerId({self})"

    def __bytes__(self) -> bytes:
        return self.raw

    @classmethod
    def from_public_key(cls, compressed: bytes) -> Self:
        """Return the id of a compressed secp256k1 point (33 bytes).

        Raises ValueError if it is not on the curve.
        """
        return cls(_SECP256K1_PREFIX + coincurve.PublicKey(compressed).format())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the id written as ``16Uiu2HA…``.

        Raises InputError unless it holds a secp256k1 key, spelt canonically.
        """
        if len(text) > _MAX_PEER_ID_TEXT:
            raise InputError(f"read peer id: {len(text)} characters are too many", hint=_ADDRESS_HINT)
        try:
            raw = _unbase58(text)
        except KeyError as error:
            raise InputError(f"read peer id {text!r}: not base58", hint=_ADDRESS_HINT) from error
        if len(raw) != _SECP256K1_LENGTH or not raw.startswith(_SECP256K1_PREFIX):
            raise InputError(f"read peer id {text!r}: not a secp256k1 peer id", hint=_ADDRESS_HINT)
        try:
            return cls.from_public_key(raw[len(_SECP256K1_PREFIX) :])
        except ValueError as error:
            raise InputError(f"read peer id {text!r}: its key is not on secp256k1") from error


@dataclass(frozen=True, slots=True, repr=False)
class PeerKey:
    """A peer's secp256k1 secret (32 bytes, big-endian).

    Raises InputError unless it lies in 1..n-1.
    """

    secret: bytes
    peer_id: PeerId = field(init=False, compare=False)

    def __post_init__(self) -> None:
        try:
            if len(self.secret) != 32:
                raise ValueError("length")  # noqa: TRY301 - one message for both faults, and no secret in it
            public = coincurve.PrivateKey(self.secret).public_key
        except ValueError:
            raise InputError("read peer key: not a secp256k1 secret of 32 bytes") from None
        object.__setattr__(self, "peer_id", PeerId.from_public_key(public.format()))

    def __repr__(self) -> str:
        return f"<PeerKey of {self.peer_id}, redacted>"

    @classmethod
    def generate(cls) -> Self:
        """Return a fresh key from the system's random source."""
        while True:
            try:
                return cls(secrets.token_bytes(32))
            except InputError:  # one in 2^128
                continue


@dataclass(frozen=True, slots=True)
class TransportAddress:
    """The address of a TCP socket: ``kind`` is ip4, ip6, dns, dns4 or dns6.

    ``str()`` gives the multiaddr.
    """

    kind: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"/{self.kind}/{self.host}/tcp/{self.port}"

    @property
    def is_public(self) -> bool | None:
        """Return whether the host is a public IP address; None for a name."""
        return None if self.kind.startswith("dns") else is_public(self.host)


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """A peer and a place to dial it.

    ``str()`` gives the multiaddr with its ``/p2p/`` part.
    """

    transport: TransportAddress
    peer_id: PeerId

    def __str__(self) -> str:
        return format_address(self)

    @property
    def multiaddr(self) -> str:
        """Return the multiaddr without the ``/p2p/`` part."""
        return str(self.transport)


def _host(kind: str, host: str) -> str | None:
    """Return the canonical spelling of a host, None if there is none."""
    if kind in {"dns", "dns4", "dns6"}:
        return host if _DNS_NAME.match(host) else None
    try:
        return str(ipaddress.IPv4Address(host) if kind == "ip4" else ipaddress.IPv6Address(host))
    except ValueError:
        return None


def is_public(address: str) -> bool:
    """Return whether an IP address is public.

    Private, multicast and reserved addresses are not, nor is an IPv6 form of one of them.
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is not None:
            return is_public(str(inner))
        if ip.is_site_local or any(ip in network for network in _TRANSLATED):
            return False
    return ip.is_global and not ip.is_multicast


def why_undialable(address: TransportAddress, *, local: bool = False) -> str | None:
    """Return why nobody else can dial an address, as a clause; None if somebody may.

    ``local``: the others are on this machine, as in a devnet, so its own addresses count. A private address counts, since all may
    be in one network; a name counts unless it is ``localhost`` (RFC 6761). An IPv4 address in the place of a name,
    which resolvers accept in each form of inet_aton (0, 0x7f.1), is that address.
    """
    ip = _ip_of(address.host)
    if ip is None:
        is_own = address.host == "localhost" or address.host.endswith(".localhost")
        return _OWN if is_own and not local else None
    if ip.is_unspecified or ip in _THIS_NETWORK:
        return "it stands for all addresses of a machine, and is none of another one's"
    if ip.is_multicast:
        return "it is a multicast address"
    if ip in _RESERVED:
        return "it is a broadcast or reserved address"
    if ip.version == 6 and ip.is_link_local:
        return "it is a link-local address, which means nothing without an interface"
    if ip.is_link_local and not local:
        return "it is a link-local address"
    return _OWN if ip.is_loopback and not local else None


def _ip_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the IP address of a host, IPv4 for an IPv6 form of it; None for a name."""
    with suppress(ValueError):
        ip = ipaddress.ip_address(host)
        return (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip
    with suppress(OSError):
        return ipaddress.IPv4Address(socket.inet_aton(host))
    return None


def check_dialable(address: TransportAddress, action: str, *, local: bool) -> None:
    """Raise ``InputError`` for an address that no other peer can dial.

    ``why_undialable`` has the rules. The error begins with ``action``.
    """
    reason = why_undialable(address, local=local)
    if reason is not None:
        raise InputError(
            f"{action}: nobody can dial {address}: {reason}",
            hint="give the address at which others reach this machine; what it listens on is another setting (listen)",
        )


def parse_transport(text: str, *, listening: bool = False) -> TransportAddress:
    """Read ``/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT``.

    With ``listening`` the port may be 0 and the host must be an IP address. Raises InputError for anything else, including a
    second spelling of the same address.
    """
    parts = text.split("/")
    if len(text) > _MAX_ADDRESS_TEXT or len(parts) != 5 or parts[0] or parts[3] != "tcp":
        raise InputError(
            f"read address {text[:80]!r}: not of the form /KIND/HOST/tcp/PORT", hint=_ADDRESS_HINT
        )
    _, kind, host, _, port = parts
    if kind not in ({"ip4", "ip6"} if listening else {"ip4", "ip6", "dns", "dns4", "dns6"}):
        raise InputError(f"read address {text!r}: {kind!r} is not a kind of address", hint=_ADDRESS_HINT)
    if "%" in host or _host(kind, host) != host:
        raise InputError(
            f"read address {text!r}: {host!r} is not a canonical {kind} host", hint=_ADDRESS_HINT
        )
    if not _PORT.match(port) or not (0 if listening else 1) <= int(port) <= 65535:
        raise InputError(f"read address {text!r}: {port!r} is not a TCP port", hint=_ADDRESS_HINT)
    return TransportAddress(kind, host, int(port))


def parse_address(text: str) -> PeerAddress:
    """Read a peer's socket text, ``/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT/p2p/PEERID``.

    Raises InputError otherwise.
    """
    transport, separator, peer_id = text.partition("/p2p/")
    if not separator:
        raise InputError(f"read address {text[:80]!r}: it names no peer", hint=_ADDRESS_HINT)
    return PeerAddress(parse_transport(transport), PeerId.parse(peer_id))


def format_address(address: PeerAddress) -> str:
    """Return the text that ``parse_address`` reads."""
    return f"{address.transport}/p2p/{address.peer_id}"
