"""Log lines and counters of the sessions' events."""

import logging
from collections.abc import Sequence
from typing import Final

import trio

from eigenkms.node import log_fields
from eigenkms.node.engine.statistics import EngineCounters
from eigenkms.protocols.ceremony.effects import LogEvent, ReportFault
from eigenkms.protocols.ceremony.holdings import NOT_OPENED
from eigenkms.protocols.ceremony.participant import SessionEffect
from eigenkms.protocols.ceremony.session_observer import FAILED
from eigenkms.types import SessionId, to_hex
from eigenkms.wire.session import Session

log = logging.getLogger(__name__)

_LEVELS: Final = {FAILED: logging.WARNING, NOT_OPENED: logging.ERROR}
"""Levels of events that somebody must act on. All others are information."""


class SessionReporter:
    """Reports the events of a step once they are durable and sent."""

    def __init__(self, counters: EngineCounters) -> None:
        self._counters = counters
        self._begun: dict[SessionId, float] = {}
        """When the newest boundary's session was joined, on trio's clock."""

    def begin(self, session: SessionId, now: float) -> None:
        """Note that the newest boundary's session was joined."""
        self._begun = {session: now}

    def report(self, effects: Sequence[SessionEffect]) -> None:
        """Log the events and the evidence among the effects of a step."""
        for item in effects:
            if isinstance(item.effect, LogEvent):
                self._report_event(item.session, item.effect)
            elif isinstance(item.effect, ReportFault):
                self._report_fault(item.session, item.effect)

    def _report_event(self, session: Session | None, event: LogEvent) -> None:
        self._count(session, event)
        session_id = None if session is None else session.id
        extra = log_fields.session_fields(session_id, event.event, **event.fields)
        level = _LEVELS.get(event.event, logging.INFO)
        name = _name_of(session)
        log.log(level, "session %s: %s %s", name, event.event, _plain(event.fields), extra=extra)

    def _report_fault(self, session: Session | None, report: ReportFault) -> None:
        accused, fault = to_hex(report.evidence.accused), report.evidence.fault.value
        session_id = None if session is None else session.id
        extra = log_fields.session_fields(session_id, "evidence", fault=fault, accused=accused)
        log.warning("session %s: evidence of %s against %s", _name_of(session), fault, accused, extra=extra)

    def _count(self, session: Session | None, event: LogEvent) -> None:
        self._counters.note(event.event)
        begun = None if session is None else self._begun.get(session.id)
        if event.event == "certified" and begun is not None:
            self._counters.set_certified_after(trio.current_time() - begun)


def _name_of(session: Session | None) -> str:
    return "" if session is None else log_fields.short_id(session.id)


def _plain(fields: dict[str, object]) -> str:
    """Return ``name=value`` of each field, lists with commas."""
    texts = {n: ",".join(map(str, v)) if isinstance(v, list) else v for n, v in fields.items()}
    return " ".join(f"{name}={text}" for name, text in texts.items())
