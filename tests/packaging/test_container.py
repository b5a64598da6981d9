"""The image and the compose file, as far as they go without containers: the services of ``packaging/compose.yaml`` are run
as processes of this machine, with the same commands, variables, health checks and order; the state volume is a temporary folder.

One of the nodes runs as the systemd unit would run it: it tells systemd's socket that it is up, and no memory of it may be
executable once it was writable (``MemoryDenyWriteExecute``), which its native libraries have to bear.
"""

import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from eigenkms.config.schema import SETTINGS
from eigenkms.devnet.ports import free_ports
from eigenkms.node.systemd import SystemdNotifier
from tests.support.doc_pages import ROOT
from tests.support.waiting import PATIENCE, wait_until

STATE = "/var/lib/eigenkms"
DOCKERFILE = (ROOT / "packaging" / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "packaging" / "compose.yaml").read_text())
HEALTH = json.loads(re.search(r"^HEALTHCHECK .*?CMD (\[.*?\])$", DOCKERFILE, re.MULTILINE | re.DOTALL)[1])  # type: ignore[index]
_PR_SET_MDWE, _REFUSE_EXEC_GAIN = 65, 1


def image_environment() -> dict[str, str]:
    """What the image sets for every service."""
    found = re.search(r"^ENV (.*?[^\\])$", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert found
    return dict(pair.split("=", 1) for pair in found[1].replace("\\\n", " ").split())


def deny_write_execute() -> None:
    """As MemoryDenyWriteExecute does; kernels older than 6.3 know nothing of it."""
    ctypes.CDLL(None).prctl(_PR_SET_MDWE, _REFUSE_EXEC_GAIN, 0, 0, 0)


@dataclass
class Local:
    """The compose file's services on this machine: paths below ``folder``, other ports for the monitoring listeners."""

    folder: Path
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    ports: dict[str, str] = field(default_factory=dict)

    def here(self, text: str) -> str:
        return re.sub(r"127\.0\.0\.1:946\d", self._moved, text.replace(STATE, str(self.folder)))

    def _moved(self, found: "re.Match[str]") -> str:
        return self.ports.setdefault(found[0], f"127.0.0.1:{free_ports(1)[0]}")

    def environment(self, service: str) -> dict[str, str]:
        own = COMPOSE["services"][service].get("environment", {})
        said = image_environment() | own | {"PATH": os.environ["PATH"]}
        kept = {"PYTHONPATH", "PYTHONPYCACHEPREFIX"} & set(os.environ)
        return {name: self.here(value) for name, value in said.items()} | {n: os.environ[n] for n in kept}

    def start(self, service: str, **popen: Any) -> None:
        command = COMPOSE["services"][service]["command"]
        environment = self.environment(service) | popen.pop("env", {})
        with (self.folder / f"{service}.log").open("wb") as log:
            self.running[service] = subprocess.Popen(
                [sys.executable, "-m", "eigenkms.cli.main", *map(self.here, command)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **popen,
            )

    def log(self, service: str) -> str:
        return (self.folder / f"{service}.log").read_text()

    def has_said(self, service: str, event: str) -> bool:
        return f'"event": "{event}"' in self.log(service)

    def client(self, *arguments: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        """``docker compose run client …``."""
        return subprocess.run(
            [sys.executable, "-m", "eigenkms.cli.main", *arguments],
            env=self.environment("client"),
            input=stdin,
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        )

    def healthy(self, service: str) -> bool:
        """By the service's own health check, else the image's."""
        check = COMPOSE["services"][service].get("healthcheck", {}).get("test", ["CMD", *HEALTH])
        assert check[0] == "CMD"
        words = [sys.executable if word == "python3" else self.here(word) for word in check[1:]]
        return not subprocess.run(
            words, env=self.environment(service), capture_output=True, check=False
        ).returncode

    def wait(self, service: str, condition: Callable[[], bool]) -> None:
        """Look every now and then, as the runtime does; fail with the log if one of the services ends."""

        def look() -> bool:
            for each, process in self.running.items():
                assert process.poll() is None, f"{each} ended:\n{self.log(each)}"
            return condition()

        wait_until(look, lambda: f"{service}:\n{self.log(service)}")

    def stop(self, service: str) -> int:
        process = self.running[service]
        process.send_signal(signal.SIGTERM)
        return process.wait(PATIENCE)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    services = Local(tmp_path)
    yield services
    for process in services.running.values():
        process.kill()
        process.wait()


class Notified:
    """A socket as systemd has it for a service: what arrives is read at once, as its queue holds ten datagrams."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while (datagram := self._socket.recv(100)) != b"CLOSE=1":
            self.told.append(datagram.decode())

    def close(self) -> None:
        SystemdNotifier({"NOTIFY_SOCKET": str(self.path)}).notify("CLOSE=1")
        self._reader.join()
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Notified]:
    """Where NOTIFY_SOCKET of the first operator leads."""
    notified = Notified(tmp_path / "notify")
    yield notified
    notified.close()


@pytest.mark.e2e
@pytest.mark.slow
def test_the_services_of_the_compose_file_are_a_network(local: Local, systemd: Notified) -> None:
    """Health checks pass, there is a master key, a client encrypts and decrypts, SIGTERM ends every service with 0."""
    order = [name for name, each in COMPOSE["services"].items() if "profiles" not in each]
    assert order == ["chain", *(f"operator-{n}" for n in range(1, 5))]
    assert not local.folder.joinpath("devnet").exists()
    local.start("chain")
    local.wait("chain", partial(local.healthy, "chain"))
    watched = {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "1000000"}
    local.start(order[1], env=watched, preexec_fn=deny_write_execute)
    for service in order[2:]:
        local.start(service)

    for service in order[1:]:
        local.wait(service, partial(local.has_said, service, "certified"))
        local.wait(service, partial(local.healthy, service))
    assert set(systemd.told) == {"WATCHDOG=1", "READY=1"}

    assert local.client("status").returncode == 0
    ciphertext = local.client("encrypt", "--app-id", "my-app", stdin=b"attack at dawn").stdout
    assert local.client("decrypt", "--app-id", "my-app", stdin=ciphertext).stdout == b"attack at dawn"

    assert {service: local.stop(service) for service in reversed(order)} == dict.fromkeys(order, 0)
    assert systemd.told[-1] == "STOPPING=1"
    assert systemd.told.count("READY=1") == 1
    assert not any(local.healthy(service) for service in order)


def test_services_are_confined() -> None:
    """Read-only root, no capabilities, no new privileges, the unit's memory and no swap; only chain and nodes run by default."""
    for name, service in COMPOSE["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["volumes"] == [f"network:{STATE}"]
        assert "user" not in service
        assert "ports" not in service
        assert (service["mem_limit"], service["memswap_limit"], service["pids_limit"]) == (
            "1536m",
            "1536m",
            256,
        )


def test_variables_of_the_image_are_settings() -> None:
    """What the image and the services set, the program knows."""
    services: list[Mapping[str, str]] = [s.get("environment", {}) for s in COMPOSE["services"].values()]
    ours = {
        name for each in (image_environment(), *services) for name in each if name.startswith("EIGENKMS_")
    }
    assert ours <= {setting.variable for setting in SETTINGS.values()} | {"EIGENKMS_CONFIG"}


def test_the_image_runs_as_nobody_in_particular_and_holds_no_secret() -> None:
    """The last stage has a user that is not root; every file that is copied in is one that the repository has."""
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    user = re.search(r"^USER (\d+):(\d+)$", last, re.MULTILINE)
    assert user
    assert int(user[1]) >= 1000
    assert f"--uid {user[1]} " in last
    assert {line.split()[0] for line in last.splitlines() if line.startswith("COPY")} == {"COPY"}
    assert re.findall(r"^COPY (.*)$", last, re.MULTILINE) == ["--from=build /opt/eigenkms /opt/eigenkms"]
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        n for words in re.findall(r"^COPY ([^-].*) \S+$", DOCKERFILE, re.MULTILINE) for n in words.split()
    }
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)
    assert "--require-hashes -r requirements.lock" in DOCKERFILE
