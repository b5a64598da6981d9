"""``eigenkms backup`` as an operator types it, without a network."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from eigenkms.client.network_snapshot import NetworkSnapshot
from eigenkms.maintenance.backup_staleness import peer_id_mismatch, share_doubt
from eigenkms.wire.certified_transcript import CertifiedTranscript
from tests.maintenance.test_backup import BACKUP_PASSWORD, Home, make_home
from tests.support.fake_network import FakeNetwork, make_network
from tests.support.live_network import Said, eigenkms
from tests.support.nodes import PASSWORD, keep_version, open_store
from tests.support.private_files import write_private


@pytest.fixture(scope="module")
def network() -> FakeNetwork:
    return make_network()


@pytest.fixture
def home(tmp_path: Path, network: FakeNetwork) -> Home:
    made = make_home(tmp_path / "home", network)
    keep_version(network, 0, made.data)
    for name, password in (("password.txt", PASSWORD), ("backup.txt", BACKUP_PASSWORD)):
        write_private(made.folder / name, password + "\n")
    return made


def backup(home: Home, verb: str, *args: str | Path) -> Said:
    return eigenkms("backup", verb, "--backup-password-file", home.folder / "backup.txt", *args)


def create(home: Home, *args: str | Path) -> Said:
    return backup(home, "create", "--config", home.config, *args)


@pytest.mark.slow
def test_made_checked_and_put_back(home: Home, network: FakeNetwork, tmp_path: Path) -> None:
    """The whole way, while a node has the store; what is printed names what matters, and nothing secret."""
    file = tmp_path / "node.backup"
    with open_store(home.data, network.operators[0].address):
        made = create(home, "-o", file, "--json")
    assert made.code == 0, made.err
    facts = json.loads(made.out)
    assert facts["operator"] == "0x" + network.operators[0].address.hex()
    assert (facts["version"], facts["share"]) == (network.epoch.transcript.version, None)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_bytes()

    again = create(home, "-o", file)
    assert (again.code, file.read_bytes()) == (1, before)
    assert "it exists" in again.err

    checked = backup(home, "verify", file, "--password-file", home.folder / "password.txt", "--json")
    assert checked.code == 0, checked.err
    assert json.loads(checked.out)["keys_opened"]
    assert "version" in backup(home, "verify", file).out

    there = tmp_path / "there"
    password = home.folder / "password.txt"
    refused = backup(home, "restore", file, "-d", there, "--password-file", home.folder / "backup.txt")
    assert (refused.code, there.exists()) == (1, False)
    assert "the password is wrong" in refused.err
    done = backup(home, "restore", file, "-d", there, "--password-file", password, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["missing"] == ["password_file"]
    assert "password_file" in done.err
    assert (there / "bn254.json").read_bytes() == (home.folder / "bn254.json").read_bytes()
    repeated = backup(home, "restore", file, "-d", there, "--password-file", password)
    assert repeated.code == 0, "what this backup has restored, and nobody has started, is complete"


@pytest.mark.slow
def test_a_share_is_not_restored_without_the_networks_word(home: Home, tmp_path: Path) -> None:
    """Where the chain cannot be asked, keys come back, the share does not, and that is said."""
    file, there = tmp_path / "node.backup", tmp_path / "there"
    assert create(home, "-o", file, "--with-share").code == 0
    password = home.folder / "password.txt"
    done = backup(home, "restore", file, "-d", there, "--with-share", "--password-file", password, "--json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert facts["share"] is None
    assert "superseded cannot be found out" in facts["share_refused"]
    assert "keys were restored, the share was not" in done.err
    restored = Home(there, make_network())
    assert restored.backup().settled is None


def test_who_must_vouch_for_a_share(home: Home, network: FakeNetwork) -> None:
    """Two of three others that show its version, or all three with none newer; who knows no version may be new itself."""
    saved = home.backup(with_share=True)
    assert saved.share is not None
    version = saved.share.row.version
    others = [o.address for o in network.chain.operators if o.address != saved.identity.operator]
    mine, newer = network.epoch, network.reshare(network.first, 110).epoch

    def doubt(*answers: CertifiedTranscript | None) -> str | None:
        shown = dict(zip(others, answers, strict=False))
        return share_doubt(saved, version, NetworkSnapshot(120, network.chain.operators, {}, shown))

    assert doubt(mine, mine) is None
    assert doubt(None, None, mine) is None
    assert doubt(None, None, None) is None
    assert "1 other operators show version" in str(doubt(mine, None))
    assert "2 must" in str(doubt())
    assert "and the newest is" in str(doubt(mine, mine, newer))


def test_operators_in_the_midst_of_a_rotation_are_asked_again(network: FakeNetwork) -> None:
    """Enough of them answer to deal from a version, and do not agree yet on which is the newest."""
    operators = [o.address for o in network.chain.operators]
    old, new = network.epoch, network.reshare(network.first, 110).epoch

    def between(*answers: CertifiedTranscript | None) -> bool:
        shown = dict(zip(operators, answers, strict=False))
        return NetworkSnapshot(120, network.chain.operators, {}, shown).is_between_versions

    assert between(new, old, old)
    assert between(new, new, None, old)
    assert not between(new, new, new, old)
    assert not between(old, old, old)
    assert not between(new, old), "too few answer anyway"
    assert not between(None, None, None)
    assert not between()


def test_another_peer_id_on_chain_is_told(home: Home, network: FakeNetwork) -> None:
    """As after a rotation of the peer key; a socket that names none, or this one, is no reason."""
    saved = home.backup()
    mine = next(o for o in network.chain.operators if o.address == saved.identity.operator)
    place = "/ip4/192.0.2.7/tcp/9400/p2p/"
    foreign = "16Uiu2HAm1Tv4fPFq3QVYeAtctUbV5bwv2rwJELb3tQQBL3i15RiW"
    for socket, word in (
        ("nowhere", None),
        (place + str(network.operators[0].peer.peer_id), None),
        (place + foreign, foreign),
    ):
        reason = peer_id_mismatch(saved, NetworkSnapshot(120, (replace(mine, socket=socket),), {}))
        assert (reason is None) is (word is None)
        assert word is None or word in str(reason)


def test_what_create_refuses(home: Home, tmp_path: Path) -> None:
    """One password for both, no folder, a stream, no password at all: a sentence and no file."""
    file = tmp_path / "node.backup"
    (home.folder / "backup.txt").write_text(PASSWORD + "\n")
    for said, words in (
        (create(home, "-o", file), "its password is the one of the node's keystores"),
        (create(home, "-o", tmp_path / "no" / "file"), "must be a file in a folder that exists"),
        (create(home, "-o", "-"), "must be a file"),
        (create(home, "-o", file, "--bn254-keystore", tmp_path / "none"), "read keystore"),
    ):
        assert said.code == 1
        assert words in said.err
        assert "hint: " in said.err or "read keystore" in said.err
    assert not file.exists()


@pytest.mark.slow
def test_what_is_no_backup_is_named(home: Home, tmp_path: Path) -> None:
    """Any other file, and a wrong password."""
    file = tmp_path / "node.backup"
    assert create(home, "-o", file).code == 0
    (home.folder / "backup.txt").write_text("wrong\n")
    wrong = backup(home, "verify", file)
    assert (wrong.code, "the password is wrong, or the file was changed" in wrong.err) == (1, True)
    other = backup(home, "verify", home.config)
    assert (other.code, "it is no eigenkms-backup" in other.err) == (1, True)
