"""``eigenkms anchor``: the commitment registry on a second chain.

Its owner deploys it and keeps its list; anybody may read it.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from eigenkms.cli.support import client_runner
from eigenkms.cli.support.accounts import ACCOUNT_OPTIONS, account, checked_address, fee_terms
from eigenkms.cli.support.options import json_option, print_result_fields, settings_options, verb
from eigenkms.cli.support.passwords import has_terminal
from eigenkms.config.presets import DEVNET_CHAIN_ID
from eigenkms.config.schema import CHAIN_SETTINGS, READER_SETTINGS
from eigenkms.errors import InputError
from eigenkms.printable import printable
from eigenkms.types import to_hex

if TYPE_CHECKING:
    from eigenkms.chain.anchor import AnchorConfig
    from eigenkms.chain.transactions import Terms
    from eigenkms.config.settings import Settings

_CLUSTER = ("environment", "chain_id", "avs", "operator_set_id")
_ADDRESS = "0x4cb01831bc29ec91c2033fbd8da3c04e020f4b27"
_YES = click.option("--yes", is_flag=True, help="Send without confirmation.")


@click.group("anchor")
def command() -> None:
    """Manage the commitment registry on a second chain.

    The registry's owner deploys it and keeps the list of operators that may write into it.
    """


def _configured(settings: "Settings") -> "AnchorConfig":
    found = client_runner.anchor(settings)
    if found is None:
        raise InputError(
            "ask the anchor: none is configured",
            hint="set anchor_rpc_url, anchor_chain_id and anchor_registry",
        )
    return found


def _confirm(question: str, *, yes: bool) -> None:
    """Raise InputError if nobody can be asked, or the answer is no."""
    if yes:
        return
    if not has_terminal():
        raise InputError(
            f"{question}: it is not confirmed, and there is no terminal to ask at", hint="give --yes"
        )
    if not click.confirm(printable(f"{question}?"), err=True):
        raise InputError(f"{question}: not confirmed, nothing was sent")


def _terms(settings: "Settings", chain_id: int) -> "Terms":
    """Return the terms of transactions on the anchor's chain.

    They differ from those on the operator set's chain in the estimate of gas alone.
    """
    from eigenkms.devnet.anchor import ANCHOR_CHAIN_ID

    return replace(fee_terms(settings), estimate=chain_id not in (ANCHOR_CHAIN_ID, DEVNET_CHAIN_ID))


@verb("deploy", "eigenkms anchor deploy --config owner.toml")
@settings_options(*_CLUSTER, "anchor_rpc_url", "anchor_chain_id", *ACCOUNT_OPTIONS)
@_YES
@json_option
def _deploy(*, settings: "Settings", yes: bool, as_json: bool) -> None:
    """Deploy a commitment registry for the cluster.

    The account that sends the transaction owns the registry and keeps its list of operators.
    """
    from eigenkms.chain.anchor import deploy_registry
    from eigenkms.chain.rpc import JsonRpc
    from eigenkms.chain.transactions import Sender
    from eigenkms.types import Cluster

    cluster = Cluster(settings.require("chain_id"), settings.require("avs"), settings.get("operator_set_id"))
    url, chain_id = settings.require("anchor_rpc_url"), settings.require("anchor_chain_id")
    owner = account(settings, "deploy a commitment registry")
    _confirm(f"deploy a commitment registry on chain {chain_id} as {to_hex(owner.address)}", yes=yes)

    async def deploy() -> bytes:
        async with JsonRpc(url) as rpc, owner.signer() as signer:
            sender = Sender(rpc, signer, chain_id, terms=_terms(settings, chain_id))
            return await deploy_registry(sender, cluster)

    registry = client_runner.run(deploy)
    facts = {"registry": to_hex(registry), "owner": to_hex(owner.address), "chain_id": chain_id}
    print_result_fields(facts, as_json=as_json)


@verb("allow", f"eigenkms anchor allow {_ADDRESS} --config owner.toml")
@click.argument("address")
@settings_options(*CHAIN_SETTINGS, *READER_SETTINGS, *ACCOUNT_OPTIONS)
@click.option("--remove", is_flag=True, help="Remove the operator from the list; its entries stay.")
@_YES
@json_option
def _allow(*, address: str, settings: "Settings", remove: bool, yes: bool, as_json: bool) -> None:
    """Let an operator write into the registry, as its owner."""
    from eigenkms.chain.anchor import open_anchor, set_member
    from eigenkms.chain.transactions import Sender
    from eigenkms.types import OperatorAddress

    operator, config = OperatorAddress(checked_address(address)), _configured(settings)
    cluster = _cluster(settings)
    owner = account(settings, "change the registry's list")
    listed = "off" if remove else "on"
    _confirm(f"put {to_hex(operator)} {listed} the registry's list, as {to_hex(owner.address)}", yes=yes)

    async def change() -> bool:
        async with open_anchor(config, cluster) as anchor, owner.signer() as signer:
            if bool(await anchor.members_among([operator])) is not remove:
                return False
            sender = Sender(anchor.rpc, signer, config.chain_id, terms=_terms(settings, config.chain_id))
            await set_member(sender, config.registry, operator, member=not remove)
            return True

    sent = client_runner.run(change)
    print_result_fields({"address": to_hex(operator), "member": not remove, "sent": sent}, as_json=as_json)


def _cluster(settings: "Settings") -> Any:
    found = client_runner.cluster(settings)
    if found is None:
        settings.require("chain_id")
        settings.require("avs")
    return found


@verb("show", "eigenkms anchor show --config node.toml")
@settings_options(*CHAIN_SETTINGS, *READER_SETTINGS)
@json_option
def _show(*, settings: "Settings", as_json: bool) -> None:
    """Show the registry and which operators may write into it."""
    config, chain_config = _configured(settings), client_runner.client_settings(settings)

    async def look() -> dict[str, Any]:
        from eigenkms.chain.anchor import open_anchor
        from eigenkms.chain.operator_set_source import open_chain
        from eigenkms.wire.session import cluster_id

        async with (
            open_chain(chain_config) as chain,
            open_anchor(config, cluster_id(chain_config.cluster)) as anchor,
        ):
            operators = (await chain.operators_at(await chain.head())).operator_set.addresses
            members = await anchor.members_among(operators)
            return {
                "registry": to_hex(config.registry),
                "chain_id": config.chain_id,
                "owner": to_hex(await anchor.owner()),
                "entries": await anchor.submissions(),
                "members": [to_hex(each) for each in operators if each in members],
                "missing": [to_hex(each) for each in operators if each not in members],
            }

    print_result_fields(client_runner.run(look), as_json=as_json)


for _verb in (_deploy, _allow, _show):
    command.add_command(_verb)
