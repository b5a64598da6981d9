"""The file of a node's backup (docs/security.md, Backups).

It has the keystores, the configuration, the operator and cluster, and the newest version that the store knew to be settled. It has
the share of that version only if the operator requested that.

Inside the backup the keystores stay under their own password. The backup has another one. An attacker with the file and its
password has public facts, a configuration, and keystores whose password is still to be guessed.

The store is not in the backup. A restored journal would lack the votes since, and a restored session key would outlive its erasure.
The next rotation gives the node a new share.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from eigenkms import __version__, bounded_json
from eigenkms.crypto import keystore
from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.password_file import open_file, seal_file
from eigenkms.errors import InputError
from eigenkms.storage.rows import StoreIdentity, VersionRow
from eigenkms.types import ClusterId, OperatorAddress, SessionId, Version

FORMAT: Final = "eigenkms-backup"
VERSION: Final = 1
MAX_BYTES: Final = 8 * 2**20
"""Limit of a backup file: a keystore has at most 64 KiB, a transcript with its proofs less than a megabyte."""
_FIELDS: Final = (
    "release",
    "created",
    "cluster",
    "operator",
    "settled",
    "transcript_hash",
    "boundary",
    "keystores",
    "config",
    "share",
)
MAX_CONFIG_BYTES: Final = 2**20
KEYSTORES: Final[Mapping[str, str]] = {
    "bn254_keystore": "bn254",
    "p2p_keystore": "p2p",
    "account_keystore": "secp256k1",
    "anchor_account_keystore": "secp256k1",
}
"""Settings that name a keystore, and the kind of its key."""
ACCOUNTS: Final = ("account_keystore", "anchor_account_keystore")
"""Keystores that may have another password and format. They are saved unopened."""
NEW_BACKUP: Final = "make a new backup"


@dataclass(frozen=True, slots=True)
class SavedFile:
    """The absolute path and the content of a file.

    A configuration may hold an API key, so the content does not print.
    """

    path: str
    content: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """Return the last part of the path."""
        return Path(self.path).name


@dataclass(frozen=True, slots=True)
class SavedShare:
    """A share, 32 bytes big-endian, and the version that it belongs to."""

    row: VersionRow
    share: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Backup:
    """The parts of a backup, as the module describes them.

    ``created`` is in unix seconds. ``settled`` is None if there was no store, or it knew no version. ``boundary`` is the block of
    the newest session in the store, 0 if there was none.
    """

    release: str
    created: int
    identity: StoreIdentity
    settled: Version | None
    transcript_hash: bytes | None
    boundary: int
    keystores: Mapping[str, SavedFile]
    config: SavedFile | None
    share: SavedShare | None

    def seal(self, password: str, rng: Rng, *, cost: keystore.ScryptCost = keystore.DEFAULT_COST) -> bytes:
        """Return the content of a backup file, sealed under ``password``.

        Raises ``InputError`` if it has more than ``MAX_BYTES``.
        """
        content = json.dumps(_to_json(self)).encode()
        sealed = seal_file(FORMAT, VERSION, __version__, content, password, rng, cost=cost)
        if len(sealed) > MAX_BYTES:
            raise InputError(f"write backup: {len(sealed)} bytes, more than {MAX_BYTES}")
        return sealed


def open_backup(data: bytes, password: str) -> Backup:
    """Open the content of a backup file.

    ``maintenance.backup.check`` compares its parts. Raises ``InputError``.
    """
    content = open_file(FORMAT, VERSION, data, password)
    try:
        return _from_json(bounded_json.loads_strict(content))
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        raise InputError(f"open {FORMAT}: its content is not what a backup has", hint=NEW_BACKUP) from None


# As JSON


def _to_json(backup: Backup) -> dict[str, Any]:
    return {
        "release": backup.release,
        "created": backup.created,
        "cluster": backup.identity.cluster_id.hex(),
        "operator": backup.identity.operator.hex(),
        "settled": backup.settled,
        "transcript_hash": None if backup.transcript_hash is None else backup.transcript_hash.hex(),
        "boundary": backup.boundary,
        "keystores": {name: _file_to_json(saved) for name, saved in backup.keystores.items()},
        "config": None if backup.config is None else _file_to_json(backup.config),
        "share": None if backup.share is None else _share_to_json(backup.share),
    }


def _file_to_json(saved: SavedFile) -> dict[str, str]:
    return {"path": saved.path, "content": base64.b64encode(saved.content).decode()}


def _share_to_json(saved: SavedShare) -> dict[str, Any]:
    row = saved.row
    return {
        "session": row.session.hex(),
        "transcript": row.transcript.hex(),
        "certificate": row.certificate.hex(),
        "proof": None if row.proof is None else row.proof.hex(),
        "share": saved.share.hex(),
    }


def _from_json(fields: Any) -> Backup:
    """Parse a backup.

    Raises ``ValueError``, ``KeyError`` or ``TypeError`` if it has another form.
    """
    _exactly(fields, _FIELDS)
    if not set(fields["keystores"]) <= KEYSTORES.keys() or not {"bn254_keystore", "p2p_keystore"} <= set(
        fields["keystores"]
    ):
        raise ValueError("keystores")
    named = fields["transcript_hash"]
    settled = None if fields["settled"] is None else Version(_number(fields["settled"]))
    transcript_hash = None if named is None else bytes.fromhex(named)
    return Backup(
        release=str(fields["release"]),
        created=_number(fields["created"]),
        identity=StoreIdentity(
            ClusterId(bytes.fromhex(fields["cluster"])), OperatorAddress(bytes.fromhex(fields["operator"]))
        ),
        settled=settled,
        transcript_hash=transcript_hash,
        boundary=_number(fields["boundary"]),
        keystores={name: _file_from_json(saved) for name, saved in fields["keystores"].items()},
        config=None if fields["config"] is None else _file_from_json(fields["config"]),
        share=None
        if fields["share"] is None
        else _share_from_json(fields["share"], settled or Version(0), transcript_hash or b""),
    )


def _exactly(fields: Any, names: Sequence[str]) -> None:
    if not isinstance(fields, dict) or fields.keys() != set(names):
        raise ValueError("fields")


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError("number")
    return value


def _file_from_json(fields: Any) -> SavedFile:
    _exactly(fields, ["path", "content"])
    if not isinstance(fields["path"], str) or not Path(fields["path"]).is_absolute():
        raise ValueError("path")
    return SavedFile(fields["path"], base64.b64decode(fields["content"], validate=True))


def _share_from_json(fields: Any, version: Version, transcript_hash: bytes) -> SavedShare:
    _exactly(fields, ["session", "transcript", "certificate", "proof", "share"])
    row = VersionRow(
        version,
        SessionId(bytes.fromhex(fields["session"])),
        transcript_hash,
        bytes.fromhex(fields["transcript"]),
        bytes.fromhex(fields["certificate"]),
        settled=True,
        proof=None if fields["proof"] is None else bytes.fromhex(fields["proof"]),
    )
    return SavedShare(row, bytes.fromhex(fields["share"]))
