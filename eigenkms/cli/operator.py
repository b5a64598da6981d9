"""``eigenkms operator``: show, confirm and send the plans of ``chain.operator_registry``."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eigenkms.cli.support import client_runner
from eigenkms.cli.support.accounts import ACCOUNT_OPTIONS, account_address, checked_address
from eigenkms.cli.support.options import json_option, print_facts, verb, with_settings
from eigenkms.cli.support.output import note, print_result
from eigenkms.cli.support.passwords import read_password
from eigenkms.cli.support.socket_options import (
    own_socket,
    peer_of,
    place,
    shown_socket,
    socket_options,
)
from eigenkms.cli.support.transactions import SendOptions, carry_out, check_operator, sending
from eigenkms.config.paths import p2p_keystore
from eigenkms.config.schema import CHAIN_SETTINGS
from eigenkms.errors import InputError

if TYPE_CHECKING:
    from eigenkms.chain.operator_keys import OperatorKey
    from eigenkms.chain.operator_plan import OperatorRegistration, Plan
    from eigenkms.chain.operator_registry import OperatorRegistry
    from eigenkms.chain.operator_set_source import OperatorSetSource
    from eigenkms.config.settings import Settings

_SET = (*CHAIN_SETTINGS, "delegation_manager")
_SENDING = (*_SET, *ACCOUNT_OPTIONS)
_ADDRESS = "0x4cb01831bc29ec91c2033fbd8da3c04e020f4b27"
_OWN = ("operator", "announce", "p2p_keystore", "data_dir")


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
@with_settings(*_SENDING, *_OWN, "bn254_keystore", "password_file")
@sending
def _register(
    *,
    socket: str | None,
    force: bool,
    metadata_uri: str,
    ecdsa_keystore: Path | None,
    settings: "Settings",
    manner: SendOptions,
) -> None:
    """Register an operator, its key and its socket on chain.

    Performs the steps in the order the contracts require and skips completed ones, so run it again after an interruption. If a step
    cannot succeed, nothing is sent.
    """
    published = own_socket(settings, socket, force=force)
    key = _operator_key(settings, ecdsa_keystore)

    async def plan(registry: "OperatorRegistry", sender: bytes) -> "Plan":
        check_operator(settings, "register the operator", sender)
        return await registry.register(sender, key, published, metadata_uri=metadata_uri)

    carry_out(settings, "register the operator", plan, manner)


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
@with_settings(*_SENDING, "operator")
@sending
def _deregister(*, key: bool, settings: "Settings", manner: SendOptions) -> None:
    """Leave the operator set.

    Keep the node running until a version without it is certified. The BN254 key stays registered, so the operator can return.
    Later, --key gives up the key; it can never be registered again.
    """
    action = "deregister the operator's key" if key else "deregister the operator"

    async def plan(registry: "OperatorRegistry", sender: bytes) -> "Plan":
        check_operator(settings, action, sender)
        return await (registry.give_up_key(sender) if key else registry.leave(sender))

    carry_out(settings, action, plan, manner)


@verb(
    "update-socket",
    "eigenkms operator update-socket --config node.toml --socket /ip4/192.0.2.7/tcp/9400",
)
@socket_options
@with_settings(*_SENDING, *_OWN)
@sending
def _update_socket(*, socket: str | None, force: bool, settings: "Settings", manner: SendOptions) -> None:
    """Publish the address at which others dial the node.

    Nothing is sent if the chain already has this socket.
    """
    published = own_socket(settings, socket, force=force)
    action = "update the operator's socket"

    async def plan(registry: "OperatorRegistry", sender: bytes) -> "Plan":
        check_operator(settings, action, sender)
        return await registry.update_socket(sender, published)

    carry_out(settings, action, plan, manner)


@verb("rotate-peer-key", "eigenkms operator rotate-peer-key --config node.toml")
@click.option(
    "--socket",
    metavar="MULTIADDR",
    help="Address at which others dial the node, without a peer id. Default: the first of announce, else the address on chain.",
)
@with_settings(*_SENDING, *_OWN, "password_file")
@sending
def _rotate_peer_key(*, socket: str | None, settings: "Settings", manner: SendOptions) -> None:
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
        address = place(socket, settings, (await registry.read_registration(sender)).socket)
        made = await registry.update_socket(sender, f"{address}/p2p/{rotation.new}")
        if not manner.dry_run:
            rotation.prepare(password, secrets.token_bytes)
        return made

    carry_out(settings, action, plan, manner)
    if manner.dry_run:
        return
    rotation.activate()
    note(f"the keystore {keystore} holds the key of peer {rotation.new} now")
    if rotation.old_keystore.exists():
        note(f"the old one is {rotation.old_keystore}: destroy it once the node has been restarted")
    note("hint: restart the node (systemctl restart eigenkms); until then it goes on as the old peer")
    rotation.clean_up()


@verb("allow", f"eigenkms operator allow {_ADDRESS} --config avs-owner.toml")
@click.argument("address")
@click.option("--remove", is_flag=True, help="Remove the operator from the list.")
@with_settings(*_SENDING)
@sending
def _allow(*, address: str, remove: bool, settings: "Settings", manner: SendOptions) -> None:
    """Put an operator on the AVS's allow-list, as its owner."""
    operator = checked_address(address)

    async def plan(registry: "OperatorRegistry", sender: bytes) -> "Plan":
        return await registry.allow(sender, operator, remove=remove)

    carry_out(settings, "change the allow-list", plan, manner)


