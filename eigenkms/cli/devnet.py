"""``eigenkms devnet``: an embedded chain and real node processes on this machine."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eigenkms.cli import network
from eigenkms.cli.options import json_option, print_facts, verb, with_settings

if TYPE_CHECKING:
    from eigenkms.node.settings import Settings


@click.group("devnet")
def command() -> None:
    """Run a whole network on this machine: a chain, operators registered on it, one process each."""


@verb("run", "eigenkms devnet run --operators 7")
@with_settings("devnet_operators", "devnet_engine", "devnet_dir")
@json_option
def _run(*, settings: "Settings", as_json: bool) -> None:
    """The whole story once: genesis, encrypt, decrypt, kill one operator, decrypt again. Cleans up and ends.

    A folder given with --dir keeps keys and logs. With --json: operators, engine, and the seconds that each step
    took: started, genesis, decrypt, decrypt_after_kill, total.
    """
    from eigenkms.devnet.cluster import run_story

    result = network.run(run_story, *_shape(settings))
    print_facts({name: _rounded(value) for name, value in asdict(result).items()}, as_json=as_json)


def _shape(settings: "Settings") -> tuple[int, str, Path | None]:
    return settings.get("devnet_operators"), settings.get("devnet_engine"), settings.get("devnet_dir")


def _rounded(value: object) -> object:
    return round(value, 3) if isinstance(value, float) else value


@verb("up", "eigenkms devnet up --dir ./devnet")
@with_settings("devnet_operators", "devnet_engine", "devnet_dir")
def _up(*, settings: "Settings") -> None:
    """Start a network and keep it until Ctrl-C; prints the exact lines to encrypt and decrypt with it."""
    from eigenkms.devnet.cluster import up

    network.run(up, *_shape(settings))


@verb("down", "eigenkms devnet down --dir ./devnet")
@with_settings("devnet_dir")
def _down(*, settings: "Settings") -> None:
    """Stop the network that another terminal started with up."""
    from eigenkms.devnet.cluster import down

    network.run(down, settings.get("devnet_dir"))


for _verb in (_run, _up, _down):
    command.add_command(_verb)
