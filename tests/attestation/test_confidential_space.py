"""Tokens of Confidential Space: a good one says what runs, and each of a hundred bad ones is refused with its code."""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import trio
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jws

from eigenkms.attestation import jwks
from eigenkms.attestation.confidential_space import GCP, INTEL, ConfidentialSpace, Expectations
from eigenkms.attestation.interface import AttestationRefusedError, Claims, Container, Context, Image
from eigenkms.attestation.jwks import KeySource
from eigenkms.config.schema.attestation import GCP_SUPPORT, INTEL_SUPPORT
from eigenkms.types import AppId, ClusterId, OperatorAddress
from eigenkms.wire.authorisation import Refusal, Scope
from tests.support.token_issuer import (
    APP,
    DIGEST,
    GCP_ISSUER,
    INTEL_ISSUER,
    NOW,
    PROJECT,
    Authority,
    Endpoint,
    FetchedKeys,
    b64,
    changed,
    gcp_claims,
    intel_claims,
    jwk,
    jwk_set,
    rsa_key,
    serve,
    sign,
    token,
)
from tests.support.waiting import PATIENCE

SCOPE = Scope(ClusterId(b"\x01" * 32), OperatorAddress(b"\x02" * 20), AppId(APP), b"\x03" * 32)
CONTEXT = Context(SCOPE)
NONCE = SCOPE.nonce
KEYS = jwk_set(
    jwk("k1", alg="RS256"), jwk("intel", alg="PS384"), jwk("intel2", kid="intel", alg="RS256"), jwk("other")
)


def expectations(issuer: str) -> Expectations:
    return Expectations(
        issuer=issuer,
        project_id=PROJECT,
        audiences=("https://sts.googleapis.com", "EigenX KMS"),
        min_swversion=250300,
        support=INTEL_SUPPORT if issuer == INTEL_ISSUER else GCP_SUPPORT,
    )


@pytest.fixture
async def key_source(authority: Authority) -> AsyncIterator[KeySource]:
    """The keys of both services, behind HTTPS."""
    async with serve(authority, Endpoint(body=KEYS)) as endpoint:
        yield KeySource(endpoint.url, ca_file=authority.ca)


@pytest.fixture
def gcp(key_source: KeySource) -> ConfidentialSpace:
    return ConfidentialSpace(GCP, expectations(GCP_ISSUER), key_source)


@pytest.fixture
def intel(key_source: KeySource) -> ConfidentialSpace:
    return ConfidentialSpace(INTEL, expectations(INTEL_ISSUER), key_source)


async def refusal(method: ConfidentialSpace, evidence: bytes) -> tuple[Refusal, str]:
    """(code, what the requester reads)."""
    with pytest.raises(AttestationRefusedError) as error:
        await method.verify(evidence, CONTEXT, NOW)
    assert error.value.hint
    return error.value.code, str(error.value)


async def test_a_good_token_says_what_runs(gcp: ConfidentialSpace) -> None:
    """Application, image, container, what it is bound to, and until when it must be remembered."""
    evidence = token(gcp_claims(NONCE))
    claims = await gcp.verify(evidence, CONTEXT, NOW)
    container = Container(
        args=("serve", "--fast"),
        cmd_override=(),
        env=(("HOME", "/"), ("MODE", "prod")),
        env_override=(("MODE", "prod"),),
        restart_policy="Never",
    )
    assert claims == Claims(
        app_id=AppId(APP),
        method="gcp",
        image=Image(DIGEST, "docker.io/acme/app", container),
        nonces=frozenset({NONCE}),
        use_id=claims.use_id,
        expires_at=int(NOW) + 3590,
        evidence_digest=hashlib.sha256(evidence).digest(),
    )


async def test_intels_tokens_have_their_own_algorithm_and_claims(
    intel: ConfidentialSpace, key_source: KeySource
) -> None:
    """Two keys under one id, told apart by the algorithm, and the URL of the keys in the header."""
    for alg, key in (("PS384", "intel"), ("RS256", "intel2")):
        header = {"kid": "intel", "jku": key_source.url}
        claims = await intel.verify(token(intel_claims(NONCE), key=key, alg=alg, header=header), CONTEXT, NOW)
        assert (claims.method, claims.app_id) == ("intel", APP)


