"""docs/tutorial.md, followed word by word."""

from pathlib import Path

import pytest

from tests.docs.run_doc_commands import (
    PAUSE,
    Step,
    Terminal,
    follow_page,
    make_clone,
    missing_line,
    terminals,
)
from tests.docs.test_other_commands import enter, follow_other_pages, http_variables

NEW_SHARES = "boundary at block 80: new shares of the same key, version 1795446667, after 1.0 s"
"""The line of the page that its pause is for."""


class Visitor:
    """Does between the tutorial's steps what does not change them."""

    def __init__(self, clone: Path, folder: Path, shells: dict[int, Terminal]) -> None:
        self._clone = clone
        self._folder = folder
        self._shells = shells
        self.done: list[str] = []

    def begin(self) -> None:
        """Let the first network answer over HTTP too."""
        enter(self._shells[1], f"export {http_variables()}")

    def __call__(self, step: Step) -> None:
        if PAUSE.fullmatch(step.command):
            self._shells[1].wait_for(NEW_SHARES)
            self.done.append("new shares")
        elif step.command == "eigenkms status":
            follow_other_pages(self._clone, self._folder / "others", self._shells[3])
            self.done.append("other pages")
        elif step.command == "^C":
            enter(self._shells[1], "unset ${!EIGENKMS_HTTP_*}")
            self.done.append("stopped")


@pytest.mark.e2e
@pytest.mark.slow
def test_the_tutorial_works_word_by_word(tmp_path: Path) -> None:
    """Each command succeeds, unless the page asks for its exit code next; each prints what the page shows. The commands of the
    other pages work on the tutorial's first network.
    """
    clone = make_clone(tmp_path / "clone")
    with terminals(clone, tmp_path, (1, 2, 3)) as shells:
        network_client = Visitor(clone, tmp_path, shells)
        network_client.begin()
        assert follow_page("docs/tutorial.md", shells, network_client) > 15
    assert network_client.done == ["other pages", "new shares", "stopped", "stopped"]
    assert {path.name for path in clone.iterdir()} == {"scripts", ".venv"}


def test_the_comparison_can_fail() -> None:
    """Loose, but not blind: order, words, single digits and exit codes count."""
    printed = ["2 of 4 operators answered", "serving    4", "head 71", "0xabcdef0123 registered"]
    assert missing_line(("serving 4", "…", "head 70"), printed) is None
    assert missing_line(("0x0123456789 registered",), printed) is None
    assert missing_line(("head 70", "serving 4"), printed) == "serving 4"
    assert missing_line(("serving 3",), printed) == "serving 3"
    assert missing_line(("0xabcdef0123 refused",), printed) == "0xabcdef0123 refused"
