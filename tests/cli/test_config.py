"""``eigenkms config``: the example has every key and is itself a valid file; the check finds everything at once."""

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import get_type_hints

import pytest

from eigenkms.cli.main import run
from eigenkms.config.example import example
from eigenkms.config.node import NodeConfig
from eigenkms.config.presets import PRESETS
from eigenkms.config.schema import ALIKE, GROUPS, NODE_REQUIRED, SETTINGS
from eigenkms.config.sources import gather
from eigenkms.config.validate import check, without_url_secrets
from eigenkms.wire.session import Parameters
from tests.cli.conftest import eigenkms

ADDRESS = "0x" + "a4" * 20
ENTRY = re.compile(r"^(# )?([a-z0-9_]+) = (.+)$", re.MULTILINE)

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes node.toml, beside a keystore that is there."""
    (tmp_path / "bn254.json").write_text("{}")

    def written(text: str) -> Path:
        file = tmp_path / "node.toml"
        file.write_text(text)
        return file

    return written


GOOD = f"""\
environment = "sepolia"
rpc_url = "https://user:HUSH@eth.example.org/v3/HUSH?key=HUSH"
operator = "{ADDRESS}"
bn254_keystore = "bn254.json"
avs = "{ADDRESS}"
"""


# --- example


@pytest.mark.parametrize("environment", [None, *PRESETS])
def test_the_example_explains_every_key_once(environment: str | None) -> None:
    """In the order of the table, under its heading, with type and range; keys that must be alike say so."""
    text = example(environment)
    assert [found[1] for found in ENTRY.findall(text)] == [n for names in GROUPS.values() for n in names]
    assert [line[6:] for line in text.splitlines() if line.startswith("# === ")] == list(GROUPS)
    assert set(SETTINGS) == {name for names in GROUPS.values() for name in names}
    for entry in text.split("\n\n"):
        found = ENTRY.search(entry)
        if found is not None:
            assert ("The same at all operators" in entry) == (found[2] in ALIKE)
            said = " ".join(entry.replace("\n# ", " ").split())
            assert SETTINGS[found[2]].help in said
            assert SETTINGS[found[2]].form in said


@pytest.mark.parametrize("environment", [None, *PRESETS])
def test_what_must_be_set_is_what_a_node_refuses_to_start_without(environment: str | None) -> None:
    """As it is printed, the example loads; take any line away, and it does not."""
    given = tomllib.loads(example(environment))
    preset = PRESETS.get(environment or "", {})
    assert set(given) == {n for n in NODE_REQUIRED if n not in preset} | (
        {"environment"} if preset else set()
    )
    assert NodeConfig.load(given, environ={}).operator == bytes.fromhex("1234567890" * 4)


@pytest.mark.parametrize("environment", [None, *PRESETS])
def test_every_line_of_the_example_can_be_put_in_use(
    environment: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all "#" taken away each value has its type and parses."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mpk.hex").write_text("ab" * 96)
    file = tmp_path / "all.toml"
    file.write_text("\n".join(f"{name} = {value}" for _, name, value in ENTRY.findall(example(environment))))
    settings = gather({}, environ={}, file=file)
    for name, setting in SETTINGS.items():
        assert settings.get(name) is not None, name
        if environment is None and setting.default not in (None, ()) and not setting.is_path:
            assert settings.get(name) == gather({}, environ={}).get(name), name


def test_keys_that_must_be_alike_are_those_of_a_session() -> None:
    """A parameter more in a session's id is a key more that all operators must agree on."""
    parameters = {name.replace("window_ms", "window_seconds") for name in get_type_hints(Parameters)}
    assert set(ALIKE) == parameters


def test_the_command_prints_the_example() -> None:
    """For the preset that is asked for, and none that there is not."""
    done = eigenkms("config", "example", "--environment", "mainnet")
    assert (done.returncode, done.stdout.decode()) == (0, example("mainnet"))
    assert eigenkms("config", "example", "--environment", "moon").returncode == 1


# --- check


def test_a_good_file_is_shown_with_where_each_value_comes_from(write: Write) -> None:
    """File and line, environment, preset, default, and what is worked out."""
    file = write(GOOD)
    report = check(
        file, environ={"EIGENKMS_LOG_LEVEL": "debug", "EIGENKMS_ANNOUNCE": "/dns4/a.example/tcp/1"}
    )
    assert report.problems == []
    said = {name: (e.value, e.where) for name, e in report.effective.items()}
    assert said["operator"] == (ADDRESS, f"{file} line 3")
    assert said["bn254_keystore"] == (str(file.parent / "bn254.json"), f"{file} line 4")
    assert said["log_level"] == ("debug", "the environment variable EIGENKMS_LOG_LEVEL")
    assert said["chain_id"] == ("11155111", "the preset sepolia")
    assert said["policy"] == ("closed", "the default")
    assert said["window_seconds"] == ("6.0", "the default")
    assert said["listen"] == ("/ip4/0.0.0.0/tcp/9400", "the default")
    assert "devnet_operators" not in said


