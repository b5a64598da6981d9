"""Text armor for ciphertexts and evidence, in the manner of RFC 7468.

An armored text is a header line, base64 (RFC 4648, section 4), and a footer line. The base64 has lines of 64 characters, of which
only the last may be shorter.

The armor is found in the text around it, and read strictly. Mail programs and people add signs that are not content:

- text before the header, at most 64 KiB of it, and text after the footer
- a mark of quotation or an indentation before each line
- blanks and CR at the end of each line

base64 holds none of these signs, so every line has one meaning. A line that is missing, cut, wrapped or coded otherwise is refused
by its number. A second armor in the same text is refused too. Reader and writer work piece by piece, in constant memory.
"""

import binascii
import re
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from itertools import chain
from types import TracebackType
from typing import TYPE_CHECKING, Self

from eigenkms.errors import InputError

if TYPE_CHECKING:
    from eigenkms.client.ciphertexts import Readable, Writable

ENCRYPTED_FILE, EVIDENCE = b"EIGENKMS ENCRYPTED FILE", b"EIGENKMS EVIDENCE"
"""Labels of the content, which header and footer name."""
COLUMNS = 64

_LINE_BYTES = COLUMNS * 3 // 4
_BLOCK = 1 << 16
_LONGEST = 1 << 10
_BLANK = b"\r\n\t "
MAX_BEFORE = _BLOCK
"""Bytes that may stand before the header line."""
_MARK = b"BEGIN EIGENKMS "
_BEGIN = b"-----" + _MARK
_LABEL = re.compile(rb"-----BEGIN ([A-Z][A-Z0-9 ]{0,60})-----")
_UTF_8_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff", b"-\x00-\x00", b"\x00-\x00-")
_QUOTING = b"\t >|"
"""Signs that stand before a line that was quoted or indented."""
_HINT = "copy the whole text again, from BEGIN to END; if a mail program wrapped its lines, have it sent as a file"
_HINT_OTHER = "decrypt and inspect read EIGENKMS ENCRYPTED FILE, evidence verify reads EIGENKMS EVIDENCE"
_NOT_TEXT = bytes(range(0x20)).translate(None, b"\t\n\f\r")


def header(label: bytes = ENCRYPTED_FILE) -> bytes:
    return b"-----BEGIN " + label + b"-----"


def footer(label: bytes = ENCRYPTED_FILE) -> bytes:
    return b"-----END " + label + b"-----"


HEADER, FOOTER = header(), footer()


def is_armored(begin: bytes) -> bool:
    """Return whether a content that begins so can only be armor, or text around it.

    The rest may still be broken. Pass the first ``MAX_BEFORE`` bytes: armor that begins later is not found.
    """
    if begin.startswith(_UTF_16) or (begin[:1] != b"" and begin[:1] in b"-" + _BLANK):
        return True
    text, found, _ = begin.partition(_MARK)
    return bool(found) and len(text.translate(None, _NOT_TEXT)) == len(text)


def armor(content: bytes, label: bytes = ENCRYPTED_FILE) -> bytes:
    """Return ``content`` as armored text that ends with a newline."""
    text = BytesIO()
    with ArmorWriter(text, label) as writer:
        writer.write(content)
    return text.getvalue()


def dearmor(text: bytes, label: bytes = ENCRYPTED_FILE) -> bytes:
    """Return the content of an armored text.

    Raises ``InputError``, which names the line that is wrong.
    """
    return b"".join(_decoded(BytesIO(text), label))


class ArmorWriter:
    """Writes content to ``sink`` as armored text.

    The footer is written when the block ends, but not if the block raised.
    """

    def __init__(self, sink: "Writable", label: bytes = ENCRYPTED_FILE) -> None:
        self._sink = sink
        self._label = label
        self._rest = b""

    def __enter__(self) -> Self:
        self._sink.write(header(self._label) + b"\n")
        return self

    def write(self, content: bytes) -> None:
        content = self._rest + content
        whole = len(content) - len(content) % _LINE_BYTES
        self._rest = content[whole:]
        self._lines(content[:whole])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if kind is None:
            self._lines(self._rest)
            self._sink.write(footer(self._label) + b"\n")

    def _lines(self, content: bytes) -> None:
        encoded = binascii.b2a_base64(content, newline=False)
        lines = [encoded[at : at + COLUMNS] for at in range(0, len(encoded), COLUMNS)]
        self._sink.write(b"\n".join([*lines, b""]))


class ArmorReader:
    """Reads the content of an armored text piece by piece.

    Raises ``InputError``, which names the line that is wrong, once that line is reached.
    """

    def __init__(self, source: "Readable", label: bytes = ENCRYPTED_FILE) -> None:
        self._contents = _decoded(source, label)
        self._buffer = bytearray()

    def read(self, size: int) -> bytes:
        """Return ``size`` bytes, fewer only at the end."""
        while len(self._buffer) < size and (content := next(self._contents, None)) is not None:
            self._buffer += content
        content = bytes(self._buffer[:size])
        del self._buffer[:size]
        return content


