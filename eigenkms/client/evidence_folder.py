"""Evidence out of the data folder of a stopped node.

A running node has its database locked; its evidence is read over the network.
"""

from pathlib import Path

from eigenkms.client.evidence import EvidenceReport, VerifiedEvidence
from eigenkms.client.evidence_verdict import read_and_check, sort_key
from eigenkms.errors import VerificationError
from eigenkms.protocols.records.evidence_bundle import BundleName
from eigenkms.storage.queries import read_evidence


def read_evidence_folder(folder: Path) -> EvidenceReport:
    """Return the pieces in the folder that verify, and the reasons for the others.

    A piece is verified by the keys that it names, and not compared with the chain. Raises ``StorageError`` if the folder cannot be
    read. Blocking and CPU-bound.
    """
    found: dict[BundleName, VerifiedEvidence] = {}
    rejected = []
    for row in read_evidence(folder):
        try:
            bundle = read_and_check(row.bundle)
        except VerificationError as error:
            rejected.append((None, str(error)))
        else:
            found.setdefault(bundle.name, VerifiedEvidence(bundle, noticed=row.noticed))
    pieces = sorted(found.values(), key=lambda piece: sort_key(piece.bundle))
    return EvidenceReport(0, tuple(pieces), tuple(rejected))
