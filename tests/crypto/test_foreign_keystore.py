"""Key files that others wrote open with their password, and not if anything about them is another key's."""

import hashlib
import json
from typing import Any
from unicodedata import normalize

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from eth_keyfile import create_keyfile_json

from eigenkms.crypto.bn254 import KeyPair, N
from eigenkms.crypto.foreign_keystore import (
    NAMES,
    claimed_address,
    claimed_g1,
    claimed_g2,
    format_of,
    nature,
    open_devkit,
    open_eigenlayer,
    open_geth,
    parse,
)
from eigenkms.crypto.hashing import keccak256
from eigenkms.crypto.keystore import PASSWORD_HINT
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


IV, SALT = bytes(range(16)), bytes(range(32))


def _encrypted(content: bytes, password: bytes) -> tuple[bytes, bytes]:
    """The ciphertext, and the half of the derived key that enters the checksum."""
    key = hashlib.pbkdf2_hmac("sha256", password, SALT, 2, 32)
    cipher = Cipher(algorithms.AES(key[:16]), modes.CTR(IV)).encryptor()
    return cipher.update(content), key[16:]


PARAMETERS = {"dklen": 32, "c": 2, "prf": "hmac-sha256", "salt": SALT.hex()}


def web3(content: bytes, password: bytes = PASSWORD.encode()) -> dict[str, Any]:
    """The crypto object of version 3, over content of any length."""
    ciphertext, half = _encrypted(content, password)
    return {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": IV.hex()},
        "ciphertext": ciphertext.hex(),
        "kdf": "pbkdf2",
        "kdfparams": PARAMETERS,
        "mac": keccak256(half + ciphertext).hex(),
    }


def eip2335(content: bytes, password: bytes = normalize("NFKD", PASSWORD).encode()) -> dict[str, Any]:
    """The crypto object of EIP-2335, over content of any length."""
    ciphertext, half = _encrypted(content, password)
    return {
        "kdf": {"function": "pbkdf2", "params": PARAMETERS, "message": ""},
        "checksum": {
            "function": "sha256",
            "params": {},
            "message": hashlib.sha256(half + ciphertext).hexdigest(),
        },
        "cipher": {"function": "aes-128-ctr", "params": {"iv": IV.hex()}, "message": ciphertext.hex()},
    }


@pytest.mark.parametrize("length", [30, 31])
def test_a_geth_keystore_of_a_key_without_its_leading_zeros_opens(length: int) -> None:
    """Old releases of geth wrote such files, and geth opens them (its vectors 30_byte_key and 31_byte_key)."""
    fields = {"version": 3, "crypto": web3(b"\x07" * length)}
    assert open_geth(fields, PASSWORD) == bytes(32 - length) + b"\x07" * length


def test_a_geth_keystore_may_have_a_capital() -> None:
    """As ethers writes it; geth, whose decoder ignores case, opens it."""
    fields = {"version": 3, "Crypto": web3(b"\x07" * 32), "address": "0X" + "ab" * 20}
    assert format_of(fields) == "geth"
    assert open_geth(fields, PASSWORD) == b"\x07" * 32
    assert claimed_address(fields) == b"\xab" * 20


