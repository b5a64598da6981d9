"""The warnings and errors that a node logged last, for an operator who looks at its page and not at the log."""

import logging
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, Self

KEPT: Final = 20
MAX_CHARACTERS: Final = 600


@dataclass(frozen=True)
class Warned:
    """``at`` is unix time of the last of ``count`` lines that say the same."""

    at: float
    level: str
    message: str
    count: int = 1


class RecentWarnings(logging.Handler):
    """Keeps the last ``KEPT`` different ones, the newest last."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._kept: deque[Warned] = deque(maxlen=KEPT)

    @classmethod
    @asynccontextmanager
    async def kept(cls) -> AsyncIterator[Self]:
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
        new = Warned(time.time(), record.levelname.lower(), message)
        for old in self._kept:
            if (old.level, old.message) == (new.level, message):
                self._kept.remove(old)
                new = replace(new, count=old.count + 1)
                break
        self._kept.append(new)

    def list(self) -> tuple[Warned, ...]:
        self.acquire()
        try:
            return tuple(self._kept)
        finally:
            self.release()
