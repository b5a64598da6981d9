"""Report docstrings, comments and pages that break a mechanical rule of style.

Python files are read for docstrings, for strings that stand as statements of their own, and for comments. Their text is
cut into paragraphs, in which inline code counts as one word. The rules on the form of a docstring are ruff's (D205,
D401); the lint step holds the others. The rules here are those that ruff lacks:

- ``semicolons``: more than one semicolon in a paragraph
- ``subject``: a sentence whose subject is a free relative (*Whoever*, *What*, *Where* …)
- ``summary``: the first line of a docstring is longer than 80 characters
- ``verb``: the docstring of a function begins with no verb in the imperative, in the ways that D401 does not see
- ``words``: a sentence of more than 25 words; shown for paths that are named, and never counted by the gate
"""

import ast
import io
import json
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from scripts.checks.ratchet import ROOT, Finding, run

MAX_SUMMARY: Final = 80
MAX_WORDS: Final = 25
RUFF_RULES: Final = "D205,D401"

_CODE: Final = re.compile(r"``[^`]*``|`[^`]*`")
_SENTENCE_END: Final = re.compile(r"(?<=[.!?:])\s+(?=[A-Z*\"“])")
_SUBJECT: Final = re.compile(
    r"(whoever|whatever|whichever|wherever|what|who|whose|where|all that|that which)\b", re.IGNORECASE
)
_CLAUSE: Final = re.compile(r";\s+")
_ITEM: Final = re.compile(r"\s*([-*+]|\d+\.)\s+|\s*\|")
_DIRECTIVE: Final = re.compile(r"#\s*(!|noqa|type:|pragma|ruff:|mypy:|fmt:|deadline of the subject:)")
_FENCE: Final = re.compile(r"^```.*?^```$|<!--.*?-->", re.MULTILINE | re.DOTALL)
_NO_VERB: Final = re.compile(
    r"(a|an|the|this|that|these|those|it|its|what|which|who|whoever|whose|whether|where|when|how|why|if|one|two|each|every|all|any"
    r"|no|nothing|none|nobody|some|for|from|in|of|on|to|as|at|by|with|without|is|are|was|has)$"
)
"""Words that open a noun phrase or a clause, and no command."""
_SINGULAR: Final = re.compile(r"^[a-z]+[^s']s$")
"""A plural noun, or a verb in the third person: *bytes*, *returns*; and not *pass* or *process*."""
_PROPERTIES: Final = ("property", "cached_property", "setter", "overload", "fixture")

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | Function


@dataclass(frozen=True)
class Paragraph:
    """Text with nothing between its lines, and the line of the file that it begins on."""

    line: int
    text: str

    @property
    def sentences(self) -> list[str]:
        """The sentences, in which inline code is one word."""
        return _SENTENCE_END.split(_CODE.sub("X", " ".join(self.text.split())))


def paragraphs(text: str, line: int) -> Iterator[Paragraph]:
    """Cut ``text`` at empty lines, items and rows, and leave out its literal blocks."""
    begin, lines, literal = line, list[str](), False
    for number, each in enumerate([*text.splitlines(), ""], line):
        literal = literal and (not each.strip() or each.startswith("    "))
        if lines and (not each.strip() or _ITEM.match(each)):
            yield Paragraph(begin, "\n".join(lines))
            literal, lines = lines[-1].rstrip().endswith("::"), []
        if each.strip() and not literal:
            begin, lines = (begin, lines) if lines else (number, [])
            lines.append(_ITEM.sub("", each))


