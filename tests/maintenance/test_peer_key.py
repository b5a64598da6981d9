"""A node's p2p key is replaced in steps: whichever of them is the last, doing it again completes the same rotation."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from eigenkms.crypto.keystore import ScryptCost
from eigenkms.errors import InputError, StorageError
from eigenkms.keys.keystores import new_key, open_key
from eigenkms.maintenance.peer_key import PeerKeyRotation, begin_rotation
from tests.support.randomness import counter_rng

PASSWORD = "correct horse"
CHEAP = ScryptCost(n=2, r=1, p=1)


@pytest.fixture
def keystore(tmp_path: Path) -> Path:
    path = tmp_path / "p2p.json"
    path.write_bytes(new_key("p2p", counter_rng("old")).seal(PASSWORD, counter_rng("seal"), cost=CHEAP))
    return path


def begin(keystore: Path, seed: str = "new") -> PeerKeyRotation:
    return begin_rotation(keystore, PASSWORD, counter_rng(seed))


def go_through(rotation: PeerKeyRotation) -> None:
    rotation.prepare(PASSWORD, counter_rng("seal"), cost=CHEAP)
    rotation.activate()
    rotation.clean_up()


def peer_of(keystore: Path) -> str:
    return open_key(keystore, "p2p", PASSWORD).public["peer_id"]


def test_the_new_key_takes_the_place_and_the_old_one_is_kept(keystore: Path) -> None:
    """Mode 0600; nothing else is left; beginning writes nothing."""
    old = keystore.read_bytes()
    rotation = begin(keystore)
    assert list(keystore.parent.iterdir()) == [keystore]
    go_through(rotation)
    assert peer_of(keystore) == rotation.new != rotation.old
    kept = keystore.with_name(f"p2p.json.{rotation.old}.old")
    assert {p.name for p in keystore.parent.iterdir()} == {"p2p.json", kept.name}
    assert kept.read_bytes() == old
    assert stat.S_IMODE(keystore.stat().st_mode) == 0o600
    again = begin(keystore, "another")
    assert again.new not in (rotation.old, rotation.new)


def test_two_rotations_at_once_are_one(keystore: Path) -> None:
    """The second to write stops before it publishes a peer id whose key is nowhere; done again, it takes the first one's key."""
    first, second = begin(keystore, "first"), begin(keystore, "second")
    first.prepare(PASSWORD, counter_rng("seal"), cost=CHEAP)
    with pytest.raises(StorageError):
        second.prepare(PASSWORD, counter_rng("seal"), cost=CHEAP)
    assert begin(keystore, "third").new == first.new


def test_a_new_keystore_that_does_not_open_is_named(keystore: Path) -> None:
    """It is not written over: its peer id may stand on chain."""
    fresh = keystore.with_name("p2p.json.new")
    fresh.write_text("torn")
    with pytest.raises(InputError, match="continue the rotation of") as refused:
        begin(keystore)
    assert refused.value.hint == "move p2p.json.new away to begin another one"
    assert fresh.read_text() == "torn"


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.maintenance.test_peer_key import begin, go_through
left = -1
def watch(event, args):
    global left
    if event in ("os.rename", "os.link", "os.remove", "open"):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
for point, folder in enumerate(sys.argv[1:], 1):
    child = os.fork()
    if not child:
        rotation = begin(Path(folder) / "p2p.json")
        left = point
        go_through(rotation)
        left = -1
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        print(point - 1)
        break
"""


@pytest.mark.slow
def test_a_rotation_that_was_killed_is_completed_by_the_next(keystore: Path, tmp_path: Path) -> None:
    """Killed before each of its steps. Once the new key is on the disk, it is that one, and no third is made."""
    folders = [tmp_path / str(number) for number in range(1, 40)]
    for folder in folders:
        folder.mkdir()
        (folder / "p2p.json").write_bytes(keystore.read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, folders)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    killed = int(done.stdout)
    assert killed > 6
    old, first = peer_of(keystore), begin(keystore).new
    for folder in folders[:killed]:
        path = folder / "p2p.json"
        assert peer_of(path) in (old, first), "the keystore is always a whole one"
        begun = (folder / "p2p.json.new").exists()
        if begun or peer_of(path) == old:
            rotation = begin(path, "third")
            assert (rotation.new == first) is begun
            go_through(rotation)
        assert peer_of(path) != old
        assert {p.name for p in folder.iterdir()} == {"p2p.json", f"p2p.json.{old}.old"}
