"""Used evidence stays used: across a restart, a SIGKILL, and when there is no room for more."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from eigenkms.errors import StorageError
from eigenkms.storage.replay_cache import SPENT_NAME, ReplayCache, TokenUse, UseResult
from tests.support.databases import layout, query

NOW = 1_800_000_000.0
LATER = int(NOW) + 3600
GOLDEN = Path(__file__).parent / "golden" / "spent.sql"


FIRST, AGAIN, FULL = UseResult


def spend(spent: ReplayCache, number: int, until: int = LATER, now: float = NOW) -> UseResult:
    (outcome,) = spent.spend([TokenUse(number.to_bytes(32, "big"), until)], now)
    return outcome


def test_each_is_spent_once(tmp_path: Path) -> None:
    """And once more after a restart is not the first time."""
    spent = ReplayCache.open(tmp_path)
    assert [spend(spent, n) for n in (1, 2, 1)] == [FIRST, FIRST, AGAIN]
    spent.close()
    again = ReplayCache.open(tmp_path)
    assert [spend(again, n) for n in (1, 2, 3)] == [AGAIN, AGAIN, FIRST]
    again.close()


def test_many_are_spent_together(tmp_path: Path) -> None:
    """Each has its own outcome, one that stands there twice too, and there is room for no more than there is."""
    spent = ReplayCache.open(tmp_path, limit=3)
    uses = [TokenUse(n.to_bytes(32, "big"), LATER) for n in (1, 1, 2, 3, 4, 2)]
    assert spent.spend(uses, NOW) == [FIRST, AGAIN, FIRST, FIRST, FULL, FULL]
    spent.close()
    assert query(tmp_path / SPENT_NAME, "SELECT count(*) FROM spent") == [(3,)]


SPENDER = """
import sys
from pathlib import Path
from eigenkms.storage.replay_cache import ReplayCache, TokenUse
spent = ReplayCache.open(Path(sys.argv[1]))
number = 0
while True:
    spent.spend([TokenUse(number.to_bytes(32, "big"), 1_800_003_600)], 1_800_000_000.0)
    print(number, flush=True)
    number += 1
"""


def test_what_was_answered_is_spent_whatever_kills_the_node(tmp_path: Path) -> None:
    """SIGKILL in the midst of it: each one that was told to be spent is, in the next life."""
    process = subprocess.Popen(
        [sys.executable, "-c", SPENDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process:
        told = [int(process.stdout.readline()) for _ in range(50)]
        os.kill(process.pid, signal.SIGKILL)
        told += [int(line) for line in process.stdout if line.endswith("\n")]
    spent = ReplayCache.open(tmp_path)
    assert len(told) >= 50
    assert {spend(spent, n) for n in told} == {AGAIN}
    spent.close()


def test_a_full_memory_refuses_until_some_have_expired(tmp_path: Path) -> None:
    """Rather than forget one that could come again; also after a restart."""
    spent = ReplayCache.open(tmp_path, limit=3)
    for n in range(3):
        assert spend(spent, n, LATER + n) is FIRST
    for opened in (spent, None):
        full = opened or ReplayCache.open(tmp_path, limit=3)
        assert spend(full, 9) is FULL
        full.close()
    spent = ReplayCache.open(tmp_path, limit=3)
    assert [spend(spent, n, LATER + 99, LATER) for n in (9, 1, 10)] == [FIRST, FULL, FULL]
    spent.close()


def test_expired_ones_are_forgotten(tmp_path: Path) -> None:
    """Faster than new ones come, so the file does not grow, and there is room for others."""
    spent = ReplayCache.open(tmp_path, limit=50)
    for n in range(40):
        spend(spent, n)
    for n in range(40, 50):
        spend(spent, n, LATER + 3600, LATER)
    assert query(tmp_path / SPENT_NAME, "SELECT count(*) FROM spent") == [(10,)]
    outcomes = [spend(spent, n, LATER + 3600, LATER) for n in range(50, 91)]
    assert (outcomes.count(FIRST), outcomes[-1]) == (40, FULL)
    spent.close()


def test_of_many_at_once_one_is_the_first(tmp_path: Path) -> None:
    """Threads that spend the same."""
    spent = ReplayCache.open(tmp_path)
    found: list[UseResult] = []
    threads = [threading.Thread(target=lambda: found.append(spend(spent, 1))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found.count(FIRST), found.count(AGAIN)) == (1, 7)
    spent.close()


def test_a_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    """Damaged, or another database; it is left as it is."""
    path = tmp_path / SPENT_NAME
    for content in (b"no database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 200):
        path.write_bytes(content)
        with pytest.raises(StorageError, match="open database"):
            ReplayCache.open(tmp_path)
        assert path.read_bytes() == content


def test_the_file_is_private(tmp_path: Path) -> None:
    """It tells who asked for what, by hashes only, and still is nobody else's."""
    ReplayCache.open(tmp_path).close()
    assert (tmp_path / SPENT_NAME).stat().st_mode & 0o777 == 0o600


def spent_layout(folder: Path) -> str:
    ReplayCache.open(folder).close()
    return layout(folder / SPENT_NAME)


def test_its_layout_is_the_golden_one(tmp_path: Path) -> None:
    """A change on purpose means a new version, and this file made anew (``python -m tests.storage.test_replay_cache``)."""
    assert spent_layout(tmp_path) == GOLDEN.read_text()


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as made:
        GOLDEN.write_text(spent_layout(Path(made)))
        sys.stdout.write(f"{GOLDEN}\n")
