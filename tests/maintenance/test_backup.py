"""A backup is whole or not there, opens for nobody without its password, and brings nothing back that was erased or votes twice."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import trio

from eigenkms.config.settings import Settings
from eigenkms.config.sources import gather
from eigenkms.crypto.keystore import ScryptCost
from eigenkms.errors import InputError, StorageError
from eigenkms.keys.keystores import PrivateKey, public_values
from eigenkms.maintenance.backup import check, check_keys, make_backup
from eigenkms.maintenance.backup_file import Backup, open_backup
from eigenkms.maintenance.restore import RestoreTarget, missing_files, restore, target_in, target_of
from eigenkms.storage.rebuild import RESTORED, write_new
from eigenkms.storage.store import Store
from eigenkms.storage.store_reader import read_store
from tests.support.fake_network import CHAIN, FakeNetwork
from tests.support.nodes import CHEAP, PASSWORD, a_node, keep_version, open_store
from tests.support.randomness import counter_rng

BACKUP_PASSWORD = "another one"
MARK = b"mark"
LIGHT = ScryptCost(n=16, r=1, p=1)


@dataclass
class Home:
    """One operator's machine."""

    folder: Path
    network: FakeNetwork

    @property
    def config(self) -> Path:
        return self.folder / "node.toml"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def settings(self) -> Settings:
        return gather({}, environ={}, file=self.config)

    def backup(self, *, with_share: bool = False, meanwhile: Callable[[], None] = lambda: None) -> Backup:
        return make_backup(
            self.settings(),
            self.config,
            PASSWORD,
            created=1_800_000_000,
            with_share=with_share,
            between_reads=meanwhile,
        )

    def files(self) -> dict[str, bytes]:
        """All but the lock, which names its last holder."""
        found = (p for p in self.folder.rglob("*") if p.is_file() and p.name != "lock")
        return {str(p.relative_to(self.folder)): p.read_bytes() for p in found}


def make_home(folder: Path, network: FakeNetwork, index: int = 0) -> Home:
    operator, rng = network.operators[index], counter_rng("home")
    folder.mkdir()
    home = Home(folder, network)
    for kind, secret, name in (
        ("bn254", operator.key.secret_bytes(), "bn254.json"),
        ("p2p", operator.peer.secret, "p2p.json"),
    ):
        key = PrivateKey(kind, secret, public_values(kind, secret))
        (folder / name).write_bytes(key.seal(PASSWORD, rng, cost=LIGHT))
    lines = {
        "rpc_url": "http://127.0.0.1:1",
        "chain_id": CHAIN.chain_id,
        "avs": "0x" + CHAIN.avs.hex(),
        "allocation_manager": "0x" + "01" * 20,
        "key_registrar": "0x" + "02" * 20,
        "operator": "0x" + operator.address.hex(),
        "data_dir": "data",
        "bn254_keystore": "bn254.json",
        "p2p_keystore": str(folder / "p2p.json"),
        "password_file": "password.txt",
    }
    home.config.write_text(
        "# ours\n" + "".join(f"{k} = {v if isinstance(v, int) else repr(v)}\n" for k, v in lines.items())
    )
    return home


@pytest.fixture
def home(tmp_path: Path, network: FakeNetwork) -> Home:
    """With a store that holds a share of version 1."""
    made = make_home(tmp_path / "home", network)
    keep_version(network, 0, made.data)
    return made


def put_back(backup: Backup, target: RestoreTarget, **changes: Any) -> int | None:
    given: dict[str, Any] = {"with_share": False, "cost": CHEAP, **changes}
    return restore(backup, target, PASSWORD, MARK, counter_rng("restore"), **given)


# The file


def test_a_backup_is_made_while_the_node_holds_its_store(home: Home, network: FakeNetwork) -> None:
    """It names operator, cluster and newest version, holds the keystores as they lie, and no share unasked."""
    with open_store(home.data, network.operators[0].address):
        before = home.files()
        backup = home.backup()
        assert home.files() == before
    sealed = backup.seal(BACKUP_PASSWORD, counter_rng("seal"), cost=LIGHT)
    again = open_backup(sealed, BACKUP_PASSWORD)
    assert again == backup
    check(again)
    assert (again.identity.operator, again.settled) == (
        network.operators[0].address,
        network.epoch.transcript.version,
    )
    assert again.share is None
    assert again.keystores["bn254_keystore"].content == (home.folder / "bn254.json").read_bytes()
    assert check_keys(again.keystores, PASSWORD)["p2p_keystore"]["peer_id"] == str(
        network.operators[0].peer.peer_id
    )


