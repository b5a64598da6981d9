"""The main job, end to end, with real processes: what works, who may be missing, and what a wrong input gets for an answer."""

import json
import secrets
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from eigenkms.chain import registration
from eigenkms.client.api import decrypt, encrypt, fetch_cluster
from eigenkms.client.known_clusters import KnownClusters
from eigenkms.crypto import backends
from eigenkms.crypto.keystore import ScryptCost
from eigenkms.devnet.node_config import write_config
from eigenkms.devnet.node_processes import run_node_process
from eigenkms.devnet.operators import make_operator
from eigenkms.keys.keystores import new_key, open_key
from eigenkms.storage.schema import STORE
from eigenkms.types import AppId, OperatorAddress
from tests.e2e.tcp_gate import TcpGate
from tests.support.databases import query
from tests.support.live_network import APP, CLIENT_SECONDS, LiveNetwork, eigenkms, eigenkms_process, free_port
from tests.support.node_observation import events
from tests.support.private_files import write_private
from tests.support.waiting import PATIENCE

pytestmark = [pytest.mark.e2e]
SECRET = bytes(range(256)) * 20
CHEAP = ScryptCost(n=2**4, r=8, p=1)


@pytest.fixture
def ciphertext(net: LiveNetwork, tmp_path: Path) -> Path:
    """SECRET, encrypted for APP."""
    return net.encrypt(tmp_path, SECRET)


def works(net: LiveNetwork, ciphertext: Path) -> bool:
    """Whether the secret comes out."""
    said, output = net.decrypt(ciphertext)
    assert said.code == 0, said.err
    return output.read_bytes() == SECRET


# -- the beginning -----------------------------------------------------------------------------------------------


def test_an_operator_that_was_absent_is_named_and_the_next_try_succeeds(net: LiveNetwork) -> None:
    """A session made no key, a line of the log names of whom nothing was heard, and a later one made the key with all four."""
    absent = net.name(3)
    lines = events(net.members[0].log, "ended without a certificate")
    failed = next(event for event in lines if event["no_hash"] == [absent])
    assert failed["level"] == "warning"
    assert f"no_key={absent} no_hash={absent}" in failed["message"]
    certified = [events(member.log, "certified")[0] for member in net.members]
    assert len({event["session"] for event in certified}) == 1
    assert all(events(member.log, "share held") for member in net.members)


# -- the main job ------------------------------------------------------------------------------------------------


def test_what_the_command_encrypted_another_process_decrypts(net: LiveNetwork, ciphertext: Path) -> None:
    """A process of its own, as a stranger runs it; nothing but the result is written."""
    output = ciphertext.with_name("plain")
    config = net.network.client_config
    said = eigenkms_process("decrypt", "--config", config, "--app-id", APP, "-o", output, ciphertext)
    assert (said.code, said.out) == (0, "")
    assert output.read_bytes() == SECRET
    assert output.stat().st_mode & 0o777 == 0o600


def test_the_library_does_what_the_command_does(net: LiveNetwork) -> None:
    """Fetch, encrypt, decrypt; the cluster is the four operators with a threshold of three."""
    settings = net.network.client_settings
    info = net.loop.run(fetch_cluster, settings)
    assert (info.threshold, len(info.operators)) == (3, 4)
    assert set(info.operators) == {member.address for member in net.members}
    sealed = encrypt(info, AppId("my-app"), SECRET)
    assert net.loop.run(decrypt, settings, AppId("my-app"), sealed) == SECRET


def test_all_operators_have_one_master_key(net: LiveNetwork) -> None:
    """The same key by the same transcript, each with a share, and that key is the one that clients get."""
    said = [net.wait_share(index) for index in range(4)]
    assert len({status["mpk"] for status in said}) == 1
    assert len({status["transcript"] for status in said}) == 1
    assert all(status["share"] and status["peers"] == 3 and not status["evidence"] for status in said)
    pubkey = net.eigenkms("pubkey", "--json")
    assert json.loads(pubkey.out)["mpk"] == said[0]["mpk"], pubkey.err


