"""``eigenkms devnet``: an embedded chain and real node processes on this machine."""

import importlib
from typing import TYPE_CHECKING, Any

import click

from eigenkms.cli import network
from eigenkms.cli.options import verb, with_settings

if TYPE_CHECKING:
    from eigenkms.node.settings import Settings


@click.group("devnet")
def command() -> None:
    """Run a whole network on this machine: a chain, operators registered on it, one process each."""


def _call(name: str, settings: "Settings") -> Any:
    cluster = importlib.import_module("eigenkms.devnet.cluster")
    operators, engine = settings.get("devnet_operators"), settings.get("devnet_engine")
    return network.run(getattr(cluster, name), operators, engine, settings.get("devnet_dir"))


@verb("run", "eigenkms devnet run --operators 7")
@with_settings("devnet_operators", "devnet_engine", "devnet_dir")
def _run(*, settings: "Settings") -> None:
    """The whole story once: genesis, encrypt, decrypt, kill one operator, decrypt again. Cleans up and
    ends.
    """
    _call("run_story", settings)


@verb("up", "eigenkms devnet up --dir ./devnet")
@with_settings("devnet_operators", "devnet_engine", "devnet_dir")
def _up(*, settings: "Settings") -> None:
    """Start a network and keep it until Ctrl-C; prints the exact lines to encrypt and decrypt with it."""
    _call("up", settings)


@verb("down", "eigenkms devnet down --dir ./devnet")
@with_settings("devnet_dir")
def _down(*, settings: "Settings") -> None:
    """Stop the network that another terminal started with up."""
    cluster = importlib.import_module("eigenkms.devnet.cluster")
    network.run(cluster.down, settings.get("devnet_dir"))


for _verb in (_run, _up, _down):
    command.add_command(_verb)
