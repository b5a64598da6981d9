"""``eigenkms operator``: the registration of an operator on chain.

``chain.operator_registry`` makes plans; the verbs show them, have them confirmed and send them.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eigenkms.cli.support import client_runner
from eigenkms.cli.support.accounts import ACCOUNT_OPTIONS, account_address, checked_address
from eigenkms.cli.support.operator_output import operator_line, print_registration, read_operator_set
from eigenkms.cli.support.options import json_option, print_result_fields, settings_options, verb
from eigenkms.cli.support.output import print_note, print_result
from eigenkms.cli.support.passwords import read_password
from eigenkms.cli.support.socket_options import published_socket, socket_of_peer, socket_options
from eigenkms.cli.support.transactions import SendOptions, check_operator, run_plan, send_options
from eigenkms.config.paths import p2p_keystore
from eigenkms.config.schema import CHAIN_SETTINGS
from eigenkms.errors import InputError

if TYPE_CHECKING:
    from eigenkms.chain.operator_keys import OperatorKey
    from eigenkms.chain.operator_plan import OperatorRegistration, Plan
    from eigenkms.chain.operator_registry import OperatorRegistry
    from eigenkms.config.settings import Settings

_SET = (*CHAIN_SETTINGS, "delegation_manager")
_SENDING = (*_SET, *ACCOUNT_OPTIONS)
_ADDRESS = "0x4cb01831bc29ec91c2033fbd8da3c04e020f4b27"
_OWN = ("operator", "announce", "http_url", "p2p_keystore", "data_dir")


@click.group("operator")
def command() -> None:
    """Register an operator on chain, change it, or leave."""


@verb("register", "eigenkms operator register --config node.toml --dry-run")
@socket_options
@click.option(
    "--metadata-uri", default="", metavar="URI", help="URI of the operator's metadata, published on chain."
)
@click.option(
    "--ecdsa-keystore",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="ECDSA keystore to register instead of the BN254 key, in a set of ECDSA keys. "
    "No eigenkms node can serve in such a set.",
)
@click.option(
    "--allocation-delay",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    metavar="BLOCKS",
    help="Blocks before an allocation of stake takes effect, for the operator in all of EigenLayer.  [default: 0]",
)
@click.option(
    "--replace-socket", is_flag=True, help="Replace the socket that the AVS registrar has of the operator."
)
@settings_options(*_SENDING, *_OWN, "bn254_keystore", "password_file")
@send_options
def _register(
    *,
    socket: str | None,
    force: bool,
    metadata_uri: str,
    allocation_delay: int,
    replace_socket: bool,
    ecdsa_keystore: Path | None,
    settings: "Settings",
    options: SendOptions,
) -> None:
    """Register an operator, its key and its socket on chain.

    Performs the steps in the order the contracts require and skips completed ones, so run it again after an interruption. If a step
    cannot succeed, nothing is sent. Membership carries no stake: no stake is allocated to the operator set.
    """
    from eigenkms.chain.registration import OperatorProfile

    published = published_socket(settings, socket, force=force)
    key = _operator_key(settings, ecdsa_keystore)

    async def plan(registry: "OperatorRegistry", sender: bytes) -> "Plan":
        check_operator(settings, "register the operator", sender)
        profile = OperatorProfile(metadata_uri, allocation_delay)
        return await registry.register(sender, key, published, profile, replace_socket=replace_socket)

    run_plan(settings, "register the operator", plan, options)


def _operator_key(settings: "Settings", ecdsa_keystore: Path | None) -> "OperatorKey":
    from eigenkms.chain.operator_keys import Bn254Key, EcdsaKey
    from eigenkms.crypto.bn254 import KeyPair
    from eigenkms.keys.keystores import open_key

    keystore: Path = ecdsa_keystore or settings.require("bn254_keystore")
    password = read_password(f"keystore {keystore}", file=settings.get("password_file"), environ=os.environ)
    if ecdsa_keystore is not None:
        return EcdsaKey(open_key(keystore, "secp256k1", password).secret)
    return Bn254Key(KeyPair.from_secret(open_key(keystore, "bn254", password).secret))


@verb("deregister", "eigenkms operator deregister --config node.toml")
@click.option("--key", is_flag=True, help="Give up the key for good; possible once it is not slashable.")
@settings_options(*_SENDING, "operator")
@send_options
def _deregister(*, key: bool, settings: "Settings", options: SendOptions) -> None:
    """Leave the operator set.

    Keep the node running until a version without it is certified. The BN254 key stays registered, so the operator can return.
    Later, --key gives up the key; it can never be registered again.
    """
    action = "deregister the operator's key" if key else "deregister the operator"

    async def plan(registry: "OperatorRegistry", sender: bytes) -> "Plan":
        check_operator(settings, action, sender)
        return await (registry.give_up_key(sender) if key else registry.leave(sender))

    run_plan(settings, action, plan, options)


@verb(
    "update-socket",
    "eigenkms operator update-socket --config node.toml --socket /ip4/192.0.2.7/tcp/9400",
)
@socket_options
@settings_options(*_SENDING, *_OWN)
@send_options
def _update_socket(*, socket: str | None, force: bool, settings: "Settings", options: SendOptions) -> None:
    """Publish the address at which others dial the node.

    Nothing is sent if the chain already has this socket.
    """
    published = published_socket(settings, socket, force=force)
    action = "update the operator's socket"

    async def plan(registry: "OperatorRegistry", sender: bytes) -> "Plan":
        check_operator(settings, action, sender)
        return await registry.update_socket(sender, published)

    run_plan(settings, action, plan, options)


@verb("rotate-peer-key", "eigenkms operator rotate-peer-key --config node.toml")
@click.option(
    "--socket",
    metavar="MULTIADDR",
    help="Address at which others dial the node, without a peer id. Default: the first of announce, else the address on chain.",
)
@settings_options(*_SENDING, *_OWN, "password_file")
@send_options
def _rotate_peer_key(*, socket: str | None, settings: "Settings", options: SendOptions) -> None:
    """Replace the node's p2p key, and so its peer id.

    Writes a new keystore beside the old one, publishes its socket, then swaps them. Run it again after an interruption. Restart the
    node afterwards, then destroy the old keystore, p2p.json.PEERID.old. Other nodes need no restart.
    """
    import secrets

    from eigenkms.maintenance.peer_key import begin_rotation

    keystore = p2p_keystore(settings)
    password = read_password(f"keystore {keystore}", file=settings.get("password_file"), environ=os.environ)
    rotation = begin_rotation(keystore, password, secrets.token_bytes)
    action = "rotate the node's peer key"

    async def plan(registry: "OperatorRegistry", sender: bytes) -> "Plan":
        check_operator(settings, action, sender)
        on_chain = (await registry.read_registration(sender)).socket
        published = socket_of_peer(rotation.new, socket, settings, on_chain)
        made = await registry.update_socket(sender, published)
        if not options.dry_run:
            rotation.prepare(password, secrets.token_bytes)
        return made

    run_plan(settings, action, plan, options)
    if options.dry_run:
        return
    rotation.activate()
    print_note(f"the keystore {keystore} holds the key of peer {rotation.new} now")
    if rotation.old_keystore.exists():
        print_note(f"the old one is {rotation.old_keystore}: destroy it once the node has been restarted")
    print_note("hint: restart the node (systemctl restart eigenkms); until then it goes on as the old peer")
    rotation.clean_up()


@verb("allow", f"eigenkms operator allow {_ADDRESS} --config avs-owner.toml")
@click.argument("address")
@click.option("--remove", is_flag=True, help="Remove the operator from the list.")
@settings_options(*_SENDING)
@send_options
def _allow(*, address: str, remove: bool, settings: "Settings", options: SendOptions) -> None:
    """Put an operator on the AVS's allow-list, as its owner."""
    operator = checked_address(address)

    async def plan(registry: "OperatorRegistry", sender: bytes) -> "Plan":
        return await registry.allow(sender, operator, remove=remove)

    run_plan(settings, "change the allow-list", plan, options)


