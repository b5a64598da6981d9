"""The disk of one simulated operator: what the real store (eigenkms/storage/store.py) keeps, and refuses, in memory.

Every method is one transaction. A session that was shredded has no secrets any more and takes none; a version that was erased has
no share any more and gets none again. Whatever is not here when the operator crashes, it does not know in its next life.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from eigenkms.crypto.scalars import SecretScalar
from eigenkms.protocols.effects import JournalRecord
from eigenkms.protocols.evidence import Evidence
from eigenkms.protocols.messages import GENESIS_SOURCE
from eigenkms.protocols.session import Session
from eigenkms.protocols.settlement import SettlementProof
from eigenkms.protocols.transcript import Transcript
from eigenkms.protocols.votes import Certificate
from eigenkms.types import SessionId

KEPT_BOUNDARIES = 16


@dataclass(frozen=True)
class StoredSession:
    """``opened`` is the time of day at which the boundary was seen."""

    session: Session
    opened: float
    shredded: bool = False


@dataclass(frozen=True)
class StoredVersion:
    """``share`` is absent if there never was one, or it was erased."""

    transcript: Transcript
    certificate: Certificate
    share: SecretScalar | None = None
    settled: bool = False
    proof: SettlementProof | None = None
    erased: bool = False


@dataclass
class Disk:
    """Sessions, journals and closings by session id; versions by transcript hash.

    ``floor``: up to this boundary number an earlier disk of this operator may have voted. ``consent``: it may be
    part of a genesis.
    """

    floor: int = -1
    consent: bool = True
    sessions: dict[SessionId, StoredSession] = field(default_factory=dict)
    journal: dict[SessionId, list[JournalRecord]] = field(default_factory=dict)
    versions: dict[bytes, StoredVersion] = field(default_factory=dict)
    closed: dict[SessionId, Certificate] = field(default_factory=dict)
    evidence: list[Evidence] = field(default_factory=list)

    # -- transactions --------------------------------------------------------------------------------------------

    def open_session(self, session: Session, opened: float) -> None:
        self.sessions.setdefault(session.id, StoredSession(session, opened))

    def append(
        self, session: SessionId, records: Sequence[JournalRecord], closed: Certificate | None
    ) -> None:
        """The records of one step; ``closed`` if they say that the session ended without a key."""
        assert session in self.sessions, f"append to session {session.hex()[:6]}: it was never opened"
        shredded = self.sessions[session].shredded
        assert not shredded or not any(r.secret for r in records), (
            f"append a secret to session {session.hex()[:6]}: its key was destroyed"
        )
        self.journal.setdefault(session, []).extend(records)
        if closed is not None:
            self.closed[session] = closed

    def shred_session(self, session: SessionId) -> None:
        stored = self.sessions.get(session)
        if stored is not None:
            self.sessions[session] = replace(stored, shredded=True)
            self.journal[session] = [r for r in self.journal.get(session, []) if not r.secret]

    def forget_sessions(self, below: int) -> None:
        for session, stored in list(self.sessions.items()):
            if stored.shredded and stored.session.boundary.number < below:
                del self.sessions[session]
                self.journal.pop(session, None)

    def add_version(
        self, transcript: Transcript, certificate: Certificate, share: SecretScalar | None
    ) -> None:
        settled = transcript.source_version == GENESIS_SOURCE
        known = self.versions.get(transcript.hash)
        if known is None:
            self.versions[transcript.hash] = StoredVersion(transcript, certificate, share, settled)
            return
        assert share is None or not known.erased, "store a share: it was erased"
        assert share is None or known.share in (None, share), "store a share: another one is stored"
        self.versions[transcript.hash] = replace(known, share=known.share if share is None else share)

    def settle(self, transcript: Transcript, certificate: Certificate, proof: SettlementProof | None) -> None:
        self.add_version(transcript, certificate, None)
        known = self.versions[transcript.hash]
        self.versions[transcript.hash] = replace(known, settled=True, proof=known.proof or proof)

    def erase(self, transcript_hash: bytes) -> None:
        known = self.versions.get(transcript_hash)
        if known is not None:
            self.versions[transcript_hash] = replace(known, share=None, erased=True)

    def add_evidence(self, evidence: Evidence) -> None:
        self.evidence.append(evidence)

    def copy(self) -> "Disk":
        """As a backup keeps it."""
        journal = {session: list(records) for session, records in self.journal.items()}
        return replace(
            self,
            sessions=dict(self.sessions),
            journal=journal,
            versions=dict(self.versions),
            closed=dict(self.closed),
            evidence=list(self.evidence),
        )

    # -- what is on it -------------------------------------------------------------------------------------------

    @property
    def held(self) -> list[StoredVersion]:
        """Versions that are known and not erased, oldest first."""
        known = [v for v in self.versions.values() if not v.erased]
        return sorted(known, key=lambda v: v.transcript.version)

    @property
    def newest_settled(self) -> StoredVersion | None:
        """What the next rotation deals from."""
        return max((v for v in self.held if v.settled), key=lambda v: v.transcript.version, default=None)

    def holds_share(self, transcript_hash: bytes) -> bool:
        """Whether a combined share of this version can still be read: as a version's, or from the journal that led to it."""
        version = self.versions.get(transcript_hash)
        if version is not None and (version.erased or version.share is not None):
            return not version.erased
        return any(
            record.kind == "share" and record.body[:32] == transcript_hash
            for records in self.journal.values()
            for record in records
        )

    def secrets_of(self, version: Transcript) -> list[str]:
        """What a thief of this disk would learn about this operator's share of ``version``."""
        stored = self.versions.get(version.hash)
        found = ["the share itself"] if stored is not None and stored.share is not None else []
        for session, records in self.journal.items():
            name = session.hex()[:6]
            for record in records:
                if record.kind == "share" and record.body[:32] == version.hash:
                    found.append(f"the share in the journal of {name}")
                if record.kind == "polynomial" and record.body[:8] == int(version.version).to_bytes(8, "big"):
                    found.append(f"the polynomial of {name}, which deals it")
        return found
