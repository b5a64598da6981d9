"""A program started by ``exec`` has the secrets in its environment and is the very process; ``secrets get`` prints them."""

import json
import re
import shlex
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from eigenkms.cli import exec as verb
from eigenkms.cli.exec import choose
from eigenkms.cli.secrets import render
from eigenkms.cli.support.programs import find_program
from eigenkms.config.environment import without_own_secrets
from eigenkms.config.schema import SETTINGS
from eigenkms.errors import InputError
from tests.cli.conftest import clean_environment, eigenkms, lines
from tests.support.waiting import PATIENCE

SECRETS = {"API_KEY": "two words\nand $more", "MODE": "prod"}

BECOME = """
import json, sys
from eigenkms.cli.exec import become
program, secrets, only, *words = sys.argv[1:]
become(program, words, json.loads(secrets), json.loads(only))
"""


def become(
    *words: str,
    secrets: dict[str, str] | None = None,
    only: tuple[str, ...] = (),
    program: str = sys.executable,
    **env: str,
) -> "subprocess.Popen[bytes]":
    """A process that becomes ``program``."""
    given = json.dumps(SECRETS if secrets is None else secrets)
    return subprocess.Popen(
        [sys.executable, "-c", BECOME, program, given, json.dumps(only), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(**env),
    )


def environment(process: "subprocess.Popen[bytes]") -> dict[str, str]:
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, b"")
    found: dict[str, str] = json.loads(out)
    return found


OWN_SECRETS = (
    "EIGENKMS_PASSWORD",
    "EIGENKMS_ACCOUNT_PASSWORD",
    "EIGENKMS_BACKUP_PASSWORD",
    "EIGENKMS_ECDSA_KEY",
    "EIGENKMS_RPC_URL",
    "EIGENKMS_ANCHOR_RPC_URL",
    "EIGENKMS_WEB3SIGNER_URL",
)
SHOW = ("python", "-c", "import json, os; print(json.dumps(dict(os.environ)))")


def test_the_program_has_the_secrets_and_what_there_was() -> None:
    """A secret wins over a variable of the same name; this command's own secrets are not passed on."""
    passed = {"MODE": "dev", "OTHER": "kept", "EIGENKMS_TIMEOUT": "7", "EIGENKMS_CONFIG": "client.toml"}
    ours = dict.fromkeys(OWN_SECRETS, "s3cret")
    found = environment(become(*SHOW, **passed, **ours))
    assert {name: found.get(name) for name in (*SECRETS, *passed)} == passed | SECRETS
    assert {name: value for name, value in found.items() if value == "s3cret"} == {}


def test_a_variable_of_ours_that_nobody_knows_counts_as_secret() -> None:
    """So a password that comes later needs no entry anywhere; settings without a secret are passed."""
    assert without_own_secrets({"EIGENKMS_NEW_PASSWORD": "p", "EIGENKMSX": "x"}) == {"EIGENKMSX": "x"}
    settings = {each.variable: "1" for each in SETTINGS.values()}
    held_back = settings.keys() - without_own_secrets(settings).keys()
    assert held_back == {"EIGENKMS_RPC_URL", "EIGENKMS_ANCHOR_RPC_URL", "EIGENKMS_WEB3SIGNER_URL"}


def test_only_those_named_are_passed() -> None:
    """And a name that the release has not is refused before anything runs."""
    found = environment(become(*SHOW, only=("API_KEY",), MODE="dev"))
    assert (found["API_KEY"], found["MODE"]) == (SECRETS["API_KEY"], "dev")
    with pytest.raises(InputError, match="read secret 'OTHER': the release has none of this name") as error:
        choose({"A\x1b": "hidden"}, ("OTHER",))
    assert error.value.hint == r"it has 'A\x1b'"


@pytest.mark.slow
def test_the_program_is_the_very_process() -> None:
    """Its words, process id, exit code and the signal that ends it; a broken pipe ends it, as it would have."""
    process = become(
        "python", "-c", "import os, sys; print(os.getpid(), sys.argv[1]); sys.exit(7)", "--debug"
    )
    out, _ = process.communicate(timeout=PATIENCE)
    assert (out.decode().split(), process.returncode) == ([str(process.pid), "--debug"], 7)
    process = become("sh", "-c", "kill -TERM $$", program="/bin/sh")
    process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGTERM
    process = become("sh", "-c", "kill -PIPE $$", program="/bin/sh")
    process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGPIPE


