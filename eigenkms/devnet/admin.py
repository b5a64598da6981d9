"""Give an operator of a devnet ether, and a place on the allow-list.

The accounts that pay and allow are public.

An operator needs both before it can register. This runs in another process than the network's.
"""

from eigenkms.chain.config import ChainConfig
from eigenkms.chain.operator_plan import Plan
from eigenkms.chain.operator_registry import open_registry
from eigenkms.chain.operator_set_source import open_chain
from eigenkms.chain.registration import perform, transfer
from eigenkms.chain.rpc import Rpc
from eigenkms.chain.rpc_values import parse_quantity
from eigenkms.chain.transactions import Sender
from eigenkms.config.presets import DEVNET_CHAIN_ID
from eigenkms.devnet.engines.accounts import AVS_OWNER, DEPLOYER, PRIVATE_KEYS
from eigenkms.errors import InputError
from eigenkms.types import to_hex


def devnet_sender(rpc: Rpc, chain_id: int, private_key: bytes, action: str) -> Sender:
    """Return an account that sends on a devnet alone.

    Raises InputError, which begins with ``action``, for another chain.
    """
    if chain_id != DEVNET_CHAIN_ID:
        raise InputError(
            f"{action} of chain {chain_id}: it is no devnet",
            hint="give the configuration of a devnet, as --config FOLDER/client.toml",
        )
    return Sender(rpc, private_key, DEVNET_CHAIN_ID)


async def fund(config: ChainConfig, account: bytes, wei: int) -> int:
    """Send ether from the account that deployed the contracts, and return the balance.

    ``account`` has 20 bytes, the balance is in wei. Raises ``InputError`` unless the chain is a devnet, and ``ChainError``.
    """
    async with open_chain(config) as chain:
        deployer = devnet_sender(chain.rpc, config.chain_id, PRIVATE_KEYS[DEPLOYER], "fund an account")
        await transfer(deployer, account, wei)
        balance = await chain.rpc.call("eth_getBalance", to_hex(account), "latest")
        return parse_quantity(balance, "balance", bits=256)


async def allow(config: ChainConfig, delegation_manager: bytes, operator: bytes) -> Plan:
    """Put ``operator`` (20 bytes) on the allow-list, unless it is there.

    The list's owner signs. Returns the plan that was carried out. Raises ``InputError`` unless the chain is a devnet, and
    ``ChainError``.
    """
    async with open_registry(config, delegation_manager) as registry:
        key = PRIVATE_KEYS[AVS_OWNER]
        owner = devnet_sender(registry.chain.rpc, config.chain_id, key, "allow an operator")
        plan = await registry.allow(owner.address, operator)
        for call in plan.calls:
            await perform(owner, call)
        return plan
