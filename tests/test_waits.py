"""No test sleeps, and none that starts processes has a near deadline: see ``tests.support.waiting``.

The rules are applied to the source of every module in ``tests``. An example of each thing that they refuse shows that they
would find it.
"""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
NEAR_SECONDS: Final = 30
WAITING: Final = ROOT / "tests" / "support" / "waiting.py"
REAL_PROCESSES: Final = ("e2e", "docs", "examples", "packaging", "devnet", "cli", "storage", "sim")
"""Folders whose tests start processes of their own."""
DEADLINE_CALLS: Final = {"fail_after", "move_on_after", "wait", "join"}
"""Functions whose first argument is a deadline in seconds."""
DEADLINE_NAMES: Final = {"timeout", "seconds", "deadline"}
"""Parameters that are a deadline in seconds."""
ALLOWED: Final = "# deadline of the subject:"
"""Ends the first line of a call whose near deadline is what the test is about; the reason follows."""


def _called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def sleeps(tree: ast.Module) -> Iterator[int]:
    """Yield the lines that sleep."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node) in {"sleep", "sleep_until"}:
            yield node.lineno


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """Return the module's constants by name, those that one statement assigns together too."""
    found: dict[str, ast.expr] = {}
    for statement in tree.body:
        if not isinstance(statement, ast.Assign):
            continue
        for target in statement.targets:
            if isinstance(target, ast.Tuple) and isinstance(statement.value, ast.Tuple):
                pairs = zip(target.elts, statement.value.elts, strict=False)
            else:
                pairs = zip([target], [statement.value], strict=True)
            found |= {name.id: value for name, value in pairs if isinstance(name, ast.Name)}
    return found


def near_deadlines(tree: ast.Module) -> Iterator[int]:
    """Yield the lines with a deadline under ``NEAR_SECONDS``: a number, or a constant of the module."""
    constants = _constants(tree)

    def is_near(node: ast.expr) -> bool:
        value = constants.get(node.id, node) if isinstance(node, ast.Name) else node
        number = value.value if isinstance(value, ast.Constant) else None
        return type(number) in (int, float) and 0 < number < NEAR_SECONDS

    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        given = [each.value for each in node.keywords if each.arg in DEADLINE_NAMES]
        if _called(node) in DEADLINE_CALLS:
            given += node.args[:1]
        if any(map(is_near, given)):
            yield node.lineno


def _modules() -> list[Path]:
    return sorted(path for path in (ROOT / "tests").rglob("*.py") if path != WAITING)


def _found(rule: Callable[[ast.Module], Iterator[int]], paths: list[Path]) -> list[str]:
    places = []
    for path in paths:
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        places += [
            f"{path.relative_to(ROOT)}:{line}"
            for line in rule(ast.parse(text))
            if ALLOWED not in lines[line - 1]
        ]
    return places


def test_no_test_sleeps() -> None:
    """A test waits for an event, for virtual time, or paces a peer by name; all three are in tests/support/waiting.py."""
    assert _found(sleeps, _modules()) == []


def test_no_deadline_of_real_processes_is_near() -> None:
    """A process on a busy machine may need ten times as long as on a quiet one."""
    folders = [ROOT / "tests" / name for name in REAL_PROCESSES]
    paths = [path for path in _modules() if any(path.is_relative_to(folder) for folder in folders)]
    assert len(paths) > len(REAL_PROCESSES)
    assert _found(near_deadlines, paths) == []


@pytest.mark.parametrize(
    "line", ["trio.sleep(0.1)", "await trio.sleep(x)", "time.sleep(1)", "sleep(0)", "trio.sleep_until(5)"]
)
def test_a_sleep_is_found(line: str) -> None:
    """Whatever module it is of, and however long it is."""
    assert list(sleeps(ast.parse(f"async def f():\n    {line}"))) == [2]


@pytest.mark.parametrize(
    "line",
    [
        "trio.fail_after(5)",
        "subprocess.run(x, timeout=10)",
        "net.wait_log(0, 'x', seconds=20.0)",
        "process.wait(2)",
        "thread.join(5)",
        "httpx.get(x, timeout=5)",
        "UP, DOWN = 60.0, 5.0\nnet.wait(seconds=DOWN)",
    ],
)
def test_a_near_deadline_is_found(line: str) -> None:
    """As an argument of what waits, by place or by name."""
    assert len(list(near_deadlines(ast.parse(line)))) == 1


@pytest.mark.parametrize(
    "line",
    [
        "trio.fail_after(PATIENCE)",
        "subprocess.run(x, timeout=60)",
        "', '.join(x)",
        "f(timeout=None)",
        "process.wait()",
    ],
)
def test_a_far_deadline_is_allowed(line: str) -> None:
    """As is a named one, and what is no deadline at all."""
    assert list(near_deadlines(ast.parse(line))) == []
