"""Report names and sizes that make the package hard to find a way in.

- ``duplicate``: a class name that stands twice in the tree
- ``inflection``: two modules of one package whose names differ by an inflection only, such as *release* and *released*
- ``participle``: a class whose last word is a participle
- ``attributes``: a class that assigns more than 14 attributes of ``self``
- ``fields``: a dataclass with more than 20 fields
- ``share``: a package with more than 15 % of the lines of the tree
- ``median`` and ``p90``: functions whose median is over 7 lines, or whose 90th percentile is over 20

Import circles are import-linter's: the contract ``acyclic_siblings`` in ``pyproject.toml``.
"""

import ast
import re
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

from scripts.checks.ratchet import ROOT, Finding, run

MAX_ATTRIBUTES: Final = 14
MAX_FIELDS: Final = 20
MAX_SHARE: Final = 0.15
MAX_MEDIAN: Final = 7
MAX_P90: Final = 20

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z]+|\d+")
_NOUN: Final = re.compile(
    r"(bind|deal|find|mean|sett|sibl|stand|str|tim|warn)ing$|(f|n|s|sp)eed$|.?(p|r)ing$"
)
"""Nouns that look like participles."""
_PARTICIPLE: Final = re.compile(
    r".{2,}(ed|ing)$|(begun|borne|bound|broken|built|chosen|done|drawn|forgotten|found|given|gone|heard|held|hidden|kept|known|left"
    r"|lost|made|met|said|seen|sent|shown|spent|spoken|stolen|taken|thought|told|understood|written)$"
)
_SUFFIX: Final = re.compile(r"(?<=[a-z]{3})(ing|ed|es|s|e)$")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One module: its path from the root, its text and its tree."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def classes(self) -> list[ast.ClassDef]:
        """Every class of the module, those inside functions too."""
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef)]

    @property
    def functions(self) -> list[Function]:
        """Every function and method of the module."""
        return [node for node in ast.walk(self.tree) if isinstance(node, Function)]

    @property
    def lines(self) -> int:
        """The number of lines."""
        return self.text.count("\n")


def read(paths: Iterable[Path]) -> list[Source]:
    """Read the Python files in the folders ``paths``."""
    found = sorted(each for path in paths for each in (ROOT / path).rglob("*.py"))
    texts = ((each.relative_to(ROOT), each.read_text(encoding="utf-8")) for each in found)
    return [Source(path, text, ast.parse(text)) for path, text in texts]


def duplicates(sources: Iterable[Source]) -> Iterator[Finding]:
    """Yield the classes whose name stands more than once in ``sources``."""
    places = defaultdict(list)
    for source in sources:
        for each in source.classes:
            places[each.name].append((source.path, each.lineno))
    for name, where in places.items():
        if len(where) > 1:
            yield from (
                Finding(*place, "duplicate", f"class {name} stands {len(where)} times") for place in where
            )


def stem(name: str) -> str:
    """Return ``name`` without the inflection of each of its words."""
    return "_".join(re.sub(r"(.)\1$", r"\1", _SUFFIX.sub("", word)) for word in name.split("_"))


def inflections(sources: Iterable[Source]) -> Iterator[Finding]:
    """Yield the modules and packages whose name is an inflection of a sibling's."""
    siblings = defaultdict(set)
    for path in (source.path for source in sources):
        siblings[path.parent].add(path.stem)
        siblings[path.parent.parent].add(path.parent.name)
    for folder, names in siblings.items():
        stems = Counter(map(stem, names))
        for name in sorted(names):
            if stems[stem(name)] > 1:
                yield Finding(
                    folder / name, 1, "inflection", f"another module here is an inflection of {name!r}"
                )


def is_participle(name: str) -> bool:
    """Return whether the last word of a class name is a participle."""
    word = _WORD.findall(name)[-1].lower()
    return bool(_PARTICIPLE.match(word)) and not _NOUN.match(word)


def participles(source: Source) -> Iterator[Finding]:
    """Yield the classes that are called by a participle."""
    for each in source.classes:
        if is_participle(each.name):
            yield Finding(source.path, each.lineno, "participle", f"class {each.name} is no noun")


def _is_attribute(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    )


def attributes(source: Source) -> Iterator[Finding]:
    """Yield the classes that assign too many attributes of ``self``."""
    for each in source.classes:
        names = {
            node.attr for node in ast.walk(each) if isinstance(node, ast.Attribute) and _is_attribute(node)
        }
        if len(names) > MAX_ATTRIBUTES:
            yield Finding(
                source.path, each.lineno, "attributes", f"class {each.name} has {len(names)} attributes"
            )


def fields(source: Source) -> Iterator[Finding]:
    """Yield the dataclasses that have too many fields of their own."""
    for each in source.classes:
        is_dataclass = any("dataclass" in ast.unparse(decorator) for decorator in each.decorator_list)
        number = sum(isinstance(node, ast.AnnAssign) for node in each.body)
        if is_dataclass and number > MAX_FIELDS:
            yield Finding(source.path, each.lineno, "fields", f"dataclass {each.name} has {number} fields")


def shares(sources: list[Source]) -> Iterator[Finding]:
    """Yield the packages that hold too large a share of the lines."""
    lines = Counter[Path]()
    for source in sources:
        lines[Path(*source.path.parent.parts[:2])] += source.lines
    for package, number in lines.items():
        if len(package.parts) > 1 and number > MAX_SHARE * lines.total():
            yield Finding(
                package / "__init__.py",
                1,
                "share",
                f"{number / lines.total():.1%} of the lines stand in {package}",
            )


def lengths(sources: Iterable[Source]) -> Iterator[Finding]:
    """Yield the measures of length, from ``def`` to the last line, over their limit."""
    found = [(each.end_lineno or 0) - each.lineno + 1 for source in sources for each in source.functions]
    median, p90 = statistics.median(found), statistics.quantiles(found, n=10)[-1]
    print(f"functions: {len(found)}, median {median:g} lines, p90 {p90:g}", file=sys.stderr)
    for name, measure, limit in (("median", median, MAX_MEDIAN), ("p90", p90, MAX_P90)):
        if measure > limit:
            yield Finding(Path("eigenkms"), 1, name, f"functions: {measure:g} lines, more than {limit}")


def findings(paths: list[Path]) -> Iterator[Finding]:
    """Yield all findings in the folders ``paths``."""
    sources = read(paths)
    for one in (participles, attributes, fields):
        yield from chain.from_iterable(map(one, sources))
    for whole in (duplicates, inflections, shares, lengths):
        yield from whole(sources)


if __name__ == "__main__":
    sys.exit(run("names", __doc__, findings))
