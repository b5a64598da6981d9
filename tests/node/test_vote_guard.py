"""Where a store may vote: not at boundaries whose votes it may have forgotten, and in a genesis only with consent."""

import shutil
from pathlib import Path

import pytest

from eigenkms.types import OperatorAddress
from tests.node.test_app import _all_is_heard, said
from tests.support.fake_network import FakeNetwork, block_at
from tests.support.local_node import LocalNode
from tests.support.nodes import a_node, keep_version, open_store

__all__ = ["_all_is_heard"]


async def may_join(node: LocalNode, number: int) -> bool:
    guard, block = node.state.guard, block_at(number)
    return guard.may_vote_at(block) and await guard.may_join_genesis(block)


async def test_a_new_folder_votes_above_the_newest_boundary_only_and_with_consent(
    network: FakeNetwork, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It might be a lost one that began anew: not in block 100, which it may have seen, and not without --genesis."""
    with a_node(network, 0, tmp_path / "a") as node:
        await node.guard_votes()
        assert not await may_join(node, 110)
    assert len(said(caplog, "start with --genesis if this operator has never taken part")) == 1
    with a_node(network, 0, tmp_path / "b", genesis=True) as node:
        await node.guard_votes()
        assert not await may_join(node, 100)
        assert await may_join(node, 110)


async def test_consent_and_floor_are_remembered(network: FakeNetwork, tmp_path: Path) -> None:
    """The next start needs no flag, and goes on from where the first one began."""
    with a_node(network, 0, tmp_path, genesis=True) as node:
        await node.guard_votes()
    network.chain.number = 155
    with a_node(network, 0, tmp_path) as node:
        await node.guard_votes()
        assert await may_join(node, 110)
        assert not await may_join(node, 100)


def roll_back(folder: Path, operator: OperatorAddress) -> None:
    """Restore yesterday's copy of the data folder's database."""
    backup = folder.parent / "backup.db"
    shutil.copy(folder / "eigenkms.db", backup)
    for number in range(3):
        with open_store(folder, operator) as store:
            store.set_meta("today", bytes([number]))
    for name in ("eigenkms.db-wal", "eigenkms.db-shm"):
        (folder / name).unlink(missing_ok=True)
    shutil.copy(backup, folder / "eigenkms.db")


async def test_a_restored_folder_gives_up_what_it_may_have_voted_in(
    network: FakeNetwork, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing up to the newest boundary, and no genesis at all until the operator says so again."""
    folder = tmp_path / "node"
    with a_node(network, 0, folder, genesis=True) as node:
        await node.guard_votes()
    roll_back(folder, network.operators[0].address)
    network.chain.number = 155
    with a_node(network, 0, folder) as node:
        await node.guard_votes()
        assert not await may_join(node, 160)
    assert said(caplog, "a restored or copied one: not voting up to block 150")
    with a_node(network, 0, folder) as node:
        await node.guard_votes()
        assert not await may_join(node, 160)
    with a_node(network, 0, folder, genesis=True) as node:
        await node.guard_votes()
        assert not await may_join(node, 150)
        assert await may_join(node, 160)
    assert len(said(caplog, "restored or copied")) == 1


async def test_a_set_that_members_left_needs_the_operators_word(
    network: FakeNetwork, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Who left may hold a key that the others forgot; remembered consent is not about that."""
    with a_node(network, 0, tmp_path, genesis=True) as node:
        await node.guard_votes()
        network.chain.left = True
        assert await may_join(node, 110)
    with a_node(network, 0, tmp_path) as node:
        await node.guard_votes()
        assert not await may_join(node, 110)
        assert said(caplog, "an operator once left this set and may hold a key")
        network.chain.left = False
        assert await may_join(node, 110)


async def test_a_known_version_ends_genesis(network: FakeNetwork, tmp_path: Path) -> None:
    """With a share or without."""
    for with_share in (True, False):
        folder = tmp_path / str(with_share)
        keep_version(network, 0, folder, with_share=with_share)
        with a_node(network, 0, folder, genesis=True) as node:
            await node.guard_votes()
            assert not await may_join(node, 160)
