"""Deploy the contracts of a development chain, with one set of BN254 keys."""

from typing import Final

from eth_abi.abi import encode

from eigenkms.chain import abi
from eigenkms.chain.config import Deployment
from eigenkms.chain.contracts import artefact
from eigenkms.chain.rpc import JsonRpc
from eigenkms.chain.rpc_values import parse_quantity
from eigenkms.chain.transactions import Sender
from eigenkms.errors import ChainError
from eigenkms.types import to_hex

__all__ = ["Deployment", "deploy_contracts"]

GAS_CONTRACT: Final = 5_000_000
GAS_SETUP: Final = 400_000
DEALLOCATION_DELAY_BLOCKS: Final = 50


async def deploy_contracts(
    rpc: JsonRpc,
    deployer_key: bytes,
    avs_owner_key: bytes,
    *,
    operator_set_id: int = 0,
    deallocation_delay: int = DEALLOCATION_DELAY_BLOCKS,
    curve_type: int = abi.CURVE_BN254,
) -> Deployment:
    """Deploy and wire everything.

    The AVS is the account of ``avs_owner_key``, which also owns the allow-list and confirms the releases of applications.

    Both accounts need ether. ``deallocation_delay`` is in blocks: how long an operator that left stays slashable.
    Raises ChainError.
    """
    chain_id = parse_quantity(await rpc.call("eth_chainId"), "chain id")
    deployer, avs = Sender(rpc, deployer_key, chain_id), Sender(rpc, avs_owner_key, chain_id)
    delegation = await _create(deployer, "DelegationManager")
    allocation = await _create(
        deployer, "AllocationManager", ("address", delegation), ("uint32", deallocation_delay)
    )
    keys = await _create(deployer, "KeyRegistrar", ("address", allocation))
    registrar = await _create(
        deployer,
        "EigenKMSRegistrar",
        ("address", allocation),
        ("address", keys),
        ("address", avs.address),
        ("address", avs.address),
        ("(uint32,string)", (operator_set_id, "")),
    )
    applications = await _create(deployer, "AppController", ("address", avs.address))
    contracts = Deployment(
        allocation,
        delegation,
        keys,
        registrar,
        applications,
        avs.address,
        chain_id,
        operator_set_id,
    )
    await _set_up(avs, contracts, curve_type)
    return contracts


async def _create(deployer: Sender, name: str, *arguments: tuple[str, object]) -> bytes:
    types, values = [kind for kind, _ in arguments], [value for _, value in arguments]
    creation = artefact(name).bytecode + encode(types, values)
    receipt = await deployer.send(f"deploy {name}", None, creation, gas=GAS_CONTRACT)
    if receipt.contract is None:
        raise ChainError(f"deploy {name}: transaction {to_hex(receipt.transaction_hash)} made no contract")
    return receipt.contract


async def _set_up(avs: Sender, contracts: Deployment, curve_type: int) -> None:
    manager, number = contracts.allocation_manager, contracts.operator_set_id
    steps: list[tuple[str, bytes, bytes]] = [
        ("publish the AVS metadata", manager, abi.UPDATE_AVS_METADATA_URI.encode(avs.address, "")),
        ("set the registrar", manager, abi.SET_AVS_REGISTRAR.encode(avs.address, contracts.registrar)),
        ("create the operator set", manager, abi.CREATE_OPERATOR_SETS.encode(avs.address, [(number, [])])),
    ]
    configure = abi.CONFIGURE_OPERATOR_SET.encode((avs.address, number), curve_type)
    if curve_type:
        steps.append(("choose the key curve", contracts.key_registrar, configure))
    for what, to, data in steps:
        await avs.send(what, to, data, gas=GAS_SETUP)
