"""Bytes in, bytes out, and never half a file: checked on the real ``encrypt``."""

import json
import os
import pty
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eigenkms.cli.support.input_file import InputFile
from eigenkms.cli.support.output_file import OutputFile
from eigenkms.client.armor import HEADER, dearmor
from eigenkms.crypto.ibe_v2 import ApplicationKey
from eigenkms.errors import InputError
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
from tests.support.waiting import PATIENCE

SECRET = b"the secret\n"


@pytest.fixture(params=["1", "2"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def encrypt(mpk: str, version: str) -> tuple[str, ...]:
    """For APP, in each version of the format."""
    return ("encrypt", "--app-id", APP, "--mpk", mpk, *CLUSTER_FLAGS, "--format", version)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_stdin_to_stdout(encrypt: tuple[str, ...], version: str, keys: dict[int, ApplicationKey]) -> None:
    """The default, and what "-" means; stderr is silent; the key that belongs to it opens it."""
    for more in ((), ("-",), ("-", "-o", "-")):
        done = eigenkms(*encrypt, *more, stdin=SECRET)
        assert (done.returncode, done.stderr) == (0, b"")
        assert len(done.stdout) == len(SECRET) + {"1": 128, "2": 182}[version]
        assert done.stdout[:4] == b"IBE" + bytes([int(version)])
        assert opened(keys, done.stdout) == SECRET


def test_file_to_armored_file(
    encrypt: tuple[str, ...], keys: dict[int, ApplicationKey], tmp_path: Path
) -> None:
    """-a writes text, -o a file with the user's usual mode, nothing on stdout."""
    (tmp_path / "in").write_bytes(SECRET)
    done = eigenkms(*encrypt, "-a", "-o", "out", "in", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    text = (tmp_path / "out").read_bytes()
    assert text.startswith(HEADER)
    assert opened(keys, dearmor(text)) == SECRET
    mask = os.umask(0)
    os.umask(mask)
    assert mode(tmp_path / "out") == 0o666 & ~mask
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]


def test_settings_come_from_the_environment_and_a_file(
    mpk: str, keys: dict[int, ApplicationKey], tmp_path: Path
) -> None:
    """The same verb without flags."""
    (tmp_path / "mpk").write_text(mpk)
    (tmp_path / "eigenkms.toml").write_text(f'mpk = "@{tmp_path / "mpk"}"\n')
    done = eigenkms(
        "encrypt", stdin=SECRET, EIGENKMS_APP_ID=APP, EIGENKMS_CONFIG=str(tmp_path / "eigenkms.toml")
    )
    assert opened(keys, done.stdout) == SECRET


def test_an_empty_input_is_warned_about(encrypt: tuple[str, ...], keys: dict[int, ApplicationKey]) -> None:
    """It is legal, and rarely meant."""
    done = eigenkms(*encrypt)
    assert lines(done.stderr) == ["warning: stdin is empty"]
    assert opened(keys, done.stdout) == b""


def test_a_failure_leaves_no_output_and_keeps_an_older_one(tmp_path: Path) -> None:
    """A master public key that is no point: found out after the output was named."""
    (tmp_path / "old").write_bytes(b"old")
    for name in ("new", "old"):
        done = eigenkms("encrypt", "--app-id", APP, "--mpk", "ab" * 96, "-o", tmp_path / name, stdin=SECRET)
        assert done.returncode == 1
        assert lines(done.stderr)[-2].startswith("error: encrypt: the master public key is not usable")
        assert lines(done.stderr)[-1] == "hint: check --mpk"
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("old", b"old")]


def test_input_and_output_may_not_be_one_file(encrypt: tuple[str, ...], tmp_path: Path) -> None:
    """By name, by another name, by a link, or as redirected stdin; the file is unchanged."""
    path = tmp_path / "file"
    path.write_bytes(SECRET)
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "hard").hardlink_to(path)
    for output in ("file", "./file", "link", "hard"):
        done = eigenkms(*encrypt, "-o", output, "file", cwd=tmp_path)
        assert done.returncode == 1
        assert lines(done.stderr)[0] == f"error: write {output}: it is the input file"
    with path.open("rb") as stdin:
        command = [SCRIPT, *encrypt, "-o", str(path)]
        done = subprocess.run(
            command, stdin=stdin, capture_output=True, env=clean_environment(), check=False, timeout=PATIENCE
        )
    assert done.returncode == 1
    assert path.read_bytes() == SECRET


