"""The key versions of a database as values, for the store and for those who look at a copy of it."""

from eigenkms.storage.database import Database
from eigenkms.storage.rows import VersionRow
from eigenkms.types import SessionId, Version

SHARE_PURPOSE = b"eigenkms/share/1"


def all_versions(database: Database) -> tuple[VersionRow, ...]:
    """Ascending; two of one version number in the order they came."""
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
