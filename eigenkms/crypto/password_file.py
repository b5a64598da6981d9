"""A file under a password, for several keys: a public line, and sealed bytes.

The line is bound to the bytes.

    {"format": "…", "version": 1, "release": "0.1.0", "kdf": {"name": "scrypt", "n": 131072, "r": 8, "p": 1, "salt": "<64 hex>"},
     "cipher": {"name": "aes-256-gcm", "nonce": "<24 hex>"}}⏎ ciphertext

The line is JSON of at most MAX_LINE_BYTES, and it is authenticated to the byte: a change of any bit of the file is refused. The key
is made as for key files (``keystore``), cost and bounds are the same. ``release`` is the release that wrote it, for a reader of
an unknown version.
"""

import json
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from eigenkms import bounded_json
from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.keystore import DEFAULT_COST, ScryptCost, password_bytes, written_by
from eigenkms.errors import InputError

MAX_LINE_BYTES: Final = 4096
_SALT_BYTES, _NONCE_BYTES = 32, 12
_FIELDS: Final = ("format", "version", "release", "kdf", "cipher")


def seal_file(
    name: str,
    version: int,
    release: str,
    content: bytes,
    password: str,
    rng: Rng,
    *,
    cost: ScryptCost = DEFAULT_COST,
) -> bytes:
    """Return the file of format ``name``. InputError for an empty password."""
    if not password:
        raise InputError(f"seal {name}: the password is empty", hint="choose one of at least one character")
    salt, nonce = rng(_SALT_BYTES), rng(_NONCE_BYTES)
    fields = {
        "format": name,
        "version": version,
        "release": release,
        "kdf": {"name": "scrypt", "n": cost.n, "r": cost.r, "p": cost.p, "salt": salt.hex()},
        "cipher": {"name": "aes-256-gcm", "nonce": nonce.hex()},
    }
    line = json.dumps(fields).encode() + b"\n"
    return line + _cipher(password, salt, cost).encrypt(nonce, content, line)


def open_file(name: str, version: int, data: bytes, password: str) -> bytes:
    """Return the sealed bytes.

    Raises InputError for another format or version, and if the password does not open it.
    """
    line, newline, ciphertext = data[:MAX_LINE_BYTES].partition(b"\n")
    ciphertext = data[len(line) + 1 :]
    fields = _fields(line, name) if newline else None
    if fields is None:
        raise InputError(f"open {name}: it is no {name}", hint="give the file that eigenkms wrote")
    if fields["version"] != version:
        raise _other_version(name, version, fields)
    try:
        cost, salt, nonce = _derivation(fields)
        return _cipher(password, salt, cost).decrypt(nonce, ciphertext, line + b"\n")
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"open {name}: its first line is damaged", hint="take another copy of the file"
        ) from None
    except InvalidTag:
        raise InputError(
            f"open {name}: the password is wrong, or the file was changed",
            hint="check the password; if it is right, take another copy of the file",
        ) from None


def _derivation(fields: dict[str, Any]) -> tuple[ScryptCost, bytes, bytes]:
    """Cost, salt and nonce. Raises ``KeyError``, ``TypeError`` or ``ValueError``."""
    kdf = fields["kdf"]
    salt, nonce = bytes.fromhex(kdf["salt"]), bytes.fromhex(fields["cipher"]["nonce"])
    if len(salt) != _SALT_BYTES or len(nonce) != _NONCE_BYTES:
        raise ValueError("salt or nonce")
    return ScryptCost(kdf["n"], kdf["r"], kdf["p"]), salt, nonce


def _fields(line: bytes, name: str) -> dict[str, Any] | None:
    """Return the first line, as far as it is one of this format in any version."""
    try:
        fields = bounded_json.loads_strict(line)
    except ValueError:
        return None
    if not isinstance(fields, dict) or fields.get("format") != name or type(fields.get("version")) is not int:
        return None
    return fields if fields.keys() == set(_FIELDS) or fields["version"] > 1 else None


def _other_version(name: str, version: int, fields: dict[str, Any]) -> InputError:
    return InputError(
        f"open {name}: version {fields['version']}{written_by(fields)} is not {version}, which this eigenkms knows",
        hint="use the release that wrote it, or a newer one; nothing was changed",
    )


def _cipher(password: str, salt: bytes, cost: ScryptCost) -> AESGCM:
    return AESGCM(Scrypt(salt=salt, length=32, n=cost.n, r=cost.r, p=cost.p).derive(password_bytes(password)))
