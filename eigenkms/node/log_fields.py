"""Fields of log lines about ceremonies.

All lines of one ceremony, from its boundary to the erasure of the share, have one value of ``session``. It is the first eight hex
digits of the session's id. A search for that value shows the ceremony from end to end.
"""

from eigenkms.types import SessionId


def short_id(session: SessionId) -> str:
    """Return a session's id as log lines show it, the first eight hex digits."""
    return session.hex()[:8]


def session_fields(session: SessionId | None, event: str, **fields: object) -> dict[str, dict[str, object]]:
    """Return the ``extra`` of a log line: session, event, and ``fields``."""
    known = {} if session is None else {"session": short_id(session)}
    return {"fields": {**known, "event": event, **fields}}
