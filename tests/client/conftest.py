"""libp2p is imported once, with its own warnings set aside."""

import warnings

import pytest
from trio.testing import MockClock

from eigenkms.attestation import jwks
from eigenkms.client import attesters, evidence, key_recovery, version_discovery
from tests.support.fake_network import FakeNetwork, make_network
from tests.support.waiting import PATIENCE

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import libp2p
    import libp2p.pubsub.gossipsub  # noqa: F401


@pytest.fixture(autouse=True)
def far_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the deadlines of single requests from firing, as a busy machine is slow; and pause for a moment only."""
    monkeypatch.setattr(key_recovery, "BACK_OFF", 0.02)
    monkeypatch.setattr(jwks, "FETCH_SECONDS", PATIENCE)
    monkeypatch.setattr(version_discovery, "ANSWER_SECONDS", PATIENCE)
    monkeypatch.setattr(evidence, "PAGE_SECONDS", PATIENCE)
    monkeypatch.setattr(attesters, "LAUNCHER_SECONDS", PATIENCE)


@pytest.fixture
def clock() -> MockClock:
    """The machine's clock, which a test puts forward when all has happened that comes before a deadline.

    The client verifies in worker threads, so the clock must not stand still.
    """
    return MockClock(rate=1.0)


@pytest.fixture
def network() -> FakeNetwork:
    """Four operators, threshold three, one version at block 100."""
    return make_network()