def test_no_descriptor_is_left_to_the_program() -> None:
    """But stdin, stdout and stderr."""
    process = become("ls", "/proc/self/fd", program="/bin/ls")
    out, _ = process.communicate(timeout=PATIENCE)
    assert len(out.split()) == 4, "the fourth is that of the folder it lists"


def test_the_releases_path_finds_no_other_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs was found before the secrets were fetched."""
    false = tmp_path / "env"
    false.write_text("#!/bin/sh\necho false\n")
    false.chmod(0o755)
    process = become("env", secrets={"PATH": str(tmp_path)}, program="/usr/bin/env")
    out, _ = process.communicate(timeout=PATIENCE)
    assert f"PATH={tmp_path}" in out.decode()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program("env") == str(false)


def test_a_program_that_is_not_there_costs_no_request() -> None:
    """Exit code 1; the chain that would be asked is nobody's."""
    done = eigenkms("exec", "--app-id", "0x" + "ab" * 20, "--", "no-such-program")
    assert (done.returncode, done.stdout) == (1, b"")
    assert lines(done.stderr)[0] == "error: run no-such-program: there is no such program"


def _elf(loader: bytes) -> bytes:
    """An ELF file of 64 bits that asks for this loader, and has nothing else (elf(5))."""
    name = loader + b"\0"
    header = (
        b"\x7fELF\x02\x01\x01"
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    )
    return header + struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(name), len(name), 1) + name


UNUSABLE = {
    "no x bit": (b"#!/bin/sh\n", 0o644, "is not executable", "chmod +x"),
    "interpreter": (
        b"#!/no/such/python3 -u\n",
        0o755,
        "its interpreter '/no/such/python3' does not exist",
        "install",
    ),
    "interpreter is a folder": (b"#!/usr\n", 0o755, "its interpreter '/usr' is not executable", "install"),
    "CR LF": (b"#!/bin/sh\r\necho\r\n", 0o755, "its first line ends with CR LF", "correct"),
    "no interpreter": (b"#! \n", 0o755, "its first line #! names no interpreter", "correct"),
    "loader": (
        _elf(b"/lib/ld-musl-none.so.1"),
        0o755,
        "its loader '/lib/ld-musl-none.so.1' does not exist",
        "install",
    ),
}


