"""Programs that some tests run and a machine may lack: who needs which, and how to get it.

A test asks for its tool here. Without the tool the test is skipped, and the end of the run prints once what is missing and
what installs it. ``EIGENKMS_REQUIRE_TOOLS=1`` makes each of those skips a failure; the gate sets it.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import pytest

from eigenkms.devnet.engines.launch import find_anvil
from eigenkms.errors import InputError
from tests.support.browser import find_browser
from tests.support.doc_pages import ROOT

_APT: Final = "sudo apt-get install"
_NPM: Final = "(cd contracts && npm ci)"
_REASON: Final = "this machine lacks "


@dataclass(frozen=True)
class Tool:
    """A program: its name, the Debian package that has it (else npm installs it), and how to find it."""

    name: str
    package: str | None
    find: Callable[[], str | None]

    @property
    def is_there(self) -> bool:
        return self.find() is not None


def _anvil() -> str | None:
    try:
        return str(find_anvil())
    except InputError:
        return None


def _solc() -> str | None:
    compiler = ROOT / "contracts" / "node_modules" / "solc"
    return str(compiler) if shutil.which("node") and compiler.is_dir() else None


def _of_debian(name: str, package: str) -> Tool:
    return Tool(name, package, lambda: shutil.which(name))


ANVIL: Final = Tool("anvil", None, _anvil)
SOLC: Final = Tool("solc", None, _solc)
CHROMIUM: Final = Tool("chromium", "chromium", find_browser)
TOOLS: Final = {
    tool.name: tool
    for tool in (
        *(ANVIL, SOLC, CHROMIUM),
        *(_of_debian(name, "prometheus") for name in ("prometheus", "promtool")),
        *(_of_debian(name, name) for name in ("mandoc", "groff", "zsh", "fish")),
        _of_debian("systemd-analyze", "systemd"),
    )
}


def require(tool: Tool | str) -> str:
    """Return the path of a tool; skip the test without it, or fail it if EIGENKMS_REQUIRE_TOOLS is 1."""
    wanted = TOOLS[tool] if isinstance(tool, str) else tool
    found = wanted.find()
    if found is not None:
        return found
    if os.environ.get("EIGENKMS_REQUIRE_TOOLS") == "1":
        pytest.fail(f"{_REASON}{wanted.name}, and EIGENKMS_REQUIRE_TOOLS is 1")
    pytest.skip(f"{_REASON}{wanted.name}")


def require_engine(name: str) -> None:
    """Skip or fail a test whose chain engine is missing; the embedded one is always there."""
    if name in TOOLS:
        require(name)


def summary(reasons: Iterable[str]) -> list[str]:
    """Return at most three lines about the tests that were skipped for ``reasons``; none if no tool was missing."""
    missing = Counter(reason.split(_REASON)[1] for reason in reasons if _REASON in reason)
    if not missing:
        return []
    lines = [f"{sum(missing.values())} tests were skipped because tools are missing:"]
    for command, by_npm in ((_NPM, True), (_APT, False)):
        tools = [TOOLS[name] for name in sorted(missing) if (TOOLS[name].package is None) == by_npm]
        if tools:
            packages = sorted({tool.package for tool in tools if tool.package})
            counts = ", ".join(f"{tool.name} ({missing[tool.name]})" for tool in tools)
            lines.append(f"  {counts}: {' '.join((command, *packages))}")
    return lines
