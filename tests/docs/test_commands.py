"""Every command that the documentation shows is one that the program takes."""

import click
import pytest

from tests.docs.commands import calls, parse, shown
from tests.docs.pages import PAGES, Page

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
    """After a prompt, in pipes, substitutions and quotes, and in containers; not where the word is another program's argument."""
    found = {
        "APP=$(eigenkms devnet app create)": [("devnet", "app", "create")],
        'eval "$(eigenkms completions bash)"': [("completions", "bash")],
        "echo a | ./scripts/eigenkms encrypt > b && /opt/bin/eigenkms version": [("encrypt",), ("version",)],
        "X=1 eigenkms exec --app-id A -- env B=2": [("exec", "--app-id", "A", "--", "env", "B=2")],
        "docker run --rm eigenkms version": [("version",)],
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
