"""The input of a verb: a file, or stdin.

``-`` is stdin. A name of a descriptor (``/dev/stdin``, ``/dev/fd/3``) is that descriptor as it is open, not the file behind it
opened again: a pipe, a socket and the position in a file stay what they are. Each error of reading is an ``InputError`` that names
the input.
"""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from eigenkms.cli.support.output import print_note
from eigenkms.cli.support.standard_streams import STREAM, descriptor_of, reason_of
from eigenkms.client.armor import ENCRYPTED_FILE, MAX_BEFORE, ArmorReader, dearmor, is_armored
from eigenkms.client.hex_text import HexReader, is_hex
from eigenkms.errors import InputError

if TYPE_CHECKING:
    from eigenkms.client.ciphertexts import Readable

MAX_BYTES: Final = 256 * 2**20
"""Limit of what is read whole, into memory."""
MAX_TEXT: Final = 2 * MAX_BYTES + 1024
"""The same as text, of which hexadecimal is the longest."""


class InputFile:
    """A file to read, or stdin for None and ``-``."""

    def __init__(self, name: str | None) -> None:
        self.name = None if name in (None, STREAM) else name

    def __str__(self) -> str:
        return self.name or "stdin"

    def stat(self) -> os.stat_result | None:
        """Return the state of the file behind it; None if there is none."""
        with suppress(OSError, ValueError):
            return Path(self.name).stat() if self.name else os.fstat(sys.stdin.fileno())
        return None

    def read(self, limit: int = MAX_BYTES, hint: str | None = None) -> bytes:
        """Return its bytes, at most ``limit``.

        Raises InputError if it cannot be read or is longer.
        """
        with self.open() as reader:
            content = reader.read(limit + 1)
        if len(content) > limit:
            raise InputError(f"read {self}: more than {limit} bytes", hint=hint)
        return content

    @contextmanager
    def open(self) -> Iterator["_InputReader"]:
        """Open it to be read piece by piece.

        Raises InputError if it cannot be read, now or later.
        """
        with self._opened() as file:
            yield _InputReader(file, self)

    def _opened(self) -> AbstractContextManager[IO[bytes]]:
        number = 0 if self.name is None else descriptor_of(self.name)
        if self.name is not None and number != 0:
            try:
                return Path(self.name).open("rb") if number is None else os.fdopen(os.dup(number), "rb")
            except OSError as error:
                raise InputError(f"read {self}: {reason_of(error)}") from error
        if sys.stdin.isatty():
            print_note("reading from the terminal; end with Ctrl-D on a line of its own")
        return nullcontext(sys.stdin.buffer)

    @contextmanager
    def open_unarmored(self) -> Iterator[tuple["Readable", bool]]:
        """Open it without its armor if it has one; the second value says whether it has.

        Hexadecimal text is read too.
        """
        from eigenkms.crypto.ibe import MAGIC

        with self.open() as reader:
            first = reader.peek(len(MAGIC) + 1)
            is_binary = first.startswith(MAGIC) and first[len(MAGIC) :] < b" "  # a version is no character
            if not is_binary and is_hex(reader.peek(MAX_BEFORE)):
                yield HexReader(reader), False
                return
            armored = not is_binary and is_armored(reader.peek(MAX_BEFORE))
            yield ArmorReader(reader) if armored else reader, armored

    def read_unarmored(self, label: bytes = ENCRYPTED_FILE) -> bytes:
        """Return its bytes, without its armor if it has one.

        Of hexadecimal text, return the bytes that it stands for.
        """
        content = self.read(MAX_TEXT)
        if is_hex(content[:MAX_BEFORE]):
            return HexReader(BytesIO(content)).read(len(content))
        return dearmor(content, label) if is_armored(content[:MAX_BEFORE]) else content


class _InputReader:
    """A binary file whose errors name the input."""

    def __init__(self, file: IO[bytes], source: InputFile) -> None:
        self._file = file
        self._source = source
        self._held = b""

    def read(self, size: int) -> bytes:
        """Return at most ``size`` bytes; none at the end."""
        held, self._held = self._held[:size], self._held[size:]
        return held + self._read(size - len(held)) if len(held) < size else held

    def peek(self, size: int) -> bytes:
        """Return the next ``size`` bytes, fewer only at the end, without consuming them."""
        while len(self._held) < size and (more := self._read(size - len(self._held))):
            self._held += more
        return self._held[:size]

    def _read(self, size: int) -> bytes:
        try:
            if (content := self._file.read(size)) is None:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        except OSError as error:
            raise InputError(f"read {self._source}: {reason_of(error)}") from error
        return content
