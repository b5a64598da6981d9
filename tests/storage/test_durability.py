"""What an append returned for is there after SIGKILL and after a full disk; half an append never is."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eigenkms.errors import StorageError
from eigenkms.storage.store import Record, Store
from tests.storage.conftest import open_store, session
from tests.support.waiting import PATIENCE

WRITER = """
import sys
from pathlib import Path
from eigenkms.storage.store import Record
from tests.storage.conftest import open_store, session
store = open_store(Path(sys.argv[1]))
store.open_session(session(1), 100, b"")
number = len(store.records(session(1))) // 3
while True:
    body = b"%d" % number * 700
    store.append(session(1), [Record("a", body, False), Record("b", body, True), Record("c", body, False)])
    print(number, flush=True)
    number += 1
"""

KEEPER = """
import sys
from pathlib import Path
from tests.storage.conftest import open_store
store = open_store(Path(sys.argv[1]))
number = max(store.keys(), default=-1) + 1
while True:
    store.keep_key(number, b"%32d" % number)
    store.erase_keys(range(max(0, number - 4), max(0, number - 1)))
    print(number, flush=True)
    number += 1
"""

LIMITED = """
import resource, sys
from pathlib import Path
from eigenkms.errors import StorageError
from eigenkms.storage.store import Record
from tests.storage.conftest import open_store, session
store = open_store(Path(sys.argv[1]))
store.open_session(session(1), 100, b"")
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
count = 0
try:
    while True:
        store.append(session(1), [Record("a", b"x" * 9000, False), Record("b", b"%d" % count, True)])
        count += 1
except StorageError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.append(session(1), [Record("a", b"after", False), Record("b", b"%d" % count, True)])
print(count)
"""


def kill_after(folder: Path, appends: int, program: str = WRITER) -> int:
    """Run the writer until it reported ``appends`` more, SIGKILL it, return the last number that it
    reported.
    """
    command = [sys.executable, "-c", program, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(appends):
        last = process.stdout.readline()
    process.kill()
    with process.stdout:
        rest = process.stdout.read()
    process.wait(timeout=PATIENCE)
    lines = [line for line in rest.splitlines(keepends=True) if line.endswith("\n")]
    return int(lines[-1] if lines else last)


@pytest.mark.slow
def test_sigkill_loses_nothing_that_was_reported_and_tears_nothing(folder: Path) -> None:
    """Killed three times at full speed, at different depths of the write-ahead log."""
    for appends in (1, 40, 400):
        reported = kill_after(folder, appends)
        with open_store(folder) as store:
            assert not store.rolled_back
            records = store.records(session(1))
        assert len(records) % 3 == 0
        assert len(records) // 3 in (reported + 1, reported + 2)
        for number in range(len(records) // 3):
            body = b"%d" % number * 700
            whole = (Record("a", body, False), Record("b", body, True), Record("c", body, False))
            assert records[3 * number : 3 * number + 3] == whole


@pytest.mark.slow
def test_sigkill_brings_no_erased_encryption_key_back_and_loses_no_other(folder: Path) -> None:
    """What was reported as kept is there, what was reported as erased is not, and an erasure is whole or absent."""
    for steps in (1, 30, 200):
        reported = kill_after(folder, steps, KEEPER)
        with open_store(folder) as store:
            assert not store.rolled_back
            keys = store.keys()
        assert all(secret == b"%32d" % number for number, secret in keys.items())
        assert sorted(keys) in (
            [n for n in (reported - 1, reported) if n >= 0],
            [n for n in (reported - 1, reported, reported + 1) if n >= 0],
            [reported, reported + 1],
        )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)], check=False, capture_output=True
    )
    if made.returncode:
        pytest.skip("needs the right to mount a small file system; the file size limit test covers the rest")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def append_until_refused(store: Store, expected: list[Record]) -> None:
    """Pairs of records; ``expected`` grows by those that were accepted."""
    while True:
        pair = [Record("a", b"x" * 9000, False), Record("b", b"%d" % len(expected), True)]
        store.append(session(1), pair)
        expected += pair


def test_a_full_disk_loses_nothing(small_disk: Path) -> None:
    """The append that does not fit is refused whole; after space was freed the store goes on, also after
    reopening.
    """
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(300_000))
    expected: list[Record] = []
    with open_store(small_disk / "node") as store:
        store.open_session(session(1), 100, b"")
        with pytest.raises(StorageError, match=r"disk is full|input/output error") as full:
            append_until_refused(store, expected)
        assert full.value.hint is not None
        assert "free" in full.value.hint
        assert len(expected) > 10
        assert store.records(session(1)) == tuple(expected)
        ballast.unlink()
        store.append(session(1), [expected[0]])
        expected.append(expected[0])
    with open_store(small_disk / "node") as store:
        assert store.records(session(1)) == tuple(expected)
        assert not store.rolled_back


def test_a_disk_that_is_full_from_the_start_is_named(small_disk: Path) -> None:
    """No store can be made; once there is space, it can, as if nothing had been."""
    (small_disk / "ballast").write_bytes(bytes(1_000_000))
    with pytest.raises(StorageError, match=r"full|no space|input/output"):
        open_store(small_disk / "node")
    (small_disk / "ballast").unlink()
    with open_store(small_disk / "node") as store:
        store.set_meta("a", b"b")


def test_a_write_that_the_system_refuses_loses_nothing(folder: Path) -> None:
    """With a file size limit in the way, in a real process: refused whole, and it goes on when the limit is
    lifted.
    """
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(folder)],
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    message, count = done.stdout.splitlines()
    assert message.startswith("append to the journal in ")
    with open_store(folder) as store:
        records = store.records(session(1))
    assert [r.body for r in records if r.secret] == [b"%d" % i for i in range(int(count) + 1)]
    assert int(count) > 5
