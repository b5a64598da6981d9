"""An operator of a real network is backed up, changes its peer id, loses its disk, finds its database broken, and is restored: each
time it comes back to serve, by commands of its own, and nobody else is restarted.
"""

import json
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from eigenkms.client import network_snapshot
from eigenkms.crypto.keystore import ScryptCost
from eigenkms.devnet.engines.accounts import PRIVATE_KEYS
from eigenkms.errors import EigenKmsError
from eigenkms.keys.keystores import PrivateKey, open_key, public_values
from eigenkms.p2p.identity import PeerKey, parse_address
from eigenkms.types import ClusterId
from eigenkms.wire import rpc_methods
from eigenkms.wire.peer_record import build_peer_record
from tests.support.databases import query
from tests.support.hosts import patient_host
from tests.support.live_network import LiveNetwork, Said, eigenkms
from tests.support.private_files import write_private
from tests.support.waiting import PATIENCE

pytestmark = [pytest.mark.e2e]
ME = 3
CHEAP = ScryptCost(n=2, r=1, p=1)


class Operator:
    """The fourth, with the commands that its operator types."""

    def __init__(self, net: LiveNetwork, folder: Path) -> None:
        self.net = net
        self.member = net.members[ME]
        self.folder = folder
        self.data = self.member.folder / "data"
        secret = PRIVATE_KEYS[2 + ME]
        account = PrivateKey("secp256k1", secret, public_values("secp256k1", secret))
        (folder / "account.json").write_bytes(account.seal("account", secrets.token_bytes, cost=CHEAP))
        for name in ("account", "backup"):
            write_private(folder / f"{name}.txt", name + "\n")

    def __call__(self, *verb: str | Path) -> Said:
        known = (
            ("--known-clusters", self.folder / "known")
            if verb[0] != "operator" and verb[1] != "create"
            else ()
        )
        return eigenkms(*verb, "--config", self.member.config, *known)

    def backup(self, verb: str, *args: str | Path) -> Said:
        return self("backup", verb, "--backup-password-file", self.folder / "backup.txt", *args)

    def repair(self, *flags: str) -> Said:
        return self("share", "repair", "--json", *flags)

    def repaired(self) -> None:
        """Wait with the command until the node holds a share as new as the network's."""
        with self.net.turning():
            said = self.repair("--wait")
        assert said.code == 0, said.err
        facts = json.loads(said.out)
        assert facts["held"]
        assert facts["share"] >= facts["version"]
        self.net.wait_status(ME, lambda status: status["share"])


@pytest.fixture(autouse=True)
def _time_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators that are there may be slow."""
    monkeypatch.setattr(network_snapshot, "ANSWER_SECONDS", PATIENCE)


@pytest.fixture
def operator(net: LiveNetwork, tmp_path: Path) -> Iterator[Operator]:
    made = Operator(net, tmp_path)
    yield made
    for index in range(3):
        assert net.is_running(index), "another operator was restarted or died"


def test_a_lost_disk_and_a_broken_database(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next rotation gives the share again; what cannot work is said before anything is tried; what was broken is kept."""
    net = operator.net
    net.wait_status(ME, lambda status: status["share"])
    whole = operator.repair()
    assert (whole.code, json.loads(whole.out)["held"]) == (0, True), whole.err
    refused = operator.repair("--reset")
    assert (refused.code, "is using it" in refused.err) == (1, True)

    net.stop(ME)
    refused = operator.repair("--reset")
    assert (refused.code, "there is nothing to move aside" in refused.err) == (1, True)
    shutil.rmtree(operator.data)
    lost = operator.repair()
    assert lost.code == 0, lost.err
    facts = json.loads(lost.out)
    assert (facts["health"], facts["held"], facts["running"], facts["holders"]) == ("empty", False, None, 3)
    assert "start the node" in lost.err
    waiting = operator.repair("--wait")
    assert (waiting.code, "no node runs on" in waiting.err) == (1, True)
    stranger = operator("share", "repair", "--operator", "0x" + "77" * 20)
    assert (stranger.code, "is not in the operator set" in stranger.err) == (1, True)
    net.pause(0, 1)
    with monkeypatch.context() as patch:
        patch.setattr(
            network_snapshot, "ANSWER_SECONDS", 10.0
        )  # it must run out; a slow machine may miss the third as well
        alone = operator.repair()
    net.wake()
    assert (alone.code, bool(re.search("[01] other operators answer", alone.err))) == (2, True), alone.err
    net.start(ME)
    operator.repaired()

    net.stop(ME)
    database = operator.data / "eigenkms.db"
    content = database.read_bytes()
    database.write_bytes(content[:100] + bytes(4000) + content[4100:])
    dead = net.start_badly(ME)
    assert dead.code == 1
    assert "the database is damaged" in dead.err
    assert "share repair --reset" in dead.err
    assert "add --reset" in operator.repair().err
    done = operator.repair("--reset")
    assert done.code == 0, done.err
    assert (Path(json.loads(done.out)["set_aside"]) / "eigenkms.db").is_file()
    net.start(ME)
    operator.repaired()
    for index in range(3):
        assert net.status(index)["accused"] == []


