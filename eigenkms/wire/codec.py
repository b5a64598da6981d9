"""Canonical msgpack: one byte string for one value, and nothing accepted that is not it.

Allowed values: ``None``, integers in 0..2^64-1, ``bytes``, ``str`` and lists of them. The decoder refuses maps, floats,
extension types, trailing bytes, and every encoding that the encoder would not have produced.
"""

from typing import Any

import msgpack

from eigenkms.errors import RemoteProtocolError

MAX_FRAME_BYTES = 256 * 1024
"""A frame fits one gossip message (docs/protocol.md, Frames)."""
MAX_ITEMS = 4096
"""In one list."""
MAX_VALUES = 2 * MAX_ITEMS
"""In one message, lists in lists too: one byte makes an empty list, which takes 64 in memory and a turn of the decoder. The longest
of all that is said, a transcript of 256 operators, has 3000.
"""
MAX_DEPTH = 6


class MalformedError(RemoteProtocolError):
    """Bytes that are not the canonical encoding of what they should be."""

    default_hint = "the peer runs a broken or an incompatible version; its message was dropped"


def encode(value: Any) -> bytes:
    """Return the canonical bytes of ``value``."""
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def decode(data: bytes, *, what: str, limit: int = MAX_FRAME_BYTES) -> Any:
    """Decode canonical bytes of at most ``limit`` bytes.

    ``what`` names them in the error.

    Raises ``MalformedError``.
    """
    if len(data) > limit:
        raise MalformedError(f"decode {what}: {len(data)} bytes, more than {limit}")
    try:
        value = msgpack.unpackb(
            data,
            raw=False,
            use_list=True,
            max_bin_len=limit,
            max_str_len=1024,
            max_array_len=MAX_ITEMS,
            max_map_len=0,
            max_ext_len=0,
        )
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise MalformedError(f"decode {what}: not msgpack ({type(error).__name__})") from None
    _check_types(value, what)
    if encode(value) != data:
        raise MalformedError(f"decode {what}: encoding is not canonical")
    return value


def _check_types(value: Any, what: str) -> None:
    """Level by level, so that what is too much is found before most of it was looked at."""
    level, count = [value], 1
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for item in level:
            if isinstance(item, list):
                count += len(item)
                if count > MAX_VALUES:
                    raise MalformedError(f"decode {what}: more than {MAX_VALUES} values")
                below += item
            elif isinstance(item, bool) or not isinstance(item, (int, bytes, str, type(None))):
                raise MalformedError(f"decode {what}: a {type(item).__name__} is not allowed")
            elif isinstance(item, int) and item < 0:
                raise MalformedError(f"decode {what}: negative number")
        level = below
        if not level:
            return
    raise MalformedError(f"decode {what}: nested too deeply")


class Fields:
    """Reads a decoded list field by field, with exact arity and types.

    Every complaint names ``what``.

    The arity is checked at once, so a reader that takes as many fields as it announced has taken them all.
    """

    def __init__(self, value: Any, arity: int, what: str) -> None:
        if not isinstance(value, list) or len(value) != arity:
            raise MalformedError(f"decode {what}: not a list of {arity}")
        self._items = iter(value)
        self._what = what

    def _bad(self, wanted: str) -> MalformedError:
        return MalformedError(f"decode {self._what}: wanted {wanted}")

    def uint(self, bits: int) -> int:
        item = next(self._items)
        if not isinstance(item, int) or item >> bits:
            raise self._bad(f"a number below 2^{bits}")
        return item

    def fixed(self, length: int) -> bytes:
        item = next(self._items)
        if not isinstance(item, bytes) or len(item) != length:
            raise self._bad(f"{length} bytes")
        return item

    def optional_fixed(self, length: int) -> bytes | None:
        item = next(self._items)
        if item is None:
            return None
        if not isinstance(item, bytes) or len(item) != length:
            raise self._bad(f"{length} bytes or nil")
        return item

    def binary(self, limit: int = MAX_FRAME_BYTES) -> bytes:
        item = next(self._items)
        if not isinstance(item, bytes) or len(item) > limit:
            raise self._bad(f"at most {limit} bytes")
        return item

    def optional_binary(self, limit: int = MAX_FRAME_BYTES) -> bytes | None:
        item = next(self._items)
        if item is None:
            return None
        if not isinstance(item, bytes) or len(item) > limit:
            raise self._bad(f"at most {limit} bytes or nil")
        return item

    def text(self, limit: int = 1024) -> str:
        item = next(self._items)
        if not isinstance(item, str) or len(item) > limit:
            raise self._bad(f"text of at most {limit} characters")
        return item

    def items(self, limit: int = MAX_ITEMS) -> list[Any]:
        item = next(self._items)
        if not isinstance(item, list) or len(item) > limit:
            raise self._bad(f"a list of at most {limit}")
        return item

    def fixed_items(self, length: int, limit: int = MAX_ITEMS) -> tuple[bytes, ...]:
        found = self.items(limit)
        if not all(isinstance(x, bytes) and len(x) == length for x in found):
            raise self._bad(f"a list of {length}-byte strings")
        return tuple(found)
