"""libp2p is imported once, with its own warnings set aside."""

import warnings

import pytest

from tests.client.village import Village, make_village

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import libp2p
    import libp2p.pubsub.gossipsub  # noqa: F401


@pytest.fixture
def village() -> Village:
    """Four operators, threshold three, one version at block 100."""
    return make_village()
