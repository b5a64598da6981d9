"""What whoever watches a devnet is told, line by line."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from eigenkms.devnet.console import print_lines, print_stderr
from eigenkms.devnet.network import Devnet
from eigenkms.devnet.node_config import Access
from eigenkms.devnet.scenarios import commands_of_nodes, invitation


def network(access: Access) -> Devnet:
    """One that has what these lines are made of."""
    member = SimpleNamespace(name="operator 1", config=Path("/net/operator-1/node.toml"))
    node = SimpleNamespace(member=member, process=SimpleNamespace(pid=4711))
    return cast(
        "Devnet",
        SimpleNamespace(
            client_config=Path("/net/client.toml"), access=access, members=[member], nodes={0: node}
        ),
    )


def test_the_lines_to_try_a_network_with_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """They can be copied: no end of line is written out as a foreign one would be."""
    print_lines(invitation(network(Access())), print_stderr)
    head, encrypt, decrypt, status, pids, end = capsys.readouterr().err.splitlines()
    assert head == "the network has a master key; try, in another terminal:"
    for verb, line in {"encrypt": encrypt, "decrypt": decrypt, "status": status}.items():
        assert f" {verb} --config /net/client.toml" in line
    assert (pids, end) == ("process ids: operator 1 4711", "Ctrl-C stops everything")


def test_the_lines_of_an_attested_network_begin_with_an_application(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its id is what the others name."""
    print_lines(invitation(network(Access("attested", {"attestation_methods": ["ecdsa"]}))), print_stderr)
    lines = capsys.readouterr().err.splitlines()
    assert lines[1].startswith("  APP=$(")
    assert all('--app-id "$APP"' in line for line in lines[2:4])


def test_the_commands_that_start_nodes_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """One for each operator."""
    print_lines(commands_of_nodes(network(Access())), print_stderr)
    first, node, end = capsys.readouterr().err.splitlines()
    assert first.startswith("no nodes were started; ")
    assert node.endswith(" node --config /net/operator-1/node.toml")
    assert end == "Ctrl-C stops the chain"
