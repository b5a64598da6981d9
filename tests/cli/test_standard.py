"""The standard streams as a parent, a shell or a locale leaves them: closed, in another encoding, or named as files in /dev."""

import io
import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from eigenkms.cli.main import VERBS, cli, run
from eigenkms.cli.support import standard_streams
from eigenkms.cli.support.standard_streams import descriptor_of
from eigenkms.config.home_folder import expanded, home
from eigenkms.crypto.ibe_v2 import ApplicationKey
from tests.cli.conftest import (
    APP,
    CLUSTER_FLAGS,
    SCRIPT,
    clean_environment,
    eigenkms,
    lines,
    on_terminal,
    opened,
)
from tests.support.private_files import write_private
from tests.support.waiting import PATIENCE

SECRET = b"the secret\n"
STDIN, STDOUT, STDERR = 0, 1, 2
NO_STDOUT = [
    "error: write stdout: it is closed to writing",
    "hint: name a file instead, or leave the stream open",
]


@pytest.fixture
def encrypt(mpk: str) -> tuple[str, ...]:
    return ("encrypt", "--app-id", APP, "--mpk", mpk, *CLUSTER_FLAGS)


# -- closed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", ["version", "--version", "--help", "status --help", "config example", "completions bash"]
)
def test_a_result_without_a_stdout_is_an_error(words: str) -> None:
    """Exit 1 and two lines, whoever prints it; no traceback."""
    done = eigenkms(*words.split(), closed=[STDOUT])
    assert (done.returncode, lines(done.stderr)) == (1, NO_STDOUT)


def test_a_secret_without_a_stdout_costs_no_request(tmp_path: Path) -> None:
    """``decrypt`` finds it out before it reads or asks anything."""
    done = eigenkms("decrypt", "--app-id", APP, tmp_path / "missing", closed=[STDOUT])
    assert (done.returncode, lines(done.stderr)) == (1, NO_STDOUT)


def test_a_file_is_written_without_a_stdout(
    encrypt: tuple[str, ...], keys: dict[int, ApplicationKey], tmp_path: Path
) -> None:
    """With ``-o`` nothing needs it, and the file does not get its number."""
    done = eigenkms(*encrypt, "-o", tmp_path / "out", stdin=SECRET, closed=[STDOUT])
    assert (done.returncode, done.stderr) == (0, b"")
    assert opened(keys, (tmp_path / "out").read_bytes()) == SECRET


def test_an_input_without_a_stdin_is_an_error(encrypt: tuple[str, ...], tmp_path: Path) -> None:
    """Exit 1, no output; what does not read it works."""
    done = eigenkms(*encrypt, "-o", tmp_path / "out", closed=[STDIN])
    said = [
        "error: read stdin: it is closed to reading",
        "hint: name a file instead, or leave the stream open",
    ]
    assert (done.returncode, lines(done.stderr)) == (1, said)
    assert list(tmp_path.iterdir()) == []
    assert eigenkms("version", closed=[STDIN]).returncode == 0


def test_a_password_without_a_stdin_is_an_error(tmp_path: Path) -> None:
    """Also where no ``Source`` reads."""
    done = eigenkms(
        "keys", "new", "--kind", "p2p", "--password-file", "-", "-o", tmp_path / "p2p.json", closed=[STDIN]
    )
    assert (done.returncode, lines(done.stderr)[0]) == (1, "error: read stdin: it is closed to reading")


@pytest.mark.parametrize(
    ("words", "code"),
    [("version", 0), ("nonsense", 1), ("inspect /nonexistent", 1), ("audit verify /dev/null", 1)],
)
def test_messages_without_a_stderr_change_no_exit_code(words: str, code: int) -> None:
    """They are lost, and nothing else is."""
    done = eigenkms(*words.split(), closed=[STDERR])
    assert (done.returncode, bool(done.stdout), done.stderr) == (code, code == 0, b"")


def test_messages_on_a_full_disk_change_no_exit_code(encrypt: tuple[str, ...], tmp_path: Path) -> None:
    """As with a closed stderr: a note, a warning or an error that cannot be written ends nothing."""
    with Path("/dev/full").open("wb") as full:
        for args, code in ((("nonsense",), 1), ((*encrypt, "-o", str(tmp_path / "out"), "/dev/null"), 0)):
            command = [SCRIPT, *args]
            done = subprocess.run(
                command, stderr=full, env=clean_environment(), check=False, timeout=PATIENCE
            )
            assert done.returncode == code


