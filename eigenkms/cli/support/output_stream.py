"""Streams under ``OutputFile``: for a file, and for a terminal.

Binary is refused to a terminal, and so is a text with control characters, which would command it.
"""

import codecs
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import IO

from eigenkms.errors import InputError


class OutputStream:
    """A binary file whose errors name the output, and a count of its bytes."""

    def __init__(self, file: IO[bytes], explained: Callable[[], AbstractContextManager[None]]) -> None:
        self._file = file
        self._explained = explained
        self.written = 0

    def write(self, content: bytes) -> None:
        with self._explained():
            self._file.write(content)
        self.written += len(content)

    def finish(self) -> None:
        with self._explained():
            self._file.flush()


class TerminalOutput(OutputStream):
    """A terminal that shows text only.

    Each piece is held until the next one arrives, so that a single piece is checked whole.
    """

    def __init__(self, file: IO[bytes], explained: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__(file, explained)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._held = b""

    def write(self, content: bytes) -> None:
        self._check(content)
        content, self._held = self._held, content
        super().write(content)

    def finish(self) -> None:
        self._check(b"", final=True)
        super().write(self._held)
        super().finish()

    def _check(self, content: bytes, *, final: bool = False) -> None:
        """Raise InputError for binary, and for text with control characters."""
        try:
            text = self._decoder.decode(content, final)
        except UnicodeDecodeError:
            raise terminal_refused() from None
        if not all(char.isprintable() or char in "\n\t" for char in text):
            raise terminal_refused()


def terminal_refused() -> InputError:
    """Return the error for a binary result that would go to a terminal."""
    return InputError(
        "write to the terminal: the result is binary",
        hint="use -o FILE or a pipe; encrypt and evidence export can write text with -a",
    )