@pytest.mark.parametrize("audience", ["EigenX KMS", ["https://sts.googleapis.com"]])
async def test_either_audience_will_do_alone(gcp: ConfidentialSpace, audience: object) -> None:
    """As text or as a list of one."""
    await gcp.verify(token(gcp_claims(NONCE, aud=audience)), CONTEXT, NOW)


async def test_a_token_may_carry_the_nonces_of_six_operators(gcp: ConfidentialSpace) -> None:
    """All are claimed; which of them counts is the pipeline's to say."""
    nonces = [f"{i:064X}" for i in range(6)]
    claims = await gcp.verify(token(gcp_claims(nonces)), CONTEXT, NOW)
    assert claims.nonces == {n.lower() for n in nonces}


async def test_an_id_is_used_up_for_its_issuer_alone(
    gcp: ConfidentialSpace, intel: ConfidentialSpace
) -> None:
    """Whatever else the token says: the same id is the same use."""
    first = await gcp.verify(token(gcp_claims(NONCE)), CONTEXT, NOW)
    again = await gcp.verify(token(gcp_claims("another", exp=int(NOW) + 60)), CONTEXT, NOW)
    other = await gcp.verify(token(gcp_claims(NONCE, jti="token-2")), CONTEXT, NOW)
    elsewhere = await intel.verify(token(intel_claims(NONCE), key="intel", alg="PS384"), CONTEXT, NOW)
    assert first.use_id == again.use_id
    assert len({first.use_id, other.use_id, elsewhere.use_id}) == 3


@pytest.mark.parametrize(
    ("reference", "registry"),
    [
        ("docker.io/acme/app", "docker.io/acme/app"),
        ("docker.io/acme/app:latest", "docker.io/acme/app"),
        ("host:5000/app", "host:5000/app"),
        ("host:5000/app:v1@sha256:00", "host:5000/app"),
        (..., ""),
        ("", ""),
    ],
)
async def test_the_registry_is_the_reference_without_tag_and_digest(
    gcp: ConfidentialSpace, reference: object, registry: str
) -> None:
    """As releases on chain name it."""
    claims = await gcp.verify(
        token(changed(gcp_claims(NONCE), "submods.container.image_reference", reference)), CONTEXT, NOW
    )
    assert claims.image is not None
    assert claims.image.registry == registry


