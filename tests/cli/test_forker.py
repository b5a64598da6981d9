"""The command that other tests fork fails as the installed one does."""

from pathlib import Path

from tests.cli.conftest import eigenkms


def test_a_command_that_raises_shows_its_traceback(tmp_path: Path) -> None:
    """Else no test could see that a verb ended with one."""
    done = eigenkms("version", cwd=tmp_path / "gone")
    assert done.returncode == 1
    assert b"Traceback" in done.stderr
    assert b"FileNotFoundError" in done.stderr
