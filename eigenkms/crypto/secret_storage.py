"""A secret under a password, in the two layouts that Ethereum's programs write.

Bytes in, bytes out; read only.

- Web3 Secret Storage version 3 (ethereum.org, "Web3 secret storage definition"): flat fields, the MAC is Keccak-256, the
  password is its UTF-8 bytes.
- EIP-2335: three modules ``kdf``, ``checksum``, ``cipher``, the checksum is SHA-256, the password is its Unicode form NFKD
  without control characters.

Both derive a key with scrypt or PBKDF2 and encrypt with AES-128-CTR. The checksum is what tells a wrong password from a right one,
so a wrong password is the one failure whose next step is another password; every other failure is of the file.
"""

import hashlib
import hmac
import unicodedata
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from eigenkms.crypto.keystore import MAX_SCRYPT_MEMORY, PASSWORD_HINT, utf8
from eigenkms.errors import InputError

MAX_ITERATIONS: Final = 10**8
"""Of PBKDF2, about a minute's work: a file must not be able to hold its reader for longer."""
_CIPHER: Final = "aes-128-ctr"
_STRANGE: Final = (
    KeyError,
    TypeError,
    AttributeError,
    ValueError,
    NotImplementedError,
    AssertionError,
    OverflowError,
)
"""Errors of reading a field of the wrong shape, here and in eth-account."""


def decrypt_web3(crypto: Mapping[str, Any], password: str) -> bytes:
    """Return the secret under the ``crypto`` object of a version 3 keystore.

    Takes as long as its key derivation.

    Raises InputError: the password is wrong, or the object is malformed or costs too much.
    """
    from eth_account import Account

    try:
        _check_cipher(crypto["cipher"])
        _check_cost(crypto["kdfparams"])
        text = utf8(password).decode()
        return bytes(Account.decrypt({"version": 3, "crypto": dict(crypto)}, text))
    except _STRANGE as error:
        if str(error) == "MAC mismatch":
            raise wrong_password() from None
        raise InputError("open keystore: it is no keystore of version 3") from None


def decrypt_eip2335(crypto: Mapping[str, Any], password: str) -> bytes:
    """Return the secret under the ``crypto`` object of an EIP-2335 keystore.

    Takes as long as its key derivation.

    Raises InputError: the password is wrong, or the object is malformed or costs too much.
    """
    try:
        kdf, checksum, cipher = (crypto[name] for name in ("kdf", "checksum", "cipher"))
        _check_cipher(cipher["function"])
        _check_cost(kdf["params"])
        ciphertext, initial = bytes.fromhex(cipher["message"]), bytes.fromhex(cipher["params"]["iv"])
        expected = bytes.fromhex(checksum["message"])
        if checksum["function"] != "sha256" or len(expected) != 32:
            _malformed()
        key = _derive(kdf, _eip2335_password(password))
        if not hmac.compare_digest(hashlib.sha256(key[16:32] + ciphertext).digest(), expected):
            raise wrong_password()
        return Cipher(algorithms.AES(key[:16]), modes.CTR(initial)).decryptor().update(ciphertext)
    except _STRANGE:
        raise InputError("open keystore: it is no keystore of EIP-2335") from None


def wrong_password() -> InputError:
    return InputError("open keystore: the password is wrong", hint=PASSWORD_HINT)


def _eip2335_password(password: str) -> bytes:
    """EIP-2335, "Password requirements": NFKD, without C0, C1 and Delete."""
    kept = (each for each in unicodedata.normalize("NFKD", password) if unicodedata.category(each) != "Cc")
    return utf8("".join(kept))


def _derive(kdf: Mapping[str, Any], password: bytes) -> bytes:
    parameters, salt = kdf["params"], bytes.fromhex(kdf["params"]["salt"])
    length = parameters["dklen"]
    if kdf["function"] == "scrypt":
        costs = (parameters["n"], parameters["r"], parameters["p"])
        return Scrypt(salt, length, *costs).derive(password)
    if kdf["function"] == "pbkdf2" and parameters["prf"] == "hmac-sha256":
        return hashlib.pbkdf2_hmac("sha256", password, salt, parameters["c"], length)
    return _malformed()


def _check_cipher(name: object) -> None:
    if name != _CIPHER:
        raise InputError(f"open keystore: its cipher {str(name)[:40]!r} is not {_CIPHER}")


def _check_cost(parameters: Mapping[str, Any]) -> None:
    """Raise ValueError for costs that would exhaust the machine."""
    n, r, p, c = (parameters.get(name, 1) for name in ("n", "r", "p", "c"))
    length = parameters["dklen"]
    if not all(type(number) is int and number > 0 for number in (n, r, p, c, length)):
        _malformed()
    if 128 * n * r * p > MAX_SCRYPT_MEMORY or c > MAX_ITERATIONS or not 32 <= length <= 64:
        _malformed()


def _malformed() -> NoReturn:
    """Raise ``ValueError``; the caller replaces it by a message for its layout."""
    raise ValueError("malformed")
