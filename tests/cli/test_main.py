"""Exit codes, two-line errors, and how the command ends when something outside ends it."""

import os
import signal
import subprocess
import sys

import pytest

from eigenkms.cli.main import VERBS, run, wants_debug
from eigenkms.cli.support import output
from eigenkms.errors import (
    ChainError,
    EigenKmsError,
    InputError,
    NetworkError,
    RefusedError,
    StorageError,
    VerificationError,
)
from tests.cli.conftest import CLUSTER_FLAGS, SCRIPT, clean_environment, eigenkms, lines
from tests.support.waiting import PATIENCE

GROUPS = {
    "evidence": ("list", "export", "verify"),
    "audit": ("show", "verify", "export"),
    "keys": ("new", "import", "show"),
    "secrets": ("get",),
    "share": ("repair",),
    "backup": ("create", "verify", "restore"),
    "config": ("example", "check"),
    "operator": ("register", "deregister", "update-socket", "rotate-peer-key", "allow", "list", "show"),
    "anchor": ("deploy", "allow", "show"),
    "devnet": ("run", "up", "down", "fund", "allow"),
    "devnet app": ("create", "release", "start", "stop", "terminate", "suspend", "resume", "show"),
}
SUBVERBS = [(*group.split(), verb) for group, verbs in GROUPS.items() for verb in verbs]


@pytest.mark.parametrize("verb", [*((v,) for v in VERBS if v not in GROUPS), *SUBVERBS])
def test_every_verb_has_help_with_an_example(
    verb: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """The help names the verb's options and shows a line that can be typed."""
    assert run([*verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Example:" in shown
    assert f"eigenkms {' '.join(verb)}" in shown
    assert "--debug" in shown


def test_help_lists_every_verb_without_loading_one() -> None:
    """Help starts no network stack and imports no verb."""
    code = (
        "import sys\nfrom eigenkms.cli.main import run\nassert run(['--help']) == 0\n"
        "print([m for m in sys.modules if m in ('trio', 'libp2p', 'eigenkms.crypto')"
        " or m.startswith('eigenkms.cli.') and m[13:] not in ('main', 'support', 'support.output', 'support.standard_streams')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    *shown, loaded = done.stdout.splitlines()
    assert loaded == "[]"
    assert all(any(line.strip().startswith(verb) for line in shown) for verb in VERBS)


@pytest.mark.parametrize(
    ("args", "error", "hint"),
    [
        (["encrpyt"], "error: no such verb 'encrpyt', did you mean encrypt?", "hint: see eigenkms --help"),
        (["inspect", "--nope"], "error: no such option '--nope'", "hint: see eigenkms inspect --help"),
        (
            ["keys", "new"],
            "error: missing option '--kind'. Choose from: bn254, ecdsa, p2p",
            "hint: see eigenkms keys new --help",
        ),
        (["encrypt"], "error: read app_id: it is not set", "hint: give --app-id, set EIGENKMS_APP_ID"),
        (["inspect", "missing"], "error: read missing: no such file or directory", None),
        (["encrypt", "--app-id", "abcd"], "error: read app_id 'abcd': it has 4 bytes, fewer than 5", None),
        (
            ["status", "--config", "missing"],
            "error: read configuration file missing: no such file",
            "hint: check",
        ),
    ],
)
def test_a_wrong_command_is_two_lines_and_exit_1(args: list[str], error: str, hint: str | None) -> None:
    """Nothing on stdout; stderr has error and hint and no traceback."""
    done = eigenkms(*args)
    assert (done.returncode, done.stdout) == (1, b"")
    told = lines(done.stderr)
    assert told[0].startswith(error)
    assert len(told) == (1 if hint is None else 2)
    if hint is not None:
        assert told[1].startswith(hint)


def test_no_verb_at_all_shows_the_help() -> None:
    """Help, and an exit code that says that nothing was done."""
    done = eigenkms()
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"Verbs:" in done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("a", hint="b"), 1),
        (StorageError("a", hint="b"), 1),
        (NetworkError("a", hint="b"), 2),
        (ChainError("a", hint="b"), 2),
        (RefusedError("a", hint="b"), 3),
        (VerificationError("a", hint="b"), 4),
    ],
)
def test_an_error_decides_the_exit_code(
    error: EigenKmsError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also from deep inside nurseries' groups."""
    for raised in (error, BaseExceptionGroup("nursery", [ExceptionGroup("nursery", [error])])):
        assert output.exit_for(raised, debug=False) == code
        assert capsys.readouterr() == ("", "error: a\nhint: b\n")


def test_a_defect_is_told_without_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Its text might hold a secret; with --debug the traceback is there. A defect beside a known error
    wins.
    """
    group = ExceptionGroup("nursery", [InputError("known"), ValueError("the secret")])
    assert output.exit_for(group, debug=False) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ValueError inside eigenkms\nhint: ")
    assert "secret" not in told
    assert output.exit_for(group, debug=True) == 1
    assert "the secret" in capsys.readouterr().err


def test_an_interrupt_wins_over_what_it_broke() -> None:
    """Ctrl-C during network work arrives in a group with the errors of what was torn down."""
    group = BaseExceptionGroup("nursery", [NetworkError("lost"), KeyboardInterrupt()])
    assert output.exit_for(group, debug=False) == 130


def test_debug_shows_the_traceback() -> None:
    """Before or after the verb, or by the environment; not when it belongs to what follows --."""
    for done in (
        eigenkms("--debug", "inspect", "missing"),
        eigenkms("inspect", "missing", "--debug"),
        eigenkms("inspect", "missing", EIGENKMS_DEBUG="1"),
    ):
        assert done.returncode == 1
        assert b"Traceback" in done.stderr
        assert lines(done.stderr)[-1] == "error: read missing: no such file or directory"
    assert not wants_debug(["exec", "--", "cmd", "--debug"])


def test_ctrl_c_ends_with_130_and_says_nothing(mpk: str) -> None:
    """While it reads its input."""
    process = subprocess.Popen(
        [SCRIPT, "encrypt", "--app-id", "my-app", "--mpk", mpk, "-o", "/dev/null", "--debug"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
    )
    assert process.stdin is not None
    # More than a pipe holds: when this returns, the command is reading.
    process.stdin.write(bytes(1_000_000))
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (130, b"")
    assert b"error:" not in err


@pytest.mark.parametrize("version", ["1", "2"])
def test_ctrl_c_without_debug_shows_no_traceback(mpk: str, version: str) -> None:
    """Nothing at all on stderr."""
    process = subprocess.Popen(
        [SCRIPT, "encrypt", "--app-id", "my-app", "--mpk", mpk, "--format", version, *CLUSTER_FLAGS],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=clean_environment(),
    )
    assert process.stdin is not None
    process.stdin.write(bytes(1_000_000))
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (130, b"")


def test_a_reader_that_went_away_is_no_error() -> None:
    """As a shell pipeline has it: quiet, and the code of SIGPIPE."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [SCRIPT, "version"],
        stdout=write,
        stderr=subprocess.PIPE,
        env=clean_environment(),
        check=False,
        timeout=PATIENCE,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_full_disk_behind_stdout_is_an_error() -> None:
    """Not a silent success."""
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = subprocess.run(
            [SCRIPT, "version"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=clean_environment(),
            check=False,
            timeout=PATIENCE,
        )
    assert done.returncode == 1
    assert lines(done.stderr)[0] == "error: write stdout: no space left on device"
