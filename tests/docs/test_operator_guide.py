"""docs/operator-guide.md, followed word by word on anvil: a fifth operator joins four, lives, and leaves."""

import fcntl
import json
import os
import signal
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.docs.run_doc_commands import Step, follow_page, make_clone, terminals
from tests.support.live_network import eigenkms
from tests.support.tools import require

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import libp2p
    import libp2p.pubsub.gossipsub  # noqa: F401

SECRET = "only five can keep it"


class Witness:
    """Looks at the network from outside between the guide's steps."""

    def __init__(self, clone: Path, folder: Path) -> None:
        self._clone = clone
        self._folder = folder
        self.seen: list[str] = []

    def __call__(self, step: Step) -> None:
        if step.command.startswith("until curl") or step.command.endswith(
            "share repair --config node.toml --wait"
        ):
            self._needs_the_fifth()
        if "deregister" in step.command:
            assert len(json.loads(self._eigenkms("operator", "list", "--json"))["operators"]) == 4
            self.seen.append("left")

    def _needs_the_fifth(self) -> None:
        """One founder is stopped, so that of five operators the four that are left are all needed."""
        pid = int((self._clone / "my-devnet/operator-1/data/lock").read_text())
        plain, sealed = (self._folder / name for name in ("plain", "sealed"))
        plain.write_text(SECRET)
        self._eigenkms("encrypt", "--app-id", "my-app", "-o", sealed, plain)
        os.kill(pid, signal.SIGSTOP)
        try:
            assert self._eigenkms("decrypt", "--app-id", "my-app", sealed) == SECRET
        finally:
            os.kill(pid, signal.SIGCONT)
        sealed.unlink()
        self.seen.append("served")

    def _eigenkms(self, *words: str | Path) -> str:
        """As a user of the network, with its own configuration."""
        done = eigenkms(*words, "--config", self._clone / "my-devnet/client.toml")
        assert done.code == 0, done.err
        return done.out


@contextmanager
def the_guides_ports() -> Iterator[None]:
    """Wait until no other run of the tests on this machine has the ports that the guide names."""
    with (Path(tempfile.gettempdir()) / "eigenkms-guide-ports.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.anvil
@pytest.mark.filterwarnings(
    "ignore:Async generator 'httpx:ResourceWarning"
)  # a request that the client cancelled
def test_a_fifth_operator_lives_by_the_guide_alone(tmp_path: Path) -> None:
    """From an empty account to serving, a new peer id and address, a backup, a lost disk, and out again; each step is a command."""
    require("anvil")
    clone = make_clone(tmp_path / "clone")
    with the_guides_ports(), terminals(clone, tmp_path, (1, 2, 3)) as shells:
        shells[3].type("export EIGENKMS_LOG_FORMAT=text")  # as at a terminal
        shells[3].finish()
        witness = Witness(clone, tmp_path)
        assert follow_page("docs/operator-guide.md", shells, witness) > 35
    assert witness.seen == ["served", "served", "left"]
    assert {path.name for path in clone.iterdir()} == {"scripts", ".venv"}