async def test_large_tokens_do_not_stop_the_others(
    gcp: ConfidentialSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read in a thread of their own, one after another; small ones pass them."""
    container = gcp_claims(NONCE)["submods"]["container"]
    large = token(
        changed(
            gcp_claims(NONCE), "submods.container", {**container, "env": {f"N{n}": "x" for n in range(2000)}}
        )
    )
    going_on, verify_signature = threading.Event(), jws.deserialize_compact

    def slow(evidence: bytes, *args: Any, **more: Any) -> Any:
        assert evidence != large or going_on.wait(PATIENCE)
        return verify_signature(evidence, *args, **more)

    monkeypatch.setattr(jws, "deserialize_compact", slow)
    await gcp.verify(token(gcp_claims(NONCE)), CONTEXT, NOW)  # so it has the keys
    found: list[Claims] = []

    async def verify_large() -> None:
        found.append(await gcp.verify(large, CONTEXT, NOW))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(verify_large)
        nursery.start_soon(verify_large)
        for _ in range(10):
            await gcp.verify(token(gcp_claims(NONCE)), CONTEXT, NOW)
        assert found == []
        going_on.set()
    assert [len(claims.image.container.env) for claims in found if claims.image] == [2000, 2000]
    assert (await refusal(gcp, large[:-8] + b"AAAAAAAA"))[0] == Refusal.BAD_SIGNATURE


HOUR = 3600
T = int(NOW)
BAD_CLAIMS: list[tuple[str, object, Refusal]] = [
    ("iss", "https://accounts.google.com", Refusal.WRONG_ISSUER),
    ("iss", ..., Refusal.WRONG_ISSUER),
    ("iss", [GCP_ISSUER], Refusal.WRONG_ISSUER),
    ("exp", T, Refusal.EVIDENCE_EXPIRED),
    ("exp", T - HOUR, Refusal.EVIDENCE_EXPIRED),
    ("exp", ..., Refusal.BAD_EVIDENCE),
    ("exp", str(T + 60), Refusal.BAD_EVIDENCE),
    ("exp", T + 60.5, Refusal.BAD_EVIDENCE),
    ("exp", True, Refusal.BAD_EVIDENCE),
    ("exp", 10**40, Refusal.BAD_EVIDENCE),
    ("exp", T + 25 * HOUR, Refusal.BAD_EVIDENCE),
    ("iat", T + 31, Refusal.EVIDENCE_FROM_FUTURE),
    ("iat", ..., Refusal.BAD_EVIDENCE),
    ("iat", -1, Refusal.BAD_EVIDENCE),
    ("nbf", T + 31, Refusal.EVIDENCE_FROM_FUTURE),
    ("nbf", None, Refusal.BAD_EVIDENCE),
    ("aud", "https://example.org", Refusal.WRONG_AUDIENCE),
    ("aud", ["EigenX KMS", "https://example.org"], Refusal.WRONG_AUDIENCE),
    ("aud", ["EigenX KMS", "https://sts.googleapis.com"], Refusal.WRONG_AUDIENCE),
    ("aud", [], Refusal.WRONG_AUDIENCE),
    ("aud", ..., Refusal.WRONG_AUDIENCE),
    ("aud", {"EigenX KMS": 1}, Refusal.WRONG_AUDIENCE),
    ("swname", "GCE", Refusal.WRONG_PLATFORM),
    ("swname", ..., Refusal.WRONG_PLATFORM),
    ("secboot", False, Refusal.WRONG_PLATFORM),
    ("secboot", 1, Refusal.WRONG_PLATFORM),
    ("secboot", "true", Refusal.WRONG_PLATFORM),
    ("secboot", ..., Refusal.WRONG_PLATFORM),
    ("oemid", 11130, Refusal.WRONG_PLATFORM),
    ("oemid", 11129.0, Refusal.WRONG_PLATFORM),
    ("oemid", "11129", Refusal.WRONG_PLATFORM),
    ("oemid", ..., Refusal.WRONG_PLATFORM),
    ("hwmodel", "GCP_SHIELDED_VM", Refusal.WRONG_PLATFORM),
    ("hwmodel", "GCP_AMD_SEV", Refusal.WRONG_PLATFORM),
    ("attester_tcb", ["GOOGLE"], Refusal.WRONG_PLATFORM),
    ("attester_tcb", ["INTEL", "GOOGLE"], Refusal.WRONG_PLATFORM),
    ("attester_tcb", ..., Refusal.WRONG_PLATFORM),
    ("swversion", ["250299"], Refusal.PLATFORM_OUTDATED),
    ("swversion", ["٢٥٠٣٠٠"], Refusal.BAD_EVIDENCE),
    ("swversion", [], Refusal.BAD_EVIDENCE),
    ("swversion", "250300", Refusal.BAD_EVIDENCE),
    ("swversion", [250300], Refusal.BAD_EVIDENCE),
    ("dbgstat", "enabled", Refusal.DEBUG_ENABLED),
    ("dbgstat", ..., Refusal.DEBUG_ENABLED),
    ("submods.confidential_space.support_attributes", ["USABLE"], Refusal.DEBUG_ENABLED),
    ("submods.confidential_space.support_attributes", ["EXPERIMENTAL"], Refusal.DEBUG_ENABLED),
    ("submods.confidential_space.support_attributes", "STABLE", Refusal.DEBUG_ENABLED),
    ("submods.confidential_space", ..., Refusal.DEBUG_ENABLED),
    ("submods", None, Refusal.DEBUG_ENABLED),
    ("submods.gce.project_id", "their-project", Refusal.WRONG_PROJECT),
    ("submods.gce.project_id", ..., Refusal.WRONG_PROJECT),
    ("submods.gce", ..., Refusal.BAD_EVIDENCE),
    ("submods.gce.instance_name", ..., Refusal.BAD_EVIDENCE),
    ("submods.gce.instance_name", 7, Refusal.BAD_EVIDENCE),
    ("submods.gce.instance_name", "nodash", Refusal.WRONG_APPLICATION),
    ("submods.gce.instance_name", "tee-", Refusal.WRONG_APPLICATION),
    ("submods.container", ..., Refusal.BAD_EVIDENCE),
    ("submods.container.image_digest", ..., Refusal.BAD_EVIDENCE),
    ("submods.container.image_digest", "sha256:" + "CD" * 32, Refusal.BAD_EVIDENCE),
    ("submods.container.image_digest", "sha256:" + "cd" * 31, Refusal.BAD_EVIDENCE),
    ("submods.container.image_digest", "sha256:" + "cd" * 32 + "\n", Refusal.BAD_EVIDENCE),
    ("submods.container.image_reference", 7, Refusal.BAD_EVIDENCE),
    ("submods.container.args", "serve", Refusal.BAD_EVIDENCE),
    ("submods.container.args", [1], Refusal.BAD_EVIDENCE),
    ("submods.container.env", ["MODE=prod"], Refusal.BAD_EVIDENCE),
    ("submods.container.env", {"MODE": 1}, Refusal.BAD_EVIDENCE),
    ("submods.container.restart_policy", 1, Refusal.BAD_EVIDENCE),
    ("jti", None, Refusal.BAD_EVIDENCE),
    ("jti", "", Refusal.BAD_EVIDENCE),
    ("jti", 5, Refusal.BAD_EVIDENCE),
    ("eat_nonce", ..., Refusal.NOT_BOUND),
    ("eat_nonce", [], Refusal.NOT_BOUND),
    ("eat_nonce", ["x"] * 7, Refusal.NOT_BOUND),
    ("eat_nonce", [1], Refusal.NOT_BOUND),
]


@pytest.mark.parametrize(("path", "value", "code"), BAD_CLAIMS)
async def test_a_claim_that_is_not_as_it_should_be(
    gcp: ConfidentialSpace, path: str, value: object, code: Refusal
) -> None:
    """Each is refused with its code, although the signature is good, and what would be accepted is not told."""
    found, said = await refusal(gcp, token(changed(gcp_claims(NONCE), path, value)))
    assert found == code
    assert not any(secret in said for secret in (PROJECT, "250300", GCP_ISSUER, NONCE))


async def test_clocks_may_differ_a_little(gcp: ConfidentialSpace) -> None:
    """A token may be half a minute from the future; none may be expired."""
    await gcp.verify(token(gcp_claims(NONCE, iat=T + 30, nbf=T + 30)), CONTEXT, NOW)
    await gcp.verify(token(gcp_claims(NONCE, exp=T + 1)), CONTEXT, NOW)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("tdx.gcp_attester_tcb_status", "OutOfDate"),
        ("tdx", ...),
        ("tdx", "UpToDate"),
        ("hwmodel", "GCP_INTEL_TDX"),
    ],
)
async def test_intels_platform_must_be_up_to_date(intel: ConfidentialSpace, path: str, value: object) -> None:
    """Intel tells it in a claim of its own."""
    evidence = token(changed(intel_claims(NONCE), path, value), key="intel", alg="PS384")
    assert (await refusal(intel, evidence))[0] == Refusal.WRONG_PLATFORM


@pytest.mark.parametrize(
    ("support", "attributes", "is_accepted"),
    [
        (("STABLE",), ["STABLE", "USABLE"], True),
        (("STABLE",), ["EXPERIMENTAL"], False),
        (("EXPERIMENTAL",), ["EXPERIMENTAL"], True),
        (("STABLE", "EXPERIMENTAL"), ["STABLE"], True),
        (("STABLE", "EXPERIMENTAL"), ["USABLE"], False),
        (("STABLE", "EXPERIMENTAL"), [], False),
    ],
)
async def test_each_service_has_support_attributes_that_are_accepted(
    support: tuple[str, ...], attributes: list[str], is_accepted: bool
) -> None:
    """The operator says which; of these the token must have one."""
    method = ConfidentialSpace(
        INTEL, replace(expectations(INTEL_ISSUER), support=support), FetchedKeys.of(KEYS)
    )
    path = "submods.confidential_space.support_attributes"
    evidence = token(changed(intel_claims(NONCE), path, attributes), key="intel", alg="PS384")
    if is_accepted:
        assert (await method.verify(evidence, CONTEXT, NOW)).app_id == APP
    else:
        assert (await refusal(method, evidence))[0] == Refusal.DEBUG_ENABLED


async def test_a_token_of_the_other_service_is_not_accepted(
    gcp: ConfidentialSpace, intel: ConfidentialSpace
) -> None:
    """Not even with a key that both have."""
    assert (await refusal(gcp, token(intel_claims(NONCE))))[0] == Refusal.WRONG_ISSUER
    assert (await refusal(intel, token(gcp_claims(NONCE), key="intel2", header={"kid": "intel"})))[
        0
    ] == Refusal.WRONG_ISSUER


GOOD_HEADER = {"alg": "RS256", "kid": "k1", "typ": "JWT"}


def raw(header: object, payload: bytes = b"{}", signature: bytes = b"x") -> bytes:
    return b".".join(b64(part) for part in (json.dumps(header).encode(), payload, signature))


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none", "kid": "k1"},
        {"alg": "None", "kid": "k1"},
        {"alg": "HS256", "kid": "k1"},
        {"alg": "RS512", "kid": "k1"},
        {"alg": "PS384", "kid": "k1"},
        {"alg": ["RS256"], "kid": "k1"},
        {"kid": "k1"},
        {"alg": "RS256"},
        {"alg": "RS256", "kid": 1},
        {"alg": "RS256", "kid": ""},
        {"alg": "RS256", "kid": "k" * 257},
        {**GOOD_HEADER, "crit": ["exp"], "exp": 1},
        {**GOOD_HEADER, "b64": False},
        {**GOOD_HEADER, "jwk": jwk("other")},
        {**GOOD_HEADER, "jku": "https://evil.example/certs"},
        {**GOOD_HEADER, "x5u": "https://evil.example/cert"},
        {**GOOD_HEADER, "x5c": ["MIIB"]},
        {**GOOD_HEADER, "pad": "x" * 600},
        ["RS256"],
        "RS256",
    ],
)
async def test_a_header_that_asks_for_something_else(gcp: ConfidentialSpace, header: object) -> None:
    """No algorithm but the service's, and no key that the token brings along or points to; nothing is fetched."""
    assert (await refusal(gcp, raw(header)))[0] == Refusal.BAD_EVIDENCE


async def test_a_header_that_says_something_twice(gcp: ConfidentialSpace) -> None:
    """Two readers could disagree about it; the same for claims."""
    header = b64(b'{"alg":"none","alg":"RS256","kid":"k1"}')
    assert (await refusal(gcp, header + b".e30.eA"))[0] == Refusal.BAD_EVIDENCE
    claims = json.dumps(gcp_claims(NONCE))[:-1] + ', "iss": "x"}'
    assert (await refusal(gcp, sign(claims.encode())))[0] == Refusal.BAD_EVIDENCE


async def test_the_public_key_used_as_a_shared_secret(gcp: ConfidentialSpace) -> None:
    """The classic confusion: HMAC with what everybody knows, under either algorithm's name."""
    pem = rsa_key("k1").public_key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    payload = b64(json.dumps(gcp_claims(NONCE)).encode())
    for alg, code in (("HS256", Refusal.BAD_EVIDENCE), ("RS256", Refusal.BAD_SIGNATURE)):
        unsigned = b64(json.dumps({"alg": alg, "kid": "k1"}).encode()) + b"." + payload
        forged = unsigned + b"." + b64(hmac.new(pem, unsigned, "sha256").digest())
        assert (await refusal(gcp, forged))[0] == code


async def test_signatures_that_do_not_verify(gcp: ConfidentialSpace) -> None:
    """By another key under this one's id, over other claims, cut, or empty; or under an id that nobody has."""
    good = token(gcp_claims(NONCE))
    head, payload, signature = good.split(b".")
    forgeries = [
        token(gcp_claims(NONCE), key="other", header={"kid": "k1"}),
        b".".join((head, b64(json.dumps(gcp_claims("mine")).encode()), signature)),
        b".".join((head, payload, signature[:-4])),
        b".".join((head, payload, b"AAAA")),
        b".".join((head, payload, signature * 4)),
    ]
    for forged in forgeries:
        assert (await refusal(gcp, forged))[0] == Refusal.BAD_SIGNATURE
    unknown = token(gcp_claims(NONCE), key="other", header={"kid": "nobody"})
    assert (await refusal(gcp, unknown))[0] == Refusal.UNKNOWN_KEY


@pytest.mark.parametrize(
    "evidence",
    [
        b"",
        b"a.b",
        b"a.b.c.d",
        b"..",
        b"a.b.c\n",
        "ä.b.c".encode(),
        b"e30.e30." + b"A" * 48 * 1024,
        b"A" * 700 + b".e30.e30",
        b"A.e30.e30",
        b64(b"[" * 300) + b".e30.e30",
        b64(b"\xff") + b".e30.e30",
    ],
)
async def test_what_is_no_token(gcp: ConfidentialSpace, evidence: bytes) -> None:
    """Refused before any key is looked for."""
    assert (await refusal(gcp, evidence))[0] == Refusal.BAD_EVIDENCE


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"7", b'{"exp": NaN}', b"[" * 100_00, b"\xff", b"null", b'{"a":' * 50]
)
async def test_claims_that_are_no_object(gcp: ConfidentialSpace, payload: bytes) -> None:
    """Signed rubbish is rubbish."""
    code = (await refusal(gcp, sign(payload)))[0]
    assert code == Refusal.BAD_EVIDENCE


