"""Give the tests of nodes a network, an issuer of tokens, and operators that wait for slow machines."""

from pathlib import Path

import pytest

from tests.node.town import Town
from tests.support.node_fixtures import authority, issuer, network, patient_calls

__all__ = ["authority", "issuer", "network", "patient_calls"]


@pytest.fixture
def town(toy_curves: None, tmp_path: Path) -> Town:
    """Four operators over toy curves, with stores in ``tmp_path``."""
    return Town(4, tmp_path)
