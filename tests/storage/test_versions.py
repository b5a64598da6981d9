"""Upgrade and downgrade of what a node stores: what an older release wrote opens, and is migrated, whole or not at all; what a
newer one wrote is refused and left to the byte.

The golden files are dumps of the databases. To make one for a new version, run this module as a script; the old ones stay.
"""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from eigenkms import __version__
from eigenkms.errors import InputError, StorageError
from eigenkms.storage.audit_log_store import RELEASES_NAME, read_releases
from eigenkms.storage.replay_cache import SPENT_NAME, ReplayCache, UseResult
from eigenkms.storage.schema import RELEASES, SPENT, STORE, Schema
from eigenkms.storage.store import Record, Store
from eigenkms.storage.store_reader import read_store
from eigenkms.storage.writer_version import RELEASE_NAME, read_release
from tests.storage.conftest import PASSWORD, open_store, session
from tests.storage.test_audit_log_store import open_log, sign, verified
from tests.storage.test_golden import HASH, NUMBER, SECRET, example, schema
from tests.storage.test_replay_cache import LATER, spend
from tests.support.audit_log_entries import HEADER, entry_body
from tests.support.waiting import PATIENCE

GOLDEN = Path(__file__).parent / "golden"
FORMATS: dict[str, Schema] = {"eigenkms.db": STORE, SPENT_NAME: SPENT, RELEASES_NAME: RELEASES}


def open_any(folder: Path, name: str) -> None:
    """As a node does at its start."""
    match name:
        case "eigenkms.db":
            open_store(folder).close()
        case "spent.db":
            ReplayCache.open(folder).close()
        case _:
            open_log(folder).close()


def make_all(folder: Path) -> None:
    example(folder).close()
    with closing(ReplayCache.open(folder)) as spent:
        spend(spent, 7)
    with closing(open_log(folder)) as log:
        log.append([entry_body(1), entry_body(2)], sign)


