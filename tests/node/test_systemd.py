"""The node and systemd's protocol: datagrams to NOTIFY_SOCKET, and signs of life at half the time that the watchdog allows."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from eigenkms.node.systemd import SystemdNotifier


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """The value of NOTIFY_SOCKET, and the socket there."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@eigenkms-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        bound.setblocking(False)
        yield name, bound


def test_a_state_is_one_datagram(listener: tuple[str, socket.socket]) -> None:
    """To a socket in the file system, and to one of the abstract name space."""
    name, bound = listener
    SystemdNotifier({"NOTIFY_SOCKET": name}).notify("READY=1")
    assert bound.recv(100) == b"READY=1"
    with pytest.raises(BlockingIOError):
        bound.recv(100)


async def test_signs_of_life_come_twice_as_often_as_needed(
    listener: tuple[str, socket.socket], virtual_clock: MockClock
) -> None:
    """WATCHDOG_USEC is in microseconds."""
    name, bound = listener
    systemd = SystemdNotifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "3000000"})
    with trio.move_on_after(4):
        await systemd.run_watchdog()
    assert [bound.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    with pytest.raises(BlockingIOError):
        bound.recv(100)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "1000"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "0"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "soon"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
    ],
)
async def test_nobody_that_watches_is_no_trouble(environ: dict[str, str]) -> None:
    """No socket, one that is gone, a watch over another process: nothing happens, and nothing beats."""
    systemd = SystemdNotifier(environ)
    assert systemd.interval is None
    systemd.notify("READY=1")
    await systemd.run_watchdog()


def test_a_listener_that_does_not_listen_costs_no_time(tmp_path: Path) -> None:
    """Its queue is full; nothing blocks."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(tmp_path / "notify"))
        systemd = SystemdNotifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        for _ in range(2000):
            systemd.notify("WATCHDOG=1")
