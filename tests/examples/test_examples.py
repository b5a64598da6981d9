"""Every example, and every block of the library's page, runs against a real network as it stands there."""

import json
import re
from pathlib import Path

import pytest
from eth_account import Account

from tests.examples.conftest import Devnet, run
from tests.support.doc_pages import ROOT, page
from tests.support.live_network import eigenkms
from tests.support.token_issuer import DIGEST

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:Async generator 'httpx:ResourceWarning"
    ),  # a request that the client cancelled
]

EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def app_id(devnet: Devnet) -> str:
    """The application that the first example deploys."""
    printed = run(EXAMPLES / "deploy_and_fetch.py", devnet.folder)
    assert "without attestation: exit code 3, collect partial signatures: 0 of 4" in printed
    assert "as the creator: <Secrets 'MODE', 'API_KEY': values redacted>" in printed
    assert printed.endswith("eigenkms exec has the same in its environment\n")
    found = re.search(r"created application (0x[0-9a-f]{40})\n", printed)
    assert found is not None
    return found[1]


def test_from_deployment_to_decrypted_secret(app_id: str) -> None:
    """Created, encrypted, released, refused to whoever shows nothing, fetched by the creator, and passed to a command."""
    assert app_id.startswith("0x")


def test_a_plain_script_encrypts_and_decrypts(devnet: Devnet, app_id: str) -> None:
    """Without trio."""
    printed = run(EXAMPLES / "plain_script.py", devnet.folder, app_id)
    assert printed.splitlines()[-1] == "attack at dawn"


def test_a_workload_fetches_its_secrets(devnet: Devnet, app_id: str) -> None:
    """With a token for each operator that it asks, from a launcher and an issuer like Google's."""
    devnet.launcher.app_id = app_id
    printed = run(EXAMPLES / "workload.py", devnet.config, app_id, devnet.launcher.socket)
    assert printed == "serving with <Secrets 'MODE', 'API_KEY': values redacted>\n"
    nonces = [wanted["nonces"] for _, wanted in devnet.launcher.asked]
    assert len(nonces) >= 3
    assert all(len(each) == 1 for each in nonces)


def test_the_command_line_fetches_secrets_as_a_workload(devnet: Devnet, app_id: str) -> None:
    """``secrets get`` and ``exec`` with tokens. Those of another application's VM are refused: exit code 3, and nothing is run."""
    devnet.launcher.app_id = app_id
    gcp = ("--attest", "gcp", "--launcher-socket", devnet.launcher.socket)
    where = ("--config", devnet.config, "--app-id", app_id)
    done = eigenkms("secrets", "get", *where, *gcp, "MODE")
    assert (done.code, done.out) == (0, "production")
    replaced = run("-m", "eigenkms.cli.main", "exec", *where, *gcp, "--", "sh", "-c", "echo $MODE")
    assert replaced == "production\n"
    devnet.launcher.app_id = "0x" + "ee" * 20
    done = eigenkms("exec", *where, *gcp, "--", "echo", "run")
    assert (done.code, done.out) == (3, "")
    assert "wrong-application: the evidence is of another application" in done.err


def test_the_command_line_decrypts_for_whoever_has_a_right(
    devnet: Devnet, app_id: str, tmp_path: Path
) -> None:
    """As the container, and as the creator with a keystore of geth; without a right it is exit code 3 and no file."""
    devnet.launcher.app_id = app_id
    where = ("--config", devnet.config, "--app-id", app_id)
    plain, sealed, keystore, password = (
        tmp_path / name for name in ("plain", "sealed", "key.json", "password")
    )
    plain.write_bytes(b"attack at dawn")
    assert eigenkms("encrypt", *where, "-o", sealed, plain).code == 0
    key = bytes.fromhex((devnet.folder / "creator.key").read_text())
    keystore.write_text(json.dumps(Account.encrypt(key, "pass", kdf="pbkdf2", iterations=2)))
    password.write_text("pass\n")
    for path in (keystore, password):
        path.chmod(0o600)
    creator = ("--attest", "ecdsa", "--ecdsa-key-file", keystore, "--password-file", password)
    workload = ("--attest", "gcp", "--launcher-socket", devnet.launcher.socket)
    for right in (creator, workload):
        done = eigenkms("decrypt", *where, *right, sealed)
        assert (done.code, done.out) == (0, "attack at dawn")
    done = eigenkms("decrypt", *where, "-o", tmp_path / "none", sealed)
    assert (done.code, done.out) == (3, "")
    assert "no-authorisation: the request shows no right to the key" in done.err
    assert not (tmp_path / "none").exists()


def test_the_librarys_page_works_block_by_block(devnet: Devnet, app_id: str, tmp_path: Path) -> None:
    """In one program, in order, with this network's settings in the place of those that the first block shows."""
    blocks = [block for block in page("docs/library.md").blocks if block.language == "python"]
    assert len(blocks) > 5
    here = f"""
import sys
sys.path.insert(0, {str(EXAMPLES)!r})
from pathlib import Path
from network import read_settings
from eigenkms.client import AppId, EcdsaAttester
assert isinstance(settings, ClientSettings)
settings = read_settings(Path({str(devnet.config)!r}))
attester = EcdsaAttester(bytes.fromhex(Path({str(devnet.folder / "creator.key")!r}).read_text()))
app_id = AppId({app_id!r})
"""
    program = tmp_path / "page.py"
    program.write_text(
        "\n".join([blocks[0].text, here, *(block.text for block in blocks[1:]), "print('done')"])
    )
    assert run("-W", "error::DeprecationWarning:__main__", program).splitlines() == [
        "<Secrets 'MODE', 'API_KEY': values redacted>",
        "done",
    ]


def test_every_example_is_listed_and_run() -> None:
    """By its name, in the folder's own page and in this file."""
    listed, here = (EXAMPLES / "README.md").read_text(), Path(__file__).read_text()
    for path in EXAMPLES.glob("*.py"):
        assert path.name in listed
        assert path.name in here or path.name == "network.py"


def test_the_image_is_the_launchers() -> None:
    """The example releases the digest that the launcher of the tests attests."""
    assert f'"sha256:" + "{DIGEST.hex()[:2]}" * 32' in (EXAMPLES / "deploy_and_fetch.py").read_text()
