"""The status that a node's operator sees.

The public one, and details of RPCs, versions, session and members.

Everything is as this node sees it. Texts that come from others are cut, and nothing in it is secret. ``OperatorStatus.to_json`` is
the one place that writes ``/status.json`` (docs/monitoring.md).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from eigenkms import __version__
from eigenkms.chain.config import ChainConfig
from eigenkms.chain.provider import ProviderStatus
from eigenkms.config.sections import SessionConfig
from eigenkms.node.monitor.canary import CanaryResult
from eigenkms.node.monitor.health import HealthVerdict
from eigenkms.node.monitor.recent_warnings import RecentWarning
from eigenkms.node.network.ping import PingResult
from eigenkms.p2p.identity import PeerId
from eigenkms.protocols.ceremony.session_progress import CeremonyStatus, SessionStep
from eigenkms.public_status import Json, PublicStatus, hex_list
from eigenkms.types import OperatorAddress, to_hex
from eigenkms.wire.session import Session
from eigenkms.wire.transcript import Transcript

SCHEMA: Final = 2
"""Version of ``/status.json``: raised when a field is removed or changes its meaning, not when one is added."""
MAX_TEXT: Final = 200
MAX_ADDRESSES: Final = 8
_AFTER_DEALING: Final = ("prepared", "committed", "certified")
"""Steps that need the step before them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcPoolStatus:
    """The RPC providers, with their disagreements.

    ``split`` states what each returns of one block, while they are on different forks.
    """

    providers: tuple[ProviderStatus, ...]
    disagreements: int
    split: str | None

    def to_json(self) -> Json:
        """Return the fields of ``/status.json``; a provider's URL has no secret part."""
        return {
            "rpc": [_provider_json(each) for each in self.providers],
            "rpc_disagreements": self.disagreements,
            "rpc_split": self.split,
        }


