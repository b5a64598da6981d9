"""A data folder that a node cannot open is told from one that it can, and begun anew without a vote or a file being lost."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from eigenkms.errors import StorageError
from eigenkms.maintenance.repair import Health, StoreCondition, assess_store, reset
from eigenkms.storage.data_dir import FolderLock
from eigenkms.storage.rebuild import RESTORED
from eigenkms.storage.replay_cache import ReplayCache
from eigenkms.storage.rows import StoreIdentity
from eigenkms.storage.store_reader import read_store
from tests.support.fake_network import CLUSTER, FakeNetwork
from tests.support.nodes import CHEAP, PASSWORD, a_node, keep_version, open_log, open_store
from tests.support.randomness import counter_rng


@pytest.fixture
def folder(tmp_path: Path, network: FakeNetwork) -> Path:
    """Of an operator that holds a share of the network's version."""
    path = tmp_path / "data"
    keep_version(network, 0, path)
    ReplayCache.open(path).close()
    open_log(network, 0, path).close()
    return path


def look(folder: Path, network: FakeNetwork, password: str = PASSWORD) -> StoreCondition:
    return assess_store(folder, StoreIdentity(CLUSTER, network.operators[0].address), password)


def begin_anew(folder: Path, network: FakeNetwork, aside: str = "aside") -> Path:
    identity = StoreIdentity(CLUSTER, network.operators[0].address)
    return reset(folder, identity, PASSWORD, counter_rng("reset"), aside=aside, cost=CHEAP)


def spoil(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:100] + bytes(4000) + content[4100:])


def test_sound_and_empty_folders_need_nothing(folder: Path, network: FakeNetwork, tmp_path: Path) -> None:
    """The newest share that is held is told; a reset is refused; nothing changes."""
    with open_store(folder, network.operators[0].address):
        found = look(folder, network)
    assert (found.health, found.share) == (Health.SOUND, network.epoch.transcript.version)
    for path, word in ((folder, "sound"), (tmp_path / "none", "empty")):
        assert look(path, network).health.value == word
        with pytest.raises(StorageError, match=f"it is {word}, there is nothing to move aside"):
            begin_anew(path, network)


@pytest.mark.parametrize("what", ["spent", "releases"])
def test_a_sound_store_stays_where_something_beside_it_is_damaged(
    folder: Path, network: FakeNetwork, what: str
) -> None:
    """What is damaged lies aside; the share is held as before, and the votes are known as before."""
    spoil(folder / f"{what}.db")
    broken, lying = look(folder, network), (folder / f"{what}.db").read_bytes()
    assert (broken.health, broken.broken, broken.needs_reset) == (Health.SOUND, (f"{what}.db",), True)
    aside = begin_anew(folder, network)
    assert {path.name for path in aside.iterdir()} >= {f"{what}.db"}
    assert not (aside / "eigenkms.db").exists()
    assert (aside / f"{what}.db").read_bytes() == lying
    found = look(folder, network)
    assert (found.health, found.share, found.broken) == (Health.SOUND, network.epoch.transcript.version, ())
    with read_store(folder) as copy:
        assert copy.meta(RESTORED) is None


@pytest.mark.parametrize("what", ["damaged", "missing", "empty", "password", "sealed", "old"])
def test_each_breakage_is_told_and_begun_anew(folder: Path, network: FakeNetwork, what: str) -> None:
    """What was broken lies aside, the rest stays; the node that starts then votes in nothing of the past, and founds no genesis."""
    database = folder / "eigenkms.db"
    kept = database.read_bytes()
    match what:
        case "damaged":
            spoil(database)
        case "missing":
            database.unlink()
        case "empty":
            database.write_bytes(b"")
        case "password":
            database.unlink()
            os.truncate(folder / "generation", 0)
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr("tests.support.nodes.PASSWORD", "another")
                keep_version(network, 0, folder)
        case "sealed":
            raw = sqlite3.connect(database)
            raw.execute("UPDATE versions SET sealed_share = zeroblob(60)")
            raw.commit()
            raw.close()
        case "old":
            (folder / "generation").write_bytes(b"%020d\n" % 10**6)
    broken = look(folder, network)
    assert broken.needs_reset == (what != "old"), broken
    lying = {p.name: p.read_bytes() for p in folder.iterdir() if p.name in ("spent.db", "releases.db")}
    aside = begin_anew(folder, network)
    if what not in ("missing", "damaged", "empty", "password", "sealed"):
        assert (aside / "eigenkms.db").read_bytes() == kept
    for name, content in lying.items():
        there = aside if what in name else folder
        assert (there / name).read_bytes() == content
    assert look(folder, network).health is Health.OLD, "it is not to be trusted to know its votes"
    with read_store(folder) as copy:
        assert copy.meta(RESTORED) == b"aside"
    with a_node(network, 0, folder, genesis=True) as node:
        trio.run(node.guard_votes)
        assert node.state.guard.limits.floor == 100
        assert not node.state.guard.limits.genesis_consent


