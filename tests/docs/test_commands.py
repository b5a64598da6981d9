"""Every command that the documentation shows is one that the program takes."""

import re

import click
import pytest

from eigenkms.cli.main import VERBS
from tests.docs.commands import calls, parse, shown
from tests.docs.sources import sentences
from tests.docs.test_pages import COMMANDS, FLAGS, OTHER_FLAGS
from tests.support.doc_pages import PAGES, Page

with_commands = [page for page in PAGES if list(shown(page))]


@pytest.mark.parametrize("page_", with_commands, ids=str)
def test_commands_that_are_shown_parse(page_: Page) -> None:
    """Verbs, options, their values where they are words, and what must be given; by the command line's own parser."""
    for call in shown(page_):
        try:
            parse(call.words)
        except click.ClickException as refused:
            pytest.fail(
                f"{page_} line {call.line}: eigenkms {' '.join(call.words)}: {refused.format_message()}"
            )


def test_commands_are_found_where_a_shell_would() -> None:
    """After a prompt, in pipes, loops, substitutions, quotes and containers; not where it is an argument of another program."""
    found = {
        "APP=$(eigenkms devnet app create)": [("devnet", "app", "create")],
        'eval "$(eigenkms completions bash)"': [("completions", "bash")],
        "echo a | ./scripts/eigenkms encrypt > b && /opt/bin/eigenkms version": [("encrypt",), ("version",)],
        "X=1 eigenkms exec --app-id A -- env B=2": [("exec", "--app-id", "A", "--", "env", "B=2")],
        "docker run --rm eigenkms version": [("version",)],
        "until eigenkms doctor; do eigenkms status; done": [("doctor",), ("status",)],
        "docker build -t eigenkms .": [],
        "umask 077; man eigenkms": [],
    }
    for typed, wanted in found.items():
        assert list(calls(typed)) == wanted, typed


@pytest.mark.parametrize(
    "words",
    [
        "moon",
        "devnet moon",
        "status --moon",
        "keys new --kind moon -o f",
        "keys new --kind p2p",
        "inspect a b",
    ],
)
def test_the_parser_refuses(words: str) -> None:
    """No such verb, no such option, no such value, nothing where something must be, too much."""
    with pytest.raises(click.ClickException):
        parse(tuple(words.split()))


@pytest.mark.parametrize("path", [p for p, c in COMMANDS.items() if c.epilog], ids=" ".join)
def test_examples_in_the_help_parse(path: tuple[str, ...]) -> None:
    """What --help and the manual page offer to be typed."""
    text = re.sub(r"\\\n", " ", COMMANDS[path].epilog or "")
    lines = re.sub(r"(?m)^\w+: +", "", text).splitlines()
    found = [words for line in lines for words in calls(line.strip())]
    assert any(words[: len(path)] == path for words in found)
    for words in found:
        parse(words)


@pytest.mark.slow
def test_commands_that_the_program_itself_advises_exist() -> None:
    """Each ``eigenkms VERB --flag`` in a hint or another sentence has a verb that there is, and its options."""
    advised = [found for said in sentences() for found in re.findall(r"eigenkms ([a-z][\w -]*)", said)]
    known = [words for words in map(str.split, advised) if words[0] in VERBS]
    assert len(known) > 10
    for words in known:
        path = next(tuple(words[:n]) for n in (3, 2, 1) if tuple(words[:n]) in COMMANDS)
        for flag in (word for word in words if re.match("--[a-z]", word)):
            assert flag in FLAGS[path] | OTHER_FLAGS, f"eigenkms {' '.join(words)}"
