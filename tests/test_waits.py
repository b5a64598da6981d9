"""No test sleeps, times the machine, or has a near deadline in real time: see ``tests.support.waiting``.

The rules are applied to the source of every module in ``tests``. An example of each thing that they refuse shows that they
would find it. A module may have near deadlines, and compare times of its loop, if its tests take a virtual clock.
"""

import ast
import dataclasses
import itertools
import operator
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from eigenkms.p2p.limits import Limits
from tests.support.hosts import NEVER, PATIENT
from tests.support.waiting import PATIENCE

ROOT: Final = Path(__file__).parents[1]
NEAR_SECONDS: Final = 30
WAITING: Final = ROOT / "tests" / "support" / "waiting.py"
SLEEPS: Final = {"sleep", "sleep_until"}
VIRTUAL: Final = ("virtual_clock", "autojump_clock", "MockClock", "tests/p2p/")
"""Words of a module whose tests take a virtual clock, and the folder in which all do."""
CLOCKS: Final = {
    f"{name}{unit}"
    for name in ("monotonic", "perf_counter", "process_time", "thread_time")
    for unit in ("", "_ns")
}
"""Functions of the standard library that measure how long something takes."""
MEASURING: Final = {
    "tests/docs/run_doc_commands.py",
    "tests/sim/clock.py",
    "tests/sim/exhaustive/walk.py",
    "tests/sim/node.py",
    "tests/sim/run.py",
    "tests/sim/test_world.py",
    "tests/support/live_network.py",
}
"""Modules that name these for other ends: progress, simulated clocks, unique names, and a reader's settings."""
LOOPS: Final = {"tests/e2e/boundaries.py", "tests/support/local_node.py"}
"""Modules that read the loop's real time, and compare it in no assertion."""
DEADLINE_PLACES: Final = {
    **dict.fromkeys(("fail_after", "move_on_after", "fail_at", "move_on_at", "timeout", "alarm"), 0),
    **dict.fromkeys(("wait", "join", "settimeout", "setdefaulttimeout", "result", "Timeout"), 0),
    **dict.fromkeys(("wait_connected", "create_connection", "wait_for", "acquire"), 1),
    **dict.fromkeys(("select",), 3),
}
"""Functions that take a deadline in seconds by its place."""
NETWORKS: Final = {"network", "world"}
"""Objects whose ``join`` takes operators."""
DEADLINE_NAMES: Final = {"timeout", "seconds", "deadline", "relative_deadline", "within"}
"""Parameters that are a deadline in seconds."""
ENDS_NOTHING: Final = {
    *("dialing.backoff_max", "dialing.backoff_min", "dialing.grace", "dialing.turn"),
    *("handshakes.burst", "handshakes.prefix_burst", "handshakes.prefix_rate", "handshakes.rate"),
    *("connections.close_timeout", "gossip.upkeep"),
}
"""Limits of a host that are rates and pauses, and the time for a goodbye."""
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
    yield from _naming(tree, SLEEPS)
    yield from (node.lineno for node in ast.walk(tree) if isinstance(node, ast.Call) and _has_cushion(node))


def _naming(tree: ast.Module, names: set[str]) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found = [each.name for each in node.names]
        else:
            found = [getattr(node, "attr", None) or getattr(node, "id", None)]
        if not names.isdisjoint(found):
            yield node.lineno


def _has_cushion(call: ast.Call) -> bool:
    """Return whether this is a call of ``wait_all_tasks_blocked`` that lets real time pass."""
    return _called(call) == "wait_all_tasks_blocked" and bool(call.args or call.keywords)


def measures(tree: ast.Module) -> Iterator[int]:
    """Yield the lines that name a clock of the machine, or import one."""
    yield from _naming(tree, CLOCKS)


def loop_times(tree: ast.Module) -> Iterator[int]:
    """Yield the lines that name the time of a loop."""
    yield from _naming(tree, {"current_time"})


def paces(tree: ast.Module) -> Iterator[int]:
    """Yield the lines that pace a peer."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node) == "pace":
            yield node.lineno


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """Return what names are assigned to, anywhere in the module, also if one statement assigns several."""
    found: dict[str, ast.expr] = {"PATIENCE": ast.Constant(PATIENCE)}
    for statement in ast.walk(tree):
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


OPERATIONS: Final[dict[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Mult: operator.mul,
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Div: operator.truediv,
}


def _number(node: ast.expr, constants: dict[str, ast.expr]) -> float | None:
    """Return the value of a number, a constant, or their product, quotient, sum or difference. Now is zero."""
    if isinstance(node, ast.Name):
        value = constants.get(node.id)
        others = {name: each for name, each in constants.items() if name != node.id}
        return None if value is None else _number(value, others)  # without the name: x = 2 * x
    if isinstance(node, ast.Call) and _called(node) == "current_time":
        return 0.0
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
        left, right = _number(node.left, constants), _number(node.right, constants)
        if left is None or right is None:
            return None
        with suppress(ZeroDivisionError):
            return OPERATIONS[type(node.op)](left, right)
    found = node.value if isinstance(node, ast.Constant) else None
    return float(found) if type(found) in (int, float) else None


def near_deadlines(tree: ast.Module) -> Iterator[int]:
    """Yield the lines with a deadline under ``NEAR_SECONDS``, as far as ``_number`` can compute it."""
    constants = _constants(tree)

    def is_near(node: ast.expr) -> bool:
        found = _number(node, constants)
        return found is not None and 0 < found < NEAR_SECONDS

    yield from (node.lineno for node in ast.walk(tree) if any(map(is_near, _deadlines(node))))  # type: ignore[attr-defined]


def _deadlines(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the deadlines in seconds that a node sets: arguments of a call, a scope's attribute, defaults of parameters."""
    if isinstance(node, ast.Call):
        yield from _arguments(node)
    elif isinstance(node, ast.Assign):
        if any(isinstance(target, ast.Attribute) and target.attr == "deadline" for target in node.targets):
            yield node.value
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("test_"):
        places = node.args.posonlyargs + node.args.args
        pairs = [
            *zip(places[len(places) - len(node.args.defaults) :], node.args.defaults, strict=True),
            *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True),
        ]
        yield from (value for each, value in pairs if each.arg in DEADLINE_NAMES and value is not None)


