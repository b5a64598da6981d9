"""``eigenkms audit``: what a node released, out of its folder while it runs, into a file, and verified by whoever has that."""

import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eigenkms.cli.main import run
from eigenkms.client import audit_log_key as client_releases
from eigenkms.crypto import bn254
from eigenkms.protocols.records.audit_log import LogHeader, SignedHead, sign_head
from eigenkms.protocols.records.audit_log_file import MAGIC
from eigenkms.storage.audit_log_store import RELEASES_NAME, AuditLog
from eigenkms.storage.data_dir import FolderLock
from eigenkms.storage.open_store import LOCK_NAME
from eigenkms.types import AppId, Version
from tests.cli.conftest import clean_environment, eigenkms, lines
from tests.cli.test_evidence import NETWORK
from tests.storage.test_audit_log_store import tamper
from tests.support.audit_log_entries import RELEASE, entry_body
from tests.support.fake_network import FakeNetwork, make_network
from tests.support.nodes import open_log

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def network() -> FakeNetwork:
    return make_network()


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "node"


@pytest.fixture
def log(network: FakeNetwork, folder: Path) -> Iterator[AuditLog]:
    """Six entries, of a node that runs: it has the folder's lock, and the file open."""
    folder.mkdir()
    lock = FolderLock.acquire(folder / LOCK_NAME)
    with closing(open_log(network, 0, folder)) as log:
        for numbers in ((1, 2), (3,), (4, 5, 6)):
            releases = [replace(entry_body(n), time_ms=RELEASE.time_ms + 60_000 * n) for n in numbers]
            log.append(releases, lambda head: sign(network, head))
        yield log
    lock.release()


def sign(network: FakeNetwork, head: Any) -> SignedHead:
    return sign_head(network.operators[0].key, head)


@pytest.fixture
def file(log: AuditLog, folder: Path, tmp_path: Path, capsys: Capture) -> Path:
    """The log, exported."""
    path = tmp_path / "releases.log"
    assert run(["audit", "export", "--data-dir", str(folder), "-o", str(path)]) == 0
    assert f"6 entries, head {log.head.hash.hex()}, written to {path}" in capsys.readouterr().err
    return path


def told(capsys: Capture, code: int, *args: str | Path) -> tuple[str, str]:
    """Stdout and stderr of ``eigenkms audit args``, which must end with ``code``."""
    ended = run(["audit", *map(str, args)])
    out, err = capsys.readouterr()
    assert ended == code, err
    return out, err


# -- show --------------------------------------------------------------------------------------------------------


def test_releases_are_shown_a_line_each(log: AuditLog, folder: Path, capsys: Capture) -> None:
    """Of a running node: when, how, for which application, by what right."""
    out, err = told(capsys, 0, "show", "--data-dir", folder)
    first, second, third, *_ = out.splitlines()
    assert first.split() == [
        "1",
        "2027-01-15T08:01:01.234Z",
        "ecdsa",
        "2",
        "1700000100",
        "app-1",
        "0x" + "0c" * 20,
    ]
    assert second.split()[2:] == ["open", "1", "1700000100", "app-2", "-"]
    assert third.split()[2:] == ["gcp", "2", "1700000100", "app-3", "sha256:" + "0d" * 32]
    assert (len(out.splitlines()), err) == (6, "")


@pytest.mark.parametrize(
    ("flags", "numbers"),
    [
        (("--last", "2"), [5, 6]),
        (("--last", "100"), [1, 2, 3, 4, 5, 6]),
        (("--app-id", "app-3"), [3]),
        (("--app-id", "app-3", "--last", "3"), [3]),
        (("--app-id", "app-3", "--last", "1"), [3]),
        (("--since", "2027-01-15T08:03:00Z", "--last", "2"), [5, 6]),
        (("--since", "2027-01-16", "--last", "2"), []),
        (("--last", "99999999999999999999"), [1, 2, 3, 4, 5, 6]),
        (("--since", "2027-01-15T08:05:00Z"), [5, 6]),
        (("--since", "2027-01-15T10:05:00+02:00"), [5, 6]),
        (("--since", "2027-01-15"), [1, 2, 3, 4, 5, 6]),
        (("--since", "2027-01-16"), []),
    ],
)
def test_some_of_them(
    file: Path, folder: Path, capsys: Capture, flags: tuple[str, ...], numbers: list[int]
) -> None:
    """The newest, those of an application, those since a time; out of folder or file, for programs and people."""
    for where in (("--data-dir", str(folder)), (str(file),)):
        facts = json.loads(told(capsys, 0, "show", "--json", *flags, *where)[0])
        assert [each["number"] for each in facts["releases"]] == numbers
        assert facts["entries"] == 6
        out, err = told(capsys, 0, "show", *flags, *where)
        assert [int(line.split()[0]) for line in out.splitlines()] == numbers
        assert ("no release" in err) == (not numbers)


