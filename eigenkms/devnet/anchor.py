"""The anchor of a devnet: a second chain that has only the commitment registry.

Its owner is the AVS's. It makes blocks for transactions only, so nodes and clients read its newest block.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eigenkms.chain.anchor import AnchorConfig, deploy_registry, open_anchor, set_member
from eigenkms.chain.config import Deployment
from eigenkms.chain.registration import transfer
from eigenkms.chain.rpc import JsonRpc
from eigenkms.chain.transactions import Sender
from eigenkms.devnet.engines.accounts import AVS_OWNER, DEPLOYER, PRIVATE_KEYS
from eigenkms.devnet.engines.launch import EngineName, open_engine
from eigenkms.errors import InputError
from eigenkms.types import Cluster, ClusterId, OperatorAddress, to_hex

ANCHOR_CHAIN_ID: Final = 31338


@dataclass(frozen=True)
class DevnetAnchor:
    """A registry on a chain of its own that runs."""

    config: AnchorConfig
    owner: Sender

    async def admit(self, operator: OperatorAddress) -> None:
        """Let an operator write. Raises ``ChainError``."""
        await set_member(self.owner, self.config.registry, operator)

    @property
    def settings(self) -> dict[str, object]:
        """By the keys of docs/configuration.md."""
        return {
            "anchor_rpc_url": self.config.rpc_url,
            "anchor_chain_id": self.config.chain_id,
            "anchor_registry": to_hex(self.config.registry),
        }


@asynccontextmanager
async def open_devnet_anchor(
    engine: EngineName, contracts: Deployment, log_path: Path
) -> AsyncIterator[DevnetAnchor]:
    """Start the chain and deploy the registry; both end with the context.

    Raises ``InputError``, ``ChainError``.
    """
    async with (
        open_engine(engine, block_time=0, chain_id=ANCHOR_CHAIN_ID, log_path=log_path) as chain,
        JsonRpc(chain.url) as rpc,
    ):
        owner = Sender(rpc, chain.accounts[AVS_OWNER], ANCHOR_CHAIN_ID)
        cluster = Cluster(contracts.chain_id, contracts.avs, contracts.operator_set_id)
        registry = await deploy_registry(owner, cluster)
        yield DevnetAnchor(AnchorConfig(chain.url, ANCHOR_CHAIN_ID, registry), owner)


async def admit(config: AnchorConfig, cluster: ClusterId, operator: OperatorAddress) -> bool:
    """Put an operator on the list; return False if it was there.

    This runs in another process than the network's. Raises ``InputError`` unless it is a devnet's anchor, and ``ChainError``.
    """
    _require_devnet(config, "admit an operator to the anchor")
    async with open_anchor(config, cluster) as anchor:
        if await anchor.members_among([operator]):
            return False
        owner = Sender(anchor.rpc, PRIVATE_KEYS[AVS_OWNER], config.chain_id)
        await set_member(owner, config.registry, operator)
        return True


async def fund(config: AnchorConfig, account: bytes, wei: int) -> None:
    """Send ether on the anchor's chain, from another process than the network's.

    Raises as ``admit``.
    """
    _require_devnet(config, "fund an account on the anchor's chain")
    async with JsonRpc(config.rpc_url) as rpc:
        await transfer(Sender(rpc, PRIVATE_KEYS[DEPLOYER], config.chain_id), account, wei)


def _require_devnet(config: AnchorConfig, action: str) -> None:
    if config.chain_id != ANCHOR_CHAIN_ID:
        raise InputError(
            f"{action}: chain {config.chain_id} is no devnet's",
            hint="give the configuration of a devnet, as --config FOLDER/client.toml",
        )
