"""``eigenkms config``: write an explained configuration file, and check one.

Both work without a node and without the network.
"""

import json
import os
from pathlib import Path

import click

from eigenkms.cli.support.options import json_option, verb
from eigenkms.cli.support.output import print_data, print_note, print_result, warn
from eigenkms.config.presets import PRESETS


@click.group("config")
def command() -> None:
    """Print an example configuration file, or check a file."""


@verb("example", "eigenkms config example --environment sepolia > node.toml")
@click.option("--environment", type=click.Choice(list(PRESETS)), help="Preset to show the values of.")
def _example(*, environment: str | None) -> None:
    """Print a TOML file with every setting explained.

    Each setting has its meaning, type, range and default, and whether it must be the same at all operators. Required settings show
    an example; the others are commented out.
    """
    from eigenkms.config.example import example

    print_data(example(environment).rstrip("\n"))


@verb("check", "eigenkms config check --config node.toml")
@click.option("--config", metavar="FILE", required=True, envvar="EIGENKMS_CONFIG", help="The file to check.")
@click.option("--client", is_flag=True, help="Check for the settings of a client, not of a node.")
@json_option
@click.pass_context
def _check(ctx: click.Context, *, config: str, client: bool, as_json: bool) -> None:
    """Check a configuration file without the network.

    Lists every problem: names, types, ranges, contradictions, missing settings and missing files. If there is none, lists each
    value and its source. Environment variables count as they do for a node. Exit code 1 if a node would refuse to start.
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
