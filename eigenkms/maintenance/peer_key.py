"""A new p2p key for a node, in steps that can be broken off anywhere and are completed by doing them again.

    p2p.json.new            the new keystore, under the same password                    (prepare)
    the socket on chain     names the new peer id                                        (the caller)
    p2p.json.<peer id>.old  the old keystore, kept: a link to it                         (put in place)
    p2p.json                the new keystore, in one move
    p2p.json.new            goes                                                         (finish)

The running node has its key in memory and goes on as the old peer until it is restarted. Whenever that is, before or after any of
these steps, the others take it for what its signed record says (``node/network/peer_book``).
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
    """From ``old`` to ``new`` (peer ids). They are the same where an earlier rotation was broken off at its very end."""

    keystore: Path
    old: str
    new: str
    _key: PrivateKey = field(repr=False)
    found: bool = False
    """Whether the new keystore was there already, from a rotation that was broken off."""

    @property
    def fresh(self) -> Path:
        """The new keystore until it is in place."""
        return self.keystore.with_name(self.keystore.name + ".new")

    @property
    def kept(self) -> Path:
        """The old keystore afterwards."""
        return self.keystore.with_name(f"{self.keystore.name}.{self.old}.old")

    def prepare(self, password: str, rng: Rng, *, cost: ScryptCost = DEFAULT_COST) -> None:
        """Write the new keystore beside the old one, unless it was found there.

        Raises ``StorageError``, also if another rotation has written one meanwhile.
        """
        if not self.found:
            write_new(self.fresh, self._key.seal(password, rng, cost=cost))

    def put_in_place(self) -> None:
        """Keep the old keystore under its other name, and move the new one to where it lay. Raises ``StorageError``."""
        moving = self.keystore.with_name(f".{self.keystore.name}.moving")
        try:
            if self.old != self.new:
                if not self.kept.exists():
                    os.link(self.keystore, self.kept)
                moving.unlink(missing_ok=True)
                os.link(self.fresh, moving)
                moving.replace(self.keystore)
                sync_folder(self.keystore.parent)
        except OSError as error:
            raise storage_error("put the new keystore in the place of", self.keystore, error) from error

    def finish(self) -> None:
        """Nothing is left to be done again. Raises ``StorageError``."""
        try:
            temporary(self.fresh).unlink(missing_ok=True)
            self.fresh.unlink(missing_ok=True)
            sync_folder(self.keystore.parent)
        except OSError as error:
            raise storage_error("remove", self.fresh, error) from error


def begin_rotation(keystore: Path, password: str, rng: Rng) -> PeerKeyRotation:
    """A rotation of this keystore's key, or the one that was begun; nothing is written. Raises ``InputError``."""
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
