"""Verbs that print facts: for people aligned, for programs JSON with the documented fields."""

import json
import subprocess

import pytest

from eigenkms import __version__
from eigenkms.cli.status import EXIT_CODES
from eigenkms.client.network_status import assess_health
from tests.cli.conftest import eigenkms
from tests.support.waiting import PATIENCE


def test_version_names_backends_and_formats() -> None:
    """What a report of a defect begins with."""
    facts = json.loads(eigenkms("version", "--json").stdout)
    assert facts.keys() == {"version", "python", "backends", "fallbacks", "protocol", "formats"}
    assert facts["version"] == __version__
    assert facts["backends"].keys() == {"bls12-381", "bn254"}
    assert facts["formats"] == {"backup": 1, "ciphertext": 2, "evidence": 2, "keystore": 1, "store": 2}
    shown = eigenkms("version").stdout.decode()
    assert f"version   {__version__}\n" in shown
    assert "protocol  2\n" in shown


def test_the_short_version_is_one_line() -> None:
    """As other tools have it."""
    assert eigenkms("--version").stdout.decode() == f"eigenkms {__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_are_a_script_for_the_shell(shell: str) -> None:
    """It names our command and the variable that asks for completions."""
    done = eigenkms("completions", shell)
    assert done.returncode == 0
    assert b"_EIGENKMS_COMPLETE" in done.stdout
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=done.stdout, check=True, timeout=PATIENCE)


def test_completion_completes_verbs_and_options() -> None:
    """What the script asks the command while one types."""

    def complete(words: str, position: int) -> set[str]:
        done = eigenkms(_EIGENKMS_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(position))
        return {line.partition(",")[2] for line in done.stdout.decode().splitlines()}

    assert complete("eigenkms ", 1) >= {"encrypt", "decrypt", "node", "version"}
    assert complete("eigenkms encrypt --app-i", 2) == {"--app-id"}


@pytest.mark.parametrize(
    ("reachable", "total", "threshold", "code"),
    [(4, 4, 3, 0), (3, 4, 3, 1), (2, 4, 3, 2), (0, 4, 3, 2), (1, 1, 1, 0)],
)
def test_health_is_an_exit_code(reachable: int, total: int, threshold: int, code: int) -> None:
    """0 healthy, 1 degraded, 2 cannot serve."""
    assert EXIT_CODES[assess_health(reachable, total, threshold).value] == code
