"""An operator of the network with policy attested, an attestation service, and applications on chain."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from eigenkms.authorisation.factory import open_authoriser
from eigenkms.authorisation.policy import Policy
from eigenkms.config.node import NodeConfig
from eigenkms.node.http import key_api
from tests.authorisation.test_pipeline import Clock, Register
from tests.support.fake_network import CLUSTER, FakeNetwork
from tests.support.local_node import LocalNode
from tests.support.nodes import a_node, keep_version, make_config
from tests.support.token_issuer import (
    GCP_ISSUER,
    PROJECT,
    Authority,
    Endpoint,
)
from tests.support.waiting import PATIENCE

METHODS = {
    "policy": "attested",
    "attestation_methods": ("gcp", "ecdsa"),
    "attestation_project": PROJECT,
    "attestation_audiences": ("EigenX KMS", "https://sts.googleapis.com"),
    "attestation_gcp_issuer": GCP_ISSUER,
    "attestation_ecdsa_reference": True,
}


@pytest.fixture(autouse=True)
def _far_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer is not given up because the machine is slow."""
    monkeypatch.setattr(key_api, "ANSWER_SECONDS", PATIENCE)


@pytest.fixture
def register() -> Register:
    return Register()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def config(network: FakeNetwork, tmp_path: Path, authority: Authority, issuer: Endpoint) -> NodeConfig:
    """Both ways to attest, in the reference's forms too."""
    return make_config(
        network,
        0,
        tmp_path / "node",
        **METHODS,
        attestation_gcp_keys=issuer.url,
        attestation_ca=authority.ca,
    )


@pytest.fixture
async def node(
    network: FakeNetwork, config: NodeConfig, register: Register, clock: Clock
) -> AsyncIterator[LocalNode]:
    """The first operator's, with its share of the version; not running."""
    keep_version(network, 0, config.data_dir)
    async with open_authoriser(config, CLUSTER, register, clock=clock) as authoriser:
        with a_node(network, 0, config.data_dir, deciding=Policy("attested", authoriser)) as node:
            yield node


@pytest.fixture
def open_node(network: FakeNetwork, tmp_path: Path) -> Iterator[LocalNode]:
    """The first operator's, as in development."""
    keep_version(network, 0, tmp_path / "open")
    with a_node(network, 0, tmp_path / "open", http_app_sign=True) as node:
        yield node
