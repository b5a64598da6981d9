"""docs/tutorial.md, followed word by word."""

from pathlib import Path

import pytest

from tests.docs.following import PAUSE, Step, follow_page, make_clone, missing_line, terminals

NEW_SHARES = "boundary at block 80: new shares of the same key, version 1795446667, after 1.0 s"
"""The line of the page that its pause is for."""


@pytest.mark.e2e
@pytest.mark.slow
def test_the_tutorial_works_word_by_word(tmp_path: Path) -> None:
    """Each command succeeds, unless the page asks for its exit code next; each prints what the page shows."""
    clone = make_clone(tmp_path / "clone")
    pauses: list[Step] = []
    with terminals(clone, tmp_path, (1, 2)) as shells:

        def wait(step: Step) -> None:
            if PAUSE.fullmatch(step.command):
                shells[1].wait_for(NEW_SHARES)
                pauses.append(step)

        assert follow_page("docs/tutorial.md", shells, wait) > 15
    assert len(pauses) == 1
    assert {path.name for path in clone.iterdir()} == {"scripts", ".venv"}


def test_the_comparison_can_fail() -> None:
    """Loose, but not blind: order, words, single digits and exit codes count."""
    printed = ["2 of 4 operators answered", "serving    4", "head 71", "0xabcdef0123 registered"]
    assert missing_line(("serving 4", "…", "head 70"), printed) is None
    assert missing_line(("0x0123456789 registered",), printed) is None
    assert missing_line(("head 70", "serving 4"), printed) == "serving 4"
    assert missing_line(("serving 3",), printed) == "serving 3"
    assert missing_line(("0xabcdef0123 refused",), printed) == "0xabcdef0123 refused"