def _decoded(source: "Readable", label: bytes) -> Iterator[bytes]:
    """Yield the content in pieces.

    Header, body and footer are right if the end is reached. Raises ``InputError``.
    """
    before, quoting, rest = _find_header(source, label)
    batches = _batches(source, rest, quoting)
    lines: list[bytes] = []
    while (end := _first_dashed(lines)) is None:
        if (more := next(batches, None)) is None:
            raise _malformed(before + len(lines), f"it is not {footer(label).decode()}; the text was cut")
        # The last line may be short if the footer follows, so it waits for what does.
        yield _decode(lines[:-1], before, ended=False)
        before += len(lines[:-1])
        lines = lines[-1:] + more
    if lines[end] != footer(label):
        raise _malformed(before + end + 1, f"it is not {footer(label).decode()}; the text was cut")
    yield _decode(lines[:end], before, ended=True)
    for number, line in enumerate(chain(lines[end + 1 :], chain.from_iterable(batches)), before + end + 2):
        if _BEGIN in line:
            raise _malformed(number, "another one begins here", hint="give each a file of its own")


def _find_header(source: "Readable", label: bytes) -> tuple[int, bytes, bytes]:
    """Find the header line, and read a little beyond it.

    Returns the number of the line, the text before the header in it, and the text after it that was read. Raises ``InputError``.
    """
    text = b""
    while _BEGIN not in text and len(text) < MAX_BEFORE and (block := source.read(_BLOCK)):
        text += block
    if text.startswith(_UTF_16):
        raise InputError("read armored file: it is UTF-16 text", hint="save it as ASCII or UTF-8 text")
    text = text.removeprefix(_UTF_8_BOM)
    blank = len(text) - len(text.lstrip(_BLANK))
    at = next((place for mark in (_BEGIN, _MARK) if (place := text.find(mark)) >= 0), blank)
    begin = text.rfind(b"\n", 0, at) + 1
    while (end := text.find(b"\n", at)) < 0 and len(text) - at < _LONGEST and (block := source.read(_BLOCK)):
        text += block
    number = text.count(b"\n", 0, begin) + 1
    line = text[at : end if end >= 0 else None].rstrip(_BLANK)
    if line != header(label):
        if other := _LABEL.fullmatch(line):
            raise _malformed(number, f"it is {other[1].decode()}, not {label.decode()}", hint=_HINT_OTHER)
        raise _malformed(number, f"it is not {header(label).decode()}")
    return number, text[begin:at], text[end + 1 :] if end >= 0 else b""


def _batches(source: "Readable", text: bytes, quoting: bytes) -> Iterator[list[bytes]]:
    """Yield the lines of ``text`` and then of ``source``, some at a time.

    They come without their ends and their signs of quotation. A line that is too long for armor comes in pieces.
    """
    while True:
        *lines, rest = text.split(b"\n")
        if len(rest) > _LONGEST:
            lines, rest = [*lines, rest], b""
        if lines:
            yield _unquoted(lines, text, quoting)
        if not (block := source.read(_BLOCK)):
            break
        text = rest + block
    if rest:
        yield _unquoted([rest], rest, quoting)


def _unquoted(lines: list[bytes], text: bytes, quoting: bytes) -> list[bytes]:
    """Return ``lines``, which are those of ``text``, without signs of quotation.

    ``quoting`` stands before the header and is removed first. The number and order of the lines stay.
    """
    if not quoting and not any(sign in text for sign in (b" ", b"\t", b"\r", b">", b"|")):
        return lines
    return [line.removeprefix(quoting).lstrip(_QUOTING).rstrip(_BLANK) for line in lines]


def _first_dashed(lines: list[bytes]) -> int | None:
    """Return the index of the footer, or of a wrong line in its place.

    Only they begin with a dash, as base64 has none. Returns None if there is no such line.
    """
    if b"-" not in b"".join(lines):
        return None
    return next((at for at, line in enumerate(lines) if line.startswith(b"-")), None)


def _decode(lines: list[bytes], before: int, *, ended: bool) -> bytes:
    """Decode lines that stand behind ``before`` others.

    The last one may be short if ``ended``. Raises ``InputError``, which names the line that is wrong.
    """
    encoded = b"".join(lines)
    if b"=" not in encoded and set(map(len, lines)) == {COLUMNS}:
        with suppress(binascii.Error):  # the line that is wrong is found below
            return binascii.a2b_base64(encoded, strict_mode=True)
    numbered = enumerate(lines, before + 1)
    return b"".join(_decode_line(line, n, last=ended and n == before + len(lines)) for n, line in numbered)


def _decode_line(line: bytes, number: int, *, last: bool) -> bytes:
    if b"=3D" in line:
        raise _malformed(
            number, "it is quoted-printable, a code of mail", hint="save the decoded text of the message"
        )
    if len(line) != COLUMNS and not (last and 0 < len(line) < COLUMNS):
        raise _malformed(number, f"it has {len(line)} columns, not {COLUMNS}")
    try:
        content = binascii.a2b_base64(line, strict_mode=True)
    except binascii.Error as error:
        raise _malformed(number, "it is not base64") from error
    if binascii.b2a_base64(content, newline=False) != line or not (last or len(content) == _LINE_BYTES):
        raise _malformed(number, "its padding is not canonical")
    return content


def _malformed(line: int, reason: str, hint: str = _HINT) -> InputError:
    return InputError(f"read armored file: line {line}: {reason}", hint=hint)
