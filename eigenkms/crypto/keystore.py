"""Key files: one secret key under a password, as JSON.

Bytes in, bytes out; the caller stores them.

    {"format": "eigenkms-keystore", "version": 1, "kind": "bn254", "public": {"g2": "…"},
     "kdf": {"name": "scrypt", "n": 131072, "r": 8, "p": 1, "salt": "<64 hex>"},
     "cipher": {"name": "aes-256-gcm", "nonce": "<24 hex>"}, "ciphertext": "<hex>"}

The key is scrypt (RFC 7914) of the password's UTF-8 bytes in Unicode form NFKD. Everything but the
ciphertext, as JSON with sorted keys and no spaces, is authenticated with it, so a changed public value does
not open. Reading is strict: exact fields and types, lower-case hex, no field twice, cost parameters within
bounds (a file must not be able to eat the machine). The layout is frozen by a golden file; changing it
means a new version.
"""

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from eigenkms import bounded_json
from eigenkms.crypto.hashing import Rng
from eigenkms.errors import InputError

FORMAT = "eigenkms-keystore"
VERSION = 1
KINDS = ("bn254", "secp256k1", "p2p")
MAX_FILE_BYTES = 65536
MAX_SECRET_BYTES = 4096
MAX_SCRYPT_MEMORY = 2**30
"""Bytes (128·n·r) that a key file may make its reader allocate."""

_SALT_BYTES = 32
_NONCE_BYTES = 12
_NOT_A_KEYSTORE = "give a file made by eigenkms keys new"
PASSWORD_HINT = (
    "check the password, of which the first line counts, spaces included; "  # noqa: S105 - words about passwords
    "if it is right, restore the keystore from a backup"
)
"""For a password that does not open: the format is right, so the hint is not about formats."""


@dataclass(frozen=True, slots=True)
class ScryptCost:
    """Cost of guessing one password.

    The default takes 128 MiB; anything less is for tests.
    """

    n: int = 2**17
    r: int = 8
    p: int = 1

    def __post_init__(self) -> None:
        power_of_two = self.n > 1 and self.n & (self.n - 1) == 0
        if not (
            power_of_two
            and 1 <= self.r <= 32
            and 1 <= self.p <= 16
            and 128 * self.n * self.r <= MAX_SCRYPT_MEMORY
        ):
            raise ValueError(f"scrypt cost n={self.n}, r={self.r}, p={self.p} is out of bounds")


DEFAULT_COST = ScryptCost()


@dataclass(frozen=True, slots=True)
class OpenedKey:
    """A key out of its file: its kind, the secret bytes, and its public values.

    The repr does not show the secret.
    """

    kind: str
    secret: bytes = field(repr=False)
    public: Mapping[str, str]


def seal(
    kind: str,
    secret: bytes,
    password: str,
    public: Mapping[str, str],
    rng: Rng,
    *,
    cost: ScryptCost = DEFAULT_COST,
) -> bytes:
    """Return a key file.

    Raises InputError for an empty password; ValueError for a kind, secret or public value that the format does not know.
    """
    if kind not in KINDS:
        raise ValueError(f"keystore kind {kind!r} is not one of {', '.join(KINDS)}")
    if not 0 < len(secret) <= MAX_SECRET_BYTES:
        raise ValueError(f"keystore secret has {len(secret)} bytes, not 1..{MAX_SECRET_BYTES}")
    if not all(isinstance(text, str) for item in public.items() for text in item):
        raise ValueError("keystore public values are not all text")
    if not password:
        raise InputError(
            "seal keystore: the password is empty", hint="choose a password of at least one character"
        )
    salt, nonce = rng(_SALT_BYTES), rng(_NONCE_BYTES)
    header = _header(kind, public, cost, salt, nonce)
    ciphertext = _cipher(password, salt, cost).encrypt(nonce, secret, _aad(header))
    return (json.dumps(header | {"ciphertext": ciphertext.hex()}, indent=2) + "\n").encode()


def open_keystore(data: bytes, password: str) -> OpenedKey:
    """Return the key in a file.

    Raises InputError for a file that is not a key file, a newer version, or a password that does not open it.
    """
    fields = _parse(data)
    kdf, cipher = fields["kdf"], fields["cipher"]
    cost = _cost(kdf)
    salt, nonce = _hex(kdf["salt"], _SALT_BYTES), _hex(cipher["nonce"], _NONCE_BYTES)
    ciphertext = _hex(fields["ciphertext"])
    header = _header(fields["kind"], fields["public"], cost, salt, nonce)
    if fields != header | {"ciphertext": fields["ciphertext"]}:
        raise _malformed("a field has a value that this version does not know")
    try:
        secret = _cipher(password, salt, cost).decrypt(nonce, ciphertext, _aad(header))
    except InvalidTag:
        raise InputError(
            "open keystore: the password is wrong, or the file was changed",
            hint=PASSWORD_HINT,
        ) from None
    return OpenedKey(kind=fields["kind"], secret=secret, public=fields["public"])


