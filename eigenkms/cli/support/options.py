"""Declare a verb: options from the table of settings, grouped help, an example.

Many verbs take every setting of the chain, so a flat list buries the two or three options that belong to the verb itself. The help
therefore lists options under headings, the verb's own first. click has no groups of options; the libraries that add them bring
their own classes of commands and decorators, or import a renderer at every start. The few lines here need neither.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from eigenkms.cli.support.output import print_data, print_result
from eigenkms.config.schema import (
    ACCOUNT_SETTINGS,
    ANCHOR_SETTINGS,
    ATTESTATION_SETTINGS,
    CHAIN_SETTINGS,
    HTTP_SETTINGS,
    MONITOR_SETTINGS,
    SETTINGS,
)
from eigenkms.config.settings import Setting, Settings
from eigenkms.config.sources import gather

Verb = Callable[..., Any]
F = TypeVar("F", bound=Verb)

_CONFIG_HELP = "TOML file with settings.  [env: EIGENKMS_CONFIG]"

OWN = "Options"
_IN_AND_OUT = "Input and output"
_COMMON = "Common"
_BY_HEADING: Mapping[str, tuple[str, ...]] = {
    "Network": (*CHAIN_SETTINGS, "delegation_manager", "known_clusters", "timeout"),
    "Account": ACCOUNT_SETTINGS,
    "Keys": ("bn254_keystore", "p2p_keystore", "password_file", "backup_password_file"),
    "Attestation": ("attest", "ecdsa_key_file", "launcher_socket", "attest_audience", *ATTESTATION_SETTINGS),
    "HTTP API": HTTP_SETTINGS,
    "Monitoring": MONITOR_SETTINGS,
    "Anchor": ANCHOR_SETTINGS,
}
"""Settings by the heading that lists them; the first that names a setting counts. Any other setting is the verb's own."""
_HEADINGS = (OWN, _IN_AND_OUT, *_BY_HEADING, _COMMON)
_OTHERS = {
    "--output": _IN_AND_OUT,
    "--armor": _IN_AND_OUT,
    "--json": _IN_AND_OUT,
    "--config": _COMMON,
    "--debug": _COMMON,
    "--help": _COMMON,
}
"""Options that are no setting."""

HelpRows = list[tuple[str, str]]


class _SettingOption(click.Option):
    """An option for a setting, listed under the setting's heading."""

    @property
    def heading(self) -> str:
        return next((heading for heading, names in _BY_HEADING.items() if self.name in names), OWN)


def grouped_options(command: click.Command, ctx: click.Context) -> Iterator[tuple[str, HelpRows]]:
    """Yield the headings of a command's options, each with its rows.

    They come in the order of the help. A heading without options is left out.
    """
    rows: dict[str, HelpRows] = {}
    for option in command.get_params(ctx):
        record = option.get_help_record(ctx) if isinstance(option, click.Option) else None
        if record is not None:
            rows.setdefault(_heading(option), []).append(record)
    yield from ((heading, rows[heading]) for heading in _HEADINGS if heading in rows)


def _heading(option: click.Parameter) -> str:
    if isinstance(option, _SettingOption):
        return option.heading
    return next((_OTHERS[flag] for flag in option.opts if flag in _OTHERS), OWN)


class VerbCommand(click.Command):
    """A verb, with its options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, rows in grouped_options(self, ctx):
            with formatter.section(heading):
                formatter.write_dl(rows)


def verb(name: str, example: str) -> Callable[[Verb], click.Command]:
    """Declare a verb with ``example`` at the end of its help, and with ``--debug``.

    ``cli.main`` reads ``--debug`` itself, before the verb is parsed.
    """
    epilog = "\b\nExample:\n" + "\n".join(f"  {line}" for line in example.splitlines())

    def declare(function: Verb) -> click.Command:
        debug = click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks.")
        return click.command(name, cls=VerbCommand, epilog=epilog)(debug(function))

    return declare


def settings_options(*names: str, lazy: bool = False) -> Callable[[Verb], Verb]:
    """Add an option for each setting in ``names``, and ``--config``.

    The verb gets one argument ``settings``. It holds the values that flags, environment and file give to *every* key, not to these
    alone. With ``lazy`` the verb gets a function that reads them instead, and ``config``: the file as it was named, or None.
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
    """Make the option of a setting.

    Its value is text. The setting's own parser reads it, as it does for a value from a file.
    """
    if setting.toml is bool:
        flags = f"{setting.flag}/--no-{setting.flag.removeprefix('--')}"
        return click.option(flags, setting.name, cls=_SettingOption, default=None, help=_help(setting))
    return click.option(
        setting.flag,
        setting.name,
        cls=_SettingOption,
        multiple=setting.many,
        metavar=_metavar(setting),
        help=_help(setting),
    )


def _metavar(setting: Setting) -> str:
    if setting.is_path:
        return "PATH"
    return {int: "NUMBER", float: "SECONDS"}.get(setting.toml, "TEXT")


def _help(setting: Setting) -> str:
    default = "" if setting.default in (None, (), False) else f"; default: {_default_text(setting.default)}"
    return f"{setting.help}  [env: {setting.variable}{default}]"


def _default_text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def json_option(function: F) -> F:
    """Add ``--json``, passed on as ``as_json``.

    The fields of each verb are in ``json_fields``.
    """
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(function)


def exact_app_id_option(function: F) -> F:
    """Add ``--exact-app-id``, passed on as ``exact``.

    It is an argument of ``client_runner.checked_app_id``.
    """
    text = "Hash the application id as it is spelled, even an address."
    return click.option("--exact-app-id", "exact", is_flag=True, help=text)(function)


def print_result_fields(facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the result of a verb to stdout.

    It is one JSON object, or one aligned line for each fact.
    """
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