def test_nothing_but_the_command_is_left_of_three_closed_streams(
    encrypt: tuple[str, ...], tmp_path: Path
) -> None:
    """As a shell closes them for the real command: a result is an error, a file is written."""
    shell = ["sh", "-c", '"$@" <&- >&- 2>&-', "sh", SCRIPT]
    for args, code in ((("version",), 1), ((*encrypt, "-o", "out", "in"), 0)):
        (tmp_path / "in").write_bytes(SECRET)
        done = subprocess.run(
            [*shell, *args],
            cwd=tmp_path,
            env=clean_environment(),
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        )
        assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")
    assert (tmp_path / "out").read_bytes()[:3] == b"IBE"


def test_help_on_a_full_disk_names_stdout() -> None:
    """A library prints it, and an error of that library's would have no name."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [SCRIPT, "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=clean_environment(),
            check=False,
            timeout=PATIENCE,
        )
    assert (done.returncode, lines(done.stderr)) == (1, ["error: write stdout: no space left on device"])


# -- descriptors as files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_a_pipe_is_written_by_its_name(
    name: str, encrypt: tuple[str, ...], keys: dict[int, ApplicationKey], tmp_path: Path
) -> None:
    """And a link of the user's own to it."""
    (tmp_path / "link").symlink_to(name)
    for output in (name, tmp_path / "link"):
        done = eigenkms(*encrypt, "-o", output, stdin=SECRET)
        assert (done.returncode, done.stderr) == (0, b"")
        assert opened(keys, done.stdout) == SECRET


def test_a_keystore_in_a_pipe_is_the_keystore_alone(tmp_path: Path) -> None:
    """By any name of stdout: no facts follow it there, and a pipe is no file that would be lost."""
    write_private(tmp_path / "password", "password")
    made = ("keys", "new", "--kind", "p2p", "--password-file", tmp_path / "password", "-o")
    for name in ("-", "/dev/stdout"):
        done = eigenkms(*made, name)
        assert (done.returncode, done.stderr) == (0, b"")
        (tmp_path / "p2p.json").write_bytes(done.stdout)
        assert eigenkms("keys", "show", tmp_path / "p2p.json").returncode == 0
    done = eigenkms(*made, tmp_path / "p2p.json")
    assert (done.returncode, lines(done.stderr)[0].rpartition(": ")[2]) == (1, "it exists")


def test_any_descriptor_is_read_and_written(
    encrypt: tuple[str, ...], keys: dict[int, ApplicationKey], tmp_path: Path
) -> None:
    """A socket, which cannot be opened by its name; the end of a file, which must not be replaced; an input from its place on."""
    ours, theirs = socket.socketpair()
    (tmp_path / "log").write_bytes(b"before")
    (tmp_path / "in").write_bytes(b"head" + SECRET)
    environment = clean_environment()
    with (
        ours,
        theirs,
        (tmp_path / "log").open("ab") as log,
        (tmp_path / "in").open("rb", buffering=0) as source,
    ):
        number = theirs.fileno()
        command = [SCRIPT, *encrypt, "-o", f"/dev/fd/{number}", "-"]
        subprocess.run(
            command, input=SECRET, pass_fds=[number], env=environment, check=True, timeout=PATIENCE
        )
        theirs.close()
        assert opened(keys, ours.makefile("rb").read()) == SECRET
        assert source.read(4) == b"head"
        command = [SCRIPT, *encrypt, "-o", "/dev/stdout", "/dev/stdin"]
        subprocess.run(command, stdin=source, stdout=log, env=environment, check=True, timeout=PATIENCE)
    written = (tmp_path / "log").read_bytes()
    assert written[:6] == b"before"
    assert opened(keys, written[6:]) == SECRET


def test_a_descriptor_that_is_not_open_is_named(encrypt: tuple[str, ...]) -> None:
    """As output and as input."""
    done = eigenkms(*encrypt, "-o", "/dev/fd/99", stdin=SECRET)
    assert (done.returncode, lines(done.stderr)[0]) == (1, "error: write /dev/fd/99: it is closed to writing")
    done = eigenkms(*encrypt, "/dev/fd/99")
    assert (done.returncode, lines(done.stderr)[0]) == (1, "error: read /dev/fd/99: bad file descriptor")


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/tty"])
def test_a_terminal_gets_no_binary_by_another_name(
    encrypt: tuple[str, ...], tmp_path: Path, name: str
) -> None:
    """What is refused to stdout is not written to the same terminal because it was named."""
    (tmp_path / "in").write_bytes(SECRET)
    code, shown = on_terminal(*encrypt, "-o", name, tmp_path / "in")
    assert code == 1
    assert b"write to the terminal: the result is binary" in shown
    code, shown = on_terminal(*encrypt, "-a", "-o", name, tmp_path / "in")
    assert code == 0
    assert b"-----BEGIN EIGENKMS ENCRYPTED FILE-----" in shown