def test_a_healthy_network_says_so(net: LiveNetwork) -> None:
    """Exit code 0 and all four serving."""
    said = net.eigenkms("status", "--json")
    facts = json.loads(said.out)
    assert (said.code, facts["health"], facts["serving"], facts["silent"]) == (0, "healthy", 4, [])


def test_a_healthy_network_accuses_nobody(net: LiveNetwork) -> None:
    """Exit code 0, and every operator was heard."""
    said = eigenkms(
        "evidence", "list", "--json", "--config", net.network.client_config, "--timeout", CLIENT_SECONDS
    )
    assert said.code == 0, said.err
    assert json.loads(said.out) == {"evidence": [], "rejected": [], "silent": {}}


def test_what_was_released_stands_in_the_log(net: LiveNetwork, tmp_path: Path) -> None:
    """Of running nodes: each that answered has an entry for the application, the log verifies against the chain, and its head is
    what the node's status says; after a SIGKILL too, with the head that was noted before.
    """
    app, heads = f"app-{secrets.token_hex(4)}", {}
    said, _ = net.decrypt(net.encrypt(tmp_path, SECRET, app), app=app)
    assert said.code == 0, said.err
    logged = 0
    for member in net.members:
        shown = eigenkms("audit", "show", "--json", "--app-id", app, "--config", member.config)
        logged += len(json.loads(shown.out)["releases"])
        status = net.status(member.index)
        verified = eigenkms("audit", "verify", "--json", "--online", "--config", member.config)
        assert verified.code == 0, verified.err
        facts = json.loads(verified.out)
        assert (facts["head"], facts["entries"]) == (status["release_head"], status["released"])
        heads[member.index] = facts["head"]
    assert logged >= 3
    net.kill(0)
    member = net.members[0]
    verified = eigenkms("audit", "verify", "--head", heads[0], "--config", member.config)
    assert verified.code == 0, verified.err
    net.mend()
    assert net.status(0)["release_head"] == heads[0]


# -- data that does not verify -----------------------------------------------------------------------------------


def refused(
    net: LiveNetwork, ciphertext: Path, code: int, words: str, *flags: str | Path, app: str = APP
) -> str:
    """The error of a decryption that fails with ``code`` and leaves no file."""
    before = set(ciphertext.parent.iterdir())
    said, output = net.decrypt(ciphertext, *flags, app=app)
    assert (said.code, said.out) == (code, ""), said.err
    assert said.err.splitlines()[-2].startswith("error: "), said.err
    assert said.err.splitlines()[-1].startswith("hint: "), said.err
    assert words in said.err
    assert not output.exists()
    assert set(ciphertext.parent.iterdir()) == before
    return said.err


def test_another_application_gets_nothing(net: LiveNetwork, ciphertext: Path) -> None:
    """The key of another application does not open it."""
    refused(net, ciphertext, 4, "decrypt", app="your-app")


@pytest.mark.parametrize(("place", "code"), [(0, 1), (3, 1), (10, 4), (50, 4), (140, 4), (170, 4), (-1, 4)])
def test_one_changed_bit_is_found(net: LiveNetwork, ciphertext: Path, place: int, code: int) -> None:
    """In the magic or version (then it is no ciphertext that is known), cluster, point, check, and content."""
    changed = bytearray(ciphertext.read_bytes())
    changed[place] ^= 1
    ciphertext.write_bytes(changed)
    said, output = net.decrypt(ciphertext)
    assert said.code == code, said.err
    assert not output.exists()


@pytest.mark.parametrize("kept", [0, 60, 127, -1])
def test_a_cut_ciphertext_is_refused(net: LiveNetwork, ciphertext: Path, kept: int) -> None:
    """Nothing, half a header, all but a byte."""
    ciphertext.write_bytes(ciphertext.read_bytes()[:kept])
    said, output = net.decrypt(ciphertext)
    assert said.code in (1, 4), said.err
    assert "error: " in said.err
    assert not output.exists()


