"""Manual pages and completions: made from the command line, and what ``man`` and the shells accept."""

import subprocess
import sys
from pathlib import Path

import pytest

from eigenkms.cli.completions import script
from eigenkms.cli.main import VERBS
from tests.support.doc_pages import ROOT
from tests.support.waiting import PATIENCE

MAN = sorted((ROOT / "packaging" / "man").glob("*.1"))
SHELLS = {"bash": "eigenkms.bash", "zsh": "_eigenkms", "fish": "eigenkms.fish"}


def run(*command: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE
    )


def test_every_verb_has_a_page() -> None:
    """And so has the command; that they are current is tested with the rest that scripts/docs makes."""
    assert {path.name for path in MAN} == {"eigenkms.1", *(f"eigenkms-{verb}.1" for verb in VERBS)}


@pytest.mark.needs("mandoc")
def test_mandoc_finds_no_fault() -> None:
    """But that they have no date, which would make them others each day."""
    told = run("mandoc", "-T", "lint", "-W", "warning", *MAN).stdout.splitlines()
    assert [line for line in told if "missing date" not in line] == []
    assert len(told) == len(MAN)


@pytest.mark.needs("groff")
def test_groff_finds_no_fault() -> None:
    """The formatter that most systems have behind ``man``."""
    for page in MAN:
        done = run("groff", "-Kutf8", "-man", "-Tutf8", "-ww", "-z", page)
        assert (done.returncode, done.stderr) == (0, ""), page.name


@pytest.mark.needs("mandoc")
def test_a_page_reads_as_the_help_does() -> None:
    """Options with their dashes, lines of examples as they are, an option of a verb's verb in its section."""
    shown = run("mandoc", "-T", "ascii", ROOT / "packaging" / "man" / "eigenkms-devnet.1").stdout
    plain = shown.replace("_\b", "")
    while "\b" in plain:
        at = plain.index("\b")
        plain = plain[: at - 1] + plain[at + 1 :]
    assert "eigenkms-devnet - Run a whole network on this machine" in plain
    section = plain.partition("\neigenkms devnet up\n")[2].partition("\neigenkms devnet ")[0]
    assert "--no-nodes" in section
    assert "eigenkms devnet up --dir ./devnet\n" in section


@pytest.mark.parametrize(
    "shell", ["bash", *(pytest.param(shell, marks=pytest.mark.needs(shell)) for shell in ("zsh", "fish"))]
)
def test_the_shell_reads_its_completions(shell: str) -> None:
    """The file that is shipped is what the verb prints, and the shell can parse it."""
    file = ROOT / "packaging" / "completions" / SHELLS[shell]
    assert file.read_text() == script(shell) + "\n"
    done = run(shell, "-n", file)
    assert (done.returncode, done.stderr) == (0, "")


def test_bash_completes_with_the_shipped_file(tmp_path: Path) -> None:
    """A verb, and an option of it, as after a press of TAB."""
    command = Path(sys.executable).with_name("eigenkms")
    file = ROOT / "packaging" / "completions" / "eigenkms.bash"
    for words, wanted in (
        (("eigenkms", "conf"), "config"),
        (("eigenkms", "config", "check", "--cl"), "--client"),
    ):
        line = f"""
            PATH={command.parent}:$PATH; source {file}
            COMP_WORDS=({" ".join(words)}); COMP_CWORD={len(words) - 1}
            _eigenkms_completion eigenkms; echo "${{COMPREPLY[@]}}"
        """
        assert run("bash", "-c", line).stdout.split() == [wanted]
