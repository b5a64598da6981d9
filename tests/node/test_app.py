"""What a node may vote in, and what it believes about keys that were made without it."""

import logging
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from eigenkms.crypto import bn254
from eigenkms.errors import InputError
from eigenkms.node.app import Node
from eigenkms.p2p.host import open_host
from eigenkms.protocols import wire
from eigenkms.types import OperatorAddress
from tests.client.lies import CASES, Serving, false_epochs
from tests.client.village import ANYWHERE, Village, at_home, block_at, make_village
from tests.node.support import PATIENCE, Neighbour, a_node, keep_version, open_store


def said(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    return [r.getMessage() for r in caplog.records if words in r.getMessage()]


@pytest.fixture(autouse=True)
def _all_is_heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.DEBUG, logger="eigenkms.node.app")


# -- registration ------------------------------------------------------------------------------------------------


async def test_a_registered_operator_starts_without_a_word(
    village: Village, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Member of the set, with the key of the keystore."""
    for index in range(4):
        village.place(index, f"/ip4/127.0.0.1/tcp/1/p2p/{village.operators[index].peer.peer_id}")
    with a_node(village, 0, tmp_path) as node:
        await node.check_registration()
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


async def test_an_operator_that_is_no_member_yet_is_told_to_wait(
    village: Village, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no error: it may be registered while the node runs."""
    village.chain.operators = village.chain.operators[1:]
    with a_node(village, 0, tmp_path) as node:
        await node.check_registration()
    (line,) = said(caplog, "waiting to be registered")
    assert village.operators[0].address.hex() in line


async def test_another_key_than_the_registered_one_is_refused(village: Village, tmp_path: Path) -> None:
    """Whatever it signed would be refused by all others."""
    with a_node(village, 0, tmp_path, key=bn254.KeyPair.from_secret(4711)) as node:
        with pytest.raises(InputError, match=village.operators[0].address.hex()) as error:
            await node.check_registration()
        assert "keystore" in str(error.value.hint)


# -- votes that may have been forgotten --------------------------------------------------------------------------


async def may_join(node: Node, number: int) -> bool:
    return number > node._floor and await node._may_found(block_at(number))


async def test_a_new_folder_votes_above_the_newest_boundary_only_and_with_consent(
    village: Village, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It might be a lost one that began anew: not in block 100, which it may have seen, and not without --genesis."""
    with a_node(village, 0, tmp_path / "a") as node:
        await node.guard_votes()
        assert not await may_join(node, 110)
    assert len(said(caplog, "start with --genesis if this operator has never taken part")) == 1
    with a_node(village, 0, tmp_path / "b", genesis=True) as node:
        await node.guard_votes()
        assert not await may_join(node, 100)
        assert await may_join(node, 110)


async def test_consent_and_floor_are_remembered(village: Village, tmp_path: Path) -> None:
    """The next start needs no flag, and goes on from where the first one began."""
    with a_node(village, 0, tmp_path, genesis=True) as node:
        await node.guard_votes()
    village.chain.number = 155
    with a_node(village, 0, tmp_path) as node:
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
    village: Village, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing up to the newest boundary, and no genesis at all until the operator says so again."""
    folder = tmp_path / "node"
    with a_node(village, 0, folder, genesis=True) as node:
        await node.guard_votes()
    roll_back(folder, village.operators[0].address)
    village.chain.number = 155
    with a_node(village, 0, folder) as node:
        await node.guard_votes()
        assert not await may_join(node, 160)
    assert said(caplog, "a restored or copied one: not voting up to block 150")
    with a_node(village, 0, folder) as node:
        await node.guard_votes()
        assert not await may_join(node, 160)
    with a_node(village, 0, folder, genesis=True) as node:
        await node.guard_votes()
        assert not await may_join(node, 150)
        assert await may_join(node, 160)
    assert len(said(caplog, "restored or copied")) == 1


async def test_a_set_that_members_left_needs_the_operators_word(
    village: Village, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Who left may hold a key that the others forgot; remembered consent is not about that."""
    with a_node(village, 0, tmp_path, genesis=True) as node:
        await node.guard_votes()
        village.chain.left = True
        assert await may_join(node, 110)
    with a_node(village, 0, tmp_path) as node:
        await node.guard_votes()
        assert not await may_join(node, 110)
        assert said(caplog, "an operator once left this set and may hold a key")
        village.chain.left = False
        assert await may_join(node, 110)


async def test_a_known_version_ends_genesis(village: Village, tmp_path: Path) -> None:
    """With a share or without."""
    for with_share in (True, False):
        folder = tmp_path / str(with_share)
        keep_version(village, 0, folder, with_share=with_share)
        with a_node(village, 0, folder, genesis=True) as node:
            await node.guard_votes()
            assert not await may_join(node, 160)


# -- keys that were made without it ------------------------------------------------------------------------------


@asynccontextmanager
async def running(village: Village, node: Node) -> AsyncIterator[None]:
    """The first operator's node, in touch with whoever is at home."""
    await node.check_registration()
    await node.guard_votes()
    operator = village.operators[0]
    async with (
        open_host(
            operator.peer, listen=[ANYWHERE], gate=node.gate, topics=[wire.gossip_topic(node._cluster)]
        ) as host,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(node.run, host)
        yield
        nursery.cancel_scope.cancel()


async def neighbours_known(node: Node, count: int) -> None:
    with trio.fail_after(PATIENCE):
        while node.status()["peers"] != count:  # noqa: ASYNC110 - a node has no event for it
            await trio.sleep(0.02)


async def boundary_seen(caplog: pytest.LogCaptureFixture, number: int) -> str:
    """What the node says of a boundary once it has taken it in; what it asked others at it is answered by then."""
    with trio.fail_after(PATIENCE):
        while not (lines := said(caplog, f"boundary at block {number}: session")):  # noqa: ASYNC110 - a line of the log
            await trio.sleep(0.02)
    return lines[0]


@pytest.fixture
def late(village: Village, tmp_path: Path) -> Iterator[Node]:
    """The first operator's node, new, with consent: the others have a version that it took no part in."""
    with a_node(village, 0, tmp_path, genesis=True) as node:
        yield node


async def test_a_latecomer_adopts_the_version_that_the_chain_confirms(
    village: Village, late: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """It asks as soon as it is in touch. It has no share, says so, and joins the next rotation."""
    async with AsyncExitStack() as stack:
        for index in (1, 2, 3):
            await stack.enter_async_context(at_home(village, index, Neighbour(village)))
        await stack.enter_async_context(running(village, late))
        await neighbours_known(late, 3)
        with trio.fail_after(PATIENCE):
            while late.status()["transcript"] is None:  # noqa: ASYNC110 - a node has no event for it
                await trio.sleep(0.02)
        village.chain.number = 125
        line = await boundary_seen(caplog, 120)
        status = late.status()
    assert (status["transcript"], status["share"]) == (village.epoch.transcript.hash.hex(), False)
    assert said(caplog, "was settled while this node did not take part")
    assert not line.endswith(", not joined"), "it joins the rotation"


class Liar(Serving, Neighbour):
    """Says hello like an operator, and shows a false epoch."""


THREES = [CASES[i : i + 3] for i in range(0, len(CASES), 3)]


@pytest.mark.parametrize("cases", THREES, ids=", ".join)
async def test_a_false_version_keeps_nobody_from_genesis(
    village: Village, late: Node, caplog: pytest.LogCaptureFixture, cases: list[str]
) -> None:
    """Three neighbours, each with a lie of its own: what the chain does not confirm is not adopted, and the session is joined."""
    async with AsyncExitStack() as stack:
        for index, case in enumerate(cases, 1):
            liar = Liar(village, false_epochs(village)[case][0])
            await stack.enter_async_context(at_home(village, index, liar))
        await stack.enter_async_context(running(village, late))
        await neighbours_known(late, len(cases))
        village.chain.number = 115
        line = await boundary_seen(caplog, 110)
        with trio.fail_after(PATIENCE):
            while len(said(caplog, "settled version of ")) < len(cases):  # noqa: ASYNC110 - lines of the log
                await trio.sleep(0.02)
        status = late.status()
    assert (status["transcript"], status["phase"]) == (None, "dealing")
    assert not line.endswith("not joined")


async def test_nobody_but_operators_is_asked(
    village: Village, late: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """A neighbour that cannot prove which operator it is has no say, though its peer id stands on chain."""
    strangers = make_village(seed="strangers")
    ways = Neighbour(village)
    for index in (1, 2, 3):
        village.operators[index] = replace(village.operators[index], key=strangers.operators[index].key)
    async with AsyncExitStack() as stack:
        for index in (1, 2, 3):
            await stack.enter_async_context(at_home(village, index, ways))
        await stack.enter_async_context(running(village, late))
        with trio.fail_after(PATIENCE):
            while wire.HELLO not in ways.asked:  # noqa: ASYNC110 - the neighbours have no event for it
                await trio.sleep(0.02)
        village.chain.number = 115
        await boundary_seen(caplog, 110)
        assert late.status()["peers"] == 0
    assert wire.SETTLED not in ways.asked


async def test_a_chain_that_goes_down_costs_boundaries_and_no_more(
    village: Village, late: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """The node says it, shows it, and takes the next boundary when the chain is back."""
    async with running(village, late):
        village.chain.down = True
        with trio.fail_after(PATIENCE):
            while not late.status()["chain_error"]:  # noqa: ASYNC110 - a node has no event for it
                await trio.sleep(0.02)
        village.chain.down = False
        village.chain.number = 125
        await boundary_seen(caplog, 120)
        assert late.status()["chain_error"] is None
    assert said(caplog, "the chain answers again")


async def test_a_set_that_cannot_be_dealt_to_opens_no_session(
    village: Village, late: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """An empty one, for instance; the next boundary may be better."""
    operators = village.chain.operators
    async with running(village, late):
        village.chain.operators = ()
        village.chain.number = 115
        with trio.fail_after(PATIENCE):
            while not said(caplog, "boundary at block 110 has no session"):  # noqa: ASYNC110 - a line of the log
                await trio.sleep(0.02)
        village.chain.operators = operators
        village.chain.number = 125
        await boundary_seen(caplog, 120)
        assert late.status()["phase"] == "dealing"
