"""Every test that takes ``backend`` runs on the native libraries and on py_ecc; with ``any_backend``, on
the toy curves too.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from eigenkms.crypto import backends
from tests.support.toy_backend import TOY


@pytest.fixture(params=["native", "py_ecc"])
def backend(request: pytest.FixtureRequest) -> Iterator[backends.Backends]:
    with backends.use(request.param) as chosen:
        yield chosen


@pytest.fixture(params=["native", "py_ecc", "toy"])
def any_backend(request: pytest.FixtureRequest) -> Iterator[backends.Backends]:
    with backends.use(TOY if request.param == "toy" else request.param) as chosen:
        yield chosen


@pytest.fixture(params=["native", "toy"])
def fast_backend(request: pytest.FixtureRequest) -> Iterator[backends.Backends]:
    with backends.use(TOY if request.param == "toy" else request.param) as chosen:
        yield chosen


@pytest.fixture
def folder() -> Path:
    return Path(__file__).parent
