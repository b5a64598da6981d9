"""The applications that were found on the chain, for the next start of the node.

A node that starts amid a flood of requests for made-up applications recognises the real ones by this file, ``familiar``. Only the
order of waiting requests depends on it (``chain.applications``). So it is written without ``fsync``, and a malformed one counts as
empty. It begins with a line of 20 bytes, then each address has its 20, the one found last at the end.
"""

import logging
import os
from pathlib import Path
from typing import Final, Self

from eigenkms.errors import StorageError
from eigenkms.storage.data_dir import storage_error

log = logging.getLogger(__name__)

KNOWN_APPLICATIONS_NAME: Final = "familiar"
HEADER: Final = b"eigenkms familiar 1\n"
MAX_KNOWN: Final = 8192
"""Addresses that are kept, and as many that wait for the file to be written anew: 320 KiB at most."""
_SIZE: Final = len(HEADER)


class KnownApplications:
    """The file of one data folder, whose lock the caller holds.

    Not safe for several threads at once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._length = 0
        self._is_broken = False

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Return the file in ``folder``, made where it is missing.

        Raises ``StorageError``.
        """
        found = cls(folder / KNOWN_APPLICATIONS_NAME)
        found._write(found.addresses())
        return found

    def addresses(self) -> tuple[bytes, ...]:
        """Return at most ``MAX_KNOWN`` addresses of 20 bytes, each once.

        The one found last is at the end. Raises ``StorageError``.
        """
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise storage_error("read", self._path, error) from error
        if not content.startswith(HEADER):
            return ()
        last = len(content) - len(content) % _SIZE
        found = [content[i : i + _SIZE] for i in range(_SIZE, last, _SIZE)]
        return tuple(reversed(tuple(dict.fromkeys(reversed(found)))[:MAX_KNOWN]))

    def add(self, address: bytes) -> None:
        """Keep an address of 20 bytes.

        A disk that refuses is logged once; from then on nothing is kept.
        """
        if self._is_broken:
            return
        try:
            if self._length >= 2 * MAX_KNOWN:
                self._write(self.addresses())
            self._append(address)
        except StorageError as error:
            self._is_broken = True
            log.warning("applications that are found are not kept for the next start: %s", error)

    def _append(self, address: bytes) -> None:
        try:
            with self._path.open("ab") as file:
                file.write(address)
        except OSError as error:
            raise storage_error("write", self._path, error) from error
        self._length += 1

    def _write(self, addresses: tuple[bytes, ...]) -> None:
        """Replace the whole file, in one move."""
        fresh = self._path.with_name(f".{self._path.name}.new")
        try:
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(HEADER + b"".join(addresses))
            fresh.replace(self._path)
        except OSError as error:
            raise storage_error("write", self._path, error) from error
        self._length = len(addresses)
