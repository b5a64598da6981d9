"""Every way in which a store must refuse to open: a clear sentence, nothing changed, nothing lost."""

import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from eigenkms.errors import InputError, StorageError
from eigenkms.storage.store import Record, Store, StoreIdentity
from eigenkms.types import ClusterId, OperatorAddress
from tests.storage.conftest import IDENTITY, PASSWORD, open_store, repeatable_rng, session

HOLDER = """
import sys
from pathlib import Path
from tests.storage.conftest import open_store, session
store = open_store(Path(sys.argv[1]))
store.set_meta("from", b"the holder")
print("open", flush=True)
sys.stdin.read()
"""


def files(folder: Path) -> dict[str, bytes]:
    """Contents by name, apart from the lock file, which names the last holder."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "lock"}


def fill(folder: Path) -> None:
    with open_store(folder) as store:
        store.open_session(session(1), 100, b"header")
        for i in range(50):
            store.append(session(1), [Record("dealing", bytes([i]) * 2000, secret=False)])


def hold(folder: Path) -> subprocess.Popen[str]:
    """A real other process with the store open."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


def test_a_new_store_is_private(folder: Path) -> None:
    """Folder 0700, files 0600, and only the first open is the one that created it."""
    with open_store(folder) as store:
        assert store.is_new
        assert not store.rolled_back
        store.set_meta("a", b"b")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()} == {0o600}
    with open_store(folder) as store:
        assert not store.is_new
        assert not store.rolled_back


def test_a_second_process_is_kept_out_and_told_who_has_it(folder: Path) -> None:
    """The lock names the holder and falls with it, also by SIGKILL; what the holder wrote is there."""
    process = hold(folder)
    with pytest.raises(StorageError, match=f"process {process.pid} is using it") as refused:
        open_store(folder)
    assert refused.value.hint == "stop that process first, or give this node its own --data-dir"
    process.kill()
    process.communicate()
    with open_store(folder) as store:
        assert store.get_meta("from") == b"the holder"
        assert not store.rolled_back


def test_one_process_opens_a_store_once(store: Store, folder: Path) -> None:
    """The lock also holds inside one process, and a refusal does not release it."""
    for _ in range(2):
        with pytest.raises(StorageError, match="is using it"):
            open_store(folder)
    store.set_meta("still", b"mine")


def test_a_wrong_password_changes_nothing(folder: Path) -> None:
    """InputError, and every file is byte for byte what it was."""
    fill(folder)
    before = files(folder)
    with pytest.raises(InputError, match="the password does not open it") as refused:
        open_store(folder, password="wrong")
    assert "wrong" not in str(refused.value)
    assert files(folder) == before
    with open_store(folder) as store:
        assert len(store.records(session(1))) == 50


def test_a_password_is_the_same_however_its_accents_are_typed(folder: Path) -> None:
    """Composed and decomposed forms of one password open one store."""
    open_store(folder, password="caf\u00e9").close()
    open_store(folder, password="cafe\u0301").close()


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        (StoreIdentity(IDENTITY.cluster_id, OperatorAddress(b"\x0b" * 20)), "belongs to operator 0x0a0a"),
        (StoreIdentity(ClusterId(b"\xc2" * 32), IDENTITY.operator), "belongs to cluster c1c1"),
    ],
)
def test_a_store_serves_one_operator_in_one_cluster(
    folder: Path, identity: StoreIdentity, message: str
) -> None:
    """Another identity is refused, and nothing changes."""
    fill(folder)
    before = files(folder)
    with pytest.raises(StorageError, match=message):
        open_store(folder, identity=identity)
    assert files(folder) == before


def test_a_newer_schema_is_left_alone(folder: Path) -> None:
    """The message names both numbers; nothing changes."""
    fill(folder)
    raw = sqlite3.connect(folder / "eigenkms.db")
    raw.execute("PRAGMA user_version = 7")
    raw.close()
    before = files(folder)
    with pytest.raises(
        StorageError, match=r"was written by a newer eigenkms \(schema 7, this one knows 2\)"
    ) as refused:
        open_store(folder)
    assert refused.value.hint is not None
    assert files(folder) == before


def test_a_foreign_database_is_left_alone(folder: Path) -> None:
    """Another program's SQLite file is not ours to write to."""
    folder.mkdir()
    raw = sqlite3.connect(folder / "eigenkms.db")
    raw.execute("CREATE TABLE theirs (a)")
    raw.close()
    before = files(folder)
    with pytest.raises(StorageError, match="it was not written by eigenkms"):
        open_store(folder)
    assert files(folder) == before


