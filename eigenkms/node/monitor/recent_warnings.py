"""The warnings and errors that a node logged last, for an operator who looks at its page and not at the log."""

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
    """``at`` is unix time of the last of ``count`` lines that say the same, or are of one kind that strangers can bring about."""

    at: float
    level: str
    message: str
    count: int = 1


class RecentWarnings(logging.Handler):
    """Keeps the last ``KEPT`` different ones, the newest last.

    What strangers can bring about has one place for each line of the code, whatever it names, so that they push nothing else out.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._kept: OrderedDict[tuple[str, str | int], RecentWarning] = OrderedDict()

    @classmethod
    @asynccontextmanager
    async def collect(cls) -> AsyncIterator[Self]:
        """Of all that this program logs meanwhile."""
        handler, logger = cls(), logging.getLogger("eigenkms")
        logger.addHandler(handler)
        try:
            yield handler
        finally:
            logger.removeHandler(handler)

    def emit(self, record: logging.LogRecord) -> None:
        """Any thread's; ``logging`` holds the handler's lock."""
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
        self.acquire()
        try:
            return tuple(self._kept.values())
        finally:
            self.release()
