"""The environment of a release: what is in it is passed on, what cannot be is refused, and nothing of it is shown."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eigenkms.applications import AppRelease, ContainerPolicy, UnusableReleaseError
from eigenkms.client import ciphertexts
from eigenkms.client.attesters import EcdsaAttester
from eigenkms.client.release_environment import MAX_BYTES, Secrets, parse_environment
from eigenkms.crypto.ibe_v2 import Recipient
from eigenkms.errors import ChainError, InputError, RefusedError, VerificationError
from eigenkms.types import AppId, ClusterId
from tests.support.attested_network import APP, CREATOR_KEY, DIGEST, Register, guarded
from tests.support.fake_network import CLUSTER, FakeNetwork, network_client

CREATOR = EcdsaAttester(CREATOR_KEY)
PUBLIC = b'{"MODE": "prod", "REGION": "eu"}'
SEALED = {"API_KEY": "s3cr3t \N{KEY}", "MODE": "secret mode"}


def seal(network: FakeNetwork, text: bytes, *, version: int = 2, app: AppId = APP) -> bytes:
    recipient = Recipient(app, CLUSTER, network.epoch.transcript.mpk)
    return ciphertexts.encrypt(recipient, text, version)


def released(public: bytes = PUBLIC, encrypted: bytes = b"") -> Register:
    register = Register()
    register.publish(CREATOR.address, AppRelease(DIGEST, "", ContainerPolicy(), public, encrypted))
    return register


@pytest.mark.parametrize("version", [1, 2])
async def test_secrets_are_the_releases_environment(
    network: FakeNetwork, known: Path, tmp_path: Path, version: int
) -> None:
    """Of both versions of ciphertexts; a name that is public too has its encrypted value."""
    register = released(encrypted=seal(network, json.dumps(SEALED).encode(), version=version))
    async with (
        guarded(network, register, tmp_path),
        network_client(network, known, applications=register) as client,
    ):
        secrets = await client.fetch_secrets(APP, CREATOR)
    assert dict(secrets) == {"API_KEY": "s3cr3t \N{KEY}", "MODE": "secret mode", "REGION": "eu"}
    assert list(secrets) == ["MODE", "REGION", "API_KEY"]


async def test_whoever_has_no_right_gets_none(network: FakeNetwork, known: Path, tmp_path: Path) -> None:
    """Neither without evidence nor with another account's."""
    register = released(encrypted=seal(network, json.dumps(SEALED).encode()))
    async with (
        guarded(network, register, tmp_path),
        network_client(network, known, applications=register) as client,
    ):
        for attester in (None, EcdsaAttester(b"\x12" * 32)):
            with pytest.raises(RefusedError):
                await client.fetch_secrets(APP, attester)


async def test_where_nothing_is_encrypted_nobody_is_asked(network: FakeNetwork, known: Path) -> None:
    """Nobody is there, and it is no trouble."""
    async with network_client(network, known, applications=released()) as client:
        assert dict(await client.fetch_secrets(APP)) == {"MODE": "prod", "REGION": "eu"}


async def test_what_is_not_on_chain_is_told(network: FakeNetwork, known: Path) -> None:
    """No contract, no application, no release, no chain: each by its own sentence, before any operator is asked."""
    register = released()
    register.known[APP] = replace(register.known[APP], release=None)
    broken = Register(trouble=ChainError("read it: down"))
    for applications, app, error, words in (
        (None, APP, InputError, "the contract that knows applications is not configured"),
        (Register(), APP, InputError, "the chain knows no such application"),
        (register, APP, InputError, "it has no confirmed release"),
        (broken, APP, ChainError, "read it: down"),
    ):
        async with network_client(network, known, applications=applications) as client:
            with pytest.raises(error, match=words):
                await client.fetch_secrets(app)


async def test_an_encrypted_environment_that_cannot_be_opened_costs_no_request(
    network: FakeNetwork, known: Path
) -> None:
    """It is no ciphertext, too large a one, or one for another cluster."""
    mpk = network.epoch.transcript.mpk
    elsewhere = ciphertexts.encrypt(Recipient(APP, ClusterId(b"\x01" * 32), mpk), b"{}")
    for sealed, error, words in (
        (b"{}", UnusableReleaseError, "read the encrypted environment: "),
        (b"IBE" + bytes(2 * MAX_BYTES), UnusableReleaseError, "more than 2097152 bytes"),
        (elsewhere, VerificationError, "the ciphertext is for cluster 0101"),
    ):
        async with network_client(network, known, applications=released(encrypted=sealed)) as client:
            with pytest.raises(error, match=words):
                await client.fetch_secrets(APP, CREATOR)


