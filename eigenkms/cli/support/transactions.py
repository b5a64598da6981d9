"""Show, confirm and send the plans of ``chain.operator_registry``."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from eigenkms.cli.support import client_runner
from eigenkms.cli.support.accounts import account, fee_terms
from eigenkms.cli.support.options import json_option, print_result_fields
from eigenkms.cli.support.output import print_note, print_result, warn
from eigenkms.errors import InputError
from eigenkms.types import to_hex

if TYPE_CHECKING:
    from eigenkms.chain.operator_plan import Plan, TransactionStep
    from eigenkms.chain.operator_registry import OperatorRegistry
    from eigenkms.chain.registration import Call
    from eigenkms.chain.transactions import Receipt, Sender
    from eigenkms.config.settings import Settings

MakePlan = Callable[["OperatorRegistry", bytes], Awaitable["Plan"]]
"""Of a registry and the account that sends."""


@dataclass(frozen=True)
class SendOptions:
    """How transactions are sent: not at all, unasked, in place of a pending one.

    ``as_json``: how the result is printed.
    """

    dry_run: bool
    yes: bool
    replace_pending: bool
    as_json: bool


def send_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Declare the options of a verb that sends transactions, passed on as ``options``."""

    @wraps(function)
    def wrapped(*, dry_run: bool, yes: bool, replace_pending: bool, as_json: bool, **rest: Any) -> Any:
        return function(options=SendOptions(dry_run, yes, replace_pending, as_json), **rest)

    declared: Callable[..., Any] = json_option(wrapped)
    for option in reversed(
        (
            click.option("--dry-run", is_flag=True, help="Show and simulate the calls; send nothing."),
            click.option("--yes", is_flag=True, help="Send without confirmation."),
            click.option(
                "--replace-pending",
                is_flag=True,
                help="Outbid the account's pending transaction instead of waiting for it.",
            ),
        )
    ):
        declared = option(declared)
    return declared


def run_plan(settings: "Settings", action: str, make: MakePlan, options: SendOptions) -> None:
    """Make the plan, have it confirmed and send it; print the result.

    A dry run shows the plan and sends nothing.
    """
    delegation_manager = settings.require("delegation_manager")
    config = client_runner.client_settings(settings)
    sender_account = account(settings, action)

    async def visit() -> dict[str, Any]:
        from eigenkms.chain.operator_registry import open_registry
        from eigenkms.chain.transactions import Sender

        fees = fee_terms(settings, replace_pending=options.replace_pending)
        async with open_registry(config, delegation_manager) as registry, sender_account.signer() as signer:
            sender = Sender(registry.chain.rpc, signer, config.chain_id, terms=fees)
            if options.dry_run:
                if pending := await sender.pending():
                    print_note(
                        f"{pending} transactions of the account are pending: what they change does not show yet"
                    )
            else:
                await sender.wait_for_pending(action)
            plan = await make(registry, sender.address)
            fee = await registry.fee(plan, fees)
            _warn_of(plan)
            if options.dry_run:
                return _facts(plan, config.chain_id, fee, {}, await _simulated(registry, plan))
            await _confirm(plan, fee, options)
            return _facts(plan, config.chain_id, fee, await _send(sender, plan), None)

    facts = client_runner.run(visit)
    if options.as_json:
        print_result_fields(facts, as_json=True)
    else:
        print_result(*_lines(facts))


def _warn_of(plan: "Plan") -> None:
    """Print the plan's warnings, before a dry run as before it is sent."""
    for text in plan.warnings if plan.calls else ():
        warn(text)


async def _simulated(registry: "OperatorRegistry", plan: "Plan") -> dict[str, str]:
    """Return the result of trying each call, by the name of its step."""
    return {
        step.name: _outcome(await registry.simulate(plan, step.call))
        for step in plan.steps
        if step.call is not None
    }


def _outcome(reason: str | None) -> str:
    if reason is None:
        return "would succeed"
    return f"would be refused: {reason}" if reason else "shows only after the calls before it"


