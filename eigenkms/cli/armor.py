"""Text armor for ciphertexts and evidence, in the manner of RFC 7468, strict: one text for each sequence of bytes.

Header line, base64 (RFC 4648, section 4) in lines of 64 characters of which only the last may be shorter,
footer line. Lines end with LF or CRLF; blank lines may stand before and after, nowhere between. Anything else
is refused, so two different texts never hold the same content.
"""

import base64
import binascii

from eigenkms.errors import InputError

ENCRYPTED_FILE, EVIDENCE = b"EIGENKMS ENCRYPTED FILE", b"EIGENKMS EVIDENCE"
"""What is inside, as header and footer name it."""
COLUMNS = 64


def header(label: bytes = ENCRYPTED_FILE) -> bytes:
    return b"-----BEGIN " + label + b"-----"


def footer(label: bytes = ENCRYPTED_FILE) -> bytes:
    return b"-----END " + label + b"-----"


HEADER, FOOTER = header(), footer()


def is_armored(text: bytes) -> bool:
    """Whether it begins as armor does; what follows may still be broken."""
    return text.lstrip(b"\r\n\t ").startswith(b"-----BEGIN ")


def armor(content: bytes, label: bytes = ENCRYPTED_FILE) -> bytes:
    """``content`` as armored text that ends with a newline."""
    encoded = base64.b64encode(content)
    lines = [encoded[i : i + COLUMNS] for i in range(0, len(encoded), COLUMNS)]
    return b"\n".join((header(label), *lines, footer(label), b""))


def dearmor(text: bytes, label: bytes = ENCRYPTED_FILE) -> bytes:
    """The bytes inside; InputError names the line that is wrong."""
    body = text.strip(b"\r\n\t ")
    lines = [line.removesuffix(b"\r") for line in body.split(b"\n")]
    if lines[0] != header(label):
        raise _malformed(1, f"it is not {header(label).decode()}")
    if lines[-1] != footer(label) or len(lines) < 2:
        raise _malformed(len(lines), f"it is not {footer(label).decode()}; the text was cut")
    for number, line in enumerate(lines[1:-1], 2):
        last = number == len(lines) - 1
        if len(line) != COLUMNS and not (last and 0 < len(line) < COLUMNS):
            raise _malformed(number, f"it has {len(line)} columns, not {COLUMNS}")
    return _decode(lines[1:-1])


def _decode(lines: list[bytes]) -> bytes:
    encoded = b"".join(lines)
    try:
        content = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise _malformed(len(lines) + 1, "it is not base64") from error
    if base64.b64encode(content) != encoded:
        raise _malformed(len(lines) + 1, "its padding is not canonical")
    return content


def _malformed(line: int, reason: str) -> InputError:
    return InputError(
        f"read armored file: line {line}: {reason}", hint="copy the whole text again, from BEGIN to END"
    )
