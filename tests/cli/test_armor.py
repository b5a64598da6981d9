"""Armor is found in the text that it came in, and what is inside is read strictly: what it made, and nothing else."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eigenkms.client.armor import (
    EVIDENCE,
    FOOTER,
    HEADER,
    MAX_BEFORE,
    armor,
    dearmor,
    is_armored,
)
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
def test_no_changed_character_passes(content: bytes, data: st.DataObject) -> None:
    """Inside it gives an error or other content, never the same content; only a line's end has other forms."""
    text = bytearray(armor(content))
    position = data.draw(st.integers(len(HEADER) + 1, len(text) - len(FOOTER) - 3))
    changed = data.draw(
        st.integers(0, 255).filter(lambda b: b != text[position] and chr(b) not in "\r\n\t >|")
    )
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


CONTENT = bytes(range(256))


def quoted(sign: bytes) -> Callable[[bytes], bytes]:
    return lambda text: b"".join(sign + line for line in text.splitlines(keepends=True))


IN_MAIL: dict[str, Callable[[bytes], bytes]] = {
    "quoted": quoted(b"> "),
    "quoted twice": lambda text: b"On Monday she wrote:\n" + quoted(b">> ")(text),
    "quoted unevenly": lambda text: text.replace(b"\n", b"\n>", 2).replace(b"\n>", b"\n> ", 1),
    "quoted with a name": quoted(b"Ann> "),
    "indented": quoted(b"    "),
    "indented by the first line alone": lambda text: b"\t" + text,
    "indented with hard spaces": quoted("\u00a0".encode()),
    "in a comment": quoted(b"# "),
    "in a table": quoted(b"| "),
    "with a time": quoted(b"12:00 "),
    "escaped by PGP": lambda text: (
        b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n"
        + text.replace(b"-----", b"- -----").replace(b"FILE- -----", b"FILE-----")
        + b"-----BEGIN PGP SIGNATURE-----\n"
    ),
    "with CRLF": lambda text: text.replace(b"\n", b"\r\n"),
    "with trailing blanks": lambda text: text.replace(b"\n", b" \t\n"),
    "with a BOM": lambda text: b"\xef\xbb\xbf" + text,
    "with text around": lambda text: (
        "Grüße,\r\nhere it is: 5 - 3\r\n\r\n".encode() + text + b"\n-- \nAnn\n- a dash\n"
    ),
    "with other coding around": lambda text: "Grüße\n".encode("latin-1") + text + "Grüße\n".encode("latin-1"),
    "all of it": lambda text: (
        b"Ann wrote:\r\n\r\n" + quoted(b"> ")(b"Hi!\n\n" + text + b"Bye\n").replace(b"\n", b" \r\n")
    ),
    "far down": lambda text: b"x" * 65_000 + b"\n" + text,
}


@pytest.mark.parametrize("how", IN_MAIL)
def test_what_mail_adds_is_not_content(how: str) -> None:
    """Around the text, before each line and behind it."""
    text = IN_MAIL[how](armor(CONTENT))
    assert text != armor(CONTENT)
    assert is_armored(text[:MAX_BEFORE])
    assert dearmor(text) == CONTENT


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (armor(b"x" * 91).replace(b"=", b"=3D"), "line 3: it is quoted-printable, a code of mail"),
        (armor(CONTENT).decode().encode("utf-16"), "it is UTF-16 text"),
        (armor(CONTENT).decode().encode("utf-16-be"), "it is UTF-16 text"),
    ],
)
def test_a_text_in_another_code_is_named(text: bytes, reason: str) -> None:
    """For what it is, with what to do."""
    assert is_armored(text)
    with pytest.raises(InputError, match=f"^read armored file: {reason}$") as error:
        dearmor(text)
    assert str(error.value.hint).startswith("save ")


def test_a_line_is_counted_from_the_beginning_of_the_text() -> None:
    """Blank lines and what stands before are counted as an editor counts."""
    text = b"\n\nlook:\n" + b"\n".join([HEADER, BODY[0], b"!", FOOTER])
    with pytest.raises(InputError, match="line 6: it is not base64"):
        dearmor(text)


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
        (b"\n".join([HEADER, BODY[0][:32] + b" " + BODY[0][32:], BODY[1], FOOTER]), 2),
        (b"\n".join([HEADER, BODY[0][:32] + b">" + BODY[0][33:], BODY[1], FOOTER]), 2),
        (b"\n".join([HEADER, BODY[0][:60], BODY[0][60:] + BODY[1], FOOTER]), 2),
        (b"\n".join([HEADER, BODY[0] + b"AAAA", FOOTER]), 2),
        (b"\n".join([HEADER, b"====", FOOTER]), 2),
        (b"\n".join([HEADER, b"QQ", FOOTER]), 2),
        (b"\n".join([HEADER, b"QR==", FOOTER]), 2),
        (b"\n".join([HEADER, b"Q-_=", FOOTER]), 2),
        (b"-----BEGIN AGE ENCRYPTED FILE-----\nQUFB\n" + FOOTER, 1),
        (b"text\n\n-----BEGIN AGE ENCRYPTED FILE-----\n-----BEGIN EIGENKMS EVIDENCE-----\n" + FOOTER, 4),
        (b"\n".join([b"> " + HEADER, b"> " + BODY[0], b"> more", b"> " + BODY[1], b"> " + FOOTER]), 3),
        (b"\n".join([b"look:", HEADER + b" see above", *BODY, FOOTER]), 2),
        ("look:\n\n\u2014\u2014BEGIN EIGENKMS ENCRYPTED FILE\u2014\u2014\n".encode(), 3),
        (b"\n".join([HEADER, *BODY, FOOTER, HEADER, *BODY, FOOTER]), 5),
    ],
)
def test_anything_else_is_refused_with_its_line(text: bytes, line: int) -> None:
    """Cut, wrapped, reordered, padded wrongly, of another program, or with another one after it."""
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
    with pytest.raises(InputError, match=r"line 1: it is EIGENKMS EVIDENCE, not EIGENKMS ENCRYPTED FILE"):
        dearmor(text)
    with pytest.raises(InputError, match=r"line 1: it is EIGENKMS ENCRYPTED FILE, not EIGENKMS EVIDENCE"):
        dearmor(armor(b"x"), EVIDENCE)
    with pytest.raises(InputError, match=r"line [0-9]: it is not -----END EIGENKMS EVIDENCE-----"):
        dearmor(text[:-2] + b"x", EVIDENCE)


def test_binary_is_not_mistaken_for_armor() -> None:
    """It has bytes that no text has, whatever it holds beyond."""
    for begin in (b"IBE\x01", b"\x91\xc5\x02\x00"):
        assert not is_armored(begin + armor(b"x"))
    assert not is_armored(b"")