def test_another_clusters_ciphertext_is_refused(net: LiveNetwork, tmp_path: Path) -> None:
    """It was encrypted to a master key that these operators do not have."""
    curve = backends.bls12381()
    foreign = curve.encode_g2(curve.secret_mul_g2(curve.g2, 1 + secrets.randbelow(2**64))).hex()
    source, target = tmp_path / "secret.txt", tmp_path / "secret.ibe"
    source.write_bytes(SECRET)
    said = net.eigenkms("encrypt", "--app-id", APP, "--mpk", foreign, "-o", target, source)
    assert said.code == 0, said.err
    refused(net, target, 4, "decrypt")


def test_a_master_key_that_changed_is_refused(net: LiveNetwork, ciphertext: Path) -> None:
    """Where another one is pinned, nothing is decrypted, the file stays, the hint says what to do."""
    info = net.loop.run(fetch_cluster, net.network.client_settings)
    curve = backends.bls12381()
    pins = ciphertext.with_name("known")
    KnownClusters(pins).pin(info.cluster_id, curve.encode_g2(curve.g2))
    before = pins.read_bytes()
    said = refused(net, ciphertext, 4, f"but {pins} pins ", "--known-clusters", pins)
    assert "hint: do not continue unless the operators announced a new key" in said
    assert pins.read_bytes() == before


# -- operators that are not there --------------------------------------------------------------------------------


def test_one_operator_killed_is_not_missed(net: LiveNetwork, ciphertext: Path) -> None:
    """SIGKILL for one of four: decryption works, the network is degraded; started again, it has a share soon."""
    before = net.status(3)
    net.kill(3)
    assert works(net, ciphertext)
    said = net.eigenkms("status", "--json")
    facts = json.loads(said.out)
    assert (said.code, facts["health"], facts["silent"]) == (1, "degraded", [net.name(3)])
    net.mend()
    after = net.wait_status(3, lambda status: status["share"])
    assert after["mpk"] == before["mpk"]
    net.pause(2)
    assert works(net, ciphertext)


def test_signals_stop_nodes_and_too_few_operators_decrypt_nothing(net: LiveNetwork, ciphertext: Path) -> None:
    """SIGTERM and SIGINT: exit 0. With t-1 left, exit code 2 names who did not answer."""
    for index, number in ((2, signal.SIGTERM), (3, signal.SIGINT)):
        size = net.log_size(index)
        assert net.stop(index, number=number) == [0]
        assert f"stopping on {number.name}" in net.log_after(index, size)
    said = refused(net, ciphertext, 2, "2 of 4 operators gave one, 3 needed")
    assert net.name(2) in said
    assert net.name(3) in said
    assert net.name(0) not in said
    assert net.eigenkms("status", "--json").code == 2
    net.mend()
    assert works(net, ciphertext)


def test_operators_that_hang_are_named_when_time_is_up(net: LiveNetwork, ciphertext: Path) -> None:
    """Two that accept connections and never answer: exit code 2 when the time is up, and they work again when they wake.

    The time must run out, and the other two must have answered in it: it is as far as a wait for nothing may be.
    """
    net.pause(2, 3)
    said = refused(net, ciphertext, 2, "of 4 operators gave one", "--timeout", "30")
    assert net.name(2) in said
    assert net.name(3) in said
    net.mend()
    assert works(net, ciphertext)


# -- nodes that must not start -----------------------------------------------------------------------------------


def _another_key(net: LiveNetwork, tmp_path: Path) -> list[str | Path]:
    password = (net.members[3].folder / "password").read_text().strip()
    path = tmp_path / "other.json"
    path.write_bytes(new_key("bn254", secrets.token_bytes).seal(password, secrets.token_bytes, cost=CHEAP))
    return ["--bn254-keystore", path]


