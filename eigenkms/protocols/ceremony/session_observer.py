"""The observations behind ``blame``: when each part of a session was first here.

The observer changes nothing in a session. It is asked once, when the next boundary finds the session without a certificate.
"""

from eigenkms.protocols.ceremony.agreement import Agreement
from eigenkms.protocols.ceremony.base_versions import BaseVersions
from eigenkms.protocols.ceremony.blame import DIGESTS, KEYS, Blame, Inquest, ViewHistory, Witness
from eigenkms.protocols.ceremony.effects import LogEvent
from eigenkms.protocols.ceremony.frame_log import FrameLog
from eigenkms.protocols.ceremony.genesis import GenesisSharingPhase
from eigenkms.protocols.ceremony.sharing import SharingPhase
from eigenkms.types import OperatorAddress
from eigenkms.wire.key_directory import KeyDirectory
from eigenkms.wire.session import Session

FAILED = "ended without a certificate"
"""The event of a session that the next boundary found so."""


class SessionObserver:
    """The observer of one session, whose boundary ``me`` first saw at ``opened_at``."""

    def __init__(self, session: Session, me: OperatorAddress, log: FrameLog, opened_at: float) -> None:
        self._session = session
        self._me = me
        self._log = log
        self._witness = Witness()
        self._started_at = opened_at
        self.advanced_at = opened_at
        """Until when what follows from the passing of time was done."""
        self.blame: Blame | None = None
        """The operators that were late, if the next boundary found this session without a certificate."""

    def start(self, now: float) -> None:
        """Note when this run of the operator began to observe."""
        self._started_at = now

    def forget_views(self) -> None:
        """Drop what was seen of views: another agreement begins."""
        self._witness.forget_views()

    def observe(self, keys: KeyDirectory, sources: BaseVersions, agreement: Agreement, now: float) -> None:
        """Note what is here by now."""
        witness = self._witness
        witness.see(KEYS, keys.owners, now)
        for dealings in sources:
            witness.see(dealings.ref, dealings.counted, now)
            if isinstance(dealings, GenesisSharingPhase):
                witness.see(DIGESTS, dealings.announced, now)
        if agreement.started:
            witness.enter(agreement.view, now, waits=agreement.is_waiting)

    def name_late(self, sources: BaseVersions, agreement: Agreement, now: float) -> list[LogEvent]:
        """Name the operators that were late, unless this run began after the end."""
        if now <= self._started_at:
            return []
        leads = {v: sources.leader(v, sources.source) for v in self._witness.entered}
        views = ViewHistory(agreement.view, leads, agreement.here)
        inquest = Inquest(self._session, self._me, self._witness, self._log, now)
        self.blame = inquest.blame(self._judged_dealings(sources, now).duties, views)
        return [LogEvent(FAILED, self.blame.named)]

    def _judged_dealings(self, sources: BaseVersions, now: float) -> SharingPhase:
        """Return those from the source that was known last.

        If it was known for less than a quarter of the time, those from the one before.
        """
        known = tuple(sources)
        old = [d for d in known if self._witness.since(d.ref) <= now - (now - self._started_at) / 4]
        return old[-1] if old else known[0]
