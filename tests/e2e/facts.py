"""Facts read from outside a node: its status answer, its log file, its database once it is stopped."""

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any


def read_status(answer: bytes) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(answer)
    return status


def wait_line(log: Path, text: str, after: int, seconds: float) -> str:
    """The first whole line with ``text`` in what was written to ``log`` from byte ``after`` on. TimeoutError if none comes."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        written = log.read_bytes()[after:].decode(errors="replace") if log.exists() else ""
        for line in written.splitlines(keepends=True):
            if text in line and line.endswith("\n"):
                return line
        time.sleep(0.05)
    raise TimeoutError(f"no line with {text!r} in {log} within {seconds:g} s")


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


def query(database: Path, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a stopped node's database."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute(sql).fetchall()