def _another_password(net: LiveNetwork, tmp_path: Path) -> list[str | Path]:
    path = tmp_path / "password"
    write_private(path, "not it\n")
    return ["--password-file", path]


def _port_of_another(net: LiveNetwork, tmp_path: Path) -> list[str | Path]:
    return ["--listen", f"/ip4/127.0.0.1/tcp/{net.members[0].port}"]


def _flags(*flags: str) -> object:
    return lambda _net, _path: list(flags)


WRONG = [
    pytest.param(
        _flags("--chain-id", "5", "--policy", "closed"),
        2,
        "use chain 5: the RPC at http://127.0.0.1",
        "set the RPC URL of the configured chain",
        False,
        id="chain-id",
    ),
    pytest.param(
        _flags("--allocation-manager", "0x" + "11" * 20),
        2,
        "there is no contract at this address",
        "correct the allocation manager address",
        False,
        id="no-code",
    ),
    pytest.param(
        _flags("--rpc-url", "http://127.0.0.1:1"),
        2,
        "http://127.0.0.1:1",
        "check that the RPC is up",
        False,
        id="rpc-down",
    ),
    pytest.param(
        _another_key, 1, "on chain is another one", "give the keystore of the key", True, id="other-key"
    ),
    pytest.param(_another_password, 1, "password", "", False, id="password"),
    pytest.param(_port_of_another, 1, "in use", "stop it or choose another port", True, id="port-in-use"),
    pytest.param(
        _flags("--chain-id", "1"), 1, "everybody could decrypt", "use policy closed", False, id="open-policy"
    ),
    pytest.param(
        _flags("--operator", "0x" + "00" * 20), 1, "the zero address is nobody's", "", False, id="operator"
    ),
]


@pytest.mark.parametrize(("flags", "code", "words", "hint", "makes_folder"), WRONG)
def test_a_node_that_is_told_something_wrong_ends_and_says_what(
    net: LiveNetwork,
    tmp_path: Path,
    flags: object,
    code: int,
    words: str,
    hint: str,
    makes_folder: bool,
) -> None:
    """One error line, one hint, the exit code of its kind; no data folder where nothing could begin."""
    data = tmp_path / "data"
    said = net.start_badly(3, "--data-dir", data, *flags(net, tmp_path))  # type: ignore[operator]
    assert (said.code, said.out) == (code, ""), said.err
    assert "Traceback" not in said.err
    error = next(line for line in said.err.splitlines() if line.startswith("error: "))
    assert words in error, said.err
    assert hint in said.err
    assert data.exists() == makes_folder
    net.wait_share(3)


def test_one_data_folder_serves_one_process(net: LiveNetwork) -> None:
    """The second one names the first and changes nothing."""
    said = net.start_badly(3, "--listen", "/ip4/127.0.0.1/tcp/0")
    assert (said.code, f"process {net.pid(3)} is using it" in said.err) == (1, True), said.err
    assert "hint: stop that process first" in said.err
    net.wait_share(3)


@contextmanager
def _stopped(net: LiveNetwork, index: int) -> Iterator[Path]:
    """An operator that is down; its data folder."""
    assert net.stop(index) == [0]
    yield net.members[index].folder / "data"
    net.mend()


