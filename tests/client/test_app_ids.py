"""The library makes one application of all spellings of its address, and keeps the one that is meant."""

from dataclasses import replace
from pathlib import Path

import pytest

from eigenkms.applications import Application, AppRelease, AppStatus, ContainerPolicy
from eigenkms.client import sync
from eigenkms.client.api import encrypt, encrypt_stream
from eigenkms.client.cluster_info import ClusterInfo
from eigenkms.client.known_clusters import KnownClusters
from eigenkms.client.settings import ClientSettings
from eigenkms.errors import InputError
from eigenkms.types import AppId, ExactAppId
from tests.support.fake_network import (
    CLUSTER,
    FakeNetwork,
    Honest,
    make_network,
    network_client,
    operator_hosts,
)

SPELLED = AppId("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")
LOWER = AppId(SPELLED.lower())
WRONG = AppId("0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")
SECRET = b'{"API_KEY": "s3cret"}'


@pytest.fixture(scope="module")
def network() -> FakeNetwork:
    return make_network()


class Register:
    """An application under its canonical id, with a sealed environment."""

    def __init__(self, sealed: bytes) -> None:
        self._release = AppRelease(b"\x0d" * 32, "", ContainerPolicy(), b"{}", sealed)

    async def lookup(self, app_id: AppId) -> Application | None:
        assert app_id.lower() == LOWER
        return Application(app_id, b"\x0c" * 20, AppStatus.STARTED, self._release)


async def test_every_door_takes_every_spelling(network: FakeNetwork, tmp_path: Path) -> None:
    """Encrypt, decrypt, the key and the secrets; the operators are asked for the canonical id."""
    cluster = ClusterInfo(CLUSTER, network.epoch)
    sealed = encrypt(cluster, AppId(SPELLED.upper()), SECRET)
    async with (
        operator_hosts(network, [Honest(network)] * 4),
        network_client(network, tmp_path / "known", applications=Register(sealed)) as client,
    ):
        for each in (SPELLED, LOWER):
            assert await client.decrypt(each, sealed) == SECRET
            assert (await client.application_key(each)).owner.app_id == LOWER
            assert dict(await client.fetch_secrets(each)) == {"API_KEY": "s3cret"}
        assert cluster.recipient(SPELLED).app_id == LOWER


async def test_a_spelling_that_is_meant_is_kept(network: FakeNetwork, tmp_path: Path) -> None:
    """What was encrypted under it is opened under it, a release's environment included."""
    exact = ExactAppId(SPELLED)
    sealed = encrypt(ClusterInfo(CLUSTER, network.epoch), exact, SECRET)
    async with (
        operator_hosts(network, [Honest(network)] * 4),
        network_client(network, tmp_path / "known", applications=Register(sealed)) as client,
    ):
        assert await client.decrypt(exact, sealed) == SECRET
        assert dict(await client.fetch_secrets(exact)) == {"API_KEY": "s3cret"}
        with pytest.raises(Exception, match="the key does not open this ciphertext"):
            await client.decrypt(LOWER, sealed)


async def test_a_wrong_checksum_costs_no_request(
    network: FakeNetwork, tmp_path: Path, settings: ClientSettings
) -> None:
    """At every door."""
    cluster = ClusterInfo(CLUSTER, network.epoch)
    KnownClusters(settings.known_clusters_path).pin(CLUSTER, cluster.mpk)
    async with network_client(network, tmp_path / "known") as client:
        with pytest.raises(InputError, match="checksum"):
            await client.application_key(WRONG)
        with pytest.raises(InputError, match="checksum"):
            await client.fetch_secrets(WRONG)
    for door in (
        lambda: encrypt(cluster, WRONG, SECRET),
        lambda: encrypt(cluster, ExactAppId(WRONG), SECRET),
        lambda: encrypt_stream(cluster, WRONG, None, None),  # type: ignore[arg-type] # neither is used
        lambda: sync.encrypt(settings, WRONG, SECRET),
    ):
        with pytest.raises(InputError, match="checksum"):
            door()


@pytest.fixture
async def settings(network: FakeNetwork, tmp_path: Path) -> ClientSettings:
    """A client's, with a file of its own."""
    async with network_client(network, tmp_path / "unused") as client:
        return replace(client._settings, known_clusters_path=tmp_path / "pinned")
