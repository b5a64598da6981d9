"""``eigenkms operator``: an operator's life on chain. ``chain.lifecycle`` makes plans; here they are shown, confirmed, sent."""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eigenkms.cli import network
from eigenkms.cli.accounts import ACCOUNT_OPTIONS, account, account_address, terms
from eigenkms.cli.options import json_option, print_facts, verb, with_settings
from eigenkms.cli.passwords import read_password
from eigenkms.cli.report import note, print_result, warn
from eigenkms.errors import InputError
from eigenkms.node.config import CHAIN_SETTINGS

if TYPE_CHECKING:
    from eigenkms.chain.lifecycle import Plan, Registry, Standing, Step
    from eigenkms.chain.registration import Call
    from eigenkms.chain.transactions import Receipt, Sender
    from eigenkms.node.settings import Settings

_SET = (*CHAIN_SETTINGS, "delegation_manager")
_SENDING = (*_SET, *ACCOUNT_OPTIONS)
_ADDRESS = "0x4cb01831bc29ec91c2033fbd8da3c04e020f4b27"

MakePlan = Callable[["Registry", bytes], Awaitable["Plan"]]
"""Of a registry and the account that sends."""


@click.group("operator")
def command() -> None:
    """An operator's life on chain: register, update-socket, rotate-peer-key, deregister; list, show; allow, for the AVS's owner."""


# -- sending ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Manner:
    """How transactions are sent: not at all, without asking, in place of a pending one; and how it is told."""

    dry_run: bool
    yes: bool
    replace_pending: bool
    as_json: bool