@pytest.mark.parametrize(("content", "mode", "reason", "hint"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_program_that_cannot_run_is_told_apart_before_anybody_is_asked(
    content: bytes, mode: int, reason: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a path and by PATH: what the kernel calls "no such file", or says once the secrets are here."""
    program = tmp_path / "server"
    program.write_bytes(content)
    program.chmod(mode)
    monkeypatch.setenv("PATH", f"/no/such/folder:{tmp_path}")
    for name in (str(program), "server"):
        with pytest.raises(InputError, match=rf"^run {name}: .*{re.escape(reason)}") as error:
            find_program(name)
        assert hint in str(error.value.hint)
    with pytest.raises(OSError, match=r"^\[Errno"):  # the kernel would not have run it either
        subprocess.run([program], check=True)


def test_a_folder_is_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named as a path it is called one; in PATH it stands in nobody's way."""
    (tmp_path / "first" / "server").mkdir(parents=True)
    (tmp_path / "second").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/first")
    with pytest.raises(InputError, match=rf"^run {tmp_path}/first: it is a folder"):
        find_program(f"{tmp_path}/first")
    with pytest.raises(InputError, match=r"^run \./no/such: there is no such file"):
        find_program("./no/such")
    with pytest.raises(InputError, match=r"^run server: there is no such program"):
        find_program("server")
    program = tmp_path / "second" / "server"
    program.symlink_to(sys.executable)
    monkeypatch.setenv("PATH", f"{tmp_path}/first:{tmp_path}/second")
    assert find_program("server") == str(program)


@pytest.mark.parametrize("damage", [b"", b"\x7fELF", _elf(b"x")[:100], _elf(b"")[:32] + b"\xff" * 64])
def test_a_damaged_program_is_the_kernels_to_refuse(damage: bytes, tmp_path: Path) -> None:
    """What is no whole ELF file says nothing of a loader."""
    program = tmp_path / "server"
    program.write_bytes(damage)
    program.chmod(0o755)
    assert find_program(str(program)) == str(program)


def test_exec_of_what_cannot_run_asks_nobody(tmp_path: Path) -> None:
    """The command itself: exit code 1, and the RPC is nobody's."""
    program = tmp_path / "server"
    program.write_text("#!/no/such/sh\n")
    program.chmod(0o755)
    done = eigenkms("exec", "--app-id", "0x" + "ab" * 20, "--", program)
    assert (done.returncode, done.stdout) == (1, b"")
    assert lines(done.stderr) == [
        f"error: run {program}: its interpreter '/no/such/sh' does not exist",
        f"hint: install what it needs, or correct the file {program}",
    ]


def test_a_command_is_needed() -> None:
    """Exit code 1 with a sentence."""
    done = eigenkms("exec", "--app-id", "0x" + "ab" * 20)
    assert done.returncode == 1
    assert lines(done.stderr)[0].startswith("error: missing argument")


@pytest.mark.parametrize(
    ("content", "mode", "secrets", "words"),
    [
        ("true", 0o755, SECRETS, "exec format error"),
        ("#!/bin/sh\n", 0o755, {"A": "x" * 2**18}, "argument list too long"),
    ],
)
def test_what_the_system_does_not_run_is_told(
    content: str,
    mode: int,
    secrets: dict[str, str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By its reason, without the environment."""
    program = tmp_path / "program"
    program.write_text(content)
    program.chmod(mode)
    before = {n: signal.getsignal(n) for n in (signal.SIGPIPE, signal.SIGXFSZ)}
    try:
        with pytest.raises(InputError, match=f"run {program}: {words}"):
            verb.become(str(program), ["program"], secrets, ())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_options_after_the_command_are_its_own() -> None:
    """With and without the two dashes."""
    parser = verb.command.make_context(
        "exec", ["--app-id", "a", "ls", "--only", "x"], resilient_parsing=False
    )
    assert parser.params["command"] == ("ls", "--only", "x")
    parser = verb.command.make_context("exec", ["--only", "y", "--", "ls", "--only", "x"])
    assert (parser.params["only"], parser.params["command"]) == (("y",), ("ls", "--only", "x"))


# -- secrets get -------------------------------------------------------------------------------------------------


def test_one_secret_is_printed_as_it_is() -> None:
    """To the byte, without a line end of ours."""
    assert render(SECRETS, "API_KEY", as_json=False) == SECRETS["API_KEY"]


def test_all_secrets_are_printed_for_a_shell() -> None:
    """Which reads from it what they are."""
    text = render(SECRETS, None, as_json=False)
    shown = subprocess.run(
        ["sh", "-c", f'{text}\nprintf "%s|%s" "$API_KEY" "$MODE"'], capture_output=True, check=True, text=True
    )
    assert shown.stdout == "|".join(SECRETS.values())
    assert shlex.split(text) == [f"{name}={value}" for name, value in SECRETS.items()]


@pytest.mark.parametrize("name", ["x; touch y #", "$(id)", "A B", "1A", "A\nB", "é"])
def test_a_name_that_a_shell_would_run_is_not_printed_for_one(name: str) -> None:
    """It is refused, its value is not shown, and --json has it."""
    with pytest.raises(InputError, match="no variable can have this name") as caught:
        render({"GOOD": "1", name: "s3cret"}, None, as_json=False)
    assert "s3cret" not in str(caught.value)
    assert json.loads(render({name: "v"}, None, as_json=True)) == {name: "v"}


def test_secrets_are_printed_for_a_program() -> None:
    """One or all, as an object."""
    assert json.loads(render(SECRETS, None, as_json=True)) == SECRETS
    chosen = choose(SECRETS, ("MODE",))
    assert json.loads(render(chosen, "MODE", as_json=True)) == {"MODE": "prod"}


def test_where_the_output_cannot_be_nothing_is_asked(tmp_path: Path) -> None:
    """A folder that does not exist is exit code 1, before the network."""
    done = eigenkms("secrets", "get", "--app-id", "0x" + "ab" * 20, "-o", tmp_path / "no" / "file")
    assert done.returncode == 1
    assert "its folder does not exist" in lines(done.stderr)[0]
    assert list(tmp_path.iterdir()) == []