def test_a_share_is_in_it_if_it_was_asked_for_alone(home: Home, network: FakeNetwork) -> None:
    """And not in any repr."""
    operator = network.operators[0]
    backup = home.backup(with_share=True)
    assert backup.share is not None
    assert backup.share.share == operator.share.to_bytes()
    assert operator.share.to_bytes().hex() not in repr(backup)
    with open_store(home.data, operator.address) as store:
        store.erase_share(network.epoch.transcript.hash)
    with pytest.raises(InputError, match="holds none of the newest version"):
        home.backup(with_share=True)


def test_a_share_that_is_being_decrypted_is_waited_for(home: Home, network: FakeNetwork) -> None:
    """After a certificate the share before is erased, and the next one is not there for a moment."""
    newer = network.reshare(network.first, 110)
    keep_version(network, 0, home.data, version=newer, with_share=False)
    share = newer.shares[network.operators[0].address].to_bytes()

    def decrypt() -> None:
        with open_store(home.data, network.operators[0].address) as store:
            store.add_share(newer.epoch.transcript.hash, share)

    backup = home.backup(with_share=True, meanwhile=decrypt)
    assert backup.share is not None
    assert backup.share.share == share


def test_every_changed_bit_is_refused(home: Home) -> None:
    """One in each byte, and a file that was cut or lengthened: a sentence each time, never another content."""
    sealed = home.backup().seal(BACKUP_PASSWORD, counter_rng("seal"), cost=LIGHT)
    line = sealed.index(b"\n") + 1
    places = [*range(line), *range(line, len(sealed), 97), len(sealed) - 1]
    changed = [sealed[:i] + bytes([sealed[i] ^ 1 << i % 8]) + sealed[i + 1 :] for i in places]
    for content in (*changed, sealed[:-1], sealed + b"\0", b"", sealed[: line + 5]):
        with pytest.raises(InputError):
            open_backup(content, BACKUP_PASSWORD)
    with pytest.raises(InputError, match="the password is wrong"):
        open_backup(sealed, PASSWORD)


def test_a_newer_format_names_the_release_that_wrote_it(home: Home) -> None:
    """And needs no password to be refused."""
    sealed = home.backup().seal(BACKUP_PASSWORD, counter_rng("seal"), cost=LIGHT)
    newer = sealed.replace(b'"version": 1, "release": "', b'"version": 2, "release": "9.', 1)
    with pytest.raises(InputError, match=r"version 2 \(written by release 9\.\S+\) is not 1") as refused:
        open_backup(newer, "whatever")
    assert refused.value.hint is not None
    assert "nothing was changed" in refused.value.hint


def test_no_backup_is_made_of_what_does_not_fit(home: Home, network: FakeNetwork, tmp_path: Path) -> None:
    """A keystore with another password, of another kind, or a store of another operator."""
    other = make_home(tmp_path / "other", network, 1)
    with pytest.raises(InputError, match="password is wrong"):
        make_backup(home.settings(), home.config, "wrong", created=0)
    (home.folder / "p2p.json").write_bytes((home.folder / "bn254.json").read_bytes())
    with pytest.raises(InputError, match="bn254 key, not a p2p key"):
        home.backup()
    shutil.copytree(home.data, other.data)
    with pytest.raises(StorageError, match="belongs to operator"):
        other.backup()


