"""The log of a node on stderr: a line an event, for people or as JSON for programs.

A record may carry ``extra={"fields": {...}}``: JSON-able facts that stand as fields of the JSON line.
Whatever belongs to a session has its id's first eight digits as ``session``.
Libraries speak only from *error* on, unless the node itself is set to *debug*.
"""

import json
import logging
import sys
import time

from eigenkms.printable import printable


class TextFormatter(logging.Formatter):
    """``2026-01-02T03:04:05.678Z info     message``; a traceback stands below it, indented, so that none of its lines can pass as
    another record.
    """

    def format(self, record: logging.LogRecord) -> str:
        line = f"{timestamp(record.created)} {record.levelname.lower():<8} {record.getMessage()}"
        below = [] if record.exc_info is None else self.formatException(record.exc_info).split("\n")
        return "\n".join([printable(line), *(f"  {printable(each)}" for each in below)])


class _LineFormatter(logging.Formatter):
    """The message alone."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(record.getMessage())


class JsonFormatter(logging.Formatter):
    """``{"time": …, "level": …, "logger": …, "message": …, …fields}`` in one line."""

    def format(self, record: logging.LogRecord) -> str:
        facts = dict(getattr(record, "fields", {}))
        facts |= {
            "time": timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info is not None:
            facts["traceback"] = self.formatException(record.exc_info)
        return json.dumps(facts, default=str)


def timestamp(seconds: float) -> str:
    """UTC with milliseconds, as RFC 3339 has it."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds * 1000) % 1000:03d}Z"


def tame_warnings() -> None:
    """Verbs that keep no log: Python prints what is logged from *warning* on to stderr, as it is unless told otherwise."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_LineFormatter())


def start_logging(level: str, form: str) -> None:
    """Send the process's log to stderr. ``level`` and ``form`` as in the settings: ``auto`` is text for a terminal, else JSON."""
    handler = logging.StreamHandler(sys.stderr)
    as_text = sys.stderr.isatty() if form == "auto" else form == "text"
    handler.setFormatter(TextFormatter() if as_text else JsonFormatter())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO if level == "debug" else logging.ERROR)
    logging.getLogger("eigenkms").setLevel(level.upper())
