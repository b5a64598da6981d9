"""What ``eigenkms devnet`` does: tell the whole story once (``run``), keep a network up (``up``), stop one (``down``).

The story uses the real command line as a stranger would: ``eigenkms encrypt`` and ``eigenkms decrypt`` in processes of their own.
"""

import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from eigenkms.devnet.members import Member
from eigenkms.devnet.network import STATE_FILE, Network, Say, open_network, started_at
from eigenkms.devnet.scopes import alongside
from eigenkms.errors import EigenKmsError, InputError, NetworkError

GENESIS_SECONDS = 60.0
COMMAND_SECONDS = 40.0
DOWN_SECONDS = 15.0
APP_ID = "my-app"
_TOLD = ("boundary", "dealing revealed", "reported", "proposed", "voted", "certified", "void", "view")


def tell_stderr(line: str) -> None:
    """A line for whoever watches."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


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


async def run_story(operators: int, engine: str, folder: Path | None, say: Say = tell_stderr) -> StoryResult:
    """Genesis, encrypt, decrypt, kill one operator, decrypt again; everything is stopped at the end.

    Raises ``EigenKmsError`` naming the step that failed; a folder that was given keeps all logs.
    """
    begun = time.monotonic()
    async with open_network(folder, operators=operators, engine=engine, say=say) as network:
        await _start(network, say)
        started = time.monotonic()
        async with _progress(network, say):
            await network.genesis(GENESIS_SECONDS)
        genesis = await genesis_seconds(network)
        say(
            f"master key: certified by all {operators} operators {genesis:.2f} s after the first of them saw the boundary"
        )
        secret = network.folder / "secret.txt"
        secret.write_bytes(secrets.token_bytes(4096))
        await _command(network, say, "encrypt", "--app-id", APP_ID, "-o", "secret.ibe", "secret.txt")
        first = await _decrypt(network, say, secret, "decrypted.txt")
        victim = network.nodes[operators - 1]
        again = first
        if operators > 2:
            say(f"SIGKILL for {victim.member.name} (pid {victim.process.pid})")
            await victim.kill()
            again = await _decrypt(network, say, secret, "decrypted-again.txt")
        for index, code in (await network.stop_all()).items():
            node = network.nodes[index]
            if node is not victim and code != 0:
                raise NetworkError(
                    f"stop {node.member.name}: exit code {code}", hint=f"see {node.member.log}"
                )
        say("all nodes stopped")
        return StoryResult(
            operators, engine, started - begun, genesis, first, again, time.monotonic() - begun
        )


async def up(operators: int, engine: str, folder: Path | None, say: Say = tell_stderr) -> None:
    """Start a network, print the lines to try it with, and stay until SIGINT or SIGTERM."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with open_network(folder, operators=operators, engine=engine, say=say) as network:
            with network.announced():
                await _start(network, say)

                async def invite() -> None:
                    await network.genesis(GENESIS_SECONDS)
                    say(_invitation(network))

                async with _progress(network, say), alongside(invite):
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


async def _start(network: Network, say: Say) -> None:
    say(f"starting {len(network.members)} node processes, logs in {network.folder}")
    await network.start_all()
    interval = network.timing.interval_blocks * network.timing.block_seconds
    say(f"all nodes are up; the next boundary comes within {interval:g} s")


@asynccontextmanager
async def _progress(network: Network, say: Say) -> AsyncIterator[None]:
    """Say what the operators do, as it happens."""
    send, receive = trio.open_memory_channel[tuple[Member, dict[str, object]]](1024)
    for node in network.nodes.values():
        node.tell(send)

    async def tell() -> None:
        async for member, event in receive:
            if event["event"] in _TOLD:
                say(f"  {member.name}: {event['message']}")

    async with alongside(tell):
        yield


async def genesis_seconds(network: Network) -> float:
    """From the first operator that saw the boundary to the last that has the certificate."""
    boundaries = [await n.wait_event("boundary", 1) for n in network.nodes.values()]
    certificates = [await n.wait_event("certified", 1) for n in network.nodes.values()]
    return max(_seconds(e) for e in certificates) - min(_seconds(e) for e in boundaries)


def _seconds(event: dict[str, object]) -> float:
    """The time of a log line, in unix seconds."""
    from datetime import datetime

    return datetime.fromisoformat(str(event["time"])).timestamp()


async def _command(network: Network, say: Say, verb: str, *arguments: str) -> None:
    """Run ``eigenkms VERB …`` in the network's folder, as a stranger would."""
    words = [verb, "--config", network.client_config.name, *arguments]
    say("$ eigenkms " + shlex.join(words))
    with trio.move_on_after(COMMAND_SECONDS):
        done = await trio.run_process(
            [sys.executable, "-m", "eigenkms.cli.main", *words],
            cwd=network.folder,
            stdin=subprocess.DEVNULL,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
        if done.returncode:
            raise NetworkError(
                f"run eigenkms {verb}: exit code {done.returncode}: {done.stderr.decode().strip()[-500:]}"
            )
        return
    raise NetworkError(f"run eigenkms {verb}: no result within {COMMAND_SECONDS:g} s")


async def _decrypt(network: Network, say: Say, secret: Path, output: str) -> float:
    """Decrypt with the command line and compare; the seconds it took, process start included."""
    begun = time.monotonic()
    await _command(network, say, "decrypt", "--app-id", APP_ID, "-o", output, "secret.ibe")
    took = time.monotonic() - begun
    if await trio.Path(network.folder / output).read_bytes() != await trio.Path(secret).read_bytes():
        raise EigenKmsError("compare the decrypted file with the secret: they differ")
    say(f"decrypted in {took:.2f} s; the file equals the secret")
    return took


def _invitation(network: Network) -> str:
    config = shlex.quote(str(network.client_config))
    command = (
        "eigenkms" if shutil.which("eigenkms") else shlex.quote(str(Path(sys.executable).parent / "eigenkms"))
    )
    pids = ", ".join(f"{node.member.name} {node.process.pid}" for node in network.nodes.values())
    return "\n".join(
        (
            "the network has a master key; try, in another terminal:",
            f"  echo 'attack at dawn' | {command} encrypt --config {config} --app-id {APP_ID} -o secret.ibe",
            f"  {command} decrypt --config {config} --app-id {APP_ID} secret.ibe",
            f"  {command} status --config {config}",
            f"process ids: {pids}",
            "Ctrl-C stops everything",
        )
    )
