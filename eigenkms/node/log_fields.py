"""The log lines of one ceremony, from a boundary to the share that is erased, have one ``session``: the first eight hex digits
of its id.
"""

from eigenkms.types import SessionId


def named(session: SessionId) -> str:
    """As lines and fields name it."""
    return session.hex()[:8]


def of(session: SessionId | None, event: str, **fields: object) -> dict[str, dict[str, object]]:
    """The ``extra`` of a log line; ``fields`` beside ``session``, which is left out where there is none, and ``event``."""
    known = {} if session is None else {"session": named(session)}
    return {"fields": {**known, "event": event, **fields}}
