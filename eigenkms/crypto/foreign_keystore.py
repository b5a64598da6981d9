"""Key files of foreign programs: geth's, and EigenLayer's for BN254 keys.

Bytes in, bytes out; they are only read.

- geth, most wallets, and ``eigenlayer operator keys create --key-type ecdsa``: ``version`` 3, ``crypto`` (ethers writes
  ``Crypto``), ``address``; the plaintext is a secp256k1 key, big-endian. Old ones have no leading zeros: 31 bytes, or 30.
- ``eigenlayer operator keys create --key-type bls`` (eigensdk-go, crypto/bls): ``pubKey``, ``crypto``, no version; the
  plaintext is a BN254 scalar, 32 bytes big-endian.
- the EigenLayer devkit and Hourglass (crypto-libs, pkg/keystore): ``version`` 4, ``curveType`` ``bn254``, and the key in G2 as
  hexadecimal digits. Older ones have ``publicKey`` and the layout of version 3, newer ones ``pubkey`` and that of EIP-2335.

The devkit's plaintext is the bytes that its writer was given: the scalar without leading zeros, or the *text* in which somebody
typed it, decimal or hexadecimal. Its programs take those bytes for a big-endian number whatever they are, so the key of a text is
that of its characters. The public key in the file decides: of the readings, the one whose key it is counts.

``pubKey`` is the key in G1 as gnark-crypto prints an affine point: ``E([X,Y])``, decimal. Public values are compared with the
key's own, so that a file that was put together of two does not open.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from eigenkms import bounded_json
from eigenkms.crypto.bn254 import KeyPair, N
from eigenkms.crypto.keystore import FORMAT, MAX_FILE_BYTES
from eigenkms.crypto.secret_storage import decrypt_eip2335, decrypt_web3
from eigenkms.errors import InputError
from eigenkms.plain_text import UTF16, UTF16_MARKS

KeystoreFormat = Literal[
    "eigenkms", "geth", "eigenlayer", "devkit", "eip2335", "cerberus", "geth1", "presale"
]

NAMES: Final[Mapping[KeystoreFormat, str]] = {
    "eigenkms": "a keystore of eigenkms",
    "geth": "a keystore of geth (version 3, secp256k1)",
    "eigenlayer": "a keystore of the EigenLayer CLI (BN254)",
    "devkit": "a keystore of the EigenLayer devkit (version 4, BN254)",
    "eip2335": "a keystore of EIP-2335 (version 4, BLS12-381)",
    "cerberus": "a keystore of Cerberus (version 4, BN254)",
    "geth1": "a keystore of geth in its version 1 (2014)",
    "presale": "a wallet of Ethereum's presale (2014)",
}
_POINT: Final = re.compile(r"E\(\[([0-9]{1,78}),([0-9]{1,78})\]\)", re.ASCII)
_PEM: Final = re.compile(rb"\s*-----BEGIN ([A-Z0-9 ]{1,40})-----")
_BARE: Final = re.compile(rb"\s*(0x)?[0-9a-fA-F]{64}\s*")
_SECRET_BYTES: Final = 32


def parse(data: bytes) -> dict[str, Any] | None:
    """Return the fields of a key file, of whatever format.

    Returns None for what is no JSON object of bounded size.
    """
    try:
        fields = bounded_json.loads_strict(data) if len(data) <= MAX_FILE_BYTES else None
    except ValueError:
        fields = None
    return fields if isinstance(fields, dict) else None


def format_of(fields: Mapping[str, Any]) -> KeystoreFormat | None:
    """Return the format of a key file by its fields alone, or None."""
    if fields.get("format") == FORMAT:
        return "eigenkms"
    if {"encseed", "ethaddr"} <= fields.keys():
        return "presale"
    if not isinstance(_crypto(fields), dict):
        return None
    if "pubKey" in fields:
        return "eigenlayer"
    match fields.get("version"):
        case 3:
            return "geth"
        case 4:
            return _format_of_version_4(fields)
        case "1":
            return "geth1"
    return None


def _format_of_version_4(fields: Mapping[str, Any]) -> KeystoreFormat:
    if str(fields.get("curveType")).lower() == "bn254":
        return "devkit"
    return "cerberus" if fields.get("curve") == "bn254" else "eip2335"


def _crypto(fields: Mapping[str, Any]) -> Any:
    """Return the object with the secret.

    Go's decoder ignores the case of a name, so geth reads what ethers writes.
    """
    return fields.get("crypto", fields.get("Crypto"))


def nature(data: bytes) -> str | None:
    """Return a clause for a file that is no JSON, or None.

    It holds nothing of the content.
    """
    if data.startswith(UTF16_MARKS):
        return UTF16
    pem = _PEM.match(data)
    if pem is not None:
        return f"it is PEM ({pem[1].decode().lower()})"
    return "it is a bare key in hexadecimal digits, under no password" if _BARE.fullmatch(data) else None


def claimed_address(fields: Mapping[str, Any]) -> bytes | None:
    """Return the account that a geth keystore says it is of, 20 bytes.

    Returns None if it does not say.
    """
    text = fields.get("address", fields.get("Address"))
    if not isinstance(text, str) or not re.fullmatch(r"(0[xX])?[0-9a-fA-F]{40}", text, re.ASCII):
        return None
    return bytes.fromhex(text[-40:])


def claimed_g1(fields: Mapping[str, Any]) -> bytes:
    """Return the key in G1 (64 bytes) that a keystore of the EigenLayer CLI names.

    Raises InputError.
    """
    found = _POINT.fullmatch(str(fields["pubKey"]))
    coordinates = [int(digits) for digits in found.groups()] if found else [2**256]
    if max(coordinates) >> 256:
        raise InputError("open keystore: its pubKey is not of the form E([X,Y])")
    return b"".join(number.to_bytes(32, "big") for number in coordinates)


def claimed_g2(fields: Mapping[str, Any]) -> bytes:
    """Return the key in G2 (128 bytes) that a keystore of the devkit says it is of.

    Raises InputError.
    """
    text = fields.get("publicKey", fields.get("pubkey"))
    if not isinstance(text, str) or not re.fullmatch(r"(0x)?[0-9a-fA-F]{256}", text, re.ASCII):
        raise InputError("open keystore: its public key is not 256 hexadecimal digits")
    return bytes.fromhex(text[-256:])


def open_geth(fields: Mapping[str, Any], password: str) -> bytes:
    """Return the secp256k1 key (32 bytes) in it, which may be none of its curve.

    Raises InputError.
    """
    return _whole(decrypt_web3(_crypto(fields), password))


def open_eigenlayer(fields: Mapping[str, Any], password: str) -> bytes:
    """Return the BN254 key (32 bytes) in it, whose ``pubKey`` is its own.

    Raises InputError.
    """
    claimed = claimed_g1(fields)
    secret = _whole(decrypt_web3(_crypto(fields), password))
    try:
        own = KeyPair.from_secret(secret).g1
    except ValueError:
        raise InputError("open keystore: what it holds is not a BN254 key") from None
    if own != claimed:
        raise InputError("open keystore: its pubKey is another key's")
    return secret


def open_devkit(fields: Mapping[str, Any], password: str) -> bytes:
    """Return the BN254 key (32 bytes) whose public key is the file's in one reading.

    Raises InputError.
    """
    claimed, crypto = claimed_g2(fields), _crypto(fields)
    decrypt = decrypt_eip2335 if isinstance(crypto.get("kdf"), dict) else decrypt_web3
    for scalar in _readings(decrypt(crypto, password)):
        pair = KeyPair(scalar)
        if pair.g2 == claimed:
            return pair.secret_bytes()
    raise InputError("open keystore: its public key is another key's")


def _readings(content: bytes) -> Iterator[int]:
    """Yield the scalars in 1..N-1 that the content may stand for.

    The writer's own reading comes first.
    """
    numbers = [int.from_bytes(content, "big")]
    if re.fullmatch(rb"[0-9]{1,78}", content):
        numbers.append(int(content))
    if re.fullmatch(rb"(0x)?[0-9a-fA-F]{1,64}", content):
        numbers.append(int(content, 16))
    return (number % N for number in numbers if number % N)


def _whole(content: bytes) -> bytes:
    """Return a key of 32 bytes, its leading zeros restored."""
    if not 0 < len(content) <= _SECRET_BYTES:
        raise InputError("open keystore: what it holds is not a key of 32 bytes")
    return content.rjust(_SECRET_BYTES, b"\0")