def test_a_share_of_another_version_or_operator_is_noticed(home: Home, network: FakeNetwork) -> None:
    """Whoever has the password can write a backup; what its parts say of one another is checked all the same."""
    backup = home.backup(with_share=True)
    assert backup.share is not None
    check(backup)
    others = network.operators[1].share.to_bytes()
    for wrong in (
        replace(backup, share=replace(backup.share, share=others)),
        replace(backup, share=replace(backup.share, share=bytes(32))),
        replace(backup, transcript_hash=bytes(32)),
        replace(backup, share=replace(backup.share, row=replace(backup.share.row, certificate=b"x"))),
        replace(backup, identity=replace(backup.identity, operator=network.operators[1].address)),
    ):
        with pytest.raises(InputError, match="check backup"):
            check(wrong)


def test_the_files_layout_is_the_golden_one(home: Home) -> None:
    """Version 1 as it was first written opens for ever; made anew by ``python -m tests.maintenance.test_backup``."""
    golden = open_backup(GOLDEN.read_bytes(), BACKUP_PASSWORD)
    check(golden)
    assert check_keys(golden.keystores, PASSWORD).keys() == {"bn254_keystore", "p2p_keystore"}
    assert golden.share is not None
    assert golden.created == 1_800_000_000


GOLDEN = Path(__file__).parent / "golden" / "backup_v1"


# Restoring


def test_it_goes_into_one_new_folder(home: Home, tmp_path: Path, network: FakeNetwork) -> None:
    """Keystores to the byte, a store that was begun anew, and a configuration that names them and else is as it was."""
    there = tmp_path / "new" / "place"
    put_back(home.backup(), target_in(home.backup(), there))
    restored = Home(there, network)
    assert {p.name for p in there.iterdir()} == {"bn254.json", "p2p.json", "node.toml", "data"}
    assert all(stat.S_IMODE(p.stat().st_mode) in (0o600, 0o700) for p in there.rglob("*"))
    assert (there / "p2p.json").read_bytes() == (home.folder / "p2p.json").read_bytes()
    assert restored.config.read_text().startswith("# ours\n")
    assert restored.settings().get("p2p_keystore") == there / "p2p.json"
    assert missing_files(home.backup()) == ["password_file"]
    with read_store(restored.data) as copy:
        assert copy.meta(RESTORED) == MARK
        assert copy.versions() == ()
    assert restored.backup().identity == home.backup().identity


def test_it_goes_where_a_configuration_says(home: Home, tmp_path: Path, network: FakeNetwork) -> None:
    """A keystore that is there already and the same is kept; with the share if that is wanted."""
    new = make_home(tmp_path / "new", network)
    kept = (home.folder / "bn254.json").read_bytes()
    (new.folder / "bn254.json").write_bytes(kept)
    (new.folder / "p2p.json").unlink()
    backup = home.backup(with_share=True)
    restored = put_back(backup, target_of(backup, new.settings()), with_share=True)
    assert restored == network.epoch.transcript.version
    assert (new.folder / "p2p.json").read_bytes() == (home.folder / "p2p.json").read_bytes()
    with open_store(new.data, network.operators[0].address) as store:
        (row,) = store.versions()
        assert row.settled
        assert store.share(row.transcript_hash) == network.operators[0].share.to_bytes()


def test_accounts_are_saved_as_they_lie(home: Home, tmp_path: Path) -> None:
    """Whatever their format and password; one that stands for two settings comes back for both."""
    (home.folder / "geth.json").write_text('{"version": 3}')
    with home.config.open("a") as file:
        file.write('account_keystore = "geth.json"\nanchor_account_keystore = "geth.json"\n')
        file.write('account_password_file = "geth.txt"\n')
    backup, there = home.backup(), tmp_path / "new"
    put_back(backup, target_in(backup, there))
    settings = Home(there, home.network).settings()
    for name in ("account_keystore", "anchor_account_keystore"):
        assert settings.get(name).parent == there
        assert settings.get(name).read_text() == '{"version": 3}'
    assert missing_files(backup) == ["account_password_file", "password_file"]
    shutil.rmtree(home.data)
    (home.folder / "geth.json").unlink()
    put_back(backup, target_of(backup, home.settings()))
    assert (home.folder / "geth.json").read_text() == '{"version": 3}'


