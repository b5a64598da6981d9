"""A devnet as a user starts it, with the policy attested; a Confidential Space VM's launcher, and its issuer of tokens."""

import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue

import pytest

from tests.cli.conftest import clean_environment
from tests.support.launcher import Launcher, launch
from tests.support.live_network import ENGINE, Loop
from tests.support.token_issuer import APP, PROJECT, Authority, Endpoint, jwk, jwk_set, make_authority, serve
from tests.support.waiting import PATIENCE

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import libp2p
    import libp2p.pubsub.gossipsub  # noqa: F401


@dataclass(frozen=True)
class Devnet:
    """``folder`` has what ``eigenkms devnet up`` writes; ``launcher`` makes tokens that its operators believe."""

    folder: Path
    launcher: Launcher

    @property
    def config(self) -> Path:
        return self.folder / "client.toml"


def run(*words: str | Path) -> str:
    """A Python program to its end, which must be a good one; what it printed."""
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def attested_network(folder: Path, issuer: Endpoint, authority: Authority) -> "subprocess.Popen[str]":
    """``eigenkms devnet up``, whose operators accept the creator's signature and tokens of ``issuer``."""
    return subprocess.Popen(
        [
            *(
                sys.executable,
                "-m",
                "eigenkms.cli.main",
                "devnet",
                "up",
                "--engine",
                ENGINE,
                "--dir",
                str(folder),
            ),
            *("--policy", "attested", "--attestation-method", "ecdsa", "--attestation-method", "gcp"),
            *("--attestation-project", PROJECT, "--attestation-gcp-keys", issuer.url),
            *("--attestation-ca", str(authority.ca)),
        ],
        env=clean_environment(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_ready(process: "subprocess.Popen[str]") -> None:
    """Wait until it prints that there is a master key; each line has the whole deadline. All that it prints is read to its end."""
    lines: Queue[str] = Queue()
    assert process.stdout is not None
    output = process.stdout

    def read() -> None:
        for line in output:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    said: list[str] = []
    while not (said and "the network has a master key" in said[-1]):
        try:
            said.append(lines.get(timeout=PATIENCE))
        except Empty:
            pytest.fail(f"no master key, and nothing for {PATIENCE:g} s:\n" + "".join(said))
        assert said[-1], "it ended:\n" + "".join(said)


@pytest.fixture(scope="package")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devnet]:
    authority = make_authority(tmp_path_factory.mktemp("authority"))
    issuer = Endpoint(body=jwk_set(jwk("k1")))
    folder = tmp_path_factory.mktemp("devnet") / "net"
    with tempfile.TemporaryDirectory() as short, Loop.opened() as loop:
        loop.enter(lambda: loop.stack.enter_async_context(serve(authority, issuer)))
        launching = launch(Path(short) / "tee.sock", APP)
        launcher = loop.enter(lambda: loop.stack.enter_async_context(launching))
        process = attested_network(folder, issuer, authority)
        try:
            wait_ready(process)
            yield Devnet(folder, launcher)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE)
            assert process.stdout is not None
            process.stdout.close()
