"""Where a password comes from: a file, the environment variable EIGENKMS_PASSWORD, or a prompt. Never an
argument.
"""

import getpass
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from eigenkms.cli.report import warn
from eigenkms.errors import InputError

VARIABLE = "EIGENKMS_PASSWORD"


def read_password(
    purpose: str,
    *,
    file: Path | None,
    environ: Mapping[str, str],
    confirm: bool = False,
    variable: str = VARIABLE,
    flag: str = "--password-file",
) -> str:
    """The password for ``purpose`` ("keystore bn254.json"). ``confirm`` asks twice at a prompt; ``variable`` and ``flag`` are
    where another password than the keystores' comes from. Raises InputError.
    """
    ways = f"give {flag} FILE, set {variable}, or run it in a terminal"
    if file is not None:
        password = _from_file(file)
    elif environ.get(variable):
        password = environ[variable]
    else:
        password = _prompt(purpose, ways, confirm=confirm)
    if not password:
        raise InputError(f"read password for {purpose}: it is empty", hint=ways)
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


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _prompt(purpose: str, ways: str, *, confirm: bool) -> str:
    if not _has_terminal():
        raise InputError(f"read password for {purpose}: there is no terminal to ask at", hint=ways)
    password = getpass.getpass(f"Password for {purpose}: ")
    if confirm and getpass.getpass("The same again: ") != password:
        raise InputError(f"read password for {purpose}: the two were not the same")
    return password
