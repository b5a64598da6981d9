"""What a page may quote, read from the source: sentences that the program can say, with ``…`` for what varies, and tests."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from tests.support.doc_pages import ROOT

FEWEST_CHARACTERS = 10
"""Of a sentence that is told apart from others."""

_FORMAT = re.compile(r"%[-\d.]*[sdrgx]")


def _text(node: ast.AST) -> str | None:
    """A string expression as a sentence; None for what is not one."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _FORMAT.sub("…", node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "…" for part in node.values)
    return None


def sentences() -> Iterator[str]:
    """Every string of the package and of the scripts."""
    for path in sorted((ROOT / "eigenkms").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (text := _text(node)) is not None:
                yield re.sub("…+", "…", text.replace("0x…", "…"))
    bootstrap = (ROOT / "scripts" / "bootstrap").read_text(encoding="utf-8")
    yield from re.findall(r'echo "(?:error: )?([^"]*)"', re.sub(r"\$\([^)]*\)|\$\{[^}]*\}", "…", bootstrap))


def can_say(quoted: str, said: list[str]) -> bool:
    """Whether one of the sentences in ``said`` fits ``quoted``, in which ``…`` stands for anything, on either side."""
    wanted = f"…{quoted}…"
    return any(
        fits(wanted, sentence) or fits(sentence, quoted)
        for sentence in said
        if len(sentence.replace("…", "")) >= FEWEST_CHARACTERS
    )


def fits(pattern: str, text: str) -> bool:
    """Whether ``text`` is ``pattern`` with each ``…`` replaced by something; linear, as the first place is as good as any."""
    first, *middle = pattern.split("…")
    if not middle:
        return pattern == text
    last = middle.pop()
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


_NAMED_TEST = re.compile(r"`([\w/]+\.py)::(\w+)(?:\[([^\]]+)\])?`")


@dataclass(frozen=True)
class NamedTest:
    """A test as a page names it: a file under ``tests/``, a function, and a case where there are several."""

    file: str
    function: str
    case: str

    @property
    def exists(self) -> bool:
        """Whether the file defines the function, and holds the case's name as a string."""
        functions, strings = _contents(self.file)
        return self.function in functions and (not self.case or self.case in strings)


def named_tests(cell: str) -> list[NamedTest]:
    """The tests that a cell of a table names."""
    return [NamedTest(*found) for found in _NAMED_TEST.findall(cell)]


@lru_cache
def _contents(file: str) -> tuple[frozenset[str], frozenset[str]]:
    """Names of functions and string constants in a file under ``tests/``; none if there is no such file."""
    path = ROOT / "tests" / file
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8")))) if path.is_file() else []
    functions = {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
    strings = {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return frozenset(functions), frozenset(strings)
