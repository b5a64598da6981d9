"""Toy curves, real hosts; no call is given up because the machine is slow."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from eigenkms.node.v2 import fetching, links, sources
from tests.node.v2.town import Town
from tests.support.toy_backend import toy_crypto
from tests.support.waiting import PATIENCE


@pytest.fixture(autouse=True)
def _toy_curves(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.node.get_closest_marker("real_curves"):
        yield
        return
    with toy_crypto():
        yield


@pytest.fixture(autouse=True)
def _patient_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "CALL_SECONDS", PATIENCE)
    monkeypatch.setattr(fetching, "FETCH_SECONDS", PATIENCE)
    monkeypatch.setattr(sources, "ASK_SECONDS", PATIENCE)


@pytest.fixture
def town(tmp_path: Path) -> Town:
    """Four operators whose stores are in ``tmp_path``."""
    return Town(4, tmp_path)