@pytest.mark.parametrize("client", [False, True])
def test_one_rpc_in_two_spellings_is_a_problem_of_the_file(write: Write, client: bool) -> None:
    """A node's and a client's, and no key is shown."""
    both = '["https://u:HUSH@eth.example.org/v3/HUSH", "https://eth.example.org:443/v3/HUSH/"]'
    text = GOOD.replace('"https://user:HUSH@eth.example.org/v3/HUSH?key=HUSH"', both)
    report = check(write(text), environ={}, client=client)
    ((message, hint),) = report.problems
    assert message == (
        "open the chain RPC: rpc 1 and rpc 2 are one endpoint (https://eth.example.org:443), and so one witness"
    )
    assert "HUSH" not in f"{message} {hint}"


def test_everything_wrong_is_said_at_once(write: Write) -> None:
    """Misspelt, mistyped, out of range: each with its line, and what is right is still shown."""
    file = write(
        GOOD
        + 'intervall_blocks = 3\npolicy = 3\npoll_seconds = 900\nlisten = ["localhost"]\np2p_keystore = "p2p.json"\n'
    )
    report = check(file, environ={"EIGENKMS_HTTP_RATE": "many"})
    assert [message.replace(str(file), "FILE") for message, _ in report.problems] == [
        "read FILE line 6: there is no setting 'intervall_blocks'",
        "read policy from FILE line 7: it must be a string",
        "read listen from FILE line 9: 'localhost' is not a multiaddr such as /ip4/0.0.0.0/tcp/9400",
        "read poll_seconds from FILE line 8: 900 seconds are not in 0.05..60",
        "read http_rate from the environment variable EIGENKMS_HTTP_RATE: 'many' is not an integer",
        f"use p2p_keystore from FILE line 10: {file.parent / 'p2p.json'}: no such file",
    ]
    assert report.problems[0][1] == "did you mean interval_blocks?"
    assert report.effective["operator"].value == ADDRESS


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("", [f"read {name}: it is not set" for name in NODE_REQUIRED]),
        (
            GOOD + 'policy = "open"\n',
            ["set policy open on chain 11155111: everybody could decrypt everything"],
        ),
        (GOOD + 'http_key = "bn254.json"\n', ["use http_key without http_certificate"]),
        (GOOD.replace("sepolia", "moon"), ["read environment from FILE line 1: there is no preset 'moon'"]),
        ("avs = [\n", ["read configuration file FILE: invalid value (at end of document)"]),
    ],
)
def test_what_is_missing_or_contradicts_is_named(write: Write, text: str, messages: list[str]) -> None:
    """All that is missing; the first contradiction."""
    file = write(text)
    report = check(file, environ={})
    assert [message.replace(str(file), "FILE") for message, _ in report.problems] == messages


def test_a_client_needs_less(write: Write) -> None:
    """No operator and no keystore."""
    file = write('environment = "sepolia"\nrpc_url = "http://localhost"\navs = "' + ADDRESS + '"\n')
    assert [m for m, _ in check(file, environ={}).problems] == [
        "read operator: it is not set",
        "read bn254_keystore: it is not set",
    ]
    assert check(file, environ={}, client=True).problems == []


def test_a_url_s_secret_is_never_shown(write: Write) -> None:
    """Neither where it is right, nor where it stands in the wrong place, on the terminal or as JSON."""
    wrong = GOOD.replace(f'avs = "{ADDRESS}"', 'avs = "https://user:HUSH@eth.example.org/HUSH"')
    for text in (GOOD, wrong):
        for option in ((), ("--json",)):
            done = eigenkms("config", "check", "--config", write(text), *option)
            assert b"HUSH" not in done.stdout + done.stderr
            assert b"https://eth.example.org/" in done.stdout
    two = write(
        GOOD.replace("rpc_url = ", 'rpc_url = ["http://localhost/HUSH", ').replace('HUSH"\n', 'HUSH"]\n')
    )
    assert (
        check(two, environ={}).effective["rpc_url"].value == "http://localhost/…, https://eth.example.org/…"
    )
    assert without_url_secrets("at ws://u:p@h:1/k?q#f, and http://h/") == "at ws://h:1/… and http://h/"


def test_check_as_json_and_exit_codes(
    write: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """0 with the values, warnings included; 1 with the problems."""
    file = write(GOOD + "genesis_quorum = 3\n")
    assert run(["config", "check", "--config", str(file), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["file"], said["valid"], said["problems"]) == (str(file), True, [])
    assert "does not prevent a second one" in said["warnings"][0]
    assert said["settings"]["chain_id"] == {"value": "11155111", "from": "the preset sepolia"}
    write("chain_idd = 1\n")
    monkeypatch.setenv("EIGENKMS_CONFIG", str(file))
    assert run(["config", "check", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["valid"], said["problems"][0]["hint"]) == (False, "did you mean chain_id?")
    assert run(["config", "check"]) == 1
    assert capsys.readouterr().err.startswith(
        f"error: read {file} line 1: there is no setting 'chain_idd'\nhint: "
    )
    assert run(["config", "check", "--config", "missing"]) == 1
    assert capsys.readouterr().err.startswith("error: read configuration file missing: no such file")
