"""Armor is strict: what it made it reads, and it reads nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eigenkms.cli.armor import ENCRYPTED_FILE, EVIDENCE, FOOTER, HEADER, armor, dearmor, is_armored
from eigenkms.errors import InputError


@given(st.binary(max_size=400))
def test_round_trip(content: bytes) -> None:
    """Any bytes come back; lines have 64 columns, only the last of base64 fewer."""
    text = armor(content)
    assert dearmor(text) == content
    assert is_armored(text)
    body = text.split(b"\n")[1:-2]
    assert all(len(line) == 64 for line in body[:-1])
    assert all(0 < len(line) <= 64 for line in body[-1:])


@given(st.binary(min_size=1, max_size=200), st.data())
def test_one_text_for_each_content(content: bytes, data: st.DataObject) -> None:
    """A changed character inside gives an error or other content, never the same content."""
    text = bytearray(armor(content))
    position = data.draw(st.integers(len(HEADER) + 1, len(text) - len(FOOTER) - 3))
    changed = data.draw(st.integers(0, 255).filter(lambda b: b != text[position]))
    text[position] = changed
    try:
        assert dearmor(bytes(text)) != content
    except InputError as error:
        assert str(error).startswith("read armored file: line ")  # noqa: PT017


def test_line_ends_of_other_systems_and_blank_lines_around_are_fine() -> None:
    """What mail and editors do to a text without changing it."""
    text = armor(b"x" * 100)
    assert dearmor(text.replace(b"\n", b"\r\n")) == b"x" * 100
    assert dearmor(b"\n\r\n  " + text + b"\n\n") == b"x" * 100
    assert dearmor(text.rstrip()) == b"x" * 100


BODY = armor(b"x" * 90).split(b"\n")[1:3]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (HEADER, 1),
        (HEADER + b"\n" + BODY[0], 2),
        (b"\n".join([HEADER, *BODY]), 3),
        (b"\n".join([HEADER, BODY[0], b"", BODY[1], FOOTER]), 3),
        (b"\n".join([HEADER, BODY[1], BODY[0], FOOTER]), 2),
        (b"\n".join([HEADER, BODY[0], BODY[1], b"", FOOTER]), 3),
        (b"\n".join([HEADER, b" " + BODY[0], BODY[1], FOOTER]), 2),
        (b"\n".join([HEADER, BODY[0] + b" ", BODY[1], FOOTER]), 2),
        (b"\n".join([HEADER, BODY[0] + b"AAAA", FOOTER]), 2),
        (b"\n".join([HEADER, b"====", FOOTER]), 2),
        (b"\n".join([HEADER, b"QQ", FOOTER]), 2),
        (b"\n".join([HEADER, b"QR==", FOOTER]), 2),
        (b"\n".join([HEADER, b"Q-_=", FOOTER]), 2),
        (b"-----BEGIN AGE ENCRYPTED FILE-----\nQUFB\n" + FOOTER, 1),
        (b"\n".join([HEADER, *BODY, FOOTER, b"more"]), 5),
        (b"\n".join([HEADER, *BODY, FOOTER, HEADER, *BODY, FOOTER]), 5),
    ],
)
def test_anything_else_is_refused_with_its_line(text: bytes, line: int) -> None:
    """Cut, reordered, padded wrongly, of another program, or with something after it."""
    with pytest.raises(InputError, match=f"read armored file: line {line}: "):
        dearmor(text)


def test_empty_content_has_no_lines() -> None:
    """Zero bytes are header and footer, nothing between."""
    assert armor(b"") == HEADER + b"\n" + FOOTER + b"\n"
    assert dearmor(armor(b"")) == b""


def test_the_header_says_what_is_inside() -> None:
    """Evidence is not taken for a ciphertext, nor the other way round."""
    text = armor(b"x" * 100, EVIDENCE)
    assert text.startswith(b"-----BEGIN EIGENKMS EVIDENCE-----\n")
    assert dearmor(text, EVIDENCE) == b"x" * 100
    for wrong, label in ((text, ENCRYPTED_FILE), (armor(b"x"), EVIDENCE), (text[:-2] + b"x", EVIDENCE)):
        with pytest.raises(InputError, match=r"line [0-9]: it is not -----"):
            dearmor(wrong, label)


def test_binary_is_not_mistaken_for_armor() -> None:
    """A ciphertext begins with IBE."""
    assert not is_armored(b"IBE\x01-----BEGIN ")
    assert not is_armored(b"")
