"""Where a verb's bytes come from and where they go, with the manners of age.

Input is a file or stdin, output ``-o FILE`` or stdout; ``-`` is a stream. A file appears whole or not at all:
it is written under a temporary name in its folder, fsynced and renamed. A secret gets mode 0600, also where
the file was there before with another. Input and output may not be one file. Binary is refused to a terminal,
and so is a secret with control characters in it, which would command the terminal.
"""

import os
import signal
import stat
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

from eigenkms.cli.armor import ENCRYPTED_FILE, dearmor, is_armored
from eigenkms.cli.report import explaining_stdout, note
from eigenkms.errors import InputError

MAX_BYTES = 256 * 2**20
"""Ciphertext version 1 is one AES-GCM call, so a file is held in memory, several times over."""

STREAM = "-"


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


class Source:
    """The input of a verb: a file, or stdin for None and ``-``."""

    def __init__(self, name: str | None) -> None:
        self.name = None if name in (None, STREAM) else name

    def __str__(self) -> str:
        return self.name or "stdin"

    def stat(self) -> os.stat_result | None:
        """The file behind it; None where there is none."""
        with suppress(OSError, ValueError):
            return Path(self.name).stat() if self.name else os.fstat(sys.stdin.fileno())
        return None

    def read(self, limit: int = MAX_BYTES) -> bytes:
        """Everything. InputError where it cannot be read or is longer than ``limit`` bytes."""
        try:
            content = self._read(limit + 1)
        except OSError as error:
            raise InputError(f"read {self}: {_reason(error)}") from error
        if len(content) > limit:
            raise InputError(
                f"read {self}: more than {limit} bytes",
                hint="encrypt a key instead, and the large file with that key",
            )
        return content

    def _read(self, size: int) -> bytes:
        if self.name:
            with Path(self.name).open("rb") as file:
                return file.read(size)
        if sys.stdin.isatty():
            note("reading from the terminal; end with Ctrl-D on a line of its own")
        return sys.stdin.buffer.read(size)

    def read_unarmored(self, label: bytes = ENCRYPTED_FILE) -> bytes:
        """Everything, without its armor if it has one."""
        content = self.read(MAX_BYTES * 3 // 2)
        return dearmor(content, label) if is_armored(content) else content


class Sink:
    """The output of a verb: ``-o FILE``, or stdout for None and ``-``. Check it first, write it once."""

    def __init__(self, name: str | None, *, secret: bool = False) -> None:
        self.name = None if name in (None, STREAM) else name
        self._secret = secret

    def __str__(self) -> str:
        return self.name or "stdout"

    def check(self, source: Source | None = None, *, binary: bool = False) -> None:
        """Refuse what cannot go well, before any work is done. Raises InputError."""
        if self.name is None:
            if binary:
                self._refuse_terminal("the result is binary")
        else:
            self._check_file(Path(self.name))
        if source is not None and self._same(source.stat()):
            raise InputError(
                f"write {self}: it is the input file", hint="give another file with -o; nothing was changed"
            )

    def _check_file(self, path: Path) -> None:
        if path.is_dir() or str(self.name).endswith("/"):
            raise InputError(f"write {path}: it is a folder", hint="give the name of a file with -o")
        if not path.resolve().parent.is_dir():
            raise InputError(f"write {path}: its folder does not exist", hint="create the folder first")

    def _same(self, source: os.stat_result | None) -> bool:
        if source is None or not stat.S_ISREG(source.st_mode):
            return False
        with suppress(OSError, ValueError):
            mine = Path(self.name).stat() if self.name else os.fstat(sys.stdout.fileno())
            return os.path.samestat(mine, source)
        return False

    def _refuse_terminal(self, reason: str) -> None:
        if sys.stdout.isatty():
            raise InputError(
                f"write to the terminal: {reason}",
                hint="use -o FILE or a pipe; encrypt and evidence export can write text with -a",
            )

    def write(self, content: bytes) -> None:
        """All of ``content``, or InputError and no file."""
        if self.name is None:
            if not _printable(content):
                self._refuse_terminal("the result is binary")
            with explaining_stdout():
                sys.stdout.buffer.write(content)
                sys.stdout.buffer.flush()
            return
        path = Path(self.name).resolve()
        try:
            if path.exists() and not path.is_file():
                path.write_bytes(content)
            else:
                self._replace(path, content)
        except OSError as error:
            raise InputError(f"write {self}: {_reason(error)}", hint="nothing was written") from error

    def _replace(self, path: Path, content: bytes) -> None:
        """A signal that would end the process waits until the file is whole."""
        waiting = {signal.SIGTERM, signal.SIGHUP, signal.SIGINT}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, waiting)
        try:
            descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    self._fill(file, content)
                Path(temporary).replace(path)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
            _sync_folder(path.parent)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _fill(self, file: IO[bytes], content: bytes) -> None:
        if not self._secret:
            os.fchmod(file.fileno(), 0o666 & ~_umask())
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _printable(content: bytes) -> bool:
    """Text that a terminal shows and does not obey."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return False
    return all(char.isprintable() or char in "\n\t" for char in text)
