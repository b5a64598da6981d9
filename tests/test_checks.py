"""The checks of names and prose find what they are for, and their stored numbers only fall."""

import ast
from pathlib import Path

import pytest

from scripts.checks import names, prose, ratchet
from scripts.checks.ratchet import Finding


def source(path: str, text: str = "") -> names.Source:
    return names.Source(Path(path), text, ast.parse(text))


def rules(text: str) -> set[str]:
    """Return the rules of prose that a Python file with ``text`` breaks, without those of ruff."""
    tree = ast.parse(text)
    found = {rule for _, rule, _ in prose.in_docstrings(tree)}
    for paragraph in [*prose.strings(tree), *prose.comments(text)]:
        found |= {rule for rule, _ in prose.in_prose(paragraph)}
    return found


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("# One; two; three.", "semicolons"),
        ('"""A; b.\nC; d."""', "semicolons"),
        ('"""Rules.\n\nWhoever lies is named.\n"""', "subject"),
        ("# It waits; who is down is not counted", "subject"),
        ("x = 1\n" + '"""Where it stands."""', "subject"),
        (f'"""{"x" * 80}."""', "summary"),
        ('def f():\n    """Whether it holds."""', "verb"),
        ('def f():\n    """Bytes of a frame."""', "verb"),
        (f"# {'word ' * 26}", "words"),
    ],
)
def test_prose_is_found(text: str, rule: str) -> None:
    """An example of what each rule refuses."""
    assert rules(text) == {rule}


@pytest.mark.parametrize(
    "text",
    [
        "# One `a;b;c;d`; two.",
        '"""One; two.\n\nThree; four.\n"""',
        '"""List::\n\n    a; b; c\n\n- one; two\n- three; four\n"""',
        "# Who signs?",
        f'"""{"x" * 79}."""',
        'def f():\n    """Pass one byte."""',
        'class A:\n    @property\n    def f(self):\n        """The length."""',
        "x = 1  # noqa: A; B; C",
    ],
)
def test_prose_that_is_allowed_is_not_found(text: str) -> None:
    """Code, questions, properties and directives are no offence."""
    assert rules(text) == set()


def test_pages_are_read_without_their_code() -> None:
    """A fenced block, a table and a heading are no prose; the rest is."""
    text = "# What it is\n\n```text\na; b; c\n```\n\n| a; b; c |\n\nWhat it does is done.\n"
    assert [(each.line, each.text) for each in prose.markdown(text)] == [(9, "What it does is done.")]


def test_ruff_s_rules_are_applied() -> None:
    """The form of a docstring is judged by ruff, without the project's list of what it ignores."""
    found = prose.by_ruff([Path("eigenkms/__init__.py")])
    assert {each.rule for each in found} <= set(prose.RUFF_RULES.split(","))


@pytest.mark.parametrize("name", ["Seen", "_Known", "Prepared", "SignerGathering", "RpcRefused"])
def test_a_participle_is_no_name_of_a_class(name: str) -> None:
    """Regular and irregular participles end no name."""
    assert names.is_participle(name)


@pytest.mark.parametrize("name", ["Dealing", "Setting", "Seed", "PreparedState", "RecentWarning", "Ring"])
def test_a_noun_is_a_name_of_a_class(name: str) -> None:
    """Nouns that look like participles, and participles before a noun, are names."""
    assert not names.is_participle(name)


def test_modules_that_differ_by_inflection_are_found() -> None:
    """Siblings with one stem are found, in modules and packages; those of two folders are not."""
    paths = ["a/release.py", "a/releasing/__init__.py", "a/sign.py", "b/signed.py", "b/address.py"]
    assert [str(each.path) for each in names.inflections(map(source, paths))] == ["a/release", "a/releasing"]


def test_sizes_are_found() -> None:
    """A class name that stands twice, too many attributes, too many fields, a package with all lines."""
    text = "".join(f"        self.a{number} = 0\n" for number in range(15))
    assert [*names.attributes(source("a.py", f"class A:\n    def f(self):\n{text}"))]
    text = "".join(f"    a{number}: int\n" for number in range(21))
    assert [*names.fields(source("a.py", f"@dataclass\nclass A:\n{text}"))]
    assert len([*names.duplicates([source("a.py", "class A: ..."), source("b.py", "class A: ...")])]) == 2
    assert [*names.shares([source("a/b/c.py", "x = 1\n")])]


def test_long_functions_are_found() -> None:
    """The measure is over all functions, from ``def`` to the last line."""
    text = "def f():\n" + "    x = 1\n" * 20
    assert [each.rule for each in names.lengths([source("a.py", text + text)])] == ["median", "p90"]


def test_a_number_that_differs_is_named() -> None:
    """Rises and falls are both differences; what is not stored is zero."""
    found = [Finding(Path("a/b/c.py"), line, "subject", "") for line in (1, 2)]
    now = ratchet.count(found)
    assert now == {"a/b": {"subject": 2}}
    assert ratchet.differences(now, now) == []
    assert ratchet.differences(now, {}) == [("a/b", "subject", 2, 0)]
    assert ratchet.differences({}, now) == [("a/b", "subject", 0, 2)]
