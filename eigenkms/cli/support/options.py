"""How a verb is declared: options made from the table of settings, an example in its help, ``--json`` for
programs.
"""

import json
import os
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from eigenkms.cli.support.output import print_data, print_result
from eigenkms.config.node import gather
from eigenkms.config.schema import SETTINGS
from eigenkms.config.settings import Setting, Settings

Verb = Callable[..., Any]
F = TypeVar("F", bound=Verb)

_CONFIG_HELP = "TOML file with settings.  [env: EIGENKMS_CONFIG]"


def verb(name: str, example: str) -> Callable[[Verb], click.Command]:
    """A command with ``example`` at the end of its help, and ``--debug`` (which ``cli.main`` looks for
    itself).
    """
    epilog = "\b\nExample:\n" + "\n".join(f"  {line}" for line in example.splitlines())

    def declare(function: Verb) -> click.Command:
        debug = click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks.")
        return click.command(name, epilog=epilog)(debug(function))

    return declare


def settings_options(*names: str, lazy: bool = False) -> Callable[[Verb], Verb]:
    """Options for the settings ``names`` and ``--config``; the verb gets one argument ``settings`` for all of
    them.

    The settings hold what flags, environment and file say of *every* key, not of these alone. With ``lazy`` the
    verb gets a function that reads them, and ``config``: the file as it was named, None without one.
    """

    def decorate(function: Verb) -> Verb:
        @wraps(function)
        def wrapped(*args: Any, config: str | None, **kwargs: Any) -> Any:
            flags = {name: kwargs.pop(name) for name in names}
            file = config or os.environ.get("EIGENKMS_CONFIG")

            def read() -> Settings:
                return gather(flags, environ=os.environ, file=Path(file) if file else None)

            if lazy:
                return function(*args, settings=read, config=file, **kwargs)
            return function(*args, settings=read(), **kwargs)

        declared: Verb = wrapped
        for option in reversed([_option(SETTINGS[name]) for name in names]):
            declared = option(declared)
        return click.option("--config", metavar="FILE", help=_CONFIG_HELP)(declared)

    return decorate


def _option(setting: Setting) -> Callable[[Verb], Verb]:
    """Everything is text here: the table's own parser reads it, whatever its place."""
    if setting.toml is bool:
        flags = f"{setting.flag}/--no-{setting.flag.removeprefix('--')}"
        return click.option(flags, setting.name, default=None, help=_help(setting))
    return click.option(
        setting.flag, setting.name, multiple=setting.many, metavar=_metavar(setting), help=_help(setting)
    )


def _metavar(setting: Setting) -> str:
    if setting.is_path:
        return "PATH"
    return {int: "NUMBER", float: "SECONDS"}.get(setting.toml, "TEXT")


def _help(setting: Setting) -> str:
    default = "" if setting.default in (None, (), False) else f"; default: {setting.default}"
    return f"{setting.help}  [env: {setting.variable}{default}]"


def json_option(function: F) -> F:
    """``--json``, passed on as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON.")(function)


def exact_app_id_option(function: F) -> F:
    """``--exact-app-id``, passed on as ``exact``: for ``network.checked_app_id``."""
    text = "Hash the application id as it is spelled, also an address."
    return click.option("--exact-app-id", "exact", is_flag=True, help=text)(function)


def print_result_fields(facts: Mapping[str, Any], *, as_json: bool) -> None:
    """The result of a verb on stdout: JSON with the given fields, or one aligned line a fact."""
    if as_json:
        print_data(json.dumps(facts, indent=2))
        return
    width = max(len(name) for name in facts)
    print_result(*(f"{name.replace('_', ' '):<{width}}  {_shown(value)}" for name, value in facts.items()))


def _shown(value: object) -> str:
    if value is None:
        return "not recorded"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_shown(inner) for inner in value)
    return str(value)
