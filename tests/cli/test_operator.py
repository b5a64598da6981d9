"""``eigenkms operator`` against real contracts on the embedded chain: an operator's whole life, and every refusal on the way."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import trio

from eigenkms.chain import abi, operator_registry, registration
from eigenkms.chain.rpc import JsonRpc
from eigenkms.cli.main import run
from eigenkms.cli.support.socket_options import socket_of_peer
from eigenkms.config.schema import SETTINGS
from eigenkms.config.settings import Settings
from eigenkms.crypto.keystore import ScryptCost
from eigenkms.errors import InputError, StorageError
from eigenkms.keys.keystores import PrivateKey, new_key, public_values, read_metadata
from eigenkms.maintenance.peer_key import PeerKeyRotation
from eigenkms.types import to_hex
from tests.chain.conftest import DELAY, World, _Background, bn254_key, socket_of
from tests.chain.test_signing import sign
from tests.cli.conftest import SCRIPT, clean_environment, eigenkms, lines, on_terminal
from tests.support.private_files import write_private
from tests.support.randomness import fixed_rng

CHEAP = ScryptCost(n=2, r=1, p=1)
NEWCOMER = 9
"""The operator of these tests; 0 to 3 are members."""
AVS_OWNER = -1
ADDRESS = "/ip4/192.0.2.7/tcp/9400"


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Background]:
    running = _Background("embedded", tmp_path_factory.mktemp("engine") / "engine.log")
    running.start()
    yield running
    running.stop()


@dataclass
class DevnetEnvironment:
    """A folder with a configuration for each account, and the chain that they are for."""

    folder: Path
    background: _Background

    def ask(self, act: Callable[[World], Any]) -> Any:
        """What ``act`` returns on the chain."""

        async def main() -> Any:
            assert self.background.engine is not None
            assert self.background.contracts is not None
            async with JsonRpc(self.background.engine.url) as rpc:
                return await act(World(self.background.engine, self.background.contracts, rpc))

        return trio.run(main)

    def address(self, number: int) -> str:
        async def find(world: World) -> str:
            return "0x" + world.operator(number).address.hex()

        found: str = self.ask(find)
        return found

    def config(self, number: int = NEWCOMER, **changes: object) -> Path:
        """Of operator ``number``; a change of None leaves a setting out."""
        engine, contracts = self.background.engine, self.background.contracts
        assert engine is not None
        assert contracts is not None
        secret = engine.accounts[2 + number]
        account = PrivateKey("secp256k1", secret, public_values("secp256k1", secret))
        voice = bn254_key(number % 32)
        secret = voice.secret_bytes()
        for name, key in (
            ("account", account),
            ("bn254", PrivateKey("bn254", secret, public_values("bn254", secret))),
            ("p2p", new_key("p2p", fixed_rng)),
        ):
            (self.folder / f"{name}-{number}.json").write_bytes(key.seal("pass", fixed_rng, cost=CHEAP))
        for name in ("password", "account-password"):
            write_private(self.folder / name, "pass\n")
        values: dict[str, object] = {
            "environment": "devnet",
            "rpc_url": engine.url,
            "avs": "0x" + contracts.avs.hex(),
            "allocation_manager": "0x" + contracts.allocation_manager.hex(),
            "delegation_manager": "0x" + contracts.delegation_manager.hex(),
            "key_registrar": "0x" + contracts.key_registrar.hex(),
            "account_keystore": f"account-{number}.json",
            "account_password_file": "account-password",
            "bn254_keystore": f"bn254-{number}.json",
            "p2p_keystore": f"p2p-{number}.json",
            "password_file": "password",
            "announce": [ADDRESS],
        } | changes
        path = self.folder / f"node-{number}.toml"
        lines = (f"{name} = {json.dumps(value)}\n" for name, value in values.items() if value is not None)
        path.write_text("".join(lines))
        return path


@pytest.fixture
def devnet_env(
    background: _Background, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DevnetEnvironment]:
    for name in ("EIGENKMS_CONFIG", "EIGENKMS_PASSWORD", "EIGENKMS_ACCOUNT_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    found = DevnetEnvironment(tmp_path, background)
    snapshot = found.ask(lambda world: world.rpc.call("evm_snapshot"))
    yield found
    assert found.ask(lambda world: world.rpc.call("evm_revert", snapshot)) is True


@dataclass
class Said:
    code: int
    out: str
    err: str

    @property
    def facts(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def operator(devnet_env: DevnetEnvironment, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run ``eigenkms operator VERB`` with the newcomer's configuration, or another."""

    def call(name: str, *words: str | Path, config: Path | None = None) -> Said:
        file = config or devnet_env.config()
        code = run(["operator", name, *map(str, words), "--config", str(file)])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call


Call = Callable[..., Said]


