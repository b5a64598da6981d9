"""What a machine asks for. The node carries effects out in one order: what is durable, what is sent, what takes long.

``Persist``, ``KeepKey``, ``StorePrepared``, ``StoreCertified``, ``CloseSession``, ``KeepShare``, ``EraseShare``, ``EraseKeys``, ``EraseJournalSecrets`` and ``DropJournal``
are written and fsynced before any ``Broadcast`` of the same batch leaves the process. ``Publish`` hands a dealing's body to all
members. ``RunJob`` is carried out beside the machine and answered with its result. ``LogEvent`` is for people.
"""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from eigenkms.crypto.pvss import EncryptionKey
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.protocols.ceremony.jobs import Job
from eigenkms.protocols.records.evidence import Evidence
from eigenkms.protocols.wire.frames import Frame
from eigenkms.protocols.wire.transcript import Transcript
from eigenkms.protocols.wire.votes import Certificate
from eigenkms.types import SessionId

RecordKind: TypeAlias = Literal[
    "source",
    "polynomial",
    "revealed",
    "frame",
    "dealing",
    "body",
    "transcript",
    "lock",
    "certificate",
    "silent",
]


@dataclass(frozen=True)
class JournalRecord:
    """One durable fact about a session. A secret body is sealed under the session's own key."""

    kind: RecordKind
    body: bytes = field(repr=False)
    secret: bool = False


@dataclass(frozen=True)
class Persist:
    record: JournalRecord


@dataclass(frozen=True)
class Broadcast:
    """Gossip to everybody in the session."""

    frame: Frame


@dataclass(frozen=True)
class KeepKey:
    """Keep a fresh encryption key of mine: it is published once it is durable."""

    number: int
    key: EncryptionKey = field(repr=False)


@dataclass(frozen=True)
class EraseKeys:
    """Destroy my encryption keys with these numbers, for good."""

    numbers: frozenset[int]


@dataclass(frozen=True)
class Publish:
    """Hand the body of my dealing with this name to every member, over streams."""

    name: bytes
    body: bytes


@dataclass(frozen=True)
class RunJob:
    job: Job


@dataclass(frozen=True)
class StorePrepared:
    """A version may have been certified without my knowledge: t' members hold its dealings. It is dealt from unless a higher
    one is.
    """

    transcript: Transcript
    certificate: Certificate


@dataclass(frozen=True)
class StoreCertified:
    """A version exists: store it, serve it."""

    transcript: Transcript
    certificate: Certificate


@dataclass(frozen=True)
class CloseSession:
    """The session is certified to have ended without a key."""

    certificate: Certificate


@dataclass(frozen=True)
class KeepShare:
    """My share of a version, decrypted."""

    transcript_hash: bytes
    share: SecretScalar = field(repr=False)


@dataclass(frozen=True)
class EraseShare:
    """Destroy my share of the version with this transcript hash, for good."""

    transcript_hash: bytes


@dataclass(frozen=True)
class DropJournal:
    """Drop the journal of this session: nobody can need its dealings any more."""

    session: SessionId


@dataclass(frozen=True)
class EraseJournalSecrets:
    """Destroy the secrets in the journal of this session, for good: they determine shares that are erased."""

    session: SessionId


@dataclass(frozen=True)
class LogEvent:
    """Something worth a log line; ``fields`` hold no secrets."""

    event: str
    fields: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportFault:
    """Keep what proves an operator faulty."""

    evidence: Evidence


Effect: TypeAlias = (
    Persist
    | KeepKey
    | EraseKeys
    | EraseJournalSecrets
    | Broadcast
    | Publish
    | RunJob
    | StorePrepared
    | StoreCertified
    | CloseSession
    | KeepShare
    | EraseShare
    | DropJournal
    | ReportFault
    | LogEvent
)
