"""No test sleeps, and none that starts processes has a near deadline: see ``tests.support.waiting``.

The rules are applied to the source of every module in ``tests``. An example of each thing that they refuse shows that they
would find it.
"""

import ast
import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
NEAR_SECONDS: Final = 30
WAITING: Final = ROOT / "tests" / "support" / "waiting.py"
SLEEPS: Final = {"sleep", "sleep_until"}
REAL_PROCESSES: Final = (
    "e2e",
    "docs",
    "examples",
    "packaging",
    "devnet",
    "cli",
    "storage",
    "sim",
    "support/live_network.py",
)
"""Folders whose tests start processes, and the helper that starts them."""
DEADLINE_PLACES: Final = {
    **dict.fromkeys(("fail_after", "move_on_after", "wait", "join", "settimeout", "result", "Timeout"), 0),
    **dict.fromkeys(("wait_connected", "create_connection"), 1),
}
"""Functions that take a deadline in seconds by its place."""
DEADLINE_NAMES: Final = {"timeout", "seconds", "deadline", "within"}
"""Parameters that are a deadline in seconds."""
PACED: Final = {
    "tests/chain/test_rpc.py",
    "tests/node/engines.py",
    "tests/node/http/test_floods.py",
    "tests/node/http/test_server.py",
    "tests/node/network/test_ping.py",
}
"""Modules in which a test slows a peer that it plays."""
ALLOWED: Final = "# deadline of the subject:"
"""Ends the first line of a call whose near deadline is what the test is about; the reason follows."""


def _called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def sleeps(tree: ast.Module) -> Iterator[int]:
    """Yield the lines that name a sleep: a call, a function that is handed on, or an import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names = [each.name for each in node.names]
        else:
            names = [getattr(node, "attr", None) or getattr(node, "id", None)]
        if not SLEEPS.isdisjoint(names):
            yield node.lineno


def paces(tree: ast.Module) -> Iterator[int]:
    """Yield the lines that pace a peer."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node) == "pace":
            yield node.lineno


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """Return the module's constants by name, those that one statement assigns together too."""
    found: dict[str, ast.expr] = {}
    for statement in tree.body:
        if isinstance(statement, ast.AnnAssign) and statement.value is not None:
            pairs = [(statement.target, statement.value)]
        elif not isinstance(statement, ast.Assign):
            continue
        else:
            pairs = []
            for target in statement.targets:
                if isinstance(target, ast.Tuple) and isinstance(statement.value, ast.Tuple):
                    pairs += zip(target.elts, statement.value.elts, strict=False)
                else:
                    pairs.append((target, statement.value))
        found |= {target.id: value for target, value in pairs if isinstance(target, ast.Name)}
    return found


def near_deadlines(tree: ast.Module) -> Iterator[int]:
    """Yield the lines with a deadline under ``NEAR_SECONDS``: numbers, their products and sums, and constants of the module."""
    constants = _constants(tree)

    def number(node: ast.expr) -> float | None:
        value = constants.get(node.id, node) if isinstance(node, ast.Name) else node
        if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Mult | ast.Add):
            sides = number(value.left), number(value.right)
            if None in sides:
                return None
            return sides[0] * sides[1] if isinstance(value.op, ast.Mult) else sides[0] + sides[1]  # type: ignore[operator]
        found = value.value if isinstance(value, ast.Constant) else None
        return float(found) if type(found) in (int, float) else None

    def is_near(node: ast.expr) -> bool:
        found = number(node)
        return found is not None and 0 < found < NEAR_SECONDS

    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and any(map(is_near, _deadlines(node))):
            yield node.lineno


def _deadlines(call: ast.Call) -> Iterator[ast.expr]:
    """Yield the arguments of a call that are deadlines in seconds, by their names or their places."""
    yield from (each.value for each in call.keywords if each.arg in DEADLINE_NAMES)
    place = DEADLINE_PLACES.get(_called(call))
    if place is not None:
        yield from call.args[place : place + 1]
    for word, value in itertools.pairwise(call.args):
        if isinstance(word, ast.Constant) and word.value == "--timeout" and isinstance(value, ast.Constant):
            with suppress(ValueError):  # another word, which the command is to refuse
                yield ast.Constant(float(value.value))  # type: ignore[arg-type]


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


@pytest.mark.slow
def test_no_test_sleeps() -> None:
    """A test waits for an event, for virtual time, or paces a peer by name; all three are in tests/support/waiting.py."""
    assert _found(sleeps, _modules()) == []


@pytest.mark.slow
def test_a_peer_is_paced_in_known_places_only() -> None:
    """``pace`` is no way round the first rule: a new place is added here, with a look at what its verdict depends on."""
    found = {place.rpartition(":")[0] for place in _found(paces, _modules())}
    assert found == PACED


def test_no_deadline_of_real_processes_is_near() -> None:
    """A process on a busy machine may need ten times as long as on a quiet one."""
    folders = [ROOT / "tests" / name for name in REAL_PROCESSES]
    paths = [path for path in _modules() if any(path.is_relative_to(folder) for folder in folders)]
    assert len(paths) > len(REAL_PROCESSES)
    assert _found(near_deadlines, paths) == []


@pytest.mark.parametrize(
    "line",
    [
        *("trio.sleep(0.1)", "await trio.sleep(x)", "time.sleep(1)", "sleep(0)", "trio.sleep_until(5)"),
        *("nursery.start_soon(trio.sleep, 1)", "partial(time.sleep, 1)()", "from time import sleep as nap"),
    ],
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
        "DOWN: Final = 5.0\nnet.wait(seconds=DOWN)",
        "trio.fail_after(2 * 5)",
        "future.result(5)",
        "sock.settimeout(5)",
        "eigenkms('decrypt', '--timeout', '8')",
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