async def test_no_keys_yet(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """The method says that it is not ready, which is not the requester's fault."""
    async with serve(authority, Endpoint(status=503)) as endpoint:
        method = ConfidentialSpace(
            GCP, expectations(GCP_ISSUER), KeySource(endpoint.url, ca_file=authority.ca)
        )
        code, _ = await refusal(method, token(gcp_claims(NONCE)))
        assert code == Refusal.KEYS_UNAVAILABLE
        assert code.passes
        monkeypatch.setattr(jwks, "RETRY_SECONDS", 0.0)
        endpoint.status, endpoint.body = 200, KEYS
        await method.verify(token(gcp_claims(NONCE)), CONTEXT, NOW)


# -- anything at all

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
PATHS = sorted({path for path, _, _ in BAD_CLAIMS})


OFFLINE = FetchedKeys.of(KEYS)


async def _verify_offline(evidence: bytes) -> Claims | Refusal:
    """With keys in hand; anything but claims or a refusal is raised."""
    try:
        return await ConfidentialSpace(GCP, expectations(GCP_ISSUER), OFFLINE).verify(evidence, CONTEXT, NOW)
    except AttestationRefusedError as error:
        return error.code


@pytest.mark.slow
@given(st.sampled_from(PATHS), JSON)
@settings(max_examples=150)
def test_any_value_of_any_claim_is_claimed_or_refused(path: str, value: Any) -> None:
    """Nothing that an issuer may sign makes the node fail."""
    found = trio.run(_verify_offline, token(changed(gcp_claims(NONCE), path, value)))
    assert isinstance(found, Claims | Refusal)


@given(st.binary(max_size=300) | st.lists(st.binary(max_size=80), min_size=3, max_size=3))
@settings(max_examples=200)
def test_any_bytes_are_refused(evidence: bytes | list[bytes]) -> None:
    """Random bytes, and random parts in the form of a token."""
    if isinstance(evidence, list):
        evidence = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in evidence)
    assert isinstance(trio.run(_verify_offline, evidence), Refusal)
