"""The own peer record of a node: its sequence ascends."""

from pathlib import Path

import pytest

from eigenkms.node.network.own_record import next_sequence
from tests.support.fake_network import FakeNetwork
from tests.support.nodes import a_node


async def test_records_have_ascending_numbers_though_the_clock_goes_back(
    network: FakeNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over restarts; and after a clock that was days ahead, in which nobody believed, they are of the time again."""
    now = 1_800_000_000_000
    found = []
    for clock in (now, now - 60_000, now - 60_000, now + 10**9, now + 1000):
        monkeypatch.setattr(
            "eigenkms.node.network.own_record.time.time_ns", lambda clock=clock: clock * 10**6
        )
        with a_node(network, 0, tmp_path) as node:
            found.append(next_sequence(node.backing.store))
    assert found == [now, now + 1, now + 2, now + 10**9, now + 1000]
