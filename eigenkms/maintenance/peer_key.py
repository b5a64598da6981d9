"""Rotation of a node's p2p key, in steps that can be interrupted and repeated.

    p2p.json.new            the new keystore, under the same password                    (prepare)
    the socket on chain     names the new peer id                                        (the caller)
    p2p.json.<peer id>.old  the old keystore, kept: a link to it                         (activate)
    p2p.json                the new keystore, in one move
    p2p.json.new            is removed                                                   (clean up)

The running node has its key in memory and remains the old peer until it is restarted. The restart may come before or after any of
these steps: other operators follow the node's signed record (``node/network/peer_book``).
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.keystore import DEFAULT_COST, ScryptCost
from eigenkms.errors import InputError
from eigenkms.keys.keystores import PrivateKey, new_key, open_key
from eigenkms.storage.data_dir import storage_error, sync_folder
from eigenkms.storage.rebuild import temporary, write_new


@dataclass(frozen=True, slots=True)
class PeerKeyRotation:
    """A rotation from peer id ``old`` to peer id ``new``.

    Both are the same if an earlier rotation was interrupted before ``clean_up``.
    """

    keystore: Path
    old: str
    new: str
    _key: PrivateKey = field(repr=False)
    found: bool = False
    """Whether the new keystore exists already, from an interrupted rotation."""

    @property
    def new_keystore(self) -> Path:
        """Return the path of the new keystore until it is activated."""
        return self.keystore.with_name(self.keystore.name + ".new")

    @property
    def old_keystore(self) -> Path:
        """Return the path under which the old keystore is kept."""
        return self.keystore.with_name(f"{self.keystore.name}.{self.old}.old")

    def prepare(self, password: str, rng: Rng, *, cost: ScryptCost = DEFAULT_COST) -> None:
        """Write the new keystore beside the old one, unless it exists.

        Raises ``StorageError``, also if another rotation has written one in between.
        """
        if not self.found:
            write_new(self.new_keystore, self._key.seal(password, rng, cost=cost))

    def activate(self) -> None:
        """Keep the old keystore under its other name, and move the new one to its place.

        Raises ``StorageError``.
        """
        moving = self.keystore.with_name(f".{self.keystore.name}.moving")
        try:
            if self.old != self.new:
                if not self.old_keystore.exists():
                    os.link(self.keystore, self.old_keystore)
                moving.unlink(missing_ok=True)
                os.link(self.new_keystore, moving)
                moving.replace(self.keystore)
                sync_folder(self.keystore.parent)
        except OSError as error:
            raise storage_error("put the new keystore in the place of", self.keystore, error) from error

    def clean_up(self) -> None:
        """Remove the temporary files of the rotation. Raises ``StorageError``."""
        try:
            temporary(self.new_keystore).unlink(missing_ok=True)
            self.new_keystore.unlink(missing_ok=True)
            sync_folder(self.keystore.parent)
        except OSError as error:
            raise storage_error("remove", self.new_keystore, error) from error


def begin_rotation(keystore: Path, password: str, rng: Rng) -> PeerKeyRotation:
    """Return a rotation of this keystore's key, or the interrupted one.

    Writes nothing. Raises ``InputError``.
    """
    old = open_key(keystore, "p2p", password)
    fresh = keystore.with_name(keystore.name + ".new")
    try:
        found = fresh.exists()
        key = open_key(fresh, "p2p", password) if found else new_key("p2p", rng)
    except InputError as error:
        raise InputError(
            f"continue the rotation of {keystore}: {error}",
            hint=f"move {fresh.name} away to begin another one",
        ) from error
    return PeerKeyRotation(keystore, old.public["peer_id"], key.public["peer_id"], key, found)