def strings(tree: ast.Module) -> Iterator[Paragraph]:
    """Yield the paragraphs of docstrings and of other strings that stand alone."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            first, *rest = node.value.value.splitlines() or [""]
            rest = _without_margin(rest)
            yield from paragraphs("\n".join([first.lstrip(), *rest]), node.lineno)


def _without_margin(lines: list[str]) -> list[str]:
    margin = min((len(each) - len(each.lstrip()) for each in lines if each.strip()), default=0)
    return [each[margin:] for each in lines]


def comments(source: str) -> Iterator[Paragraph]:
    """Yield the comments; those on adjacent lines in one column are one paragraph."""
    begin, column, end, lines = 0, 0, 0, list[str]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or _DIRECTIVE.match(token.string):
            continue
        if lines and token.start != (end + 1, column):
            yield from paragraphs("\n".join(lines), begin)
            lines = []
        (end, column), begin = token.start, begin if lines else token.start[0]
        lines.append(token.string.lstrip("#").strip())
    yield from paragraphs("\n".join(lines), begin)


def markdown(text: str) -> Iterator[Paragraph]:
    """Yield the paragraphs of a page, without its code, headings and tables."""
    plain = _FENCE.sub(lambda found: "\n" * found[0].count("\n"), text)
    kept = ("" if line.startswith(("#", "|")) else line.lstrip() for line in plain.splitlines())
    return paragraphs("\n".join(kept), 1)


def _free_relatives(paragraph: Paragraph) -> Iterator[str]:
    clauses = (
        clause for each in paragraph.sentences if not each.endswith("?") for clause in _CLAUSE.split(each)
    )
    return (clause for clause in clauses if _SUBJECT.match(clause.lstrip('*("“')))


def in_prose(paragraph: Paragraph) -> Iterator[tuple[str, str]]:
    """Yield the rules that a paragraph breaks, each with its problem."""
    semicolons = _CODE.sub("", paragraph.text).count(";")
    if semicolons > 1:
        yield "semicolons", f"{semicolons} semicolons in a paragraph"
    for clause in _free_relatives(paragraph):
        yield "subject", f"the subject is a free relative: {' '.join(clause.split()[:6])} …"
    for sentence in paragraph.sentences:
        if (words := len(sentence.split())) > MAX_WORDS:
            yield "words", f"{words} words in a sentence"


def _first_word(function: Function) -> str:
    found = re.match(r"[A-Za-z']+", ast.get_docstring(function) or "")
    return found[0].lower() if found else ""


def _is_command(function: Function) -> bool:
    word = _first_word(function)
    return bool(word) and not _NO_VERB.match(word) and not _SINGULAR.match(word)


def _wants_verb(function: Function) -> bool:
    decorators = [ast.unparse(each).partition("(")[0].rpartition(".")[2] for each in function.decorator_list]
    return not function.name.startswith("test_") and not set(decorators) & set(_PROPERTIES)


def in_docstrings(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Yield line, rule and problem of docstrings, for what ruff has no rule of."""
    for node in ast.walk(tree):
        if not isinstance(node, Documented) or not (text := ast.get_docstring(node)):
            continue
        line, first = node.body[0].lineno, text.splitlines()[0]
        if len(first) > MAX_SUMMARY:
            yield line, "summary", f"the first line has {len(first)} characters, more than {MAX_SUMMARY}"
        if isinstance(node, Function) and _wants_verb(node) and not _is_command(node):
            yield (
                line,
                "verb",
                f"the docstring of a function begins with {first.split()[0]!r}, which is no command",
            )


def in_file(path: Path) -> Iterator[Finding]:
    """Yield the findings in one file."""
    make, source = partial(Finding, path), (ROOT / path).read_text(encoding="utf-8")
    if path.suffix == ".md":
        found = list(markdown(source))
    else:
        tree = ast.parse(source)
        found = [*strings(tree), *comments(source)]
        yield from (make(*each) for each in in_docstrings(tree))
    yield from (make(each.line, rule, problem) for each in found for rule, problem in in_prose(each))


def by_ruff(paths: Iterable[Path]) -> Iterator[Finding]:
    """Yield ruff's findings on the form of docstrings."""
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--select",
        RUFF_RULES,
        "--output-format",
        "json",
        "--exit-zero",
    ]
    done = subprocess.run([*command, *paths], cwd=ROOT, check=True, capture_output=True, text=True)
    for each in json.loads(done.stdout):
        path = Path(each["filename"]).relative_to(ROOT)
        yield Finding(path, each["location"]["row"], each["code"], each["message"])


def files(paths: Iterable[Path]) -> list[Path]:
    """List the Python and Markdown files in ``paths``, from the root."""
    found = [
        each for path in paths for each in ([ROOT / path] if path.suffix else (ROOT / path).rglob("*.*"))
    ]
    return sorted(each.relative_to(ROOT) for each in found if each.suffix in (".py", ".md"))


def findings(paths: list[Path]) -> list[Finding]:
    """List all findings in ``paths``, one for each line and rule."""
    chosen = files(paths)
    pythons = [each for each in chosen if each.suffix == ".py"]
    by_form = set(by_ruff(pythons)) if pythons else set()
    moods = {(each.path, each.line) for each in by_form if each.rule == "D401"}
    own = {each for path in chosen for each in in_file(path)}
    return sorted(
        by_form | {each for each in own if each.rule != "verb" or (each.path, each.line) not in moods}
    )


def counted(paths: list[Path]) -> list[Finding]:
    """List the findings that the gate counts, or all if the paths are not the default."""
    default = paths == [Path("eigenkms")]
    return [each for each in findings(paths) if each.rule != "words" or not default]


if __name__ == "__main__":
    sys.exit(run("prose", __doc__, counted))
