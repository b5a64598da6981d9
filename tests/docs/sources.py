"""The sentences that the program can say, read from its source: f-strings and logging formats with ``…`` for what varies."""

import ast
import re
from collections.abc import Iterator

from tests.docs.pages import ROOT

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
