"""``eigenkms completions``: the script that a shell loads."""

import click
from click.shell_completion import get_completion_class

from eigenkms.cli.main import COMPLETE_VARIABLE
from eigenkms.cli.options import verb
from eigenkms.cli.report import print_result


@verb(
    "completions",
    'bash:  eval "$(eigenkms completions bash)"\n'
    'zsh:   eval "$(eigenkms completions zsh)"\n'
    "fish:  eigenkms completions fish | source",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print a script that completes verbs and options in your shell; load it from the shell's start-up
    file.
    """
    kind = get_completion_class(shell)
    assert kind is not None, "click knows these three"
    print_result(kind(ctx.find_root().command, {}, "eigenkms", COMPLETE_VARIABLE).source())
