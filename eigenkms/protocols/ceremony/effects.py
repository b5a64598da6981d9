"""Effects: what a machine asks the node to do.

The node does it in one order: make durable, send, start long work.

``Persist``, ``KeepKey``, ``StorePreparedVersion``, ``StoreCertifiedVersion``, ``CloseSession``, ``KeepShare``, ``EraseShare``,
``EraseKeys``, ``EraseJournalSecrets`` and ``DropJournal`` are written and fsynced before any ``Broadcast`` of the same batch leaves
the process. ``Publish`` hands a dealing's body to all members. ``RunJob`` is done beside the machine and answered with its result.
``LogEvent`` is for people.
"""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from eigenkms.crypto.pvss import EncryptionKey
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.protocols.ceremony.jobs import Job
from eigenkms.protocols.records.evidence import Evidence
from eigenkms.types import SessionId
from eigenkms.wire.frames import Frame
from eigenkms.wire.transcript import Transcript
from eigenkms.wire.votes import Certificate

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
    """One durable fact about a session.

    A secret body is sealed under the session's own key.
    """

    kind: RecordKind
    body: bytes = field(repr=False)
    secret: bool = False


@dataclass(frozen=True)
class Persist:
    """Append a record to the session's journal."""

    record: JournalRecord


@dataclass(frozen=True)
class Broadcast:
    """Gossip a frame to everybody in the session."""

    frame: Frame


@dataclass(frozen=True)
class KeepKey:
    """Keep a fresh encryption key, which is published once it is durable."""

    number: int
    key: EncryptionKey = field(repr=False)


@dataclass(frozen=True)
class EraseKeys:
    """Destroy this operator's encryption keys with these numbers, for good."""

    numbers: frozenset[int]


@dataclass(frozen=True)
class Publish:
    """Hand the body of this operator's dealing to every member, over streams."""

    name: bytes
    body: bytes


@dataclass(frozen=True)
class RunJob:
    """Do long work beside the machine, and feed its result back."""

    job: Job


@dataclass(frozen=True)
class StorePreparedVersion:
    """Store a version that t' members prepared.

    It may have been certified without this operator's knowledge. It is dealt from unless a higher one is.
    """

    transcript: Transcript
    certificate: Certificate


@dataclass(frozen=True)
class StoreCertifiedVersion:
    """Store a certified version, and serve it."""

    transcript: Transcript
    certificate: Certificate


@dataclass(frozen=True)
class CloseSession:
    """Close a session that is certified to have ended without a key."""

    certificate: Certificate


@dataclass(frozen=True)
class KeepShare:
    """Keep this operator's share of a version, which was decrypted."""

    transcript_hash: bytes
    share: SecretScalar = field(repr=False)


@dataclass(frozen=True)
class EraseShare:
    """Destroy this operator's share of the version with this hash, for good."""

    transcript_hash: bytes


@dataclass(frozen=True)
class DropJournal:
    """Drop the journal of this session: nobody can need its dealings any more."""

    session: SessionId


@dataclass(frozen=True)
class EraseJournalSecrets:
    """Destroy the secrets in the journal of this session, for good.

    They determine shares that are erased.
    """

    session: SessionId


@dataclass(frozen=True)
class LogEvent:
    """Log one line; ``fields`` hold no secrets."""

    event: str
    fields: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportFault:
    """Keep and log the evidence that an operator is faulty."""

    evidence: Evidence


Effect: TypeAlias = (
    Persist
    | KeepKey
    | EraseKeys
    | EraseJournalSecrets
    | Broadcast
    | Publish
    | RunJob
    | StorePreparedVersion
    | StoreCertifiedVersion
    | CloseSession
    | KeepShare
    | EraseShare
    | DropJournal
    | ReportFault
    | LogEvent
)
