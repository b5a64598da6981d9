"""Evidence out of a database, and out of the folder of a node that does not run.

Evidence is what a node may show to everybody, so it is not sealed: reading it needs the folder and no password.
"""

from pathlib import Path

from eigenkms.errors import StorageError
from eigenkms.storage.data_dir import FolderLock
from eigenkms.storage.database import Database
from eigenkms.storage.open_store import DATABASE_NAME, LOCK_NAME
from eigenkms.storage.rows import EvidenceRow
from eigenkms.types import OperatorAddress, SessionId

_LAST_ID = 2**63 - 1


def all_evidence(database: Database, after: int = 0, last: int = _LAST_ID) -> tuple[EvidenceRow, ...]:
    """Rows with ``after`` < id ≤ ``last``, ascending."""
    rows = database.all(
        "SELECT id, kind, accused, session, bundle, noticed FROM evidence WHERE id > ? AND id <= ? ORDER BY id",
        after,
        last,
    )
    return tuple(
        EvidenceRow(number, kind, OperatorAddress(accused), SessionId(session), bundle, noticed)
        for number, kind, accused, session, bundle, noticed in rows
    )


def read_folder(folder: Path) -> tuple[EvidenceRow, ...]:
    """All evidence of the data folder, in the order it came; the folder keeps what it had.

    Raises ``StorageError`` where a process uses the folder, or it holds no node's database.
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
