"""The release log on disk: what was told to be written is there, whatever ends the node, and nobody changes it unnoticed."""

import os
import signal
import sqlite3
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from eigenkms.crypto import bn254
from eigenkms.errors import StorageError
from eigenkms.protocols.records.audit_log import (
    BadLogError,
    Entry,
    LogHead,
    LogHeader,
    LogVerifier,
    sign_head,
)
from eigenkms.storage.audit_log_store import RELEASES_NAME, AuditLog, read_releases
from tests.support.audit_log_entries import HEADER, KEY, RELEASE, entry_body
from tests.support.databases import layout

GOLDEN = Path(__file__).parent / "golden" / "releases.sql"
sign = partial(sign_head, KEY)


def open_log(folder: Path, header: LogHeader = HEADER) -> AuditLog:
    return AuditLog.open(folder, header, sign)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[AuditLog]:
    with closing(open_log(tmp_path)) as log:
        yield log


def verified(folder: Path) -> list[Entry]:
    """All that is in the log. Raises ``BadLogError``."""
    with read_releases(folder) as reader:
        verifier = LogVerifier(reader.header, reader.signed)
        found = [verifier.take(entry) for entry in reader.entries()]
        verifier.finish()
    return found


def write(log: AuditLog, *numbers: int) -> None:
    log.append([entry_body(number) for number in numbers], sign)


def test_a_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    """After a restart, with the header that it began with."""
    with closing(open_log(tmp_path)) as log:
        write(log, 1)
        write(log, 2, 3)
    later = replace(HEADER, begun_ms=HEADER.begun_ms + 1000)
    with closing(open_log(tmp_path, later)) as log:
        assert (log.header, log.head.number) == (HEADER, 3)
        write(log, 4)
    assert [entry.release for entry in verified(tmp_path)] == [entry_body(n) for n in (1, 2, 3, 4)]


def test_an_empty_log_is_signed_too(tmp_path: Path) -> None:
    """So that its beginning can be noted."""
    with closing(open_log(tmp_path)) as log:
        assert log.head == LogHead(0, HEADER.hash)
    assert verified(tmp_path) == []


def test_it_is_read_while_the_node_writes(log: AuditLog, tmp_path: Path) -> None:
    """A reader sees the log as it was when it was opened; the writer does not wait for it."""
    write(log, 1, 2)
    with read_releases(tmp_path) as reader:
        entries = reader.entries()
        first = next(entries)
        write(log, 3)
        verifier = LogVerifier(reader.header, reader.signed)
        for entry in (first, *entries):
            verifier.take(entry)
        verifier.finish()
        assert reader.signed.head.number == 2
    assert len(verified(tmp_path)) == 3


def test_reading_changes_nothing(tmp_path: Path) -> None:
    """Of a node that runs or not."""
    with closing(open_log(tmp_path)) as log:
        write(log, 1)
    content = (tmp_path / RELEASES_NAME).read_bytes()
    assert len(verified(tmp_path)) == 1
    with read_releases(tmp_path) as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._database.execute("DELETE FROM entries")
    assert (tmp_path / RELEASES_NAME).read_bytes() == content


@pytest.mark.slow
def test_a_long_log_is_read_in_constant_memory(log: AuditLog, tmp_path: Path) -> None:
    """Page by page; and what begins in the midst begins there."""
    for _ in range(24):
        log.append([RELEASE] * 500, sign)
    tracemalloc.start()
    with read_releases(tmp_path) as reader:
        verifier, size = LogVerifier(reader.header, reader.signed), 0
        for entry in reader.entries():
            verifier.take(entry)
            size += len(entry)
        verifier.finish()
        assert len(list(reader.entries(after=9_000))) == 3_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20 < 2 * 2**20 < size


Change = tuple[str, str]
CHANGES: dict[str, Change] = {
    "removed": ("DELETE FROM entries WHERE number = 3", "entry 3 is missing, or not in its place: entry 4"),
    "cut off": ("DELETE FROM entries WHERE number > 4", "entry 5 is missing; the signed head is number 6"),
    "changed": (
        "UPDATE entries SET entry = CAST(replace(entry, 'app-3', 'app-9') AS BLOB) WHERE number = 3",
        "entry 4 does not continue entry 3",
    ),
    "swapped": (
        """
        UPDATE entries SET number = 105 - number WHERE number IN (2, 3);
        UPDATE entries SET number = number - 100 WHERE number > 100
        """,
        "entry 2 is missing, or not in its place: entry 3 stands there",
    ),
    "added": ("INSERT INTO entries SELECT 7, entry FROM entries WHERE number = 6", "entry 7 stands after"),
    "added before all": (
        "INSERT INTO entries SELECT 0, entry FROM entries WHERE number = 6",
        "entry 1 is missing, or not",
    ),
    "signature": (
        "UPDATE log SET head = CAST(substr(head, 1, length(head) - 1) || x'00' AS BLOB)",
        "the signature of its head",
    ),
    "head": ("UPDATE log SET head = x'c1'", "header or head is damaged"),
    "header": ("UPDATE log SET header = x'c1'", "header or head is damaged"),
    "no head": ("DELETE FROM log", "neither header nor head"),
}


