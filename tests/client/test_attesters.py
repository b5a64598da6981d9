"""Evidence is made anew for each request, and is what an operator accepts; where there is none, it is said why."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from eth_account import Account

from eigenkms.attestation.confidential_space import GCP, INTEL, ConfidentialSpace, Expectations, Service
from eigenkms.attestation.ecdsa import Ecdsa
from eigenkms.attestation.interface import Context
from eigenkms.attestation.jwks import KeySource
from eigenkms.client import attesters
from eigenkms.client.attesters import AUDIENCE, ConfidentialSpaceAttester, EcdsaAttester
from eigenkms.client.errors import AttesterError
from eigenkms.errors import InputError
from eigenkms.types import AppId, OperatorAddress
from eigenkms.wire.authorisation import Scope
from tests.support.fake_network import CLUSTER
from tests.support.launcher import Answer, Launcher, launch
from tests.support.token_issuer import (
    APP,
    GCP_ISSUER,
    INTEL_ISSUER,
    NOW,
    PROJECT,
    Authority,
    Endpoint,
    jwk,
    jwk_set,
    make_authority,
    serve,
)

KEY = b"\x11" * 32
SCOPE = Scope(CLUSTER, OperatorAddress(b"\x07" * 20), AppId(APP), b"\x03" * 32)


@pytest.fixture
async def launcher(tmp_path: Path) -> AsyncIterator[Launcher]:
    async with launch(tmp_path / "tee.sock", APP, lambda: NOW) as found:
        yield found


# -- ecdsa -------------------------------------------------------------------------------------------------------


async def test_a_signature_is_what_operators_verify() -> None:
    """By the account of the key, for this scope and no other, low-s, and each time another."""
    attester = EcdsaAttester(KEY, clock=lambda: NOW + 0.9)
    assert attester.address.hex() == Account.from_key(KEY).address[2:].lower()
    first, second = await attester.attest(SCOPE), await attester.attest(SCOPE)
    assert first.method == "ecdsa"
    claims = [await Ecdsa().verify(each.evidence, Context(SCOPE), NOW) for each in (first, second)]
    assert [c.signer for c in claims] == [attester.address] * 2
    assert claims[0].use_id != claims[1].use_id
    elsewhere = replace(SCOPE, operator=OperatorAddress(b"\x08" * 20))
    assert (await Ecdsa().verify(first.evidence, Context(elsewhere), NOW)).signer != attester.address


def test_the_key_is_shown_by_its_address() -> None:
    """Neither the repr nor an error has anything of the key."""
    assert repr(EcdsaAttester(KEY)) == f"<EcdsaAttester {Account.from_key(KEY).address.lower()}>"
    for wrong in (b"\x11" * 31, bytes(32), b"\xff" * 32):
        with pytest.raises(InputError, match="not a secp256k1 key") as error:
            EcdsaAttester(wrong)
        assert error.value.__context__ is None
        assert wrong.hex() not in str(error.value)


# -- confidential space ------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.mark.parametrize(
    ("service", "issuer", "path"),
    [(GCP, GCP_ISSUER, "/v1/token"), (INTEL, INTEL_ISSUER, "/v1/intel/token")],
    ids=["gcp", "intel"],
)
async def test_a_token_is_what_operators_verify(
    service: Service, issuer: str, path: str, launcher: Launcher, authority: Authority
) -> None:
    """From the launcher's path for the method, with the one nonce of the scope and our own audience; each time another."""
    attester = ConfidentialSpaceAttester(service.name, socket=launcher.socket)  # type: ignore[arg-type]
    first, second = await attester.attest(SCOPE), await attester.attest(SCOPE)
    assert first.method == service.name
    assert (
        launcher.asked
        == [
            (path, {"audience": AUDIENCE, "token_type": "OIDC", "nonces": [SCOPE.nonce]}),
        ]
        * 2
    )
    async with serve(authority, Endpoint(body=jwk_set(jwk("k1")))) as endpoint:
        expected = Expectations(
            issuer=issuer,
            project_id=PROJECT,
            audiences=(AUDIENCE,),
            min_swversion=250300,
            support=("STABLE", "EXPERIMENTAL"),
        )
        method = ConfidentialSpace(service, expected, KeySource(endpoint.url, ca_file=authority.ca))
        claims = [await method.verify(each.evidence, Context(SCOPE), NOW) for each in (first, second)]
    assert [c.nonces for c in claims] == [{SCOPE.nonce}] * 2
    assert claims[0].use_id != claims[1].use_id


async def test_the_audience_can_be_another(launcher: Launcher) -> None:
    """As the operators say which they accept."""
    attester = ConfidentialSpaceAttester("gcp", socket=launcher.socket, audience="https://kms.example")
    await attester.attest(SCOPE)
    assert launcher.asked[0][1]["audience"] == "https://kms.example"


@pytest.mark.parametrize(
    ("answer", "words", "hint"),
    [
        ((500, b"quota\n exceeded \x1b[2J"), "it answered 500: quota exceeded [2J", "docs/attestation.md"),
        (
            (412, b"no ITA client"),
            "it answered 412: no ITA client",
            "without a key for Intel Trust Authority",
        ),
        ((404, b""), "it answered 404: nothing", "newer image"),
        ((200, b""), "no token", "docs/attestation.md"),
        ((200, b"<html>hello</html>"), "no token", "docs/attestation.md"),
        ((200, b"a." * 2 + b"a" * 48 * 1024), "no token of at most 49152 bytes", "docs/attestation.md"),
    ],
)
async def test_an_answer_that_is_no_token_is_told(
    launcher: Launcher, answer: Answer, words: str, hint: str
) -> None:
    """With the launcher's reason, as far as a terminal may show it, and what to do."""
    launcher.answer = lambda _path, _wanted: answer
    with pytest.raises(AttesterError) as error:
        await ConfidentialSpaceAttester("intel", socket=launcher.socket).attest(SCOPE)
    assert f"ask the launcher at {launcher.socket} for a token of intel: " in str(error.value)
    assert words in str(error.value)
    assert hint in str(error.value.hint)
    assert error.value.exit_code == 2


async def test_an_answer_without_end_is_cut(launcher: Launcher) -> None:
    """After what a token may have."""
    launcher.endless = True
    with pytest.raises(AttesterError, match="no token of at most"):
        await ConfidentialSpaceAttester("gcp", socket=launcher.socket).attest(SCOPE)


@pytest.mark.usefixtures("virtual_clock")
async def test_a_launcher_that_hangs_is_waited_for_so_long(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no longer."""
    monkeypatch.setattr(attesters, "LAUNCHER_SECONDS", 0.2)
    launcher.hang = True
    with pytest.raises(AttesterError, match=r"no answer within 0\.2 s"):
        await ConfidentialSpaceAttester("gcp", socket=launcher.socket).attest(SCOPE)


async def test_where_nobody_listens_it_is_no_such_machine(tmp_path: Path) -> None:
    """The hint says where this way to attest works."""
    with pytest.raises(AttesterError, match="nobody listens there") as error:
        await ConfidentialSpaceAttester("gcp", socket=tmp_path / "none").attest(SCOPE)
    assert "Confidential Space VM" in str(error.value.hint)
