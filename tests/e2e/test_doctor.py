"""What an operator gets wrong, one thing at a time, on a real network: doctor names it, and nothing else fails.

If the advice says what to write or to run, the test does that, and then all is well. If it only asks for the right value, that is
the configuration with which ``test_a_good_node_is_well`` begins.
"""

import json
import os
import re
import resource
import shlex
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio

from eigenkms.config.node import NodeConfig
from eigenkms.crypto.bn254 import KeyPair
from eigenkms.crypto.keystore import ScryptCost
from eigenkms.keys.keystores import new_key, open_key
from eigenkms.maintenance.doctor import network, reachability
from eigenkms.maintenance.doctor.context import CheckContext
from eigenkms.maintenance.doctor.registry import CHECKS, run_doctor
from eigenkms.p2p.identity import PeerKey
from eigenkms.protocols.records.audit_log import LogHeader, sign_head
from eigenkms.storage.audit_log_store import AuditLog
from eigenkms.storage.store import Store, StoreIdentity
from eigenkms.types import ClusterId, OperatorAddress, to_hex
from eigenkms.wire.session import cluster_id
from tests.support.hosts import patient_host
from tests.support.live_network import STEADY, LiveNetwork, Said, eigenkms, eigenkms_process, free_port
from tests.support.private_files import write_private
from tests.support.rpc_servers import Reply, Tamper, scripted, tampering
from tests.support.token_issuer import make_authority
from tests.support.waiting import PATIENCE

pytestmark = [pytest.mark.e2e]
ME, OTHER = 3, 1
CHEAP = ScryptCost(n=2, r=1, p=1)
NEVER_ASKED = {"issuers", "certificate", "monitor", "http-api", "account", "anchor"}
"""Checks of what a node of a devnet does not have."""


