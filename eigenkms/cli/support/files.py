"""Where a verb's bytes come from and where they go, with the manners of age.

Input is a file or stdin, output ``-o FILE`` or stdout; ``-`` is a stream. A name of a descriptor (``/dev/stdout``, ``/dev/fd/3``)
is that descriptor as it is open, not the file behind it opened again: a pipe, a socket and the end of a log stay what they are.

Any other file appears whole or not at all: it is written under a temporary name in its folder, fsynced and renamed, and removed if
anything fails or a signal ends the process. What went to stdout cannot be taken back; a warning says that it was cut. A secret gets
mode 0600, also where the file was there before with another. Input and output may not be one file. Binary is refused to a terminal,
and so is a secret with control characters in it, which would command the terminal.
"""

import codecs
import errno
import fcntl
import io
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from eigenkms.cli.support.output import print_note, warn
from eigenkms.cli.support.signals import SignalGuard
from eigenkms.cli.support.standard_streams import closed, descriptor_of
from eigenkms.client.armor import ENCRYPTED_FILE, MAX_BEFORE, ArmorReader, dearmor, is_armored
from eigenkms.errors import EigenKmsError, InputError

if TYPE_CHECKING:
    from eigenkms.client.ciphertexts import Readable, Writable

MAX_BYTES = 256 * 2**20
"""Of what is read whole, into memory."""

STREAM = "-"


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


