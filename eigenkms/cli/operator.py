"""``eigenkms operator``: an operator's life on chain. ``chain.lifecycle`` makes plans; here they are shown, confirmed, sent."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eigenkms.cli.support import client_runner
from eigenkms.cli.support.accounts import ACCOUNT_OPTIONS, account_address, checked_address
from eigenkms.cli.support.options import json_option, print_result_fields, settings_options, verb
from eigenkms.cli.support.output import print_note, print_result
from eigenkms.cli.support.passwords import read_password
from eigenkms.cli.support.socket_options import (
    dial_address,
    p2p_keystore,
    peer_id_of,
    published_socket,
    shown_socket,
    socket_options,
)
from eigenkms.cli.support.transactions import SendOptions, check_operator, run_plan, send_options
from eigenkms.config.schema import CHAIN_SETTINGS
from eigenkms.errors import InputError

if TYPE_CHECKING:
    from eigenkms.chain.lifecycle import OperatorRegistration, OperatorRegistry, Plan
    from eigenkms.chain.operator_keys import OperatorKey
    from eigenkms.chain.reader import OperatorSetReader
    from eigenkms.config.settings import Settings

_SET = (*CHAIN_SETTINGS, "delegation_manager")
_SENDING = (*_SET, *ACCOUNT_OPTIONS)
_ADDRESS = "0x4cb01831bc29ec91c2033fbd8da3c04e020f4b27"
_OWN = ("operator", "announce", "p2p_keystore", "data_dir")


@click.group("operator")
def command() -> None:
    """An operator's life on chain: register, update-socket, rotate-peer-key, deregister; list, show; allow, for the AVS's owner."""


@verb(
    "register",
    "eigenkms operator register --config node.toml --dry-run\neigenkms operator register --config node.toml",
)
@socket_options
@click.option("--metadata-uri", default="", metavar="URI", help="What the operator publishes of itself.")
@click.option(
    "--ecdsa-keystore",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="In place of the BN254 key, with the password of password_file, for a set of ECDSA keys "
    "(no node of this network serves in one).",
)
@settings_options(*_SENDING, *_OWN, "bn254_keystore", "password_file")
@send_options
def _register(
    *,
    socket: str | None,
    force: bool,
    metadata_uri: str,
    ecdsa_keystore: Path | None,
    settings: "Settings",
    options: SendOptions,
) -> None:
    """Become an operator, register the key of its node, join the operator set with a socket.

    Each step is checked on chain first and skipped if it is done, so a registration that was interrupted is completed by
    running it again. What cannot work is refused before anything is sent. With --json: action, account, chain_id, sent, steps,
    gas, fee_per_gas_wei, max_cost_wei, notes; of a step: step, skipped (why), and of its call contract, to, function, arguments,
    calldata, gas, max_cost_wei; simulation if it was tried; transaction, block, gas_used if it was sent.
    """
    published = published_socket(settings, socket, force=force)
    key = _operator_key(settings, ecdsa_keystore)

    async def plan(registry: "OperatorRegistry", sender: bytes) -> "Plan":
        check_operator(settings, "register the operator", sender)
        return await registry.register(sender, key, published, metadata_uri=metadata_uri)

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
@click.option("--key", is_flag=True, help="Give up the key for good, once it is not slashable any more.")
@settings_options(*_SENDING, "operator")
@send_options
def _deregister(*, key: bool, settings: "Settings", options: SendOptions) -> None:
    """Leave the operator set. The node must go on until there is a version without it.

    The key stays registered, so that the operator can come back. With --key, later: it is given up and can never be registered
    again. With --json: as register.
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
    """Publish where others dial the node. Nothing is sent if the chain has that socket already.

    With --json: as register.
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
    help="Where others dial the node, without a peer id; default: the first of announce, else as the chain has it.",
)
@settings_options(*_SENDING, *_OWN, "password_file")
@send_options
def _rotate_peer_key(*, socket: str | None, settings: "Settings", options: SendOptions) -> None:
    """Give the node a new p2p key, and so a new peer id. Restart the node afterwards; the network needs no restart.

    The new keystore is written beside the old one, the socket with its peer id is published, and then it takes the old
    one's place, which is kept as p2p.json.PEERID.old. What was interrupted is completed by running it again. Destroy the old
    keystore once the node has been restarted. With --json: as register.
    """
    import secrets

    from eigenkms.maintenance.peer_key import begin_rotation

    keystore = p2p_keystore(settings)
    password = read_password(f"keystore {keystore}", file=settings.get("password_file"), environ=os.environ)
    rotation = begin_rotation(keystore, password, secrets.token_bytes)
    action = "rotate the node's peer key"

    async def plan(registry: "OperatorRegistry", sender: bytes) -> "Plan":
        check_operator(settings, action, sender)
        address = dial_address(socket, settings, (await registry.standing(sender)).socket)
        made = await registry.update_socket(sender, f"{address}/p2p/{rotation.new}")
        if not options.dry_run:
            rotation.prepare(password, secrets.token_bytes)
        return made

    run_plan(settings, action, plan, options)
    if options.dry_run:
        return
    rotation.put_in_place()
    print_note(f"the keystore {keystore} holds the key of peer {rotation.new} now")
    if rotation.kept.exists():
        print_note(f"the old one is {rotation.kept}: destroy it once the node has been restarted")
    print_note("hint: restart the node (systemctl restart eigenkms); until then it goes on as the old peer")
    rotation.finish()


@verb("allow", f"eigenkms operator allow {_ADDRESS} --config avs-owner.toml")
@click.argument("address")
@click.option("--remove", is_flag=True, help="Take it off the list.")
@settings_options(*_SENDING)
@send_options
def _allow(*, address: str, remove: bool, settings: "Settings", options: SendOptions) -> None:
    """Put an operator on the allow-list, as the AVS registrar's owner. With --json: as register."""
    operator = checked_address(address)

    async def plan(registry: "OperatorRegistry", sender: bytes) -> "Plan":
        return await registry.allow(sender, operator, remove=remove)

    run_plan(settings, "change the allow-list", plan, options)


