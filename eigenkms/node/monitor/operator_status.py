"""What the operator's page shows beside the public status: one dictionary of plain values (docs/monitoring.md).

Everything is as this node sees it. Texts that come from others are cut, and nothing in here is secret.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

from eigenkms import __version__
from eigenkms.chain.boundaries import BoundaryStatistics, newest_boundary
from eigenkms.config.node import NodeConfig
from eigenkms.node.engine import Engine
from eigenkms.node.key_versions import HeldVersion, Versions
from eigenkms.node.monitor.health import HealthInput, assess
from eigenkms.node.monitor.recent_warnings import RecentWarnings
from eigenkms.node.network.peer_book import PeerBook, PeerEntry
from eigenkms.node.network.ping import PeerPinger
from eigenkms.protocols.ceremony.ceremony import Ceremony
from eigenkms.protocols.ceremony.session_progress import SessionStep
from eigenkms.types import OperatorAddress

if TYPE_CHECKING:
    from eigenkms.p2p.host import Host

SCHEMA: Final = 2
"""Of ``/status.json``: raised when a field goes or changes its meaning, not when one is added."""
MAX_TEXT: Final = 200
MAX_ADDRESSES: Final = 8
MAX_SHOWN_VERSIONS: Final = 20
_AFTER_DEALING: Final = ("prepared", "committed", "certified")
"""Steps that take the one before them."""


@dataclass(frozen=True)
class OperatorStatus:
    """Reads the parts of one node."""

    config: NodeConfig
    peers: PeerBook
    versions: Versions
    engine: Engine
    pulse: PeerPinger
    recent: RecentWarnings
    started_at: float
    """On trio's clock."""

    def fields(
        self,
        public: Mapping[str, object],
        not_ready: list[str],
        follower: BoundaryStatistics,
        host: "Host | None",
    ) -> dict[str, object]:
        """What is added to ``public``; ``not_ready`` tells why keys cannot be served."""
        now = trio.current_time()
        connected = frozenset() if host is None else host.connected()
        members = [self._member(entry, connected, now) for entry in self.peers.entries()]
        health, reasons = assess(self._seen(public, not_ready, follower, members))
        ceremony = self.engine.newest
        return {
            "schema": SCHEMA,
            "health": health,
            "reasons": reasons,
            "software": __version__,
            "uptime_seconds": round(now - self.started_at, 1),
            "chain": self._chain(),
            "next_boundary": self._next_boundary(follower, now),
            "versions": [self._version(held) for held in reversed(list(self.versions)[-MAX_SHOWN_VERSIONS:])],
            "ceremony": None if ceremony is None else self._ceremony(ceremony),
            "members": members,
            "warnings": [
                {"time": round(w.at, 3), "level": w.level, "message": w.message, "count": w.count}
                for w in reversed(self.recent.list())
            ],
        }

    def _seen(
        self,
        public: Mapping[str, object],
        not_ready: list[str],
        follower: BoundaryStatistics,
        members: list[dict[str, object]],
    ) -> HealthInput:
        newest, ceremony = self.versions.newest, self.engine.newest
        holders = frozenset() if newest is None else frozenset(newest.epoch.transcript.recipients.addresses)
        there = {m["operator"] for m in members if m["me"] or m["proven"]}
        status = (
            None if ceremony is None or not self._should_be_over(ceremony, follower) else ceremony.status()
        )
        error, unanchored = public.get("chain_error"), public.get("anchor_error")
        return HealthInput(
            not_ready=tuple(not_ready),
            member=any(m["me"] and not m["former"] for m in members),
            share=bool(public.get("share")) or newest is None,
            away=tuple(str(m["operator"]) for m in members if not (m["me"] or m["proven"] or m["former"])),
            outdated=_texts(public.get("outdated")),
            operators=sum(1 for m in members if not m["former"]),
            holders=sum(1 for holder in holders if _hex(holder) in there),
            threshold=0 if newest is None else newest.epoch.transcript.threshold,
            phase=None if status is None else status.phase,
            chain_error=error if isinstance(error, str) else None,
            accused=tuple(str(m["operator"]) for m in members if m["evidence"] and not m["former"]),
            anchor_error=unanchored if isinstance(unanchored, str) else None,
            canary=public.get("canary"),
            providers=public.get("rpc"),
            stale=bool(public.get("chain_stale")),
        )

    def _should_be_over(self, ceremony: Ceremony, follower: BoundaryStatistics) -> bool:
        """Half an interval after its boundary; one that a later boundary left behind is judged no more."""
        head, interval = (
            0 if follower.head is None else follower.head.number,
            self.config.session.interval_blocks,
        )
        return interval <= 2 * (head - ceremony.session.boundary.number) < 2 * interval

    def _chain(self) -> dict[str, object]:
        config = self.config
        return {
            "id": config.chain.chain_id,
            "avs": _hex(config.chain.avs),
            "operator_set": config.chain.operator_set_id,
            "finality": str(config.chain.finality),
            "interval_blocks": config.session.interval_blocks,
            "block_seconds": config.session.block_seconds,
        }

    def _next_boundary(self, follower: BoundaryStatistics, now: float) -> dict[str, object] | None:
        """By the expected time between blocks, from when the head was first seen; never below 0."""
        if follower.head is None or follower.head_at is None:
            return None
        head, interval = follower.head.number, self.config.session.interval_blocks
        block = newest_boundary(head, interval) + interval
        seconds = (block - head) * self.config.session.block_seconds - (now - follower.head_at)
        return {"block": block, "blocks": block - head, "seconds": round(max(0.0, seconds), 1)}

    def _version(self, held: HeldVersion) -> dict[str, object]:
        transcript, certificate = held.epoch.transcript, held.epoch.certificate
        recipients = transcript.recipients
        return {
            "version": int(transcript.version),
            "transcript": transcript.hash.hex(),
            "block": transcript.boundary.number,
            "block_hash": "0x" + transcript.boundary.hash.hex(),
            "source": transcript.source_version,
            "mpk": transcript.mpk.hex(),
            "operators": len(recipients),
            "threshold": transcript.threshold,
            "signers": len(certificate.signers(recipients)),
            "served": self.engine.served(transcript),
            "share": held.share is not None,
        }

    def _ceremony(self, ceremony: Ceremony) -> dict[str, object]:
        status, session = ceremony.status(), ceremony.session
        return {
            "session": session.id.hex(),
            "kind": "rotation" if ceremony.is_rotation else "genesis",
            "block": session.boundary.number,
            "phase": status.phase,
            "view": status.view,
            "operators": session.n,
            "threshold": session.threshold,
            "source": status.source,
            "steps": _steps(ceremony.progress(), certified=status.phase == "certified"),
        }

    def _member(self, entry: PeerEntry, connected: frozenset[object], now: float) -> dict[str, object]:
        beat, me = self.pulse.beat(entry.operator), entry.operator == self.config.operator
        here = entry.peer in connected
        return {
            "operator": _hex(entry.operator),
            "me": me,
            "former": entry.former,
            "peer": None if entry.peer is None else str(entry.peer),
            "socket": _cut(entry.socket),
            "addresses": [
                _cut(a) for a in (self.config.network.announce if me else entry.addresses)[:MAX_ADDRESSES]
            ],
            "connected": here,
            "proven": here and entry.proven,
            "latency_ms": None if beat.latency is None else round(1000 * beat.latency, 1),
            "seen_seconds": None if beat.seen_at is None else round(now - beat.seen_at, 1),
            "failures": beat.failures,
            "evidence": self.engine.accused.get(entry.operator, 0),
        }


def _steps(steps: tuple[SessionStep, ...], *, certified: bool) -> list[dict[str, object]]:
    """Each with its state: whatever was seen of it, a step is done if somebody has gone on to vote."""
    behind = max((i for i, step in enumerate(steps) if step.done and step.name in _AFTER_DEALING), default=0)
    shown: list[dict[str, object]] = []
    going_on = True
    for i, step in enumerate(steps):
        enough = len(step.done) >= step.needed
        done = certified or i < behind or enough
        state = "done" if done else "current" if going_on else "waiting"
        going_on = going_on and done
        shown.append(
            {
                "name": step.name,
                "state": state,
                "done": len(step.done),
                "of": len(step.expected),
                "needed": step.needed,
                "missing": [_hex(a) for a in step.missing],
            }
        )
    return shown


def _hex(address: OperatorAddress | bytes) -> str:
    return "0x" + address.hex()


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
