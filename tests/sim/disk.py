"""The disk of one simulated operator: what the real store (eigenkms/storage/store.py) keeps, and refuses, in memory.

Every method is one transaction. A key or a share that was destroyed does not come back. Whatever is not here when the operator
crashes, it does not know in its next life.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from eigenkms.crypto.pvss import EncryptionKey
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.protocols.ceremony.effects import JournalRecord
from eigenkms.protocols.records.evidence import Evidence
from eigenkms.types import SessionId
from eigenkms.wire.session import Session
from eigenkms.wire.transcript import Transcript
from eigenkms.wire.votes import Certificate, Phase
from tests.sim.reading import dealing_name


@dataclass(frozen=True)
class StoredSession:
    """``opened`` is the time of day at which the boundary was seen."""

    session: Session
    opened: float


@dataclass(frozen=True)
class StoredVersion:
    """``share`` is absent if there never was one, or it was erased."""

    transcript: Transcript
    certificate: Certificate
    share: SecretScalar | None = None
    erased: bool = False

    @property
    def is_certified(self) -> bool:
        return self.certificate.phase is Phase.COMMIT


@dataclass
class Disk:
    """Sessions, journals and closings by session id; versions by transcript hash; encryption keys by number.

    ``floor``: up to this boundary number an earlier disk of this operator may have voted. ``consent``: it may be part of a
    genesis.
    """

    floor: int = -1
    consent: bool = True
    sessions: dict[SessionId, StoredSession] = field(default_factory=dict)
    journal: dict[SessionId, list[JournalRecord]] = field(default_factory=dict)
    versions: dict[bytes, StoredVersion] = field(default_factory=dict)
    keys: dict[int, EncryptionKey] = field(default_factory=dict)
    closed: dict[SessionId, Certificate] = field(default_factory=dict)
    evidence: list[Evidence] = field(default_factory=list)
    shredded: set[SessionId] = field(default_factory=set)
    dropped: set[SessionId] = field(default_factory=set)
    destroyed_keys: set[int] = field(default_factory=set)

    # -- transactions --------------------------------------------------------------------------------------------

    def open_session(self, session: Session, opened: float) -> None:
        self.sessions.setdefault(session.id, StoredSession(session, opened))

    def append(
        self, session: SessionId, records: Sequence[JournalRecord], closed: Certificate | None
    ) -> None:
        """The records of one step; ``closed`` if they state that the session ended without a key."""
        assert session in self.sessions, f"append to session {session.hex()[:6]}: it was never opened"
        assert session not in self.shredded or not any(r.secret for r in records), (
            f"append a secret to session {session.hex()[:6]}: its key was destroyed"
        )
        self.journal.setdefault(session, []).extend(records)
        if closed is not None:
            self.closed[session] = closed

    def shred_session(self, session: SessionId) -> None:
        """Destroy the secrets in a journal."""
        if session in self.sessions:
            self.shredded.add(session)
            self.journal[session] = [r for r in self.journal.get(session, []) if not r.secret]

    def drop_session(self, session: SessionId) -> None:
        """Drop a journal; that the session was joined stays known."""
        self.journal.pop(session, None)
        self.shredded.add(session)
        self.dropped.add(session)

    def keep_key(self, number: int, key: EncryptionKey) -> None:
        assert number not in self.destroyed_keys, f"keep key {number}: it was destroyed"
        assert self.keys.get(number, key) == key, f"keep key {number}: another one is stored"
        self.keys[number] = key

    def erase_keys(self, numbers: frozenset[int]) -> None:
        self.destroyed_keys |= numbers
        self.keys = {number: key for number, key in self.keys.items() if number not in numbers}

    def add_version(self, transcript: Transcript, certificate: Certificate) -> None:
        """A version, or a better certificate of one."""
        known = self.versions.get(transcript.hash)
        if known is None:
            self.versions[transcript.hash] = StoredVersion(transcript, certificate)
        elif not known.is_certified:  # a certificate of a later view, or the epoch certificate
            self.versions[transcript.hash] = replace(known, certificate=certificate)

    def hold(self, transcript_hash: bytes, share: SecretScalar) -> None:
        known = self.versions[transcript_hash]
        assert not known.erased, "store a share: it was erased"
        assert known.share in (None, share), "store a share: another one is stored"
        self.versions[transcript_hash] = replace(known, share=share)

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
            keys=dict(self.keys),
            closed=dict(self.closed),
            evidence=list(self.evidence),
            shredded=set(self.shredded),
            dropped=set(self.dropped),
            destroyed_keys=set(self.destroyed_keys),
        )

    # -- what is on it -------------------------------------------------------------------------------------------

    @property
    def held(self) -> list[StoredVersion]:
        """Versions that are known and not erased, oldest first."""
        known = [v for v in self.versions.values() if not v.erased]
        return sorted(known, key=lambda v: v.transcript.version)

    @property
    def certified(self) -> StoredVersion | None:
        """The highest certified version."""
        return max((v for v in self.held if v.is_certified), key=lambda v: v.transcript.version, default=None)

    def has_share(self, transcript_hash: bytes) -> bool:
        version = self.versions.get(transcript_hash)
        return version is not None and version.share is not None

    def has_dealings(self, transcript: Transcript) -> bool:
        """Whether every dealing that the transcript names is in a journal, header and body."""
        records = self.journal.get(transcript.session, [])
        bodies = {r.body[:32] for r in records if r.kind == "body"}
        headers = {dealing_name(r.body) for r in records if r.kind == "dealing"}
        return all(name in bodies and name in headers for _, name in transcript.dealers)

    def has_lock(self, session: SessionId, certificate: bytes) -> bool:
        """Whether the journal has this prepare certificate as a lock."""
        return any(r.kind == "lock" and r.body == certificate for r in self.journal.get(session, []))

    @property
    def secret_records(self) -> Iterator[tuple[Session, JournalRecord]]:
        """Secrets in journals."""
        for session, records in self.journal.items():
            for record in records:
                if record.secret:
                    yield self.sessions[session].session, record
