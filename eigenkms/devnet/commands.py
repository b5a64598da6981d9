"""The real command line, used as a stranger would: ``eigenkms VERB …`` in a process of its own, in the network's folder."""

import shlex
import subprocess
import sys
import time
from pathlib import Path

import trio

from eigenkms.devnet.network import Network, Say
from eigenkms.errors import EigenKmsError, NetworkError

COMMAND_SECONDS = 40.0
APP_ID = "my-app"


async def encrypt(network: Network, say: Say, secret: Path, output: str) -> None:
    """Encrypt a file of the network's folder. Raises ``NetworkError``."""
    await run_command(network, say, "encrypt", "--app-id", APP_ID, "-o", output, secret.name)


async def decrypt(network: Network, say: Say, ciphertext: str, secret: Path, output: str) -> float:
    """Decrypt and compare with ``secret``; the seconds it took, process start included.

    Raises ``NetworkError``, and ``EigenKmsError`` if the two files differ.
    """
    begun = time.monotonic()
    await run_command(network, say, "decrypt", "--app-id", APP_ID, "-o", output, ciphertext)
    took = time.monotonic() - begun
    if await trio.Path(network.folder / output).read_bytes() != await trio.Path(secret).read_bytes():
        raise EigenKmsError("compare the decrypted file with the secret: they differ")
    say(f"decrypted in {took:.2f} s; the file equals the secret")
    return took


async def run_command(network: Network, say: Say, verb: str, *arguments: str) -> None:
    """Run ``eigenkms VERB`` with the network's client configuration. Raises ``NetworkError`` with what it said."""
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
