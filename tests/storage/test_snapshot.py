"""A database is read while another process writes to it: whole commits, nothing of the folder changed, nothing left on the disk."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from eigenkms.errors import InputError, StorageError
from eigenkms.storage.snapshot import snapshot
from eigenkms.storage.store import VersionRow
from eigenkms.storage.store_reader import read_store
from eigenkms.types import Version
from tests.storage.conftest import IDENTITY, PASSWORD, open_store, session

HASH = b"\x77" * 32
WRITER = """
import sys
from pathlib import Path
from tests.storage.conftest import open_store, session
from eigenkms.storage.store import Record
store = open_store(Path(sys.argv[1]))
for number in range(1, 100000):
    print(number, flush=True)
    store.open_session(session(number), number, b"header")
    store.append(session(number), [Record("a", bytes(3000), False), Record("b", bytes(3000), True)])
    if number % 7 == 0:
        store.shred_session(session(number))
"""


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()}


def test_a_snapshot_is_what_the_open_store_has(folder: Path) -> None:
    """Also what stands in the write-ahead log alone; reading it needs no lock and changes no file."""
    with open_store(folder) as store:
        store.open_session(session(1), 100, b"header")
        row = VersionRow(Version(7), session(1), HASH, b"t", b"c", True)
        store.add_version(row, b"secret share")
        before = files(folder)
        assert before["eigenkms.db-wal"][0], "nothing stands in the log"
        with read_store(folder) as copy:
            assert (copy.identity, copy.versions(), copy.newest_session) == (IDENTITY, store.versions(), 100)
            assert copy.settled == row
            assert copy.share(row, PASSWORD) == b"secret share"
            assert copy.rollback() is None
            with pytest.raises(InputError, match="the password does not open it"):
                copy.share(row, "wrong")
        assert files(folder) == before
        store.erase_share(HASH)
        with read_store(folder) as copy:
            assert copy.share(row, PASSWORD) is None
            assert copy.versions()[0].erased


def test_a_database_that_was_read_in_the_midst_of_a_checkpoint_is_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is empty before and after: a commit came and was moved into the database while that was read."""
    database, log = folder / "eigenkms.db", folder / "eigenkms.db-wal"
    with open_store(folder) as store:
        store.open_session(session(1), 100, b"header")
        store.shred_session(session(1))
    old = database.read_bytes()
    with open_store(folder) as store:
        store.open_session(session(2), 200, b"header" * 1000)
        store.shred_session(session(2))
    new = database.read_bytes()
    half = len(old) // 2
    assert not log.exists() or not log.read_bytes()
    read = iter([old[:half] + new[half:]])
    monkeypatch.setattr(
        "eigenkms.storage.snapshot._read", lambda path: b"" if path == log else next(read, new)
    )
    monkeypatch.setattr("eigenkms.storage.snapshot._PAUSE", 0.0)
    assert old[:half] != new[:half]
    with snapshot(database) as copy:
        assert copy.one("SELECT max(block_number) FROM sessions") == (200,)


def test_snapshots_of_a_busy_store_are_whole_commits(folder: Path) -> None:
    """A process that writes and cuts its log is stopped anywhere; each snapshot is sound and has whole transactions alone."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        counts = set()
        while len(counts) < 12:
            process.send_signal(signal.SIGCONT)
            assert process.stdout.readline()
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            with snapshot(folder / "eigenkms.db") as database:
                counts.add(database.one("SELECT count(*) FROM sessions")[0])
                odd = database.one(
                    "SELECT count(*) FROM records a JOIN sessions USING (session) WHERE shredded = 0 AND kind = 'a'"
                    " AND NOT EXISTS (SELECT 1 FROM records b WHERE b.session = a.session AND kind = 'b')"
                )
                assert odd == (0,)
    finally:
        process.kill()
        process.communicate()


def test_a_log_that_was_cut_short_counts_up_to_its_last_commit(folder: Path) -> None:
    """As after a loss of power: what SQLite itself would recover."""
    copied = folder.with_name("copied")
    with open_store(folder) as store:
        for number in range(5):
            store.set_meta("number", b"%d" % number)
        shutil.copytree(folder, copied)
    log = copied / "eigenkms.db-wal"
    log.write_bytes(log.read_bytes()[:-100])
    with snapshot(copied / "eigenkms.db") as database:
        mine = database.one("SELECT value FROM meta")
    raw = sqlite3.connect(copied / "eigenkms.db")
    assert mine == raw.execute("SELECT value FROM meta").fetchone() == (b"3",)
    raw.close()


def test_what_is_no_store_is_refused(folder: Path) -> None:
    """A sentence for a missing, an empty, a foreign, a damaged and a newer database."""
    with pytest.raises(StorageError, match="it is missing"), read_store(folder):
        pass
    with open_store(folder):
        pass
    path = folder / "eigenkms.db"
    whole = path.read_bytes()
    for content, message in (
        (b"", "it is empty"),
        (whole[:100] + bytes(4000) + whole[4100:], "the database is damaged"),
        (b"no database" * 1000, "the database is damaged"),
    ):
        path.write_bytes(content)
        with pytest.raises(StorageError, match=message), read_store(folder):
            pass
    path.write_bytes(whole)
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version = 7")
    raw.close()
    with pytest.raises(StorageError, match="newer eigenkms"), read_store(folder):
        pass
    path.write_bytes(whole)
    with read_store(folder) as copy:
        assert copy.rollback() is None
    (folder / "generation").write_bytes(b"%020d\n" % 999)
    with read_store(folder) as copy:
        rollback = copy.rollback()
        assert rollback is not None
        assert "older than its commit counter" in rollback.reason