@verb("show", "eigenkms operator show --config node.toml")
@click.argument("address", required=False)
@with_settings(*_SET, "operator", "account_keystore", "account", "bn254_keystore")
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
    _print_standing(found, pending, keystore if asked == own else None, as_json=as_json)


def _print_standing(
    found: "OperatorRegistration", pending: int, keystore: Path | None, *, as_json: bool
) -> None:
    from eigenkms.chain import abi
    from eigenkms.chain.operator_keys import CURVES
    from eigenkms.chain.rpc_values import format_ether, to_hex
    from eigenkms.keys.keystores import claims_bn254, read_metadata

    is_bn254, matches = found.curve == abi.CURVE_BN254, None
    if is_bn254 and keystore is not None and found.key is not None:
        matches = claims_bn254(read_metadata(keystore)[1], found.key[:64], found.key[64:])
    facts: dict[str, Any] = {
        "address": to_hex(found.address),
        "block": found.block,
        "operator": found.is_operator,
        "allowed": found.is_allowed,
        "member": found.is_member,
        "curve": CURVES[found.curve],
        "key": None if found.key is None else found.key[64 if is_bn254 else 0 :].hex(),
        "key_matches": matches,
        "socket": found.socket or None,
        "peer_id": peer_of(found.socket),
        "slashable": found.is_slashable,
        "slashable_until": found.slashable_until,
        "balance_wei": found.balance,
        "pending": pending,
    }
    if not as_json:
        facts["socket"] = shown_socket(found.socket) or None
        facts["balance"] = f"{format_ether(facts.pop('balance_wei'))} ether"
        facts = {name: value for name, value in facts.items() if value is not None}
    print_facts(facts, as_json=as_json)


@verb("list", "eigenkms operator list --environment sepolia --rpc-url https://rpc.example.org --json")
@with_settings(*CHAIN_SETTINGS)
@json_option
def _list(*, settings: "Settings", as_json: bool) -> None:
    """List the operator set at the newest block, by address."""
    from dataclasses import replace

    config = client_runner.client_settings(settings)

    async def visit() -> dict[str, Any]:
        from eigenkms.chain import abi
        from eigenkms.chain.config import Finality
        from eigenkms.chain.operator_set_source import open_chain

        newest, curves = replace(config, finality=Finality("latest")), (abi.CURVE_BN254, abi.CURVE_ECDSA)
        async with open_chain(newest, curves=curves) as chain:
            block, rows = await (_ecdsa_rows if chain.curve == abi.CURVE_ECDSA else _bn254_rows)(chain)
        return {"block": block, "operators": sorted(rows, key=lambda row: str(row["address"]))}

    facts = client_runner.run(visit)
    if as_json:
        print_facts(facts, as_json=True)
        return
    print_result(*(map(_line, facts["operators"]) if facts["operators"] else ["the operator set is empty"]))


Rows = list[dict[str, Any]]


async def _bn254_rows(chain: "OperatorSetSource") -> tuple[int, Rows]:
    """The block, and a row for each member; a key that no node could verify votes with is a problem."""
    read = await chain.operators_at(await chain.head())
    rows = [_row(each.address, each.socket, "BN254", each.key.hex(), None) for each in read.operators]
    rows += [_row(address, "", "BN254", None, problem) for address, problem in read.rejected]
    return read.block.number, rows


async def _ecdsa_rows(chain: "OperatorSetSource") -> tuple[int, Rows]:
    block, found = await chain.set_now()
    rows = []
    for member, key in found.keys.items():
        known = (key.hex(), None) if isinstance(key, bytes) else (None, key)
        rows.append(_row(member, found.sockets[member], "ECDSA", *known))
    return block.number, rows


def _row(address: bytes, socket: str, curve: str, key: str | None, problem: str | None) -> dict[str, Any]:
    return {
        "address": "0x" + address.hex(),
        "peer_id": peer_of(socket),
        "socket": socket,
        "curve": curve,
        "key": key,
        "problem": problem,
    }


def _line(row: dict[str, Any]) -> str:
    if row["problem"]:
        return f"{row['address']}  {row['problem']}"
    return f"{row['address']}  {row['curve']} {row['key'][:16]}…  {shown_socket(row['socket'])}"


for _verb in (_register, _deregister, _update_socket, _rotate_peer_key, _allow, _list, _show):
    command.add_command(_verb)
