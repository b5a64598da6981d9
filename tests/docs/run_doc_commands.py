"""A page followed word by word: every command in its console blocks is run in a shell, and what it prints is what the page says.

Each terminal of a page is a shell, all in one folder that stands in for a clone: its ``scripts/bootstrap`` and ``.venv`` lead to
the Python that runs the tests, as if the page's first command had installed it. All else is as a newcomer has it.

Output is compared loosely: the page's lines must come in their order, others may stand between them; ``…`` is anything; numbers of
two and more digits, hashes, peer ids and the reader's home are others each time.
"""

import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from queue import Empty, Queue

import pytest

from tests.support.doc_pages import ROOT, Block, page
from tests.support.forker import forker
from tests.support.waiting import PATIENCE

STAYS = re.compile(r"\beigenkms (devnet up|node) ")
"""Commands that run until Ctrl-C; the last line that the page shows says that they are ready."""
PAUSE = re.compile(r"sleep \d+")
_MARK = "<<<exit "
START_SECONDS = 1.0
"""CPU time that a node's modules take to be imported."""


@dataclass(frozen=True)
class Step:
    """A command and what the page says that it prints; ``^C`` is the key."""

    terminal: int
    command: str
    output: tuple[str, ...]
    line: int


def steps(blocks: list[Block]) -> Iterator[Step]:
    """The page's commands in order, with their further lines after ``>``. Every console block must say which terminal it is for."""
    for block in blocks:
        if block.language != "console":
            continue
        found = re.fullmatch(r"<!-- terminal (\d) -->", block.mark)
        assert found, f"the block in line {block.line} names no terminal"
        parts = re.split(r"^(?:\$ (.*)|(\^C))\n", block.text, flags=re.MULTILINE)
        assert not parts[0], f"line {block.line}: output before any command"
        for typed, key, rest in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
            lines = rest.splitlines()
            more = [line.removeprefix("> ") for line in takewhile(lambda line: line.startswith("> "), lines)]
            yield Step(int(found[1]), "\n".join([typed or key, *more]), tuple(lines[len(more) :]), block.line)


def pattern(line: str) -> "re.Pattern[str]":
    """What a line of the page stands for."""
    words = []
    for word in line.split():
        parts = re.split(r"(…|/home/you\S*|16Uiu2HA\w+|0x[0-9a-f]+|\b[0-9a-f]{8,}\b|\b\d[\d.]+\b)", word)
        words.append("".join(r".*" if index % 2 else re.escape(part) for index, part in enumerate(parts)))
    return re.compile(r"\s+".join(words))


def missing_line(wanted: tuple[str, ...], printed: list[str]) -> str | None:
    """The first line of ``wanted`` that does not come in its place, or None."""
    rest = iter(printed)
    for line in wanted:
        if line.strip() != "…" and not any(pattern(line).fullmatch(said.strip()) for said in rest):
            return line
    return None