def test_a_damaged_database_is_named_and_kept(folder: Path) -> None:
    """Cut, overwritten or empty: a StorageError with a next step, and the file stays for whoever can mend
    it.
    """
    fill(folder)
    path = folder / "eigenkms.db"
    whole = path.read_bytes()
    middle = len(whole) // 2
    damaged = {
        "cut in the middle": whole[:middle],
        "cut in the first page": whole[:1000],
        "garbage": b"garbage" * 1000,
        "garbage in the middle": whole[:middle] + b"\xff" * 4096 + whole[middle + 4096 :],
        "empty": b"",
    }
    for what, content in damaged.items():
        path.write_bytes(content)
        with pytest.raises(StorageError, match=r"damaged|missing or empty") as refused:
            open_store(folder)
        assert refused.value.hint is not None, what
        assert path.read_bytes() == content, what
    path.write_bytes(whole)
    with open_store(folder) as store:
        assert len(store.records(session(1))) == 50


def test_a_lost_database_is_not_silently_made_anew(folder: Path) -> None:
    """A folder that has held a store and lost its database does not become a fresh node."""
    fill(folder)
    (folder / "eigenkms.db").unlink()
    with pytest.raises(StorageError, match="missing or empty, but this folder has held one"):
        open_store(folder)
    assert not (folder / "eigenkms.db").exists()


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    """A file where the folder should be."""
    (tmp_path / "node").write_text("a file")
    with pytest.raises(StorageError, match="create data folder"):
        open_store(tmp_path / "node")


def test_stored_scrypt_parameters_are_bounded(folder: Path) -> None:
    """A tampered cost does not take the machine's memory."""
    fill(folder)
    raw = sqlite3.connect(folder / "eigenkms.db")
    raw.execute("UPDATE store SET scrypt_n = 1 << 40")
    raw.commit()
    raw.close()
    with pytest.raises(StorageError, match="out of bounds"):
        open_store(folder)


def test_the_default_cost_takes_128_mib(folder: Path) -> None:
    """Tests use a cheap cost; nodes do not."""
    Store.open(folder, password=PASSWORD, identity=IDENTITY, rng=repeatable_rng()).close()
    raw = sqlite3.connect(folder / "eigenkms.db")
    n, r = raw.execute("SELECT scrypt_n, scrypt_r FROM store").fetchone()
    raw.close()
    assert 128 * n * r == 128 * 2**20


class TestRollback:
    """A database older than its mirror, or another file than last time, is known as a restored one."""

    def test_an_older_copy_in_the_same_file(self, folder: Path) -> None:
        """One commit is enough to tell; it stays told until acknowledged."""
        fill(folder)
        path = folder / "eigenkms.db"
        with open_store(folder):
            pass
        backup = path.read_bytes()
        with open_store(folder) as store:
            store.append(session(1), [Record("vote", b"prepare", secret=False)])
        path.write_bytes(backup)
        for _ in range(2):
            with open_store(folder) as store:
                assert store.rolled_back
        with open_store(folder) as store:
            store.acknowledge_rollback()
            assert not store.rolled_back
        with open_store(folder) as store:
            assert not store.rolled_back

    def test_a_copied_folder(self, folder: Path, tmp_path: Path) -> None:
        """A copy is another store than the one that may still run somewhere; the original is unharmed."""
        fill(folder)
        shutil.copytree(folder, tmp_path / "copy")
        with open_store(tmp_path / "copy") as store:
            assert store.rolled_back
        with open_store(folder) as store:
            assert not store.rolled_back

    @pytest.mark.parametrize("content", [None, b"", b"junk", b"x" * 21])
    def test_a_mirror_that_is_lost(self, folder: Path, content: bytes | None) -> None:
        """A database restored without its mirror is not trusted either."""
        fill(folder)
        (folder / "generation").unlink()
        if content is not None:
            (folder / "generation").write_bytes(content)
        with open_store(folder) as store:
            assert store.rolled_back
            assert len(store.records(session(1))) == 50

    def test_a_log_that_is_lost(self, folder: Path) -> None:
        """Commits that stood in the write-ahead log are missed when the log is deleted."""
        fill(folder)
        process = hold(folder)
        process.kill()
        process.communicate()
        (folder / "eigenkms.db-wal").unlink()
        with open_store(folder) as store:
            assert store.get_meta("from") is None
            assert store.rolled_back

    def test_a_mirror_that_lags(self, folder: Path) -> None:
        """A crash between commit and mirror is no rollback."""
        fill(folder)
        count = int((folder / "generation").read_bytes())
        (folder / "generation").write_bytes(b"%020d\n" % (count - 1))
        with open_store(folder) as store:
            assert not store.rolled_back
