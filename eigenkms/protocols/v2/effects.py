"""What a machine asks for in protocol 2. The node carries effects out in one order: what is durable, what is sent, what takes long.

``Persist``, ``KeepKey``, ``Prepared``, ``Certified``, ``Closed``, ``Held``, ``Erase``, ``EraseKeys``, ``Shred`` and ``Forget`` are
written and fsynced before any ``Broadcast`` of the same batch leaves the process. ``Publish`` hands a dealing's body to all
members. ``Work`` is carried out beside the machine and answered with its result. ``Note`` is for people.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

from eigenkms.crypto.pvss import EncryptionKey
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.protocols.effects import Accuse, Broadcast, Closed, Note, Persist, Shred
from eigenkms.protocols.transcript import Transcript
from eigenkms.protocols.v2.jobs import Job
from eigenkms.protocols.votes import Certificate
from eigenkms.types import SessionId


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
class Work:
    job: Job


@dataclass(frozen=True)
class Prepared:
    """A version may have been certified without my knowledge: t' members hold its dealings. It is dealt from unless a higher
    one is.
    """

    transcript: Transcript
    certificate: Certificate


@dataclass(frozen=True)
class Certified:
    """A version exists: store it, serve it."""

    transcript: Transcript
    certificate: Certificate


@dataclass(frozen=True)
class Held:
    """My share of a version, decrypted."""

    transcript_hash: bytes
    share: SecretScalar = field(repr=False)


@dataclass(frozen=True)
class Erase:
    """Destroy my share of the version with this transcript hash, for good."""

    transcript_hash: bytes


@dataclass(frozen=True)
class Forget:
    """Drop the journal of this session: nobody can need its dealings any more."""

    session: SessionId


Effect: TypeAlias = (
    Persist
    | KeepKey
    | EraseKeys
    | Shred
    | Broadcast
    | Publish
    | Work
    | Prepared
    | Certified
    | Closed
    | Held
    | Erase
    | Forget
    | Accuse
    | Note
)
