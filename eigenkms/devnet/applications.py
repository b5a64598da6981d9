"""Make and change applications on the chain of a devnet.

``eigenkms devnet app`` does it, in another process than the network's. The creator of an application signs with a key of its own.
The app controller's coordinator is the account of the devnet's AVS, whose key is public. An account without ether gets some, since
here it costs nothing.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from eigenkms.applications import Application, AppRelease
from eigenkms.chain.applications import ChainApplications
from eigenkms.chain.config import ChainConfig, Finality
from eigenkms.chain.operator_set_source import OperatorSetSource, open_chain
from eigenkms.chain.registration import transfer
from eigenkms.chain.rpc_values import parse_quantity
from eigenkms.chain.transactions import Sender
from eigenkms.crypto.app_ids import address_of
from eigenkms.devnet import app_publishing
from eigenkms.devnet.admin import devnet_sender
from eigenkms.devnet.engines.accounts import AVS_OWNER, DEPLOYER, PRIVATE_KEYS
from eigenkms.errors import InputError
from eigenkms.types import AppId, to_hex

LEAST_WEI: Final = 10**18
GIFT_WEI: Final = 10 * 10**18


@dataclass(frozen=True)
class ApplicationAdmin:
    """The place where applications of one devnet are changed and shown.

    ``controller`` is the address of its contract.
    """

    chain: OperatorSetSource = field(repr=False)
    controller: bytes

    async def create(self, creator_key: bytes, release: AppRelease | None) -> Application:
        """Return a new application, started if it has a release.

        Raises ``ChainError``, ``UnusableReleaseError``.
        """
        creator = await self._creator(creator_key)
        return await self.show(
            AppId(to_hex(await app_publishing.create_app(creator, self.controller, release)))
        )

    async def release(self, app_id: AppId, creator_key: bytes, release: AppRelease) -> Application:
        """Publish a release, and confirm it.

        Raises ``InputError`` for an id that cannot be one, and as ``create``.
        """
        creator, app = await self._creator(creator_key), _address(app_id)
        await app_publishing.publish_release(creator, self.controller, app, release)
        await app_publishing.confirm_release(self._sender(PRIVATE_KEYS[AVS_OWNER]), self.controller, app)
        return await self.show(app_id)

    async def change(self, app_id: AppId, creator_key: bytes | None, change: str) -> Application:
        """Change the status, as its creator or, without a key, as the coordinator.

        Raises as ``release``.
        """
        app = _address(app_id)
        sender = self._sender(PRIVATE_KEYS[AVS_OWNER])
        if creator_key is not None:
            sender = await self._creator(creator_key)
        await app_publishing.change_status(sender, self.controller, app, change)
        return await self.show(app_id)

    async def show(self, app_id: AppId) -> Application:
        """Return the application as the chain has it now.

        Raises ``InputError`` if there is no such application, and as ``Applications.lookup``.
        """
        _address(app_id)
        found = await ChainApplications(self.chain, self.controller).lookup(app_id)
        if found is None:
            raise InputError(
                f"show application {app_id}: the chain knows no such application",
                hint="give the id that create printed, for the same network",
            )
        return found

    def _sender(self, key: bytes) -> Sender:
        return devnet_sender(self.chain.rpc, self.chain.config.chain_id, key, "change applications")

    async def _creator(self, key: bytes) -> Sender:
        """Return the account of a private key (32 bytes), with ether."""
        creator = self._sender(key)
        balance = await self.chain.rpc.call("eth_getBalance", to_hex(creator.address), "latest")
        if parse_quantity(balance, "balance", bits=256) < LEAST_WEI:
            await transfer(self._sender(PRIVATE_KEYS[DEPLOYER]), creator.address, GIFT_WEI)
        return creator


@asynccontextmanager
async def open_admin(config: ChainConfig) -> AsyncIterator[ApplicationAdmin]:
    """Connect, and read at the latest block.

    Raises ``InputError`` if ``config`` names no app controller, ``ChainError`` if it does not fit the chain.
    """
    if config.app_controller is None:
        raise InputError(
            "look up applications: the contract that knows them is not configured",
            hint="give the configuration of a devnet, as --config FOLDER/client.toml",
        )
    async with open_chain(replace(config, finality=Finality("latest"))) as chain:
        yield ApplicationAdmin(chain, config.app_controller)


def _address(app_id: AppId) -> bytes:
    address = address_of(app_id)
    if address is None:
        raise InputError(
            f"read application id {app_id[:60]!r}: it is not the address of an application",
            hint="give 0x and 40 hex digits",
        )
    return address