@dataclass
class Patient:
    """A configuration file of the fourth operator; ``values`` are written to it before each examination."""

    net: LiveNetwork
    file: Path
    values: dict[str, Any] = field(default_factory=dict)

    def set(self, **values: Any) -> None:
        """None takes a key out."""
        self.values.update(values)

    def run(self, *flags: str, before: tuple[str, ...] = ()) -> Said:
        kept = {name: value for name, value in self.values.items() if value is not None}
        self.file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in kept.items()))
        if before:
            return eigenkms_process("doctor", "--config", self.file, *flags, before=before)
        return eigenkms("doctor", "--config", self.file, *flags)

    def examine(self, before: tuple[str, ...] = ()) -> tuple[int, dict[str, dict[str, Any]]]:
        """Exit code, and the checks by name."""
        said = self.run("--json", before=before)
        checks = json.loads(said.out)["checks"]
        assert [c["check"] for c in checks] == [c.name for c in CHECKS], said.err
        return said.code, {c["check"]: c for c in checks}

    def suffers(
        self, name: str, verdict: str = "failed", *, code: int = 1, before: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """That check alone complains; all that is skipped is for lack of it, or of what was not asked for. What it says."""
        got, checks = self.examine(before)
        complaints = {n: c["verdict"] for n, c in checks.items() if c["verdict"] in ("failed", "warning")}
        assert complaints == {name: verdict}, checks
        assert got == code
        assert checks[name]["next"]
        return checks[name]

    def is_well(self, before: tuple[str, ...] = ()) -> None:
        code, checks = self.examine(before)
        assert {n for n, c in checks.items() if c["verdict"] == "ok"} >= set(checks) - NEVER_ASKED - {
            "password",
            "reachable",
        }, checks
        assert not [c for c in checks.values() if c["verdict"] in ("failed", "warning")], checks
        assert code == 0


@pytest.fixture(autouse=True)
def _no_cores() -> Iterator[None]:
    """As the systemd unit has it."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


@pytest.fixture(autouse=True)
def _time_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators that are there may be slow: none of these tests is about their speed."""
    monkeypatch.setattr(network, "ANSWER_SECONDS", PATIENCE)
    monkeypatch.setattr(reachability, "ANSWER_SECONDS", PATIENCE)
    monkeypatch.setattr(reachability, "NEAR_SECONDS", PATIENCE)


@pytest.fixture
def patient(net: LiveNetwork, tmp_path: Path) -> Patient:
    """The fourth operator as its own file has it, its node running; without a password, so that nobody is asked to dial."""
    return _patient(net, tmp_path)


def _patient(net: LiveNetwork, folder: Path) -> Patient:
    values = _values(net.members[ME].config)
    for name in ("bn254.json", "p2p.json", "password"):
        write_private(folder / name, (net.members[ME].folder / name).read_bytes())
    values |= {"bn254_keystore": "bn254.json", "p2p_keystore": "p2p.json", "password_file": None}
    return Patient(net, folder / "node.toml", values)


def _values(config: Path) -> dict[str, Any]:
    import tomllib

    return tomllib.loads(config.read_text())


def _password(net: LiveNetwork, index: int) -> str:
    return (net.members[index].folder / "password").read_text().strip()


# -- a node that runs ----------------------------------------------------------------------------------------------


def test_a_good_node_is_well(patient: Patient) -> None:
    """While it runs, with a password: every check of the table, the dial of the others among them."""
    patient.set(password_file="password")
    code, checks = patient.examine()
    assert {n for n, c in checks.items() if c["verdict"] != "ok"} == NEVER_ASKED, checks
    assert code == 0
    assert "3 of 3 operators reach" in checks["reachable"]["says"]


def test_it_speaks_to_people_too(patient: Patient) -> None:
    """A line a check, and the next step under it."""
    patient.set(interval_blocks=7)
    said = patient.run()
    assert said.code == 1
    lines = said.out.splitlines()
    assert lines[0].startswith("ok       configuration  operator 0x")
    (at,) = [i for i, line in enumerate(lines) if line.startswith("failed   parameters")]
    assert lines[at + 1].strip() == f"next: set interval_blocks = {STEADY.interval_blocks}"


def test_an_unknown_key(patient: Patient) -> None:
    """The line is named, and the key that was meant."""
    patient.set(intervall_blocks=STEADY.interval_blocks, interval_blocks=None)
    found = patient.suffers("configuration")
    meant = re.fullmatch(r"did you mean (\w+)\?", found["next"])
    assert re.search(r"node.toml line \d+: there is no setting 'intervall_blocks'", found["says"])
    assert meant
    patient.set(**{meant[1]: patient.values.pop("intervall_blocks")})
    patient.is_well()


def test_a_policy_that_lacks_its_methods(patient: Patient) -> None:
    """Settings that each read well, and together say nothing."""
    patient.set(policy="attested")
    found = patient.suffers("configuration")
    assert "--attestation-method" in found["next"]
    patient.set(attestation_methods=["ecdsa"])
    patient.is_well()


@contextmanager
def _server(patient: Patient, context: Any) -> Iterator[str]:
    """Its URL, while it runs in the network's loop."""
    server = patient.net.loop.enter(patient.net.loop.stack.enter_async_context, context)
    yield server.url


def _proxy(patient: Patient, tamper: Tamper) -> Any:
    return _server(patient, tampering(patient.values["rpc_url"], tamper))


def test_an_rpc_that_is_down(patient: Patient) -> None:
    """Not this machine's fault: exit code 2."""
    patient.set(rpc_url=f"http://127.0.0.1:{free_port()}")
    assert "use another RPC URL" in patient.suffers("rpc", code=2)["next"]


@pytest.mark.parametrize(
    "reply",
    [Reply(b"<html>It works!</html>"), Reply(b"slow down", status=429)],
    ids=["a web page", "too many requests"],
)
def test_an_rpc_that_is_none(patient: Patient, reply: Reply) -> None:
    """What came instead is said."""
    with _server(patient, scripted(reply)) as url:
        patient.set(rpc_url=url)
        found = patient.suffers("rpc", code=2)
        assert ("not JSON" if reply.status == 200 else "429") in found["says"]
        assert "use another RPC URL" in found["next"]


def test_an_rpc_of_another_chain(patient: Patient) -> None:
    """Both chains are named."""

    def another(call: Any, answer: dict[str, Any]) -> dict[str, Any]:
        return {**answer, "result": "0x1"} if call["method"] == "eth_chainId" else answer

    with _proxy(patient, another) as url:
        patient.set(rpc_url=url)
        found = patient.suffers("chain-id")
        assert "serves chain 1, not chain 31337" in found["says"]
        assert "give an rpc_url of chain 31337" in found["next"]


def _shifted(seconds: int) -> Tamper:
    """Blocks tell another time."""

    def tamper(call: Any, answer: dict[str, Any]) -> dict[str, Any]:
        if call["method"] != "eth_getBlockByNumber":
            return answer
        block = answer["result"]
        return {**answer, "result": {**block, "timestamp": hex(int(block["timestamp"], 16) + seconds)}}

    return tamper


def test_an_rpc_that_lags_behind(patient: Patient) -> None:
    """Its newest block is an hour old."""
    with _proxy(patient, _shifted(-3600)) as url:
        patient.set(rpc_url=url)
        found = patient.suffers("rpc-head", code=2)
        assert "wait until the RPC's node is synchronised" in found["next"]


def test_rpcs_that_disagree(patient: Patient) -> None:
    """Two forks cannot both be the chain; which is, the operator must find out."""

    def fork(call: Any, answer: dict[str, Any]) -> dict[str, Any]:
        if call["method"] != "eth_getBlockByNumber" or call["params"][0] == "latest":
            return answer
        return {**answer, "result": {**answer["result"], "hash": "0x" + "42" * 32}}

    good = patient.values["rpc_url"]
    with _proxy(patient, fork) as url:
        patient.set(rpc_url=[good, url])
        found = patient.suffers("rpc-head", code=2)
        assert url in found["says"]
        assert "take the other out of rpc_url" in found["next"]


def test_one_of_two_rpcs_is_down(patient: Patient) -> None:
    """The other is used meanwhile: a warning."""
    good = patient.values["rpc_url"]
    patient.set(rpc_url=[f"http://127.0.0.1:{free_port()}", good])
    assert "the others are used meanwhile" in patient.suffers("rpc", "warning")["next"]


def test_an_rpc_with_wrong_times(patient: Patient) -> None:
    """The operators' clocks tell that it is not this machine's."""
    with _proxy(patient, _shifted(3600)) as url:
        patient.set(rpc_url=url)
        found = patient.suffers("clock")
        assert "though 3 operators have this machine's time" in found["says"]
        assert "check the node of the RPC" in found["next"]


def test_an_rpc_that_cannot_pin_a_block(patient: Patient) -> None:
    """Calls at the newest block alone would read another set than the other operators do."""

    def refuse(call: Any, answer: dict[str, Any]) -> dict[str, Any]:
        if call["method"] == "eth_call" and isinstance(call["params"][1], dict):
            error = {"code": -32602, "message": "invalid argument 1: hex string expected"}
            return {"jsonrpc": "2.0", "id": call["id"], "error": error}
        return answer

    with _proxy(patient, refuse) as url:
        patient.set(rpc_url=url)
        found = patient.suffers("rpc-methods", code=2)
        assert "EIP-1898" in found["says"]
        assert "use another RPC" in found["next"]


def test_a_clock_that_is_off(patient: Patient) -> None:
    """An hour slow: the operators know better. The next step is the clock's, and with the right time all is well."""
    patient.run()  # writes the file
    slow, well = (trio.run(_with_clock, patient.file, off) for off in (-3600.0, 0.0))
    assert slow["clock"].verdict == "failed"
    assert re.search(r"clock is 3[56]\d\d s behind those of 3 operators", slow["clock"].sentence)
    assert "timedatectl set-ntp true" in str(slow["clock"].hint)
    assert {n for n, f in slow.items() if f.verdict in ("failed", "warning")} == {"clock"}
    assert not {n for n, f in well.items() if f.verdict in ("failed", "warning")}


async def _with_clock(file: Path, off: float) -> dict[str, Any]:
    import time

    async with patient_host(PeerKey.generate()) as network_client:
        case = CheckContext(
            lambda: NodeConfig.load({}, environ={}, file=file),
            lambda _config: None,
            network_client,
            clock=lambda: time.time() + off,
        )
        return {result.check.name: result.finding for result in await run_doctor(case)}


@pytest.mark.parametrize("name", ["allocation_manager", "key_registrar"])
def test_a_wrong_contract(patient: Patient, name: str) -> None:
    """It is named, and so is the address at which there is none."""
    patient.set(**{name: "0x" + "42" * 20})
    found = patient.suffers("contracts")
    assert f"correct the {name.replace('_', ' ')} address" in found["next"]


def test_a_wrong_avs(patient: Patient) -> None:
    """Its operator set does not exist."""
    patient.set(avs="0x" + "42" * 20)
    assert "correct the AVS address" in patient.suffers("contracts")["next"]


def test_an_anchor_that_is_none(patient: Patient) -> None:
    """At that address there is no contract."""
    patient.set(
        anchor_rpc_url=patient.values["rpc_url"], anchor_chain_id=31337, anchor_registry="0x" + "42" * 20
    )
    found = patient.suffers("anchor")
    assert "there is no contract at this address" in found["says"]
    assert "leave the anchor out" in found["next"]


def test_a_wrong_operator(patient: Patient) -> None:
    """Whose keystore it is, the chain tells."""
    patient.set(operator="0x" + "42" * 20)
    meant = re.search(r'set operator = "(0x[0-9a-f]{40})"', patient.suffers("membership")["next"])
    assert meant
    assert meant[1] == patient.net.name(ME)
    patient.set(operator=meant[1])
    patient.is_well()


def test_an_operator_that_has_not_registered(patient: Patient) -> None:
    """With keys of its own, before anything is on chain: who must do what is named in the order in which it must be done."""
    key = new_key("bn254", os.urandom).seal("secret", os.urandom, cost=CHEAP)
    patient.set(bn254_keystore="new.json", operator="0x" + "42" * 20)
    write_private(patient.file.parent / "new.json", key)
    found = patient.suffers("membership")
    assert "neither in the operator set nor on its allow-list" in found["says"]
    assert f"eigenkms operator allow 0x{'42' * 20}" in found["next"]
    assert f"eigenkms operator register --config {patient.file}" in found["next"]


def test_the_bn254_keystore_of_another_operator(patient: Patient) -> None:
    """Whose it is, is said; the hint asks for the right one."""
    key = open_key(patient.net.members[OTHER].folder / "bn254.json", "bn254", _password(patient.net, OTHER))
    other = patient.file.parent / "other.json"
    write_private(other, key.seal(_password(patient.net, ME), os.urandom, cost=CHEAP))
    patient.set(bn254_keystore="other.json")
    found = patient.suffers("signing-key")
    assert f"but that of operator {patient.net.name(OTHER)}" in found["says"]
    assert "give the keystore of the registered key as bn254_keystore" in found["next"]


def test_a_keystore_of_another_kind(patient: Patient) -> None:
    """The two are mixed up easily."""
    patient.set(bn254_keystore="p2p.json")
    found = patient.suffers("keystores")
    assert "holds a p2p key, not a bn254 key" in found["says"]


def test_a_keystore_that_is_not_there(patient: Patient) -> None:
    """The command that makes one is named."""
    patient.set(bn254_keystore="nowhere.json")
    assert "eigenkms keys new --kind bn254 -o" in patient.suffers("files")["next"]


def test_a_wrong_password(patient: Patient) -> None:
    """Which keystore it does not open."""
    (patient.file.parent / "password").write_text("wrong\n")
    patient.set(password_file="password")
    found = patient.suffers("password")
    assert "bn254.json" in found["says"]
    (patient.file.parent / "password").write_text(_password(patient.net, ME) + "\n")
    patient.is_well()


def test_a_password_that_everybody_can_read(patient: Patient) -> None:
    """The hint is the command."""
    (patient.file.parent / "password").chmod(0o644)
    patient.set(password_file="password")
    found = patient.suffers("files", "warning")
    subprocess.run(shlex.split(found["next"]), check=True)
    patient.is_well()


def test_an_announced_address_that_the_chain_does_not_have(patient: Patient) -> None:
    """Clients that come new know the chain's alone. The command in the hint publishes it, as it stands there."""
    member = patient.net.members[ME]
    account = new_key("secp256k1", _fixed(patient.net.network.engine.accounts[2 + ME]))
    keystore = patient.file.parent / "account.json"
    keystore.write_bytes(account.seal(_password(patient.net, ME), os.urandom, cost=CHEAP))
    patient.set(
        announce=[f"/dns4/localhost/tcp/{member.port}"],
        account_keystore="account.json",
        account_password_file="password",
    )
    found = patient.suffers("socket", "warning")
    update = re.search(
        r"run eigenkms (operator update-socket --config \S+), or correct announce", found["next"]
    )
    assert update
    try:
        done = eigenkms(*shlex.split(update[1]), "--yes")
        assert done.code == 0, done.err
        patient.is_well()
    finally:
        back = eigenkms(*shlex.split(update[1]), "--yes", "--socket", member.socket)
    assert back.code == 0, back.err
    _wait_until_known(patient.net)


def _wait_until_known(net: LiveNetwork) -> None:
    """Until the others have read the chain as it is now, at a boundary."""
    for index in {0, 1, 2, 3} - {ME}:
        written, now = net.log_size(index), net.status(index)["head"]

        def is_later(said: dict[str, Any], now: int = now) -> bool:
            return (said["boundary"] or 0) > now + 1

        boundary = net.wait_status(index, is_later)["boundary"]
        net.wait_log(index, f"boundary at block {boundary}: session", after=written)


def _fixed(secret: bytes) -> Callable[[int], bytes]:
    """A random source for one key."""
    return lambda _count: secret


@pytest.mark.parametrize(
    ("name", "bad", "setting"),
    [
        ("interval_blocks", 7, f"interval_blocks = {STEADY.interval_blocks}"),
        ("window_seconds", 2.0, f"window_seconds = {STEADY.window_seconds:g}"),
        ("finality", "latest-3", 'finality = "latest"'),
        ("min_operators", 3, "min_operators = 1"),
    ],
)
def test_a_setting_in_which_all_must_agree(patient: Patient, name: str, bad: Any, setting: str) -> None:
    """The others tell what they have; the hint is the line to write."""
    patient.set(**{name: bad})
    found = patient.suffers("parameters")
    assert found["next"] == f"set {setting}"
    patient.set(**{name: json.loads(setting.partition(" = ")[2])})
    patient.is_well()


def test_a_data_folder_that_is_a_file(patient: Patient) -> None:
    """Nothing can be stored in it."""
    patient.set(data_dir="password")
    assert "give a folder as data_dir" in patient.suffers("data-folder")["next"]


def test_a_certificate_that_has_expired(patient: Patient) -> None:
    """The day is named; a new one in its place mends it, if the key is its own."""
    file = make_authority(patient.file.parent, days=-1).server
    patient.set(http_listen="127.0.0.1:8443", http_certificate=file.name, http_key=file.name)
    found = patient.suffers("certificate")
    assert "expired on" in found["says"]
    assert f"write it to {file}" in found["next"]
    make_authority(patient.file.parent, days=5)
    assert "expires on" in patient.suffers("certificate", "warning")["says"]
    make_authority(patient.file.parent, days=90)
    patient.is_well()


def test_a_monitor_for_everybody(patient: Patient) -> None:
    """It has no login; the hint is the line to write."""
    patient.set(monitor_listen="0.0.0.0:9464")
    meant = re.search(r'set monitor_listen = "([0-9.:]+)"', patient.suffers("monitor", "warning")["next"])
    assert meant
    patient.set(monitor_listen=meant[1])
    patient.is_well()


def test_settings_that_the_running_node_does_not_have_yet(patient: Patient) -> None:
    """Another port than it listens at, another folder than it has."""
    good = patient.values["listen"], patient.values["data_dir"]
    patient.set(listen=[f"/ip4/127.0.0.1/tcp/{free_port()}"])
    assert "start it again" in patient.suffers("port", "warning")["next"]
    patient.set(listen=good[0], data_dir="elsewhere")
    assert "give the data folder that it uses" in patient.suffers("port", "warning")["next"]
    patient.set(data_dir=good[1])
    patient.is_well()


# -- before the first start ----------------------------------------------------------------------------------------


@pytest.fixture
def stopped(shared_network: LiveNetwork, tmp_path: Path) -> Patient:
    """The same, its node not running; the next test that wants it to run starts it again."""
    if shared_network.is_running(ME):
        shared_network.stop(ME)
    return _patient(shared_network, tmp_path)


def test_a_node_that_does_not_run_is_reached_all_the_same(stopped: Patient) -> None:
    """The command listens in its place. Told apart: a port where nobody listens; the next step names the one on chain."""
    stopped.set(password_file="password")
    code, checks = stopped.examine()
    assert (code, checks["reachable"]["verdict"]) == (0, "ok"), checks
    good = stopped.values["listen"]
    stopped.set(listen=[f"/ip4/127.0.0.1/tcp/{free_port()}"])
    found = stopped.suffers("reachable")
    assert f"refused at {stopped.net.members[ME].socket}" in found["says"]
    assert "let the node listen at the port that is on chain" in found["next"]
    stopped.set(listen=good)
    stopped.is_well()


def test_a_p2p_keystore_that_the_chain_does_not_know(stopped: Patient) -> None:
    """Others would meet another peer than the one that they expect."""
    key = new_key("p2p", os.urandom)
    write_private(stopped.file.parent / "other.json", key.seal("secret", os.urandom, cost=CHEAP))
    stopped.set(p2p_keystore="other.json")
    found = stopped.suffers("socket")
    assert (
        f"names peer {stopped.net.members[ME].peer_id}, the p2p keystore is that of peer {key.public['peer_id']}"
        in found["says"]
    )
    assert "give the keystore of that peer as p2p_keystore" in found["next"]


def test_a_port_that_another_process_has(stopped: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that names the process is given."""
    monkeypatch.setattr(reachability, "NEAR_SECONDS", 2.0)  # the other process never answers
    port = stopped.net.members[ME].port
    with socket.create_server(("127.0.0.1", port)):
        found = stopped.suffers("port")
        assert f"ss -ltnp 'sport = :{port}' names who has it" in found["next"]
        command = shlex.split(found["next"].partition(" names")[0])
        if shutil.which(command[0]):
            listed = subprocess.run(command, capture_output=True, text=True, check=True)
            assert f"pid={os.getpid()}," in listed.stdout
    stopped.is_well()


def test_the_port_of_another_node(stopped: Patient) -> None:
    """It has another peer id."""
    stopped.set(listen=[f"/ip4/127.0.0.1/tcp/{stopped.net.port(OTHER)}"])
    assert "another node than that of peer" in stopped.suffers("port")["says"]


def test_the_data_folder_of_another_operator(stopped: Patient) -> None:
    """Without the password too."""
    folder = stopped.file.parent / "data"
    identity = StoreIdentity(ClusterId(bytes(32)), OperatorAddress(stopped.net.members[OTHER].address))
    Store.open(folder, password="secret", identity=identity, rng=os.urandom, kdf=CHEAP).close()
    stopped.set(data_dir="data")
    found = stopped.suffers("stored-state")
    assert f"belongs to operator {to_hex(stopped.net.members[OTHER].address)}" in found["says"]
    assert "its own --data-dir" in found["next"]


def test_damage_that_a_node_would_not_start_with(stopped: Patient) -> None:
    """A release log that is rubbish, with and without the password, and a commit counter without its database; the advice is a
    command, and it heals.
    """
    data, good = stopped.file.parent / "data", stopped.values["data_dir"]
    shutil.copytree(good, data)
    stopped.set(data_dir="data", password_file="password")
    assert "votes in no boundary" in stopped.examine()[1]["stored-state"]["says"]

    def is_healed(says: str) -> None:
        found = stopped.suffers("stored-state")
        assert says in found["says"]
        advice = re.match(r"eigenkms (share repair --reset --config \S+) moves aside", found["next"])
        assert advice
        assert eigenkms(*advice[1].split()).code == 0
        stopped.is_well()

    (data / "spent.db").write_bytes(b"rubbish" * 1000)
    stopped.is_well()  # only a node with the policy attested opens it
    (data / "releases.db").write_bytes(b"rubbish" * 1000)
    stopped.set(password_file=None)
    assert "releases.db" in stopped.suffers("stored-state")["says"]
    stopped.set(password_file="password")
    is_healed("releases.db cannot be read")
    (data / "eigenkms.db").unlink()
    is_healed("it is missing")
    stopped.set(data_dir=good, password_file=None)
    stopped.is_well()


def test_a_release_log_that_another_key_signed(stopped: Patient) -> None:
    """As it is left after a change of the BN254 key. The file is evidence: it is moved, not reset."""
    data, good, key = stopped.file.parent / "data", stopped.values["data_dir"], KeyPair.from_secret(4711)
    data.mkdir(mode=0o700)
    stopped.is_well()
    cluster = cluster_id(NodeConfig.load({}, environ={}, file=stopped.file).chain.cluster)
    mine = LogHeader(cluster, OperatorAddress(stopped.net.members[ME].address), key.g2, 1)
    AuditLog.open(data, mine, lambda head: sign_head(key, head)).close()
    stopped.set(data_dir="data", password_file="password")
    found = stopped.suffers("stored-state")
    assert "it is of another cluster, operator or key" in found["says"]
    assert "move it out of the folder" in found["next"]
    (data / "releases.db").rename(stopped.file.parent / "evidence.db")
    stopped.is_well()
    stopped.set(data_dir=good, password_file=None)
    stopped.is_well()


def test_a_full_disk(stopped: Patient) -> None:
    """A small file system in memory, where this test may mount one."""
    small = stopped.file.parent / "small"
    small.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("file systems can be mounted by root alone")
    try:
        stopped.set(data_dir=str(small / "data"))
        found = stopped.suffers("disk")
        assert "move the data folder to another disk (data_dir)" in found["next"]
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_too_few_open_files_and_a_core_file(stopped: Patient) -> None:
    """Limits are inherited; the process of doctor has those that a node started like it would have."""
    few = ("prlimit", "--nofile=256:256", "--core=0:0")
    wanted = re.search(r"LimitNOFILE=(\d+)", stopped.suffers("open-files", before=few)["next"])
    assert wanted
    cores = ("prlimit", f"--nofile={wanted[1]}", "--core=1000000:1000000")
    limit = re.search(r"LimitCORE=(\d+)", stopped.suffers("core-dumps", "warning", before=cores)["next"])
    assert limit
    stopped.is_well(before=("prlimit", f"--nofile={wanted[1]}", f"--core={limit[1]}"))