async def _confirm(plan: "Plan", fee: int, options: SendOptions) -> None:
    """Print the transactions of a plan, and ask once whether to send them.

    Raises InputError if there is no terminal to ask at, or the answer is no.
    """
    from eigenkms.chain.rpc_values import format_ether
    from eigenkms.cli.support.prompts import confirm
    from eigenkms.types import to_hex

    for step in plan.steps:
        print_note(f"{step.name}: {step.done or 'to be sent'}")
    if options.yes or not plan.calls:
        return
    cost = format_ether(plan.gas * fee)
    agreed = await confirm(
        f"send {_counted(plan)} from {to_hex(plan.account)}, for at most {cost} ether at the present price of gas?"
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
    from eigenkms.types import to_hex

    receipts = {}
    for step in plan.steps:
        if step.call is not None:
            print_note(f"{step.name}: sending …")
            receipt = receipts[step.name] = await perform(sender, step.call)
            print_note(
                f"{step.name}: in block {receipt.block_number}, transaction {to_hex(receipt.transaction_hash)}"
            )
    return receipts


def _facts(
    plan: "Plan", chain_id: int, fee: int, receipts: dict[str, "Receipt"], simulated: dict[str, str] | None
) -> dict[str, Any]:
    """Return the fields that ``--json`` prints (docs/cli.md, operator)."""
    from eigenkms.types import to_hex

    return {
        "action": plan.action,
        "account": to_hex(plan.account),
        "chain_id": chain_id,
        "sent": simulated is None,
        "steps": [_step_facts(step, fee, receipts.get(step.name), simulated) for step in plan.steps],
        "gas": plan.gas,
        "fee_per_gas_wei": fee,
        "max_cost_wei": plan.gas * fee,
        "notes": list(plan.after),
    }


def _step_facts(
    step: "TransactionStep", fee: int, receipt: "Receipt | None", simulated: dict[str, str] | None
) -> dict[str, Any]:
    from eigenkms.types import to_hex

    facts: dict[str, Any] = {"step": step.name, "skipped": step.done or None}
    if step.call is not None:
        facts |= _call_facts(step.call, fee)
    if simulated and step.name in simulated:
        facts["simulation"] = simulated[step.name]
    if receipt is not None:
        facts |= {
            "transaction": to_hex(receipt.transaction_hash),
            "block": receipt.block_number,
            "gas_used": receipt.gas_used,
        }
    return facts


def _call_facts(call: "Call", fee: int) -> dict[str, Any]:
    from eigenkms.types import to_hex

    return {
        "contract": call.contract,
        "to": to_hex(call.to),
        "function": call.function.signature,
        "arguments": [_plain(argument) for argument in call.arguments],
        "calldata": to_hex(call.data),
        "gas": call.gas,
        "max_cost_wei": call.gas * fee,
    }


def _plain(argument: object) -> Any:
    """Return an argument of a call for JSON: bytes in hex, tuples as lists."""
    if isinstance(argument, bytes):
        return to_hex(argument)
    if isinstance(argument, list | tuple):
        return [_plain(inner) for inner in argument]
    return argument


def _lines(facts: dict[str, Any]) -> list[str]:
    """Return the lines for people; of calls that were not sent, every detail."""
    import json

    from eigenkms.chain.rpc_values import format_ether

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
                f"  gas        at most {step['gas']}, {format_ether(step['max_cost_wei'])} ether",
            ]
    if not facts["sent"]:
        lines.append(
            f"nothing was sent; all of it costs at most {format_ether(facts['max_cost_wei'])} ether at the present price of gas"
        )
    return [*lines, *(facts["notes"] if facts["sent"] else ())]


def check_operator(settings: "Settings", action: str, sender: bytes) -> None:
    """Raise InputError if the settings name another operator than the account."""
    operator: bytes | None = settings.get("operator")
    if operator not in (None, sender):
        assert operator is not None
        raise InputError(
            f"{action}: the account {to_hex(sender)} is not the operator {to_hex(operator)}, and sends for itself alone",
            hint="give the operator's own account; one that the operator appointed to act for it is not supported",
        )
