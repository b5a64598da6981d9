"""Where a password comes from: a file, an environment variable, or a prompt. Never an argument."""

import getpass
import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eigenkms.cli.report import warn
from eigenkms.errors import InputError
from eigenkms.printable import printable

VARIABLE = "EIGENKMS_PASSWORD"
ACCOUNT_VARIABLE = "EIGENKMS_ACCOUNT_PASSWORD"
BACKUP_VARIABLE = "EIGENKMS_BACKUP_PASSWORD"


@dataclass(frozen=True, slots=True)
class Ways:
    """To give a password other than at a prompt: a flag that names a file, and an environment variable."""

    flag: str = "--password-file"
    variable: str = VARIABLE

    @property
    def hint(self) -> str:
        return f"give {self.flag} FILE, set {self.variable}, or run it in a terminal"


KEYSTORES = Ways()
ACCOUNT = Ways("--account-password-file", ACCOUNT_VARIABLE)
BACKUP = Ways("--backup-password-file", BACKUP_VARIABLE)


def read_password(
    purpose: str,
    *,
    file: Path | None,
    environ: Mapping[str, str],
    confirm: bool = False,
    ways: Ways = KEYSTORES,
) -> str:
    """The password for ``purpose`` ("keystore bn254.json"). ``confirm`` asks twice at a prompt; ``ways`` are where another
    password than the keystores' comes from. Raises InputError.
    """
    if file is not None:
        password = _from_file(file)
    elif environ.get(ways.variable):
        password = environ[ways.variable]
    else:
        password = _prompt(purpose, ways, confirm=confirm)
    if not password:
        raise InputError(f"read password for {purpose}: it is empty", hint=ways.hint)
    return password


def _from_file(path: Path) -> str:
    """The first line, without its line end; spaces count. ``-`` is stdin."""
    if str(path) == "-":
        return sys.stdin.readline().rstrip("\r\n")
    try:
        with path.open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                warn(f"password file {path} can be read by others; run chmod 600 {path}")
            return file.readline(4096).rstrip("\r\n")
    except OSError as error:
        raise InputError(f"read password file {path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"read password file {path}: it is not UTF-8 text") from error


def has_terminal() -> bool:
    """Whether there is somebody to ask."""
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
