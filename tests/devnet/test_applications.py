"""Applications of a devnet, changed from outside: on a real chain with its contracts, without any operator."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from eigenkms.applications import AppRelease, AppStatus, ContainerPolicy
from eigenkms.chain.config import ChainConfig, Finality
from eigenkms.chain.rpc import JsonRpc
from eigenkms.crypto.app_ids import checksummed
from eigenkms.devnet.applications import open_admin
from eigenkms.devnet.contract_deployment import deploy_contracts
from eigenkms.devnet.engines import open_engine
from eigenkms.errors import InputError
from eigenkms.types import AppId

POOR_KEY, OTHER_KEY = b"\x21" * 32, b"\x22" * 32
RELEASE = AppRelease(b"\x5a" * 32, "", ContainerPolicy(), b"{}", b"")


@asynccontextmanager
async def chain(tmp_path: Path, chain_id: int = 31337) -> AsyncIterator[ChainConfig]:
    """An embedded chain with contracts, as a careful reader is configured for it."""
    async with (
        open_engine("embedded", block_time=0, chain_id=chain_id, log_path=tmp_path / "log") as engine,
        JsonRpc(engine.url) as rpc,
    ):
        contracts = await deploy_contracts(rpc, engine.accounts[0], engine.accounts[1])
        yield contracts.config(engine.url, Finality("latest", 5))


@pytest.mark.slow
async def test_an_application_is_made_and_changed(tmp_path: Path) -> None:
    """By a creator that had no ether; each change is shown as of the latest block, whatever finality is configured."""
    async with chain(tmp_path) as config, open_admin(config) as admin:
        made = await admin.create(POOR_KEY, None)
        assert (made.status, made.release) == (AppStatus.CREATED, None)
        second = replace(RELEASE, registry="r")
        assert (await admin.release(made.app_id, POOR_KEY, RELEASE)).release == RELEASE
        assert (await admin.change(made.app_id, POOR_KEY, "start")).status is AppStatus.STARTED
        assert (await admin.release(made.app_id, POOR_KEY, second)).release == second
        assert (await admin.change(made.app_id, None, "suspend")).status is AppStatus.SUSPENDED
        mixed = AppId(checksummed(bytes.fromhex(made.app_id[2:])))
        shown = await admin.show(mixed)
        assert (shown.app_id, shown.creator) == (mixed, made.creator)
        other = await admin.create(OTHER_KEY, RELEASE)
        assert (other.status, other.release) == (AppStatus.STARTED, RELEASE)
        assert other.creator != made.creator


@pytest.mark.slow
async def test_what_is_no_application_is_refused(tmp_path: Path) -> None:
    """An id that cannot be one is told from one that the chain does not know.

    A network without app controller has no admin, and the next step is told.
    """
    async with chain(tmp_path) as config, open_admin(config) as admin:
        for act in (
            admin.show(AppId("my-app")),
            admin.release(AppId("0x12"), POOR_KEY, RELEASE),
            admin.change(AppId("0x" + "aB" * 20), POOR_KEY, "stop"),
        ):
            with pytest.raises(InputError, match="it is not the address of an application"):
                await act
        with pytest.raises(InputError, match="the chain knows no such application"):
            await admin.show(AppId("0x" + "12" * 20))
        with pytest.raises(InputError, match="look up applications") as caught:
            async with open_admin(replace(config, app_controller=None)):
                pass
        assert "client.toml" in str(caught.value.hint)


@pytest.mark.slow
async def test_another_chain_is_only_read(tmp_path: Path) -> None:
    """The keys of devnet accounts are public: nothing is signed with them, or for them, elsewhere."""
    async with chain(tmp_path, chain_id=5) as config, open_admin(config) as admin:
        with pytest.raises(InputError, match="change applications of chain 5: it is no devnet"):
            await admin.create(POOR_KEY, RELEASE)
        with pytest.raises(InputError, match="it is no devnet"):
            await admin.change(AppId("0x" + "12" * 20), None, "suspend")
        with pytest.raises(InputError, match="knows no such application"):
            await admin.show(AppId("0x" + "12" * 20))
