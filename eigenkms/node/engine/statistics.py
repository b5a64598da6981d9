"""Counters of the engine, as the metrics show them."""

import logging
from collections import Counter
from dataclasses import dataclass, field, replace

from eigenkms.node import log_fields
from eigenkms.types import SessionId

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineStatistics:
    """Counters since the start."""

    frames: int = 0
    """Frames that were taken from the queues, verified or not."""
    bodies: int = 0
    """Bodies of dealings that arrived, wanted or not."""
    refused: int = 0
    """Frames, bodies and rows that did not decode, verify, or belong here."""
    dropped: int = 0
    """Frames that found their origin's queue full, or came after too many forged ones of it; bodies that newer ones of their
    origin displaced.
    """
    notes: Counter[str] = field(default_factory=Counter)
    """Log events of sessions, by the name of the event."""
    certified_after: float | None = None
    """Seconds from the newest boundary that was joined to the certificate of a version there."""


class EngineCounters:
    """Holds the newest ``statistics``.

    They are replaced and never changed; ``notes`` alone counts in place.
    """

    def __init__(self) -> None:
        self.statistics = EngineStatistics()

    def add(self, *, frames: int = 0, bodies: int = 0, dropped: int = 0) -> None:
        """Add to some of the counters."""
        known = self.statistics
        self.statistics = replace(
            known, frames=known.frames + frames, bodies=known.bodies + bodies, dropped=known.dropped + dropped
        )

    def refuse(self, session: SessionId | None, reason: str) -> None:
        """Count and log something that a peer sent and that is of no use."""
        self.statistics = replace(self.statistics, refused=self.statistics.refused + 1)
        log.debug("refused: %s", reason, extra=log_fields.session_fields(session, "refused"))

    def note(self, event: str) -> None:
        """Count a log event of a session."""
        self.statistics.notes[event] += 1

    def set_certified_after(self, seconds: float) -> None:
        """Keep how long the newest certificate took."""
        self.statistics = replace(self.statistics, certified_after=seconds)
