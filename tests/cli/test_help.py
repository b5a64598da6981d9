"""The help of every verb: short, in one shape, and complete."""

import json
from pathlib import Path

import click
import pytest

from eigenkms.cli.main import VERBS, run
from eigenkms.cli.support.json_fields import JSON_FIELDS
from eigenkms.cli.support.options import OWN, grouped_options
from eigenkms.config.schema import SETTINGS
from tests.docs.test_pages import COMMANDS

WIDTH = 78
"""What click leaves of a terminal of 80 columns."""
LONGEST_FIRST_LINE = 60
MOST_LINES = 5

each_verb = pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
each_leaf = pytest.mark.parametrize(
    "path", [path for path, command in COMMANDS.items() if not isinstance(command, click.Group)], ids=" ".join
)


def _rendered(path: tuple[str, ...]) -> list[str]:
    """The description as a terminal of 80 columns shows it."""
    command = COMMANDS[path]
    formatter = click.HelpFormatter(width=WIDTH)
    command.format_help_text(click.Context(command), formatter)
    return [line for line in formatter.getvalue().splitlines() if line]


@each_verb
def test_help_begins_with_one_short_line(path: tuple[str, ...]) -> None:
    """It fits beside the verb's name in the list of verbs."""
    first = (COMMANDS[path].help or "").partition("\n\n")[0]
    assert len(first) <= LONGEST_FIRST_LINE
    assert _rendered(path)[0].strip() == first
    assert first.endswith(".")


@each_verb
def test_help_explains_in_five_lines_at_most(path: tuple[str, ...]) -> None:
    """More stands in docs/cli.md."""
    assert len(_rendered(path)) - 1 <= MOST_LINES


@each_leaf
def test_help_lists_each_option_once_under_a_heading(path: tuple[str, ...]) -> None:
    """The verb's own options come first, those of every verb last."""
    command = COMMANDS[path]
    groups = dict(grouped_options(command, click.Context(command)))
    listed = [row for rows in groups.values() for row in rows]
    assert len(listed) == len({flags for flags, _ in listed})
    assert len(listed) == sum(isinstance(p, click.Option) for p in command.get_params(click.Context(command)))
    assert OWN not in list(groups)[1:]
    assert list(groups)[-1] == "Common"
    assert {flags for flags, _ in groups["Common"]} <= {"--config FILE", "--debug", "--help", "-h, --help"}


@each_leaf
def test_help_shows_one_example(path: tuple[str, ...]) -> None:
    """A line that can be typed; completions has one for each shell."""
    lines = (COMMANDS[path].epilog or "").strip("\b\n").splitlines()
    assert lines[0] == "Example:"
    assert len(lines[1:]) == (3 if path == ("completions",) else 1)


def test_the_list_of_verbs_says_what_each_verb_says() -> None:
    """The list is written apart from the verbs, as it is printed without importing them."""
    assert {name: line for name, (_, line) in VERBS.items()} == {
        path[0]: (command.help or "").partition("\n\n")[0]
        for path, command in COMMANDS.items()
        if len(path) == 1
    }


def test_every_verb_with_json_has_its_fields_documented() -> None:
    """And no other verb has."""
    assert set(JSON_FIELDS) == {
        " ".join(path)
        for path, command in COMMANDS.items()
        if any("--json" in parameter.opts for parameter in command.params)
    }


def test_a_default_is_shown_as_it_is_written() -> None:
    """No quotes or brackets of Python, no .0 at the end of seconds."""
    text = COMMANDS[("node",)].get_help(click.Context(COMMANDS[("node",)], terminal_width=1000))
    assert SETTINGS["block_seconds"].default == 12.0
    assert "default: 12]" in text
    assert "default: STABLE, EXPERIMENTAL]" in text


@pytest.mark.parametrize("words", ["version", "config check --config empty.toml"])
def test_documented_fields_are_those_that_are_printed(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of verbs that need no network: every field, in the order of the table."""
    monkeypatch.chdir(tmp_path)
    Path("empty.toml").touch()
    run([*words.split(), "--json"])
    printed = json.loads(capsys.readouterr().out)
    documented = JSON_FIELDS[words.partition(" --")[0]]
    assert [name for names in documented for name in names.split(", ")] == list(printed)
