"""Key files that others write: geth's, and the EigenLayer CLI's for BN254 keys. Bytes in, bytes out; read only.

Both encrypt as Web3 Secret Storage version 3 does (scrypt or PBKDF2, AES-128-CTR, Keccak-256 as MAC; ethereum.org, "Web3 secret
storage definition"), the password as its UTF-8 bytes.

- geth, most wallets, and ``eigenlayer operator keys create --key-type ecdsa``: fields ``version`` 3, ``crypto``, ``address``; the
  plaintext is a secp256k1 key, 32 bytes big-endian.
- ``eigenlayer operator keys create --key-type bls`` (eigensdk-go, crypto/bls): fields ``pubKey``, ``crypto``, no version; the
  plaintext is a BN254 scalar, 32 bytes big-endian.

``pubKey`` is the key in G1 as gnark-crypto prints an affine point: ``E([X,Y])``, decimal. Public values are compared with the
key's own, so that a file that was put together of two does not open.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from eigenkms import bounded_json
from eigenkms.crypto.bn254 import KeyPair
from eigenkms.crypto.keystore import FORMAT, MAX_FILE_BYTES, MAX_SCRYPT_MEMORY
from eigenkms.errors import InputError

KeystoreFormat = Literal["eigenkms", "geth", "eigenlayer", "eip2335"]

NAMES: Final[Mapping[KeystoreFormat, str]] = {
    "eigenkms": "a keystore of eigenkms",
    "geth": "a keystore of geth (version 3, secp256k1)",
    "eigenlayer": "a keystore of the EigenLayer CLI (BN254)",
    "eip2335": "a keystore of EIP-2335 (version 4, BLS12-381)",
}
_MAX_ITERATIONS: Final = 10**8
_POINT: Final = re.compile(r"E\(\[([0-9]{1,78}),([0-9]{1,78})\]\)", re.ASCII)


def parse(data: bytes) -> dict[str, Any] | None:
    """The fields of a key file, of whatever format; None for what is no JSON object of bounded size."""
    try:
        fields = bounded_json.loads_strict(data) if len(data) <= MAX_FILE_BYTES else None
    except ValueError:
        fields = None
    return fields if isinstance(fields, dict) else None


def format_of(fields: Mapping[str, Any]) -> KeystoreFormat | None:
    """Which writer's a key file is, by its fields alone; None if no known one's."""
    if fields.get("format") == FORMAT:
        return "eigenkms"
    if not isinstance(fields.get("crypto"), dict):
        return None
    if "pubKey" in fields:
        return "eigenlayer"
    version = fields.get("version")
    return "geth" if version == 3 else "eip2335" if version == 4 else None


def claimed_address(fields: Mapping[str, Any]) -> bytes | None:
    """The account that a geth keystore says it is of, 20 bytes; None if it does not say."""
    text = fields.get("address")
    if not isinstance(text, str) or not re.fullmatch(r"(0x)?[0-9a-fA-F]{40}", text, re.ASCII):
        return None
    return bytes.fromhex(text.removeprefix("0x"))


def claimed_g1(fields: Mapping[str, Any]) -> bytes:
    """The key in G1 (64 bytes) that a BN254 keystore says it is of. Raises InputError."""
    found = _POINT.fullmatch(str(fields["pubKey"]))
    coordinates = [int(digits) for digits in found.groups()] if found else [2**256]
    if max(coordinates) >> 256:
        raise InputError("open keystore: its pubKey is not of the form E([X,Y])")
    return b"".join(number.to_bytes(32, "big") for number in coordinates)


def open_geth(fields: Mapping[str, Any], password: str) -> bytes:
    """The secp256k1 key (32 bytes) in it, which may be none of its curve. Raises InputError."""
    return _decrypt(fields["crypto"], password)


def open_eigenlayer(fields: Mapping[str, Any], password: str) -> bytes:
    """The BN254 key (32 bytes) in it, whose ``pubKey`` is its own. Raises InputError."""
    claimed = claimed_g1(fields)
    secret = _decrypt(fields["crypto"], password)
    try:
        own = KeyPair.from_secret(secret).g1
    except ValueError:
        raise InputError("open keystore: what it holds is not a BN254 key") from None
    if own != claimed:
        raise InputError("open keystore: its pubKey is another key's")
    return secret


def _decrypt(crypto: Mapping[str, Any], password: str) -> bytes:
    from eth_account import Account

    try:
        if crypto["cipher"] != "aes-128-ctr":
            raise InputError(f"open keystore: its cipher {str(crypto['cipher'])[:40]!r} is not aes-128-ctr")
        _check_cost(crypto["kdfparams"])
        secret = bytes(Account.decrypt({"version": 3, "crypto": dict(crypto)}, password))
    except (KeyError, TypeError, AttributeError, NotImplementedError, AssertionError, OverflowError):
        reason = "it is no keystore of version 3"
    except ValueError as error:
        reason = "the password is wrong" if str(error) == "MAC mismatch" else "it is no keystore of version 3"
    else:
        if len(secret) == 32:
            return secret
        reason = "what it holds is not a key of 32 bytes"
    raise InputError(f"open keystore: {reason}")


def _check_cost(parameters: Mapping[str, Any]) -> None:
    """A file must not be able to eat the machine: ValueError."""
    n, r, p, c = (parameters.get(name, 1) for name in ("n", "r", "p", "c"))
    length = parameters["dklen"]
    if not all(type(number) is int and number > 0 for number in (n, r, p, c, length)):
        raise ValueError("its cost is not in whole numbers")
    if 128 * n * r * p > MAX_SCRYPT_MEMORY or c > _MAX_ITERATIONS or not 32 <= length <= 64:
        raise ValueError("its cost is out of bounds")
