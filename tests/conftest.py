"""What all tests share: the virtual clock."""

import pytest

from tests.support.waiting import run_in_virtual_time, virtual_clock

__all__ = ["virtual_clock"]


@pytest.hookimpl(trylast=True)  # pytest-trio has marked what is asynchronous
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run a test under the virtual clock if it uses that fixture in any way; pytest-trio looks at its parameters alone."""
    for item in items:
        used = "virtual_clock" in getattr(item, "fixturenames", ())
        if used and item.get_closest_marker("trio") and not item.get_closest_marker("real_time"):
            item.add_marker(pytest.mark.trio(run=run_in_virtual_time), append=False)
