"""The project file declares each distribution that the code imports, and no other."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions
from typing import Final

from tests.support.doc_pages import ROOT

PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())
TOOLS: Final = {
    *("coverage", "import-linter", "mkdocs", "mypy", "pytest-cov", "pytest-timeout", "pytest-trio"),
    *("pytest-xdist", "ruff", "towncrier"),
}
"""Development tools that run as a command or as a plugin."""
AHEAD: Final = {"web3"}
"""Distributions that the package is to use and does not import yet."""


def _names(requirements: Iterable[str]) -> set[str]:
    """Return the normalised names of distributions in ``requirements``."""
    return {re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", each)[0]).lower() for each in requirements}


def _modules(folder: str) -> Iterator[str]:
    """Yield the top-level modules that the files below ``folder`` import."""
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0]


def _imported(*folders: str) -> set[str]:
    """Return the distributions that the files below ``folders`` import."""
    owners = packages_distributions()
    modules = {module for folder in folders for module in _modules(folder)} - sys.stdlib_module_names
    return _names(owner for module in modules for owner in owners.get(module, [])) - {"eigenkms"}


def _declared() -> set[str]:
    """Return the distributions that ``eigenkms`` and its extra need."""
    project = PROJECT["project"]
    return _names([*project["dependencies"], *project["optional-dependencies"]["devnet"]])


def test_the_package_declares_what_it_imports() -> None:
    """No import rests on what another distribution happens to bring; no declared distribution is unused, but ``AHEAD``."""
    assert _imported("eigenkms") == _declared() - AHEAD


def test_development_tools_are_declared_and_used() -> None:
    """Tests, benchmarks and examples import the package's distributions and those of the group ``dev``."""
    dev = _names(PROJECT["dependency-groups"]["dev"])
    imported = _imported("tests", "benchmarks", "examples") - _declared()
    assert imported == dev - TOOLS
