"""Files of any size through the command line: constant memory, and what is left behind when something goes wrong half-way."""

import io
import json
import os
import re
import signal
import subprocess
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from eigenkms.cli.main import run
from eigenkms.cli.support.output_file import OutputFile
from eigenkms.cli.support.signals import SignalGuard
from eigenkms.client import ciphertexts
from eigenkms.client.armor import FOOTER, HEADER, ArmorReader, armor
from eigenkms.client.ciphertexts import encrypt
from eigenkms.crypto.ibe_v2 import ApplicationKey, Recipient
from eigenkms.errors import InputError
from eigenkms.types import AppId, ClusterId
from tests.cli.conftest import APP, CLUSTER_FLAGS, SCRIPT, clean_environment, eigenkms, lines
from tests.support.waiting import PATIENCE, wait_until

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import libp2p.pubsub.gossipsub  # noqa: F401

from eigenkms.client import api
from tests.cli.test_evidence import NETWORK
from tests.support.fake_network import (
    CLUSTER,
    FakeNetwork,
    Honest,
    make_network,
    network_client,
    operator_hosts,
)

CHUNK = 65536
PLAINTEXT = bytes(i % 251 for i in range(3 * CHUNK))
SEALED = CHUNK + 16
LARGE = 128 * 2**20
LIMIT = 100_000_000
"""Bytes of resident memory that no size of input may exceed."""


@pytest.fixture
def encrypting(mpk: str) -> tuple[str, ...]:
    return ("encrypt", "--app-id", APP, "--mpk", mpk, *CLUSTER_FLAGS)


# -- encrypting --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("armored", [False, True])
def test_encrypting_takes_constant_memory(
    encrypting: tuple[str, ...], key: ApplicationKey, armored: bool, tmp_path: Path
) -> None:
    """More than the limit from a pipe: under 100 MB resident at its peak, and it all comes back."""
    target = tmp_path / "sealed"
    arguments = [SCRIPT, *encrypting, "-o", str(target), *(["-a"] if armored else [])]
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, env=clean_environment())
    assert process.stdin is not None
    with process.stdin as pipe:
        for _ in range(LARGE // len(PLAINTEXT)):
            pipe.write(PLAINTEXT)
        status = Path(f"/proc/{process.pid}/status").read_text()
    assert process.wait(timeout=PATIENCE) == 0
    (peak,) = re.findall(r"VmHWM:\s*(\d+) kB", status)
    assert int(peak) * 1024 < LIMIT
    with target.open("rb") as file:
        ciphertext = ciphertexts.open_ciphertext(ArmorReader(file) if armored else file)
        size = 0
        for number, chunk in enumerate(ciphertext.plaintext(key)):
            assert chunk == PLAINTEXT[number % 3 * CHUNK :][: len(chunk)]
            size += len(chunk)
    assert size == LARGE // len(PLAINTEXT) * len(PLAINTEXT)


def test_without_a_cluster_version_1_is_written_and_said(mpk: str) -> None:
    """Version 2 asked for by name is refused then; version 1 asked for by name needs no words."""
    given = ("encrypt", "--app-id", APP, "--mpk", mpk)
    done = eigenkms(*given, stdin=b"secret")
    assert (done.returncode, done.stdout[3]) == (0, 1)
    assert lines(done.stderr) == [
        "writing version 1, as the cluster is not known: --chain-id and --avs give version 2"
    ]
    done = eigenkms(*given, "--format", "1", stdin=b"secret")
    assert (done.returncode, done.stdout[3], done.stderr) == (0, 1, b"")
    done = eigenkms(*given, "--format", "2", stdin=b"secret")
    assert (done.returncode, done.stdout) == (1, b"")
    assert lines(done.stderr)[0] == "error: encrypt: version 2 names its cluster, which is not known"
    assert lines(done.stderr)[1].startswith("hint: give --chain-id and --avs")


def test_too_much_for_version_1_is_refused_with_advice(
    encrypting: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Version 2 is the advice."""
    monkeypatch.setattr(ciphertexts, "MAX_WHOLE", 10)
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(bytes(11))
    assert run([*encrypting, "--format", "1", "-o", str(target), str(source)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"error: read {source}: more than 10 bytes",
        "hint: version 2 takes files of any size: --format 2",
    ]
    assert not target.exists()


def test_an_input_that_does_not_wait_is_an_error(encrypting: tuple[str, ...]) -> None:
    """A pipe that was set to give up when it is empty is not at its end."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    done = subprocess.run(
        [SCRIPT, *encrypting],
        stdin=read,
        capture_output=True,
        env=clean_environment(),
        check=False,
        timeout=PATIENCE,
    )
    os.close(read)
    os.close(write)
    assert done.returncode == 1
    assert lines(done.stderr)[-1] == "error: read stdin: resource temporarily unavailable"


def test_an_input_that_fails_leaves_no_output(encrypting: tuple[str, ...], tmp_path: Path) -> None:
    """A folder opens and cannot be read."""
    done = eigenkms(*encrypting, "-o", tmp_path / "out", tmp_path)
    assert done.returncode == 1
    assert lines(done.stderr) == [f"error: read {tmp_path}: is a directory"]
    assert list(tmp_path.iterdir()) == []


# -- signals -----------------------------------------------------------------------------------------------------


def files_once(folder: Path, count: int) -> None:
    """Wait until the folder holds so many files."""
    wait_until(lambda: len(list(folder.iterdir())) == count)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP)],
)
def test_a_signal_half_way_leaves_nothing_behind(
    encrypting: tuple[str, ...], number: signal.Signals, code: int, tmp_path: Path
) -> None:
    """No temporary file, the older output whole; the process ends as the signal wants."""
    old = tmp_path / "out"
    old.write_bytes(b"old")
    process = subprocess.Popen(
        [SCRIPT, *encrypting, "-o", str(old)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
    )
    assert process.stdin is not None
    process.stdin.write(PLAINTEXT * 5)
    process.stdin.flush()
    files_once(tmp_path, 2)
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (code, b"")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("out", b"old")]


