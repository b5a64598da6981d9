"""Key files under a password: frozen format, strict reading, honest errors."""

import json
from pathlib import Path
from typing import Any

import pytest

from eigenkms.crypto import keystore
from eigenkms.crypto.keystore import ScryptCost
from eigenkms.errors import InputError
from tests.support.randomness import counter_rng

CHEAP = ScryptCost(n=16, r=1, p=1)
SECRET = bytes(range(32))
PASSWORD = "correct horse"
GOLDEN = "keystore_v1.json"


def sealed(password: str = PASSWORD, kind: str = "bn254") -> bytes:
    return keystore.seal(kind, SECRET, password, {"g1": "aa", "g2": "bb"}, counter_rng("golden"), cost=CHEAP)


def edited(**changes: Any) -> bytes:
    """A good file with some fields replaced; a value of None removes the field."""
    fields = json.loads(sealed()) | changes
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def inner(part: str, /, **changes: Any) -> dict[str, Any]:
    return json.loads(sealed())[part] | changes


def test_golden_file(folder: Path) -> None:
    """The format is frozen: the same inputs give the same file, byte for byte, and it opens. Changing it
    needs a new version.
    """
    golden = (folder / GOLDEN).read_bytes()
    assert golden == sealed()
    opened = keystore.open_keystore(golden, PASSWORD)
    assert keystore.OpenedKey("bn254", SECRET, {"g1": "aa", "g2": "bb"}) == opened


@pytest.mark.parametrize("kind", keystore.KINDS)
def test_every_kind_round_trips(kind: str) -> None:
    """Identity, transaction and peer keys."""
    opened = keystore.open_keystore(sealed(kind=kind), PASSWORD)
    assert (kind, SECRET) == (opened.kind, opened.secret)


@pytest.mark.slow
def test_default_cost_is_strong() -> None:
    """Without a word from the caller one guess costs 128 MiB."""
    data = keystore.seal("p2p", SECRET, PASSWORD, {}, counter_rng("d"))
    kdf = json.loads(data)["kdf"]
    assert (kdf["n"], kdf["r"], kdf["p"]) == (2**17, 8, 1)
    assert keystore.open_keystore(data, PASSWORD).secret == SECRET


def test_wrong_password_says_so() -> None:
    """The error names the two possible causes and what to do; it holds neither password nor secret."""
    with pytest.raises(InputError, match="password is wrong, or the file was changed") as caught:
        keystore.open_keystore(sealed(), "wrong horse")
    assert caught.value.hint is not None
    assert "horse" not in f"{caught.value} {caught.value.hint}"


def test_password_is_compared_in_one_unicode_form() -> None:
    """The same letters typed on two systems, composed or not, are one password."""
    assert keystore.open_keystore(sealed("caf\u00e9"), "cafe\u0301").secret == SECRET


def test_password_must_exist_and_have_bytes() -> None:
    """Empty passwords protect nothing; broken text has no bytes."""
    with pytest.raises(InputError, match="password is empty"):
        sealed("")
    with pytest.raises(InputError, match="no UTF-8 form"):
        sealed("\ud800")


def test_header_is_authenticated() -> None:
    """Public values, kind and cost cannot be changed without the password."""
    for changed in (
        edited(public={"g1": "aa", "g2": "cc"}),
        edited(kind="p2p"),
        edited(kdf=inner("kdf", n=32)),
        edited(kdf=inner("kdf", salt="00" * 32)),
        edited(cipher=inner("cipher", nonce="00" * 12)),
        edited(ciphertext="00" * 48),
        edited(ciphertext=""),
    ):
        with pytest.raises(InputError, match="password is wrong, or the file was changed"):
            keystore.open_keystore(changed, PASSWORD)


def test_newer_version_asks_for_an_update() -> None:
    """A file from the future is told apart from a broken one."""
    with pytest.raises(InputError, match="version 2 is newer than 1") as caught:
        keystore.open_keystore(edited(version=2, something="new"), PASSWORD)
    assert caught.value.hint == "install the eigenkms that wrote it, or a newer one; nothing was changed"
    with pytest.raises(InputError, match=r"version 2 \(written by release 9\.1\) is newer than 1"):
        keystore.open_keystore(edited(version=2, release="9.1"), PASSWORD)


CIPHERTEXT = json.loads(sealed())["ciphertext"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not json",
        b"\xff\xfe",
        b"[]",
        b"[" * 60000,
        sealed().replace(b'"version": 1,', b'"version": 1, "version": 1,'),
        b" " * 65537,
        edited(format="other"),
        edited(version=0),
        edited(version=True),
        edited(version="1"),
        edited(kind="dsa"),
        edited(kind=1),
        edited(public=[]),
        edited(public={"g1": 1}),
        edited(extra=1),
        edited(ciphertext=None),
        edited(ciphertext=CIPHERTEXT.upper()),
        edited(ciphertext=CIPHERTEXT[:2] + " " + CIPHERTEXT[2:]),
        edited(ciphertext="xy"),
        edited(cipher=inner("cipher", name="aes-128-gcm")),
        edited(cipher=inner("cipher", nonce="00")),
        edited(cipher={"name": "aes-256-gcm"}),
        edited(kdf=inner("kdf", name="pbkdf2")),
        edited(kdf=inner("kdf", n=2**27)),
        edited(kdf=inner("kdf", n=2**20, r=32)),
        edited(kdf=inner("kdf", n=17)),
        edited(kdf=inner("kdf", n=0)),
        edited(kdf=inner("kdf", p=17)),
        edited(kdf=inner("kdf", r=0)),
        edited(kdf=inner("kdf", n=16.0)),
        edited(kdf=inner("kdf", salt="00" * 31)),
    ],
)
def test_what_is_not_a_key_file_is_an_input_error(data: bytes) -> None:
    """Anything else is refused with a reason, and before any cost that the file names is paid."""
    with pytest.raises(InputError, match="open keystore") as caught:
        keystore.open_keystore(data, PASSWORD)
    assert caught.value.hint == "give a file made by eigenkms keys new"


def test_sealing_checks_its_arguments() -> None:
    """Unknown kinds, empty or huge secrets, public values that are not text, costs out of bounds."""
    rng = counter_rng("s")
    with pytest.raises(ValueError, match="kind 'dsa'"):
        keystore.seal("dsa", SECRET, PASSWORD, {}, rng, cost=CHEAP)
    for secret in (b"", bytes(4097)):
        with pytest.raises(ValueError, match="keystore secret"):
            keystore.seal("p2p", secret, PASSWORD, {}, rng, cost=CHEAP)
    with pytest.raises(ValueError, match="not all text"):
        keystore.seal("p2p", SECRET, PASSWORD, {"g1": 1}, rng, cost=CHEAP)  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="out of bounds"):
        ScryptCost(n=1)