def test_an_application_is_found_however_it_is_spelled(
    network: FakeNetwork, log: AuditLog, folder: Path, capsys: Capture
) -> None:
    """By any spelling, whatever was logged: an entry says what was asked for."""
    spelled = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
    for number, each in enumerate((spelled, spelled.lower(), spelled.lower()), 7):
        log.append([replace(entry_body(number), app_id=AppId(each))], lambda head: sign(network, head))
    for each in (spelled, spelled.lower(), spelled.upper()):
        for flags, numbers in (((), [7, 8, 9]), (("--last", "2"), [8, 9])):
            out, _ = told(capsys, 0, "show", "--json", "--app-id", each, *flags, "--data-dir", folder)
            assert [entry["number"] for entry in json.loads(out)["releases"]] == numbers
    assert json.loads(out)["releases"][0]["app_id"] == spelled.lower()


def test_facts_of_a_log(log: AuditLog, network: FakeNetwork, folder: Path, capsys: Capture) -> None:
    """The documented fields."""
    facts = json.loads(told(capsys, 0, "show", "--json", "--last", "2", "--data-dir", folder)[0])
    releases = facts.pop("releases")
    operator = network.operators[0]
    assert facts == {
        "operator": "0x" + operator.address.hex(),
        "cluster": network.epoch.transcript.cluster.hex(),
        "key": operator.key.g2.hex(),
        "begun": "2027-01-15T08:00:00.000Z",
        "entries": 6,
        "head": log.head.hash.hex(),
    }
    assert releases[0] == {
        "number": 5,
        "time": "2027-01-15T08:05:01.234Z",
        "app_id": "app-5",
        "ciphertext_version": 1,
        "version": 1_700_000_100,
        "transcript": "77" * 32,
        "method": "open",
        "evidence": None,
        "subject": None,
        "reply_key": "03" * 32,
    }
    assert (releases[1]["evidence"], releases[1]["subject"]) == ("0e" * 32, "sha256:" + "0d" * 32)


@pytest.mark.parametrize(
    ("app_id", "shown"),
    [
        ("\x1b[2Jclear", '"\\u001b[2Jclear"'),
        ("two words", '"two words"'),
        ("line\nbreak", '"line\\nbreak"'),
        ("\u202eright", '"\\u202eright"'),
        ("ünïcode", "ünïcode"),
        ("", '""'),
    ],
)
def test_a_strangers_name_commands_no_terminal(
    log: AuditLog, network: FakeNetwork, folder: Path, capsys: Capture, app_id: str, shown: str
) -> None:
    """With the policy open anybody chooses what stands in the log."""
    log.append([replace(RELEASE, app_id=AppId(app_id))], lambda head: sign(network, head))
    out, _ = told(capsys, 0, "show", "--last", "1", "--data-dir", folder)
    assert out.count("\n") == 1
    assert f"  {shown}  " in out


def test_any_time_and_number_can_be_shown(
    log: AuditLog, network: FakeNetwork, folder: Path, capsys: Capture
) -> None:
    """Whatever a clock said."""
    log.append(
        [replace(RELEASE, time_ms=2**48 - 1, version=Version(2**64 - 1))], lambda head: sign(network, head)
    )
    out, _ = told(capsys, 0, "show", "--last", "1", "--data-dir", folder)
    assert out.split()[1:5] == ["10889-08-02T05:31:50.655Z", "gcp", "2", str(2**64 - 1)]


@pytest.mark.parametrize("text", ["yesterday", "", "1700000000000000"])
def test_a_time_that_is_none(folder: Path, capsys: Capture, text: str) -> None:
    """Is said before anything is read."""
    _, err = told(capsys, 1, "show", "--since", text, "--data-dir", folder)
    assert "error: read --since" in err