def test_a_signal_waits_while_it_is_held() -> None:
    """Then it comes, once, and what cleans up is not disturbed by a second one."""
    steps = []
    with pytest.raises(KeyboardInterrupt), SignalGuard() as signals:  # noqa: PT012 - the order of steps is tested
        signals.hold()
        signal.raise_signal(signal.SIGINT)
        steps.append("held")
        try:
            signals.release()
            steps.append("not reached")
        except KeyboardInterrupt:
            signal.raise_signal(signal.SIGINT)
            steps.append("cleaned up")
            raise
    assert steps == ["held", "cleaned up"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with OutputFile(str(tmp_path / "out")).open() as output:
            signal.raise_signal(signal.SIGHUP)
            output.write(b"whole")
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (tmp_path / "out").read_bytes() == b"whole"


# -- decrypting --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network() -> FakeNetwork:
    return make_network()


@pytest.fixture
def honest(network: FakeNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Honest:
    """Real hosts of four operators that answer while a verb runs in this process; the chain is the network's."""
    way = Honest(network)

    @asynccontextmanager
    async def open_client(_settings: object) -> AsyncIterator[api.Client]:
        async with operator_hosts(network, [way] * 4), network_client(network, tmp_path / "known") as client:
            yield client

    monkeypatch.setattr(api, "open_client", open_client)
    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)
    return way


Decrypt = Callable[..., int]


@pytest.fixture
def decrypting(honest: Honest, tmp_path: Path) -> Decrypt:
    """Decrypt bytes as the file ``in``; the exit code."""

    def decrypt(content: bytes, *more: str) -> int:
        (tmp_path / "in").write_bytes(content)
        given = ("--app-id", APP, "--timeout", str(PATIENCE), *NETWORK)
        return run(["decrypt", *given, *more, str(tmp_path / "in")])

    return decrypt


@pytest.fixture
def ciphertext(network: FakeNetwork) -> bytes:
    """Of three chunks."""
    return encrypt(Recipient(AppId(APP), CLUSTER, network.epoch.transcript.mpk), PLAINTEXT)


@pytest.mark.parametrize("form", [bytes, armor], ids=["binary", "armored"])
def test_decrypted_to_a_file_and_to_stdout(
    form: Callable[[bytes], bytes],
    ciphertext: bytes,
    decrypting: Decrypt,
    tmp_path: Path,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    """All of it, from binary and from text."""
    out = tmp_path / "out"
    assert decrypting(form(ciphertext), "-o", str(out)) == 0
    assert out.read_bytes() == PLAINTEXT
    assert out.stat().st_mode & 0o777 == 0o600
    assert decrypting(form(ciphertext)) == 0
    assert capsysbinary.readouterr().out == PLAINTEXT


def spoilt(ciphertext: bytes, how: str) -> bytes:
    """In the third chunk, or at its end."""
    if how == "changed":
        return ciphertext[:-20] + bytes([ciphertext[-20] ^ 1]) + ciphertext[-19:]
    if how == "cut":
        return ciphertext[:-1]
    if how == "text cut":
        return armor(ciphertext).removesuffix(FOOTER + b"\n")
    return ciphertext + b"x"


@pytest.mark.parametrize(
    ("how", "code", "released", "reason"),
    [
        ("changed", 4, 2, "chunk 3 of the ciphertext was changed, moved or cut"),
        ("cut", 4, 2, "chunk 3 of the ciphertext was changed, moved or cut"),
        ("longer", 4, 2, "chunk 3 of the ciphertext is the last one: something was added"),
        ("text cut", 1, 1, "the text was cut"),
    ],
)
def test_a_pipe_gets_what_is_verified_and_a_file_nothing(
    how: str,
    code: int,
    released: int,
    reason: str,
    ciphertext: bytes,
    decrypting: Decrypt,
    tmp_path: Path,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    """Two chunks are right. stdout gets them (or one, if the second's successor cannot even be read); the exit code and a warning
    say that this is not all. -o leaves what was there.
    """
    content = spoilt(ciphertext, how)
    (tmp_path / "out").write_bytes(b"old")
    assert decrypting(content, "-o", str(tmp_path / "out")) == code
    assert b"was cut after" not in capsysbinary.readouterr().err
    assert (tmp_path / "out").read_bytes() == b"old"
    assert {p.name for p in tmp_path.iterdir()} == {"in", "out", "known"}
    assert decrypting(content) == code
    out, err = capsysbinary.readouterr()
    assert out == PLAINTEXT[: released * CHUNK]
    assert f"warning: stdout was cut after {released * CHUNK} bytes: do not use what is there" in lines(err)
    (error,) = (line for line in lines(err) if line.startswith("error: "))
    assert reason in error


@pytest.mark.slow
def test_nothing_is_released_of_a_wrong_beginning(
    ciphertext: bytes, decrypting: Decrypt, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Another application's ciphertext, or a first chunk that was changed: no byte, and no talk of a cut."""
    for at in (150, 200):
        content = ciphertext[:at] + bytes([ciphertext[at] ^ 1]) + ciphertext[at + 1 :]
        assert decrypting(content) == 4
        out, err = capsysbinary.readouterr()
        assert out == b""
        assert b"was cut after" not in err


def test_another_cluster_is_named_before_anybody_is_asked(
    network: FakeNetwork, honest: Honest, decrypting: Decrypt, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 4; both clusters are named."""
    foreign = Recipient(AppId(APP), ClusterId(bytes(32)), network.epoch.transcript.mpk)
    assert decrypting(encrypt(foreign, b"secret")) == 4
    assert capsys.readouterr().err.splitlines() == [
        f"error: decrypt: the ciphertext is for cluster {'00' * 32}, not for {CLUSTER.hex()}",
        "hint: give the chain id, AVS and operator set of its cluster",
    ]
    assert honest.asked == []


def test_version_1_is_decrypted_as_ever(
    network: FakeNetwork, decrypting: Decrypt, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Binary and armored; changed, it gives nothing."""
    old = encrypt(Recipient(AppId(APP), CLUSTER, network.epoch.transcript.mpk), b"secret", 1)
    for content in (old, armor(old)):
        assert decrypting(content) == 0
        assert capsysbinary.readouterr().out == b"secret"
    assert decrypting(old[:-1] + bytes([old[-1] ^ 1])) == 4
    assert capsysbinary.readouterr().out == b""


# -- inspecting --------------------------------------------------------------------------------------------------


def test_inspect_counts_a_file_of_many_chunks(ciphertext: bytes) -> None:
    """By its sizes alone; a length that no ciphertext has is an error."""
    facts = json.loads(eigenkms("inspect", "--json", stdin=ciphertext).stdout)
    assert (facts["size"], facts["plaintext_size"]) == (len(ciphertext), len(PLAINTEXT))
    done = eigenkms("inspect", stdin=ciphertext[: 166 + SEALED + 16])
    assert (done.returncode, done.stdout) == (1, b"")
    assert lines(done.stderr)[0] == "error: read ciphertext: chunk 2 has 16 bytes; it was cut"


# -- armor, piece by piece ---------------------------------------------------------------------------------------


def test_armor_is_read_and_refused_alike_however_it_comes() -> None:
    """Lines that lie across pieces, at every place of a cut; and a text of many pieces with one bad line far inside."""
    content = bytes(range(256)) * 400

    class Halves:
        def __init__(self, text: bytes, cut: int) -> None:
            self._pieces = [text[:cut], text[cut:], b""] if cut else [text, b""]

        def read(self, _size: int) -> bytes:
            return self._pieces.pop(0)

    short = armor(content[:100])
    for text in (short, short.replace(b"\n", b"\r\n")):
        for cut in range(len(text)):
            assert ArmorReader(Halves(text, cut)).read(1000) == content[:100]
    large = armor(content).split(b"\n")
    assert ArmorReader(io.BytesIO(b"\n".join(large))).read(len(content) + 1) == content
    for line in (1, 700, len(large) - 4):
        bad = [
            *large[:line],
            large[line].replace(b"A", b"!", 1) if b"A" in large[line] else b"",
            *large[line + 1 :],
        ]
        with pytest.raises(InputError, match=re.escape(f"read armored file: line {line + 1}: ")):
            ArmorReader(io.BytesIO(b"\n".join(bad))).read(len(content) + 1)


def test_a_line_without_end_is_refused_at_once() -> None:
    """Not gathered in memory."""

    class Endless:
        given = 0

        def read(self, size: int) -> bytes:
            self.given += size
            assert self.given < 2**20
            return HEADER + b"\n" + b"A" * size if self.given == size else b"A" * size

    with pytest.raises(InputError, match=r"line 2: it has \d+ columns, not 64"):
        ArmorReader(Endless()).read(1)
