"""``eigenkms config``: a configuration file with everything explained, and a look at one before a node starts with it."""

import json
import os
from pathlib import Path

import click

from eigenkms.cli.support.options import json_option, verb
from eigenkms.cli.support.output import print_data, print_note, print_result, warn
from eigenkms.config.schema import PRESETS


@click.group("config")
def command() -> None:
    """Print a configuration file with every key explained; check one without the network."""


@verb("example", "eigenkms config example --environment sepolia > node.toml")
@click.option("--environment", type=click.Choice(list(PRESETS)), help="Preset to show the values of.")
def _example(*, environment: str | None) -> None:
    """Print a TOML file with every key: meaning, type, range, default, and whether all operators need the same.

    What must be set stands as an example; everything else is commented out.
    """
    from eigenkms.config.example import example

    print_data(example(environment).rstrip("\n"))


@verb("check", "eigenkms config check --config node.toml")
@click.option("--config", metavar="FILE", required=True, envvar="EIGENKMS_CONFIG", help="The file to check.")
@click.option("--client", is_flag=True, help="Ask for what a client needs, not for what a node does.")
@json_option
@click.pass_context
def _check(ctx: click.Context, *, config: str, client: bool, as_json: bool) -> None:
    """Say what is wrong with FILE, all at once, and else what would hold: each value and where it comes from.

    Looks at names, types, ranges, what contradicts, what is missing, and whether files that are named are there; environment
    variables count as they would for a node. It asks nobody and opens no keystore. URLs are shown without their paths, which
    may hold a provider's key. Exit code 1 if a node would refuse to start with it.

    With --json: file, valid, problems (message, hint), warnings, settings (by name: value, from).
    """
    from eigenkms.config.validate import check

    report = check(Path(config), environ=os.environ, client=client)
    if as_json:
        facts = {
            "file": config,
            "valid": not report.problems,
            "problems": [{"message": message, "hint": hint} for message, hint in report.problems],
            "warnings": list(report.warnings),
            "settings": {n: {"value": e.value, "from": e.where} for n, e in report.effective.items()},
        }
        print_data(json.dumps(facts, indent=2))
    elif report.effective:
        width = max(map(len, report.effective))
        print_result(*(f"{n:<{width}}  {e.value}  ({e.where})" for n, e in report.effective.items()))
    for warning in report.warnings:
        warn(warning)
    for message, hint in report.problems:
        print_note(f"error: {message}", *([f"hint: {hint}"] if hint else ()))
    ctx.exit(1 if report.problems else 0)


for _verb in (_example, _check):
    command.add_command(_verb)