def test_a_keystore_in_the_data_folder_comes_back_there(home: Home, network: FakeNetwork) -> None:
    """As a node makes one that was given none."""
    lines = [line for line in home.config.read_text().splitlines() if not line.startswith("p2p_keystore")]
    home.config.write_text("\n".join(lines))
    (home.folder / "p2p.json").rename(home.data / "p2p.json")
    backup, content = home.backup(), (home.data / "p2p.json").read_bytes()
    shutil.rmtree(home.data)
    put_back(backup, target_of(backup, home.settings()))
    assert (home.data / "p2p.json").read_bytes() == content
    assert put_back(backup, target_of(backup, home.settings()), with_share=True) is None, "it has no share"
    assert home.backup().identity.operator == network.operators[0].address


@pytest.mark.slow
def test_a_restored_node_votes_and_founds_nothing_of_the_past(
    home: Home, tmp_path: Path, network: FakeNetwork
) -> None:
    """With genesis set too: no boundary up to the newest one at its start, and no genesis, in this life and the next."""
    for with_share in (False, True):
        there = tmp_path / f"new-{with_share}"
        backup = home.backup(with_share=True)
        put_back(backup, target_in(backup, there), with_share=with_share)
        _check_silent(there / "data", network)


def _check_silent(data: Path, network: FakeNetwork) -> None:
    """A node on that folder, started twice at block 105 of a chain with a boundary every ten blocks."""
    for _ in range(2):
        with a_node(network, 0, data, genesis=True) as node:
            trio.run(node.guard_votes)
            assert node.state.guard.limits.floor == 100
            assert not node.state.guard.limits.genesis_consent


@pytest.mark.parametrize("what", ["store", "keystore", "folder"])
def test_nothing_is_overwritten(home: Home, tmp_path: Path, network: FakeNetwork, what: str) -> None:
    """A data folder with a store, another keystore, or anything else in the new folder: refused, all as it was."""
    new = make_home(tmp_path / "new", network, 0)
    backup = home.backup()
    target = target_of(backup, new.settings())
    if what == "store":
        for name in ("bn254.json", "p2p.json"):
            (new.folder / name).unlink()
        keep_version(network, 0, new.data)
    elif what == "folder":
        (new.folder / "node.toml").unlink()
        target = target_in(backup, new.folder)
        (new.folder / "notes.txt").write_text("mine")
    elif what == "keystore":
        (new.folder / "p2p.json").write_text("another")
    before = new.files()
    words = {"store": "is not empty", "keystore": "another file is there", "folder": "is not empty"}
    with pytest.raises(StorageError, match=words[what]):
        put_back(backup, target)
    assert new.files() == before


def test_a_running_node_and_another_operator_are_refused(
    home: Home, tmp_path: Path, network: FakeNetwork
) -> None:
    """With the process that has the folder, and both addresses."""
    backup = home.backup()
    with (
        open_store(home.data, network.operators[0].address),
        pytest.raises(StorageError, match=f"process {os.getpid()} is using it"),
    ):
        put_back(backup, target_of(backup, home.settings()))
    other = make_home(tmp_path / "other", network, 1)
    with pytest.raises(InputError, match="the backup is of operator 0x"):
        target_of(backup, other.settings())
    text = other.config.read_text().replace(
        network.operators[1].address.hex(), backup.identity.operator.hex()
    )
    other.config.write_text(text.replace("chain_id = 31337", "chain_id = 31338"))
    with pytest.raises(InputError, match="the configuration names"):
        target_of(backup, other.settings())
    with pytest.raises(InputError, match="password is wrong"):
        restore(backup, target_in(backup, tmp_path / "x"), "wrong", MARK, os.urandom, with_share=False)
    assert not (tmp_path / "x").exists()


