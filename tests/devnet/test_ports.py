"""Ports for nodes: free now, and not to be taken by a connection before the node starts."""

import socket
from pathlib import Path

import pytest

from eigenkms.devnet import ports
from eigenkms.devnet.ports import LOWEST, free_ports
from eigenkms.errors import NetworkError


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


def test_one_that_somebody_holds_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of three that there are."""
    few = tmp_path / "range"
    few.write_text(f"{LOWEST + 3}\t60999\n")
    monkeypatch.setattr(ports, "_OWN_RANGE", few)
    three = free_ports(3)
    with socket.create_server(("127.0.0.1", three[1])):
        assert sorted(free_ports(2)) == sorted([three[0], three[2]])
        with pytest.raises(NetworkError, match=r"find 3 free ports: there are 2 between 10000 and 10003"):
            free_ports(3)
