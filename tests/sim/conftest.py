"""Protocol tests run the unchanged machines over toy curves, so that a ceremony takes milliseconds."""

import pytest


@pytest.fixture(autouse=True)
def _curves(toy_curves: None) -> None:
    """Give every test of this folder toy curves."""
