"""``eigenkms operator`` against real contracts on the embedded chain: an operator's whole life, and every refusal on the way."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from eigenkms.chain.rpc import JsonRpc
from eigenkms.cli.main import run
from eigenkms.crypto.keystore import ScryptCost
from eigenkms.node.keyfiles import Key, new_key, public_values
from tests.chain.conftest import DELAY, World, _Background, bn254_key, socket_of

CHEAP = ScryptCost(n=2, r=1, p=1)
NEWCOMER = 9
"""The operator of these tests; 0 to 3 are members."""
AVS_OWNER = -1
ADDRESS = "/ip4/192.0.2.7/tcp/9400"


def rng(size: int) -> bytes:
    """The same bytes each time."""
    return bytes(range(1, size + 1))


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Background]:
    running = _Background("embedded", tmp_path_factory.mktemp("engine") / "engine.log")
    running.start()
    yield running
    running.stop()


@dataclass
class Place:
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
        account = Key("secp256k1", secret, public_values("secp256k1", secret))
        voice = bn254_key(number % 32)
        secret = voice.secret_bytes()
        for name, key in (
            ("account", account),
            ("bn254", Key("bn254", secret, public_values("bn254", secret))),
            ("p2p", new_key("p2p", rng)),
        ):
            (self.folder / f"{name}-{number}.json").write_bytes(key.seal("pass", rng, cost=CHEAP))
        for name in ("password", "account-password"):
            (self.folder / name).write_text("pass\n")
            (self.folder / name).chmod(0o600)
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
def place(background: _Background, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for name in ("EIGENKMS_CONFIG", "EIGENKMS_PASSWORD", "EIGENKMS_ACCOUNT_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    found = Place(tmp_path, background)
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
def operator(place: Place, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run ``eigenkms operator VERB`` with the newcomer's configuration, or another."""

    def call(name: str, *words: str | Path, config: Path | None = None) -> Said:
        file = config or place.config()
        code = run(["operator", name, *map(str, words), "--config", str(file)])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call


Call = Callable[..., Said]


def steps(said: Said) -> dict[str, bool]:
    """Of the facts: which step was sent."""
    return {step["step"]: "transaction" in step for step in said.facts["steps"]}


def test_an_operator_s_life(place: Place, operator: Call) -> None:
    """From a bare account to the set, another address, and out again for good; each verb does nothing where all is done."""
    address, owner = place.address(NEWCOMER), place.config(AVS_OWNER)
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
    peer_id = new_key("p2p", rng).public["peer_id"]
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
    assert "keep its node running until a version without it is settled" in left.out
    shown = operator("show", "--json").facts
    until = shown["slashable_until"]
    assert (shown["member"], shown["slashable"], until) == (False, True, shown["block"] + DELAY)
    assert f"slashable until block {until}" in operator("register", "--yes").err
    assert f"slashable until block {until}" in operator("deregister", "--key", "--yes").err
    place.ask(lambda world: world.mine(DELAY))
    gone = operator("deregister", "--key", "--yes", "--json")
    assert steps(gone) == {"deregister key": True}
    burned = operator("register", "--yes")
    assert burned.code == 1
    assert "was registered before, and a key can be registered only once" in burned.err


def test_a_devnet_gives_ether_and_a_place_on_the_list(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a newcomer needs, by --dir or by --config; a second time the list stays as it is."""
    place.config().rename(place.folder / "client.toml")
    stranger = "0x" + "5a" * 20

    def devnet(*words: str) -> Any:
        assert run(["devnet", *words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    folder, file = ("--dir", str(place.folder)), ("--config", str(place.folder / "client.toml"))
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
            "read address 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD: its checksum is wrong",
        ),
    ],
)
def test_a_favour_that_makes_no_sense_is_refused(
    words: tuple[str, ...], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before any network is asked."""
    assert run(["devnet", *words]) == 1
    assert capsys.readouterr().err.startswith(f"error: {error}")


def test_a_favour_is_done_on_a_devnet_alone(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Accounts whose keys are public send nothing on another chain."""
    file = place.config(chain_id=1)
    assert run(["devnet", "fund", "0x" + "5a" * 20, "--config", str(file)]) == 2
    assert "serves chain 31337" in capsys.readouterr().err
