"""Encryption keys of this operator, by the block at which each is published."""

from collections.abc import Iterable
from typing import Final

from eigenkms.errors import StorageError
from eigenkms.storage.store_connection import StoreConnection
from eigenkms.storage.vault import Owner

SECRET_SIZE: Final = 32
"""Bytes of the secret of an encryption key."""
_KEY: Final = b"eigenkms/encryption-key/1"


def _key_name(number: int) -> bytes:
    """Return the name of the vault slot of an encryption key."""
    return number.to_bytes(32, "big")


class EncryptionKeyTable(StoreConnection):
    """Encryption keys, sealed, and the numbers of those that were erased."""

    def keep_key(self, number: int, secret: bytes) -> None:
        """Store the secret (32 bytes) of an encryption key.

        The key is published at boundary block ``number``. The same again is no error. Raises ``StorageError`` for another secret,
        and for a key that was erased.
        """
        name = _key_name(number)
        if len(secret) != SECRET_SIZE:
            raise ValueError(f"the secret of an encryption key has {len(secret)} bytes, not {SECRET_SIZE}")
        with self._writing("store an encryption key in"):
            row = self._database.one("SELECT sealed FROM encryption_keys WHERE number = ?", number)
            if row is not None:
                if row[0] is None:
                    raise StorageError(f"store encryption key {number}: it was erased and does not come back")
                if self._vault.unseal(Owner.ENCRYPTION_KEY, name, row[0], _KEY) != secret:
                    raise StorageError(f"store encryption key {number}: another one is already stored")
                return
            self._vault.add_key(Owner.ENCRYPTION_KEY, name)
            sealed = self._vault.seal(Owner.ENCRYPTION_KEY, name, secret, _KEY)
            self._database.execute("INSERT INTO encryption_keys VALUES (?, ?)", number, sealed)

    def keys(self) -> dict[int, bytes]:
        """Return the keys that were not erased: number to secret.

        Secret: keep them short-lived.
        """
        with self._reading("read encryption keys in"):
            rows = self._database.all(
                "SELECT number, sealed FROM encryption_keys WHERE sealed IS NOT NULL ORDER BY number"
            )
            return {
                number: self._vault.unseal(Owner.ENCRYPTION_KEY, _key_name(number), sealed, _KEY)
                for number, sealed in rows
            }

    def erase_keys(self, numbers: Iterable[int]) -> None:
        """Destroy the encryption keys with these numbers, all or none.

        A missing one is no error.

        The numbers stay known until ``forget_sessions``, so that no other key gets one.
        """
        chosen = tuple(numbers)
        with self._writing("erase encryption keys in"):
            for number in chosen:
                self._vault.destroy_key(Owner.ENCRYPTION_KEY, _key_name(number))
                self._database.execute(
                    "INSERT INTO encryption_keys VALUES (?, NULL)"
                    " ON CONFLICT (number) DO UPDATE SET sealed = NULL",
                    number,
                )
        self._truncate_log("erase encryption keys in")
