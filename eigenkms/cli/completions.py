"""``eigenkms completions``: the script that a shell loads."""

import click
from click.shell_completion import get_completion_class

from eigenkms.cli.main import COMPLETE_VARIABLE, cli
from eigenkms.cli.support.options import verb
from eigenkms.cli.support.output import print_data


@verb(
    "completions",
    'bash:  eval "$(eigenkms completions bash)"\n'
    'zsh:   eval "$(eigenkms completions zsh)"\n'
    "fish:  eigenkms completions fish | source",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print a shell script that completes verbs and options.

    Load it from the shell's start-up file.
    """
    print_data(script(shell))


def script(shell: str) -> str:
    """Return the script that bash, zsh or fish must load."""
    kind = get_completion_class(shell)
    assert kind is not None, "click knows these three"
    return kind(cli, {}, "eigenkms", COMPLETE_VARIABLE).source()