def test_a_data_folder_that_cannot_be_opened_is_left_as_it_was(net: LiveNetwork, tmp_path: Path) -> None:
    """For keystores under a new password, by an older eigenkms than the one that wrote it, and on a full disk."""
    with _stopped(net, 3) as data:
        shares = query(data / "eigenkms.db", "SELECT transcript_hash, sealed_share FROM versions")
        member = net.members[3]
        password = (member.folder / "password").read_text().strip()
        flags: list[str | Path] = []
        for kind in ("bn254", "p2p"):
            path = tmp_path / f"{kind}.json"
            key = open_key(member.folder / f"{kind}.json", kind, password)
            path.write_bytes(key.seal("a new one", secrets.token_bytes, cost=CHEAP))
            flags += [f"--{kind}-keystore", path]
        write_private(tmp_path / "password", "a new one\n")
        said = net.start_badly(3, *flags, "--password-file", tmp_path / "password")
        assert (said.code, "the password does not open it" in said.err) == (1, True), said.err
        _set_schema(data, 99)
        said = net.start_badly(3)
        assert (said.code, "it was written by a newer eigenkms" in said.err) == (1, True), said.err
        assert "hint: install the eigenkms that wrote it" in said.err
        _set_schema(data, STORE.version)
        said = net.start_badly(3, before=_LITTLE_DISK)
        assert (said.code, said.out) == (1, ""), said.err
        assert f"error: open database {data}/eigenkms.db: " in said.err
        assert "free" in said.err.rpartition("hint: ")[2]
        assert query(data / "eigenkms.db", "SELECT transcript_hash, sealed_share FROM versions") == shares
    assert net.wait_status(3, lambda status: status["share"])


_LITTLE_DISK = ("sh", "-c", 'ulimit -f 4; exec "$@"', "sh")
"""No file may grow beyond two kilobytes: to SQLite a disk that is full."""


def _set_schema(data: Path, version: int) -> None:
    with closing(sqlite3.connect(data / "eigenkms.db")) as connection:
        connection.execute(f"PRAGMA user_version = {version}")


def test_a_client_that_is_told_something_wrong_says_what(net: LiveNetwork, ciphertext: Path) -> None:
    """An address without code, an RPC that is down: exit code 2, and no file. Another chain id: the file itself is for another
    cluster, which is exit code 4; one of version 1 does not know, but then the RPC is of another chain.
    """
    refused(net, ciphertext, 4, "decrypt: the ciphertext is for cluster ", "--chain-id", "5")
    old = ciphertext.with_name("old.ibe")
    plain = ciphertext.with_name("secret.txt")
    said = net.eigenkms("encrypt", "--app-id", APP, "--format", "1", "-o", old, plain)
    assert said.code == 0, said.err
    assert works(net, old)
    refused(net, old, 2, "use chain 5: the RPC at http://127.0.0.1", "--chain-id", "5")
    refused(net, ciphertext, 2, "there is no contract at this address", "--key-registrar", "0x" + "11" * 20)
    refused(net, ciphertext, 2, "http://127.0.0.1:1", "--rpc-url", "http://127.0.0.1:1")


# -- operators that are not as they should be --------------------------------------------------------------------


def test_an_operator_that_is_not_registered_waits(net: LiveNetwork, tmp_path: Path) -> None:
    """It says so, follows the chain, takes part in nothing, and stops cleanly."""
    address = OperatorAddress(secrets.token_bytes(20))
    member = make_operator(4, address, tmp_path / "fifth", free_port())
    write_config(member, net.network.shared_settings)

    async def life() -> tuple[int, str]:
        async with run_node_process(member) as node:
            await node.wait_event("up", PATIENCE)
            await node.wait_event("boundary", PATIENCE)
            code = await node.stop()
        return code, member.log.read_text()

    with net.turning():
        code, log = net.loop.run(life)
    assert code == 0
    assert (
        f"operator 0x{address.hex()} is not in the operator set at this block: waiting to be registered"
        in log
    )
    assert "not joined" in log
    assert "certified" not in log


def _socket(net: LiveNetwork, index: int, text: str) -> None:
    """Publish another socket for an operator."""
    account, contracts = net.network.accounts[index], net.network.contracts
    net.loop.run(registration.update_socket, account, contracts, text)


@contextmanager
def _socket_for_now(net: LiveNetwork, index: int, text: str) -> Iterator[int]:
    """Another socket on chain for a while; the size of operator 1's log when it was published."""
    size = net.log_size(0)
    _socket(net, index, text)
    try:
        yield size
    finally:
        _socket(net, index, net.members[index].socket)


