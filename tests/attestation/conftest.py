"""One authority a run: its certificates take a moment."""

import pytest

from eigenkms.attestation import jwks
from tests.support.token_issuer import Authority, make_authority
from tests.support.waiting import PATIENCE


@pytest.fixture(autouse=True)
def far_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the issuer's answer from being late because the machine is busy."""
    monkeypatch.setattr(jwks, "FETCH_SECONDS", PATIENCE)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))
