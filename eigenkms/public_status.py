"""The public status of a node, which ``eigenkms status`` shows.

Anybody may request it over libp2p. Nothing in it is secret. The JSON is flat (docs/monitoring.md), and
``PublicStatus.to_json`` is the one place that writes it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from eigenkms.protocols.records.audit_log import LogHead
from eigenkms.types import ClusterId, OperatorAddress, SessionId, to_hex
from eigenkms.wire.transcript import Transcript

Json = dict[str, object]
"""An object of JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStatus:
    """The newest key version, None if there is none, and whether its share is held."""

    transcript: Transcript | None
    has_share: bool

    def to_json(self) -> Json:
        """Return the fields of the public status."""
        newest = self.transcript
        return {
            "version": None if newest is None else int(newest.version),
            "transcript": None if newest is None else newest.hash.hex(),
            "mpk": None if newest is None else newest.mpk.hex(),
            "share": self.has_share,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipStatus:
    """The operator set: its size, connected operators, and outdated ones."""

    operators: int
    connected: int
    outdated: tuple[OperatorAddress, ...]

    def to_json(self) -> Json:
        """Return the fields of the public status."""
        return {
            "operators": self.operators,
            "peers": self.connected,
            "outdated": hex_list(self.outdated),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStatus:
    """The session of the newest boundary.

    Phase, version that is dealt from (0 at genesis), dealers without a dealing.
    """

    id: SessionId
    phase: str
    source: int
    missing: tuple[OperatorAddress, ...]

    def to_json(self) -> Json:
        """Return the fields of the public status."""
        return {
            "session": self.id.hex(),
            "phase": self.phase,
            "source": self.source,
            "missing": hex_list(self.missing),
        }


NO_SESSION: Json = {"session": None, "phase": None, "source": None, "missing": []}
"""The fields of a session if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainStatus:
    """The chain as the node reads it.

    Numbers of the newest boundary and block, the last failure, and staleness.
    """

    boundary: int | None
    head: int | None
    error: str | None
    is_stale: bool

    def to_json(self) -> Json:
        """Return the fields of the public status."""
        return {
            "boundary": self.boundary,
            "head": self.head,
            "chain_error": self.error,
            "chain_stale": self.is_stale,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsStatus:
    """Records that the node keeps.

    Audit log, evidence, and the anchor with the reason why it could not be written.
    """

    audit_log: LogHead
    evidence: int
    accused: tuple[OperatorAddress, ...]
    anchored: int | None
    anchor_error: str | None

    def to_json(self) -> Json:
        """Return the fields of the public status."""
        return {
            "released": self.audit_log.number,
            "release_head": self.audit_log.hash.hex(),
            "evidence": self.evidence,
            "accused": sorted(hex_list(self.accused)),
            "anchored": self.anchored,
            "anchor_error": self.anchor_error,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicStatus:
    """The status of one node at ``time`` (unix seconds).

    ``canary`` is the outcome of the last probe, None before the first.
    """

    operator: OperatorAddress
    cluster: ClusterId
    policy: str
    key: KeyStatus
    membership: MembershipStatus
    session: SessionStatus | None
    chain: ChainStatus
    records: RecordsStatus
    canary: bool | None
    time: float
    parameters: Mapping[str, object]
    """Settings that must be the same at all operators."""

    def to_json(self) -> Json:
        """Return the object that is sent, its fields in their order."""
        return {
            "operator": to_hex(self.operator),
            "cluster": self.cluster.hex(),
            **self.key.to_json(),
            "policy": self.policy,
            **self.membership.to_json(),
            **(NO_SESSION if self.session is None else self.session.to_json()),
            **self.chain.to_json(),
            **self.records.to_json(),
            "canary": self.canary,
            "time": self.time,
            "parameters": dict(self.parameters),
        }


def hex_list(operators: Iterable[OperatorAddress]) -> list[str]:
    """Return addresses as JSON holds them."""
    return [to_hex(operator) for operator in operators]
