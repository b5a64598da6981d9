"""One authority a run: its certificates take a moment."""

import pytest

from tests.attestation.issuer import Authority, make_authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))