def _provider_json(provider: ProviderStatus) -> Json:
    return {
        "endpoint": provider.endpoint,
        "state": provider.state.value,
        "in_use": provider.in_use,
        "last_error": provider.last_error,
        "latency_ms": _milliseconds(provider.latency),
        "head": None if provider.head is None else provider.head.number,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class NextBoundary:
    """The next boundary.

    Its number, the blocks until it, and the expected seconds until it, never below 0.
    """

    block: int
    blocks: int
    seconds: float

    def to_json(self) -> Json:
        """Return the object of ``/status.json``."""
        return {"block": self.block, "blocks": self.blocks, "seconds": round(self.seconds, 1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionStatus:
    """A key version that is held.

    ``served``: recipients that its dealings have a share for, None if they are not held.
    """

    transcript: Transcript
    signers: int
    served: int | None
    has_share: bool

    def to_json(self) -> Json:
        """Return the object of ``/status.json``."""
        transcript = self.transcript
        return {
            "version": int(transcript.version),
            "transcript": transcript.hash.hex(),
            "block": transcript.boundary.number,
            "block_hash": to_hex(transcript.boundary.hash),
            "source": transcript.source_version,
            "mpk": transcript.mpk.hex(),
            "operators": len(transcript.recipients),
            "threshold": transcript.threshold,
            "signers": self.signers,
            "served": self.served,
            "share": self.has_share,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CeremonyDetails:
    """The session of the newest boundary, with its steps."""

    session: Session
    is_rotation: bool
    status: CeremonyStatus
    steps: tuple[SessionStep, ...]

    def to_json(self) -> Json:
        """Return the object of ``/status.json``."""
        session, status = self.session, self.status
        return {
            "session": session.id.hex(),
            "kind": "rotation" if self.is_rotation else "genesis",
            "block": session.boundary.number,
            "phase": status.phase,
            "view": status.view,
            "operators": session.n,
            "threshold": session.threshold,
            "source": status.source,
            "steps": list(self._steps()),
        }

    def _steps(self) -> Iterator[Json]:
        """Return each step with its state.

        A step is done, whatever was seen of it, if an operator has voted in a later one.
        """
        steps, certified = self.steps, self.status.phase == "certified"
        behind = max(
            (i for i, step in enumerate(steps) if step.done and step.name in _AFTER_DEALING), default=0
        )
        is_current = True
        for i, step in enumerate(steps):
            done = certified or i < behind or len(step.done) >= step.needed
            yield _step_json(step, "done" if done else "current" if is_current else "waiting")
            is_current = is_current and done


def _step_json(step: SessionStep, state: str) -> Json:
    return {
        "name": step.name,
        "state": state,
        "done": len(step.done),
        "of": len(step.expected),
        "needed": step.needed,
        "missing": hex_list(step.missing),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberStatus:
    """An operator as this node sees it.

    ``is_former``: it left the set and holds the newest version.

    ``is_proven``: the connected peer has proved to be the operator. ``seen_seconds``: time since its last answer to a ping.
    """

    operator: OperatorAddress
    is_self: bool
    is_former: bool
    peer: PeerId | None
    socket: str
    addresses: tuple[str, ...]
    is_connected: bool
    is_proven: bool
    ping: PingResult
    seen_seconds: float | None
    evidence: int

    @property
    def is_there(self) -> bool:
        """Return whether the operator can be reached.

        This node, or a peer that has proved who it is.
        """
        return self.is_self or self.is_proven

    def to_json(self) -> Json:
        """Return the object of ``/status.json``."""
        return {
            "operator": to_hex(self.operator),
            "me": self.is_self,
            "former": self.is_former,
            "peer": None if self.peer is None else str(self.peer),
            "socket": _cut(self.socket),
            "addresses": [_cut(address) for address in self.addresses[:MAX_ADDRESSES]],
            "connected": self.is_connected,
            "proven": self.is_proven,
            "latency_ms": _milliseconds(self.ping.latency),
            "seen_seconds": None if self.seen_seconds is None else round(self.seen_seconds, 1),
            "failures": self.ping.failures,
            "evidence": self.evidence,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDetails:
    """Details of a running node, for its operator alone."""

    health: HealthVerdict
    uptime_seconds: float
    chain: ChainConfig
    session: SessionConfig
    next_boundary: NextBoundary | None
    versions: tuple[VersionStatus, ...]
    """The newest first."""
    ceremony: CeremonyDetails | None
    members: tuple[MemberStatus, ...]
    warnings: tuple[RecentWarning, ...]
    """The newest first."""

    def to_json(self) -> Json:
        """Return the fields of ``/status.json``."""
        return {
            "schema": SCHEMA,
            "health": self.health.word,
            "reasons": list(self.health.reasons),
            "software": __version__,
            "uptime_seconds": round(self.uptime_seconds, 1),
            "chain": self._chain(),
            "next_boundary": None if self.next_boundary is None else self.next_boundary.to_json(),
            "versions": [version.to_json() for version in self.versions],
            "ceremony": None if self.ceremony is None else self.ceremony.to_json(),
            "members": [member.to_json() for member in self.members],
            "warnings": [warning.to_json() for warning in self.warnings],
        }

    def _chain(self) -> Json:
        return {
            "id": self.chain.chain_id,
            "avs": to_hex(self.chain.avs),
            "operator_set": self.chain.operator_set_id,
            "finality": str(self.chain.finality),
            "interval_blocks": self.session.interval_blocks,
            "block_seconds": self.session.block_seconds,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorStatus:
    """The whole status of a node.

    ``rpc`` is None without a pool, ``canary`` before the first probe.
    """

    public: PublicStatus
    rpc: RpcPoolStatus | None
    canary: CanaryResult | None
    details: NodeDetails

    def to_json(self) -> Json:
        """Return ``/status.json``.

        The public status, with the whole result of the canary, and the rest.
        """
        return {
            **self.public.to_json(),
            "canary": None if self.canary is None else self.canary.to_json(),
            **({} if self.rpc is None else self.rpc.to_json()),
            **self.details.to_json(),
        }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