def _header(
    kind: str, public: Mapping[str, str], cost: ScryptCost, salt: bytes, nonce: bytes
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "kind": kind,
        "public": dict(public),
        "kdf": {"name": "scrypt", "n": cost.n, "r": cost.r, "p": cost.p, "salt": salt.hex()},
        "cipher": {"name": "aes-256-gcm", "nonce": nonce.hex()},
    }


def _aad(header: Mapping[str, Any]) -> bytes:
    return json.dumps(header, sort_keys=True, separators=(",", ":")).encode()


def password_bytes(password: str) -> bytes:
    """Return the UTF-8 form of its NFKD form, the same for any spelling of accents.

    Raises InputError if there is none.
    """
    return utf8(unicodedata.normalize("NFKD", password))


def utf8(password: str) -> bytes:
    """Return its UTF-8 bytes unchanged, from which geth derives keys.

    Raises InputError if there are none.
    """
    try:
        return password.encode()
    except UnicodeEncodeError:
        raise InputError("read password: it holds a character that has no UTF-8 form") from None


def _cipher(password: str, salt: bytes, cost: ScryptCost) -> AESGCM:
    text = password_bytes(password)
    return AESGCM(Scrypt(salt=salt, length=32, n=cost.n, r=cost.r, p=cost.p).derive(text))


def _parse(data: bytes) -> dict[str, Any]:
    """Return the file as a mapping of the known fields, their shapes checked.

    Values are checked by ``open_keystore``.
    """
    if len(data) > MAX_FILE_BYTES:
        raise _malformed(f"{len(data)} bytes, more than {MAX_FILE_BYTES}")
    try:
        fields = bounded_json.loads_strict(data)
    except ValueError:
        raise _malformed("it is not JSON, or names a field twice") from None
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise _malformed(f"its format is not {FORMAT}")
    version = fields.get("version")
    if type(version) is int and version > VERSION:
        raise InputError(
            f"open keystore: version {version}{written_by(fields)} is newer than {VERSION}",
            hint="install the eigenkms that wrote it, or a newer one; nothing was changed",
        )
    _check_fields(
        fields,
        {
            "format": str,
            "version": int,
            "kind": str,
            "public": dict,
            "kdf": dict,
            "cipher": dict,
            "ciphertext": str,
        },
    )
    _check_fields(fields["kdf"], {"name": str, "n": int, "r": int, "p": int, "salt": str})
    _check_fields(fields["cipher"], {"name": str, "nonce": str})
    if fields["kind"] not in KINDS or not all(isinstance(text, str) for text in fields["public"].values()):
        raise _malformed("its kind is unknown, or a public value is not text")
    return fields


def written_by(fields: Mapping[str, Any]) -> str:
    """Return the release that wrote a file, for the message that refuses it.

    Formats of later versions name it.
    """
    release = fields.get("release")
    known = isinstance(release, str) and re.fullmatch(r"[0-9A-Za-z.+!_-]{1,64}", release)
    return f" (written by release {release})" if known else ""


def _check_fields(fields: Mapping[str, Any], types: Mapping[str, type]) -> None:
    if fields.keys() != types.keys():
        raise _malformed(f"it has not exactly the fields {', '.join(types)}")
    for name, expected in types.items():
        if type(fields[name]) is not expected:
            raise _malformed(f"field {name} is not of type {expected.__name__}")


def _cost(kdf: Mapping[str, Any]) -> ScryptCost:
    try:
        return ScryptCost(kdf["n"], kdf["r"], kdf["p"])
    except ValueError as error:
        raise _malformed(str(error)) from None


def _hex(text: str, size: int | None = None) -> bytes:
    """Lower-case hex without spaces or prefix; the text is not echoed."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        raise _malformed("a value is not hexadecimal") from None
    if value.hex() != text or len(value) != (len(value) if size is None else size):
        raise _malformed("a hexadecimal value is not lower case, or not of its length")
    return value


def _malformed(reason: str) -> InputError:
    return InputError(f"open keystore: {reason}", hint=_NOT_A_KEYSTORE)