@verb("show", "eigenkms operator show --config node.toml")
@click.argument("address", required=False)
@settings_options(*_SET, "operator", "account_keystore", "account", "bn254_keystore")
@json_option
def _show(*, address: str | None, settings: "Settings", as_json: bool) -> None:
    """Show what the chain records for one operator.

    Without ADDRESS, the operator is that of the settings.
    """
    own = settings.get("operator") or account_address(settings)
    asked = own if address is None else checked_address(address)
    if asked is None:
        raise InputError(
            "show operator: it is not said which",
            hint="give its address, or set operator or account_keystore",
        )
    config, delegation_manager = (
        client_runner.client_settings(settings),
        settings.require("delegation_manager"),
    )
    keystore: Path | None = settings.get("bn254_keystore")

    async def visit() -> tuple["OperatorRegistration", int]:
        from eigenkms.chain.operator_registry import open_registry
        from eigenkms.chain.transactions import pending_of

        async with open_registry(config, delegation_manager) as registry:
            return await registry.read_registration(asked), await pending_of(registry.chain.rpc, asked)

    found, pending = client_runner.run(visit)
    print_registration(found, pending, keystore if asked == own else None, as_json=as_json)


@verb("list", "eigenkms operator list --config cluster.toml --json")
@settings_options(*CHAIN_SETTINGS)
@json_option
def _list(*, settings: "Settings", as_json: bool) -> None:
    """List the operator set at the newest block, by address."""
    facts = client_runner.run(read_operator_set, client_runner.client_settings(settings))
    if as_json:
        print_result_fields(facts, as_json=True)
        return
    print_result(
        *(map(operator_line, facts["operators"]) if facts["operators"] else ["the operator set is empty"])
    )


for _verb in (_register, _deregister, _update_socket, _rotate_peer_key, _allow, _list, _show):
    command.add_command(_verb)