def test_what_is_not_broken_but_wrong_is_left_alone(folder: Path, network: FakeNetwork) -> None:
    """Another operator's folder, one of a newer release, and one that a node has: a sentence each, and no change."""
    stranger = StoreIdentity(CLUSTER, network.operators[1].address)
    with pytest.raises(StorageError, match="it belongs to operator"):
        reset(folder, stranger, PASSWORD, os.urandom, aside="aside")
    with (
        open_store(folder, network.operators[0].address),
        pytest.raises(StorageError, match=f"process {os.getpid()} is using it"),
    ):
        begin_anew(folder, network)
    raw = sqlite3.connect(folder / "eigenkms.db")
    raw.execute("PRAGMA user_version = 7")
    raw.close()
    before = (folder / "eigenkms.db").read_bytes()
    with pytest.raises(StorageError, match="newer eigenkms"):
        begin_anew(folder, network)
    assert (folder / "eigenkms.db").read_bytes() == before
    assert not (folder / "aside").exists()


def test_who_holds_a_lock_is_told_without_taking_it(folder: Path, network: FakeNetwork) -> None:
    """The process while it has it; nobody before and after."""
    assert FolderLock.holder(folder / "none") is None
    with open_store(folder, network.operators[0].address):
        assert FolderLock.holder(folder / "lock") == str(os.getpid())
    assert FolderLock.holder(folder / "lock") is None


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.support.fake_network import make_network
from tests.maintenance.test_repair import begin_anew
network, left = make_network(), -1
def watch(event, args):
    global left
    if event in ("os.rename", "os.link", "os.mkdir", "sqlite3.connect", "shutil.rmtree"):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
for point, folder in enumerate(sys.argv[1:], 1):
    child = os.fork()
    if not child:
        left = point
        begin_anew(Path(folder), network)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        print(point - 1)
        break
"""


@pytest.mark.slow
def test_a_reset_that_was_killed_is_completed_by_the_next(tmp_path: Path, network: FakeNetwork) -> None:
    """Killed before each of its steps: until it is done no node opens the folder, and nothing is lost on the way."""
    folders = [tmp_path / str(number) for number in range(1, 25)]
    keep_version(network, 0, folders[0])
    spoil(folders[0] / "eigenkms.db")
    (folders[0] / "eigenkms.db-wal").write_bytes(b"what was written last")
    for folder in folders[1:]:
        shutil.copytree(folders[0], folder)
    content = (folders[0] / "eigenkms.db").read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, folders)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    killed = int(done.stdout)
    assert killed > 8
    for folder in folders[:killed]:
        if look(folder, network).needs_reset:
            shutil.copytree(folder, folder.with_name(f"started-{folder.name}"))
            with pytest.raises(StorageError):
                open_store(folder.with_name(f"started-{folder.name}"), network.operators[0].address)
            begin_anew(folder, network)
        assert (folder / "aside" / "eigenkms.db").read_bytes() == content
        assert (folder / "aside" / "eigenkms.db-wal").read_bytes() == b"what was written last"
        with open_store(folder, network.operators[0].address) as store:
            assert store.rolled_back
            assert store.get_meta(RESTORED) == b"aside"
