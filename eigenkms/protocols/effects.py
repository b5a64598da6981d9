"""What a machine asks for. The node carries effects out in one order: everything durable first, then what is sent.

``Persist``, ``Certified``, ``Closed``, ``Settled``, ``Erase``, ``Shred`` and ``Accuse`` are written and fsynced before any
``Broadcast`` or ``Direct`` of the same batch leaves the process (docs/protocol.md, Crashes). ``Note`` is for people.
"""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from eigenkms.crypto.scalars import SecretScalar
from eigenkms.protocols.evidence import Evidence
from eigenkms.protocols.frames import Frame
from eigenkms.protocols.settlement import SettlementProof
from eigenkms.protocols.transcript import Transcript
from eigenkms.protocols.votes import Certificate
from eigenkms.types import OperatorAddress, SessionId

RecordKind: TypeAlias = Literal[
    "source",
    "polynomial",
    "frame",
    "one-time-key",
    "revealed",
    "transcript",
    "share",
    "root",
    "lock",
    "certificate",
    "silent",
    "dealing",
    "body",
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
class Direct:
    """One frame for one operator, over a stream bound to it; what is lost is pulled by its recipient."""

    recipient: OperatorAddress
    frame: Frame


@dataclass(frozen=True)
class Certified:
    """A version exists: store it, serve it. ``share`` is absent if this operator holds none."""

    transcript: Transcript
    certificate: Certificate
    share: SecretScalar | None = field(repr=False)


@dataclass(frozen=True)
class Closed:
    """The session is certified to have ended without a key."""

    certificate: Certificate


@dataclass(frozen=True)
class Settled:
    """Enough correct operators hold this certified version for older ones to be erased. ``proof`` is ``None`` for a genesis."""

    transcript: Transcript
    certificate: Certificate
    proof: SettlementProof | None


@dataclass(frozen=True)
class Erase:
    """Destroy my share of the version with this transcript hash, for good."""

    transcript_hash: bytes


@dataclass(frozen=True)
class Shred:
    """Destroy the secrets in the journal of this session, for good: they determine shares that are erased."""

    session: SessionId


@dataclass(frozen=True)
class Accuse:
    """Keep signed frames that prove an operator faulty."""

    evidence: Evidence


@dataclass(frozen=True)
class Note:
    """Something worth a log line; ``fields`` hold no secrets."""

    event: str
    fields: dict[str, object] = field(default_factory=dict)


Effect: TypeAlias = (
    Persist | Broadcast | Direct | Certified | Closed | Settled | Erase | Shred | Accuse | Note
)
