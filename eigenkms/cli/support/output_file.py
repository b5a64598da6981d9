"""The output of a verb: ``-o FILE``, or stdout.

``-`` is stdout. A name of a descriptor (``/dev/stdout``, ``/dev/fd/3``) is that descriptor as it is open, not the file behind it
opened again: a pipe, a socket and the end of a log stay what they are.

Any other file appears whole or not at all. It is written under a temporary name in its folder, fsynced and renamed. It is removed
if anything fails or a signal ends the process. Bytes on stdout cannot be removed, so a warning says that the output is cut. A
secret gets mode 0600, even if the file was there before with another mode. Input and output may not be one file.
"""

import fcntl
import io
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from eigenkms.cli.support.input_file import InputFile
from eigenkms.cli.support.output import warn
from eigenkms.cli.support.output_stream import OutputStream, TerminalOutput, terminal_refused
from eigenkms.cli.support.signals import SignalGuard
from eigenkms.cli.support.standard_streams import STREAM, closed, descriptor_of, reason_of
from eigenkms.errors import EigenKmsError, InputError
from eigenkms.storage.data_dir import sync_folder

if TYPE_CHECKING:
    from eigenkms.client.ciphertexts import Writable


class OutputFile:
    """A file to write, or stdout for None and ``-``. Check it first, open it once."""

    def __init__(self, name: str | None, *, secret: bool = False) -> None:
        self.name = None if name in (None, STREAM) else name
        self._secret = secret
        self._number = 1 if self.name is None else descriptor_of(self.name)

    def __str__(self) -> str:
        return self.name or "stdout"

    @property
    def is_stdout(self) -> bool:
        """Whether it is stdout by any name; then nothing else may be printed there."""
        return self._number == 1

    @property
    def replaces(self) -> bool:
        """Whether an existing file would be lost."""
        return self._number is None and self.name is not None and Path(self.name).is_file()

    def check(self, source: InputFile | None = None, *, binary: bool = False) -> None:
        """Raise InputError if it cannot be written, before any work is done."""
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
                raise terminal_refused()

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
        """Write all of ``content``; on failure raise InputError and leave no file."""
        with self.open() as output:
            output.write(content)

    def open(self) -> AbstractContextManager["Writable"]:
        """Open it to be written piece by piece.

        A file is there when the block has ended, and not if the block raised. A stream has then received the bytes so far, and a
        warning states their number. Raises InputError if it cannot be written, now or later.
        """
        if self.name is None or self.is_stdout:
            return self._to_stdout()
        path = Path(self.name)
        if self._number is not None or (path.exists() and not path.is_file()):
            return self._to_device(path)
        return self._to_file(path.resolve())

    @contextmanager
    def _to_stdout(self) -> Iterator["Writable"]:
        kind = TerminalOutput if sys.stdout.isatty() else OutputStream
        with self._reporting_truncation(kind(sys.stdout.buffer, self._explained)) as output:
            yield output

    @contextmanager
    def _to_device(self, path: Path) -> Iterator["Writable"]:
        with self._explained():
            file = path.open("wb") if self._number is None else os.fdopen(os.dup(self._number), "wb")
        kind = TerminalOutput if file.isatty() else OutputStream
        with file, self._reporting_truncation(kind(file, self._explained)) as output:
            yield output

    @contextmanager
    def _reporting_truncation(self, output: "OutputStream") -> Iterator["OutputStream"]:
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
                output = OutputStream(file, explained)
                yield output
                with explained():
                    self._sync(file)
                    signals.hold()
                    Path(file.name).replace(path)
                    sync_folder(path.parent)
            except BaseException:
                signals.hold()
                Path(file.name).unlink(missing_ok=True)
                with suppress(OSError):  # the file is gone: its last bytes need not be flushed
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
        """Turn an OSError into InputError, except BrokenPipeError: the reader went away."""
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            raise InputError(f"write {self}: {reason_of(error)}", hint=hint) from error


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