class InputFile:
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

    def read(self, limit: int = MAX_BYTES, hint: str | None = None) -> bytes:
        """Everything. InputError where it cannot be read or is longer than ``limit`` bytes."""
        with self.open() as reader:
            content = reader.read(limit + 1)
        if len(content) > limit:
            raise InputError(f"read {self}: more than {limit} bytes", hint=hint)
        return content

    @contextmanager
    def open(self) -> Iterator["_InputReader"]:
        """Its bytes, to be read piece by piece. InputError where it cannot be read, now or later."""
        with self._opened() as file:
            yield _InputReader(file, self)

    def _opened(self) -> AbstractContextManager[IO[bytes]]:
        number = 0 if self.name is None else descriptor_of(self.name)
        if self.name is not None and number != 0:
            try:
                return Path(self.name).open("rb") if number is None else os.fdopen(os.dup(number), "rb")
            except OSError as error:
                raise InputError(f"read {self}: {_reason(error)}") from error
        if sys.stdin.isatty():
            print_note("reading from the terminal; end with Ctrl-D on a line of its own")
        return nullcontext(sys.stdin.buffer)

    @contextmanager
    def open_unarmored(self) -> Iterator[tuple["Readable", bool]]:
        """As ``open``, without its armor if it has one, and whether it had."""
        from eigenkms.crypto.ibe import MAGIC

        with self.open() as reader:
            first = reader.begin(len(MAGIC) + 1)
            is_binary = first.startswith(MAGIC) and first[len(MAGIC) :] < b" "  # a version is no character
            armored = not is_binary and is_armored(reader.begin(MAX_BEFORE))
            yield ArmorReader(reader) if armored else reader, armored

    def read_unarmored(self, label: bytes = ENCRYPTED_FILE) -> bytes:
        """Everything, without its armor if it has one."""
        content = self.read(MAX_BYTES * 3 // 2)
        return dearmor(content, label) if is_armored(content[:MAX_BEFORE]) else content


class _InputReader:
    """A binary file whose errors name it."""

    def __init__(self, file: IO[bytes], source: InputFile) -> None:
        self._file = file
        self._source = source
        self._held = b""

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes; none at the end."""
        held, self._held = self._held[:size], self._held[size:]
        return held + self._read(size - len(held)) if len(held) < size else held

    def begin(self, size: int) -> bytes:
        """The ``size`` bytes that come next, fewer only at the end. They are still to be read."""
        while len(self._held) < size and (more := self._read(size - len(self._held))):
            self._held += more
        return self._held[:size]

    def _read(self, size: int) -> bytes:
        try:
            if (content := self._file.read(size)) is None:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        except OSError as error:
            raise InputError(f"read {self._source}: {_reason(error)}") from error
        return content


class OutputFile:
    """The output of a verb: ``-o FILE``, or stdout for None and ``-``. Check it first, open it once."""

    def __init__(self, name: str | None, *, secret: bool = False) -> None:
        self.name = None if name in (None, STREAM) else name
        self._secret = secret
        self._number = 1 if self.name is None else descriptor_of(self.name)

    def __str__(self) -> str:
        return self.name or "stdout"

    @property
    def is_stdout(self) -> bool:
        """Whether nothing else must be printed on stdout, however it was named."""
        return self._number == 1

    @property
    def replaces(self) -> bool:
        """Whether a file that is there would be lost."""
        return self._number is None and self.name is not None and Path(self.name).is_file()

    def check(self, source: InputFile | None = None, *, binary: bool = False) -> None:
        """Refuse what cannot go well, before any work is done. Raises InputError."""
        if self._number is not None:
            self._check_stream(self._number, binary=binary)
        elif self.name is not None:
            self._check_file(Path(self.name))
        if source is not None and self._same(source.stat()):
            raise InputError(
                f"write {self}: it is the input file", hint="give another file with -o; nothing was changed"
            )

    def _check_stream(self, number: int, *, binary: bool) -> None:
        with suppress(io.UnsupportedOperation):  # stdout need not be a file in a program that imports this
            number = sys.stdout.fileno() if number == 1 else number
            try:
                is_writable = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
            except OSError:
                is_writable = False
            if not is_writable:
                raise closed(f"write {self}", "writing")
            if binary and os.isatty(number):
                raise _terminal_refused()

    def _check_file(self, path: Path) -> None:
        if path.is_dir() or str(self.name).endswith("/"):
            raise InputError(f"write {path}: it is a folder", hint="give the name of a file with -o")
        if not path.resolve().parent.is_dir() and not path.exists():
            raise InputError(f"write {path}: its folder does not exist", hint="create the folder first")

    def _same(self, source: os.stat_result | None) -> bool:
        if source is None or not stat.S_ISREG(source.st_mode):
            return False
        with suppress(OSError, ValueError):
            mine = Path(self.name).stat() if self.name else os.fstat(sys.stdout.fileno())
            return os.path.samestat(mine, source)
        return False

    def write(self, content: bytes) -> None:
        """All of ``content``, or InputError and no file."""
        with self.open() as output:
            output.write(content)

    def open(self) -> AbstractContextManager["Writable"]:
        """To be written piece by piece. A file is there when the block has ended, and not if it raised; a stream has then got what
        was written, of which a warning tells. InputError where it cannot be written, now or later.
        """
        if self.name is None or self.is_stdout:
            return self._to_stdout()
        path = Path(self.name)
        if self._number is not None or (path.exists() and not path.is_file()):
            return self._to_device(path)
        return self._to_file(path.resolve())

    @contextmanager
    def _to_stdout(self) -> Iterator["Writable"]:
        kind = _TerminalOutput if sys.stdout.isatty() else _OutputStream
        with self._reporting_truncation(kind(sys.stdout.buffer, self._explained)) as output:
            yield output

    @contextmanager
    def _to_device(self, path: Path) -> Iterator["Writable"]:
        with self._explained():
            file = path.open("wb") if self._number is None else os.fdopen(os.dup(self._number), "wb")
        kind = _TerminalOutput if file.isatty() else _OutputStream
        with file, self._reporting_truncation(kind(file, self._explained)) as output:
            yield output

    @contextmanager
    def _reporting_truncation(self, output: "_OutputStream") -> Iterator["_OutputStream"]:
        try:
            yield output
            output.finish()
        except EigenKmsError:
            if output.written:
                warn(f"{self} was cut after {output.written} bytes: do not use what is there")
            raise

    @contextmanager
    def _to_file(self, path: Path) -> Iterator["Writable"]:
        explained = partial(self._explained, hint="nothing was written")
        with SignalGuard() as signals:
            signals.hold()
            with explained():
                file = tempfile.NamedTemporaryFile(prefix=f".{path.name}.", dir=path.parent, delete=False)  # noqa: SIM115
            try:
                signals.release()
                output = _OutputStream(file, explained)
                yield output
                with explained():
                    self._sync(file)
                    signals.hold()
                    Path(file.name).replace(path)
                    _sync_folder(path.parent)
            except BaseException:
                signals.hold()
                Path(file.name).unlink(missing_ok=True)
                with suppress(OSError):  # what is thrown away need not be flushed
                    file.close()
                raise

    def _sync(self, file: IO[bytes]) -> None:
        if not self._secret:
            os.fchmod(file.fileno(), 0o666 & ~_umask())
        file.flush()
        os.fsync(file.fileno())
        file.close()

    @contextmanager
    def _explained(self, hint: str | None = None) -> Iterator[None]:
        """What the system refuses becomes InputError, except that nobody reads: that stays BrokenPipeError."""
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            raise InputError(f"write {self}: {_reason(error)}", hint=hint) from error


class _OutputStream:
    """A binary file whose errors name it, and how many bytes it got."""

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


class _TerminalOutput(_OutputStream):
    """Shows text alone. A piece is shown when the next one comes, so a single one is known to be text to its last byte."""

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
        """Text that a terminal shows and does not obey."""
        try:
            text = self._decoder.decode(content, final)
        except UnicodeDecodeError:
            raise _terminal_refused() from None
        if not all(char.isprintable() or char in "\n\t" for char in text):
            raise _terminal_refused()


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


def _terminal_refused() -> InputError:
    return InputError(
        "write to the terminal: the result is binary",
        hint="use -o FILE or a pipe; encrypt and evidence export can write text with -a",
    )
