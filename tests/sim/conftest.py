"""Protocol tests run the unchanged machines over toy curves, so that a ceremony takes milliseconds."""

from collections.abc import Iterator

import pytest

from tests.support.toy_backend import toy_crypto


@pytest.fixture(autouse=True)
def _toy_curves() -> Iterator[None]:
    with toy_crypto():
        yield
