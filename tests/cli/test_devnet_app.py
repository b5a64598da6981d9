"""``eigenkms devnet app``: what is wrong with a command is told before any network is asked; what is shown commands no terminal."""

import json
from pathlib import Path

import pytest

from eigenkms.applications import Application, AppRelease, AppStatus, ContainerPolicy
from eigenkms.cli.devnet_app import _print, facts
from eigenkms.cli.main import run
from eigenkms.types import AppId
from tests.support.private_files import write_private

NOWHERE = ("--rpc-url", "http://127.0.0.1:1", "--avs", "0x" + "a1" * 20)
NOWHERE += ("--allocation-manager", "0x" + "a2" * 20, "--key-registrar", "0x" + "a3" * 20)
CHAIN = (*NOWHERE, "--environment", "devnet", "--app-controller", "0x" + "a4" * 20)
APP = ("--app-id", "0x" + "5f" * 20)
DIGEST = ("--image-digest", "sha256:" + "5a" * 32)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    write_private(Path("key"), "11" * 32)
    for name in ("EIGENKMS_CONFIG", "EIGENKMS_ECDSA_KEY", "EIGENKMS_APP_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("create", *CHAIN, "--registry", "r"), "read the release: the digest of its image is not given"),
        (("create", *CHAIN, "--env", "A=1"), "read the release: the digest of its image is not given"),
        (("release", *CHAIN, *APP), "read the release: the digest of its image is not given"),
        (("create", *CHAIN, "--image-digest", "5a" * 31), "read image digest '5a5a"),
        (("create", *CHAIN, "--image-digest", "sha256:" + "5A" * 32), "read image digest 'sha256:5A"),
        (("create", *CHAIN, "--image-digest", "sha512:" + "5a" * 32), "read image digest 'sha512:5a"),
        (("create", *CHAIN, *DIGEST, "--env", "A"), "read environment variable 'A': it is not NAME=VALUE"),
        (("create", *CHAIN, *DIGEST, "--env-override", "=1"), "read environment variable '=1'"),
        (("create", *CHAIN, *DIGEST, "--public-env", "absent"), "read absent: no such file"),
        (("create", *CHAIN, *DIGEST), "create an application: the key of the application's creator"),
        (("release", *CHAIN, *APP, *DIGEST), "publish a release: the key of the application's creator"),
        (("stop", *CHAIN, *APP), "stop application 0x5f5f"),
        (("start", *CHAIN), "read app_id: it is not set"),
        (
            ("show", *NOWHERE, "--chain-id", "31337", *APP),
            "look up applications: the contract that knows them",
        ),
    ],
)
def test_a_wrong_command_names_what_is_wrong(
    words: tuple[str, ...], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, with a hint or the option's name, and nothing on stdout."""
    assert run(["devnet", "app", *words]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: {error}")


def test_a_public_environment_larger_than_a_release_is_not_read(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever stands at the other end of stdin, or in a file."""
    Path("large").write_bytes(b" " * 200_000)
    assert run(["devnet", "app", "create", *CHAIN, *DIGEST, "--public-env", "large"]) == 1
    assert capsys.readouterr().err.startswith("error: read large: more than 131072 bytes")


RELEASE = AppRelease(
    b"\x5a" * 32,
    "docker.io/\x1b]0;evil\x07",
    ContainerPolicy(args=("\x9b31m",), env=(("A", "1"), ("A", "2"))),
    b'{"K": "v"}',
    b"\x00" * 7,
)
SHOWN = Application(AppId("0x" + "5f" * 20), b"\xc1" * 20, AppStatus.STARTED, RELEASE)


def test_json_has_the_documented_fields() -> None:
    """All of a release, and null for all of it where there is none."""
    empty = Application(SHOWN.app_id, SHOWN.creator, AppStatus.CREATED, None)
    assert facts(SHOWN) == {
        "app_id": "0x" + "5f" * 20,
        "creator": "0x" + "c1" * 20,
        "status": "started",
        "image_digest": "sha256:" + "5a" * 32,
        "registry": "docker.io/\x1b]0;evil\x07",
        "public_env": {"K": "v"},
        "encrypted_env_bytes": 7,
        "args": ["\x9b31m"],
        "cmd_override": [],
        "env": ["A=1", "A=2"],
        "env_override": [],
        "restart_policy": "",
    }
    assert facts(empty).keys() == facts(SHOWN).keys()
    assert list(facts(empty).values())[3:] == [None] * 9


@pytest.mark.parametrize("as_json", [True, False])
def test_what_a_creator_wrote_commands_no_terminal(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """No control character of a release gets out."""
    _print(SHOWN, as_json=as_json)
    out = capsys.readouterr().out
    assert all(character.isprintable() or character == "\n" for character in out)
    assert "evil" in out
    if as_json:
        assert json.loads(out) == facts(SHOWN)


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (("--attestation-method", "gcp"), "enable the method gcp: the Google Cloud project"),
        (
            ("--attestation-method", "intel", "--attestation-project", "p"),
            "run scenario genesis: it decrypts as an application's creator",
        ),
        (("--scenario", "rotation"), "run scenario rotation: its client decrypts for everybody"),
    ],
)
def test_a_story_that_cannot_be_told_is_not_begun(
    flags: tuple[str, ...], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No network is started for operators that would not start, or a client that has no right."""
    assert run(["devnet", "run", "--policy", "attested", *flags]) == 1
    assert capsys.readouterr().err.startswith(f"error: {error}")
