"""Fixtures that choose the curves of a test; the root conftest registers them."""

from collections.abc import Iterator

import pytest

from eigenkms.crypto import backends
from tests.support.toy_backend import toy_crypto


@pytest.fixture
def toy_curves() -> Iterator[None]:
    """Compute on toy groups: a ceremony takes milliseconds."""
    with toy_crypto():
        yield


@pytest.fixture
def real_curves() -> Iterator[None]:
    """Compute on the real curves, also in a folder whose tests use toy groups."""
    with backends.use("native"):
        yield
