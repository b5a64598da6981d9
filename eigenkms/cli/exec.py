"""``eigenkms exec``: becomes another program, which has the application's secrets in its environment."""

import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

import click

from eigenkms.cli import network
from eigenkms.cli.attesting import ATTEST_SETTINGS, KEY_VARIABLE, attester
from eigenkms.cli.options import exact_app_id_option, verb, with_settings
from eigenkms.cli.passwords import ACCOUNT_VARIABLE
from eigenkms.cli.passwords import VARIABLE as PASSWORD_VARIABLE
from eigenkms.cli.progress import Progress
from eigenkms.errors import InputError

if TYPE_CHECKING:
    from eigenkms.node.settings import Settings

OWN_SECRETS = frozenset({PASSWORD_VARIABLE, ACCOUNT_VARIABLE, KEY_VARIABLE})
"""Variables that are for this command alone."""


@verb(
    "exec",
    "eigenkms exec --app-id 0x5fbd…0aa3 --attest gcp -- ./server --port 8080\n"
    "eigenkms exec --app-id 0x5fbd…0aa3 --attest ecdsa --ecdsa-key-file creator.json --only API_KEY -- env",
)
@click.argument("command", nargs=-1, required=True, metavar="-- COMMAND [ARGS]...", type=click.UNPROCESSED)
@click.option("--only", multiple=True, metavar="NAME", help="Pass this secret and no other; may be repeated.")
@exact_app_id_option
@with_settings("app_id", *network.NETWORK_SETTINGS, *ATTEST_SETTINGS)
def command(*, command: tuple[str, ...], only: tuple[str, ...], exact: bool, settings: "Settings") -> None:
    """Fetch an application's secrets and become COMMAND, with them in its environment.

    They are the environment of the application's confirmed release: public and encrypted values, an encrypted one before a public
    one, and both before what was in the environment already. Nothing is written to disk. COMMAND takes over this very process, so
    signals and the exit code are its own; it is looked for in the PATH of now, whatever the release says.

    Whoever publishes releases decides what is in that environment, names that change how a program is loaded among them
    (LD_PRELOAD); --only says which are passed. EIGENKMS_PASSWORD, EIGENKMS_ACCOUNT_PASSWORD and EIGENKMS_ECDSA_KEY
    are not passed on.
    """
    app_id = network.checked_app_id(settings, exact=exact)
    program = _find(command[0])
    shown = attester(settings)
    with Progress("asking the operators") as progress:
        secrets = network.fetch_secrets(settings, app_id, shown, progress)
    become(program, command, secrets, only)


def _find(name: str) -> str:
    program = shutil.which(name)
    if program is None:
        raise InputError(f"run {name}: there is no such program", hint="give its path, or check PATH")
    return program


def choose(secrets: Mapping[str, str], only: Sequence[str]) -> dict[str, str]:
    """All, or those named. InputError for a name that is not there."""
    for name in only:
        if name not in secrets:
            raise InputError(
                f"read secret {name!a}: the release has none of this name",
                hint=f"it has {', '.join(map(ascii, secrets)) or 'none at all'}",
            )
    return {name: secrets[name] for name in only or secrets}


def become(program: str, words: Sequence[str], secrets: Mapping[str, str], only: Sequence[str]) -> NoReturn:
    """Replace this process. InputError where the system does not let us."""
    kept = {name: value for name, value in os.environ.items() if name not in OWN_SECRETS}
    environment = kept | choose(secrets, only)
    sys.stdout.flush()
    sys.stderr.flush()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and that would be inherited
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(program, list(words), environment)  # noqa: S606 - this is the purpose
    except OSError as error:
        raise InputError(f"run {program}: {(error.strerror or str(error)).lower()}") from error


command.allow_interspersed_args = False  # options after COMMAND are its own
