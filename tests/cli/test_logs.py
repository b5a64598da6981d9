"""In which form a node logs: for people at a terminal, for programs elsewhere."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from eigenkms.cli.support.logs import start_logging


class Stream(io.StringIO):
    """What stderr may be."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("eigenkms")
    before = (list(root.handlers), root.level, own.level)
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    own.setLevel(before[2])


@pytest.mark.parametrize(
    ("form", "terminal", "is_json"),
    [
        ("auto", True, False),
        ("auto", False, True),
        ("text", False, False),
        ("json", True, True),
    ],
)
def test_the_form_suits_the_reader(
    monkeypatch: pytest.MonkeyPatch, form: str, terminal: bool, is_json: bool
) -> None:
    """Text at a terminal, JSON elsewhere, unless one of them is asked for."""
    stream = Stream(terminal=terminal)
    monkeypatch.setattr("sys.stderr", stream)
    start_logging("info", form)
    logging.getLogger("eigenkms.test").info("hello", extra={"fields": {"session": "9d3c5bd9"}})
    line = stream.getvalue().splitlines()[-1]
    assert line.startswith("{") == is_json
    if is_json:
        assert json.loads(line)["session"] == "9d3c5bd9"
    else:
        assert line.endswith("hello")
