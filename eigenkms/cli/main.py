"""The ``eigenkms`` command: its verbs, and the one place where errors end.

``--help`` and ``version`` start without the network stack. A verb's module is imported when the verb runs, and heavy libraries
inside its function.
"""

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import click
from click.shell_completion import shell_complete

from eigenkms.cli.support import output, standard_streams

VERBS = {
    "node": ("eigenkms.cli.node", "Run an operator node."),
    "encrypt": ("eigenkms.cli.encrypt", "Encrypt a file for an application."),
    "decrypt": ("eigenkms.cli.decrypt", "Decrypt a file with a quorum of operators."),
    "exec": ("eigenkms.cli.exec", "Run a command with an application's secrets."),
    "secrets": ("eigenkms.cli.secrets", "Read the secrets of an application's release."),
    "inspect": ("eigenkms.cli.inspect", "Show the format, version and sizes of a ciphertext."),
    "pubkey": ("eigenkms.cli.pubkey", "Print the master public key, verified against the chain."),
    "status": ("eigenkms.cli.status", "Report whether the network can serve keys."),
    "doctor": ("eigenkms.cli.doctor", "Check whether a node can run here, and advise fixes."),
    "evidence": ("eigenkms.cli.evidence", "Show, export and verify proofs of operators' faults."),
    "audit": ("eigenkms.cli.audit", "Show, export and verify the log of released keys."),
    "keys": ("eigenkms.cli.keys", "Create, import and show an operator's keys."),
    "config": ("eigenkms.cli.config", "Print an example configuration file, or check a file."),
    "operator": ("eigenkms.cli.operator", "Register an operator on chain, change it, or leave."),
    "anchor": ("eigenkms.cli.anchor", "Manage the commitment registry on a second chain."),
    "share": ("eigenkms.cli.share", "Get a new share for an operator that lost one."),
    "backup": ("eigenkms.cli.backup", "Create, verify and restore a backup of a node."),
    "devnet": ("eigenkms.cli.devnet", "Run a whole network on this machine."),
    "completions": ("eigenkms.cli.completions", "Print a shell script that completes verbs and options."),
    "version": ("eigenkms.cli.version", "Print versions, crypto backends and formats."),
}
"""Verb: the module whose ``command`` it is, and the first line of its help, for ``eigenkms --help``."""

COMPLETE_VARIABLE = "_EIGENKMS_COMPLETE"

_EPILOG = """\b
Settings are read from flags, then from environment variables EIGENKMS_…, then from
the TOML file of --config, then from the preset of --environment, then the default.
\b
Exit codes: 0 ok, 1 the command or its input is wrong, 2 the network, the chain or
the quorum failed, 3 refused, 4 data did not verify.
\b
Example:
  eigenkms devnet run
"""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        from eigenkms.cli.support.logs import tame_warnings

        tame_warnings()
        command: click.Command = importlib.import_module(VERBS[cmd_name][0]).command
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, line) for name, (_, line) in VERBS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[Any, Any, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            raise click.UsageError(f"no such verb {args[0]!r}{_nearest(args[0])}", ctx)
        return super().resolve_command(ctx, args)


def _nearest(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, VERBS, n=1)
    return f", did you mean {near[0]}?" if near else ""


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from eigenkms import __version__

        click.echo(f"eigenkms {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    epilog=_EPILOG,
    subcommand_metavar="VERB [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Print the version and exit.",
)
@click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks.  [env: EIGENKMS_DEBUG]")
def cli() -> None:
    """Encrypt for an application; decrypt with a quorum.

    The operators of an EigenLayer AVS hold one master secret by threshold. No operator knows it, and two thirds of them together
    release an application's key.
    """


def wants_debug(args: Sequence[str]) -> bool:
    """Return whether ``--debug`` is given, before or after the verb.

    An argument after ``--`` does not count.
    """
    own = args[: args.index("--")] if "--" in args else args
    return "--debug" in own or os.environ.get("EIGENKMS_DEBUG", "") not in ("", "0", "false", "no")


def run(args: Sequence[str]) -> int:
    """Run the command line; the exit code. Prints every error that it raises."""
    try:
        instruction = os.environ.get(COMPLETE_VARIABLE)
        if instruction:
            return shell_complete(cli, {}, "eigenkms", COMPLETE_VARIABLE, instruction)
        with cli.make_context("eigenkms", list(args)) as ctx:
            cli.invoke(ctx)
        output.flush_stdout()
    except BaseException as error:  # noqa: BLE001 - the end of the line for every error
        output.abandon_broken_stdout()
        return output.exit_for(error, debug=wants_debug(args))
    return 0


def main() -> None:
    """Entry point of the ``eigenkms`` script."""
    standard_streams.prepare()
    code = run(sys.argv[1:])
    if code == output.INTERRUPTED:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


if __name__ == "__main__":
    main()