def test_a_damaged_entry_ends_the_list(log: AuditLog, folder: Path, capsys: Capture) -> None:
    """With exit code 4, after what could be read."""
    tamper(folder, "UPDATE entries SET entry = x'c1' WHERE number = 3")
    out, err = told(capsys, 4, "show", "--data-dir", folder)
    assert len(out.splitlines()) == 2
    assert "error: show release log: an entry is damaged" in err


# -- verify ------------------------------------------------------------------------------------------------------


def test_a_true_log_verifies(
    log: AuditLog, network: FakeNetwork, file: Path, folder: Path, capsys: Capture
) -> None:
    """In the folder of a running node and in the file, by the operator's key and heads noted earlier."""
    key = network.operators[0].key.g2.hex()
    for where in (("--data-dir", str(folder)), (str(file),)):
        out, err = told(capsys, 0, "verify", "--json", *where)
        facts = json.loads(out)
        assert (facts["entries"], facts["head"], facts["key_is"]) == (6, log.head.hash.hex(), "unchecked")
        assert "warning: operator and key are the log's own claim" in err
        heads = ("--head", "0x" + log.head.hash.hex(), "--head", log.header.hash.hex())
        out, err = told(capsys, 0, "verify", *heads, "--operator-key", key, *where)
        assert ("key is    given" in out, err) == (True, "")


@pytest.mark.slow
def test_a_file_is_verified_from_a_pipe(file: Path) -> None:
    """By the real command, in its own process, with nothing but the file."""
    done = eigenkms("audit", "verify", "--json", "-", stdin=file.read_bytes())
    assert (done.returncode, json.loads(done.stdout)["entries"]) == (0, 6)


def test_the_default_folder_is_the_nodes(
    log: AuditLog, folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    """As in the node's own configuration file."""
    (tmp_path / "node.toml").write_text(f'data_dir = "{folder}"\n')
    out, _ = told(capsys, 0, "verify", "--json", "--config", tmp_path / "node.toml")
    assert json.loads(out)["entries"] == 6


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (
            "DELETE FROM entries WHERE number = 3",
            "entry 3 is missing, or not in its place: entry 4 stands there",
        ),
        ("DELETE FROM entries WHERE number = 6", "entry 6 is missing; the signed head is number 6"),
        ("UPDATE entries SET entry = x'c1' WHERE number = 3", "entry 3 is damaged"),
        (
            "INSERT INTO entries SELECT 7, entry FROM entries WHERE number = 6",
            "entry 7 stands after the signed head",
        ),
    ],
)
def test_what_was_changed_is_named(
    log: AuditLog, folder: Path, tmp_path: Path, capsys: Capture, sql: str, said: str
) -> None:
    """With exit code 4; and no such log is exported."""
    tamper(folder, sql)
    out, err = told(capsys, 4, "verify", "--data-dir", folder)
    assert out == ""
    assert f"error: verify release log: {said}" in err
    assert "hint: keep this file as it is" in err
    told(capsys, 4, "export", "--data-dir", folder, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_chain_signed_by_somebody_else(
    network: FakeNetwork, log: AuditLog, folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    """Made anew, with a key of the forger's: it verifies under that key alone."""
    forger = bn254.KeyPair.from_secret(9)
    header = LogHeader(log.header.cluster, log.header.operator, forger.g2, log.header.begun_ms)
    forged = tmp_path / "forged"
    with closing(AuditLog.open(forged, header, lambda head: sign_head(forger, head))) as other:
        other.append([entry_body(1)], lambda head: sign_head(forger, head))
    told(capsys, 0, "verify", "--data-dir", forged)
    key = network.operators[0].key.g2.hex()
    _, err = told(capsys, 4, "verify", "--operator-key", key, "--data-dir", forged)
    assert "it is signed by another key than --operator-key" in err
    tamper(forged, f"UPDATE log SET header = x'{log.header.encoded.hex()}'")
    _, err = told(capsys, 4, "verify", "--data-dir", forged)
    assert "entry 1 does not continue this log's header" in err


def test_an_older_copy_is_told_by_a_noted_head(
    network: FakeNetwork, log: AuditLog, file: Path, capsys: Capture
) -> None:
    """A file that was true once lacks what came later."""
    log.append([entry_body(7)], lambda head: sign(network, head))
    told(capsys, 0, "verify", file)
    _, err = told(capsys, 4, "verify", "--head", log.head.hash.hex(), file)
    assert f"head {log.head.hash.hex()} is not in it: entries were taken away, or this is another log" in err


def test_a_file_that_is_cut_or_longer(file: Path, capsys: Capture) -> None:
    """Wherever: never 0."""
    content = file.read_bytes()
    for size in range(len(content) - 230, len(content)):
        file.write_bytes(content[:size])
        _, err = told(capsys, 4, "verify", file)
        assert "ends in the midst of a record" in err or "entry 6 is missing" in err
    for more in (b"\0", b"\0\0\0\1\xc0", b"\xff" * 9):
        file.write_bytes(content + more)
        told(capsys, 4, "verify", file)


@pytest.mark.parametrize(
    "content", [b"", b"SQLite format 3\0" + bytes(99), MAGIC, MAGIC + b"\0\0\0\1\xc0", MAGIC[:-2] + b"2\n"]
)
def test_a_file_that_is_none(tmp_path: Path, capsys: Capture, content: bytes) -> None:
    """Exit code 1, with what to give."""
    (tmp_path / "file").write_bytes(content)
    for which in ("verify", "show"):
        _, err = told(capsys, 1, which, tmp_path / "file")
        assert "it is no exported release log" in err
        assert "hint: give a file that eigenkms audit export wrote" in err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--head", "12"), "read --head: '12' is not 32 bytes, 64 hex digits"),
        (("--operator-key", "zz"), "read --operator-key: 'zz' is not 128 bytes, 256 hex digits"),
        (("--operator-key", "00" * 128, "--online"), "--operator-key and --online exclude each other"),
        (("--online",), "read rpc_url: it is not set"),
        ((), f"there is no {RELEASES_NAME}"),
    ],
)
def test_what_cannot_be_meant(tmp_path: Path, capsys: Capture, flags: tuple[str, ...], said: str) -> None:
    """Exit code 1."""
    _, err = told(capsys, 1, "verify", *flags, "--data-dir", tmp_path)
    assert said in lines(err.encode())[0]


