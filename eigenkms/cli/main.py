"""The ``eigenkms`` command: its verbs, each loaded when it is called, and the one place where errors end.

``--help`` and ``version`` start without the network stack: a verb's module is imported when the verb runs,
and heavy libraries inside its function.
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
    "encrypt": ("eigenkms.cli.encrypt", "Encrypt a secret for an application."),
    "decrypt": ("eigenkms.cli.decrypt", "Decrypt a secret with a quorum of operators."),
    "exec": ("eigenkms.cli.exec", "Run a command with an application's secrets in its environment."),
    "secrets": ("eigenkms.cli.secrets", "Read the secrets of an application's release."),
    "inspect": ("eigenkms.cli.inspect", "Say what a file is; needs no key."),
    "pubkey": ("eigenkms.cli.pubkey", "Print the master public key, verified."),
    "status": ("eigenkms.cli.status", "Say whether the network can serve."),
    "doctor": ("eigenkms.cli.doctor", "Say whether a node could run here, and what to mend."),
    "evidence": ("eigenkms.cli.evidence", "Show, export and verify proofs of operators' faults."),
    "audit": ("eigenkms.cli.audit", "Show, export and verify what a node released to whom."),
    "keys": ("eigenkms.cli.keys", "Make and show keys in encrypted keystores."),
    "config": ("eigenkms.cli.config", "Print a configuration file with every key explained; check one."),
    "operator": ("eigenkms.cli.operator", "Register on chain, change and leave; show who is in the set."),
    "anchor": ("eigenkms.cli.anchor", "Deploy a commitment registry, keep its list, look into it."),
    "share": ("eigenkms.cli.share", "Get a lost share of the master key again."),
    "backup": ("eigenkms.cli.backup", "Save a node's keys, check a backup, put it back."),
    "devnet": ("eigenkms.cli.devnet", "Run a whole network on this machine."),
    "completions": ("eigenkms.cli.completions", "Print shell completions."),
    "version": ("eigenkms.cli.version", "Print versions, crypto backends and formats."),
}
"""Verb: module whose ``command`` it is, and its line in ``eigenkms --help``."""

COMPLETE_VARIABLE = "_EIGENKMS_COMPLETE"

_EPILOG = """\b
Every option has an environment variable EIGENKMS_… and a key in one TOML file:
flag, then environment, then --config FILE, then --environment preset, then default.
\b
Exit codes: 0 ok, 1 this command or its input is wrong, 2 network, chain or quorum
could not do it, 3 refused, 4 data did not verify.
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
    """Threshold keys of an EigenLayer AVS: encrypt for an application, decrypt with a quorum of its
    operators.
    """


def wants_debug(args: Sequence[str]) -> bool:
    """``--debug`` before or after the verb, but not in what follows ``--``."""
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