class Terminal:
    """A shell. ``finish`` waits for its prompt, ``until_line`` for a line that it prints; ``interrupt`` is Ctrl-C."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._typed = ""
        self._lines: Queue[str] = Queue()
        self._kept: deque[str] = deque()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))

    def type(self, command: str) -> None:
        """The command, then a mark with its exit code, which stays in ``$?``. It reads no input of ours."""
        assert self._process.stdin is not None
        self._typed = command
        text = f"{{ {command}\n}} </dev/null; code=$?; printf '\\n{_MARK}%s\\n' $code; (exit $code)\n"
        self._process.stdin.write(text)
        self._process.stdin.flush()

    def until_line(self, line: str) -> list[str]:
        """What is printed up to and with what ``line`` of a page stands for."""
        wanted = pattern(line)
        printed: list[str] = []
        while not (printed and wanted.fullmatch(printed[-1].strip())):
            if printed and printed[-1].startswith(_MARK):
                pytest.fail("it ended:\n" + "\n".join(printed))
            printed.append(self._next_line(line, printed))
        return printed

    def wait_for(self, line: str) -> None:
        """Wait until it has printed what ``line`` of a page stands for. What it prints is kept for the next reader."""
        self._kept.extend(self.until_line(line))

    def finish(self) -> tuple[int, list[str]]:
        """Exit code and output of the command that was typed."""
        printed: list[str] = []
        while not (printed and printed[-1].startswith(_MARK)):
            printed.append(self._next_line("end", printed))
        *output, last = printed
        return int(last.removeprefix(_MARK)), output

    def _next_line(self, wanted: str, printed: list[str]) -> str:
        """Each line has the whole deadline: a network that is slow prints what it does."""
        if self._kept:
            return self._kept.popleft()
        try:
            return self._lines.get(timeout=PATIENCE)
        except Empty:
            pytest.fail(
                f"{self._typed}: no {wanted!r}, and nothing for {PATIENCE:g} s:\n" + "\n".join(printed)
            )

    def interrupt(self) -> None:
        """Ctrl-C goes to what runs in the foreground, if anything does; the shell itself stays."""
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self._process.pid)],
            capture_output=True,
            text=True,
            check=False,
        )
        for pid in children.stdout.split():
            with suppress(ProcessLookupError):  # it may have ended meanwhile
                os.kill(int(pid), signal.SIGINT)

    def close(self) -> None:
        assert self._process.stdin is not None
        self.interrupt()
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()


def make_clone(folder: Path) -> Path:
    """A folder that looks like a clone in which the first command has been run."""
    scripts = {
        "scripts/bootstrap": "#!/bin/sh\n",
        ".venv/bin/activate": 'PATH="$PWD/.venv/bin:$PATH"\n',
    }
    for name, text in scripts.items():
        _write_script(folder / name, text)
    return folder


def _write_script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@contextmanager
def installed_command(clone: Path) -> Iterator[None]:
    """The clone's command. It is forked from a process that has imported all, unless it stays until Ctrl-C."""
    with forker() as address:
        forked = f"{sys.executable} -I -S {ROOT / 'tests/support/forked_command.py'} {address}"
        itself = f"{sys.executable} -m eigenkms.cli.main"
        text = f"""#!/bin/sh
case "$1 $2" in
"devnet up" | "node "*) exec {itself} "$@" ;;
*) exec {forked} "$@" ;;
esac
"""
        _write_script(clone / ".venv/bin/eigenkms", text)
        yield


@contextmanager
def terminals(clone: Path, home: Path, numbers: tuple[int, ...]) -> Iterator[dict[int, Terminal]]:
    """Shells, by the number that the page calls them."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EIGENKMS_")}
    environment |= {"HOME": str(home), "PYTHONUNBUFFERED": "1", **slow_settings()}
    with installed_command(clone):
        opened = {number: Terminal(clone, environment) for number in numbers}
        try:
            yield opened
        finally:
            for terminal in opened.values():
                terminal.close()


def slow_settings() -> dict[str, str]:
    """What a reader with a slow machine would set: longer intervals, windows and timeouts. Nothing where it is fast.

    The pages' networks have boundaries by time, and operators that cannot end a session in an interval never end one.
    """
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import eigenkms.node.app"], check=True)
    slower = math.ceil((time.perf_counter() - begun) / START_SECONDS)
    if slower < 3:
        return {}
    return {
        "EIGENKMS_DEVNET_INTERVAL_BLOCKS": str(10 * slower),
        "EIGENKMS_DEVNET_WINDOW_SECONDS": str(slower),
        "EIGENKMS_TIMEOUT": str(30 * slower),
    }


Meanwhile = Callable[[Step], None]


def follow_page(name: str, shells: Mapping[int, Terminal], after: Meanwhile = lambda _step: None) -> int:
    """Each command succeeds, unless the page asks for its exit code next; each prints what the page shows.

    ``after`` is called after each. The number of commands.
    """
    todo = list(steps(page(name).blocks))
    for step, following in zip(todo, [*todo[1:], None], strict=True):
        code, printed = follow(step, shells[step.terminal])
        missing = missing_line(step.output, printed)
        assert missing is None, f"line {step.line}: {step.command}: no {missing!r} in:\n" + "\n".join(printed)
        expects_code = following is not None and following.command == "echo $?"
        assert code == 0 or expects_code, f"line {step.line}: {step.command}: exit code {code}\n" + "\n".join(
            printed
        )
        after(step)
    return len(todo)


def follow(step: Step, terminal: Terminal) -> tuple[int, list[str]]:
    """Do one step; exit code and output. A pause is left out: ``after`` waits for the event that the page pauses for."""
    if PAUSE.fullmatch(step.command):
        return 0, []
    if step.command == "^C":
        terminal.interrupt()
        return terminal.finish()
    terminal.type(step.command)
    if STAYS.search(step.command):
        return 0, terminal.until_line(step.output[-1])
    return terminal.finish()
