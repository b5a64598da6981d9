"""What came of a boundary is read from the logs of nodes that see it at different moments, restart, and miss it."""

from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from eigenkms.crypto.bn254 import KeyPair
from eigenkms.devnet.boundary_tracker import BoundaryRecord, BoundaryTracker
from eigenkms.devnet.operators import DevnetOperator
from eigenkms.errors import NetworkError
from eigenkms.types import OperatorAddress


def member(index: int) -> DevnetOperator:
    return DevnetOperator(
        index, OperatorAddress(bytes([index]) * 20), Path(), 9000, "peer", "socket", KeyPair.from_secret(1)
    )


def at(second: float) -> str:
    return f"2026-01-01T00:00:{second:06.3f}Z"


def boundary(rounds: BoundaryTracker, index: int, block: int, second: float, operators: int = 4) -> None:
    event = {"event": "boundary", "block": block, "session": f"s{block}", "operators": operators}
    rounds.on_event(member(index), {**event, "time": at(second)})


def certified(
    rounds: BoundaryTracker, index: int, block: int, second: float, *, event: str = "certified"
) -> None:
    told = {"event": event, "session": f"s{block}", "version": 1000 + block, "time": at(second)}
    rounds.on_event(member(index), told)


@pytest.fixture
def rounds() -> BoundaryTracker:
    """Four operators made a key at block 10: the first saw it at second 1, the quorum had it at 3, the last at 4."""
    rounds = BoundaryTracker()
    for index, seen in enumerate((1.5, 1.0, 1.2, 2.0)):
        boundary(rounds, index, 10, seen)
    for index, when in enumerate((2.5, 4.0, 3.0, 2.75)):
        certified(rounds, index, 10, when)
    return rounds


def test_seconds_run_from_the_first_that_saw_to_the_quorum_and_to_the_last(rounds: BoundaryTracker) -> None:
    """Three of four are a quorum."""
    found = rounds.at(10)
    assert (found.quorum, found.seconds, found.last_seconds) == (3, 2.0, 3.0)
    assert rounds.genesis_seconds == 3.0
    assert found.certified.version == 1010


def test_a_quorum_is_more_than_two_of_four() -> None:
    """With two there is no outcome and no time."""
    rounds = BoundaryTracker()
    boundary(rounds, 0, 10, 1.0)
    for index in (0, 1):
        certified(rounds, index, 10, 2.0)
    found = rounds.at(10)
    assert (found.is_certified, found.seconds, found.last_seconds) == (False, None, 1.0)


def test_a_certificate_may_be_told_of_before_the_boundary() -> None:
    """A node that is slow to log what it saw loses nothing."""
    rounds = BoundaryTracker()
    for index in range(3):
        certified(rounds, index, 10, 2.0 + index)
    boundary(rounds, 3, 10, 1.0)
    assert rounds.at(10).seconds == 3.0


def test_the_share_comes_after_the_certificate(rounds: BoundaryTracker) -> None:
    """It is decrypted then, or once its rows were fetched; both moments are kept, and a second telling changes neither."""
    boundary(rounds, 0, 20, 11.0)
    certified(rounds, 0, 20, 12.0)
    for second in (13.0, 14.0):
        certified(rounds, 0, 20, second, event="share held")
    found = rounds.at(20).certified
    assert found.shares[0] - found.taken[0] == 1.0
    assert (len(found.shares), found.erased) == (1, {})


def test_erasing_is_told_of_the_version_that_is_erased(rounds: BoundaryTracker) -> None:
    """By its session, without its number; it certifies nothing, and a version without a session is nobody's."""
    boundary(rounds, 0, 20, 21.0)
    erased = {"event": "erased", "transcript": "ab", "time": at(22.0)}
    rounds.on_event(member(0), {**erased, "session": "s10"})
    rounds.on_event(member(1), erased)
    found = rounds.at(10).certified
    assert (found.version, set(found.erased), len(found.taken)) == (1010, {0}, 4)
    assert (rounds.at(20).certified.erased, rounds.at(20).is_certified) == ({}, False)


async def test_the_outcome_is_a_quorum(rounds: BoundaryTracker, autojump_clock: trio.abc.Clock) -> None:
    """It is waited for, whoever comes third."""
    boundary(rounds, 0, 20, 11.0)
    found: list[BoundaryRecord] = []

    async def wait() -> None:
        found.append(await rounds.outcome(20, 100.0))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        for index in (0, 1):
            certified(rounds, index, 20, 12.0)
            await wait_all_tasks_blocked()
            assert not found
        certified(rounds, 3, 20, 12.0)
    assert found[0].is_certified


async def test_the_next_boundary_ends_a_session_without_a_certificate(
    rounds: BoundaryTracker, autojump_clock: trio.abc.Clock
) -> None:
    """The outcome is that there is none."""
    boundary(rounds, 0, 20, 11.0)
    boundary(rounds, 2, 30, 21.0)
    found = await rounds.outcome(20, 1.0)
    assert (found.block, found.is_certified, found.seconds) == (20, False, None)
    with pytest.raises(NetworkError, match="certify the boundary at block 30: not within 1 s"):
        await rounds.outcome(30, 1.0)


async def test_a_network_is_whole_when_all_hold_a_share_of_the_newest_version(
    rounds: BoundaryTracker, autojump_clock: trio.abc.Clock
) -> None:
    """A certificate is not enough, nor are shares of the version before."""
    for index in range(3):
        certified(rounds, index, 10, 3.0, event="share held")
    assert (await rounds.all_hold({0, 1, 2}, 1.0)).block == 10
    boundary(rounds, 0, 20, 11.0)
    for index in range(3):
        certified(rounds, index, 20, 12.0)
    with pytest.raises(NetworkError, match="hold their shares of the newest version: not within 1 s"):
        await rounds.all_hold({0, 1, 2}, 1.0)
    for index in range(3):
        certified(rounds, index, 20, 13.0, event="share held")
    assert (await rounds.all_hold({0, 1, 2}, 1.0)).block == 20


async def test_boundaries_are_gone_through_in_order(
    rounds: BoundaryTracker, autojump_clock: trio.abc.Clock
) -> None:
    """Also those that were seen while nobody waited, and with a gap where one was missed by all."""
    boundary(rounds, 0, 20, 11.0)
    boundary(rounds, 0, 40, 31.0)
    assert [(await rounds.after(block, 1.0)).block for block in (0, 10, 20)] == [10, 20, 40]
    with pytest.raises(NetworkError, match="see a boundary after block 40"):
        await rounds.after(40, 1.0)


def test_no_certificate_is_no_genesis() -> None:
    """The error says what was looked for."""
    rounds = BoundaryTracker()
    boundary(rounds, 0, 10, 1.0)
    with pytest.raises(NetworkError, match="no operator has a certificate"):
        _ = rounds.genesis
