"""Keys at rest, and how to lose one for good.

    password --scrypt--> password key --wraps--> root key --wraps--> one key a session, a version, an encryption key
                                                                     each seals its own secrets

A secret that must be forgotten one day is sealed under a key of its own. To forget it, the vault overwrites the slot of the wrapped
key with zeros where it stands, and cuts the write-ahead log. The sealed bytes, and any copy of them, are then noise, even for
somebody with the password. An older copy of the folder is beyond reach, and so are the blocks that a drive has replaced but kept.

All sealing is ``crypto.sealing`` (AES-256-GCM). The associated data name the purpose and the owner, so a sealed value that was
moved to another place does not open there.
"""

import unicodedata
from dataclasses import dataclass
from enum import Enum

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from eigenkms.crypto import sealing
from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.keystore import ScryptCost
from eigenkms.errors import InputError, StorageError, VerificationError
from eigenkms.storage.database import Database
from eigenkms.storage.rows import StoreIdentity

_FREE = bytes(33)


class Owner(Enum):
    """The owner of a key; the value is the first byte of its slot's owner field."""

    SESSION = b"s"
    VERSION = b"v"
    ENCRYPTION_KEY = b"k"


def _password_key(password: str, cost: ScryptCost, salt: bytes) -> bytes:
    """Return 32 bytes by scrypt (RFC 7914) of the password in NFKD, as in key files."""
    text = unicodedata.normalize("NFKD", password).encode()
    return Scrypt(salt=salt, length=32, n=cost.n, r=cost.r, p=cost.p).derive(text)


def _root_aad(identity: StoreIdentity) -> bytes:
    return b"eigenkms/store-root/1" + identity.cluster_id + identity.operator


@dataclass(frozen=True, slots=True, repr=False)
class WrappedRoot:
    """The root key under the password, as the ``store`` row keeps it."""

    cost: ScryptCost
    salt: bytes
    wrapped: bytes

    @classmethod
    def create(
        cls, root: bytes, password: str, identity: StoreIdentity, cost: ScryptCost, rng: Rng
    ) -> "WrappedRoot":
        salt = rng(32)
        key = _password_key(password, cost, salt)
        return cls(cost, salt, sealing.seal(key, root, _root_aad(identity), rng))

    def open(self, password: str, identity: StoreIdentity) -> bytes:
        """Return the root key.

        Raises ``InputError`` for a wrong password, which the tag of the sealed root shows.
        """
        key = _password_key(password, self.cost, self.salt)
        try:
            return sealing.unseal(key, self.wrapped, _root_aad(identity))
        except VerificationError as error:
            raise InputError(
                "unlock the store: the password does not open it",
                hint="give the password that this data folder was created with; nothing was changed",
            ) from error


class Vault:
    """Seals and opens secrets under their owners' keys.

    Callers hold a transaction where it writes.
    """

    def __init__(self, database: Database, root: bytes, rng: Rng) -> None:
        self._database = database
        self._root = root
        self._rng = rng

    def __repr__(self) -> str:
        return "<Vault redacted>"

    def add_key(self, owner: Owner, name: bytes) -> None:
        """Make a random key for (owner, 32-byte name), in the first free slot."""
        tag = owner.value + name
        wrapped = sealing.seal(self._root, self._rng(32), b"eigenkms/store-key/1" + tag, self._rng)
        free = self._database.one("SELECT slot FROM key_slots WHERE owner = ? ORDER BY slot LIMIT 1", _FREE)
        if free is None:
            self._database.execute("INSERT INTO key_slots (owner, wrapped) VALUES (?, ?)", tag, wrapped)
        else:
            self._database.execute(
                "UPDATE key_slots SET owner = ?, wrapped = ? WHERE slot = ?", tag, wrapped, *free
            )

    def destroy_key(self, owner: Owner, name: bytes) -> None:
        """Zero the slot.

        The caller truncates the log after its commit: only then the key is gone.
        """
        self._database.execute(
            "UPDATE key_slots SET owner = ?, wrapped = zeroblob(length(wrapped)) WHERE owner = ?",
            _FREE,
            owner.value + name,
        )

    def _key(self, owner: Owner, name: bytes) -> bytes:
        tag = owner.value + name
        row = self._database.one("SELECT wrapped FROM key_slots WHERE owner = ?", tag)
        if row is None:
            raise StorageError(f"open a secret of {owner.name.lower()} {name.hex()}: its key was destroyed")
        return self._open(self._root, row[0], b"eigenkms/store-key/1" + tag)

    def seal(self, owner: Owner, name: bytes, secret: bytes, purpose: bytes) -> bytes:
        return sealing.seal(self._key(owner, name), secret, purpose + name, self._rng)

    def unseal(self, owner: Owner, name: bytes, sealed: bytes, purpose: bytes) -> bytes:
        return self._open(self._key(owner, name), sealed, purpose + name)

    def _open(self, key: bytes, sealed: bytes, aad: bytes) -> bytes:
        try:
            return sealing.unseal(key, sealed, aad)
        except VerificationError as error:
            raise StorageError(
                f"open a secret in {self._database.path}: the stored bytes were altered",
                hint="stop the node and look at the disk; eigenkms share repair --reset begins the folder anew",
            ) from error
