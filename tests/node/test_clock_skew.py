"""A node warns of a clock that cannot be right."""

import time
from pathlib import Path

import pytest

from eigenkms.node.clock_skew import CLOCK_SECONDS, warn_if_behind
from tests.node.monitor.test_metrics import value
from tests.support.fake_network import FakeNetwork, block_at
from tests.support.log_events import events
from tests.support.nodes import a_node


@pytest.mark.parametrize(
    ("early", "warned"), [(-3600, False), (0, False), (CLOCK_SECONDS, False), (3600, True)]
)
def test_a_block_from_the_future_is_told(
    early: float, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """With how far; any other block may be an old one."""
    block = block_at(7)
    assert warn_if_behind(block, block.timestamp - early) == max(0, early)
    assert events(caplog, "clock") == [{"event": "clock", "block": 7, "early": 3600}] * warned


async def test_a_node_looks_at_its_start(
    network: FakeNetwork, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Before it says anything to anybody."""
    network.chain.number = round((time.time() + 86_400 - block_at(0).timestamp) / 12)
    with a_node(network, 0, tmp_path) as node:
        await node.check_registration()
        assert 3600 < value(node.services.metrics.exposition(), "eigenkms_clock_behind_seconds") <= 86_412
    assert events(caplog, "clock")