def _joins_operators(call: ast.Call) -> bool:
    """Return whether operators join a network here, and no thread or process is waited for."""
    return (
        _called(call) == "join"
        and isinstance(call.func, ast.Attribute)
        and ast.unparse(call.func.value) in NETWORKS
    )


def _arguments(call: ast.Call) -> Iterator[ast.expr]:
    """Yield the arguments of a call that are deadlines, by their names or their places, and of a command line."""
    yield from (each.value for each in call.keywords if each.arg in DEADLINE_NAMES)
    place = DEADLINE_PLACES.get(_called(call))
    if place is not None and not _joins_operators(call):
        yield from call.args[place : place + 1]
    words = [each.value if isinstance(each, ast.Constant) else None for each in call.args]
    values = [value for word, value in itertools.pairwise(words) if word == "--timeout"]
    values += [
        word.partition("=")[2] for word in words if isinstance(word, str) and word.startswith("--timeout=")
    ]
    for value in values:
        with suppress(TypeError, ValueError):  # another word, which the command is to refuse
            yield ast.Constant(float(value))  # type: ignore[arg-type]


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


def _real_modules() -> list[Path]:
    """Return the modules whose tests run in the machine's time."""
    return [
        path
        for path in _modules()
        if not any(
            word in f"{path.relative_to(ROOT)}\n{path.read_text(encoding='utf-8')}" for word in VIRTUAL
        )
    ]


@pytest.mark.slow
def test_no_deadline_in_real_time_is_near() -> None:
    """A process on a busy machine may need ten times as long as on a quiet one."""
    assert len(_real_modules()) > len(_modules()) // 2
    assert _found(near_deadlines, _real_modules()) == []


@pytest.mark.slow
def test_no_test_times_the_machine() -> None:
    """A test of time takes a virtual clock, in which a comparison is exact."""
    assert {place.rpartition(":")[0] for place in _found(measures, _modules())} == MEASURING
    assert {place.rpartition(":")[0] for place in _found(loop_times, _real_modules())} == LOOPS


def test_patient_hosts_have_no_near_deadline() -> None:
    """A new limit in seconds is put off in ``PATIENT``, or is added to those that end nothing."""
    found = {
        f"{part.name}.{each.name}"
        for part in dataclasses.fields(Limits)
        for each in dataclasses.fields(getattr(PATIENT, part.name))
        if isinstance(value := getattr(getattr(PATIENT, part.name), each.name), float) and value != NEVER
    }
    assert found == ENDS_NOTHING


@pytest.mark.parametrize(
    "line",
    [
        *("trio.sleep(0.1)", "await trio.sleep(x)", "time.sleep(1)", "sleep(0)", "trio.sleep_until(5)"),
        *("nursery.start_soon(trio.sleep, 1)", "partial(time.sleep, 1)()", "from time import sleep as nap"),
        *("await trio.testing.wait_all_tasks_blocked(0.1)", "await wait_all_tasks_blocked(cushion=1)"),
    ],
)
def test_a_sleep_is_found(line: str) -> None:
    """Whatever module it is of, and however long it is."""
    assert list(sleeps(ast.parse(f"async def f():\n    {line}"))) == [2]


@pytest.mark.parametrize(
    "line",
    ["time.monotonic() - begun < 1", "from time import perf_counter", "clock = time.process_time_ns"],
)
def test_a_measurement_is_found(line: str) -> None:
    """As a call, an import, or a function that is handed on."""
    assert list(measures(ast.parse(line))) == [1]


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
        "eigenkms('decrypt', '--timeout=8')",
        "trio.move_on_at(trio.current_time() + 1)",
        "trio.CancelScope(relative_deadline=1)",
        "trio.CancelScope(deadline=trio.current_time() + 1)",
        "scope.deadline = trio.current_time() + 1",
        "asyncio.timeout(5)",
        "asyncio.wait_for(x, 5)",
        "select.select([x], [], [], 5)",
        "lock.acquire(True, 5)",
        "signal.alarm(5)",
        "@pytest.mark.timeout(5)\ndef test_x(): ...",
        "process.wait(PATIENCE / 100)",
        "process.wait(60 - 55)",
        "def f():\n    soon = 5\n    process.wait(soon)",
        "def wait_for_it(x, timeout=5): ...",
        "def wait_for_it(x, *, seconds=5): ...",
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
        "scope.deadline = trio.current_time() + PATIENCE",
        "x = 2 * x\nprocess.wait(x)",
    ],
)
def test_a_far_deadline_is_allowed(line: str) -> None:
    """As is a named one, and what is no deadline at all."""
    assert list(near_deadlines(ast.parse(line))) == []
