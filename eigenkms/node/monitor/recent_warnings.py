"""The last warnings and errors of a node's log, for its status page."""

import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Self

from eigenkms.node.monitor.log_bounds import REACHED

KEPT: Final = 20
MAX_CHARACTERS: Final = 600


@dataclass(frozen=True)
class RecentWarning:
    """``count`` equal log lines, or lines of one kind that strangers can cause.

    ``at`` is the unix time of the last one.
    """

    at: float
    level: str
    message: str
    count: int = 1

    def to_json(self) -> dict[str, object]:
        """Return the object of ``/status.json``."""
        return {"time": round(self.at, 3), "level": self.level, "message": self.message, "count": self.count}


class RecentWarnings(logging.Handler):
    """Keeps the last ``KEPT`` different ones, the newest last.

    Lines that strangers can cause have one place for each line of the code, whatever they name, so they evict nothing else.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._kept: OrderedDict[tuple[str, str | int], RecentWarning] = OrderedDict()

    @classmethod
    @asynccontextmanager
    async def collect(cls) -> AsyncIterator[Self]:
        """Collect the warnings that this program logs within the block."""
        handler, logger = cls(), logging.getLogger("eigenkms")
        logger.addHandler(handler)
        try:
            yield handler
        finally:
            logger.removeHandler(handler)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record. Any thread may call it; ``logging`` holds the handler's lock."""
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001 - a bad format string is the message's defect, as logging has it
            self.handleError(record)
            return
        message = text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 1] + "…"
        level = record.levelname.lower()
        key = (record.name, record.lineno) if record.name in REACHED else (level, message)
        old = self._kept.pop(key, None)
        self._kept[key] = RecentWarning(time.time(), level, message, 1 if old is None else old.count + 1)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def list(self) -> tuple[RecentWarning, ...]:
        """Return the warnings that are kept, the newest last."""
        self.acquire()
        try:
            return tuple(self._kept.values())
        finally:
            self.release()