def test_other_names_are_files(tmp_path: Path) -> None:
    """A loop of links included."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "3").touch()
    for name in ("a", "3", "missing", "."):
        assert descriptor_of(str(tmp_path / name)) is None
    assert descriptor_of("/dev/null") is None
    assert descriptor_of(f"/proc/{os.getpid()}/fd/7") == 7
    assert descriptor_of(f"/proc/{os.getppid()}/fd/1") is None


# -- encodings ---------------------------------------------------------------------------------------------------


def every_verb() -> Iterator[tuple[str, ...]]:
    def below(command: click.Command, *path: str) -> Iterator[tuple[str, ...]]:
        yield path
        for name, inner in command.commands.items() if isinstance(command, click.Group) and path else ():
            yield from below(inner, *path, name)

    yield ()
    for name in VERBS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        yield from below(command, name)


@pytest.mark.parametrize("encoding", ["iso8859-1", "koi8-r", "ascii"])
def test_the_help_of_every_verb_has_a_form_in_any_encoding(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 0, and nothing that the encoding cannot say; signs become what people type for them."""
    for verb in every_verb():
        shown = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding, standard_streams.ERRORS))
        assert run([*verb, "--help"]) == 0, verb
        text = shown.getvalue().decode(
            "utf-8" if encoding == "ascii" else encoding
        )  # click takes ASCII for UTF-8
        assert "Usage: eigenkms" in text


def test_the_real_command_speaks_the_locale() -> None:
    """An ellipsis is no character of ISO-8859-1; the paragraph sign is one."""
    for encoding, ellipsis in (("iso8859-1", b"..."), ("utf-8", "…".encode())):
        environment = clean_environment(PYTHONIOENCODING=encoding)
        done = subprocess.run(
            [SCRIPT, "decrypt", "--help"], env=environment, capture_output=True, check=False, timeout=PATIENCE
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"--app-id 0x5fbd" + ellipsis + b"0aa3" in done.stdout
    done = subprocess.run(
        [SCRIPT, "decrypt", "--help"],
        env=clean_environment(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"),
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_message_with_a_name_in_no_encoding_is_shown(tmp_path: Path) -> None:
    """A file's name need not be text; the error names it all the same."""
    done = eigenkms("inspect", os.fsdecode(b"no\xffname"), cwd=tmp_path)
    assert (done.returncode, lines(done.stderr)) == (
        1,
        [r"error: read no\udcffname: no such file or directory"],
    )


# -- no home folder ----------------------------------------------------------------------------------------------

UNKNOWN_USER = 4711


@pytest.mark.parametrize("home", [None, "", "relative"])
@pytest.mark.parametrize(
    ("words", "option"),
    [
        (
            f"pubkey --rpc-url http://127.0.0.1:1 --environment sepolia --avs 0x{'5a' * 20}",
            "--known-clusters FILE",
        ),
        ("audit show", "--data-dir FOLDER"),
        ("audit show --data-dir ~/node", None),
        ("evidence list --data-dir ~/node", None),
    ],
)
def test_a_user_without_a_home_folder_is_told_which_option_to_give(
    words: str,
    option: str | None,
    home: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A container's user id, of which the machine has no account: no traceback, and no file at the root of the disk."""
    monkeypatch.delenv("HOME")
    if home is not None:
        monkeypatch.setenv("HOME", home)
    monkeypatch.setattr(os, "getuid", lambda: UNKNOWN_USER)
    assert run(words.split()) == 1
    error, *hint = capsys.readouterr().err.splitlines()
    assert error.endswith(f"HOME is not set, and user id {UNKNOWN_USER} has no home folder")
    if option is not None:
        assert hint == [f"hint: give {option}, or set HOME"]


def test_a_path_that_is_given_needs_no_home_folder(
    encrypt: tuple[str, ...], keys: dict[int, ApplicationKey], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does a verb that has no use for one; an account's folder stands in for HOME."""
    monkeypatch.delenv("HOME")
    assert home() == Path(pwd.getpwuid(os.getuid()).pw_dir)
    monkeypatch.setattr(os, "getuid", lambda: UNKNOWN_USER)
    (tmp_path / "in").write_bytes(SECRET)
    assert run([*encrypt, "-o", str(tmp_path / "out"), str(tmp_path / "in")]) == 0
    assert opened(keys, (tmp_path / "out").read_bytes()) == SECRET
    with pytest.raises(ValueError, match="there is no user 'nobody-at-all'"):
        expanded("~nobody-at-all/x")
