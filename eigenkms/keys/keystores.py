"""The three keys of an operator and their keystore files.

The format of a file is this package's (``crypto.keystore``) or that of another program (``crypto.foreign_keystore``). Secrets are
32 bytes, big-endian. Public values that a file states are unproven until the file is opened with its password.

| kind | secret | public values in the file |
|---|---|---|
| ``bn254`` | scalar that signs frames and votes | ``g1`` 64 bytes, ``g2`` 128 bytes, hex |
| ``secp256k1`` | Ethereum key that sends transactions | ``address``, with the checksum of EIP-55 |
| ``p2p`` | secp256k1 key that the peer id is of | ``peer_id``, base58 |
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eigenkms.crypto import foreign_keystore, keystore
from eigenkms.crypto.app_ids import checksummed
from eigenkms.crypto.hashing import Rng, keccak256
from eigenkms.errors import InputError
from eigenkms.plain_text import without_mark

_HINT = "give a file made by eigenkms keys new"
_READ = "give a keystore of eigenkms, of geth (version 3), or of the EigenLayer CLI or devkit (BN254)"
PUBLIC: Mapping[str, tuple[str, ...]] = {
    "bn254": ("g1", "g2"),
    "secp256k1": ("address",),
    "p2p": ("peer_id",),
}
"""By kind, the names of the public values in a keystore."""


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A secret key and its public values. The secret does not print."""

    kind: str
    secret: bytes = field(repr=False)
    public: Mapping[str, str]

    def seal(self, password: str, rng: Rng, *, cost: keystore.ScryptCost = keystore.DEFAULT_COST) -> bytes:
        """Return the content of a keystore file: JSON, sealed under ``password``.

        It costs a scrypt of ``cost``, 128 MiB of memory by default.
        """
        return keystore.seal(self.kind, self.secret, password, self.public, rng, cost=cost)


def new_key(kind: str, rng: Rng) -> PrivateKey:
    """Make a key. ``kind`` is one of ``crypto.keystore.KINDS``."""
    from eigenkms.crypto.bn254 import KeyPair

    secret = KeyPair.generate(rng).secret_bytes() if kind == "bn254" else _new_secp256k1(rng)
    return PrivateKey(kind, secret, public_values(kind, secret))


def _new_secp256k1(rng: Rng) -> bytes:
    order = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
    while True:
        secret = rng(32)
        if 0 < int.from_bytes(secret, "big") < order:
            return secret


def public_values(kind: str, secret: bytes) -> dict[str, str]:
    """Compute the public values of a key, as in the table of this module.

    Raises ``ValueError`` or ``InputError`` if ``secret`` is no key of that kind. Neither repeats it.
    """
    of_kind: dict[str, Callable[[bytes], dict[str, str]]] = {
        "bn254": _bn254,
        "secp256k1": _secp256k1,
        "p2p": _p2p,
    }
    return of_kind[kind](secret)


def _bn254(secret: bytes) -> dict[str, str]:
    from eigenkms.crypto.bn254 import KeyPair

    pair = KeyPair.from_secret(secret)
    return {"g1": pair.g1.hex(), "g2": pair.g2.hex()}


def _secp256k1(secret: bytes) -> dict[str, str]:
    import coincurve

    point = coincurve.PrivateKey(secret).public_key.format(compressed=False)
    return {"address": checksummed(keccak256(point[1:])[12:])}


def _p2p(secret: bytes) -> dict[str, str]:
    from eigenkms.p2p.identity import PeerKey

    return {"peer_id": str(PeerKey(secret).peer_id)}


def read_file(path: Path) -> bytes:
    """Read a keystore file.

    It returns one byte more than ``keystore.MAX_FILE_BYTES`` of a file that is too long. Raises ``InputError``.
    """
    try:
        with path.open("rb") as file:
            return file.read(keystore.MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"read keystore {path}: {(error.strerror or str(error)).lower()}") from error


def open_key(path: Path, kind: str, password: str) -> PrivateKey:
    """Open a keystore file with its password.

    A BN254 keystore may be one of the EigenLayer CLI or devkit, a secp256k1 one of geth. Raises ``InputError`` if the file does not
    open, has a key of another kind, or states public values of another key.
    """
    return open_content(path, read_file(path), kind, password)


