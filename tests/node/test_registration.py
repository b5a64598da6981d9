"""A node's own registration: the key on chain must be the keystore's."""

import logging
from pathlib import Path

import pytest

from eigenkms.crypto import bn254
from eigenkms.errors import InputError
from tests.node.test_app import _all_is_heard, said
from tests.support.fake_network import FakeNetwork
from tests.support.nodes import a_node

__all__ = ["_all_is_heard"]


async def test_a_registered_operator_starts_without_a_word(
    network: FakeNetwork, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Member of the set, with the key of the keystore."""
    for index in range(4):
        network.place(index, f"/ip4/127.0.0.1/tcp/1/p2p/{network.operators[index].peer.peer_id}")
    with a_node(network, 0, tmp_path) as node:
        await node.check_registration()
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


async def test_an_operator_that_is_no_member_yet_is_told_to_wait(
    network: FakeNetwork, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no error: it may be registered while the node runs."""
    network.chain.operators = network.chain.operators[1:]
    with a_node(network, 0, tmp_path) as node:
        await node.check_registration()
    (line,) = said(caplog, "waiting to be registered")
    assert network.operators[0].address.hex() in line


async def test_another_key_than_the_registered_one_is_refused(network: FakeNetwork, tmp_path: Path) -> None:
    """Whatever it signed would be refused by all others."""
    with a_node(network, 0, tmp_path, key=bn254.KeyPair.from_secret(4711)) as node:
        with pytest.raises(InputError, match=network.operators[0].address.hex()) as error:
            await node.check_registration()
        assert "keystore" in str(error.value.hint)
