"""Rotations of real processes, while the operator set changes and its members come and go; and what is left on their disks."""

from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from eigenkms.devnet.fault_schedule import FaultKind, ScheduledFault
from eigenkms.devnet.network import Devnet
from eigenkms.devnet.node_config import Timing
from eigenkms.devnet.rotation import run_rotation
from eigenkms.devnet.rotation_result import RotationResult
from tests.e2e.boundaries import Boundaries
from tests.support.databases import query
from tests.support.live_network import ENGINE
from tests.support.waiting import PATIENCE

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(10 * PATIENCE)]  # a long story
OPERATORS, ROTATIONS = 4, 5
TIMING = Timing(interval_blocks=12, block_seconds=60.0, window_seconds=1.0, on_demand=True)
"""Changes of the set take fewer transactions, hence blocks, than an interval has. Nobody waits for 60 s."""
LEAVER, JOINER = 1, 4
PLAN = (
    ScheduledFault(1, FaultKind.KILL, 0, during=True),
    ScheduledFault(2, FaultKind.RESTART, 0),
    ScheduledFault(2, FaultKind.JOIN, JOINER),
    ScheduledFault(3, FaultKind.LEAVE, LEAVER),
    ScheduledFault(4, FaultKind.MOVE, 2),
)


async def mine(network: Devnet, served: Callable[[int], bool]) -> None:
    """Boundaries all the time, each when the last session is over and the client has decrypted since."""
    boundaries = Boundaries(network, set(), meanwhile=served, quiet=60.0)
    with boundaries.demanded():
        await boundaries.run()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[RotationResult, Path]:
    """What came of the story, and the folder that it happened in."""
    folder = tmp_path_factory.mktemp("rotation") / "net"

    async def run() -> RotationResult:
        with trio.fail_after(8 * PATIENCE):
            return await run_rotation(ROTATIONS, OPERATORS, ENGINE, folder, TIMING, print, PLAN, mine)

    return trio.run(run), folder


def test_every_boundary_is_certified_and_no_decryption_fails(told: tuple[RotationResult, Path]) -> None:
    """While one is killed in the midst of a session and comes back, one joins, one leaves, one moves: one master key throughout."""
    result, _ = told
    assert result.faults == []
    assert result.rotations >= ROTATIONS
    assert len(result.master_keys) == 1
    assert result.failed_decrypts == 0
    assert len(result.versions) > 1, "the client stayed with one version"


def test_the_set_changed(told: tuple[RotationResult, Path]) -> None:
    """Four, then five with who joined, then four without who left; and all of it was planned."""
    result, _ = told
    sizes = [row.operators for row in result.rows]
    assert (sizes[0], max(sizes), sizes[-1]) == (4, 5, 4)
    happened = [event for row in result.rows for event in row.events]
    assert happened == [
        "operator 1 killed",
        "operator 1 restarted",
        "operator 5 joined",
        "operator 2 left",
        "operator 3 moved",
    ]


def test_only_the_newest_share_is_left(told: tuple[RotationResult, Path]) -> None:
    """All members hold a share of the newest version and none older, who joined too; who left has none."""
    result, folder = told
    members = {index: folder / f"operator-{index + 1}" / "data" / "eigenkms.db" for index in range(5)}
    held = {index: _shares(database) for index, database in members.items()}
    assert held.pop(LEAVER) == []
    newest = max(row.version for row in result.rows if row.version is not None)
    (last,) = held[0]
    assert last >= newest
    assert held == {index: [last] for index in held}


def _shares(database: Path) -> list[int]:
    """Versions of which a share is on the disk."""
    rows = query(database, "SELECT version FROM versions WHERE sealed_share IS NOT NULL ORDER BY version")
    return [version for (version,) in rows]


def test_nobody_was_accused(told: tuple[RotationResult, Path]) -> None:
    """Crashes, moves and late comers are no fault that evidence is kept of."""
    _, folder = told
    for index in range(5):
        assert (
            query(folder / f"operator-{index + 1}" / "data" / "eigenkms.db", "SELECT * FROM evidence") == []
        )


def test_nodes_that_were_asked_to_stop_did(told: tuple[RotationResult, Path]) -> None:
    """Nothing in a log is an error."""
    _, folder = told
    for index in range(5):
        log = (folder / f"operator-{index + 1}" / "node.log").read_text()
        assert '"level": "error"' not in log, log
