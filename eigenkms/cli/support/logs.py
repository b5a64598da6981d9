"""The log of a node on stderr: a line for each event, as text or as JSON.

A record may carry ``extra={"fields": {...}}``, which become fields of the JSON line. Their values must be JSON. An event of a
session has the first eight hex digits of its id as ``session``. Libraries log from the level *error* on, unless the node's level is
*debug*.
"""

import json
import logging
import sys
import time

from eigenkms.printable import printable


class TextFormatter(logging.Formatter):
    """Formats a record as ``2026-01-02T03:04:05.678Z info     message``.

    The lines of a traceback follow. They are indented, so that none of them looks like another record.
    """

    def format(self, record: logging.LogRecord) -> str:
        line = f"{timestamp(record.created)} {record.levelname.lower():<8} {record.getMessage()}"
        below = [] if record.exc_info is None else self.formatException(record.exc_info).split("\n")
        return "\n".join([printable(line), *(f"  {printable(each)}" for each in below)])


class _LineFormatter(logging.Formatter):
    """Formats a record as its message alone."""

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
    """Make the records of a verb without a log printable.

    Python prints records from *warning* on to stderr, and would print control characters of foreign text with them.
    """
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_LineFormatter())


def start_logging(level: str, form: str) -> None:
    """Send the log of this process to stderr.

    ``level`` and ``form`` are as in the settings. The form ``auto`` is text for a terminal, and JSON otherwise.
    """
    handler = logging.StreamHandler(sys.stderr)
    as_text = sys.stderr.isatty() if form == "auto" else form == "text"
    handler.setFormatter(TextFormatter() if as_text else JsonFormatter())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO if level == "debug" else logging.ERROR)
    logging.getLogger("eigenkms").setLevel(level.upper())
