"""``eigenkms exec``: run a program with the application's secrets.

The process becomes the program, which has the secrets in its environment.
"""

import errno
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

import click

from eigenkms.cli.support import client_runner
from eigenkms.cli.support.attester_options import ATTEST_SETTINGS, attester
from eigenkms.cli.support.options import exact_app_id_option, settings_options, verb
from eigenkms.cli.support.programs import find_program
from eigenkms.cli.support.progress import Progress
from eigenkms.config.environment import without_own_secrets
from eigenkms.errors import InputError

if TYPE_CHECKING:
    from eigenkms.config.settings import Settings

_NO_FORMAT = "a script begins with #! and its interpreter, a program is one for this machine"


@verb("exec", "eigenkms exec --app-id 0x5fbd…0aa3 --attest gcp -- ./server --port 8080")
@click.argument("command", nargs=-1, required=True, metavar="-- COMMAND [ARGS]...", type=click.UNPROCESSED)
@click.option("--only", multiple=True, metavar="NAME", help="Pass this secret and no other; may be repeated.")
@exact_app_id_option
@settings_options("app_id", *client_runner.NETWORK_SETTINGS, *ATTEST_SETTINGS)
def command(*, command: tuple[str, ...], only: tuple[str, ...], exact: bool, settings: "Settings") -> None:
    """Run a command with an application's secrets.

    The secrets are the environment of the application's confirmed release. Encrypted values override public ones, and both override
    the current environment. COMMAND replaces this process. Releases can set any variable, including LD_PRELOAD: --only limits the
    names.
    """
    app_id = client_runner.checked_app_id(settings, exact=exact)
    program = find_program(command[0])
    shown = attester(settings)
    with Progress("asking the operators") as progress:
        secrets = client_runner.fetch_secrets(settings, app_id, shown, progress)
    become(program, command, secrets, only)


def choose(secrets: Mapping[str, str], only: Sequence[str]) -> dict[str, str]:
    """Return the secrets named by ``only``, or all if it is empty.

    Raises InputError for a name that is missing.
    """
    for name in only:
        if name not in secrets:
            raise InputError(
                f"read secret {name!a}: the release has none of this name",
                hint=f"it has {', '.join(map(ascii, secrets)) or 'none at all'}",
            )
    return {name: secrets[name] for name in only or secrets}


def become(program: str, words: Sequence[str], secrets: Mapping[str, str], only: Sequence[str]) -> NoReturn:
    """Replace this process. InputError where the system does not let us."""
    kept = without_own_secrets(os.environ)
    environment = kept | choose(secrets, only)
    sys.stdout.flush()
    sys.stderr.flush()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and that would be inherited
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(program, list(words), environment)  # noqa: S606 - this is the purpose
    except OSError as error:
        hint = _NO_FORMAT if error.errno == errno.ENOEXEC else None
        raise InputError(f"run {program}: {(error.strerror or str(error)).lower()}", hint=hint) from error


command.allow_interspersed_args = False  # options after COMMAND are its own
