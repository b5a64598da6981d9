"""A bound on the log lines that strangers can cause.

A request that fails, a made-up application or a slow client may be worth a line, and strangers can bring about any number of them.
So each place in the code that they reach writes ``LINES`` records a minute. Those beyond are written at debug level and counted,
and the first one of a later minute says how many there were.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

LINES: Final = 10
PERIOD_SECONDS: Final = 60.0
REACHED: Final = (
    "eigenkms.attestation.jwks",
    "eigenkms.authorisation.pipeline",
    "eigenkms.node.http.connection",
    "eigenkms.node.http.server",
    "eigenkms.p2p.connections",
    "eigenkms.p2p.dialing.connector",
    "eigenkms.p2p.dialing.dialer",
    "eigenkms.p2p.gossip",
    "eigenkms.p2p.host",
    "eigenkms.p2p.listening.listener",
    "eigenkms.p2p.muxer",
    "eigenkms.p2p.reading",
    "eigenkms.p2p.rpc.server",
    "eigenkms.p2p.rpc.client",
    "eigenkms.p2p.swarm",
)
"""Loggers of what strangers can bring about."""


@dataclass(slots=True)
class _Minute:
    since: float
    written: int = 0
    left_out: int = 0


class LineBounds(logging.Filter):
    """A filter of loggers, so that all handlers see the same.

    ``clock`` is in seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._minutes: dict[tuple[str, int], _Minute] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Pass a record, or what is left of it.

        Any thread's; two at the same moment may both be the last one.
        """
        if record.levelno < logging.INFO:
            return True
        now, place = self._clock(), (record.name, record.lineno)
        minute = self._minutes.get(place)
        if minute is None or now - minute.since >= PERIOD_SECONDS:
            left_out = 0 if minute is None else minute.left_out
            minute = self._minutes[place] = _Minute(now)
            if left_out:
                record.msg = (
                    f"{record.getMessage()} (and {left_out} more like it before, written at debug level only)"
                )
                record.args = None
        if minute.written < LINES:
            minute.written += 1
            return True
        minute.left_out += 1
        record.levelno, record.levelname = logging.DEBUG, logging.getLevelName(logging.DEBUG)
        return logging.getLogger(record.name).isEnabledFor(logging.DEBUG)


@contextmanager
def bounded_lines(clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Bound what ``REACHED`` write for the length of the block."""
    bounds, loggers = LineBounds(clock), [logging.getLogger(name) for name in REACHED]
    for logger in loggers:
        logger.addFilter(bounds)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(bounds)
