"""Text that a person's editor wrote: UTF-8, with or without a byte-order mark.

Editors of Windows put the mark EF BB BF at the head of a file, and PowerShell's ``>`` writes UTF-16. A mark is no part of the
person's text, so every file that a person may have written is decoded here. Text that is not UTF-8 is named for what it is.
"""

import codecs
from typing import Final

MARK: Final = "\ufeff"
"""The byte-order mark as a character."""
UTF16_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""How UTF-16 text begins."""
UTF16: Final = "it is UTF-16 text; save it as UTF-8"


class NotUtf8Error(ValueError):
    """The bytes are not UTF-8; the message is a clause that says what they are."""


def decode_text(data: bytes) -> str:
    """Return the text without its byte-order mark.

    Raises NotUtf8Error, which repeats nothing of ``data``.
    """
    if data.startswith(UTF16_MARKS):
        raise NotUtf8Error(UTF16)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise NotUtf8Error("it is not UTF-8 text") from None


def why_no_text(data: bytes) -> str | None:
    """Return why a strict reader refuses the mark at the head of ``data``, or None.

    The reason is a clause. It serves files that foreign programs read too: there a mark is not removed but named.
    """
    if data.startswith(UTF16_MARKS):
        return UTF16
    return (
        "it begins with a byte-order mark; save it without one" if data.startswith(codecs.BOM_UTF8) else None
    )


def without_mark(data: bytes) -> bytes:
    """Return ``data`` without a byte-order mark of UTF-8, for a parser of its own."""
    return data.removeprefix(codecs.BOM_UTF8)
