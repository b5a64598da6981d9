"""The three standard streams, as the verbs use them.

Each is always open, is named in its errors, and has a form for every character.

A parent may have closed one (``>&-``). Python then has None in its place, and the next file that is opened gets its number, so a
result for stdout would be written into a keystore or a database. ``prepare`` takes the number first, with /dev/null opened the
wrong way round, as ``stdopen`` of GNU coreutils does: a verb that uses the stream fails, and every other verb works. The descriptor
is closed again when ``exec`` becomes another program.

An error of stdin or stdout is an ``InputError`` that names the stream, whatever library was reading or writing. A reader of stdout
that went away stays ``BrokenPipeError``. An error of stderr is ignored: a message that cannot be shown changes no exit code.

An encoding that lacks a character (ISO-8859-1, ASCII) gets an ASCII form of it.
"""

import codecs
import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from eigenkms.errors import InputError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

ERRORS: Final = "eigenkms.ascii"
"""The error handler of what is written."""
_PLAIN: Final = {
    "…": "...",
    "–": "-",
    "—": "-",
    "→": "->",
    "×": "x",
    "≤": "<=",
    "≥": ">=",
    "‖": "||",
    "’": "'",
}

_MAX_LINKS: Final = 40
"""As Linux follows (MAXSYMLINKS)."""
STREAM: Final = "-"
"""The name of a file that means the standard stream."""


def prepare() -> None:
    """Replace ``sys.stdin``, ``sys.stdout`` and ``sys.stderr``.

    Call it once, before the process reads, writes or opens a file.
    """
    # In ascending order: what is opened gets the lowest number that is free.
    stdin = _Input(_descriptor(0, sys.stdin, os.O_WRONLY), "r", closefd=False)
    stdout = _StandardOutput(_descriptor(1, sys.stdout, os.O_RDONLY), "w", closefd=False)
    stderr = _Messages(_descriptor(2, sys.stderr, os.O_WRONLY), "w", closefd=False)
    undecodable = "strict" if sys.stdin is None else sys.stdin.errors
    sys.stdin = io.TextIOWrapper(io.BufferedReader(stdin), _encoding(sys.stdin), undecodable)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(stdout), _encoding(sys.stdout), ERRORS, line_buffering=stdout.isatty()
    )
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(stderr), _encoding(sys.stderr), ERRORS, line_buffering=True
    )


def _descriptor(number: int, stream: TextIO | None, access: int) -> int:
    return number if stream is not None else os.open(os.devnull, access)


def _encoding(stream: TextIO | None) -> str:
    return "utf-8" if stream is None else stream.encoding


def _as_ascii(error: UnicodeError) -> tuple[str, int]:
    """Replace characters by ASCII, as an error handler of ``codecs.register_error``.

    Known signs become those that people type, and others become escapes of Python.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(each) or ascii(each)[1:-1] for each in text), error.end


codecs.register_error(ERRORS, _as_ascii)


def descriptor_of(name: str) -> int | None:
    """Return the number of the descriptor of this process that a path names.

    Such paths are ``/dev/stdin`` and ``/dev/fd/3``. Returns None for any other path.
    """
    path = Path(name)
    with suppress(OSError, RuntimeError):  # RuntimeError: a loop of links
        own = Path("/proc/self/fd").resolve()
        for _ in range(_MAX_LINKS):
            folder = path.parent.resolve()
            if folder == own and path.name.isdecimal():
                return int(path.name)
            if not path.is_symlink():
                return None
            path = folder / path.readlink()
    return None


class _Input(io.FileIO):
    """A standard input whose errors name it."""

    def readinto(self, buffer: "WriteableBuffer", /) -> int | None:
        with _explained("read stdin", "reading"):
            return super().readinto(buffer)

    def readall(self) -> bytes:
        with _explained("read stdin", "reading"):
            return super().readall()


class _StandardOutput(io.FileIO):
    """A standard output whose errors name it."""

    def write(self, content: "ReadableBuffer", /) -> int:
        with _explained("write stdout", "writing"):
            return super().write(content)


class _Messages(io.FileIO):
    """A standard error that never fails."""

    def write(self, content: "ReadableBuffer", /) -> int:
        try:
            return super().write(content)
        except OSError:
            return memoryview(content).nbytes


@contextmanager
def _explained(action: str, use: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno == errno.EBADF:
            raise closed(action, use) from error
        raise InputError(f"{action}: {reason_of(error)}") from error


def reason_of(error: OSError) -> str:
    """Return the reason of an error of the system, as a clause of a message."""
    return (error.strerror or str(error)).lower()


def closed(action: str, use: str) -> InputError:
    """Make the error of a stream that the parent closed.

    It may also have opened it the wrong way round.
    """
    return InputError(
        f"{action}: it is closed to {use}", hint="name a file instead, or leave the stream open"
    )
