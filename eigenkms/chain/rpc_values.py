"""Parse the answers of an Ethereum node: every value is checked before it is used.

Quantities and byte strings follow the Ethereum JSON-RPC conventions (execution-apis, "Hex value encoding"): a quantity
is ``0x`` and hex digits without leading zeros, byte strings are ``0x`` and an even number of digits. Another
form raises ``ChainError`` with the name of the value, never with more than a few characters of it.
"""

import re
from typing import TypeAlias

from eigenkms.errors import ChainError
from eigenkms.types import BlockRef

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None

_QUANTITY = re.compile(r"0x(0|[1-9a-fA-F][0-9a-fA-F]{0,63})", re.ASCII)
_BYTES = re.compile(r"0x([0-9a-fA-F]{2})*", re.ASCII)


def excerpt(value: object, limit: int = 40) -> str:
    """Return at most ``limit`` printable characters of an untrusted value, for a message."""
    text = repr(value[:limit] if isinstance(value, str) else type(value).__name__)
    return text[: limit + 2]


def parse_quantity(value: Json, what: str, *, bits: int = 64) -> int:
    """Return a non-negative integer below 2^bits. Raises ChainError."""
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise ChainError(f"read {what}: {excerpt(value)} is not a hex quantity")
    number = int(value, 16)
    if number >> bits:
        raise ChainError(f"read {what}: the number does not fit {bits} bits")
    return number


def parse_bytes(value: Json, what: str, *, size: int | None = None) -> bytes:
    """Return a byte string, of exactly ``size`` bytes if given. Raises ChainError."""
    if not isinstance(value, str) or not _BYTES.fullmatch(value):
        raise ChainError(f"read {what}: {excerpt(value)} is not a hex byte string")
    raw = bytes.fromhex(value[2:])
    if size is not None and len(raw) != size:
        raise ChainError(f"read {what}: {len(raw)} bytes instead of {size}")
    return raw


def parse_object(value: Json, what: str) -> dict[str, Json]:
    """Return a JSON object. Raises ChainError."""
    if not isinstance(value, dict):
        raise ChainError(f"read {what}: {excerpt(value)} is not a JSON object")
    return value


def parse_block(value: Json, what: str) -> BlockRef:
    """Return a block's number, hash and time from its header. Raises ChainError."""
    header = parse_object(value, what)
    return BlockRef(
        number=parse_quantity(header.get("number"), f"number of {what}", bits=63),
        hash=parse_bytes(header.get("hash"), f"hash of {what}", size=32),
        timestamp=parse_quantity(header.get("timestamp"), f"timestamp of {what}", bits=63),
    )


def format_ether(wei: int) -> str:
    """Return an amount in ether, exact, without trailing zeros."""
    return _decimal(wei, 18)


def format_gwei(wei: int) -> str:
    """Return an amount in gwei, exact, without trailing zeros."""
    return _decimal(wei, 9)


def _decimal(amount: int, places: int) -> str:
    whole, rest = divmod(amount, 10**places)
    return f"{whole}.{rest:0{places}d}".rstrip("0").rstrip(".")


def parse_ether(text: str) -> int | None:
    """Return in wei an amount in ether, a decimal number with at most 18 places.

    Returns None for any other text.
    """
    found = re.fullmatch(r"([0-9]{1,12})(?:\.([0-9]{1,18}))?", text, re.ASCII)
    return None if found is None else int(found[1]) * 10**18 + int((found[2] or "").ljust(18, "0"))
