"""Lines for a person on stderr, results on stdout, and the end of the process.

stdout carries only the result of a verb. An error is two lines, ``error: …`` and ``hint: …``. The exit code is the error's own
(docs/cli.md, Exit codes): 0 ok, 1 this command or its input is wrong, 2 network, chain or quorum could not do it, 3 refused, 4 data
did not verify. It is 130 after Ctrl-C and 141 when the reader of stdout went away, as shells have it.

An internal error is named by its type only, as its text might hold a secret; ``--debug`` shows the traceback, indented. Foreign
text is made printable here, where it is written (``eigenkms.printable``).
"""

import os
import sys
import traceback
from collections.abc import Iterator

import click

from eigenkms.errors import EigenKmsError, InputError
from eigenkms.printable import printable

INTERRUPTED = 130
PIPE_CLOSED = 141

_DEFECT_HINT = "this is a defect in eigenkms: run again with --debug and report what it prints"


def print_note(*lines: str) -> None:
    """Print lines for the person at the terminal; each stays one line."""
    click.echo("\n".join(map(printable, lines)), err=True)


def warn(text: str) -> None:
    print_note(f"warning: {text}")


def flatten(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors inside a group, in order; any other error itself."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from flatten(inner)
    else:
        yield error


def exit_for(error: BaseException, *, debug: bool) -> int:
    """Tell the person about ``error``; the exit code."""
    if debug:
        told = "".join(traceback.format_exception(error)).rstrip("\n")
        print_note(*(f"  {line}" for line in told.split("\n")))
    found = list(flatten(error))
    for kind, code in ((KeyboardInterrupt, INTERRUPTED), (BrokenPipeError, PIPE_CLOSED)):
        if any(isinstance(e, kind) for e in found):
            return code
    exits = [e for e in found if isinstance(e, SystemExit | click.exceptions.Exit)]
    if exits:
        return _exit_code(exits[0])
    known = [e for e in found if isinstance(e, EigenKmsError | click.ClickException | click.Abort)]
    return _print_error(known[0] if len(known) == len(found) else next(e for e in found if e not in known))


def _exit_code(error: BaseException) -> int:
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    code = error.code if isinstance(error, SystemExit) else 1
    return code if isinstance(code, int) else int(code is not None)


def _print_error(error: BaseException) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        print_note(*error.format_message().split("\n"))
        return 1
    message, hint, code = _describe(error)
    print_note(f"error: {message}")
    if hint:
        print_note(f"hint: {hint}")
    return code


def _describe(error: BaseException) -> tuple[str, str | None, int]:
    if isinstance(error, EigenKmsError):
        return str(error), error.hint, error.exit_code
    if isinstance(error, click.UsageError):
        return _lower(error.format_message()), _usage_hint(error), 1
    if isinstance(error, click.ClickException):
        return _lower(error.format_message()), None, 1
    if isinstance(error, click.Abort):
        return "read answer: the input ended", None, 1
    if isinstance(error, OSError) and error.filename is not None:
        return f"use {error.filename}: {(error.strerror or str(error)).lower()}", None, 1
    return f"{type(error).__name__} inside eigenkms", _DEFECT_HINT, 1


def _lower(message: str) -> str:
    """Return a message of click's in the form of ours.

    It is one line with a lowercase first letter and no full stop.
    """
    line = " ".join(message.split())
    return line[:1].lower() + line[1:].removesuffix(".")


def _usage_hint(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx is not None else "eigenkms"
    return f"see {path} --help"


def print_result(*lines: str) -> None:
    """Print lines for a person on stdout; each stays one line.

    Raises InputError if they cannot be written; BrokenPipeError if the reader went away.
    """
    print_data("\n".join(map(printable, lines)))


def print_data(text: str) -> None:
    """Print text for a program on stdout, unchanged: JSON, a script, a file.

    Raises as ``print_result``.
    """
    click.echo(text)


def flush_stdout() -> None:
    """Write out the buffer, so that a closed pipe or a full disk is an error here.

    At exit it would be too late.
    """
    sys.stdout.flush()


def abandon_broken_stdout() -> None:
    """Send the interpreter's last flush to /dev/null if stdout takes nothing more."""
    try:
        sys.stdout.flush()
    except (OSError, InputError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
