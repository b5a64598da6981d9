"""``eigenkms devnet``: an embedded chain and real node processes on this machine."""

import os
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eigenkms.cli import devnet_app
from eigenkms.cli.support import client_runner
from eigenkms.cli.support.accounts import checked_address
from eigenkms.cli.support.options import json_option, print_result_fields, settings_options, verb
from eigenkms.config.schema import ATTESTATION_SETTINGS, SETTINGS
from eigenkms.config.sections import check_attestation
from eigenkms.config.sources import gather
from eigenkms.errors import InputError, NetworkError
from eigenkms.types import to_hex

if TYPE_CHECKING:
    from eigenkms.config.settings import Settings
    from eigenkms.devnet.node_config import Access, Timing


@click.group("devnet")
def command() -> None:
    """Run a whole network on this machine.

    It has a chain, operators registered on it, and one process for each operator.
    """


_NETWORK = (
    "devnet_operators",
    "devnet_engine",
    "devnet_dir",
    "devnet_interval_blocks",
    "devnet_block_seconds",
    "devnet_window_seconds",
    "devnet_policy",
    *ATTESTATION_SETTINGS,
)


@verb("run", "eigenkms devnet run --scenario rotation --operators 5")
@settings_options("devnet_scenario", "devnet_rotations", "devnet_dead", *_NETWORK)
@json_option
def _run(*, settings: "Settings", as_json: bool) -> None:
    """Run one scenario to completion, then stop the network.

    genesis: make a master key, encrypt, decrypt, kill one operator, decrypt again. rotation: renew the shares at every boundary
    while operators crash, join, leave and move, and a client decrypts without pause. Exit code 2 if a boundary or a decryption
    fails. --dir keeps keys and logs.
    """
    if settings.get("devnet_scenario") == "rotation":
        _run_rotation(settings, as_json)
        return
    from eigenkms.devnet.scenarios import run_genesis_scenario

    result = client_runner.run(run_genesis_scenario, *_shape(settings), _timing(settings), _access(settings))
    print_result_fields({name: _rounded(value) for name, value in asdict(result).items()}, as_json=as_json)


def _run_rotation(settings: "Settings", as_json: bool) -> None:
    from eigenkms.cli.support.devnet_report import print_rotations
    from eigenkms.devnet.rotation import ROTATION_TIMING, run_rotation

    if _access(settings).policy != "open":
        raise InputError(
            "run scenario rotation: its client decrypts for everybody, and the policy is not open",
            hint="leave --policy away, or use the scenario genesis",
        )
    timing = _timing(settings, ROTATION_TIMING)
    dead = settings.get("devnet_dead")
    call = partial(run_rotation, dead=dead) if dead else run_rotation
    result = client_runner.run(call, settings.get("devnet_rotations"), *_shape(settings), timing)
    print_rotations(result, as_json=as_json)
    if result.faults:
        raise NetworkError(
            f"run scenario rotation: {'; '.join(result.faults)}",
            hint="run it again with --dir FOLDER, which keeps the logs of all nodes",
        )


def _shape(settings: "Settings") -> tuple[int, str, Path | None]:
    return settings.get("devnet_operators"), settings.get("devnet_engine"), settings.get("devnet_dir")


def _timing(settings: "Settings", default: "Timing | None" = None) -> "Timing":
    """Return the timing that the settings choose, and ``default`` for the rest."""
    from eigenkms.devnet.node_config import Timing

    names = ("interval_blocks", "block_seconds", "window_seconds")
    given = {name: settings.get(f"devnet_{name}") for name in names}
    return replace(default or Timing(), **{name: value for name, value in given.items() if value is not None})


def _access(settings: "Settings") -> "Access":
    """Return the policy of the nodes and their methods of attestation.

    Raises InputError for settings with which a node would not start.
    """
    from eigenkms.devnet.node_config import Access

    if settings.get("devnet_policy") == "open":
        return Access()
    given = {name: settings.get(name) for name in ATTESTATION_SETTINGS}
    given["attestation_methods"] = given["attestation_methods"] or ("ecdsa",)
    check_attestation(given["attestation_methods"], given["attestation_project"])
    changed = {name: value for name, value in given.items() if value != SETTINGS[name].default}
    return Access(
        "attested",
        {name: str(value.resolve()) if isinstance(value, Path) else value for name, value in changed.items()},
    )