def test_a_new_peer_id_and_a_backup(operator: Operator, tmp_path: Path) -> None:
    """The others follow without a restart, and the old peer is nobody; a backup is stale once its share is superseded, and is then
    restored without it.
    """
    net, member = operator.net, operator.member
    before, early, late = parse_address(member.socket), tmp_path / "early.backup", tmp_path / "late.backup"
    old = PeerKey(
        open_key(member.folder / "p2p.json", "p2p", (member.folder / "password").read_text().strip()).secret
    )
    held = net.wait_status(ME, lambda status: status["share"] and status["phase"] == "certified")
    made = operator.backup("create", "-o", early, "--with-share", "--json")
    assert made.code == 0, made.err
    saved = json.loads(made.out)["share"]
    flags = (
        "--account-keystore",
        tmp_path / "account.json",
        "--account-password-file",
        tmp_path / "account.txt",
    )
    tried = operator("operator", "rotate-peer-key", "--dry-run", *flags)
    assert tried.code == 0, tried.err
    assert not (member.folder / "p2p.json.new").exists()
    done = operator("operator", "rotate-peer-key", "--yes", *flags)
    assert done.code == 0, done.err
    assert (member.folder / f"p2p.json.{before.peer_id}.old").is_file()
    said = json.loads(operator("operator", "show", "--json").out)
    new = parse_address(said["socket"])
    assert (new.multiaddr, new.peer_id != before.peer_id) == (before.multiaddr, True)

    net.stop(ME)
    member.peer_id, member.socket = str(new.peer_id), str(new)
    net.start(ME)
    net.wait_linked(0, 1, 2, ME)
    _check_nobody(net, old)
    later = net.wait_status(ME, lambda s: s["share"] and s["version"] > saved)
    assert later["mpk"] == held["mpk"]

    stale = operator.backup("verify", early)
    assert (stale.code, "this backup is stale" in stale.err) == (1, True), stale.out + stale.err
    assert operator.backup("create", "-o", late).code == 0
    fresh = operator.backup("verify", late)
    assert (fresh.code, "stale" in fresh.err) == (0, False), fresh.err
    net.kill(ME)
    last = max(row[0] for row in query(operator.data / "eigenkms.db", "SELECT block_number FROM sessions"))
    shutil.rmtree(operator.data)
    (member.folder / "bn254.json").unlink()
    (member.folder / "p2p.json").unlink()
    back = operator.backup("restore", late, "--json")
    assert back.code == 0, back.err
    aside = eigenkms(
        "backup",
        "restore",
        early,
        "-d",
        tmp_path / "elsewhere",
        "--with-share",
        "--backup-password-file",
        tmp_path / "backup.txt",
        "--password-file",
        member.folder / "password",
        "--known-clusters",
        tmp_path / "known",
        "--json",
    )
    assert aside.code == 0, aside.err
    assert "the newest is" in json.loads(aside.out)["share_refused"]
    net.start(ME)
    operator.repaired()
    net.stop(ME)
    joined = [row[0] for row in query(operator.data / "eigenkms.db", "SELECT block_number FROM sessions")]
    assert min(joined) > last, "it took part again in a boundary of its life before"
    for index in range(3):
        assert net.status(index)["accused"] == []


def _check_nobody(net: LiveNetwork, old: PeerKey) -> None:
    """With the old key, and a record of then, nobody is the operator any more."""
    member, first = net.members[ME], net.members[0]
    record = build_peer_record(
        member.key,
        cluster=ClusterId(bytes.fromhex(net.status(0)["cluster"])),
        operator=member.address,
        peer_id=bytes(old.peer_id),
        addresses=[],
        sequence=1,
    )

    async def call() -> str:
        async with patient_host(old) as host:
            at = parse_address(first.socket)
            host.set_addresses(at.peer_id, [f"/ip4/127.0.0.1/tcp/{net.port(0)}"])
            await host.call(
                at.peer_id, rpc_methods.CLIENT_PROTOCOL, rpc_methods.HELLO, record.encoded, timeout=PATIENCE
            )
            try:
                await host.call(
                    at.peer_id, rpc_methods.OPERATOR_PROTOCOL, rpc_methods.HEAD, b"", timeout=PATIENCE
                )
            except EigenKmsError as error:
                return str(error)
        return "served"

    assert net.loop.run(call) != "served"
