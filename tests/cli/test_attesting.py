"""Where the creator's key comes from: a file that only its owner need read, or the environment; never shown, never an argument."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from eth_account import Account

from eigenkms.cli.support.attester_options import attester
from eigenkms.client.attesters import ConfidentialSpaceAttester, EcdsaAttester
from eigenkms.config.schema import SETTINGS
from eigenkms.config.sources import gather
from eigenkms.crypto.keystore import ScryptCost
from eigenkms.errors import InputError
from eigenkms.keys.keystores import PrivateKey, public_values
from tests.cli.conftest import eigenkms, lines
from tests.support.private_files import write_private

KEY = bytes(range(1, 33))
ADDRESS = Account.from_key(KEY).address.lower()
CHEAP = ScryptCost(n=2, r=1, p=1)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("EIGENKMS_ECDSA_KEY", "EIGENKMS_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    return


def opened(**flags: object) -> EcdsaAttester:
    found = attester(gather({"attest": "ecdsa", **flags}, environ={}))
    assert isinstance(found, EcdsaAttester)
    return found


def geth(password: str = "pass", **changes: object) -> str:
    made = Account.encrypt(KEY, password, kdf="pbkdf2", iterations=2)
    return json.dumps({**made, **changes})


def rng(size: int) -> bytes:
    return bytes(size)


@pytest.mark.parametrize(
    "content",
    [
        KEY.hex(),
        f"0x{KEY.hex().upper()}\n".replace("0X", "0x"),
        geth(),
        PrivateKey("secp256k1", KEY, public_values("secp256k1", KEY)).seal("pass", rng, cost=CHEAP),
        f"\ufeff{KEY.hex()}\r\n",
        f"\ufeff{geth()}\r\n",
    ],
    ids=["hex", "hex with 0x and a line end", "geth", "eigenkms", "hex of an editor", "geth of an editor"],
)
def test_a_key_comes_from_a_file(
    content: str | bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bare, or in a keystore with its password; nothing is said."""
    path, password = write_private(tmp_path / "key", content), write_private(tmp_path / "password", "pass\n")
    found = opened(ecdsa_key_file=path, password_file=password)
    assert f"0x{found.address.hex()}" == ADDRESS
    assert capsys.readouterr() == ("", "")


def test_a_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no file is given, which wins."""
    for text in (KEY.hex(), f"\ufeff0x{KEY.hex()}\r\n"):
        monkeypatch.setenv("EIGENKMS_ECDSA_KEY", text)
        assert f"0x{opened().address.hex()}" == ADDRESS
    with pytest.raises(InputError, match="read ECDSA key /nowhere: no such file"):
        opened(ecdsa_key_file="/nowhere")


def test_a_bare_key_that_others_can_read_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is used all the same, as a password file is."""
    path = write_private(tmp_path / "key", KEY.hex())
    path.chmod(0o640)
    opened(ecdsa_key_file=path)
    assert (
        capsys.readouterr().err == f"warning: ECDSA key {path} can be read by others; run chmod 600 {path}\n"
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "neither JSON nor 64 hex digits"),
        (KEY.hex()[:-1], "neither JSON nor 64 hex digits"),
        (KEY.hex() * 2, "neither JSON nor 64 hex digits"),
        (b"\xff" * 32, "it is not UTF-8 text"),
        (KEY.hex().encode("utf-16"), "it is UTF-16 text; save it as UTF-8"),
        (bytes(32).hex(), "not a secp256k1 key"),
        ("{", "it is not JSON"),
        ("{}", "no keystore of version 3"),
        ('{"crypto": []}', "no keystore of version 3"),
        (geth(version=2), "no keystore of version 3"),
        (
            geth(crypto={"cipher": "aes-128-ctr", "kdfparams": {"n": 2**40, "r": 8}}),
            "no keystore of version 3",
        ),
        (geth(crypto={"cipher": "aes-128-ctr", "kdfparams": {"c": 10**9}}), "no keystore of version 3"),
        (geth("another"), "the password is wrong"),
        (
            PrivateKey("p2p", KEY, public_values("p2p", KEY)).seal("pass", rng, cost=CHEAP),
            "it holds a p2p key",
        ),
        (b" " * 70_000, "more than 65536 bytes"),
    ],
)
def test_what_is_no_key_is_told_and_not_shown(content: str | bytes, words: str, tmp_path: Path) -> None:
    """Nothing of the file is in what is raised."""
    path, password = write_private(tmp_path / "key", content), write_private(tmp_path / "password", "pass\n")
    with pytest.raises(InputError, match=words) as error:
        opened(ecdsa_key_file=path, password_file=password)
    assert KEY.hex()[:16] not in f"{error.value} {error.value.hint}"


def test_a_key_that_is_not_given_is_asked_for() -> None:
    """The hint names both ways."""
    with pytest.raises(InputError, match="the key of the application's creator is not given") as error:
        opened()
    assert "--ecdsa-key-file" in str(error.value.hint)
    assert "EIGENKMS_ECDSA_KEY" in str(error.value.hint)


def test_tokens_come_from_the_launcher_that_is_named() -> None:
    """Google's place for it unless another is given."""
    for method in ("gcp", "intel"):
        found = attester(gather({"attest": method}, environ={}))
        assert isinstance(found, ConfidentialSpaceAttester)
        assert repr(found) == f"<ConfidentialSpaceAttester {method} at {SETTINGS['launcher_socket'].default}>"
    elsewhere = gather({"attest": "gcp"}, environ={"EIGENKMS_LAUNCHER_SOCKET": "/run/tee"})
    assert repr(attester(elsewhere)) == "<ConfidentialSpaceAttester gcp at /run/tee>"


def test_who_asks_for_nothing_shows_nothing() -> None:
    """As for a devnet with the policy open."""
    assert attester(gather({}, environ={"EIGENKMS_ECDSA_KEY_FILE": "/nowhere"})) is None


@pytest.mark.slow
@pytest.mark.parametrize("verb", [("exec", "--", "true"), ("secrets", "get"), ("decrypt",)], ids="-".join)
def test_every_verb_that_asks_for_keys_attests(verb: tuple[str, ...], tmp_path: Path) -> None:
    """A wrong way or key is exit code 1 before anything is asked of the network, whose address is nobody's."""
    name, *more = verb[:2] if verb[0] == "secrets" else (verb[0],)
    first = (name, *more, "--app-id", "0x" + "ab" * 20)
    rest = verb[1:] if verb[0] == "exec" else ()
    done = eigenkms(*first, "--attest", "stars", *rest, stdin=b"IBE\x01" + bytes(124))
    assert done.returncode == 1
    assert "is not one of gcp, intel, ecdsa" in lines(done.stderr)[0]
    done = eigenkms(*first, "--attest", "ecdsa", *rest, stdin=b"IBE\x01" + bytes(124))
    assert done.returncode == 1
    assert lines(done.stderr)[0].startswith("error: attest by ecdsa: the key of the application's creator")
