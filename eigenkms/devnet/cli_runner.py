"""Run the real command line, ``eigenkms VERB …``, in a process of its own."""

import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import trio

from eigenkms.devnet.network import Devnet, Say
from eigenkms.errors import EigenKmsError, NetworkError

COMMAND_SECONDS = 300.0
APP_ID = "my-app"
IMAGE = "sha256:" + "5a" * 32
"""The digest that stands for an image where none runs."""


async def application(network: Devnet, say: Say) -> str:
    """Return the id of an application to decrypt for.

    It is created if the policy demands one. Raises ``NetworkError``.
    """
    if network.access.policy == "open":
        return APP_ID
    said = await run_command(network, say, "devnet", "app", "create", arguments=("--image-digest", IMAGE))
    return said.strip()


async def encrypt(network: Devnet, say: Say, app_id: str, secret: Path, output: str) -> None:
    """Encrypt a file of the network's folder. Raises ``NetworkError``."""
    arguments = ("--app-id", app_id, "-o", output, secret.name)
    await run_command(network, say, "encrypt", arguments=arguments)


async def decrypt(
    network: Devnet, say: Say, app_id: str, ciphertext: str, secret: Path, output: str
) -> float:
    """Decrypt, compare with ``secret``, and return the seconds.

    They include the start of the process. If the policy demands it, decrypt as the application's creator. Raises ``NetworkError``,
    and ``EigenKmsError`` if the two files differ.
    """
    begun = time.monotonic()
    shown = () if network.access.policy == "open" else ("--attest", "ecdsa")
    arguments = ("--app-id", app_id, *shown, "-o", output, ciphertext)
    await run_command(network, say, "decrypt", arguments=arguments)
    took = time.monotonic() - begun
    if await trio.Path(network.folder / output).read_bytes() != await trio.Path(secret).read_bytes():
        raise EigenKmsError("compare the decrypted file with the secret: they differ")
    say(f"decrypted in {took:.2f} s; the file equals the secret")
    return took


async def run_command(network: Devnet, say: Say, *verb: str, arguments: Sequence[str]) -> str:
    """Run ``eigenkms VERB`` with the network's client configuration; its stdout.

    Raises ``NetworkError`` with what it said.
    """
    words = [*verb, "--config", network.client_config.name, *arguments]
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
                f"run eigenkms {' '.join(verb)}: exit code {done.returncode}: {done.stderr.decode().strip()[-500:]}"
            )
        return done.stdout.decode()
    raise NetworkError(f"run eigenkms {' '.join(verb)}: no result within {COMMAND_SECONDS:g} s")