@pytest.mark.slow
def test_a_chain_that_is_down(file: Path, capsys: Capture) -> None:
    """Exit code 2: nothing is said of the key."""
    assert told(capsys, 2, "verify", "--online", *NETWORK, file)[0] == ""


# -- online ------------------------------------------------------------------------------------------------------


@pytest.fixture
def _chain(network: FakeNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network's chain, while a verb runs in this process."""

    @asynccontextmanager
    async def open_chain(_config: object) -> AsyncIterator[object]:
        yield network.chain

    monkeypatch.setattr(client_releases, "open_chain", open_chain)


@pytest.mark.usefixtures("_chain")
def test_the_chain_says_whose_key_it_is(file: Path, capsys: Capture) -> None:
    """Then nothing is left to be compared."""
    out, err = told(capsys, 0, "verify", "--online", *NETWORK, file)
    assert ("key is    chain" in out, err) == (True, "")


@pytest.mark.usefixtures("_chain")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cluster": b"\xc2" * 32}, "it is of another cluster than the configured one"),
        ({"operator": b"\x0b" * 20}, "0x" + "0b" * 20 + " is no operator of the cluster today"),
        ({"key": bn254.KeyPair.from_secret(9).g2}, "the chain has another key for operator 0x"),
    ],
)
def test_a_log_that_the_chain_does_not_know(
    network: FakeNetwork, tmp_path: Path, capsys: Capture, changes: dict[str, Any], said: str
) -> None:
    """Of another cluster, of nobody, or by another key, each signed well."""
    operator = network.operators[0]
    header = replace(
        LogHeader(network.epoch.transcript.cluster, operator.address, operator.key.g2, 0), **changes
    )
    key = bn254.KeyPair.from_secret(9) if "key" in changes else operator.key
    AuditLog.open(tmp_path, header, lambda head: sign_head(key, head)).close()
    _, err = told(capsys, 4, "verify", "--online", *NETWORK, "--data-dir", tmp_path)
    assert f"error: verify release log: {said}" in err
