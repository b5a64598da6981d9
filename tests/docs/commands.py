"""The commands that pages show: every ``eigenkms …`` in a console block, as a shell would split it."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import dropwhile

import click

from eigenkms.cli.main import VERBS, cli
from tests.support.doc_pages import Page

_OPERATORS = frozenset("|&;<>()")


@dataclass(frozen=True)
class Shown:
    """One call, and the line of its block; ``words`` are what stands after ``eigenkms``."""

    line: int
    words: tuple[str, ...]


def shown(page: Page) -> Iterator[Shown]:
    """All calls in console blocks: after a prompt (``$``, or ``#`` as root), in pipes, loops and ``$(…)``, also in a container."""
    for block in page.blocks:
        if block.language == "console":
            for typed in re.findall(r"^[$#] (.*)$", re.sub(r"\\\n", " ", block.text), re.MULTILINE):
                yield from (Shown(block.line, words) for words in calls(typed))


def calls(typed: str) -> Iterator[tuple[str, ...]]:
    """The calls in one line of a shell."""
    lexer = shlex.shlex(typed, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    command: list[str] = []
    for token in [*lexer, ";"]:
        if "$(" in token:
            yield from calls(token[token.index("$(") + 2 : token.rindex(")")])
        if set(token) <= _OPERATORS:
            yield from _call(command)
            command = []
        else:
            command.append(token)


def _call(command: list[str]) -> Iterator[tuple[str, ...]]:
    words = list(dropwhile(re.compile(r"\w+=|(until|while|do)$").match, command))
    for index, word in enumerate(words):
        in_container = words[0] in ("docker", "podman") and not VERBS.keys().isdisjoint(
            words[index + 1 : index + 2]
        )
        if re.fullmatch(r"(.*/)?eigenkms", word) and (index == 0 or in_container):
            yield tuple(words[index + 1 :])
            return


def parse(words: tuple[str, ...]) -> None:
    """Parse as the command line does, verb in verb, and run nothing. Raises ``click.ClickException`` for what it would refuse."""
    command: click.Command = cli
    context = cli.make_context("eigenkms", list(words))
    while isinstance(command, click.Group):
        name, inner, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert inner is not None
        command, context = inner, inner.make_context(name, rest, parent=context)