def test_output_places_that_cannot_be_are_refused_first(encrypt: tuple[str, ...], tmp_path: Path) -> None:
    """A folder, or a file in a folder that is not there; before anything is read or asked."""
    for output, reason in ((".", "it is a folder"), ("no/file", "its folder does not exist")):
        done = eigenkms(*encrypt, "-o", tmp_path / output, stdin=SECRET)
        assert done.returncode == 1
        assert reason in lines(done.stderr)[0]
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_at_once_and_links_are_followed(
    encrypt: tuple[str, ...], keys: dict[int, ApplicationKey], tmp_path: Path
) -> None:
    """A reader of the old file keeps it whole; the link stays a link."""
    target, link, witness = tmp_path / "target", tmp_path / "link", tmp_path / "witness"
    target.write_bytes(b"old")
    witness.hardlink_to(target)
    link.symlink_to(target)
    assert eigenkms(*encrypt, "-o", link, stdin=SECRET).returncode == 0
    assert witness.read_bytes() == b"old"
    assert link.is_symlink()
    assert opened(keys, target.read_bytes()) == SECRET


def test_devices_are_written_to_and_not_replaced(encrypt: tuple[str, ...]) -> None:
    """-o /dev/null stays a device."""
    assert eigenkms(*encrypt, "-o", "/dev/null", stdin=SECRET).returncode == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)  # noqa: PTH116


@pytest.mark.slow
def test_binary_is_refused_to_a_terminal_and_text_is_not(encrypt: tuple[str, ...], tmp_path: Path) -> None:
    """With a real terminal as stdout."""
    (tmp_path / "in").write_bytes(SECRET)
    code, shown = on_terminal(*encrypt, tmp_path / "in")
    assert code == 1
    assert shown.startswith(b"error: write to the terminal: the result is binary")
    assert b"hint: use -o FILE" in shown
    code, shown = on_terminal(*encrypt, "-a", tmp_path / "in")
    assert code == 0
    assert shown.startswith(HEADER)


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """A real terminal as stdout; the call gives what it shows, at most 4 kB."""
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as file:
        monkeypatch.setattr("sys.stdout", file)

        def shown() -> str:
            file.flush()
            return os.read(master, 4096).decode().replace("\r\n", "\n")

        yield shown
    os.close(master)


def test_a_secret_that_would_command_the_terminal_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decrypted text is shown; escape sequences, binary and half a character are not, nor what is before them in their piece."""
    with terminal(monkeypatch) as shown:
        OutputFile(None, secret=True).write("plain tëxt\n\tline\n".encode())
        for secret in (b"x\x1b]0;title\x07", b"x\xff\xfe", b"a\rb", b"half a \xc3"):
            with pytest.raises(InputError, match="write to the terminal: the result is binary"):
                OutputFile(None, secret=True).write(secret)
        assert shown() == "plain tëxt\n\tline\n"


def write_pieces(*pieces: bytes) -> None:
    with OutputFile(None, secret=True).open() as output:
        for piece in pieces:
            output.write(piece)


def test_a_terminal_shows_a_long_text_piece_by_piece(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Characters may lie across pieces; what follows a piece that is no text is not shown, and it is said that it was cut."""
    with terminal(monkeypatch) as shown:
        write_pieces(*(bytes([byte]) for byte in "tëxt\n".encode()))
        assert shown() == "tëxt\n"
        with pytest.raises(InputError, match="the result is binary"):
            write_pieces(b"one ", b"two ", b"\x1b[2J", b"three")
        assert shown() == "one "
        assert capsys.readouterr().err == "warning: stdout was cut after 4 bytes: do not use what is there\n"


def test_a_secret_file_is_private_whatever_was_there(tmp_path: Path) -> None:
    """Mode 0600, also over a file that all could read."""
    path = tmp_path / "secret"
    path.write_bytes(b"old")
    path.chmod(0o666)
    OutputFile(str(path), secret=True).write(SECRET)
    assert (mode(path), path.read_bytes()) == (0o600, SECRET)