def test_sockets_on_chain_may_be_wrong(net: LiveNetwork, ciphertext: Path) -> None:
    """An operator that moved, one whose socket is no multiaddr, one whose socket names another's peer id: each is logged and
    found all the same, by operators and by clients, since only a signed peer record proves who is who and where.
    """
    net.stop(3)
    net.start(3, port=free_port())  # the socket on chain is stale now
    net.wait_linked(3)
    net.pause(2)
    assert works(net, ciphertext)
    net.wake()
    with _socket_for_now(net, 3, "see our website") as size:
        line = net.wait_log(0, "its socket on chain cannot be dialled", after=size)
        assert net.name(3) in line
        _found_by_a_newcomer(net, ciphertext)
    stolen = net.members[1].socket.rpartition("/")[2]
    with _socket_for_now(net, 3, f"/ip4/127.0.0.1/tcp/{net.port(3)}/p2p/{stolen}") as size:
        line = net.wait_log(0, "which another operator names too", after=size)
        assert stolen in line
        _found_by_a_newcomer(net, ciphertext)


def _found_by_a_newcomer(net: LiveNetwork, ciphertext: Path) -> None:
    """Operator 1 begins anew with what the chain says, and finds all; so does a client, the odd one and its victim."""
    net.stop(0)
    net.start(0)
    net.wait_linked(0, 1, 3)
    net.wait_status(0, lambda status: status["share"])
    for silent in (0, 2):
        net.pause(silent)
        assert works(net, ciphertext)
        net.wake()


def test_two_closed_operators_are_a_refusal_and_one_is_worked_around(
    net: LiveNetwork, ciphertext: Path
) -> None:
    """Exit code 3, with what the operators say and what to do."""
    net.stop(2, 3)
    net.start_all([2, 3], "--policy", "closed")
    net.wait_linked(2, 3)
    said = refused(net, ciphertext, 3, "its policy is closed")
    assert "2 of 4 operators gave one, 3 needed" in said
    assert "hint: prove the right to this application's key" in said
    net.stop(3)
    net.start(3)
    net.wait_linked(3)
    assert works(net, ciphertext)


def test_a_node_whose_rpc_goes_down_serves_on_and_recovers(net: LiveNetwork, ciphertext: Path) -> None:
    """It says so in its log and its status, gives partial signatures meanwhile, and follows the chain again later."""
    net.stop(3)
    with TcpGate.before(net.network.engine.url) as gate:
        net.start(3, "--rpc-url", gate.url)
        net.wait_linked(3)
        net.pause(2)  # before it: the two others alone make no new version, of which it could know nothing
        size = net.log_size(3)
        gate.shut()
        assert "trying again" in net.wait_log(3, "follow boundaries", after=size)
        assert gate.url in net.wait_status(3, lambda status: status["chain_error"])["chain_error"]
        assert works(net, ciphertext)
        net.wake()
        gate.reopen()
        net.wait_log(3, "the chain answers again", after=size)
        net.wait_status(3, lambda status: not status["chain_error"] and status["share"])


def test_a_lost_data_folder_is_not_a_new_beginning(net: LiveNetwork, tmp_path: Path) -> None:
    """An operator whose folder is gone learns that a master key exists, makes no second one, and gets a fresh share of it."""
    before = net.status(0)
    with _stopped(net, 3):
        data = tmp_path / "data"
        net.start(3, "--data-dir", str(data))
        status = net.wait_status(3, lambda s: s["transcript"] is not None)
        assert status["mpk"] == before["mpk"]
        assert net.wait_status(3, lambda s: s["share"])["mpk"] == before["mpk"]
        assert net.stop(3) == [0]
        # the first folder knows nothing of what was said with the other one, up to this boundary
        spoken = net.status(0)["boundary"]
        net.wait_status(0, lambda s: s["boundary"] > spoken)
    shutil.rmtree(data)
    assert net.wait_status(3, lambda s: s["share"])["mpk"] == before["mpk"]