def dump(path: Path) -> str:
    with closing(sqlite3.connect(path)) as raw:
        ids = [raw.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
        head = f"PRAGMA application_id = {ids[0]};\nPRAGMA user_version = {ids[1]};\n"
        return head + "".join(line + "\n" for line in raw.iterdump())


def load(name: str, folder: Path, version: int = 1) -> Path:
    """The golden file of this version as a database in ``folder``."""
    folder.mkdir(exist_ok=True)
    with closing(sqlite3.connect(folder / name)) as raw:
        raw.executescript((GOLDEN / f"{name}.v{version}.sql").read_text())
    return folder / name


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as raw:
        return int(raw.execute("PRAGMA user_version").fetchone()[0])


def check_example(store: Store) -> None:
    """What the golden files of all versions have: a journal, a version and its share."""
    assert store.records(session(1)) == (
        Record("vote", b"public", False),
        Record("share", b"secret record", True),
    )
    assert store.share(HASH) == b"secret share"
    assert [(row.prepared, row.share_held) for row in store.versions()] == [(False, True)]


def files(folder: Path) -> dict[str, bytes]:
    """Without the lock, and without what SQLite keeps beside a database to read it, as far as nothing stands in it."""
    found = (p for p in folder.iterdir() if p.name != "lock" and not p.name.endswith("-shm"))
    return {p.name: p.read_bytes() for p in found if p.stat().st_size}


def test_a_store_of_version_1_is_migrated(tmp_path: Path) -> None:
    """Journal and share, with the password of then; as it has no folder of its own any more, it is taken for a restored one."""
    path = load("eigenkms.db", tmp_path)
    with open_store(tmp_path) as store:
        check_example(store)
        assert store.rolled_back
        store.keep_key(NUMBER, SECRET)
    assert version_of(path) == 2
    with open_store(tmp_path) as store:
        check_example(store)
        assert store.keys() == {NUMBER: SECRET}
    with read_store(tmp_path) as copy:
        assert len(copy.versions()) == 1


def test_a_store_of_version_2_opens(tmp_path: Path) -> None:
    """Encryption keys too."""
    load("eigenkms.db", tmp_path, 2)
    with open_store(tmp_path) as store:
        check_example(store)
        assert store.keys() == {NUMBER: SECRET}


def test_a_migrated_store_has_the_tables_of_a_new_one(tmp_path: Path) -> None:
    """To the letter of their text, so there is one format of each version."""
    load("eigenkms.db", tmp_path)
    open_store(tmp_path).close()
    assert schema(tmp_path) == (GOLDEN / "schema.sql").read_text()


def test_a_copy_of_a_store_of_version_1_is_read_and_left_alone(tmp_path: Path) -> None:
    """What looks at a data folder migrates nothing in it."""
    load("eigenkms.db", tmp_path)
    before = files(tmp_path)
    with read_store(tmp_path) as copy:
        (row,) = copy.versions()
        assert copy.share(row, PASSWORD) == b"secret share"
    assert files(tmp_path) == before


def test_a_wrong_password_migrates_nothing(tmp_path: Path) -> None:
    """An older release still opens the folder."""
    path = load("eigenkms.db", tmp_path)
    with pytest.raises(InputError, match="the password does not open it"):
        open_store(tmp_path, password="wrong")
    assert version_of(path) == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from eigenkms.storage.database import Database
from eigenkms.storage.open_store import StoreOpener
from tests.storage.conftest import open_store
left, migrating = int(sys.argv[2]), False
execute, migrate = Database.execute, Database.migrate
def die(*_args, **_more):
    os.kill(os.getpid(), signal.SIGKILL)
def count(self, sql, *values):
    global left
    if migrating and left == 0:
        die()
    left -= migrating
    return execute(self, sql, *values)
def begin(self):
    global migrating
    migrating = True
    migrate(self)
    migrating = False
    if left == 0:
        die()
Database.execute, Database.migrate, StoreOpener.check_generation = count, begin, die
open_store(Path(sys.argv[1]))
"""


@pytest.mark.parametrize(("statements", "version"), [(0, 1), (1, 1), (2, 1), (3, 1), (4, 2)])
def test_a_migration_that_is_killed_leaves_either_version(
    tmp_path: Path, statements: int, version: int
) -> None:
    """Before each of its statements, before and after its commit; the next opening completes it."""
    path = load("eigenkms.db", tmp_path)
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(statements)]
    ended = subprocess.run(command, check=False, timeout=PATIENCE)
    assert ended.returncode == -signal.SIGKILL
    assert version_of(path) == version
    with open_store(tmp_path) as store:
        check_example(store)
    assert schema(tmp_path) == (GOLDEN / "schema.sql").read_text()


def test_used_evidence_of_version_1_stays_used(tmp_path: Path) -> None:
    """What was spent then is not spent again."""
    load(SPENT_NAME, tmp_path)
    with closing(ReplayCache.open(tmp_path)) as spent:
        assert [spend(spent, number, LATER) for number in (7, 8)] == [UseResult.AGAIN, UseResult.FIRST]


def test_a_release_log_of_version_1_is_continued(tmp_path: Path) -> None:
    """It verifies, and goes on from where it ended."""
    load(RELEASES_NAME, tmp_path)
    assert len(verified(tmp_path)) == 2
    with closing(open_log(tmp_path)) as log:
        assert log.header == HEADER
        log.append([entry_body(3)], sign)
    assert len(verified(tmp_path)) == 3


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("version", "words"), [(7, "a newer"), (0, "an older")])
def test_another_version_is_refused_and_left_alone(
    tmp_path: Path, name: str, version: int, words: str
) -> None:
    """Also where it stands beside files that are known; the message has the release that opened the folder last."""
    make_all(tmp_path)
    with closing(sqlite3.connect(tmp_path / name)) as raw:
        raw.execute(f"PRAGMA user_version = {version}")
    (tmp_path / RELEASE_NAME).write_text("9.1.0\n")
    before = files(tmp_path)
    known = FORMATS[name].version
    expected = rf"{name}: it was written by {words} eigenkms \(schema {version}, this one knows {known}\); .* by release 9\.1\.0$"
    with pytest.raises(StorageError, match=expected) as refused:
        open_any(tmp_path, name)
    assert refused.value.hint is not None
    assert refused.value.hint.endswith("nothing was changed")
    readers: dict[str, Callable[[], object]] = {
        "eigenkms.db": lambda: read_store(tmp_path).__enter__(),
        RELEASES_NAME: lambda: read_releases(tmp_path).__enter__(),
    }
    if name in readers:
        with pytest.raises(StorageError, match=f"written by {words} eigenkms"):
            readers[name]()
    assert files(tmp_path) == before


def test_a_folder_names_the_release_that_opened_it(tmp_path: Path) -> None:
    """Each opening of the store, and nothing that a terminal would obey."""
    assert read_release(tmp_path) is None
    open_store(tmp_path).close()
    assert read_release(tmp_path) == __version__
    for content in (b"9.1.0", b"\x1b[2J\n", b"\xff", b"x" * 200, b""):
        (tmp_path / RELEASE_NAME).write_bytes(content)
        assert read_release(tmp_path) == ("9.1.0" if content == b"9.1.0" else None)
        open_store(tmp_path).close()
        assert read_release(tmp_path) == __version__


def write() -> None:
    """Write the golden files of the present version; only together with a new schema number, under its own names."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        make_all(Path(folder))
        for name, schema in FORMATS.items():
            (GOLDEN / f"{name}.v{schema.version}.sql").write_text(dump(Path(folder) / name))


if __name__ == "__main__":
    write()
