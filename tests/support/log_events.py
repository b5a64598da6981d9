"""Log records by their event: tests assert on the event and its fields, as sentences are free to change."""

from typing import Any

import pytest


def events(caplog: pytest.LogCaptureFixture, name: str, **wanted: Any) -> list[dict[str, Any]]:
    """Return the fields of the records of an event, in order, that have the wanted values."""
    found: list[dict[str, Any]] = [getattr(record, "fields", {}) for record in caplog.records]
    return [
        fields
        for fields in found
        if fields.get("event") == name and all(fields.get(key) == value for key, value in wanted.items())
    ]


def event_levels(caplog: pytest.LogCaptureFixture, name: str) -> list[str]:
    """Return the level names of the records of an event, in order."""
    return [r.levelname for r in caplog.records if getattr(r, "fields", {}).get("event") == name]
