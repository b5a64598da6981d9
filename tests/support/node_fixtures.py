"""Fixtures of tests with operators in this process; a conftest registers those that it imports.

libp2p is imported here once, with its own warnings set aside.
"""

import warnings
from collections.abc import AsyncIterator

import pytest

from tests.support.fake_network import FakeNetwork, make_network
from tests.support.token_issuer import Authority, Endpoint, jwk, jwk_set, make_authority, serve

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