@verb("show", f"eigenkms operator show --config node.toml\neigenkms operator show {_ADDRESS} --json")
@click.argument("address", required=False)
@settings_options(*_SET, "operator", "account_keystore", "account", "bn254_keystore")
@json_option
def _show(*, address: str | None, settings: "Settings", as_json: bool) -> None:
    """What the chain says of one operator; without ADDRESS, of the settings' own.

    With --json: address, block, operator, allowed (null: no list), member, curve (of the set's keys), key (G2 or
    address, hex), key_matches (the keystore's; null: not
    compared), socket, peer_id (null: none in the socket), slashable, slashable_until (block), balance_wei, pending (transactions).
    """
    own = settings.get("operator") or account_address(settings)
    asked = own if address is None else checked_address(address)
    if asked is None:
        raise InputError(
            "show operator: it is not said which",
            hint="give its address, or set operator or account_keystore",
        )
    config, delegation_manager = (
        client_runner.client_settings(settings).chain,
        settings.require("delegation_manager"),
    )
    keystore: Path | None = settings.get("bn254_keystore")

    async def visit() -> tuple["OperatorRegistration", int]:
        from eigenkms.chain.lifecycle import open_registry
        from eigenkms.chain.transactions import pending_of

        async with open_registry(config, delegation_manager) as registry:
            return await registry.standing(asked), await pending_of(registry.chain.rpc, asked)

    found, pending = client_runner.run(visit)
    _print_standing(found, pending, keystore if asked == own else None, as_json=as_json)


def _print_standing(
    found: "OperatorRegistration", pending: int, keystore: Path | None, *, as_json: bool
) -> None:
    from eigenkms.chain import abi
    from eigenkms.chain.operator_keys import CURVES
    from eigenkms.chain.values import ether, hexed
    from eigenkms.keys.keystores import claims_bn254, peek

    is_bn254, matches = found.curve == abi.CURVE_BN254, None
    if is_bn254 and keystore is not None and found.key is not None:
        matches = claims_bn254(peek(keystore)[1], found.key[:64], found.key[64:])
    facts: dict[str, Any] = {
        "address": hexed(found.address),
        "block": found.block,
        "operator": found.is_operator,
        "allowed": found.is_allowed,
        "member": found.is_member,
        "curve": CURVES[found.curve],
        "key": None if found.key is None else found.key[64 if is_bn254 else 0 :].hex(),
        "key_matches": matches,
        "socket": found.socket or None,
        "peer_id": peer_id_of(found.socket),
        "slashable": found.is_slashable,
        "slashable_until": found.slashable_until,
        "balance_wei": found.balance,
        "pending": pending,
    }
    if not as_json:
        facts["socket"] = shown_socket(found.socket) or None
        facts["balance"] = f"{ether(facts.pop('balance_wei'))} ether"
        facts = {name: value for name, value in facts.items() if value is not None}
    print_result_fields(facts, as_json=as_json)


@verb("list", "eigenkms operator list --environment sepolia --rpc-url https://rpc.example.org --json")
@settings_options(*CHAIN_SETTINGS)
@json_option
def _list(*, settings: "Settings", as_json: bool) -> None:
    """The operator set at the newest block, sorted by address.

    With --json: block, operators; of each address, peer_id (null: none in the socket), socket, curve, key (G2 or address, hex),
    problem (why its key cannot be used; null).
    """
    from dataclasses import replace

    config = client_runner.client_settings(settings).chain

    async def visit() -> dict[str, Any]:
        from eigenkms.chain import abi
        from eigenkms.chain.config import Finality
        from eigenkms.chain.reader import open_chain

        newest, curves = replace(config, finality=Finality("latest")), (abi.CURVE_BN254, abi.CURVE_ECDSA)
        async with open_chain(newest, curves=curves) as chain:
            block, rows = await (_ecdsa_rows if chain.curve == abi.CURVE_ECDSA else _bn254_rows)(chain)
        return {"block": block, "operators": sorted(rows, key=lambda row: str(row["address"]))}

    facts = client_runner.run(visit)
    if as_json:
        print_result_fields(facts, as_json=True)
        return
    print_result(*(map(_line, facts["operators"]) if facts["operators"] else ["the operator set is empty"]))


Rows = list[dict[str, Any]]


async def _bn254_rows(chain: "OperatorSetReader") -> tuple[int, Rows]:
    """The block, and a row for each member; a key that no node could verify votes with is a problem."""
    read = await chain.operators_at(await chain.head())
    rows = [_row(each.address, each.socket, "BN254", each.key.hex(), None) for each in read.operators]
    rows += [_row(address, "", "BN254", None, problem) for address, problem in read.rejected]
    return read.block.number, rows


async def _ecdsa_rows(chain: "OperatorSetReader") -> tuple[int, Rows]:
    block, found = await chain.set_now()
    rows = []
    for member, key in found.keys.items():
        known = (key.hex(), None) if isinstance(key, bytes) else (None, key)
        rows.append(_row(member, found.sockets[member], "ECDSA", *known))
    return block.number, rows


def _row(address: bytes, socket: str, curve: str, key: str | None, problem: str | None) -> dict[str, Any]:
    return {
        "address": "0x" + address.hex(),
        "peer_id": peer_id_of(socket),
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
