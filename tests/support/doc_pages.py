"""Reading the documentation: pages, headings, code, tables and links of the Markdown that this project writes."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_SPAN = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line of the page that it begins on."""

    language: str
    text: str
    line: int
    mark: str
    """The HTML comment on the line above, or nothing."""


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def prose(self) -> str:
        """The text without fenced blocks."""
        return _FENCE.sub("", self.text)

    @property
    def blocks(self) -> list[Block]:
        return [self._block(found) for found in _FENCE.finditer(self.text)]

    def _block(self, found: "re.Match[str]") -> Block:
        before = self.text[: found.start()].splitlines()
        mark = before[-1] if before and before[-1].startswith("<!--") else ""
        return Block(found["info"].strip(), found["body"], len(before) + 1, mark)

    @property
    def headings(self) -> list[str]:
        return _HEADING.findall(self.prose)

    @property
    def anchors(self) -> set[str]:
        """What may stand after # in a link, as GitHub makes it of the headings."""
        plain = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in self.headings)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}

    @property
    def links(self) -> list[str]:
        return _LINK.findall(self.prose)

    @property
    def spans(self) -> list[str]:
        """Inline code."""
        return [span.replace("\\|", "|") for span in _SPAN.findall(self.prose)]

    def rows(self, first_head: str) -> list[list[str]]:
        """Cells of the first table whose head begins with ``first_head``."""
        lines = iter(self.text.splitlines())
        for line in lines:
            if _cells(line)[:1] == [first_head]:
                next(lines)
                found = []
                for row in lines:
                    if not row.startswith("|"):
                        break
                    found.append(_cells(row))
                return found
        raise AssertionError(f"{self}: no table whose first column is {first_head!r}")

    def all_rows(self) -> list[list[str]]:
        """Cells of all rows of all tables."""
        return [_cells(line) for line in self.prose.splitlines() if line.startswith("|")]


def _cells(line: str) -> list[str]:
    if not line.startswith("|"):
        return []
    return [c.strip().replace("\\|", "|") for c in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


def page(name: str) -> Page:
    return Page(ROOT / name)


PAGES = [
    *(page(f"{name}.md") for name in ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY")),
    *(Page(p) for p in sorted((ROOT / "docs").glob("*.md"))),
]
