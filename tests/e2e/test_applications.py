"""Applications on chain, and operators that ask for a right to the key: real processes, and tokens of an issuer of our own."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from eigenkms.client.attesters import AUDIENCE, ConfidentialSpaceAttester, EcdsaAttester
from eigenkms.storage.known_applications import KNOWN_APPLICATIONS_NAME
from eigenkms.types import AppId
from eigenkms.wire.authorisation import Authorisation, Refusal, Scope
from tests.authorisation.test_pipeline import signed
from tests.e2e.attested import Attested
from tests.node.test_attested_network import bad_signatures, bad_tokens
from tests.support.launcher import fresh
from tests.support.live_network import eigenkms_process
from tests.support.private_files import write_private
from tests.support.token_issuer import DIGEST, gcp_claims, token

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
IMAGE = "sha256:" + DIGEST.hex()
ANOTHER_IMAGE = "sha256:" + "77" * 32


def write(path: Path, value: Any) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_from_deployment_to_decrypted_secrets(attested: Attested, tmp_path: Path) -> None:
    """Created, encrypted for, released, started; then its creator and its container have its secrets, and nobody else."""
    net = attested.net
    app = attested.created()
    assert json.loads(attested.app("show", "--app-id", app, "--json").out)["status"] == "created"

    public = write(tmp_path / "public.json", {"MODE": "prod"})
    secret = write(tmp_path / "secret.json", {"API_KEY": "attack at dawn"})
    said = net.eigenkms("encrypt", "--app-id", app, "-a", "-o", tmp_path / "secret.ibe", secret)
    assert said.code == 0, said.err
    flags = ("--public-env", public, "--encrypted-env", tmp_path / "secret.ibe", "--image-digest", IMAGE)
    attested.app("release", "--app-id", app, *flags)
    attested.app("start", "--app-id", app)

    expected = {"MODE": "prod", "API_KEY": "attack at dawn"}
    launcher = ("--launcher-socket", attested.workload(app))
    for shown in (("--attest", "ecdsa"), ("--attest", "gcp", *launcher), ("--attest", "intel", *launcher)):
        said = attested.secrets("--app-id", app, "--json", *shown)
        assert said.code == 0, said.err
        assert json.loads(said.out) == expected
    stranger = write_private(tmp_path / "stranger.key", "11" * 32 + "\n")
    said = attested.secrets("--app-id", app, "--attest", "ecdsa", "--ecdsa-key-file", stranger)
    assert said.code == 3
    assert Refusal.NOT_CREATOR in said.err
    assert attested.secrets("--app-id", app).code == 3


def test_what_create_says_is_what_is_on_chain(attested: Attested, tmp_path: Path) -> None:
    """Every option of a release is read back as it was given; the creator may have a key of its own."""
    key = write_private(tmp_path / "own.key", "22" * 32 + "\n")
    flags = ["--image-digest", IMAGE, "--registry", "docker.io/acme/app", "--restart-policy", "Never"]
    flags += ["--arg", "serve", "--arg", "--fast", "--cmd-override", "/app"]
    flags += ["--env", "HOME=/", "--env", "A=b=c", "--env-override", "MODE="]
    said = attested.app("create", *flags, "--ecdsa-key-file", key, "--json")
    made = json.loads(said.out)
    assert made == {
        "app_id": made["app_id"],
        "creator": "0x" + EcdsaAttester(b"\x22" * 32).address.hex(),
        "status": "started",
        "image_digest": IMAGE,
        "registry": "docker.io/acme/app",
        "public_env": {},
        "encrypted_env_bytes": 0,
        "args": ["serve", "--fast"],
        "cmd_override": ["/app"],
        "env": ["HOME=/", "A=b=c"],
        "env_override": ["MODE="],
        "restart_policy": "Never",
    }
    assert attested.ask(made["app_id"], EcdsaAttester(b"\x22" * 32)) == "granted"
    said = attested.app("stop", "--app-id", made["app_id"], code=2)
    assert "only the account that created the application" in said.err


def test_only_a_started_application_gets_keys(attested: Attested) -> None:
    """One that the chain does not know, or that is stopped, suspended or terminated, gets none; started again, it does.

    An operator keeps which applications it found, for its next start.
    """
    assert attested.ask(AppId("0x" + "33" * 20)) == Refusal.UNKNOWN_APPLICATION
    assert attested.ask(AppId("my-app")) == Refusal.UNKNOWN_APPLICATION
    app = attested.created("--image-digest", IMAGE)
    assert attested.ask(app) == "granted"
    kept = (attested.net.members[0].folder / "data" / KNOWN_APPLICATIONS_NAME).read_bytes()
    assert kept.endswith(bytes.fromhex(app[2:]))
    assert b"\x33" * 20 not in kept
    not_running = Refusal.APPLICATION_NOT_RUNNING
    for verb, expected in (
        ("stop", not_running),
        ("start", "granted"),
        ("suspend", not_running),
        ("resume", not_running),
        ("start", "granted"),
        ("terminate", not_running),
    ):
        attested.app(verb, "--app-id", app)
        assert attested.asked_until(expected, app) == expected, verb
    assert attested.app("start", "--app-id", app, code=2).err.startswith("error: start application")


def test_a_new_release_is_seen(attested: Attested) -> None:
    """The container that runs is refused until what it runs is released, and again once something else is."""
    app = attested.created("--image-digest", ANOTHER_IMAGE)
    workload = ConfidentialSpaceAttester("gcp", socket=attested.workload(app))
    assert attested.ask(app, workload) == Refusal.WRONG_IMAGE
    attested.app("release", "--app-id", app, "--image-digest", IMAGE, "--arg", "serve", "--arg", "--slow")
    assert attested.asked_until(Refusal.WRONG_CONTAINER, app, workload) == Refusal.WRONG_CONTAINER
    attested.app("release", "--app-id", app, "--image-digest", IMAGE, "--arg", "serve", "--arg", "--fast")
    assert attested.asked_until("granted", app, workload) == "granted"
    attested.app("release", "--app-id", app, "--image-digest", ANOTHER_IMAGE)
    assert attested.asked_until(Refusal.WRONG_IMAGE, app, workload) == Refusal.WRONG_IMAGE


def test_evidence_is_good_once_at_one_operator(attested: Attested) -> None:
    """Whoever captured a request, an operator for one, gets nothing for it: not there again, nor anywhere else."""
    app = attested.created("--image-digest", IMAGE)
    socket = attested.workload(app)
    for attester, elsewhere in (
        (attested.creator(), Refusal.NOT_CREATOR),
        (ConfidentialSpaceAttester("gcp", socket=socket), Refusal.NOT_BOUND),
        (ConfidentialSpaceAttester("intel", socket=socket), Refusal.NOT_BOUND),
    ):
        scope = attested.scope(0, app)
        shown = attested.evidence(attester, scope)
        assert attested.outcome(0, attested.scope(0, app), shown) == elsewhere, "another reply key"
        for index in (1, 2):
            there = Scope(scope.cluster, attested.scope(index, app).operator, app, scope.reply_key)
            assert attested.outcome(index, there, shown) == elsewhere
        assert attested.outcome(0, scope, shown) == "granted"
        assert attested.outcome(0, scope, shown) == Refusal.ALREADY_USED
    assert attested.outcome(0, attested.scope(0, app), None) == Refusal.NO_AUTHORISATION


def test_each_bad_proof_is_refused_with_its_code(attested: Attested) -> None:
    """Tokens and signatures, each wrong in one way, at a real node; then the honest ones are granted."""
    app = attested.created("--image-digest", IMAGE)
    socket = attested.workload(app)
    scope, now = attested.scope(0, app), int(time.time())
    claims = gcp_claims(scope.nonce)
    claims["submods"]["gce"]["instance_name"] = f"tee-{app}"
    claims = fresh(claims, AUDIENCE, now)
    margin = 1200  # seconds that the test may take: what is from the future must stay so
    key = bytes.fromhex(attested.net.network.creator_key.read_text())
    cases = [("gcp", *case) for case in bad_tokens(claims, now + margin) if not case[0].startswith("exp ")]
    cases.append(("gcp", "expired", token({**claims, "exp": now - 1}), Refusal.EVIDENCE_EXPIRED))
    signatures = bad_signatures(scope, key, now)  # these operators accept the reference's text
    cases += [
        ("ecdsa", *case) for case in signatures if case[0] not in ("from the future", "the reference's text")
    ]
    later = signed(scope, key=key, at=now + 31 + margin).authorisation.evidence
    cases.append(("ecdsa", "from the future", later, Refusal.EVIDENCE_FROM_FUTURE))
    found = {what: attested.outcome(0, scope, Authorisation(method, bad)) for method, what, bad, _ in cases}
    assert found == {what: str(code) for _, what, _, code in cases}
    assert len(found) == len(cases) == 27
    for good in (attested.creator(), ConfidentialSpaceAttester("gcp", socket=socket)):
        assert attested.ask(app, good) == "granted"


@pytest.mark.parametrize(
    ("line", "code", "error", "hint"),
    [
        ("", 1, "error: set policy attested: this node has no way to look", "hint: give --app-controller"),
        (
            f'app_controller = "0x{"77" * 20}"',
            2,
            f"error: check app controller 0x{'77' * 20} on chain 31337: there is no contract",
            "hint: correct the app controller address",
        ),
    ],
)
def test_a_node_that_cannot_look_applications_up_does_not_start(
    attested: Attested, tmp_path: Path, line: str, code: int, error: str, hint: str
) -> None:
    """It says what to give it."""
    kept = attested.net.members[0].config.read_text().splitlines()
    kept = [each for each in kept if not each.startswith(("app_controller", "log_format"))]
    config = write(tmp_path / "node.toml", "\n".join([*kept, line]))
    said = eigenkms_process("node", "--config", config, "--data-dir", tmp_path / "data")
    assert said.code == code
    assert any(each.startswith(error) for each in said.err.splitlines()), said.err
    assert any(each.startswith(hint) for each in said.err.splitlines()), said.err
