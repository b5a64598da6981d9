"""Facts read from outside a node: its status answer and its log file."""

import json
from pathlib import Path
from typing import Any

from tests.support.waiting import wait_until


def read_status(answer: bytes) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(answer)
    return status


def first_line(log: Path, text: str, after: int) -> str | None:
    """The first whole line with ``text`` in what was written to ``log`` from byte ``after`` on."""
    written = log.read_bytes()[after:].decode(errors="replace") if log.exists() else ""
    lines = written.splitlines(keepends=True)
    return next((line for line in lines if text in line and line.endswith("\n")), None)


def wait_line(log: Path, text: str, after: int) -> str:
    """That line, once it is there."""
    line = wait_until(lambda: first_line(log, text, after), f"a line with {text!r} in {log}")
    assert line is not None
    return line


def events(log: Path, name: str) -> list[dict[str, Any]]:
    """All log lines that tell of an event."""
    found = []
    for line in log.read_text(errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and record.get("event") == name:
            found.append(record)
    return found
