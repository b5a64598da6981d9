"""Evidence of faults, bounded for each accused operator."""

import time
from collections.abc import Mapping
from typing import Final

from eigenkms.storage.queries import all_evidence
from eigenkms.storage.rows import EvidenceRow
from eigenkms.storage.store_connection import StoreConnection
from eigenkms.types import OperatorAddress, SessionId

EVIDENCE_LIMIT: Final = 16
"""Bundles that are stored for one accused and one kind: enough to convict, too few to fill a disk."""


class EvidenceTable(StoreConnection):
    """Bundles in the order in which they came."""

    def add_evidence(self, kind: str, accused: OperatorAddress, session: SessionId, bundle: bytes) -> bool:
        """Store a bundle.

        Return False if it is known, or if the accused has EVIDENCE_LIMIT of this kind.
        """
        with self._writing("store evidence in"):
            (count,) = self._database.one(
                "SELECT count(*) FROM evidence WHERE kind = ? AND accused = ?", kind, accused
            )
            known = self._database.one(
                "SELECT 1 FROM evidence WHERE kind = ? AND accused = ? AND session = ? AND bundle = ?",
                kind,
                accused,
                session,
                bundle,
            )
            if known or count >= EVIDENCE_LIMIT:
                return False
            self._database.execute(
                "INSERT INTO evidence (kind, accused, session, bundle, noticed) VALUES (?, ?, ?, ?, ?)",
                kind,
                accused,
                session,
                bundle,
                int(time.time()),
            )
            return True

    def evidence(self) -> tuple[EvidenceRow, ...]:
        """Return all evidence in the order it came."""
        with self._reading("read evidence in"):
            return all_evidence(self._database)

    def evidence_page(self, after: int, limit_bytes: int) -> tuple[tuple[EvidenceRow, ...], bool]:
        """Return evidence with ids above ``after``, and whether there is more.

        The bundles are whole, and of ``limit_bytes`` together; a single larger one comes alone.
        """
        with self._reading("read evidence in"):
            sizes = self._database.all(
                "SELECT id, length(bundle) FROM evidence WHERE id > ? ORDER BY id", after
            )
            last, total = after, 0
            for number, size in sizes:
                total += size
                if total > limit_bytes and last != after:
                    break
                last = number
            return all_evidence(self._database, after, last), bool(sizes) and last < sizes[-1][0]

    def accused(self) -> Mapping[OperatorAddress, int]:
        """Return the accused operators, each with the count of its bundles."""
        with self._reading("read evidence in"):
            rows = self._database.all("SELECT accused, count(*) FROM evidence GROUP BY accused")
        return {OperatorAddress(accused): count for accused, count in rows}
