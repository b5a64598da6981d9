"""Give all tests the virtual clock, the curves, and the tools that a machine may lack."""

import signal
from collections.abc import Iterator

import hypothesis
import pytest

from tests.support.curves import real_curves, toy_curves
from tests.support.tools import require, summary
from tests.support.waiting import run_in_virtual_time, virtual_clock

__all__ = ["real_curves", "toy_curves", "virtual_clock"]


def pytest_configure() -> None:
    """Take signals again that this run inherited as ignored: a shell script starts what it runs in the background without SIGINT,
    and nohup without SIGHUP. Children inherit that, and the commands under test respect it.

    No example of a property has a deadline: a machine may be slow.
    """
    hypothesis.settings.register_profile("patient", deadline=None)
    hypothesis.settings.load_profile("patient")
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Mark what starts a chain, before marks are selected; then give tests with the virtual clock that clock.

    pytest-trio, which has marked what is asynchronous by then, looks for a clock among a test's parameters alone.
    """
    for item in items:
        if "background" in getattr(item, "fixturenames", ()):
            item.add_marker("engine")
    yield
    for item in items:
        runs_in_trio = item.get_closest_marker("trio") and not item.get_closest_marker("real_time")
        if runs_in_trio and "virtual_clock" in getattr(item, "fixturenames", ()):
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
