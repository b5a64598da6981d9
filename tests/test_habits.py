"""Habits of the tests that a program can check: few look inside an object, and each helper is written once.

The rules are applied to the source of every module in ``tests``. An example of each thing that they refuse shows that they
would find it.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parent
MAX_PRIVATE: Final = 100
"""Accesses of private names in all tests. A new one takes the place of another."""
MAY_LOOK_INSIDE: Final = ("sim", "p2p/test_guards.py", "p2p/test_attacks.py")
"""The simulator reads whole states, and the guards are about the inside of libp2p."""
OWN: Final = {"self", "cls", "os"}
"""Names whose private attributes are a module's own business, or public in spite of their names (``os._exit``)."""


def private_accesses(tree: ast.Module) -> Iterator[int]:
    """Yield the lines that read or write a private attribute of another object."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not node.attr.startswith("_") or node.attr.endswith("__"):
            continue
        if not (isinstance(node.value, ast.Name) and node.value.id in OWN):
            yield node.lineno


def _is_fixture(decorator: ast.expr) -> bool:
    return "fixture" in ast.unparse(decorator)


def helpers(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield name and source, without docstring, of each function and class that is neither a test nor a fixture."""
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if node.name.startswith("test_") or any(map(_is_fixture, node.decorator_list)):
            continue
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        yield node.name, ast.unparse(node)


def repeated_helpers(trees: Mapping[str, ast.Module]) -> list[list[str]]:
    """Return the places of each helper that stands word for word in several modules."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path, tree in trees.items():
        for name, source in helpers(tree):
            found[name, source].append(f"{path}: {name}")
    return [places for places in found.values() if len(places) > 1]


def _trees() -> dict[str, ast.Module]:
    paths = sorted(TESTS.rglob("*.py"))
    return {str(path.relative_to(TESTS)): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def test_few_tests_look_inside() -> None:
    """A test that uses what users use survives a change of the inside, and shows what the change breaks."""
    places = [
        f"{path}:{line}"
        for path, tree in _trees().items()
        if not path.startswith(MAY_LOOK_INSIDE)
        for line in private_accesses(tree)
    ]
    assert len(places) <= MAX_PRIVATE, "\n".join(places)


def test_each_helper_is_written_once() -> None:
    """A helper that two modules need lies in tests/support, or in the conftest or support module of its folder."""
    assert repeated_helpers(_trees()) == []


@pytest.mark.parametrize("line", ["node._parts", "a.b._c = 1", "f()._x()", "module._helper(1)"])
def test_an_access_is_found(line: str) -> None:
    """Whether it reads, writes or calls."""
    assert list(private_accesses(ast.parse(line))) == [1]


@pytest.mark.parametrize("line", ["self._x", "cls._x()", "os._exit(1)", "x.__class__", "x.public", "_x"])
def test_an_own_name_is_allowed(line: str) -> None:
    """As are names that Python itself defines."""
    assert not list(private_accesses(ast.parse(line)))


def test_a_repeated_helper_is_found() -> None:
    """Also if its docstrings differ; another body, a fixture and a test are no repetition."""
    one = 'def f(x):\n    """One."""\n    return x + 1\n'
    other = 'def f(x):\n    """Other."""\n    return x + 1\n'
    assert repeated_helpers({"a": ast.parse(one), "b": ast.parse(other)}) == [["a: f", "b: f"]]
    for allowed in (
        "def f(x):\n    return x + 2\n",
        "@pytest.fixture\n" + other,
        other.replace("f(", "test_f("),
    ):
        assert repeated_helpers({"a": ast.parse(one), "b": ast.parse(allowed)}) == []