def steps(said: Said) -> dict[str, bool]:
    """Of the facts: which step was sent."""
    return {step["step"]: "transaction" in step for step in said.facts["steps"]}


def test_an_operator_s_life(devnet_env: DevnetEnvironment, operator: Call) -> None:
    """From a bare account to the set, another address, and out again for good; each verb does nothing where all is done."""
    address, owner = devnet_env.address(NEWCOMER), devnet_env.config(AVS_OWNER)
    assert operator("allow", address, "--yes", config=owner).code == 0
    again = operator("allow", address, "--yes", "--json", config=owner)
    assert again.facts["steps"] == [{"step": "put on the allow-list", "skipped": "it is on the list already"}]

    done = operator("register", "--yes", "--json")
    assert done.code == 0, done.err
    assert steps(done) == {
        "become operator": True,
        "allow-list": False,
        "register key": True,
        "join operator set": True,
    }
    assert not any(steps(operator("register", "--json")).values())

    shown = operator("show", "--json").facts
    peer_id = new_key("p2p", fixed_rng).public["peer_id"]
    socket = f"{ADDRESS}/p2p/{peer_id}"
    assert shown["operator"] is shown["allowed"] is shown["member"] is shown["key_matches"] is True
    assert (shown["address"], shown["socket"], shown["peer_id"]) == (address, socket, peer_id)
    assert shown["key"] == bn254_key(NEWCOMER).g2.hex()
    listed = operator("list", "--json").facts["operators"]
    assert [row["address"] for row in listed] == sorted(row["address"] for row in listed)
    assert {row["socket"] for row in listed} == {socket, *(socket_of(n) for n in range(4))}

    assert not any(steps(operator("update-socket", "--json")).values())
    moved = operator("update-socket", "--socket", "/dns4/kms.example/tcp/9401", "--yes")
    assert moved.code == 0, moved.err
    assert operator("show", "--json").facts["socket"] == f"/dns4/kms.example/tcp/9401/p2p/{peer_id}"

    early = operator("deregister", "--key", "--yes")
    assert "it is in the set, and a member must have a key" in early.err
    left = operator("deregister", "--yes")
    assert left.code == 0, left.err
    assert "keep its node running until there is a version without it" in left.out
    shown = operator("show", "--json").facts
    until = shown["slashable_until"]
    assert (shown["member"], shown["slashable"], until) == (False, True, shown["block"] + DELAY)
    assert f"slashable until block {until}" in operator("register", "--yes").err
    assert f"slashable until block {until}" in operator("deregister", "--key", "--yes").err
    devnet_env.ask(lambda world: world.mine(DELAY))
    gone = operator("deregister", "--key", "--yes", "--json")
    assert "warning: this key can never be registered again" in gone.err
    assert steps(gone) == {"deregister key": True}
    assert "is replaced by" in operator("register", "--yes").err, "the registrar kept the socket"
    burned = operator("register", "--yes", "--replace-socket")
    assert burned.code == 1
    assert "was registered before, and a key can be registered only once" in burned.err


# --- refusals: nothing is sent, and the sentence says what and what next


def allow(devnet_env: DevnetEnvironment, address: str) -> None:
    async def add(world: World) -> None:
        await registration.add_to_allowlist(world.avs, world.contracts, bytes.fromhex(address[2:]))

    devnet_env.ask(add)


def nonce(devnet_env: DevnetEnvironment, number: int) -> int:
    async def count(world: World) -> int:
        answer = await world.rpc.call(
            "eth_getTransactionCount", to_hex(world.operator(number).address), "latest"
        )
        return int(str(answer), 16)

    found: int = devnet_env.ask(count)
    return found


@pytest.fixture
def refused(devnet_env: DevnetEnvironment, operator: Call) -> Callable[..., Said]:
    """Run a verb with ``--yes``, which must be refused with exit code ``code``, and without a transaction of the newcomer."""

    def call(name: str, *words: str | Path, code: int = 1, **changes: object) -> Said:
        before = nonce(devnet_env, NEWCOMER)
        said = operator(name, *words, "--yes", config=devnet_env.config(**changes))
        assert said.code == code, said.err
        assert said.out == ""
        assert sum(line.startswith("error: ") for line in said.err.splitlines()) == 1
        assert nonce(devnet_env, NEWCOMER) == before
        return said

    return call


def test_who_is_not_on_the_list_learns_whom_to_ask(devnet_env: DevnetEnvironment, refused: Call) -> None:
    """The owner is named, with what it must run."""
    said = refused("register")
    assert "it is not on the allow-list of operator set 0" in said.err
    assert f"the owner of the AVS registrar, {devnet_env.address(AVS_OWNER)}, must run" in said.err
    assert f"eigenkms operator allow {devnet_env.address(NEWCOMER)}" in said.err


