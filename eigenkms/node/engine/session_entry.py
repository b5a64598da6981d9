"""Session entry: at a boundary, after a restart, and the end of journals.

At most one session a boundary number is joined, whatever the block's hash, and at most once. If the journal of a session was
dropped, its votes are forgotten, so the session is not joined again.
"""

from dataclasses import dataclass
from typing import Final

from eigenkms.node.engine.intake import Intake
from eigenkms.node.engine.session_reporter import SessionReporter
from eigenkms.protocols.ceremony.effects import JournalRecord
from eigenkms.protocols.ceremony.participant import Participant, SessionEffect
from eigenkms.storage.store import Store
from eigenkms.wire.session import Session, decode_session, encode_session

KEPT_BOUNDARIES: Final = 16
"""Boundaries after which the store forgets that a session was joined whose journal was dropped."""

KEPT_ERASED: Final = 16
"""Erased versions of which transcript and certificate stay."""


@dataclass(frozen=True)
class DeferredSession:
    """The newest boundary's session, which could not be joined yet.

    An older session binds this operator, or there is no version to deal from yet.
    """

    session: Session
    may_found: bool


class SessionEntry:
    """The blocking work of entering and leaving sessions, in steps of the machines."""

    def __init__(
        self, participant: Participant, store: Store, intake: Intake, reporter: SessionReporter
    ) -> None:
        self._participant = participant
        self._store = store
        self._intake = intake
        self._reporter = reporter

    def enter(
        self, session: Session, now: float, *, may_vote: bool, may_found: bool
    ) -> tuple[bool, list[SessionEffect]]:
        """Join the session of a boundary, or pass it.

        Return whether this operator takes part, and the effects.
        The session is in the store before anything of it is sent.
        """
        participant = self._participant
        self._intake.renew()
        has_joined = participant.ceremony(session.id) is not None
        permitted = may_vote and (may_found or participant.has_version)
        if not permitted or not participant.may_join(session) or self._already_voted_at(session):
            return has_joined, participant.pass_boundary(session, now)
        self._reporter.begin(session.id, now)
        self._store.open_session(session.id, session.boundary.number, encode_session(session))
        effects = participant.boundary(session, now)
        early = participant.pop_buffered(session)
        return True, effects + self._intake.verify([(None, frame) for frame in early], now)

    def _already_voted_at(self, session: Session) -> bool:
        """Return whether a session of this boundary number was joined before."""
        return bool(self._store.sessions_at(session.boundary.number))

    def restore(self, now: float, now_unix: float, *, floor: int) -> list[SessionEffect]:
        """Resume the sessions of the journal, oldest first.

        Sessions at or below block ``floor`` only listen.
        """
        effects: list[SessionEffect] = []
        headers = [h for h in self._store.sessions() if not h.shredded]
        for header in sorted(headers, key=lambda h: h.block_number):
            session = decode_session(header.header)
            is_of_protocol_1 = session.id != header.session
            if is_of_protocol_1:  # nothing in it is of use now
                self._store.drop_session(header.session)
                continue
            records = tuple(
                JournalRecord(r.kind, r.body, r.secret)  # type: ignore[arg-type]
                for r in self._store.records(header.session)
            )
            opened_at = now - max(0.0, now_unix - header.opened)
            silent = header.block_number <= floor
            effects += self._participant.restore(session, records, opened_at, now, listen_only=silent)
        return effects + self._participant.tick(now)

    def prune(self, newest: Session) -> None:
        """Drop the journals that nobody needs any more."""
        for session in self._participant.prune():
            self._store.drop_session(session.id)
        interval = newest.parameters.interval_blocks
        self._store.forget_sessions(max(0, newest.boundary.number - KEPT_BOUNDARIES * interval))
        self._store.forget_versions(KEPT_ERASED)
