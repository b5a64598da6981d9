"""What ``eigenkms devnet`` does: tell the story of a genesis once (``run_story``), keep a network up (``up``), stop one (``down``).

The other story is in ``rotation``.
"""

import json
import os
import secrets
import shlex
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import trio

from eigenkms.devnet import cli_runner
from eigenkms.devnet.boundary_tracker import BoundaryTracker
from eigenkms.devnet.console import EventPrinter, say_all, start, stop, tell_rotations, tell_stderr
from eigenkms.devnet.network import STATE_FILE, Devnet, Say, open_network, started_at
from eigenkms.devnet.node_processes import Access, Timing
from eigenkms.devnet.nurseries import alongside
from eigenkms.errors import InputError, NetworkError

GENESIS_SECONDS = 300.0
DOWN_SECONDS = 60.0
"""More than a node has to stop."""


@dataclass(frozen=True)
class StoryResult:
    """Seconds that the steps took."""

    operators: int
    engine: str
    started: float
    genesis: float
    decrypt: float
    decrypt_after_kill: float
    total: float


async def run_story(
    operators: int,
    engine: str,
    folder: Path | None,
    timing: Timing,
    access: Access | None = None,
    say: Say = tell_stderr,
) -> StoryResult:
    """Genesis, encrypt, decrypt, kill one operator, decrypt again; everything is stopped at the end.

    Where operators ask for a right to the key, it is that of an application's creator.

    Raises ``EigenKmsError`` naming the step that failed; a folder that was given keeps all logs.
    """
    begun = time.monotonic()
    access = access or Access()
    if access.policy != "open" and "ecdsa" not in access.methods:
        raise InputError(
            "run scenario genesis: it decrypts as an application's creator, and the method ecdsa is not enabled",
            hint="give --attestation-method ecdsa too",
        )
    async with open_network(
        folder, operators=operators, engine=engine, timing=timing, access=access, say=say
    ) as network:
        rounds = BoundaryTracker()
        network.hear(rounds.hear)
        network.hear(EventPrinter(say).hear)
        await start(network, say)
        started = time.monotonic()
        await network.genesis(GENESIS_SECONDS)
        genesis = rounds.genesis_seconds
        say(
            f"master key: certified by all {operators} operators {genesis:.2f} s after the first of them saw the boundary"
        )
        secret = network.folder / "secret.txt"
        secret.write_bytes(secrets.token_bytes(4096))
        app = await cli_runner.application(network, say)
        await cli_runner.encrypt(network, say, app, secret, "secret.ibe")
        first = await cli_runner.decrypt(network, say, app, "secret.ibe", secret, "decrypted.txt")
        victim = network.nodes[operators - 1]
        again = first
        killed: frozenset[int] = frozenset()
        if operators > 2:
            say(f"SIGKILL for {victim.member.name} (pid {victim.process.pid})")
            await network.kill(victim.member.index)
            killed = frozenset({victim.member.index})
            again = await cli_runner.decrypt(network, say, app, "secret.ibe", secret, "decrypted-again.txt")
        await stop(network, say, except_for=killed)
        return StoryResult(
            operators, engine, started - begun, genesis, first, again, time.monotonic() - begun
        )


async def up(
    operators: int,
    engine: str,
    folder: Path | None,
    timing: Timing,
    access: Access | None = None,
    say: Say = tell_stderr,
    *,
    nodes: bool = True,
    anchor: bool = False,
) -> None:
    """Start a network, print the lines to try it with, tell of each rotation, and stay until SIGINT or SIGTERM.

    Without ``nodes`` the operators are registered and have their files, and somebody else starts their nodes.
    """
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with open_network(
            folder,
            operators=operators,
            engine=engine,
            timing=timing,
            access=access,
            anchor=anchor,
            say=say,
        ) as network:
            with network.announced():
                if not nodes:
                    say_all(commands_of_nodes(network), say)
                    async for _ in signals:
                        say("stopping")
                        return
                rounds, teller = BoundaryTracker(), EventPrinter(say)
                network.hear(rounds.hear)
                network.hear(teller.hear)
                await start(network, say)

                async def accompany() -> None:
                    await network.genesis(GENESIS_SECONDS)
                    teller.silent = True
                    say_all(invitation(network), say)
                    await tell_rotations(rounds, say)

                async with alongside(accompany):
                    async for _ in signals:
                        say("stopping")
                        break
                await network.stop_all()


async def down(folder: Path | None) -> None:
    """Stop the network that runs in ``folder``, and wait until it is gone. Raises ``InputError`` if none does."""
    state = (folder or Path()) / STATE_FILE
    try:
        known = json.loads(state.read_text())
        pid, started = int(known["pid"]), int(known["started"])
    except (OSError, ValueError, KeyError, TypeError):
        pid, started = 0, 0
    if not pid or started_at(pid) != started:
        raise InputError(
            f"stop the devnet in {state.parent}: none is running there",
            hint="give the folder of devnet up with --dir",
        )
    os.kill(pid, signal.SIGTERM)
    with trio.move_on_after(DOWN_SECONDS):
        await _gone(pid)
        return
    raise NetworkError(
        f"stop the devnet in {state.parent}: process {pid} is still there after {DOWN_SECONDS:g} s"
    )


async def _gone(pid: int) -> None:
    """Wait until a process that is not our child has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await trio.lowlevel.wait_readable(handle)
    finally:
        os.close(handle)


def _command() -> str:
    """How the reader calls us."""
    return (
        "eigenkms" if shutil.which("eigenkms") else shlex.quote(str(Path(sys.executable).parent / "eigenkms"))
    )


def commands_of_nodes(network: Devnet) -> tuple[str, ...]:
    """Return the lines that name each operator's command, for whoever starts the nodes."""
    starts = (f"  {_command()} node --config {shlex.quote(str(member.config))}" for member in network.members)
    return (
        "no nodes were started; what starts each operator's, in a terminal or container of its own:",
        *starts,
        "Ctrl-C stops the chain",
    )


def invitation(network: Devnet) -> tuple[str, ...]:
    """Return the lines to try the network with."""
    config = shlex.quote(str(network.client_config))
    command = _command()
    app, shown = cli_runner.APP_ID, ""
    create: tuple[str, ...] = ()
    if network.access.policy != "open":
        app, shown = '"$APP"', " --attest ecdsa" if "ecdsa" in network.access.methods else ""
        create = (
            f"  APP=$({command} devnet app create --config {config} --image-digest {cli_runner.IMAGE})",
        )
    pids = ", ".join(f"{node.member.name} {node.process.pid}" for node in network.nodes.values())
    return (
        "the network has a master key; try, in another terminal:",
        *create,
        f"  echo 'attack at dawn' | {command} encrypt --config {config} --app-id {app} -o secret.ibe",
        f"  {command} decrypt --config {config} --app-id {app}{shown} secret.ibe",
        f"  {command} status --config {config}",
        f"process ids: {pids}",
        "Ctrl-C stops everything",
    )
