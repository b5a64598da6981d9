"""The real command in real processes, and a master key whose secret the tests know.

``SCRIPT`` is what a user runs. It imports for seconds, so tests run it themselves only to signal it or to see it start;
``eigenkms`` forks the same command from a process that has imported everything (``forker``).
"""

import atexit
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path

import pexpect
import pytest

from eigenkms.client.ciphertexts import decrypt
from eigenkms.crypto import backends
from eigenkms.crypto.bls import partial_sign
from eigenkms.crypto.ibe_identities import identity_of, identity_v1
from eigenkms.crypto.ibe_v2 import ApplicationKey, Recipient
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.types import AppId, Cluster
from eigenkms.wire.session import cluster_id
from tests.support.forker import ask, forker
from tests.support.waiting import PATIENCE, wait_until

SCRIPT = str(Path(sys.executable).with_name("eigenkms"))
MASTER_SECRET = SecretScalar(0x1234567890ABCDEF)
APP = "my-app"
CLUSTER = Cluster(31337, b"\xa1" * 20, 0)
CLUSTER_FLAGS = ("--chain-id", str(CLUSTER.chain_id), "--avs", "0x" + CLUSTER.avs.hex())

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


def clean_environment(**more: str) -> dict[str, str]:
    """Ours without EIGENKMS_ variables of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EIGENKMS_")}
    return kept | more


def eigenkms(
    *args: str | Path, stdin: bytes = b"", cwd: Path | None = None, closed: Sequence[int] = (), **env: str
) -> "subprocess.CompletedProcess[bytes]":
    """Run the command without a terminal, in a process of its own; stdout and stderr as bytes. It starts without the descriptors
    that are ``closed``.
    """
    words = [str(arg) for arg in args]
    (in_read, in_write), (out_read, out_write), (err_read, err_write) = (os.pipe() for _ in range(3))
    theirs = (in_read, out_write, err_write)
    with ThreadPoolExecutor(3) as threads:
        try:
            ended = ask(
                _forker(),
                words,
                environment=clean_environment(**env),
                folder=cwd or Path.cwd(),
                descriptors=theirs,
                closed=closed,
            )
        finally:
            for each in theirs:
                os.close(each)
        threads.submit(_write, in_write, stdin)
        out, err = (threads.submit(_read, each) for each in (out_read, err_read))
        code = ended()
    return subprocess.CompletedProcess(words, code, out.result(), err.result())


@cache
def _forker() -> Path:
    """Return the socket of a forker that ends with this process."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(forker())


def _write(descriptor: int, data: bytes) -> None:
    with suppress(BrokenPipeError), os.fdopen(descriptor, "wb") as pipe:
        pipe.write(data)


def _read(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as pipe:
        return pipe.read()


def _sleeps(pid: int) -> bool:
    """Whether the process waits for something, or is over. Ctrl-C between its last look at signals and its read would be kept for
    later.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] in ("S", "Z")


def on_terminal(
    *args: str | Path, typed: tuple[tuple[bytes, bytes], ...] = (), **env: str
) -> tuple[int, bytes]:
    """Run the command with a terminal of its own; wait for each prompt and type the answer.

    Returns exit code and what the terminal showed after the last prompt.
    """
    words = [str(word) for word in args]
    with pexpect.spawn(SCRIPT, words, env=clean_environment(**env), timeout=PATIENCE) as terminal:
        terminal.delaybeforesend = None
        for prompt, answer in typed:
            terminal.expect_exact(prompt)
            wait_until(lambda: _sleeps(terminal.pid), "the command reads what is typed")
            terminal.send(answer)
        terminal.expect_exact(pexpect.EOF)
        shown: bytes = terminal.before
        code: int = terminal.wait()
    return code, shown


@pytest.fixture(scope="session")
def mpk() -> str:
    """The master public key in hex."""
    curve = backends.bls12381()
    return curve.encode_g2(curve.secret_mul_g2(curve.g2, MASTER_SECRET.value)).hex()


@pytest.fixture(scope="session")
def app_key() -> bytes:
    """The key of application APP for ciphertexts of version 1, under the master secret."""
    return partial_sign(MASTER_SECRET, identity_v1(APP))


@pytest.fixture(scope="session")
def keys(mpk: str) -> dict[int, ApplicationKey]:
    """Its keys by ciphertext version, with what ciphertexts are bound to."""
    owner = Recipient(AppId(APP), cluster_id(CLUSTER), bytes.fromhex(mpk))
    return {
        version: ApplicationKey(owner, partial_sign(MASTER_SECRET, identity_of(version, owner.cluster, APP)))
        for version in (1, 2)
    }


@pytest.fixture(scope="session")
def key(keys: dict[int, ApplicationKey]) -> ApplicationKey:
    """That for the newest version."""
    return keys[2]


def opened(keys: dict[int, ApplicationKey], ciphertext: bytes) -> bytes:
    """The plaintext, by the key for the version that the ciphertext has."""
    return decrypt(keys[ciphertext[3]], ciphertext)


def lines(stderr: bytes) -> list[str]:
    return stderr.decode().splitlines()
