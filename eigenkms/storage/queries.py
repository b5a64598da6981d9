"""Read key versions and evidence out of a database, open or copied.

Evidence is public, so it is not sealed: to read it takes the folder and no password.
"""

from pathlib import Path
from typing import Final

from eigenkms.errors import StorageError
from eigenkms.storage.data_dir import FolderLock
from eigenkms.storage.database import Database
from eigenkms.storage.open_store import DATABASE_NAME, LOCK_NAME
from eigenkms.storage.rows import EvidenceRow, VersionRow
from eigenkms.types import OperatorAddress, SessionId, Version

SHARE_PURPOSE: Final = b"eigenkms/share/1"
_LAST_ID: Final = 2**63 - 1


def all_versions(database: Database) -> tuple[VersionRow, ...]:
    """Return all versions, ascending.

    Two of one version number are in the order in which they came.
    """
    rows = database.all(
        "SELECT version, session, transcript_hash, transcript, certificate, settled, prepared, proof,"
        " sealed_share IS NOT NULL, erased FROM versions ORDER BY version, rowid"
    )
    return tuple(
        VersionRow(
            Version(v), SessionId(s), h, t, c, bool(settled), bool(prepared), proof, bool(held), bool(erased)
        )
        for v, s, h, t, c, settled, prepared, proof, held, erased in rows
    )


def all_evidence(database: Database, after: int = 0, last: int = _LAST_ID) -> tuple[EvidenceRow, ...]:
    """Return the evidence with ``after`` < id ≤ ``last``, ascending."""
    rows = database.all(
        "SELECT id, kind, accused, session, bundle, noticed FROM evidence WHERE id > ? AND id <= ? ORDER BY id",
        after,
        last,
    )
    return tuple(
        EvidenceRow(number, kind, OperatorAddress(accused), SessionId(session), bundle, noticed)
        for number, kind, accused, session, bundle, noticed in rows
    )


def read_evidence(folder: Path) -> tuple[EvidenceRow, ...]:
    """Return all evidence of a data folder, in the order it came.

    The folder is not changed.

    Raises ``StorageError`` if a process uses the folder, or if it holds no node's database.
    """
    path = folder / DATABASE_NAME
    if not path.is_file():
        raise StorageError(
            f"read evidence in {folder}: there is no {DATABASE_NAME}", hint="give a node's data folder"
        )
    lock = FolderLock.acquire(folder / LOCK_NAME)
    try:
        database = Database(path)
        try:
            if database.is_blank():
                return ()
            with database.reading("read evidence in"):
                return all_evidence(database)
        finally:
            database.close()
    finally:
        lock.release()
