"""What all tests share: the virtual clock, and the tools that a machine may lack."""

import pytest

from tests.support.tools import require, summary
from tests.support.waiting import run_in_virtual_time, virtual_clock

__all__ = ["virtual_clock"]


@pytest.hookimpl(trylast=True)  # pytest-trio has marked what is asynchronous
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run a test under the virtual clock if it uses that fixture in any way; pytest-trio looks at its parameters alone."""
    for item in items:
        used = "virtual_clock" in getattr(item, "fixturenames", ())
        if used and item.get_closest_marker("trio") and not item.get_closest_marker("real_time"):
            item.add_marker(pytest.mark.trio(run=run_in_virtual_time), append=False)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail, a test whose tool is missing."""
    for marker in item.iter_markers("needs"):
        require(*marker.args)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print which tools are missing, how many tests wanted each, and what installs it."""
    skipped = terminalreporter.stats.get("skipped", [])
    lines = summary(report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple))
    if lines:
        terminalreporter.section("missing tools")
        for line in lines:
            terminalreporter.line(line)
