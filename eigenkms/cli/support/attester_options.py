"""Make the attester that proves a verb's right to a key.

The settings choose the attester. The key of an application's creator is read from a file, and never is an argument.
"""

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from eigenkms.cli.support.output import warn
from eigenkms.cli.support.passwords import read_password
from eigenkms.crypto.foreign_keystore import parse
from eigenkms.errors import InputError
from eigenkms.plain_text import MARK, NotUtf8Error, decode_text

if TYPE_CHECKING:
    from eigenkms.client.attesters import Attester
    from eigenkms.config.settings import Settings

ATTEST_SETTINGS = ("attest", "ecdsa_key_file", "password_file", "launcher_socket", "attest_audience")
KEY_VARIABLE = "EIGENKMS_ECDSA_KEY"
_HINT = "give a keystore (of eigenkms or of geth), or a file with 64 hex digits"


def attester(settings: "Settings") -> "Attester | None":
    """Return the attester that ``attest`` names, or None.

    Prompts for nothing but a password. Raises InputError for a key that cannot be read.
    """
    method = settings.get("attest")
    if method is None:
        return None
    from eigenkms.client.attesters import ConfidentialSpaceAttester, EcdsaAttester

    if method == "ecdsa":
        return EcdsaAttester(creator_key(settings, "attest by ecdsa"))
    return ConfidentialSpaceAttester(
        method, socket=settings.get("launcher_socket"), audience=settings.get("attest_audience")
    )


def creator_key(settings: "Settings", action: str) -> bytes:
    """Return the 32-byte key of an application's creator.

    Raises InputError, which begins with ``action`` if no key is given.
    """
    path: Path | None = settings.get("ecdsa_key_file")
    if path is not None:
        return _read_key(path, settings)
    text = os.environ.get(KEY_VARIABLE, "")
    if not text:
        raise InputError(
            f"{action}: the key of the application's creator is not given",
            hint=f"give --ecdsa-key-file FILE, or set {KEY_VARIABLE}",
        )
    return _parse_hex(text, f"the environment variable {KEY_VARIABLE}")


def _read_key(path: Path, settings: "Settings") -> bytes:
    try:
        text = decode_text(_content(path))
    except NotUtf8Error as error:
        raise InputError(f"read ECDSA key {path}: {error}", hint=_HINT) from None
    if not text.lstrip().startswith("{"):
        return _parse_hex(text, str(path), path)
    if parse(text.encode()) is None:
        raise InputError(f"read ECDSA key {path}: it is not JSON", hint=_HINT)
    password = read_password(f"keystore {path}", file=settings.get("password_file"), environ=os.environ)
    from eigenkms.keys.keystores import open_key

    return open_key(path, "secp256k1", password).secret


def _content(path: Path) -> bytes:
    from eigenkms.crypto.keystore import MAX_FILE_BYTES

    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"read ECDSA key {path}: {(error.strerror or str(error)).lower()}") from error
    if len(content) > MAX_FILE_BYTES:
        raise InputError(f"read ECDSA key {path}: more than {MAX_FILE_BYTES} bytes", hint=_HINT)
    return content


def _parse_hex(text: str, where: str, path: Path | None = None) -> bytes:
    digits = text.removeprefix(MARK).strip().removeprefix("0x")
    if not re.fullmatch(r"[0-9a-fA-F]{64}", digits, re.ASCII):
        raise InputError(f"read ECDSA key from {where}: it is neither JSON nor 64 hex digits", hint=_HINT)
    if path is not None and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        warn(f"ECDSA key {path} can be read by others; run chmod 600 {path}")
    return bytes.fromhex(digits)
