"""Give the tests of nodes a network, an issuer of tokens, and operators that wait for slow machines."""

from pathlib import Path

import pytest

from tests.node.town import Town
from tests.support.node_fixtures import authority, issuer, network
from tests.support.waiting import PATIENCE

__all__ = ["authority", "issuer", "network"]


@pytest.fixture(autouse=True)
def _patient_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node gives up no call to another operator because the machine is slow."""
    from eigenkms.node.monitor import canary
    from eigenkms.node.network import dealing_fetcher, operator_network, version_sync

    monkeypatch.setattr(canary, "ANSWER_SECONDS", PATIENCE)
    monkeypatch.setattr(dealing_fetcher, "FETCH_SECONDS", PATIENCE)
    monkeypatch.setattr(operator_network, "CALL_SECONDS", PATIENCE)
    monkeypatch.setattr(version_sync, "QUERY_SECONDS", PATIENCE)


@pytest.fixture
def town(toy_curves: None, tmp_path: Path) -> Town:
    """Four operators over toy curves, with stores in ``tmp_path``."""
    return Town(4, tmp_path)
