"""Ciphertexts as hexadecimal text, as the reference's client writes them.

``0x`` and two digits a byte, of either case, on one line. Blanks and ends of lines may stand before and after it, and nowhere
else. Reader and writer work piece by piece, in constant memory.
"""

import binascii
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from eigenkms.errors import InputError

if TYPE_CHECKING:
    from eigenkms.client.ciphertexts import Readable, Writable

PREFIX: Final = b"0x"
_BLANK: Final = b" \t\r\n"
_BLOCK: Final = 1 << 16
_HINT: Final = "copy the whole text again, from 0x to its last digit"


def is_hex(begin: bytes) -> bool:
    """Return whether a file that begins so can only be hexadecimal text."""
    return begin.lstrip(_BLANK).startswith(PREFIX)


class HexReader:
    """Reads the bytes of hexadecimal text. Raises InputError where the text is wrong."""

    def __init__(self, source: "Readable") -> None:
        self._source = source
        self._digits = b""
        self._content = bytearray()
        self._is_begun = self._is_ended = False

    def read(self, size: int) -> bytes:
        """Return ``size`` bytes, fewer only at the end."""
        while len(self._content) < size and (block := self._source.read(_BLOCK)):
            self._take(block)
        if len(self._content) < size and self._digits:
            raise _malformed("the last byte has one digit")
        content = bytes(self._content[:size])
        del self._content[:size]
        return content

    def _take(self, block: bytes) -> None:
        if not self._is_begun:
            block = (self._digits + block).lstrip(_BLANK)
            if len(block) < len(PREFIX):
                self._digits = block
                return
            self._is_begun, block, self._digits = True, block.removeprefix(PREFIX), b""
        digits = block.rstrip(_BLANK)
        if self._is_ended and digits:
            raise _malformed("something stands after its end")
        self._is_ended = self._is_ended or digits != block
        text = self._digits + digits
        whole = len(text) - len(text) % 2
        self._digits = text[whole:]
        try:
            self._content += binascii.unhexlify(text[:whole])
        except (binascii.Error, ValueError) as error:
            raise _malformed("a sign in it is no hexadecimal digit") from error


class HexWriter:
    """Writes content to ``sink`` as hexadecimal text.

    The end of the line comes when its block ends, and not if that raised.
    """

    def __init__(self, sink: "Writable") -> None:
        self._sink = sink

    def __enter__(self) -> Self:
        self._sink.write(PREFIX)
        return self

    def write(self, content: bytes) -> None:
        """Write the digits of ``content``."""
        self._sink.write(binascii.hexlify(content))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if kind is None:
            self._sink.write(b"\n")


def _malformed(reason: str) -> InputError:
    return InputError(f"read hexadecimal file: {reason}", hint=_HINT)