def tamper(folder: Path, sql: str) -> None:
    with closing(sqlite3.connect(folder / RELEASES_NAME)) as connection:
        connection.executescript(sql)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_somebody_does_to_the_file_is_told(tmp_path: Path, change: Change) -> None:
    """With the database's own tools, while the node does not run."""
    with closing(open_log(tmp_path)) as log:
        write(log, 1, 2, 3)
        write(log, 4, 5, 6)
    tamper(tmp_path, change[0])
    with pytest.raises(BadLogError, match=change[1]):
        verified(tmp_path)


def test_another_operators_log_does_not_verify_under_my_header(tmp_path: Path) -> None:
    """Its entries put into my file."""
    mine, other = tmp_path / "mine", tmp_path / "other"
    for folder, header in ((mine, HEADER), (other, replace(HEADER, operator=b"\x0b" * 20))):
        with closing(open_log(folder, header)) as log:
            write(log, 1, 2)
    tamper(
        mine,
        f"ATTACH '{other / RELEASES_NAME}' AS o; DELETE FROM entries; INSERT INTO entries SELECT * FROM o.entries",
    )
    with pytest.raises(BadLogError, match="entry 1 does not continue this log's header"):
        verified(mine)


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM entries WHERE number = 2",
        "DELETE FROM entries",
        "UPDATE entries SET entry = x'c1' WHERE number = 2",
        "UPDATE log SET head = CAST(substr(head, 1, length(head) - 1) || x'00' AS BLOB)",
        "DELETE FROM log",
    ],
)
def test_a_log_whose_end_was_changed_is_not_continued(tmp_path: Path, sql: str) -> None:
    """The operator's signature would vouch for what somebody else wrote. The file stays as it is."""
    with closing(open_log(tmp_path)) as log:
        write(log, 1, 2)
    tamper(tmp_path, sql)
    before = (tmp_path / RELEASES_NAME).read_bytes()
    with pytest.raises(StorageError, match="verify release log") as error:
        open_log(tmp_path)
    assert "keep this file as evidence" in str(error.value.hint)
    assert (tmp_path / RELEASES_NAME).read_bytes() == before


@pytest.mark.parametrize(
    "header",
    [
        replace(HEADER, cluster=b"\xc2" * 32),
        replace(HEADER, operator=b"\x0b" * 20),
        replace(HEADER, key=bn254.KeyPair.from_secret(8).g2),
    ],
    ids=["cluster", "operator", "key"],
)
def test_a_log_is_of_one_operator_cluster_and_key(tmp_path: Path, header: LogHeader) -> None:
    """No other continues it."""
    open_log(tmp_path).close()
    with pytest.raises(StorageError, match="it is of another cluster, operator or key"):
        open_log(tmp_path, header)


def test_a_disk_that_refuses_leaves_the_log_as_it_was(log: AuditLog, tmp_path: Path) -> None:
    """All of an addition, or nothing, and the head with it."""
    write(log, 1)
    log._database.execute("PRAGMA max_page_count = 4")
    with pytest.raises(StorageError, match=r"write release log .*: the disk is full"):
        log.append([RELEASE] * 200, sign)
    assert log.head.number == 1
    assert len(verified(tmp_path)) == 1


WRITER = """
import sys
from pathlib import Path
from tests.storage.test_audit_log_store import open_log, write
log = open_log(Path(sys.argv[1]))
while True:
    write(log, log.head.number + 1, log.head.number + 2)
    print(log.head.number, flush=True)
"""


@pytest.mark.slow
def test_what_was_told_to_be_written_is_there_whatever_kills_the_node(tmp_path: Path) -> None:
    """SIGKILL in the midst of it: the log verifies, has all of it, and goes on."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process:
        told = [int(process.stdout.readline()) for _ in range(20)]
        os.kill(process.pid, signal.SIGKILL)
        told += [int(line) for line in process.stdout if line.endswith("\n")]
    assert len(verified(tmp_path)) in (told[-1], told[-1] + 2)
    with closing(open_log(tmp_path)) as log:
        assert log.head.number >= told[-1]
        write(log, 0)
    assert verified(tmp_path)[-1].release == entry_body(0)


@pytest.mark.slow
def test_a_reader_may_be_first_after_a_crash(tmp_path: Path) -> None:
    """What the killed node had written is read out of the write-ahead log."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process:
        told = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
    assert len(verified(tmp_path)) >= told


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 200])
def test_a_file_that_is_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    """By the node and by readers; it is left as it is."""
    path = tmp_path / RELEASES_NAME
    path.write_bytes(content)
    for use in (open_log, verified):
        with pytest.raises(StorageError, match="open database"):
            use(tmp_path)
    assert path.read_bytes() == content


def test_a_folder_without_a_log_has_none(tmp_path: Path) -> None:
    """Nothing is made there by looking."""
    with pytest.raises(StorageError, match=f"there is no {RELEASES_NAME}"):
        verified(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / RELEASES_NAME).touch()
    with pytest.raises(StorageError, match="nothing was ever written"):
        verified(tmp_path)


def test_the_file_is_private(log: AuditLog, tmp_path: Path) -> None:
    """It tells which applications asked, and how often."""
    write(log, 1)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def log_layout(folder: Path) -> str:
    open_log(folder).close()
    return layout(folder / RELEASES_NAME)


def test_its_layout_is_the_golden_one(tmp_path: Path) -> None:
    """A change on purpose means a new version, and this file made anew (``python -m tests.storage.test_audit_log_store``)."""
    assert log_layout(tmp_path) == GOLDEN.read_text()


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as made:
        GOLDEN.write_text(log_layout(Path(made)))
