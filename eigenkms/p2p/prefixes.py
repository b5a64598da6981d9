"""The prefix by which an IP address is counted: itself for IPv4, its /64 for IPv6."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

REMEMBERED: Final = 4096
SHARED: Final = frozenset({"127.0.0.1", "::/64", ""})
"""Prefixes that many have: local nodes and their clients, and sockets that are gone."""


def plain_ip(address: str) -> IPv4Address | IPv6Address:
    """Return the address without a zone, and as IPv4 if it maps one (``::ffff:…``).

    Raises ``ValueError``.
    """
    plain = ip_address(address.partition("%")[0])
    mapped = plain.ipv4_mapped if isinstance(plain, IPv6Address) else None
    return mapped or plain


@lru_cache(maxsize=REMEMBERED)
def prefix_of(address: str) -> str:
    """Return the prefix of an IP address, since an IPv6 host usually has a whole /64.

    Other text is returned as it is.
    """
    try:
        plain = plain_ip(address)
    except ValueError:
        return address
    return str(plain if isinstance(plain, IPv4Address) else IPv6Network((plain, 64), strict=False))