def test_too_much_input_is_refused_with_advice(tmp_path: Path) -> None:
    """One byte over the limit; the limit itself passes."""
    (tmp_path / "in").write_bytes(bytes(11))
    assert len(InputFile(str(tmp_path / "in")).read(11)) == 11
    with pytest.raises(InputError, match="more than 10 bytes") as refused:
        InputFile(str(tmp_path / "in")).read(10, hint="use less")
    assert refused.value.hint == "use less"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def test_a_full_disk_leaves_nothing_behind(encrypt: tuple[str, ...], small_disk: Path) -> None:
    """Neither the output nor a temporary file; an older output stays whole."""
    (small_disk / "out").write_bytes(b"old")
    done = eigenkms(*encrypt, "-o", small_disk / "out", stdin=bytes(100_000))
    assert done.returncode == 1
    assert lines(done.stderr) == [
        f"error: write {small_disk}/out: no space left on device",
        "hint: nothing was written",
    ]
    assert [(p.name, p.read_bytes()) for p in small_disk.iterdir()] == [("out", b"old")]


def test_inspect_reads_both_forms_and_needs_no_key(
    encrypt: tuple[str, ...], version: str, key: ApplicationKey, tmp_path: Path
) -> None:
    """Binary and armored give the same facts, from a file and from stdin; version 2 names its cluster."""
    recorded = {"kind": "application", "chunk_size": 65536, "cluster": key.owner.cluster.hex()}
    for more, armored in (((), False), (("-a",), True)):
        content = eigenkms(*encrypt, *more, stdin=SECRET).stdout
        facts = json.loads(eigenkms("inspect", "--json", stdin=content).stdout)
        assert facts == {
            "format": "eigenkms identity-based encryption",
            "version": int(version),
            "armored": armored,
            "size": len(SECRET) + {"1": 128, "2": 182}[version],
            "plaintext_size": len(SECRET),
            "app_id": None,
            **(recorded if version == "2" else dict.fromkeys(recorded)),
        }
    (tmp_path / "file").write_bytes(content)
    shown = eigenkms("inspect", tmp_path / "file").stdout.decode().splitlines()
    assert shown[2] == "armored         yes"
    assert shown[-1] == "cluster         " + {"1": "not recorded", "2": key.owner.cluster.hex()}[version]


def test_a_text_from_a_mail_is_opened(encrypt: tuple[str, ...], keys: dict[int, ApplicationKey]) -> None:
    """Quoted, with other line ends, and text around it: by the verbs as by the library; also a text that begins as binary does."""
    armored = eigenkms(*encrypt, "-a", stdin=SECRET).stdout
    quoted = (
        b"IBE, as you asked:\n\n"
        + b"".join(b"> " + line + b" \r\n" for line in armored.splitlines())
        + b"\nAnn\n"
    )
    assert opened(keys, dearmor(quoted)) == SECRET
    done = eigenkms("inspect", "--json", stdin=quoted)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["armored"] is True
    done = eigenkms("inspect", stdin=quoted.replace(b"END", b"THE END"))
    assert done.returncode == 1
    assert "it is not -----END EIGENKMS ENCRYPTED FILE-----" in lines(done.stderr)[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it does not begin with IBE"),
        (b"IBE\x03" + bytes(200), "version 3 is not known"),
        (b"IBE\x02\x07" + bytes(200), "kind 7 is not known"),
        (b"IBE\x02\x01\x10" + bytes(100), "it was cut"),
        (b"IBE\x01" + bytes(100), "it was cut"),
        (HEADER + b"\nSUJFAQ==\n", "read armored file: line 2"),
    ],
)
def test_inspect_and_decrypt_refuse_what_is_no_ciphertext(content: bytes, message: str) -> None:
    """Exit 1 and the reason; decrypt finds out before it needs a network, and leaves no file."""
    for args in (("inspect",), ("decrypt", "--app-id", APP)):
        done = eigenkms(*args, stdin=content)
        assert (done.returncode, done.stdout) == (1, b"")
        assert message in lines(done.stderr)[0]
