"""Key files that others wrote open with their password, and not if anything about them is another key's."""

import json
from typing import Any

import pytest
from eth_keyfile import create_keyfile_json

from eigenkms.crypto.bn254 import KeyPair, N
from eigenkms.crypto.foreign_keystore import (
    claimed_address,
    claimed_g1,
    format_of,
    open_eigenlayer,
    open_geth,
    parse,
)
from eigenkms.errors import InputError

SECRET = 0x1234567890ABCDEF << 180
PAIR = KeyPair(SECRET)
PASSWORD = "correct horse é"


def point(pair: KeyPair) -> str:
    x, y = (int.from_bytes(pair.g1[i : i + 32], "big") for i in (0, 32))
    return f"E([{x},{y}])"


def eigenlayer(secret: int = SECRET, public: str = point(PAIR), kdf: Any = "scrypt") -> dict[str, Any]:
    """As eigensdk-go writes it, with a cheap key derivation."""
    made = create_keyfile_json(secret.to_bytes(32, "big"), PASSWORD.encode(), kdf=kdf, iterations=2)
    return {"pubKey": public, "crypto": made["crypto"]}


FROZEN = {
    "pubKey": "E([6046258074522614275023840903489801856672476117523212509348894542214777232387,"
    "1169511814594938700726073742272276582686096520298301440508413196075117829678])",
    "crypto": {
        "cipher": "aes-128-ctr",
        "ciphertext": "7fc652df5fc8fe317015c25ed8bca689d7c2f4ad49b3112033b6c195149efa50",
        "cipherparams": {"iv": "0ab306823035661bb8dba21cc2535231"},
        "kdf": "scrypt",
        "kdfparams": {
            "dklen": 32,
            "n": 2,
            "p": 1,
            "r": 8,
            "salt": "63479ad69a090b258277ec8fba6f99419a2ffb248981510657c944ccd1148e97",
        },
        "mac": "b29a9574d8cb7ed97474e64ac59fe55e6db382c4b01514828eae1933fd00a548",
    },
}
"""Made with hashlib's scrypt and AES of the cryptography package, not with what reads it; password "pass"."""


@pytest.mark.parametrize("kdf", ["scrypt", "pbkdf2"])
def test_a_bn254_keystore_of_the_eigenlayer_cli_opens(kdf: str) -> None:
    """The plaintext is the scalar, big-endian, and the public key is told without the password."""
    fields = parse(json.dumps(eigenlayer(kdf=kdf)).encode())
    assert fields is not None
    assert format_of(fields) == "eigenlayer"
    assert claimed_g1(fields) == PAIR.g1
    assert open_eigenlayer(fields, PASSWORD) == PAIR.secret_bytes()


def test_a_written_file_opens() -> None:
    """The scalar is 32 bytes, also where the first are zero."""
    assert open_eigenlayer(FROZEN, "pass") == ((0x0A1B2C3D << 200) + 0x55).to_bytes(32, "big")


@pytest.mark.parametrize(
    ("fields", "password", "reason"),
    [
        (eigenlayer(), "wrong", "the password is wrong"),
        (eigenlayer(public=point(KeyPair(SECRET + 1))), PASSWORD, "its pubKey is another key's"),
        (eigenlayer(public="E([1])"), PASSWORD, "its pubKey is not of the form"),
        (eigenlayer(public=f"E([{10**77},2])".replace("1", "9")), PASSWORD, "its pubKey is not of the form"),
        (eigenlayer(secret=N + 1), PASSWORD, "what it holds is not a BN254 key"),
        (eigenlayer() | {"crypto": {}}, PASSWORD, "it is no keystore of version 3"),
        (
            eigenlayer()
            | {"crypto": {"cipher": "aes-128-ctr", "kdfparams": {"dklen": 32, "n": 2**40, "r": 8}}},
            PASSWORD,
            "it is no keystore of version 3",
        ),
        (
            eigenlayer()
            | {"crypto": {"cipher": "aes-128-ctr", "kdfparams": {"dklen": 32, "n": 2, "r": 8, "p": 2**30}}},
            PASSWORD,
            "it is no keystore of version 3",
        ),
    ],
)
def test_what_does_not_open_is_told(fields: dict[str, Any], password: str, reason: str) -> None:
    """Nothing of the key is in what is raised, and no file makes its reader work without bound."""
    with pytest.raises(InputError, match=reason) as error:
        open_eigenlayer(fields, password)
    assert f"{SECRET:x}" not in str(error.value)
    assert str(SECRET) not in str(error.value)


@pytest.mark.parametrize("value", [None, [], {}, "", "x", -1, 0, 1e999, 2**70, 0.5])
@pytest.mark.parametrize("kdf", ["scrypt", "pbkdf2"])
def test_a_strange_value_anywhere_is_an_error_of_the_file(kdf: str, value: Any) -> None:
    """Whatever stands in a field, the answer is a sentence, and soon."""
    crypto = eigenlayer(kdf=kdf)["crypto"]
    parameters = crypto["kdfparams"]
    changed = [crypto | {name: value} for name in crypto]
    changed += [crypto | {"kdfparams": parameters | {name: value}} for name in parameters]
    for each in changed:
        with pytest.raises(InputError):
            open_geth({"crypto": each, "version": 3}, PASSWORD)
    assert format_of({"crypto": crypto, "version": value}) is None
    with pytest.raises(InputError):
        claimed_g1({"pubKey": value})


def test_a_geth_keystore_opens() -> None:
    """Its address is what it says, until it is compared."""
    fields = parse(json.dumps(create_keyfile_json(b"\x07" * 32, b"pass", iterations=2)).encode())
    assert fields is not None
    assert format_of(fields) == "geth"
    assert open_geth(fields, "pass") == b"\x07" * 32
    assert claimed_address(fields) is not None
    assert claimed_address({"address": "0x12"}) is None


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"{}", None),
        (b'{"format": "eigenkms-keystore"}', "eigenkms"),
        (b'{"crypto": {}, "version": 4, "pubkey": ""}', "eip2335"),
        (b'{"crypto": {}, "version": 2}', None),
        (b'{"crypto": [], "pubKey": ""}', None),
    ],
)
def test_formats_are_told_apart_by_their_fields(data: bytes, expected: str | None) -> None:
    """Before any password is asked for."""
    fields = parse(data)
    assert fields is not None
    assert format_of(fields) == expected


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"{", b'{"a": 1, "a": 2}', b" " * 70_000])
def test_what_is_no_json_object_has_no_fields(data: bytes) -> None:
    """Nor has what names a field twice, or is too long."""
    assert parse(data) is None
