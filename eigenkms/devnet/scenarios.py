"""Run a genesis scenario once, keep a network up until it is stopped, or stop one.

The rotation scenario is in ``rotation``.
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
from eigenkms.devnet.console import EventPrinter, print_lines, print_rotations, print_stderr, start, stop
from eigenkms.devnet.network import STATE_FILE, Devnet, Say, started_at
from eigenkms.devnet.node_config import Access, Timing
from eigenkms.devnet.nurseries import background_task
from eigenkms.devnet.provisioning import open_network
from eigenkms.errors import InputError, NetworkError

GENESIS_SECONDS = 300.0
DOWN_SECONDS = 60.0
"""More than a node has to stop."""


@dataclass(frozen=True)
class GenesisResult:
    """Seconds that the steps of the genesis scenario took."""

    operators: int
    engine: str
    started: float
    genesis: float
    decrypt: float
    decrypt_after_kill: float
    total: float


async def run_genesis_scenario(
    operators: int,
    engine: str,
    folder: Path | None,
    timing: Timing,
    access: Access | None = None,
    say: Say = print_stderr,
) -> GenesisResult:
    """Run genesis, encrypt, decrypt, kill an operator, and decrypt again.

    The network is stopped at the end. If the policy demands a right to the key, the client decrypts as an application's creator.

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
        tracker = BoundaryTracker()
        network.add_listener(tracker.on_event)
        network.add_listener(EventPrinter(say).on_event)
        await start(network, say)
        started = time.monotonic()
        await network.genesis(GENESIS_SECONDS)
        genesis = tracker.genesis_seconds
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
        return GenesisResult(
            operators, engine, started - begun, genesis, first, again, time.monotonic() - begun
        )


async def run_until_stopped(
    operators: int,
    engine: str,
    folder: Path | None,
    timing: Timing,
    access: Access | None = None,
    say: Say = print_stderr,
    *,
    nodes: bool = True,
    anchor: bool = False,
) -> None:
    """Run a network until SIGINT or SIGTERM, and print its rotations.

    Lines to try it with are printed first. Without ``nodes`` the operators are registered and have their files, and the user
    starts their nodes.
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
                    print_lines(commands_of_nodes(network), say)
                    async for _ in signals:
                        say("stopping")
                        return
                tracker, printer = BoundaryTracker(), EventPrinter(say)
                network.add_listener(tracker.on_event)
                network.add_listener(printer.on_event)
                await start(network, say)

                async def print_progress() -> None:
                    await network.genesis(GENESIS_SECONDS)
                    printer.silent = True
                    print_lines(invitation(network), say)
                    await print_rotations(tracker, say)

                async with background_task(print_progress):
                    async for _ in signals:
                        say("stopping")
                        break
                await network.stop_all()


async def stop_running(folder: Path | None) -> None:
    """Stop the network that runs in ``folder``, and wait until it is gone.

    Raises ``InputError`` if none does.
    """
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
    """Return the command by which the reader runs eigenkms."""
    return (
        "eigenkms" if shutil.which("eigenkms") else shlex.quote(str(Path(sys.executable).parent / "eigenkms"))
    )


def commands_of_nodes(network: Devnet) -> tuple[str, ...]:
    """Return the lines with the command that starts each operator's node."""
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
