"""``eigenkms secrets``: print the environment of an application's release."""

import json
import re
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from eigenkms.cli.exec import choose
from eigenkms.cli.support import client_runner
from eigenkms.cli.support.attester_options import ATTEST_SETTINGS, attester
from eigenkms.cli.support.options import exact_app_id_option, settings_options, verb
from eigenkms.cli.support.output_file import OutputFile
from eigenkms.cli.support.progress import Progress
from eigenkms.errors import InputError

if TYPE_CHECKING:
    from eigenkms.config.settings import Settings

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@click.group("secrets")
def command() -> None:
    """Read the secrets of an application's release."""


@verb("get", "eigenkms secrets get --app-id 0x5fbd…0aa3 --attest gcp API_KEY")
@click.argument("name", required=False, metavar="[NAME]")
@click.option("-o", "--output", metavar="FILE", help="Write here (mode 0600) instead of to stdout.")
@click.option("--json", "as_json", is_flag=True, help="Print an object of names and values.")
@exact_app_id_option
@settings_options("app_id", *client_runner.NETWORK_SETTINGS, *ATTEST_SETTINGS)
def _get(*, name: str | None, output: str | None, as_json: bool, exact: bool, settings: "Settings") -> None:
    """Print one secret, or all as NAME=VALUE lines.

    The secrets are the environment of the application's confirmed release. Encrypted values override public ones. The value of NAME
    is printed unquoted, all of them are quoted for a shell. Control characters are not written to a terminal.
    """
    app_id = client_runner.checked_app_id(settings, exact=exact)
    sink = OutputFile(output, secret=True)
    sink.check()
    shown = attester(settings)
    with Progress("asking the operators") as progress:
        secrets = client_runner.fetch_secrets(settings, app_id, shown, progress)
    chosen = choose(secrets, () if name is None else (name,))
    sink.write(render(chosen, name, as_json=as_json).encode())


def render(secrets: Mapping[str, str], name: str | None, *, as_json: bool) -> str:
    """Return the value of ``name``, or a line for each secret.

    Raises InputError if a name of a line is no variable name of a shell.
    """
    if as_json:
        return json.dumps(dict(secrets), indent=2) + "\n"
    if name is not None:
        return secrets[name]
    for each in secrets:
        if not _VARIABLE.fullmatch(each):
            raise InputError(
                f"print secret {each!a} for a shell: no variable can have this name",
                hint="name the secrets that you want, or use --json",
            )
    return "".join(f"{each}={shlex.quote(value)}\n" for each, value in secrets.items())


command.add_command(_get)
