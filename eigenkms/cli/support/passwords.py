"""Read a password from a file, an environment variable, or a prompt.

No password is an argument, since other users of the machine can see arguments. A password is the first line of the text, without a
byte-order mark before it and without its line end, CR or LF. Spaces belong to it. The rule is the same for all sources: an editor
ends a file with LF or CR LF, and an orchestrator may set one secret as a file in one place and as a variable in another.
"""

import getpass
import os
import re
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eigenkms.cli.support.output import warn
from eigenkms.errors import InputError
from eigenkms.plain_text import NotUtf8Error, decode_text
from eigenkms.printable import printable

VARIABLE = "EIGENKMS_PASSWORD"
ACCOUNT_VARIABLE = "EIGENKMS_ACCOUNT_PASSWORD"
BACKUP_VARIABLE = "EIGENKMS_BACKUP_PASSWORD"


@dataclass(frozen=True, slots=True)
class Ways:
    """The sources of a password other than a prompt.

    They are a flag that names a file, and an environment variable.
    """

    flag: str = "--password-file"
    variable: str = VARIABLE

    @property
    def hint(self) -> str:
        return f"give {self.flag} FILE, set {self.variable}, or run it in a terminal"


KEYSTORES = Ways()
ACCOUNT = Ways("--account-password-file", ACCOUNT_VARIABLE)
BACKUP = Ways("--backup-password-file", BACKUP_VARIABLE)
MAX_BYTES = 4096
"""Of a password, line end included; a longer one is refused rather than cut."""


def read_password(
    purpose: str,
    *,
    file: Path | None,
    environ: Mapping[str, str],
    confirm: bool = False,
    may_be_empty: bool = False,
    ways: Ways = KEYSTORES,
) -> str:
    """Read the password for ``purpose``, such as "keystore bn254.json".

    ``confirm`` makes a prompt ask twice. ``may_be_empty`` is for a file of another program that has an empty password. ``ways`` are
    the flag and the variable of a password that is not that of the keystores. Raises InputError.
    """
    if file is not None:
        password = _first_line(_content(file), _name(file))
    elif environ.get(ways.variable):
        password = _first_line(
            os.fsencode(environ[ways.variable]), f"the environment variable {ways.variable}"
        )
    else:
        password = _prompt(purpose, ways, confirm=confirm)
    if not password and not may_be_empty:
        raise InputError(f"read password for {purpose}: it is empty", hint=ways.hint)
    return password


def _name(path: Path) -> str:
    return "stdin" if str(path) == "-" else f"password file {path}"


def _content(path: Path) -> bytes:
    """Read the first line of a file, and perhaps more.

    ``-`` is stdin, of which only that line is read.
    """
    if str(path) == "-":
        return _stdin_line()
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                warn(f"password file {path} can be read by others; run chmod 600 {path}")
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"read password file {path}: {(error.strerror or str(error)).lower()}") from error


def _stdin_line() -> bytes:
    if sys.stdin is None:
        raise InputError("read password from stdin: it is closed", hint=KEYSTORES.hint)
    return sys.stdin.buffer.readline(MAX_BYTES + 1)


def _first_line(content: bytes, where: str) -> str:
    """Return the password in ``content``.

    Raises InputError, which names ``where`` and repeats no content.
    """
    line = re.split(rb"[\r\n]", content, maxsplit=1)[0]
    if len(line) > MAX_BYTES:
        raise InputError(f"read {where}: its first line is longer than {MAX_BYTES} bytes")
    try:
        return decode_text(line)
    except NotUtf8Error as error:
        raise InputError(f"read {where}: {error}") from error


def has_terminal() -> bool:
    """Return whether a person can answer a prompt."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _prompt(purpose: str, ways: Ways, *, confirm: bool) -> str:
    if not has_terminal():
        raise InputError(f"read password for {purpose}: there is no terminal to ask at", hint=ways.hint)
    password = getpass.getpass(f"Password for {printable(purpose)}: ")
    if confirm and getpass.getpass("The same again: ") != password:
        raise InputError(f"read password for {purpose}: the two were not the same")
    return password
