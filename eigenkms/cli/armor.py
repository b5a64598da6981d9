"""Text armor for ciphertexts and evidence, in the manner of RFC 7468, strict: one text for each sequence of bytes.

Header line, base64 (RFC 4648, section 4) in lines of 64 characters of which only the last may be shorter,
footer line. Lines end with LF or CRLF; blank lines may stand before and after, nowhere between. Anything else
is refused, so two different texts never hold the same content. Reader and writer work piece by piece, in constant memory.
"""

import binascii
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
"""What is inside, as header and footer name it."""
COLUMNS = 64

_LINE_BYTES = COLUMNS * 3 // 4
_BLOCK = 1 << 16
_LONGEST = 1 << 10
_BLANK = b"\r\n\t "


def header(label: bytes = ENCRYPTED_FILE) -> bytes:
    return b"-----BEGIN " + label + b"-----"


def footer(label: bytes = ENCRYPTED_FILE) -> bytes:
    return b"-----END " + label + b"-----"


HEADER, FOOTER = header(), footer()


def is_armored(begin: bytes) -> bool:
    """Whether what begins so can only be armor; one byte tells. What follows may still be broken."""
    return begin[:1] != b"" and begin[:1] in b"-" + _BLANK


def armor(content: bytes, label: bytes = ENCRYPTED_FILE) -> bytes:
    """``content`` as armored text that ends with a newline."""
    text = BytesIO()
    with ArmorWriter(text, label) as writer:
        writer.write(content)
    return text.getvalue()


def dearmor(text: bytes, label: bytes = ENCRYPTED_FILE) -> bytes:
    """The bytes inside; InputError names the line that is wrong."""
    return b"".join(_decoded(BytesIO(text), label))


class ArmorWriter:
    """Writes what it is given to ``sink`` as armored text. The footer comes when its block ends, and not if that raised."""

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
    """What is inside an armored text, read piece by piece; InputError names the line that is wrong, once it is reached."""

    def __init__(self, source: "Readable", label: bytes = ENCRYPTED_FILE) -> None:
        self._contents = _decoded(source, label)
        self._buffer = bytearray()

    def read(self, size: int) -> bytes:
        """``size`` bytes, fewer only at the end."""
        while len(self._buffer) < size and (content := next(self._contents, None)) is not None:
            self._buffer += content
        content = bytes(self._buffer[:size])
        del self._buffer[:size]
        return content


def _decoded(source: "Readable", label: bytes) -> Iterator[bytes]:
    """The content in pieces; all of header, body, footer and what is around them was right if the end is reached."""
    batches = _batches(source)
    first, *lines = next(batches, [b""])
    if first != header(label):
        raise _malformed(1, f"it is not {header(label).decode()}")
    before = 1
    while (end := _first_dashed(lines)) is None:
        if (more := next(batches, None)) is None:
            raise _malformed(before + len(lines), f"it is not {footer(label).decode()}; the text was cut")
        # The last line may be short if the footer follows, so it waits for what does.
        yield _decode(lines[:-1], before, ended=False)
        before += len(lines[:-1])
        lines = lines[-1:] + more
    if lines[end].rstrip(_BLANK) != footer(label):
        raise _malformed(before + end + 1, f"it is not {footer(label).decode()}; the text was cut")
    yield _decode(lines[:end], before, ended=True)
    _refuse_more(lines[end + 1 :], batches, before + end + 1)


def _refuse_more(lines: list[bytes], batches: Iterator[list[bytes]], before: int) -> None:
    for number, line in enumerate(chain(lines, chain.from_iterable(batches)), before + 1):
        if line.strip(_BLANK):
            raise _malformed(number, "it stands after the end")


def _batches(source: "Readable") -> Iterator[list[bytes]]:
    """Lines without their ends, some at a time, from the first that is not blank. A line too long for armor comes in pieces."""
    rest = b""
    begun = False
    while block := source.read(_BLOCK):
        text = rest + block if begun else block.lstrip(_BLANK)
        begun = begun or bool(text)
        *lines, rest = text.split(b"\n")
        if len(rest) > _LONGEST:
            lines, rest = [*lines, rest], b""
        if lines:
            yield [line.removesuffix(b"\r") for line in lines] if b"\r" in text else lines
    if rest:
        yield [rest.removesuffix(b"\r")]


def _first_dashed(lines: list[bytes]) -> int | None:
    """Where the footer must be: base64 has no dash."""
    if b"-" not in b"".join(lines):
        return None
    return next((at for at, line in enumerate(lines) if line.startswith(b"-")), None)


def _decode(lines: list[bytes], before: int, *, ended: bool) -> bytes:
    """The content of lines that stand behind ``before`` others. At the end the last one may be short."""
    encoded = b"".join(lines)
    if b"=" not in encoded and set(map(len, lines)) == {COLUMNS}:
        with suppress(binascii.Error):  # the line that is wrong is found below
            return binascii.a2b_base64(encoded, strict_mode=True)
    numbered = enumerate(lines, before + 1)
    return b"".join(_decode_line(line, n, last=ended and n == before + len(lines)) for n, line in numbered)


def _decode_line(line: bytes, number: int, *, last: bool) -> bytes:
    if len(line) != COLUMNS and not (last and 0 < len(line) < COLUMNS):
        raise _malformed(number, f"it has {len(line)} columns, not {COLUMNS}")
    try:
        content = binascii.a2b_base64(line, strict_mode=True)
    except binascii.Error as error:
        raise _malformed(number, "it is not base64") from error
    if binascii.b2a_base64(content, newline=False) != line or not (last or len(content) == _LINE_BYTES):
        raise _malformed(number, "its padding is not canonical")
    return content


def _malformed(line: int, reason: str) -> InputError:
    return InputError(
        f"read armored file: line {line}: {reason}", hint="copy the whole text again, from BEGIN to END"
    )
