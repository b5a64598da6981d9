"""Rows of the store as values; no repr shows a secret body."""

from dataclasses import dataclass, field

from eigenkms.types import ClusterId, OperatorAddress, SessionId, Version


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """The owner of a store: one operator in one cluster. A store opens for no other."""

    cluster_id: ClusterId
    operator: OperatorAddress

    def __post_init__(self) -> None:
        if len(self.cluster_id) != 32:
            raise ValueError(f"cluster id has {len(self.cluster_id)} bytes, not 32")
        if len(self.operator) != 20:
            raise ValueError(f"operator address has {len(self.operator)} bytes, not 20")


@dataclass(frozen=True, slots=True)
class Record:
    """One entry of a session's journal: a kind, and a body of that kind.

    The ceremony chooses ``kind``. A ``secret`` body is sealed on disk under the session's own key. It goes when the session is
    shredded.
    """

    kind: str
    body: bytes
    secret: bool

    def __repr__(self) -> str:
        shown = f"{len(self.body)} bytes redacted" if self.secret else self.body.hex()
        return f"<Record {self.kind}: {shown}>"


@dataclass(frozen=True, slots=True)
class SessionHeader:
    """A session that was opened: its block, its header bytes, its time (unix seconds)."""

    session: SessionId
    block_number: int
    header: bytes
    opened: int
    shredded: bool


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A key version: its transcript and its epoch certificate.

    ``transcript_hash`` (32 bytes) names the version. ``prepared`` states that ``certificate`` is a prepare certificate and the
    version is not known to be certified. ``proof`` is the settlement proof once there is one. ``share_held`` states whether this
    store can still give the combined share, ``erased`` whether it was destroyed. The store fills these three and ignores a
    caller's values.
    """

    version: Version
    session: SessionId
    transcript_hash: bytes
    transcript: bytes
    certificate: bytes
    settled: bool
    prepared: bool = False
    proof: bytes | None = field(default=None, compare=False)
    share_held: bool = field(default=False, compare=False)
    erased: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """One piece of evidence: ``bundle`` alone proves that ``accused`` is at fault.

    ``id`` ascends in the order in which pieces came; ``noticed`` is when this one did, in unix seconds.
    """

    id: int
    kind: str
    accused: OperatorAddress
    session: SessionId
    bundle: bytes = field(repr=False)
    noticed: int
