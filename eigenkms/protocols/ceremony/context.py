"""The parts that a ceremony is made from: its operator, sources and journal."""

from collections.abc import Callable
from dataclasses import dataclass, field

from eigenkms.crypto import bn254, pvss
from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.protocols.ceremony.effects import JournalRecord
from eigenkms.types import OperatorAddress
from eigenkms.wire.transcript import Transcript


@dataclass(frozen=True)
class CeremonyContext:
    """The context that all ceremonies of one operator share.

    ``rng`` yields secret randomness. ``grace`` is the time, in seconds, that a session which begins now waits for late operators:
    some round trips.
    """

    me: OperatorAddress
    key: bn254.KeyPair = field(repr=False)
    rng: Rng
    grace: Callable[[], float]


@dataclass(frozen=True)
class SourceVersion:
    """A version that a rotation deals from, and this operator's share of it, if any."""

    transcript: Transcript
    share: SecretScalar | None = field(repr=False)


@dataclass(frozen=True)
class StartData:
    """The journal of an earlier run, and the encryption key to publish, if any."""

    records: tuple[JournalRecord, ...] = ()
    fresh: pvss.EncryptionKey | None = field(repr=False, default=None)

    def has(self, kind: str) -> bool:
        """Return whether the journal has a record of this kind."""
        return any(record.kind == kind for record in self.records)

    def bodies(self, kind: str) -> list[bytes]:
        """Return the bodies of the records of this kind, in order."""
        return [record.body for record in self.records if record.kind == kind]