def test_what_goes_wrong_leaves_nothing(
    home: Home, tmp_path: Path, network: FakeNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk at any of its writes: a sentence, and the new folder is not there; then it goes well."""
    backup, there = home.backup(), tmp_path / "new"
    for point in ("rebuild", "write_new"):
        for turn in range(3 if point == "write_new" else 1):
            calls = iter(range(10))

            def full(*args: Any, point: str = point, turn: int = turn, calls: Iterator[int] = calls) -> None:
                if next(calls) >= turn:
                    raise StorageError("write: no space left on device", hint="free some disk space")
                write_new(*args)

            with monkeypatch.context() as patched:
                patched.setattr(f"eigenkms.maintenance.restore.{point}", full)
                with pytest.raises(StorageError, match="no space left"):
                    put_back(backup, target_in(backup, there))
            assert not there.exists(), (point, turn)
    put_back(backup, target_in(backup, there))
    assert (there / "node.toml").exists()


LIMITED = """
import os, resource, sys
from pathlib import Path
from eigenkms.errors import EigenKmsError
from eigenkms.maintenance.backup_file import open_backup
from eigenkms.maintenance.restore import target_in
from tests.maintenance.test_backup import BACKUP_PASSWORD, put_back
backup = open_backup(Path(sys.argv[1]).read_bytes(), BACKUP_PASSWORD)
for limit in sys.argv[3:]:
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
        try:
            put_back(backup, target_in(backup, Path(sys.argv[2]) / f"to-{limit}"), with_share=True)
        except EigenKmsError as error:
            os.write(1, f"{limit}: {error}\\n".encode())
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.slow
def test_a_disk_that_takes_no_more_leaves_nothing(home: Home, tmp_path: Path) -> None:
    """The system itself refuses at several sizes; until all fits, nothing is there afterwards but a sentence."""
    sealed = tmp_path / "backup"
    sealed.write_bytes(home.backup(with_share=True).seal(BACKUP_PASSWORD, counter_rng("seal"), cost=LIGHT))
    limits = ("10", "700", "30000", "10000000")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(sealed), str(tmp_path), *limits],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [limit for limit in limits if (tmp_path / f"to-{limit}").exists()] == ["10000000"]
    assert [line.partition(": ")[0] for line in done.stdout.splitlines()] == ["10", "700", "30000"]


KILLED = """
import os, signal, sys
from pathlib import Path
from eigenkms.maintenance.backup_file import open_backup
from eigenkms.maintenance.restore import target_in
from tests.maintenance.test_backup import BACKUP_PASSWORD, put_back
backup = open_backup(Path(sys.argv[1]).read_bytes(), BACKUP_PASSWORD)
left = -1
def watch(event, args):
    global left
    if event in ("os.rename", "os.link", "os.remove", "os.mkdir", "sqlite3.connect", "shutil.rmtree"):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
for point in range(1, 100):
    child = os.fork()
    if not child:
        left = point
        put_back(backup, target_in(backup, Path(sys.argv[2]) / str(point)), with_share=True)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        print(point - 1)
        break
"""


@pytest.mark.slow
def test_a_restore_that_was_killed_is_completed_by_the_next(home: Home, tmp_path: Path) -> None:
    """Killed before each thing that it does to the folder: no node starts on what is left, and doing it again restores all."""
    sealed, folder = tmp_path / "backup", tmp_path / "killed"
    backup = home.backup(with_share=True)
    sealed.write_bytes(backup.seal(BACKUP_PASSWORD, counter_rng("seal"), cost=LIGHT))
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(sealed), str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 8
    for point in range(1, int(done.stdout) + 1):
        there = folder / str(point)
        data = there / "data"
        if not (data / "eigenkms.db").exists() and (data / ".restoring").exists():
            with pytest.raises(StorageError, match="a restore or reset of this folder was broken off"):
                Store.open(there / "data", password=PASSWORD, identity=backup.identity, rng=os.urandom)
        put_back(backup, target_in(backup, there), with_share=True)
        assert {p.name for p in there.iterdir()} == {"bn254.json", "p2p.json", "node.toml", "data"}
        with read_store(there / "data") as copy:
            assert copy.meta(RESTORED) == MARK
            assert len(copy.versions()) == 1


def _write_golden() -> None:
    import tempfile

    from tests.support.fake_network import make_network

    with tempfile.TemporaryDirectory() as folder:
        network = make_network()
        home = make_home(Path(folder) / "home", network)
        keep_version(network, 0, home.data)
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_bytes(
            home.backup(with_share=True).seal(BACKUP_PASSWORD, counter_rng("golden"), cost=LIGHT)
        )


if __name__ == "__main__":
    _write_golden()