def _sending(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every verb that sends transactions, passed on as ``manner``."""

    @wraps(function)
    def wrapped(*, dry_run: bool, yes: bool, replace_pending: bool, as_json: bool, **rest: Any) -> Any:
        return function(manner=_Manner(dry_run, yes, replace_pending, as_json), **rest)

    declared: Callable[..., Any] = json_option(wrapped)
    for option in reversed(
        (
            click.option("--dry-run", is_flag=True, help="Show the calls and try them; send nothing."),
            click.option("--yes", is_flag=True, help="Send without asking."),
            click.option(
                "--replace-pending",
                is_flag=True,
                help="Outbid a transaction of the account that is pending, instead of waiting for it.",
            ),
        )
    ):
        declared = option(declared)
    return declared


def _carry_out(settings: "Settings", action: str, make: MakePlan, manner: _Manner) -> None:
    """Make the plan, and unless it is a dry run, have it confirmed and send it; print what came of it."""
    delegation_manager = settings.require("delegation_manager")
    config = network.client_settings(settings).chain
    sender_account = account(settings, action)

    async def visit() -> dict[str, Any]:
        from eigenkms.chain.lifecycle import open_registry
        from eigenkms.chain.transactions import Sender

        conditions = terms(settings, replace_pending=manner.replace_pending)
        async with open_registry(config, delegation_manager) as registry, sender_account.signer() as signer:
            sender = Sender(registry.chain.rpc, signer, config.chain_id, terms=conditions)
            if manner.dry_run:
                if pending := await sender.pending():
                    note(
                        f"{pending} transactions of the account are pending: what they change does not show yet"
                    )
            else:
                await sender.settle(action)
            plan = await make(registry, sender.address)
            fee = await registry.fee(plan, conditions)
            if manner.dry_run:
                return _facts(plan, config.chain_id, fee, {}, await _simulated(registry, plan))
            await _confirm(plan, fee, manner)
            return _facts(plan, config.chain_id, fee, await _send(sender, plan), None)

    facts = network.run(visit)
    if manner.as_json:
        print_facts(facts, as_json=True)
    else:
        print_result("\n".join(_lines(facts)))


async def _simulated(registry: "Registry", plan: "Plan") -> dict[str, str]:
    """By the name of a step, what came of trying its call."""
    return {
        step.name: _outcome(await registry.simulate(plan, step.call))
        for step in plan.steps
        if step.call is not None
    }


def _outcome(reason: str | None) -> str:
    if reason is None:
        return "would succeed"
    return f"would be refused: {reason}" if reason else "shows only after the calls before it"


async def _confirm(plan: "Plan", fee: int, manner: _Manner) -> None:
    """Say what will be sent, and ask once. Raises InputError where nobody can be asked, or the answer is no."""
    from eigenkms.chain.values import ether, hexed
    from eigenkms.cli.asking import agrees

    for step in plan.steps:
        note(f"{step.name}: {step.done or 'to be sent'}")
    if plan.calls and plan.warning:
        warn(plan.warning)
    if manner.yes or not plan.calls:
        return
    cost = ether(plan.gas * fee)
    agreed = await agrees(
        f"send {_counted(plan)} from {hexed(plan.account)}, for at most {cost} ether at the present price of gas?"
    )
    if agreed is None:
        raise InputError(
            f"{plan.action}: {_counted(plan)} not confirmed, and there is no terminal to ask at",
            hint="look at them with --dry-run, and give --yes",
        )
    if not agreed:
        raise InputError(
            f"{plan.action}: not confirmed, nothing was sent", hint="answer yes, or look first with --dry-run"
        )


def _counted(plan: "Plan") -> str:
    return f"{len(plan.calls)} transaction{'s' if len(plan.calls) > 1 else ''}"


async def _send(sender: "Sender", plan: "Plan") -> dict[str, "Receipt"]:
    from eigenkms.chain.registration import perform
    from eigenkms.chain.values import hexed

    receipts = {}
    for step in plan.steps:
        if step.call is not None:
            note(f"{step.name}: sending …")
            receipt = receipts[step.name] = await perform(sender, step.call)
            note(
                f"{step.name}: in block {receipt.block_number}, transaction {hexed(receipt.transaction_hash)}"
            )
    return receipts


def _facts(
    plan: "Plan", chain_id: int, fee: int, receipts: dict[str, "Receipt"], simulated: dict[str, str] | None
) -> dict[str, Any]:
    """As ``--json`` prints them (docs/cli.md, operator)."""
    from eigenkms.chain.values import hexed

    return {
        "action": plan.action,
        "account": hexed(plan.account),
        "chain_id": chain_id,
        "sent": simulated is None,
        "steps": [_step_facts(step, fee, receipts.get(step.name), simulated) for step in plan.steps],
        "gas": plan.gas,
        "fee_per_gas_wei": fee,
        "max_cost_wei": plan.gas * fee,
        "notes": list(plan.after),
    }


def _step_facts(
    step: "Step", fee: int, receipt: "Receipt | None", simulated: dict[str, str] | None
) -> dict[str, Any]:
    from eigenkms.chain.values import hexed

    facts: dict[str, Any] = {"step": step.name, "skipped": step.done or None}
    if step.call is not None:
        facts |= _call_facts(step.call, fee)
    if simulated and step.name in simulated:
        facts["simulation"] = simulated[step.name]
    if receipt is not None:
        facts |= {
            "transaction": hexed(receipt.transaction_hash),
            "block": receipt.block_number,
            "gas_used": receipt.gas_used,
        }
    return facts


def _call_facts(call: "Call", fee: int) -> dict[str, Any]:
    from eigenkms.chain.values import hexed

    return {
        "contract": call.contract,
        "to": hexed(call.to),
        "function": call.function.signature,
        "arguments": [_plain(argument) for argument in call.arguments],
        "calldata": hexed(call.data),
        "gas": call.gas,
        "max_cost_wei": call.gas * fee,
    }


def _plain(argument: object) -> Any:
    """An argument of a call as JSON has it: bytes and addresses in hex, tuples as lists."""
    if isinstance(argument, bytes):
        return "0x" + argument.hex()
    if isinstance(argument, list | tuple):
        return [_plain(inner) for inner in argument]
    return argument


def _lines(facts: dict[str, Any]) -> list[str]:
    """The same for people; of calls that were not sent, all there is."""
    import json

    from eigenkms.chain.values import ether

    lines = []
    for step in facts["steps"]:
        if step["skipped"]:
            lines.append(f"{step['step']}: {step['skipped']}")
        elif facts["sent"]:
            lines.append(
                f"{step['step']}: done in block {step['block']}, {step['gas_used']} gas, {step['transaction']}"
            )
        else:
            lines += [
                f"{step['step']}: {step['simulation']}",
                f"  to         {step['to']} ({step['contract']})",
                f"  function   {step['function']}",
                *(f"  argument   {json.dumps(argument)}" for argument in step["arguments"]),
                f"  calldata   {step['calldata']}",
                f"  gas        at most {step['gas']}, {ether(step['max_cost_wei'])} ether",
            ]
    if not facts["sent"]:
        lines.append(
            f"nothing was sent; all of it costs at most {ether(facts['max_cost_wei'])} ether at the present price of gas"
        )
    return [*lines, *(facts["notes"] if facts["sent"] else ())]


# -- the account, the keys, the socket -------------------------------------------------------------------------------


def _check_operator(settings: "Settings", action: str, sender: bytes) -> None:
    """The account must be the operator of the settings, where they name one."""
    operator: bytes | None = settings.get("operator")
    if operator not in (None, sender):
        assert operator is not None
        raise InputError(
            f"{action}: the account 0x{sender.hex()} is not the operator 0x{operator.hex()}, and sends for itself alone",
            hint="give the operator's own account; one that the operator appointed to act for it is not supported",
        )


def _p2p_keystore(settings: "Settings") -> Path:
    """Of the settings, or the one that a node makes in its data folder."""
    path: Path | None = settings.get("p2p_keystore")
    folder: Path = settings.get("data_dir") or Path.home() / ".eigenkms" / "node"
    return path or folder / "p2p.json"


def own_socket(settings: "Settings", given: str | None, *, force: bool) -> str:
    """The multiaddr to publish: ``given``, or the first of ``announce``, with the peer id of the p2p keystore.

    Raises InputError for what cannot be dialled, and for the peer id of another node unless ``force`` is set.
    """
    from eigenkms.p2p.identity import parse_address

    announced = settings.get("announce")
    text = given or (announced[0] if announced else None)
    if text is None:
        raise InputError(
            "choose the socket: there is no address to publish",
            hint="give --socket /ip4/ADDRESS/tcp/PORT, or set announce",
        )
    if "/p2p/" not in text:
        return str(parse_address(f"{text}/p2p/{_peer_id(_p2p_keystore(settings))}"))
    address = parse_address(text)
    if force:
        return str(address)
    own = _peer_id(_p2p_keystore(settings))
    if str(address.peer_id) != own:
        raise InputError(
            f"choose the socket: it names peer id {address.peer_id}, and the p2p keystore is of {own}",
            hint="leave /p2p/… out, or give the keystore of that node with p2p_keystore; --force publishes it all the same",
        )
    return str(address)


def _peer_id(path: Path) -> str:
    from eigenkms.node.keyfiles import peek

    kind, public = peek(path)
    if kind != "p2p" or "peer_id" not in public:
        raise InputError(
            f"read keystore {path}: it holds no p2p key",
            hint="make one with: eigenkms keys new --kind p2p -o FILE",
        )
    return public["peer_id"]


def _socket_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--force", is_flag=True, help="Publish a socket with another node's peer id."),
        click.option(
            "--socket",
            metavar="MULTIADDR",
            help="Where others dial the node; default: the first of announce, with the node's peer id.",
        ),
    ):
        function = option(function)
    return function


_OWN = ("operator", "announce", "p2p_keystore", "data_dir")


# -- verbs -----------------------------------------------------------------------------------------------------------


@verb(
    "register",
    "eigenkms operator register --config node.toml --dry-run\neigenkms operator register --config node.toml",
)
@_socket_options
@click.option("--metadata-uri", default="", metavar="URI", help="What the operator publishes of itself.")
@with_settings(*_SENDING, *_OWN, "bn254_keystore", "password_file")
@_sending
def _register(
    *, socket: str | None, force: bool, metadata_uri: str, settings: "Settings", manner: _Manner
) -> None:
    """Become an operator, register the BN254 key, join the operator set with a socket.

    Each step is checked on chain first and skipped if it is done, so a registration that was interrupted is completed by
    running it again. What cannot work is refused before anything is sent. With --json: action, account, chain_id, sent, steps,
    gas, fee_per_gas_wei, max_cost_wei, notes; of a step: step, skipped (why), and of its call contract, to, function, arguments,
    calldata, gas, max_cost_wei; simulation if it was tried; transaction, block, gas_used if it was sent.
    """
    from eigenkms.crypto.bn254 import KeyPair
    from eigenkms.node.keyfiles import open_key

    published = own_socket(settings, socket, force=force)
    keystore: Path = settings.require("bn254_keystore")
    password_file = settings.get("password_file")
    password = read_password(f"keystore {keystore}", file=password_file, environ=os.environ)
    key = KeyPair.from_secret(open_key(keystore, "bn254", password).secret)

    async def plan(registry: "Registry", sender: bytes) -> "Plan":
        _check_operator(settings, "register the operator", sender)
        return await registry.register(sender, key, published, metadata_uri=metadata_uri)

    _carry_out(settings, "register the operator", plan, manner)


@verb("deregister", "eigenkms operator deregister --config node.toml")
@click.option(
    "--key", is_flag=True, help="Give up the BN254 key for good, once it is not slashable any more."
)
@with_settings(*_SENDING, "operator")
@_sending
def _deregister(*, key: bool, settings: "Settings", manner: _Manner) -> None:
    """Leave the operator set. The node must go on until a version without it is settled.

    The key stays registered, so that the operator can come back. With --key, later: it is given up and can never be registered
    again. With --json: as register.
    """
    action = "deregister the operator's key" if key else "deregister the operator"

    async def plan(registry: "Registry", sender: bytes) -> "Plan":
        _check_operator(settings, action, sender)
        return await (registry.give_up_key(sender) if key else registry.leave(sender))

    _carry_out(settings, action, plan, manner)


@verb(
    "update-socket",
    "eigenkms operator update-socket --config node.toml --socket /ip4/192.0.2.7/tcp/9400",
)
@_socket_options
@with_settings(*_SENDING, *_OWN)
@_sending
def _update_socket(*, socket: str | None, force: bool, settings: "Settings", manner: _Manner) -> None:
    """Publish where others dial the node. Nothing is sent if the chain has that socket already.

    With --json: as register.
    """
    published = own_socket(settings, socket, force=force)
    action = "update the operator's socket"

    async def plan(registry: "Registry", sender: bytes) -> "Plan":
        _check_operator(settings, action, sender)
        return await registry.update_socket(sender, published)

    _carry_out(settings, action, plan, manner)


@verb("rotate-peer-key", "eigenkms operator rotate-peer-key --config node.toml")
@click.option(
    "--socket",
    metavar="MULTIADDR",
    help="Where others dial the node, without a peer id; default: the first of announce, else as the chain has it.",
)
@with_settings(*_SENDING, *_OWN, "password_file")
@_sending
def _rotate_peer_key(*, socket: str | None, settings: "Settings", manner: _Manner) -> None:
    """Give the node a new p2p key, and so a new peer id. Restart the node afterwards; the network needs no restart.

    The new keystore is written beside the old one, the socket with its peer id is published, and then it takes the old
    one's place, which is kept as p2p.json.PEERID.old. What was interrupted is completed by running it again. Destroy the old
    keystore once the node has been restarted. With --json: as register.
    """
    import secrets

    from eigenkms.node.peer_key import begin_rotation

    keystore = _p2p_keystore(settings)
    password = read_password(f"keystore {keystore}", file=settings.get("password_file"), environ=os.environ)
    rotation = begin_rotation(keystore, password, secrets.token_bytes)
    action = "rotate the node's peer key"

    async def plan(registry: "Registry", sender: bytes) -> "Plan":
        _check_operator(settings, action, sender)
        address = _place(socket, settings, (await registry.standing(sender)).socket)
        made = await registry.update_socket(sender, f"{address}/p2p/{rotation.new}")
        if not manner.dry_run:
            rotation.prepare(password, secrets.token_bytes)
        return made

    _carry_out(settings, action, plan, manner)
    if manner.dry_run:
        return
    rotation.put_in_place()
    note(f"the keystore {keystore} holds the key of peer {rotation.new} now")
    if rotation.kept.exists():
        note(f"the old one is {rotation.kept}: destroy it once the node has been restarted")
    note("hint: restart the node (systemctl restart eigenkms); until then it goes on as the old peer")
    rotation.finish()


def _place(given: str | None, settings: "Settings", on_chain: str) -> str:
    """Where others dial the node, without its peer id: as told, as announced, or as the chain has it. Raises InputError."""
    from eigenkms.p2p.identity import parse_address, parse_transport

    announced = settings.get("announce")
    text = given or (announced[0] if announced else None)
    if text is not None:
        return str(parse_transport(text))
    try:
        return parse_address(on_chain).multiaddr
    except InputError as error:
        raise InputError(
            "choose the socket: the chain has none that can be dialled, and there is no other address to publish",
            hint="give --socket /ip4/ADDRESS/tcp/PORT, or set announce",
        ) from error


@verb("allow", f"eigenkms operator allow {_ADDRESS} --config avs-owner.toml")
@click.argument("address")
@click.option("--remove", is_flag=True, help="Take it off the list.")
@with_settings(*_SENDING)
@_sending
def _allow(*, address: str, remove: bool, settings: "Settings", manner: _Manner) -> None:
    """Put an operator on the allow-list, as the AVS registrar's owner. With --json: as register."""
    operator = checked_address(address)

    async def plan(registry: "Registry", sender: bytes) -> "Plan":
        return await registry.allow(sender, operator, remove=remove)

    _carry_out(settings, "change the allow-list", plan, manner)


def checked_address(text: str) -> bytes:
    """20 bytes. Raises InputError, also for a mixed-case address whose checksum (EIP-55) is wrong."""
    from eigenkms.chain.values import checksummed
    from eigenkms.node.settings import address

    try:
        raw: bytes = address(text)
    except ValueError as error:
        raise InputError(f"read address: {error}", hint="copy it again, whole") from error
    digits = text[2:]
    if digits not in (digits.lower(), digits.upper()) and text != checksummed(raw):
        raise InputError(
            f"read address {text}: its checksum is wrong", hint="a character was mistyped; copy it again"
        )
    return raw


@verb("show", f"eigenkms operator show --config node.toml\neigenkms operator show {_ADDRESS} --json")
@click.argument("address", required=False)
@with_settings(*_SET, "operator", "account_keystore", "account", "bn254_keystore")
@json_option
def _show(*, address: str | None, settings: "Settings", as_json: bool) -> None:
    """What the chain says of one operator; without ADDRESS, of the settings' own.

    With --json: address, block, operator, allowed (null: no list), member, key (G2, hex), key_matches (the keystore's; null: not
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
        network.client_settings(settings).chain,
        settings.require("delegation_manager"),
    )
    keystore: Path | None = settings.get("bn254_keystore")

    async def visit() -> tuple["Standing", int]:
        from eigenkms.chain.lifecycle import open_registry
        from eigenkms.chain.transactions import pending_of

        async with open_registry(config, delegation_manager) as registry:
            return await registry.standing(asked), await pending_of(registry.chain.rpc, asked)

    found, pending = network.run(visit)
    _print_standing(found, pending, keystore if asked == own else None, as_json=as_json)


def _print_standing(found: "Standing", pending: int, keystore: Path | None, *, as_json: bool) -> None:
    from eigenkms.chain.values import ether, hexed
    from eigenkms.node.keyfiles import peek

    matches = None
    if keystore is not None and found.key is not None:
        matches = peek(keystore)[1].get("g1") == found.key[:64].hex()
    facts: dict[str, Any] = {
        "address": hexed(found.address),
        "block": found.block,
        "operator": found.is_operator,
        "allowed": found.is_allowed,
        "member": found.is_member,
        "key": None if found.key is None else found.key[64:].hex(),
        "key_matches": matches,
        "socket": found.socket or None,
        "peer_id": _peer_of(found.socket),
        "slashable": found.is_slashable,
        "slashable_until": found.slashable_until,
        "balance_wei": found.balance,
        "pending": pending,
    }
    if not as_json:
        facts["socket"] = _shown_socket(found.socket) or None
        facts["balance"] = f"{ether(facts.pop('balance_wei'))} ether"
        facts = {name: value for name, value in facts.items() if value is not None}
    print_facts(facts, as_json=as_json)


def _peer_of(socket: str) -> str | None:
    from eigenkms.p2p.identity import parse_address

    try:
        return str(parse_address(socket).peer_id)
    except InputError:
        return None


def _shown_socket(socket: str) -> str:
    """Anybody may publish anything: what would command a terminal is written out."""
    return socket if socket.isprintable() else ascii(socket)


@verb("list", "eigenkms operator list --environment sepolia --rpc-url https://rpc.example.org --json")
@with_settings(*CHAIN_SETTINGS)
@json_option
def _list(*, settings: "Settings", as_json: bool) -> None:
    """The operator set at the newest block, sorted by address.

    With --json: block, operators; of each address, peer_id (null: none in the socket), socket, curve, key (G2, hex), problem (why
    its key cannot be used; null).
    """
    from dataclasses import replace

    config = network.client_settings(settings).chain

    async def visit() -> dict[str, Any]:
        from eigenkms.chain.config import Finality
        from eigenkms.chain.reader import open_chain

        async with open_chain(replace(config, finality=Finality("latest"))) as chain:
            read = await chain.operators_at(await chain.head())
        rows = [
            _row(operator.address, operator.socket, operator.key.hex(), None) for operator in read.operators
        ]
        rows += [_row(address, "", None, problem) for address, problem in read.rejected]
        return {"block": read.block.number, "operators": sorted(rows, key=lambda row: str(row["address"]))}

    facts = network.run(visit)
    if as_json:
        print_facts(facts, as_json=True)
        return
    print_result("\n".join(_line(row) for row in facts["operators"]) or "the operator set is empty")


def _row(address: bytes, socket: str, key: str | None, problem: str | None) -> dict[str, Any]:
    return {
        "address": "0x" + address.hex(),
        "peer_id": _peer_of(socket),
        "socket": socket,
        "curve": "BN254",
        "key": key,
        "problem": problem,
    }


def _line(row: dict[str, Any]) -> str:
    if row["problem"]:
        return f"{row['address']}  {row['problem']}"
    return f"{row['address']}  {row['curve']} {row['key'][:16]}…  {_shown_socket(row['socket'])}"


for _verb in (_register, _deregister, _update_socket, _rotate_peer_key, _allow, _list, _show):
    command.add_command(_verb)
