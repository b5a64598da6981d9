"""Key versions, and this operator's share of each, which can be erased."""

from eigenkms.errors import StorageError
from eigenkms.storage.queries import SHARE_PURPOSE, all_versions
from eigenkms.storage.rows import VersionRow
from eigenkms.storage.store_connection import StoreConnection
from eigenkms.storage.vault import Owner


class VersionTable(StoreConnection):
    """Versions that this operator knows, with or without a share of its own."""

    def add_version(self, row: VersionRow, share: bytes | None) -> None:
        """Store a version, and this operator's combined share of it if there is one.

        A version that is already stored keeps its first certificate, unless it is only prepared: then a newer one replaces it. A
        missing share is added, a second one must be the same. A settled flag is only ever raised.
        """
        with self._writing("store a key version in"):
            self._check_same_version(row)
            self._database.execute(
                "INSERT INTO versions"
                " (transcript_hash, version, session, transcript, certificate, settled, prepared)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (transcript_hash) DO UPDATE SET settled = max(settled, excluded.settled),"
                " certificate = iif(prepared, excluded.certificate, certificate),"
                " prepared = min(prepared, excluded.prepared)",
                row.transcript_hash,
                row.version,
                row.session,
                row.transcript,
                row.certificate,
                int(row.settled),
                int(row.prepared),
            )
            if share is not None:
                self._add_share(row.transcript_hash, share)

    def add_share(self, transcript_hash: bytes, share: bytes) -> None:
        """Store this operator's combined share of a stored version.

        Another share than before is an error.
        """
        with self._writing("store a share in"):
            self._add_share(transcript_hash, share)

    def _check_same_version(self, row: VersionRow) -> None:
        known = self._database.one(
            "SELECT version, session, transcript FROM versions WHERE transcript_hash = ?", row.transcript_hash
        )
        if known not in (None, (row.version, row.session, row.transcript)):
            raise StorageError(
                f"store version {row.transcript_hash.hex()}: another transcript is stored under this hash"
            )

    def _add_share(self, transcript_hash: bytes, share: bytes) -> None:
        row = self._database.one(
            "SELECT sealed_share, erased FROM versions WHERE transcript_hash = ?", transcript_hash
        )
        if row is None:
            raise StorageError(f"store the share of {transcript_hash.hex()}: its version is not stored")
        sealed, erased = row
        if erased:
            raise StorageError(
                f"store the share of {transcript_hash.hex()}: it was erased and does not come back"
            )
        if sealed is None:
            self._vault.add_key(Owner.VERSION, transcript_hash)
            sealed = self._vault.seal(Owner.VERSION, transcript_hash, share, SHARE_PURPOSE)
            self._database.execute(
                "UPDATE versions SET sealed_share = ? WHERE transcript_hash = ?", sealed, transcript_hash
            )
        elif self._vault.unseal(Owner.VERSION, transcript_hash, sealed, SHARE_PURPOSE) != share:
            raise StorageError(f"store the share of {transcript_hash.hex()}: another share is already stored")

    def versions(self) -> tuple[VersionRow, ...]:
        """Return all versions, ascending.

        Two of one version number in the order they came.
        """
        with self._reading("read key versions in"):
            return all_versions(self._database)

    def share(self, transcript_hash: bytes) -> bytes | None:
        """Return this operator's combined share of a version, or None.

        Secret: keep it short-lived.
        """
        with self._reading("read a share in"):
            row = self._database.one(
                "SELECT sealed_share FROM versions WHERE transcript_hash = ?", transcript_hash
            )
            if row is None or row[0] is None:
                return None
            return self._vault.unseal(Owner.VERSION, transcript_hash, row[0], SHARE_PURPOSE)

    def set_settled(self, transcript_hash: bytes, proof: bytes) -> None:
        """Mark a version as settled; the first proof is kept."""
        with self._writing("settle a key version in"):
            changed = self._database.execute(
                "UPDATE versions SET settled = 1, proof = coalesce(proof, ?) WHERE transcript_hash = ?",
                proof,
                transcript_hash,
            )
            if changed != 1:
                raise StorageError(f"settle version {transcript_hash.hex()}: it is not stored")

    def erase_share(self, transcript_hash: bytes) -> None:
        """Destroy the key of the share; transcript and certificate stay.

        Again is no error.
        """
        with self._writing("erase a share in"):
            self._vault.destroy_key(Owner.VERSION, transcript_hash)
            self._database.execute(
                "UPDATE versions SET sealed_share = NULL, erased = 1 WHERE transcript_hash = ?",
                transcript_hash,
            )
        self._truncate_log("erase a share in")

    def forget_versions(self, keep: int) -> int:
        """Drop all erased versions but the newest ``keep``; return how many."""
        with self._writing("forget erased versions in"):
            return self._database.execute(
                "DELETE FROM versions WHERE erased = 1 AND transcript_hash NOT IN"
                " (SELECT transcript_hash FROM versions WHERE erased = 1 ORDER BY version DESC LIMIT ?)",
                keep,
            )
