"""Verbs that need the network: what they say when it is not there, and what they can do without it."""

import json
import logging
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eigenkms.cli.support.logs import JsonFormatter, TextFormatter, timestamp
from eigenkms.client.ciphertexts import decrypt
from eigenkms.client.known_clusters import KnownClusters
from eigenkms.crypto import ibe, keystore
from eigenkms.crypto.ibe_v2 import ApplicationKey
from eigenkms.keys.keystores import new_key, open_key
from eigenkms.wire.session import cluster_id
from tests.cli.conftest import APP, CLUSTER, SCRIPT, clean_environment, eigenkms, lines
from tests.support.randomness import fixed_rng
from tests.support.waiting import PATIENCE

AVS = CLUSTER.avs
ADDRESS = "0x" + AVS.hex()
Words = tuple[str | Path, ...]
CHEAP = keystore.ScryptCost(n=2, r=1, p=1)


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """Flags that name a chain whose RPC port is bound, so that nobody has it, and not listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield (
            *(
                "--rpc-url",
                f"http://127.0.0.1:{bound.getsockname()[1]}",
                "--chain-id",
                "31337",
                "--avs",
                ADDRESS,
            ),
            *("--allocation-manager", ADDRESS, "--key-registrar", ADDRESS),
        )


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["status", "pubkey", "decrypt", "encrypt"])
def test_a_chain_that_is_down_is_exit_2_and_no_file(
    verb: str, chain: tuple[str, ...], mpk: str, tmp_path: Path
) -> None:
    """The RPC is named, stdout is empty, no output file is left behind, nothing is pinned."""
    secret = ibe.encrypt(APP, bytes.fromhex(mpk), b"secret", fixed_rng)
    files = ("--known-clusters", tmp_path / "known")
    more = ("--app-id", APP, "-o", tmp_path / "out") if verb in {"decrypt", "encrypt"} else ()
    done = eigenkms(verb, *chain, *files, *more, stdin=secret)
    assert (done.returncode, done.stdout) == (2, b"")
    told = lines(done.stderr)
    assert f"at {chain[1]}: no connection" in told[-2]
    assert told[-2].startswith("error: ")
    assert told[-1].startswith("hint: check that the RPC is up")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_status_tells_a_program_that_nothing_can_be_served(chain: tuple[str, ...], tmp_path: Path) -> None:
    """JSON on stdout also then, so that a monitor has something to parse."""
    done = eigenkms("status", "--json", *chain, "--known-clusters", tmp_path / "known")
    assert done.returncode == 2
    facts = json.loads(done.stdout)
    assert facts["health"] == "cannot serve"
    assert "no connection" in facts["reason"]


@pytest.mark.parametrize("missing", ["--rpc-url", "--avs", "--key-registrar"])
def test_what_the_network_needs_is_asked_for_first(missing: str, chain: tuple[str, ...]) -> None:
    """Exit 1 before anything is asked of anybody."""
    at = chain.index(missing)
    done = eigenkms("pubkey", *chain[:at], *chain[at + 2 :])
    assert done.returncode == 1
    assert lines(done.stderr)[0] == f"error: read {missing[2:].replace('-', '_')}: it is not set"


@pytest.mark.slow
def test_a_pinned_cluster_encrypts_offline(
    chain: tuple[str, ...], mpk: str, key: ApplicationKey, tmp_path: Path
) -> None:
    """The chain is down, and not asked. For another operator set nothing is pinned, so it is asked."""
    known = tmp_path / "known"
    KnownClusters(known).pin(cluster_id(CLUSTER), bytes.fromhex(mpk))
    args: Words = ("encrypt", "--app-id", APP, *chain, "--known-clusters", known)
    done = eigenkms(*args, stdin=b"secret")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout[3] == 2
    assert decrypt(key, done.stdout) == b"secret"
    assert eigenkms(*args, "--operator-set-id", "1", stdin=b"secret").returncode == 2


def test_an_application_id_that_no_operator_reads_is_refused(chain: tuple[str, ...], mpk: str) -> None:
    """Else the file could never be decrypted; 1,024 bytes of UTF-8 are the limit, whatever the characters."""
    for app_id, code in (("x" * 1024, 0), ("x" * 1025, 1), ("\N{KEY}" * 257, 1)):
        done = eigenkms("encrypt", "--app-id", app_id, "--mpk", mpk, *chain, stdin=b"secret")
        assert done.returncode == code, done.stderr
    assert "more than the 1024 that operators accept" in lines(done.stderr)[0]


class TestNode:
    """``eigenkms node`` up to the point where it needs a chain."""

    def test_wrong_keys_are_named_before_anything_starts(
        self, chain: tuple[str, ...], tmp_path: Path
    ) -> None:
        """A missing keystore, a wrong password, a keystore of another kind: exit 1, no data folder."""
        p2p = tmp_path / "p2p.json"
        p2p.write_bytes(new_key("p2p", fixed_rng).seal("pass", fixed_rng, cost=CHEAP))
        data = tmp_path / "data"
        args: Words = ("node", *chain, "--operator", ADDRESS, "--data-dir", data)
        for path, password, reason in (
            (tmp_path / "missing", "pass", "no such file"),
            (p2p, "wrong", "the password is wrong"),
            (p2p, "pass", "it holds a p2p key, not a bn254 key"),
        ):
            done = eigenkms(*args, "--bn254-keystore", path, EIGENKMS_PASSWORD=password)
            assert (done.returncode, done.stdout) == (1, b"")
            assert reason in lines(done.stderr)[0]
            assert str(path) in lines(done.stderr)[0]
        assert not data.exists()

    @pytest.mark.slow
    def test_a_chain_that_is_down_ends_it_with_2(self, chain: tuple[str, ...], tmp_path: Path) -> None:
        """Its warnings come first; the p2p key that it made is private and opens with the password."""
        bn254, data = tmp_path / "bn254.json", tmp_path / "data"
        bn254.write_bytes(new_key("bn254", fixed_rng).seal("pass", fixed_rng, cost=CHEAP))
        args: Words = ("node", *chain, "--operator", ADDRESS, "--data-dir", data, "--policy", "open")
        done = eigenkms(*args, "--bn254-keystore", bn254, EIGENKMS_PASSWORD="pass")
        told = lines(done.stderr)
        assert done.returncode == 2
        assert "policy is open: every client gets partial signatures" in told[0]
        assert "no connection" in told[-2]
        key = data / "p2p.json"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        assert open_key(key, "p2p", "pass").kind == "p2p"

    def test_the_open_policy_is_refused_elsewhere(self, chain: tuple[str, ...], tmp_path: Path) -> None:
        """On any chain but a devnet's."""
        args = ("node", *chain, "--chain-id", "1", "--operator", ADDRESS, "--policy", "open")
        done = eigenkms(*args, "--bn254-keystore", tmp_path / "bn254.json")
        assert done.returncode == 1
        assert lines(done.stderr)[0].startswith("error: set policy open on chain 1")


