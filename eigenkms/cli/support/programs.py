"""Find the program that ``exec`` becomes, and check that it can run.

Both happen before any request to an operator.
The kernel says "no such file or directory" of a program that is there if its interpreter is not: the one behind ``#!`` of a
script, or the loader that an ELF file names (a program of another C library). Here the two are told apart, as are a folder, a file
without permission to be executed, and a script whose lines end with CR LF.
"""

import os
import re
import shutil
import stat
from pathlib import Path
from struct import Struct
from typing import BinaryIO, Final

from eigenkms.errors import InputError

_HEAD_BYTES: Final = 4096
"""Of a program, looked at: a first line (the kernel reads 256 bytes), or the headers of an ELF file."""
_MAX_PROGRAM_HEADERS: Final = 64
_INTERPRETER_HEADER: Final = 3
"""PT_INTERP (elf(5))."""
_WHERE: Final = "give its path, or check PATH"
_CURE: Final = "install what it needs, or correct the file"


def find_program(name: str) -> str:
    """Return the path of the program ``name``, looked up in PATH if it has no slash.

    Raises InputError, which says why it cannot be run. Reads a few kilobytes of it at most.
    """
    found = shutil.which(name)
    if found is None:
        raise _refused(name)
    reason = _unusable_interpreter(Path(found))
    if reason is not None:
        raise InputError(f"run {name}: {reason}", hint=f"{_CURE} {found}")
    return found


def _refused(name: str) -> InputError:
    """Make the error for a name that cannot be run."""
    candidates = [Path(name)] if "/" in name else [Path(folder) / name for folder in _folders()]
    there = [path for path in candidates if name and path.exists()]
    files = [path for path in there if not path.is_dir()]
    if files:
        return _not_executable(name, files[0])
    if there and "/" in name:
        return InputError(f"run {name}: it is a folder", hint="give the path of a program")
    if "/" in name:
        return InputError(f"run {name}: there is no such file", hint="check the path")
    return InputError(f"run {name}: there is no such program", hint=_WHERE)


def _folders() -> list[str]:
    return [folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if folder]


def _not_executable(name: str, path: Path) -> InputError:
    if not stat.S_ISREG(path.stat().st_mode):
        return InputError(f"run {name}: {path} is not a regular file", hint=_WHERE)
    if path.stat().st_mode & (stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH):
        return InputError(
            f"run {name}: {path} may not be executed by this user, or not in its file system (noexec)",
            hint=f"check the owner and the mode of {path}, and how its file system is mounted",
        )
    return InputError(f"run {name}: {path} is not executable", hint=f"run chmod +x {path}")


def _unusable_interpreter(path: Path) -> str | None:
    """Return why the program's interpreter or loader cannot be run, as a clause.

    Returns None if it can be run, or if that is unknown.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            if head.startswith(b"#!"):
                return _fault_of_script(head)
            loader = _loader(head, file)
    except (OSError, OverflowError):  # an executable file may be unreadable, or no whole ELF file
        return None
    if loader is None or loader.exists():
        return None
    return f"its loader {str(loader)!a} does not exist: it was built for another system or C library"


def _fault_of_script(head: bytes) -> str | None:
    line = head[2:].split(b"\n", 1)[0]
    if line.endswith(b"\r"):
        return "its first line ends with CR LF, and the kernel takes the CR for a part of it"
    words = re.split(rb"[ \t]+", line.strip(b" \t"), maxsplit=1)  # as the kernel does (execve(2))
    interpreter = Path(os.fsdecode(words[0]))
    if not words[0]:
        return "its first line #! names no interpreter"
    if not interpreter.exists():
        return f"its interpreter {str(interpreter)!a} does not exist"
    is_runnable = interpreter.is_file() and os.access(interpreter, os.X_OK)
    return None if is_runnable else f"its interpreter {str(interpreter)!a} is not executable"


def _loader(head: bytes, file: BinaryIO) -> Path | None:
    """Return the loader that an ELF file names (elf(5)).

    Returns None if it is no ELF file, or names none.
    """
    if len(head) < 64 or head[:4] != b"\x7fELF" or head[4] not in (1, 2) or head[5] not in (1, 2):
        return None
    order, wide = "<>"[head[5] - 1], head[4] == 2
    table, size, count = (
        Struct(order + "Q14xHH").unpack_from(head, 32)
        if wide
        else Struct(order + "I10xHH").unpack_from(head, 28)
    )
    entry = Struct(order + ("I4xQ16xQ" if wide else "IIIII"))
    for index in range(min(count, _MAX_PROGRAM_HEADERS)):
        at = table + index * size
        if at + entry.size > len(head):
            return None
        fields = entry.unpack_from(head, at)
        kind, offset, length = (
            (fields[0], fields[1], fields[2]) if wide else (fields[0], fields[1], fields[4])
        )
        if kind == _INTERPRETER_HEADER:
            file.seek(offset)
            return Path(os.fsdecode(file.read(min(length, _HEAD_BYTES)).rstrip(b"\0")))
    return None
