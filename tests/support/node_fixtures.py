"""Fixtures of tests with operators in this process; a conftest registers those that it imports.

libp2p is imported here once, with its own warnings set aside.
"""

import warnings
from collections.abc import AsyncIterator

import pytest

from tests.support.fake_network import FakeNetwork, make_network
from tests.support.token_issuer import Authority, Endpoint, jwk, jwk_set, make_authority, serve
from tests.support.waiting import PATIENCE

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import libp2p
    import libp2p.pubsub.gossipsub  # noqa: F401


@pytest.fixture
def network() -> FakeNetwork:
    """Four operators, threshold three, one version at block 100."""
    return make_network()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
async def issuer(authority: Authority) -> AsyncIterator[Endpoint]:
    """An issuer of tokens that serves one key."""
    async with serve(authority, Endpoint(body=jwk_set(jwk("k1")))) as endpoint:
        yield endpoint


@pytest.fixture(autouse=True)
def patient_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node gives up no call to another operator, and none to the issuer, because the machine is slow."""
    from eigenkms.attestation import jwks
    from eigenkms.node.monitor import canary
    from eigenkms.node.network import dealing_fetcher, operator_network, version_sync

    monkeypatch.setattr(jwks, "FETCH_SECONDS", PATIENCE)
    monkeypatch.setattr(canary, "ANSWER_SECONDS", PATIENCE)
    monkeypatch.setattr(dealing_fetcher, "FETCH_SECONDS", PATIENCE)
    monkeypatch.setattr(operator_network, "CALL_SECONDS", PATIENCE)
    monkeypatch.setattr(version_sync, "QUERY_SECONDS", PATIENCE)