def test_only_the_owner_allows(devnet_env: DevnetEnvironment, refused: Call) -> None:
    """Another account is told who is."""
    said = refused("allow", devnet_env.address(NEWCOMER))
    assert f"is not the owner of the AVS registrar, {devnet_env.address(AVS_OWNER)} is" in said.err
    assert "its checksum is wrong" in refused("allow", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD").err
    assert "is not an address" in refused("allow", "0x12").err


def test_taking_off_the_list_is_undone_by_putting_on(devnet_env: DevnetEnvironment, operator: Call) -> None:
    """And changes nothing where it is off already."""
    owner, address = devnet_env.config(AVS_OWNER), devnet_env.address(NEWCOMER)
    for words, sent in (((), True), (("--remove",), True), (("--remove",), False)):
        said = operator("allow", address, *words, "--yes", "--json", config=owner)
        assert list(steps(said).values()) == [sent]
        assert operator("show", address, "--json").facts["allowed"] is (words == ())


def test_an_account_that_cannot_pay_is_told_how_much(devnet_env: DevnetEnvironment, refused: Call) -> None:
    """Before the first step, for all of them."""
    key = PrivateKey("secp256k1", b"\x55" * 32, public_values("secp256k1", b"\x55" * 32))
    (devnet_env.folder / "poor.json").write_bytes(key.seal("pass", fixed_rng, cost=CHEAP))
    allow(devnet_env, key.public["address"])
    said = refused("register", account_keystore="poor.json")
    assert "has 0 ether, and up to 0.00" in said.err
    assert f"ether to {key.public['address']}; nothing was sent" in said.err


def test_a_key_that_is_taken_is_refused(devnet_env: DevnetEnvironment, refused: Call, operator: Call) -> None:
    """By another operator; and an operator that has one keeps to it."""
    allow(devnet_env, devnet_env.address(NEWCOMER))
    devnet_env.config(0)
    said = refused("register", bn254_keystore="bn254-0.json")
    assert (
        f"is registered by operator {devnet_env.address(0)}, and a key can be registered only once"
        in said.err
    )
    assert "eigenkms keys new --kind bn254" in said.err
    assert operator("register", "--yes").code == 0
    assert "it has another BN254 key in this set" in refused("register", bn254_keystore="bn254-0.json").err
    assert (
        operator("show", "--json", config=devnet_env.config(bn254_keystore="bn254-0.json")).facts[
            "key_matches"
        ]
        is False
    )


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"operator": "0x" + "5a" * 20}, 1, "is not the operator 0x5a5a"),
        ({"max_gas_price_gwei": 1}, 2, "and the ceiling is 1 gwei"),
        ({"chain_id": 1}, 2, "serves chain 31337"),
        ({"delegation_manager": "0x" + "5a" * 20}, 2, "check delegation manager 0x5a5a"),
        ({"delegation_manager": None}, 1, "read delegation_manager: it is not set"),
        ({"operator_set_id": 99}, 2, "check operator set 99 of AVS"),
        ({"account_keystore": None}, 1, "the account that sends transactions is not given"),
        ({"web3signer_url": "http://127.0.0.1:1"}, 1, "account_keystore and web3signer_url are both set"),
        (
            {"web3signer_url": "http://192.0.2.1", "account_keystore": None},
            1,
            "it is neither an https:// URL nor an http:// one of this machine",
        ),
        (
            {"web3signer_url": "http://127.0.0.1:1", "account_keystore": None},
            1,
            "read account: it is not set",
        ),
        ({"account": "0x" + "5a" * 20}, 1, "not of"),
        ({"account_keystore": "p2p-9.json"}, 1, "it holds a p2p key, not a secp256k1 key"),
        ({"bn254_keystore": "account-9.json"}, 1, "it holds a secp256k1 key, not a bn254 key"),
        ({"p2p_keystore": "account-9.json"}, 1, "it holds no p2p key"),
        ({"p2p_keystore": "absent.json"}, 1, "absent.json: no such file"),
        ({"announce": []}, 1, "choose the socket: there is no address to publish"),
        ({"rpc_url": "http://127.0.0.1:1"}, 2, "no connection"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_work_is_refused_before_anything_is_sent(
    changes: dict[str, object], code: int, words: str, devnet_env: DevnetEnvironment, refused: Call
) -> None:
    """An account, a key, a contract, a chain or a fee that is not right."""
    allow(devnet_env, devnet_env.address(NEWCOMER))
    assert words in refused("register", code=code, **changes).err


def test_a_full_set_is_refused(
    devnet_env: DevnetEnvironment, operator: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One with as many members as a node can follow."""
    allow(devnet_env, devnet_env.address(NEWCOMER))
    monkeypatch.setattr(operator_registry, "MAX_MEMBERS", 4)
    said = operator("register", "--yes")
    assert said.code == 1
    assert "is full: it has 4 members" in said.err


@pytest.mark.parametrize(
    ("socket", "words"),
    [
        ("192.0.2.7:9400", "not of the form /KIND/HOST/tcp/PORT"),
        ("/ip4/192.0.2.7/udp/9400", "not of the form /KIND/HOST/tcp/PORT"),
        ("/ip4/192.0.2.7/tcp/9400/p2p/Qm", "read peer id 'Qm'"),
        ("/ip4/0.0.0.0/tcp/9400", "nobody can dial /ip4/0.0.0.0/tcp/9400: it stands for all addresses"),
        ("/ip6/::/tcp/9400", "nobody can dial /ip6/::/tcp/9400: it stands for all addresses"),
        ("/ip4/224.0.0.1/tcp/9400", "nobody can dial /ip4/224.0.0.1/tcp/9400: it is a multicast address"),
        ("/ip4/192.0.2.7/tcp/0", "'0' is not a TCP port"),
        ("/ip4/192.0.2.7/tcp/9400/p2p/16Uiu2HAm1Tv4fPFq3QVYeAtctUbV5bwv2rwJELb3tQQBL3i15RiW", "--force"),
    ],
)
def test_a_socket_that_nobody_could_use_is_refused(socket: str, words: str, refused: Call) -> None:
    """Malformed, of no machine, or with another node's peer id; a rotation of the peer key publishes none either."""
    assert words in refused("update-socket", "--socket", socket).err
    if "/p2p/" not in socket:
        assert words in refused("rotate-peer-key", "--socket", socket).err


def test_a_socket_of_this_machine_is_for_a_devnet(
    devnet_env: DevnetEnvironment, operator: Call, refused: Call
) -> None:
    """Elsewhere nobody could dial it, whether it is given or announced; --force is about peer ids."""
    own = "/ip4/127.0.0.1/tcp/9402"
    config = devnet_env.config(2)
    assert operator("update-socket", "--socket", own, "--yes", config=config).code == 0
    assert operator("show", "--json", config=config).facts["socket"].startswith(f"{own}/p2p/")
    words = f"choose the socket: nobody can dial {own}: it is a machine's own (loopback)"
    assert words in refused("update-socket", "--socket", own, "--force", chain_id=1).err
    assert words in refused("update-socket", announce=[own], chain_id=1).err
    assert words in refused("register", announce=[own], chain_id=1).err


URL = "https://kms.example.org:8443"


def test_the_url_of_an_api_is_part_of_the_socket(devnet_env: DevnetEnvironment, operator: Call) -> None:
    """It is shown and listed, a new peer key keeps it, and its loss is announced."""
    member = devnet_env.config(2, announce=None)
    done = operator("update-socket", "--socket", ADDRESS, "--http-url", URL, "--yes", config=member)
    assert done.code == 0, done.err
    shown = operator("show", "--json", config=member).facts
    assert shown["socket"] == f"{URL}{ADDRESS}/p2p/{shown['peer_id']}"
    assert shown["http_url"] == URL
    rows = {row["address"]: row for row in operator("list", "--json").facts["operators"]}
    own = rows.pop(devnet_env.address(2))
    assert (own["peer_id"], own["http_url"], own["socket"]) == (shown["peer_id"], URL, shown["socket"])
    assert {row["http_url"] for row in rows.values()} == {None}
    assert operator("rotate-peer-key", "--yes", config=member).code == 0
    rotated = operator("show", "--json", config=member).facts
    assert rotated["socket"] == f"{URL}{ADDRESS}/p2p/{rotated['peer_id']}" != shown["socket"]
    tried = operator("update-socket", "--socket", ADDRESS, "--dry-run", config=member)
    assert f"the socket {rotated['socket']} is replaced by {ADDRESS}/p2p/{rotated['peer_id']}" in tried.err


@pytest.mark.parametrize(
    ("url", "chain_id", "words"),
    [
        ("https://KMS.example.org", 1, "http_url"),
        ("https://kms.example.org/", 1, "http_url"),
        (f"{URL}{ADDRESS}", 1, "http_url"),
        ("ftp://kms.example.org", 1, "http_url"),
        (
            "http://kms.example.org",
            1,
            "speaks no TLS, so anybody on the way can replace the master public key",
        ),
        ("https://127.0.0.1:8443", 1, "nobody can dial /ip4/127.0.0.1/tcp/8443: it is a machine's own"),
        ("https://localhost:8443", 1, "it is a machine's own"),
        ("https://0.0.0.0:8443", 31337, "it stands for all addresses of a machine"),
    ],
)
def test_a_url_that_nobody_should_use_is_refused(url: str, chain_id: int, words: str, refused: Call) -> None:
    """Malformed, of no machine, or without TLS outside of a devnet."""
    assert words in refused("update-socket", http_url=url, chain_id=chain_id).err


def test_an_api_without_tls_is_published_on_a_devnet_or_by_force(
    devnet_env: DevnetEnvironment, operator: Call
) -> None:
    """On a devnet it is this machine's."""
    plain = "http://127.0.0.1:8000"
    member = devnet_env.config(2, http_url=plain)
    assert operator("update-socket", "--yes", config=member).code == 0
    assert operator("show", "--json", config=member).facts["http_url"] == plain
    elsewhere = devnet_env.config(2, http_url="http://kms.example.org", chain_id=1)
    forced = operator("update-socket", "--force", "--yes", config=elsewhere)
    assert "speaks no TLS" not in forced.err
    assert "chain 1" in forced.err, "it got as far as the chain"


def test_a_new_peer_key_publishes_no_new_url_without_tls() -> None:
    """That on chain was published by force once, and stays."""
    plain = "http://kms.example.org"
    peer = "16Uiu2HAm1Tv4fPFq3QVYeAtctUbV5bwv2rwJELb3tQQBL3i15RiW"
    settings = Settings.gather(SETTINGS, flags={"http_url": plain, "chain_id": "1"}, environ={})
    with pytest.raises(InputError, match="speaks no TLS"):
        socket_of_peer(peer, ADDRESS, settings, f"{ADDRESS}/p2p/{peer}")
    kept = f"{plain}{ADDRESS}/p2p/{peer}"
    assert socket_of_peer(peer, ADDRESS, settings, kept) == kept


def test_a_second_set_does_not_replace_the_socket_unasked(
    devnet_env: DevnetEnvironment, operator: Call
) -> None:
    """The registrar has one for an operator: the old and the new one are named, by a dry run too."""

    async def make(world: World) -> None:
        contracts, owner = world.contracts, world.avs
        for to, data in (
            (contracts.allocation_manager, abi.CREATE_OPERATOR_SETS.encode(owner.address, [(7, [])])),
            (contracts.key_registrar, abi.CONFIGURE_OPERATOR_SET.encode((owner.address, 7), abi.CURVE_BN254)),
        ):
            await owner.send("make a set", to, data, gas=400_000)

    devnet_env.ask(make)
    devnet_env.config(NEWCOMER)
    owner, number = devnet_env.config(AVS_OWNER, operator_set_id=7), 2
    assert operator("allow", "--yes", devnet_env.address(number), config=owner).code == 0
    second = devnet_env.config(number, operator_set_id=7, bn254_keystore=f"bn254-{NEWCOMER}.json")
    before, sent = operator("show", "--json", config=second).facts["socket"], nonce(devnet_env, number)
    for how in ("--yes", "--dry-run"):
        said = operator("register", how, config=second)
        assert (said.code, said.out) == (1, "")
        assert f"the socket {before} is replaced by {ADDRESS}/p2p/" in said.err
        assert "give --replace-socket if the operator serves at the old one in no other set" in said.err
    assert nonce(devnet_env, number) == sent
    tried = operator("register", "--dry-run", "--replace-socket", config=second)
    assert f"warning: the socket {before} is replaced by" in tried.err
    done = operator("register", "--yes", "--replace-socket", config=second)
    assert done.code == 0, done.err
    assert operator("show", "--json", config=second).facts["socket"].startswith(ADDRESS)


def test_the_allocation_delay_is_the_operator_s(devnet_env: DevnetEnvironment, operator: Call) -> None:
    """It is sent as given, and a dry run states what it is for and that no stake is allocated."""
    allow(devnet_env, devnet_env.address(NEWCOMER))
    for words, delay in ((), 0), (("--allocation-delay", "17500"), 17500):
        said = operator("register", "--dry-run", "--json", *words)
        become, *_ = said.facts["steps"]
        assert become["arguments"][1] == delay
        assert f"allocation delay is {delay} blocks, in all of EigenLayer" in said.err
        assert "membership carries no stake" in said.err
    assert operator("register", "--dry-run", "--allocation-delay", "-1").code == 1


def test_a_foreign_peer_id_is_published_by_force(devnet_env: DevnetEnvironment, operator: Call) -> None:
    """Whoever wants it, says so; an operator that is no member has no socket to update."""
    foreign = f"{ADDRESS}/p2p/16Uiu2HAm1Tv4fPFq3QVYeAtctUbV5bwv2rwJELb3tQQBL3i15RiW"
    outside = operator("update-socket", "--yes")
    assert "it is not in operator set 0" in outside.err
    assert "join with operator register first" in outside.err
    member = devnet_env.config(2)
    assert operator("update-socket", "--socket", foreign, "--force", "--yes", config=member).code == 0
    assert operator("show", "--json", config=member).facts["socket"] == foreign


def test_a_peer_key_is_rotated_and_goes_on_where_it_was_broken_off(
    devnet_env: DevnetEnvironment, operator: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever breaks it off: chain and keystore end with one new peer id, at the address of before, and it is sent once."""
    member = devnet_env.config(2, announce=None)
    keystore, fresh = devnet_env.folder / "p2p-2.json", devnet_env.folder / "p2p-2.json.new"
    (devnet_env.folder / "account-password").write_text("wrong\n")
    assert operator("rotate-peer-key", "--yes", config=member).code == 1
    (devnet_env.folder / "account-password").write_text("pass\n")
    nowhere = operator("rotate-peer-key", "--yes", config=member)
    assert "the chain has none that can be dialled" in nowhere.err
    assert operator("update-socket", "--socket", ADDRESS, "--yes", config=member).code == 0
    tried = operator("rotate-peer-key", "--dry-run", config=member)
    assert "would succeed" in tried.out, tried.err
    assert not fresh.exists(), "nothing was changed"
    ids = [read_metadata(keystore)[1]["peer_id"]]
    published = operator("show", "--json", config=member).facts["socket"]
    for step in ("activate", "clean_up"):
        sent = nonce(devnet_env, 2)
        with monkeypatch.context() as patched:

            def refuse(_rotation: PeerKeyRotation) -> None:
                raise StorageError("write: no space left on device")

            patched.setattr(PeerKeyRotation, step, refuse)
            broken = operator("rotate-peer-key", "--yes", config=member)
            assert (broken.code, "no space left on device" in broken.err) == (1, True)
        ids.append(read_metadata(fresh)[1]["peer_id"])
        assert read_metadata(keystore)[1]["peer_id"] == ids[-1 if step == "clean_up" else -2]
        done = operator("rotate-peer-key", "--yes", config=member)
        assert done.code == 0, done.err
        assert "restart the node" in done.err
        assert nonce(devnet_env, 2) == sent + 1
        on_chain = operator("show", "--json", config=member).facts
        assert on_chain["peer_id"] == read_metadata(keystore)[1]["peer_id"] == ids[-1]
        assert on_chain["socket"].partition("/p2p/")[0] == published.partition("/p2p/")[0]
        assert (devnet_env.folder / f"p2p-2.json.{ids[-2]}.old").is_file()
        assert not fresh.exists()
    assert len(set(ids)) == 3


def test_a_peer_key_of_no_member_is_not_rotated(devnet_env: DevnetEnvironment, operator: Call) -> None:
    """There is no socket to update; no keystore is made either."""
    said = operator("rotate-peer-key", "--yes")
    assert (said.code, "it is not in operator set 0" in said.err) == (1, True)
    assert not list(devnet_env.folder.glob("*.new"))


def test_who_never_was_there_cannot_leave(operator: Call, refused: Call) -> None:
    """Neither the set, nor a key."""
    assert "it is not in operator set 0" in refused("deregister").err
    assert "it has no key in this set" in operator("deregister", "--key", "--yes").out


# --- how it is sent


def test_a_dry_run_shows_the_calls_and_sends_nothing(devnet_env: DevnetEnvironment, operator: Call) -> None:
    """With what came of trying them; the join can be tried only after what is before it."""
    allow(devnet_env, devnet_env.address(NEWCOMER))
    before = nonce(devnet_env, NEWCOMER)
    said = operator("register", "--dry-run", "--json")
    assert said.code == 0, said.err
    facts = said.facts
    calls = {step["step"]: step for step in facts["steps"] if step["skipped"] is None}
    assert list(calls) == ["become operator", "register key", "join operator set"]
    assert [step["simulation"] for step in calls.values()] == [
        "would succeed",
        "would succeed",
        "shows only after the calls before it",
    ]
    contracts = devnet_env.background.contracts
    assert contracts is not None
    join = calls["join operator set"]
    assert join["to"] == to_hex(contracts.allocation_manager)
    assert join["function"] == "registerForOperatorSets(address,(address,uint32[],bytes))"
    assert join["arguments"][:1] == [devnet_env.address(NEWCOMER)]
    assert join["calldata"].startswith(to_hex(abi.REGISTER_FOR_SETS.selector))
    assert join["max_cost_wei"] == join["gas"] * facts["fee_per_gas_wei"]
    assert (facts["sent"], facts["gas"]) == (False, sum(step["gas"] for step in calls.values()))
    shown = operator("register", "--dry-run").out
    assert "nothing was sent; all of it costs at most 0.00" in shown
    assert join["calldata"] in shown
    assert nonce(devnet_env, NEWCOMER) == before


def test_without_a_terminal_nothing_is_sent_unasked(devnet_env: DevnetEnvironment) -> None:
    """The way to agree is named."""
    allow(devnet_env, devnet_env.address(NEWCOMER))
    done = eigenkms("operator", "register", "--config", devnet_env.config())
    assert done.returncode == 1
    assert "3 transactions not confirmed" in done.stderr.decode()
    assert "--yes" in lines(done.stderr)[-1]


def test_a_set_of_ecdsa_keys(
    devnet_env: DevnetEnvironment, operator: Call, refused: Call, tmp_path: Path
) -> None:
    """Its key is registered from its own keystore, shown and listed; that of the node is refused there, with the way on."""

    async def make(world: World) -> None:
        contracts, owner = world.contracts, world.avs
        operator_set = (owner.address, 7)
        for to, data in (
            (contracts.allocation_manager, abi.CREATE_OPERATOR_SETS.encode(owner.address, [(7, [])])),
            (contracts.key_registrar, abi.CONFIGURE_OPERATOR_SET.encode(operator_set, abi.CURVE_ECDSA)),
        ):
            await owner.send("make a set", to, data, gas=400_000)

    devnet_env.ask(make)
    secret = b"\x07" * 32
    values = public_values("secp256k1", secret)
    (tmp_path / "ecdsa.json").write_bytes(
        PrivateKey("secp256k1", secret, values).seal("pass", fixed_rng, cost=CHEAP)
    )
    owner, config = devnet_env.config(AVS_OWNER, operator_set_id=7), devnet_env.config(operator_set_id=7)
    assert operator("allow", "--yes", devnet_env.address(NEWCOMER), config=owner).code == 0
    hint = "give --ecdsa-keystore FILE for a set of ECDSA keys"
    assert hint in refused("register", operator_set_id=7).err
    words = ("register", "--json", "--ecdsa-keystore", tmp_path / "ecdsa.json")
    tried = operator(*words, "--dry-run", config=config)
    assert "warning: no node of this network can serve in this set" in tried.err, (
        "before the key is registered"
    )
    done = operator(*words, "--yes", config=config)
    assert steps(done)["register key"], done.err
    shown = operator("show", "--json", config=config).facts
    key = values["address"][2:].lower()
    assert (shown["curve"], shown["key"], shown["member"], shown["key_matches"]) == ("ECDSA", key, True, None)
    (row,) = operator("list", "--json", config=config).facts["operators"]
    assert (row["curve"], row["key"], row["problem"]) == ("ECDSA", key, None)


def test_on_a_terminal_it_asks_once(devnet_env: DevnetEnvironment, operator: Call) -> None:
    """No is no, Ctrl-C too, and yes is sent."""
    member = devnet_env.config(3)
    question = b"present price of gas? [y/N]: "
    code, shown = on_terminal("operator", "deregister", "--config", member, typed=((question, b"\x03"),))
    assert (code, b"Traceback" in shown, b"Fatal" in shown) == (130, False, False)
    code, shown = on_terminal("operator", "deregister", "--config", member, typed=((question, b"n\n"),))
    assert (code, b"not confirmed, nothing was sent" in shown) == (1, True)
    assert operator("show", "--json", config=member).facts["member"] is True
    code, shown = on_terminal("operator", "deregister", "--config", member, typed=((question, b"y\n"),))
    assert code == 0, shown
    assert operator("show", "--json", config=member).facts["member"] is False


def test_a_registration_that_was_killed_is_completed_by_another(
    devnet_env: DevnetEnvironment, operator: Call
) -> None:
    """A real process, killed once its first transaction is in a block: the rest is done, and nothing twice."""
    allow(devnet_env, devnet_env.address(NEWCOMER))
    words = [SCRIPT, "operator", "register", "--yes", "--config", str(devnet_env.config())]
    with subprocess.Popen(words, stderr=subprocess.PIPE, env=clean_environment()) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if b"in block" in line:
                process.kill()
                break
        process.stderr.read()
    done = operator("register", "--yes", "--json")
    assert done.code == 0, done.err
    assert steps(done)["become operator"] is False
    assert nonce(devnet_env, NEWCOMER) == 3
    assert operator("show", "--json").facts["member"] is True


def test_passwords_come_from_the_environment_too(
    devnet_env: DevnetEnvironment, operator: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for the account, one for the other keys; a wrong one is told, and not shown."""
    file = devnet_env.config(1, account_password_file=None)
    monkeypatch.setenv("EIGENKMS_ACCOUNT_PASSWORD", "hunter2")
    said = operator("deregister", "--yes", config=file)
    assert "account-1.json: the password is wrong" in said.err
    assert "hunter2" not in said.err
    monkeypatch.setenv("EIGENKMS_ACCOUNT_PASSWORD", "pass")
    assert operator("deregister", "--yes", config=file).code == 0


@contextmanager
def web3signer(key: bytes) -> Iterator[str]:
    """A real HTTP server in a thread that signs as web3signer does; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            call = json.loads(self.rfile.read(int(self.headers["content-length"])))
            signed = sign(key, call["params"][0])
            body = json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": signed}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_web3signer_holds_the_account_s_key(devnet_env: DevnetEnvironment, operator: Call) -> None:
    """No keystore and no password here; one with another key is found out, and nothing is sent."""
    engine = devnet_env.background.engine
    assert engine is not None
    settings = {"account_keystore": None, "account": devnet_env.address(2)}
    with web3signer(engine.accounts[5]) as url:
        said = operator("deregister", "--yes", config=devnet_env.config(2, web3signer_url=url, **settings))
    assert said.code == 4
    assert "not as the account" in said.err
    with web3signer(engine.accounts[4]) as url:
        said = operator(
            "deregister", "--yes", "--json", config=devnet_env.config(2, web3signer_url=url, **settings)
        )
    assert said.code == 0, said.err
    assert said.facts["account"] == devnet_env.address(2)
    assert steps(said) == {"leave operator set": True}


def test_what_a_stranger_published_commands_no_terminal(
    devnet_env: DevnetEnvironment, operator: Call
) -> None:
    """A socket is anybody's text."""

    async def publish(world: World) -> None:
        await registration.update_socket(world.operator(1), world.contracts, "\x1b]0;evil\x07")

    devnet_env.ask(publish)
    for said in (operator("list"), operator("show", devnet_env.address(1))):
        assert "evil" in said.out
        assert "(no multiaddr with a peer id: no node can dial it)" in said.out
        assert all(character.isprintable() or character == "\n" for character in said.out)
    assert operator("show", devnet_env.address(1), "--json").facts["peer_id"] is None


def test_one_is_shown_that_is_nobody_yet(devnet_env: DevnetEnvironment, operator: Call) -> None:
    """Without an address, it is the account's or the operator's own."""
    facts = operator("show", "--json").facts
    assert (facts["address"], facts["operator"], facts["member"]) == (
        devnet_env.address(NEWCOMER),
        False,
        False,
    )
    assert (facts["key"], facts["socket"], facts["slashable"]) == (None, None, False)
    said = operator("show", config=devnet_env.config(account_keystore=None))
    assert "show operator: it is not said which" in said.err


# --- a devnet's favours


def test_a_devnet_gives_ether_and_a_place_on_the_list(
    devnet_env: DevnetEnvironment, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a newcomer needs, by --dir or by --config; a second time the list stays as it is."""
    devnet_env.config().rename(devnet_env.folder / "client.toml")
    stranger = "0x" + "5a" * 20

    def devnet(*words: str) -> Any:
        assert run(["devnet", *words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    folder, file = ("--dir", str(devnet_env.folder)), ("--config", str(devnet_env.folder / "client.toml"))
    assert devnet("fund", stranger, "--ether", "1.5", *folder) == {
        "address": stranger,
        "balance_wei": 15 * 10**17,
    }
    assert devnet("fund", stranger, *file)["balance_wei"] == 115 * 10**17
    assert devnet("allow", stranger, *folder) == {"address": stranger, "sent": True}
    assert devnet("allow", stranger, *file) == {"address": stranger, "sent": False}


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("fund", "0x12"), "read address: '0x12' is not an address"),
        (("fund", "0x" + "5a" * 20, "--ether", "0"), "read --ether '0': it is not a number above 0"),
        (("fund", "0x" + "5a" * 20, "--ether", "-1"), "read --ether '-1': it is not a number above 0"),
        (("fund", "0x" + "5a" * 20, "--ether", "1001"), "read --ether '1001': it is not a number"),
        (
            ("allow", "0x" + "5a" * 20, "--dir", "nowhere"),
            "find the devnet in nowhere: it has no client.toml",
        ),
        (
            ("allow", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD"),
            "read address: 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD: its checksum is wrong (EIP-55)",
        ),
    ],
)
def test_a_favour_that_makes_no_sense_is_refused(
    words: tuple[str, ...], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before any network is asked."""
    assert run(["devnet", *words]) == 1
    assert capsys.readouterr().err.startswith(f"error: {error}")


def test_a_favour_is_done_on_a_devnet_alone(
    devnet_env: DevnetEnvironment, capsys: pytest.CaptureFixture[str]
) -> None:
    """Accounts whose keys are public send nothing on another chain."""
    file = devnet_env.config(chain_id=1)
    assert run(["devnet", "fund", "0x" + "5a" * 20, "--config", str(file)]) == 2
    assert "serves chain 31337" in capsys.readouterr().err
