"""An application that is an address is one application however it is spelled, at each verb that takes its name."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from eigenkms.cli.main import run
from eigenkms.client import api
from eigenkms.client.ciphertexts import decrypt, encrypt
from eigenkms.crypto import ibe
from eigenkms.crypto.bls import partial_sign
from eigenkms.crypto.ibe_identities import identity_of
from eigenkms.crypto.ibe_v2 import ApplicationKey, Recipient
from eigenkms.types import AppId, ExactAppId
from eigenkms.wire.session import cluster_id
from tests.cli.conftest import CLUSTER, CLUSTER_FLAGS, MASTER_SECRET, clean_environment, eigenkms, lines
from tests.cli.test_evidence import NETWORK
from tests.support.fake_network import CLUSTER as NETWORK_CLUSTER
from tests.support.fake_network import FakeNetwork, Honest, make_network, network_client, operator_hosts
from tests.support.randomness import counter_rng
from tests.support.waiting import PATIENCE

SPELLED = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
LOWER = SPELLED.lower()
SPELLINGS = (SPELLED, LOWER, LOWER.upper(), "0x" + LOWER[2:].upper())
WRONG = "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
SECRET = b"the secret\n"


def key_of(app_id: str, version: int, mpk: str) -> ApplicationKey:
    """The key of the identity with exactly these bytes."""
    owner = Recipient(AppId(app_id), cluster_id(CLUSTER), bytes.fromhex(mpk))
    return ApplicationKey(owner, partial_sign(MASTER_SECRET, identity_of(version, owner.cluster, app_id)))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("spelled", SPELLINGS)
def test_each_spelling_is_encrypted_for_the_same_application(spelled: str, version: int, mpk: str) -> None:
    """By a flag or by the environment; what is hashed is the lower case one."""
    words = ("encrypt", "--mpk", mpk, *CLUSTER_FLAGS, "--format", str(version))
    for done in (
        eigenkms(*words, "--app-id", spelled, stdin=SECRET),
        eigenkms(*words, stdin=SECRET, EIGENKMS_APP_ID=spelled),
    ):
        assert (done.returncode, done.stderr) == (0, b"")
        assert decrypt(key_of(LOWER, version, mpk), done.stdout) == SECRET


def test_version_1_is_byte_for_byte_that_of_the_reference(mpk: str) -> None:
    """It hashes the id that it is given: so does --exact-app-id, and so do we with the canonical one."""
    words = ("encrypt", "--mpk", mpk, "--format", "1", "--app-id", SPELLED)
    exact = eigenkms(*words, "--exact-app-id", stdin=SECRET).stdout
    assert ibe.decrypt(SPELLED, key_of(SPELLED, 1, mpk).secret, exact) == SECRET
    usual = eigenkms(*words, stdin=SECRET).stdout
    assert ibe.decrypt(LOWER, key_of(LOWER, 1, mpk).secret, usual) == SECRET


@pytest.mark.parametrize(
    "words",
    [
        ("encrypt", "--exact-app-id"),
        ("encrypt",),
        ("decrypt", "missing"),
        ("exec", "--", "true"),
        ("secrets", "get"),
        ("audit", "show", "missing"),
        ("devnet", "app", "show"),
    ],
)
def test_a_wrong_checksum_is_refused_by_every_verb(words: tuple[str, ...], mpk: str) -> None:
    """By its name, before anything is read or asked."""
    verb = 2 if words[0] in ("secrets", "audit") else 3 if words[0] == "devnet" else 1
    more = ("--mpk", mpk) if words[0] == "encrypt" else ()
    done = eigenkms(*words[:verb], "--app-id", WRONG, *more, *words[verb:], stdin=SECRET)
    assert (done.returncode, done.stdout) == (1, b"")
    assert lines(done.stderr) == [
        f"error: read application id {WRONG}: the checksum of this address (EIP-55) is wrong",
        "hint: a character was mistyped: copy it again, or write it in lower case if you are sure of it",
    ]


@pytest.mark.parametrize(
    "name", [LOWER[2:], SPELLED[2:], f" {LOWER}", f"{LOWER}\n", LOWER[:-1], f"{SPELLED}0"]
)
def test_a_name_that_is_nearly_an_address_is_warned_of(name: str, mpk: str) -> None:
    """It is a name of its own all the same: a git commit looks like one."""
    done = eigenkms("encrypt", "--app-id", name, "--mpk", mpk, *CLUSTER_FLAGS, stdin=SECRET)
    assert done.returncode == 0
    said = f"warning: application id {name!r} is taken as a name: an address is 0x and 40 hex digits, without blanks"
    assert lines(done.stderr) == [said]
    assert decrypt(key_of(name, 2, mpk), done.stdout) == SECRET


# -- with operators ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network() -> FakeNetwork:
    return make_network()


@pytest.fixture
def _operators(network: FakeNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real hosts of four operators that answer while a verb runs in this process; the chain is the network's."""

    @asynccontextmanager
    async def open_client(_settings: object) -> AsyncIterator[api.Client]:
        async with (
            operator_hosts(network, [Honest(network)] * 4),
            network_client(network, tmp_path / "known") as client,
        ):
            yield client

    monkeypatch.setattr(api, "open_client", open_client)
    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)


def decrypting(content: bytes, folder: Path, *more: str) -> int:
    (folder / "in").write_bytes(content)
    return run(["decrypt", "--timeout", str(PATIENCE), *NETWORK, *more, str(folder / "in")])


@pytest.mark.usefixtures("_operators")
@pytest.mark.parametrize("version", [1, 2])
def test_what_one_spelling_encrypted_every_other_decrypts(
    version: int, network: FakeNetwork, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """By the library as by the verb, which share no code before the ciphertext."""
    mpk = network.epoch.transcript.mpk
    for written, read in ((SPELLED, LOWER), (LOWER, SPELLED), (SPELLINGS[2], SPELLINGS[3])):
        content = encrypt(Recipient(AppId(written), NETWORK_CLUSTER, mpk), SECRET, version)
        assert decrypting(content, tmp_path, "--app-id", read) == 0
        assert capsysbinary.readouterr().out == SECRET


@pytest.mark.usefixtures("_operators")
@pytest.mark.parametrize("version", [1, 2])
def test_what_was_encrypted_under_another_spelling_is_opened_by_the_hint(
    version: int, network: FakeNetwork, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """By the reference, or before spellings were one: exit 4, and the hint is what to type."""
    mpk = network.epoch.transcript.mpk
    content = encrypt(Recipient(ExactAppId(SPELLED), NETWORK_CLUSTER, mpk), SECRET, version)
    if version == 1:
        content = ibe.encrypt(SPELLED, mpk, SECRET, counter_rng("reference"))
    assert decrypting(content, tmp_path, "--app-id", SPELLED) == 4
    out, err = capsysbinary.readouterr()
    *_, error, hint = lines(err)
    assert error.startswith(
        f"error: decrypt for application '{LOWER}': the key does not open this ciphertext"
    )
    _, _, advice = hint.partition(f"what was encrypted for the spelling {SPELLED} is opened with ")
    assert (out, advice) == (b"", f"--app-id {SPELLED} --exact-app-id")
    assert decrypting(content, tmp_path, *advice.split()) == 0
    assert capsysbinary.readouterr().out == SECRET
