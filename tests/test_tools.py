"""What a run says of the tools that the machine lacks."""

import pytest

from tests.support import tools
from tests.support.tools import TOOLS, Tool, require, summary


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> Tool:
    """A tool that no machine has."""
    monkeypatch.delenv("EIGENKMS_REQUIRE_TOOLS", raising=False)
    tool = Tool("no-such-tool", "no-such-package", lambda: None)
    monkeypatch.setitem(tools.TOOLS, tool.name, tool)
    return tool


def test_a_tool_that_is_there_is_returned() -> None:
    """As the path at which it is."""
    tool = Tool("sh", "dash", lambda: "/bin/sh")
    assert tool.is_there
    assert require(tool) == "/bin/sh"


def test_a_missing_tool_skips_the_test_or_fails_it(lacking: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails only where the environment requires all tools."""
    with pytest.raises(pytest.skip.Exception, match="this machine lacks no-such-tool"):
        require(lacking.name)
    monkeypatch.setenv("EIGENKMS_REQUIRE_TOOLS", "1")
    with pytest.raises(pytest.fail.Exception, match="this machine lacks no-such-tool"):
        require(lacking.name)


def test_the_summary_has_three_lines_at_most() -> None:
    """The number of tests, and for npm and apt each the tools, how many tests wanted them, and the command."""
    reasons = [f"Skipped: this machine lacks {name}" for name in (*TOOLS, "anvil", "mandoc")]
    first, npm, apt = summary([*reasons, "Skipped: another reason"])
    assert first == f"{len(TOOLS) + 2} tests were skipped because tools are missing:"
    assert npm == "  anvil (2), solc (1): (cd contracts && npm ci)"
    assert "mandoc (2), prometheus (1), promtool (1)" in apt
    assert apt.endswith(": sudo apt-get install chromium fish groff mandoc prometheus systemd zsh")


def test_the_summary_is_empty_where_nothing_is_missing() -> None:
    """Skips for other reasons are not its business."""
    assert summary(["Skipped: this machine has no IPv6"]) == []