DECIMAL = b"12248929636257230549931416853095037629726205319386239410403476017439825112537"
"""As a person gives a scalar to the devkit; it takes the characters for a number."""
SHORT = 0x1234567890ABCDEF << 100
DEVKIT = {
    "decimal text, as its characters": (DECIMAL, int.from_bytes(DECIMAL, "big") % N),
    "decimal text, as its number": (str(SHORT).encode(), SHORT),
    "hexadecimal text, as its characters": (b"ab" * 32, int.from_bytes(b"ab" * 32, "big") % N),
    "hexadecimal text, as its number": (b"0x%064x" % SHORT, SHORT),
    "a scalar of 32 bytes": (SECRET.to_bytes(32, "big"), SECRET),
    "a scalar of 31 bytes": ((SECRET >> 8).to_bytes(31, "big"), SECRET >> 8),
    "a scalar of few bytes": (SHORT.to_bytes((SHORT.bit_length() + 7) // 8, "big"), SHORT),
}


@pytest.mark.parametrize(("content", "scalar"), DEVKIT.values(), ids=DEVKIT.keys())
@pytest.mark.parametrize(("layout", "name"), [(web3, "publicKey"), (eip2335, "pubkey")])
def test_a_bn254_keystore_of_the_devkit_opens(layout: Any, name: str, content: bytes, scalar: int) -> None:
    """Whatever was put into it, the key is the one that the file names, which its programs registered."""
    pair = KeyPair(scalar)
    fields = {"version": 4, "curveType": "bn254", name: pair.g2.hex(), "crypto": layout(content)}
    assert format_of(fields) == "devkit"
    assert claimed_g2(fields) == pair.g2
    assert open_devkit(fields, PASSWORD) == pair.secret_bytes()
    with pytest.raises(InputError, match="its public key is another key's"):
        open_devkit(fields | {name: KeyPair(3).g2.hex()}, PASSWORD)


def test_an_eip2335_password_is_taken_as_it_says() -> None:
    """In its form NFKD and without control characters (EIP-2335, "Password requirements")."""
    fields = {"version": 4, "curveType": "BN254", "pubkey": "0x" + PAIR.g2.hex()}
    fields |= {"crypto": eip2335(PAIR.secret_bytes(), "e\u0301a".encode())}
    assert open_devkit(fields, "\u00e9\x7fa\t") == PAIR.secret_bytes()


@pytest.mark.parametrize("value", [None, [], {}, "", "x", -1, 1e999, 2**70, 0.5])
def test_a_strange_value_in_a_devkit_keystore_is_an_error_of_the_file(value: Any) -> None:
    """Whatever stands in a field, the answer is a sentence, and soon."""
    whole = {"version": 4, "curveType": "bn254", "pubkey": PAIR.g2.hex()}
    crypto = eip2335(PAIR.secret_bytes())
    changed = [crypto | {name: value} for name in crypto]
    for module in crypto:
        changed += [
            crypto | {module: crypto[module] | {name: value}} for name in ("function", "params", "message")
        ]
    changed += [
        crypto | {"kdf": crypto["kdf"] | {"params": PARAMETERS | {name: value}}} for name in PARAMETERS
    ]
    harmless = [
        crypto | {"kdf": crypto["kdf"] | {"message": value}},
        crypto | {"checksum": crypto["checksum"] | {"params": value}},
    ]
    for each in (one for one in changed if one not in harmless):
        with pytest.raises(InputError):
            open_devkit(whole | {"crypto": each}, PASSWORD)
    with pytest.raises(InputError, match="its public key is not 256 hexadecimal digits"):
        claimed_g2(whole | {"pubkey": value})


@pytest.mark.parametrize("open_it", [open_geth, open_eigenlayer, open_devkit])
def test_a_wrong_password_has_a_hint_about_passwords(open_it: Any) -> None:
    """The format is right, so no other format is recommended."""
    fields = eigenlayer() | {"publicKey": PAIR.g2.hex()}
    with pytest.raises(InputError, match="the password is wrong") as error:
        open_it(fields, "wrong")
    assert error.value.hint == PASSWORD_HINT


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"version": 4, "crypto": {}, "curve": "bn254"}, "a keystore of Cerberus"),
        ({"version": 4, "crypto": {}, "curveType": "bls381"}, "a keystore of EIP-2335"),
        ({"version": "1", "Crypto": {}}, "a keystore of geth in its version 1"),
        ({"encseed": "", "ethaddr": "", "bkp": ""}, "a wallet of Ethereum's presale"),
    ],
)
def test_what_is_not_read_is_named_by_its_true_format(fields: dict[str, Any], name: str) -> None:
    """Its own name, not that of a format beside it."""
    found = format_of(fields)
    assert found is not None
    assert NAMES[found].startswith(name)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"-----BEGIN EC PRIVATE KEY-----\n", "it is PEM (ec private key)"),
        (b"0x" + b"ab" * 32 + b"\n", "it is a bare key in hexadecimal digits, under no password"),
        ("\ufeff{}".encode("utf-16-le"), "it is UTF-16 text; save it as UTF-8"),
        (b"key", None),
    ],
)
def test_what_is_no_json_is_named_too(data: bytes, expected: str | None) -> None:
    """As far as it is known, and without what is in it."""
    assert nature(data) == expected


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