def open_content(path: Path, content: bytes, kind: str, password: str) -> PrivateKey:
    """Open the content of a keystore file, as ``open_key``. Messages name ``path``."""
    try:
        secret, claimed = _open_secret(without_mark(content), kind, password)
    except InputError as error:
        reason = str(error).removeprefix("open keystore: ")
        raise InputError(f"open keystore {path}: {reason}", hint=error.hint or _HINT) from error
    try:
        public = public_values(kind, secret)
    except (ValueError, InputError):
        raise InputError(f"open keystore {path}: what it holds is not a {kind} key", hint=_HINT) from None
    if public | claimed != public:
        raise InputError(f"open keystore {path}: its public values are another key's", hint=_HINT)
    return PrivateKey(kind, secret, public)


def _open_secret(data: bytes, kind: str, password: str) -> tuple[bytes, dict[str, str]]:
    """Return the secret, and the public values that the file claims, unproven."""
    fields = foreign_keystore.parse(data) or {}
    match foreign_keystore.format_of(fields), kind:
        case "geth", "secp256k1":
            return foreign_keystore.open_geth(fields, password), _public_of_geth(fields)
        case "eigenlayer", "bn254":
            return foreign_keystore.open_eigenlayer(fields, password), {}
        case "devkit", "bn254":
            return foreign_keystore.open_devkit(fields, password), {}
        case ("geth" | "eigenlayer" | "devkit" | "eip2335") as found, _:
            raise InputError(
                f"open keystore: it is {foreign_keystore.NAMES[found]}, which holds no {kind} key"
            )
        case ("cerberus" | "geth1" | "presale") as found, _:
            raise InputError(
                f"open keystore: it is {foreign_keystore.NAMES[found]}, which is not read", hint=_READ
            )
        case None, _ if (known := foreign_keystore.nature(data)) is not None:
            raise InputError(f"open keystore: {known}", hint=_READ)
        case None, "secp256k1":
            raise InputError(
                "open keystore: it is no keystore of eigenkms and no keystore of version 3 (geth)"
            )
    opened = keystore.open_keystore(data, password)
    if opened.kind != kind:
        raise InputError(f"open keystore: it holds a {opened.kind} key, not a {kind} key")
    return opened.secret, {name: opened.public.get(name, "") for name in PUBLIC[kind]}


def claims_bn254(public: Mapping[str, str], g1: bytes, g2: bytes) -> bool:
    """Return whether the public values of a BN254 keystore are those of this key.

    ``public`` is as ``read_metadata`` returns it: a foreign keystore states one of the two values. ``g1`` has 64 bytes, ``g2`` 128.
    """
    return bool(public) and public.items() <= {"g1": g1.hex(), "g2": g2.hex()}.items()


def _read_claim(read: Callable[[Mapping[str, Any]], bytes], path: Path, fields: Mapping[str, Any]) -> str:
    try:
        return read(fields).hex()
    except InputError as error:
        reason = str(error).removeprefix("open keystore: ")
        raise InputError(f"read keystore {path}: {reason}", hint=_HINT) from error


def _public_of_geth(fields: Mapping[str, Any]) -> dict[str, str]:
    address = foreign_keystore.claimed_address(fields)
    return {} if address is None else {"address": checksummed(address)}


def read_metadata(path: Path) -> tuple[str, dict[str, str]]:
    """Return the kind and the public values that a keystore file states.

    They are read without a password, so they are unproven. A foreign keystore states less: the EigenLayer CLI's has ``g1`` alone,
    the devkit's ``g2``. Raises ``InputError``.
    """
    return parse_metadata(path, read_file(path))


def parse_metadata(path: Path, content: bytes) -> tuple[str, dict[str, str]]:
    """Return kind and public values of a keystore's content, as ``read_metadata``."""
    content = without_mark(content)
    fields = foreign_keystore.parse(content) or {}
    match foreign_keystore.format_of(fields):
        case "eigenkms":
            kind, public = fields.get("kind"), fields.get("public")
            strings = isinstance(public, dict) and all(isinstance(text, str) for text in public.values())
            if kind in keystore.KINDS and strings:
                return str(kind), dict(public or {})
        case "geth":
            return "secp256k1", _public_of_geth(fields)
        case "eigenlayer":
            return "bn254", {"g1": _read_claim(foreign_keystore.claimed_g1, path, fields)}
        case "devkit":
            return "bn254", {"g2": _read_claim(foreign_keystore.claimed_g2, path, fields)}
        case ("eip2335" | "cerberus" | "geth1" | "presale") as found:
            raise InputError(f"read keystore {path}: it is {foreign_keystore.NAMES[found]}", hint=_READ)
    reason = foreign_keystore.nature(content) or "it is no keystore that is known here"
    raise InputError(f"read keystore {path}: {reason}", hint=_READ)
