"""One network of four operators for all tests that do not break it for good; libp2p's own warnings are set aside."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from eigenkms.chain import rpc, rpc_pool
from eigenkms.client import network_status
from tests.e2e.attested import Attested, attested_network
from tests.support.live_network import LiveNetwork, live_network
from tests.support.waiting import PATIENCE

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import libp2p
    import libp2p.pubsub.gossipsub  # noqa: F401


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A request that is cancelled leaves a generator of httpx unread, which trio tells of; nothing is lost by it."""
    ignored = pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning")
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(ignored)


@pytest.fixture(scope="package", autouse=True)
def _time_for_answers() -> Iterator[None]:
    """In this process, which makes networks and runs commands, no call to a chain or operator that is there runs out of time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rpc_pool, "DEADLINE_SECONDS", PATIENCE)
        patch.setitem(rpc.JsonRpc.__init__.__kwdefaults__, "deadline", PATIENCE)
        patch.setattr(network_status, "ANSWER_SECONDS", PATIENCE)
        yield


@pytest.fixture(scope="package")
def shared_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNetwork]:
    """Four operators with a master key; the fourth was not there when the others first were."""
    with live_network(tmp_path_factory.mktemp("network") / "net") as live:
        live.start_all([0, 1, 2])
        absent = live.name(3)
        live.wait_log(
            0, f"ended without a certificate no_key={absent} no_hash={absent}"
        )  # and of nobody else
        live.start(3)
        live.genesis()
        yield live


@pytest.fixture(scope="package")
def attested(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attested]:
    """Three operators with the policy attested and the HTTP API."""
    with attested_network(tmp_path_factory.mktemp("attested")) as found:
        yield found


@pytest.fixture
def net(shared_network: LiveNetwork) -> LiveNetwork:
    """The network, whole and as its files say, whatever the test before did."""
    shared_network.mend()
    return shared_network