@pytest.mark.parametrize("text", [b'{"A": 1}', b"[]", b'{"A=": "x"}'])
async def test_what_is_encrypted_must_be_an_environment(
    network: FakeNetwork, known: Path, tmp_path: Path, text: bytes
) -> None:
    """As the public one."""
    register = released(encrypted=seal(network, text))
    async with (
        guarded(network, register, tmp_path),
        network_client(network, known, applications=register) as client,
    ):
        with pytest.raises(UnusableReleaseError, match="read the encrypted environment"):
            await client.fetch_secrets(APP, CREATOR)


async def test_an_environment_that_is_for_another_application_does_not_open(
    network: FakeNetwork, known: Path, tmp_path: Path
) -> None:
    """Whoever copies it into a release of its own gets nothing: exit code 4."""
    register = released(encrypted=seal(network, b"{}", app=AppId("0x" + "cd" * 20)))
    async with (
        guarded(network, register, tmp_path),
        network_client(network, known, applications=register) as client,
    ):
        with pytest.raises(VerificationError):
            await client.fetch_secrets(APP, CREATOR)


# -- text --------------------------------------------------------------------------------------------------------

TOLD = "tell-tale"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b'["tell-tale"]',
        b'"tell-tale"',
        b'{"A": "tell-tale"',
        b'{"A": "tell-tale", "B": 1}',
        b'{"A": "tell-tale", "B": null}',
        b'{"A": "tell-tale", "B": {"C": "D"}}',
        b'{"A": "tell-tale", "A": "tell-tale"}',
        b'{"A": "tell-tale", "\\u0041": "x"}',
        b'{"A": "tell-tale\xff"}',
        b'\xef\xbb\xbf{"A": "tell-tale"}',
        b'{"": "tell-tale"}',
        b'{"tell-tale=": "tell-tale"}',
        b'{"A\\u0000": "tell-tale"}',
        b'{"A": "tell-tale\\u0000"}',
        b'{"A": "tell-tale\\ud800"}',
        b'{"\\udfff": "tell-tale"}',
        b"[" * 100_000,
        b'{"A": "' + b"tell-tale" * (MAX_BYTES // 8) + b'"}',
    ],
    ids=range(20),
)
def test_what_is_no_environment_is_refused(text: bytes) -> None:
    """With nothing of it in what is raised."""
    with pytest.raises(UnusableReleaseError) as error:
        parse_environment(text, "public")
    assert TOLD not in f"{error.value} {error.value.hint} {error.value.__context__}"
    assert "read the public environment: " in str(error.value)
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'\xef\xbb\xbf{"A": "tell-tale"}', "it begins with a byte-order mark; save it without one"),
        ('{"A": "tell-tale"}'.encode("utf-16"), "it is UTF-16 text; save it as UTF-8"),
    ],
)
def test_a_byte_order_mark_before_an_environment_is_named(text: bytes, words: str) -> None:
    """It is on chain, where other programs read it too."""
    with pytest.raises(UnusableReleaseError, match=f"^read the encrypted environment: {words}$"):
        parse_environment(text, "encrypted")


names = st.text(st.characters(exclude_characters="=\0", codec="utf-8"), min_size=1)
values = st.text(st.characters(exclude_characters="\0", codec="utf-8"))


@given(st.dictionaries(names, values))
def test_what_an_environment_can_have_is_read(wanted: dict[str, str]) -> None:
    """Any such names and texts, in their order."""
    found = parse_environment(json.dumps(wanted).encode(), "public")
    assert list(found.items()) == list(wanted.items())
    assert parse_environment(json.dumps(wanted, ensure_ascii=False).encode(), "public") == wanted


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(text: bytes) -> None:
    """And nothing else is raised."""
    try:
        parse_environment(text, "public")
    except UnusableReleaseError:
        return


def test_values_are_shown_on_purpose_alone() -> None:
    """Neither by repr, nor by str, nor inside other things; it is a mapping all the same, which nobody can change."""
    secrets = Secrets({"A": "hidden", "B": "hidden"})
    for shown in (repr(secrets), str(secrets), f"{[secrets]}", f"{secrets}"):
        assert "hidden" not in shown
        assert "'A', 'B': values redacted" in shown
    assert (secrets["A"], len(secrets), dict(secrets)) == ("hidden", 2, {"A": "hidden", "B": "hidden"})
    assert not hasattr(secrets, "__setitem__")
