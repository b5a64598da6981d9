"""Ciphertexts as hexadecimal text, in one piece and in many."""

from io import BytesIO

import pytest

from eigenkms.client.hex_text import HexReader, HexWriter, is_hex
from eigenkms.errors import InputError

CONTENT = bytes(range(256)) * 600


class Slow:
    """A source that gives so many bytes at a call."""

    def __init__(self, text: bytes, size: int) -> None:
        self._text = BytesIO(text)
        self._size = size

    def read(self, size: int) -> bytes:
        return self._text.read(min(size, self._size))


def read_all(text: bytes, piece: int = 1 << 16) -> bytes:
    reader, found = HexReader(Slow(text, piece)), b""
    while content := reader.read(1000):
        found += content
    return found


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1 << 20])
@pytest.mark.parametrize("before", [b"", b" \r\n\t"])
@pytest.mark.parametrize("after", [b"", b"\n", b" \r\n \n"])
def test_a_text_is_read_in_pieces_of_any_size(piece: int, before: bytes, after: bytes) -> None:
    """Blanks around it are passed over, as the reference does."""
    content = CONTENT[:500]
    assert read_all(before + b"0x" + content.hex().encode() + after, piece) == content


def test_what_is_written_is_read_again() -> None:
    """With the prefix, which the reference demands, and the end of the line."""
    sink = BytesIO()
    with HexWriter(sink) as writer:
        writer.write(CONTENT[:7])
        writer.write(CONTENT[7:])
    text = sink.getvalue()
    assert (text[:2], text[-1:]) == (b"0x", b"\n")
    assert read_all(text) == CONTENT


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"0x123", "one digit"),
        (b"0xzz", "no hexadecimal digit"),
        (b"0x12 34", "no hexadecimal digit"),
        (b"0x12\n34", "no hexadecimal digit"),
        (b"0x12\xff\xff", "no hexadecimal digit"),
        (b"0x0x12", "no hexadecimal digit"),
    ],
)
def test_a_text_that_is_wrong_is_refused(text: bytes, reason: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(InputError, match=reason):
        read_all(text)


def test_a_text_that_goes_on_after_its_end_is_refused() -> None:
    """Also if the end came in a piece of its own."""
    with pytest.raises(InputError, match="after its end"):
        read_all(b"0x12\n34", 5)


@pytest.mark.parametrize(
    ("begin", "found"),
    [(b"0x49", True), (b"\n 0x", True), (b"IBE\1", False), (b"-----BEGIN", False), (b"", False)],
)
def test_hexadecimal_text_is_recognised(begin: bytes, found: bool) -> None:
    """By its prefix."""
    assert is_hex(begin) is found