def _rounded(value: object) -> object:
    return round(value, 3) if isinstance(value, float) else value


@verb("up", "eigenkms devnet up --dir ./devnet")
@settings_options(*_NETWORK, "devnet_anchor")
@click.option("--no-nodes", is_flag=True, help="Start no nodes; print the commands that start them.")
def _up(*, settings: "Settings", no_nodes: bool) -> None:
    """Start a network and keep it running until Ctrl-C.

    Prints the commands that encrypt and decrypt with it. With --policy attested, operators require proof of the right to a key (see
    devnet app). With --no-nodes, only the chain runs, and the commands that start the nodes are printed.
    """
    from eigenkms.devnet.scenarios import run_until_stopped

    start = partial(run_until_stopped, nodes=not no_nodes, anchor=settings.get("devnet_anchor"))
    client_runner.run(start, *_shape(settings), _timing(settings), _access(settings))


@verb("down", "eigenkms devnet down --dir ./devnet")
@settings_options("devnet_dir")
def _down(*, settings: "Settings") -> None:
    """Stop a network that devnet up started."""
    from eigenkms.devnet.scenarios import stop_running

    client_runner.run(stop_running, settings.get("devnet_dir"))


def _running(settings: "Settings") -> "Settings":
    """Return the settings of the network in ``--dir``, or those of ``--config``.

    Raises InputError.
    """
    folder: Path | None = settings.get("devnet_dir")
    if folder is None:
        return settings
    file = folder / "client.toml"
    if not file.is_file():
        raise InputError(
            f"find the devnet in {folder}: it has no client.toml",
            hint="give the folder of devnet up with --dir, or its client.toml with --config",
        )
    return gather({}, environ=os.environ, file=file)


@verb("fund", "eigenkms devnet fund 0x4cb01831bc29ec91c2033fbd8da3c04e020f4b27 --ether 10 --dir ./devnet")
@click.argument("address")
@click.option(
    "--ether", default="10", show_default=True, metavar="NUMBER", help="Amount in ether, up to 1000."
)
@settings_options("devnet_dir")
@json_option
def _fund(*, address: str, ether: str, settings: "Settings", as_json: bool) -> None:
    """Send ether to an account on a running devnet.

    If the devnet has an anchor, the account gets ether on that chain too.
    """
    from eigenkms.devnet import anchor
    from eigenkms.devnet.admin import fund

    account, wei = checked_address(address), _wei(ether)
    needed = client_runner.client_settings(_running(settings))
    balance = client_runner.run(fund, needed, account, wei)
    if needed.anchor is not None:
        client_runner.run(anchor.fund, needed.anchor, account, wei)
    print_result_fields({"address": to_hex(account), "balance_wei": balance}, as_json=as_json)


def _wei(text: str) -> int:
    from eigenkms.chain.rpc_values import parse_ether

    amount = parse_ether(text)
    if amount is None or not 0 < amount <= 1000 * 10**18:
        raise InputError(f"read --ether {text[:40]!r}: it is not a number above 0 and up to 1000")
    return amount


@verb("allow", "eigenkms devnet allow 0x4cb01831bc29ec91c2033fbd8da3c04e020f4b27 --dir ./devnet")
@click.argument("address")
@settings_options("devnet_dir")
@json_option
def _allow(*, address: str, settings: "Settings", as_json: bool) -> None:
    """Put an operator on the allow-list of a running devnet.

    If the devnet has an anchor, the operator is also put on the list of its registry.
    """
    from eigenkms.devnet import anchor
    from eigenkms.devnet.admin import allow
    from eigenkms.wire.session import cluster_id

    operator, running = checked_address(address), _running(settings)
    needed, delegation_manager = client_runner.client_settings(running), running.require("delegation_manager")
    sent = bool(client_runner.run(allow, needed, delegation_manager, operator).calls)
    if needed.anchor is not None:
        sent |= client_runner.run(anchor.admit, needed.anchor, cluster_id(needed.cluster), operator)
    print_result_fields({"address": to_hex(operator), "sent": sent}, as_json=as_json)


for _verb in (_run, _up, _down, _fund, _allow, devnet_app.command):
    command.add_command(_verb)
