"""Ports for nodes: free now, and not to be taken by a connection before the node starts."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eigenkms.devnet import ports
from eigenkms.devnet.ports import LOWEST, free_ports
from eigenkms.errors import NetworkError
from tests.support.waiting import PATIENCE


def test_they_are_distinct_and_none_that_a_connection_may_get() -> None:
    """By asking for more than would be so by chance."""
    found = free_ports(100)
    assert len(set(found)) == 100
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as own,
    ):
        assert min(found) >= LOWEST
        assert max(found) < min(own.getsockname()[1], server.getsockname()[1])


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """There are three ports, where no other test looks."""
    few = tmp_path / "range"
    few.write_text("9003\t60999\n")
    held: list[socket.socket] = []
    monkeypatch.setattr(ports, "LOWEST", 9000)
    monkeypatch.setattr(ports, "PORT_RANGE_FILE", few)
    monkeypatch.setattr(ports, "_reserved", held)
    yield
    for each in held:
        each.close()


@pytest.mark.usefixtures("three")
def test_one_that_somebody_listens_on_is_passed_over() -> None:
    """Of three that there are; what was found in vain is given back."""
    with socket.create_server(("127.0.0.1", 9001)):
        with pytest.raises(NetworkError, match=r"find 3 free ports: there are 2 between 9000 and 9003"):
            free_ports(3)
        assert sorted(free_ports(2)) == [9000, 9002]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a port that is held cannot be listened on")
@pytest.mark.usefixtures("three")
def test_nobody_else_gets_what_one_got() -> None:
    """Neither before its node listens nor after that has stopped, in another process neither; and the node does listen."""
    got = free_ports(2)
    look = "import pathlib, sys; from eigenkms.devnet import ports; ports.LOWEST = 9000; "
    look += "ports.PORT_RANGE_FILE = pathlib.Path(sys.argv[1]); print(ports.free_ports(1))"

    def other() -> str:
        words = [sys.executable, "-c", look, str(ports.PORT_RANGE_FILE)]
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout

    (left,) = {9000, 9001, 9002} - set(got)
    assert other() == f"[{left}]\n"
    with (
        socket.create_server(("127.0.0.1", got[0])) as server,
        socket.create_connection(server.getsockname()),
    ):
        assert other() == f"[{left}]\n"
    assert other() == f"[{left}]\n"
    assert free_ports(1) == [left]


def test_a_process_that_reserved_ports_ends_without_a_warning() -> None:
    """It closes the sockets that hold them."""
    code = "from eigenkms.devnet.ports import free_ports; print(len(free_ports(3)))"
    words = [sys.executable, "-W", "always::ResourceWarning", "-c", code]
    ended = subprocess.run(words, capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert (ended.stdout, ended.stderr) == ("3\n", "")