def record(**extra: object) -> logging.LogRecord:
    made = logging.LogRecord("eigenkms.node", logging.WARNING, "", 0, "boundary at %d", (40,), None)
    made.created = 1_700_000_000.25
    vars(made).update(extra)
    return made


def test_log_lines_are_for_people_or_for_programs() -> None:
    """Time in UTC, level, message; JSON has the event's fields besides, which cannot hide the message."""
    assert timestamp(1_700_000_000.25) == "2023-11-14T22:13:20.250Z"
    assert TextFormatter().format(record()) == "2023-11-14T22:13:20.250Z warning  boundary at 40"
    line = JsonFormatter().format(record(fields={"block": 40, "key": b"\x01", "message": "forged"}))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "warning",
        "logger": "eigenkms.node",
        "message": "boundary at 40",
        "block": 40,
        "key": "b'\\x01'",
    }


def test_a_traceback_stays_in_its_log_event() -> None:
    """In JSON as a field, in text under the line."""
    try:
        int("inside")
    except ValueError:
        failed = record(exc_info=sys.exc_info())
    assert "ValueError: invalid literal" in json.loads(JsonFormatter().format(failed))["traceback"]
    assert TextFormatter().format(failed).endswith("with base 10: 'inside'")


@pytest.mark.slow
def test_ctrl_c_while_the_network_is_asked(mpk: str, tmp_path: Path) -> None:
    """130, no traceback, no output file: with an RPC that takes the call and never answers."""
    secret = tmp_path / "secret.ibe"
    secret.write_bytes(ibe.encrypt(APP, bytes.fromhex(mpk), b"secret", fixed_rng))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE)
        chain = (
            "--rpc-url",
            f"http://127.0.0.1:{silent.getsockname()[1]}",
            "--chain-id",
            "31337",
            "--avs",
            ADDRESS,
        )
        command = [SCRIPT, "decrypt", "--app-id", APP, "-o", str(tmp_path / "out"), *chain]
        command += ["--allocation-manager", ADDRESS, "--key-registrar", ADDRESS, str(secret)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment()
        )
        connection, _ = silent.accept()
        with connection:
            connection.recv(1)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (130, b"")
    assert b"Traceback" not in err
    assert b"error:" not in err
    assert [p.name for p in tmp_path.iterdir()] == ["secret.ibe"]


def test_down_without_a_devnet_says_so(tmp_path: Path) -> None:
    """Exit 1, and what to give instead."""
    done = eigenkms("devnet", "down", "--dir", tmp_path)
    assert done.returncode == 1
    assert lines(done.stderr)[0] == f"error: stop the devnet in {tmp_path}: none is running there"
