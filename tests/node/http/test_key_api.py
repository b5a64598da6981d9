"""What the API answers, and each of its refusals with status and code."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio.testing
from eth_account import Account
from eth_account.messages import encode_typed_data

from eigenkms.applications import AppStatus, UnusableReleaseError
from eigenkms.attestation import ecdsa
from eigenkms.authorisation import request_slots
from eigenkms.authorisation.factory import open_authoriser
from eigenkms.authorisation.policy import Policy
from eigenkms.config.node import NodeConfig
from eigenkms.crypto import bls
from eigenkms.crypto.app_ids import checksummed
from eigenkms.crypto.ibe_identities import identity_of
from eigenkms.errors import ChainError
from eigenkms.node.http import errors
from eigenkms.node.http.limits import ClientLimits
from eigenkms.p2p.listening.listener import raise_file_limit
from eigenkms.types import AppId
from eigenkms.wire.authorisation import Refusal, Scope
from tests.authorisation.test_pipeline import APPLICATION, CREATOR_KEY, Clock, Register
from tests.node.http.support import (
    PATIENT,
    ReferenceClient,
    asking,
    b64,
    client_at,
    code_of,
    exchange,
    golden,
    served,
    shape_of,
    stop_rates,
)
from tests.support.fake_network import CLUSTER, FakeNetwork
from tests.support.local_node import LocalNode
from tests.support.nodes import a_node, keep_version, with_attestation
from tests.support.token_issuer import APP, Endpoint, changed, gcp_claims, sign, token
from tests.support.token_issuer import NOW as ISSUED

CLIENT = ReferenceClient()


def attested(**changes: Any) -> dict[str, Any]:
    """A good request with a token, its claims changed by their path."""
    claims = gcp_claims(CLIENT.nonce)
    for path, value in changes.items():
        claims = changed(claims, path.replace("__", "."), value)
    return CLIENT.with_token(token(claims))


def signed_2(scope: Scope, key: bytes = CREATOR_KEY) -> bytes:
    """Evidence of version 2."""
    nonce, at = b"\x05" * 32, int(ISSUED)
    signable = encode_typed_data(full_message=ecdsa.typed_data(scope, nonce, at))
    return ecdsa.encode_evidence(nonce, at, bytes(Account.sign_message(signable, key).signature))


async def post(node: LocalNode, request: dict[str, Any]) -> httpx.Response:
    async with asking(node) as client:
        return await client.post("/secrets", json=request)


# -- what is granted


@pytest.mark.parametrize("version", [1, 2])
async def test_an_attested_application_gets_the_partial_signature(
    network: FakeNetwork, node: LocalNode, version: int
) -> None:
    """The operator's share of the key for that version of ciphertexts, which is 1 unless the client says so."""
    request = {**attested(), "ciphertext_version": version} if version == 2 else attested()
    answer = (await post(node, request)).raise_for_status().json()
    share = network.operators[0].share
    assert CLIENT.open(answer) == bls.partial_sign(share, identity_of(version, CLUSTER, APP))


@pytest.mark.parametrize("version", [1, 2])
async def test_an_application_is_served_however_it_is_spelled(
    network: FakeNetwork, node: LocalNode, register: Register, version: int
) -> None:
    """Its VM carries the lower case id. The reference verifies what it gets against the id that it sent: version 1 is signed so."""
    spelled = AppId(checksummed(bytes.fromhex(APP[2:])))
    register.known[spelled] = replace(APPLICATION, app_id=spelled)
    answer = (
        await post(node, {**attested(), "app_id": spelled, "ciphertext_version": version})
    ).raise_for_status()
    signed = bls.partial_sign(
        network.operators[0].share, identity_of(version, CLUSTER, {1: spelled, 2: APP}[version])
    )
    assert CLIENT.open(answer.json()) == signed


async def test_what_left_is_in_the_release_log(node: LocalNode) -> None:
    """As what leaves through libp2p is; and what was refused is not."""
    before = node.backing.issuer.head.number
    await post(node, attested(iss="https://example.org"))
    assert node.backing.issuer.head.number == before
    (await post(node, attested())).raise_for_status()
    assert node.backing.issuer.head.number == before + 1


async def test_evidence_may_name_operator_and_cluster_too(node: LocalNode, config: NodeConfig) -> None:
    """The nonce of requests through libp2p, over the PEM text as reply key: for clients that can make one for each operator."""
    scope = Scope(CLUSTER, config.operator, AppId(APP), CLIENT.pem)
    (await post(node, CLIENT.with_token(token(gcp_claims(scope.nonce))))).raise_for_status()
    (await post(node, CLIENT.request("ecdsa", signed_2(scope)))).raise_for_status()


async def test_the_creator_may_sign_and_needs_no_release(node: LocalNode, register: Register) -> None:
    """The environment is empty then."""
    register.known[APP] = replace(APPLICATION, release=None)
    answer = (await post(node, CLIENT.signed(CREATOR_KEY, int(ISSUED)))).raise_for_status().json()
    assert (answer["encrypted_env"], answer["public_env"]) == ("", "")


async def test_in_development_whoever_asks_is_answered(network: FakeNetwork, open_node: LocalNode) -> None:
    """In the clear at /app/sign; at /secrets with any evidence, as the policy is open, and without environment."""
    async with asking(open_node) as client:
        plain = await client.post("/app/sign", json={"AppID": "my-app", "AttestationTime": 0})
        sealed = await client.post("/secrets", json=CLIENT.request("anything", b"at all"))
    answer = plain.raise_for_status().json()
    assert shape_of(answer) == golden("app_sign.json")
    operator = network.operators[0]
    expected = bls.partial_sign(operator.share, identity_of(1, CLUSTER, "my-app"))
    assert answer == {
        "OperatorAddress": "0x" + operator.address.hex(),
        "PartialSignature": {"CompressedBytes": b64(expected)},
    }
    assert CLIENT.open(sealed.raise_for_status().json()) == bls.partial_sign(
        operator.share, identity_of(1, CLUSTER, APP)
    )


# -- which version


async def test_the_version_is_chosen_by_the_clients_time(network: FakeNetwork, tmp_path: Path) -> None:
    """The newest up to that time; the newest of all where there is none, or no time is said."""
    newer = network.reshare(network.first, 110)
    old, new = network.epoch.transcript.version, newer.epoch.transcript.version
    keep_version(network, 0, tmp_path)
    keep_version(network, 0, tmp_path, version=newer)
    me = network.operators[0]
    identity = identity_of(1, CLUSTER, "my-app")
    old_share, new_share = (bls.partial_sign(s, identity) for s in (me.share, newer.shares[me.address]))
    with a_node(network, 0, tmp_path, http_app_sign=True) as node:
        async with asking(node) as client:
            for at, expected in {
                0: new_share,
                1: new_share,
                old - 1: new_share,
                old: old_share,
                new - 1: old_share,
                new: new_share,
                new + 999: new_share,
            }.items():
                answer = await client.post("/app/sign", json={"AppID": "my-app", "AttestationTime": at})
                assert answer.json()["PartialSignature"]["CompressedBytes"] == b64(expected), at
            assert (await client.get("/pubkey")).json()["version"] == new


async def test_without_a_key_or_a_share_nothing_is_answered(network: FakeNetwork, tmp_path: Path) -> None:
    """A new operator; one that knows the version, and could not get its share, still tells the public key."""
    with a_node(network, 0, tmp_path / "new", http_app_sign=True) as node:
        async with asking(node) as client:
            assert code_of(await client.get("/pubkey")) == (503, "no-version")
            assert code_of(await client.post("/app/sign", json={"AppID": "my-app"})) == (503, "no-version")
    keep_version(network, 1, tmp_path / "late", with_share=False)
    with a_node(network, 1, tmp_path / "late", http_app_sign=True) as node:
        async with asking(node) as client:
            assert (await client.get("/pubkey")).status_code == 200
            answer = await client.post("/secrets", json=attested())
            assert code_of(answer) == (503, "no-version")
            assert int(answer.headers["retry-after"]) > 0


# -- what is refused


EVIL = "sha256:" + "ce" * 32
REFUSED: dict[str, tuple[Callable[[], dict[str, Any]], int, Refusal]] = {
    "method not enabled": (
        lambda: {**attested(), "attestation_method": "tpm"},
        400,
        Refusal.METHOD_NOT_ENABLED,
    ),
    "not a token": (lambda: CLIENT.with_token(b"rubbish"), 401, Refusal.BAD_EVIDENCE),
    "unknown key": (
        lambda: CLIENT.with_token(token(gcp_claims(CLIENT.nonce), key="k2")),
        401,
        Refusal.UNKNOWN_KEY,
    ),
    "bad signature": (
        lambda: CLIENT.with_token(sign(b"{}", key="k2", header={"kid": "k1"})),
        401,
        Refusal.BAD_SIGNATURE,
    ),
    "expired": (lambda: attested(exp=int(ISSUED) - 1), 401, Refusal.EVIDENCE_EXPIRED),
    "from the future": (lambda: attested(iat=int(ISSUED) + 99), 401, Refusal.EVIDENCE_FROM_FUTURE),
    "issuer": (lambda: attested(iss="https://example.org"), 401, Refusal.WRONG_ISSUER),
    "audience": (lambda: attested(aud="else"), 401, Refusal.WRONG_AUDIENCE),
    "hardware": (lambda: attested(hwmodel="GCP_AMD_SEV"), 401, Refusal.WRONG_PLATFORM),
    "old image": (lambda: attested(swversion=["1"]), 401, Refusal.PLATFORM_OUTDATED),
    "debug": (lambda: attested(dbgstat="enabled"), 401, Refusal.DEBUG_ENABLED),
    "project": (lambda: attested(submods__gce__project_id="else"), 401, Refusal.WRONG_PROJECT),
    "application": (
        lambda: attested(submods__gce__instance_name="x-0x" + "00" * 20),
        403,
        Refusal.WRONG_APPLICATION,
    ),
    "nonce": (lambda: attested(eat_nonce="00" * 32), 401, Refusal.NOT_BOUND),
    "digest": (lambda: attested(submods__container__image_digest=EVIL), 403, Refusal.WRONG_IMAGE),
    "container": (lambda: attested(submods__container__args=["x"]), 403, Refusal.WRONG_CONTAINER),
    "creator": (lambda: CLIENT.signed(b"\x12" * 32, int(ISSUED)), 403, Refusal.NOT_CREATOR),
    "old signature": (lambda: CLIENT.signed(CREATOR_KEY, int(ISSUED) - 301), 401, Refusal.EVIDENCE_EXPIRED),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_evidence_that_is_refused(node: LocalNode, case: str) -> None:
    """With the status of the reference, and a code of ours; nothing is released."""
    make, status, code = REFUSED[case]
    before = node.backing.issuer.head
    assert code_of(await post(node, make())) == (status, code)
    assert node.backing.issuer.head == before


async def test_a_replay_is_refused(node: LocalNode) -> None:
    """Of a token, of a signed text, and of either with more extra data."""
    for request in (attested(), CLIENT.signed(CREATOR_KEY, int(ISSUED))):
        async with asking(node) as client:
            (await client.post("/secrets", json=request)).raise_for_status()
            assert code_of(await client.post("/secrets", json=request)) == (401, "already-used")


async def test_a_captured_request_is_of_no_use_with_another_key(node: LocalNode) -> None:
    """A token names the RSA key; what the thief has of it is sealed to a key that it does not hold."""
    thief = {**attested(), "rsa_pubkey_tmp": b64(CLIENT.pem.replace(b"\n", b"\r\n"))}
    assert code_of(await post(node, thief)) == (401, "not-bound")
    stretched = {**attested(), "extra_data": b64(b"x")}
    assert code_of(await post(node, stretched)) == (401, "not-bound")


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"known": {}}, 404, Refusal.UNKNOWN_APPLICATION),
        (
            {"known": {APP: replace(APPLICATION, status=AppStatus.TERMINATED)}},
            403,
            Refusal.APPLICATION_NOT_RUNNING,
        ),
        ({"known": {APP: replace(APPLICATION, release=None)}}, 404, Refusal.NO_RELEASE),
        ({"trouble": UnusableReleaseError("read release: two artefacts")}, 404, Refusal.BAD_RELEASE),
        ({"trouble": ChainError("read application: http://secret.example")}, 502, Refusal.CHAIN_UNAVAILABLE),
    ],
)
async def test_what_the_chain_says_is_respected(
    node: LocalNode, register: Register, change: dict[str, Any], status: int, code: Refusal
) -> None:
    """Unknown, not running, without a release that can be used, or not to be read; the chain's own words stay here."""
    for name, value in change.items():
        setattr(register, name, value)
    answer = await post(node, attested())
    assert code_of(answer) == (status, code)
    assert "secret.example" not in answer.text


async def test_an_issuer_that_is_down_is_the_operators_trouble(node: LocalNode, issuer: Endpoint) -> None:
    """503, and to be asked again; others are served meanwhile."""
    issuer.status = 500
    async with asking(node) as client:
        answer = await client.post("/secrets", json=attested())
        assert code_of(answer) == (503, "keys-unavailable")
        assert int(answer.headers["retry-after"]) > 0
        (await client.post("/secrets", json=CLIENT.signed(CREATOR_KEY, int(ISSUED)))).raise_for_status()


async def test_the_references_text_needs_its_switch(
    network: FakeNetwork, config: NodeConfig, register: Register, clock: Clock
) -> None:
    """It binds nothing, so an operator must have said that it is accepted."""
    strict = with_attestation(config, ecdsa_reference=False)
    keep_version(network, 0, config.data_dir)
    async with open_authoriser(strict, CLUSTER, register, clock=clock) as authoriser:
        with a_node(network, 0, config.data_dir, deciding=Policy("attested", authoriser)) as node:
            answer = await post(node, CLIENT.signed(CREATOR_KEY, int(ISSUED)))
            assert code_of(answer) == (400, "method-not-enabled")


async def test_a_closed_policy_gives_nothing(network: FakeNetwork, tmp_path: Path) -> None:
    """Whatever is shown; the public key is public."""
    keep_version(network, 0, tmp_path)
    with a_node(network, 0, tmp_path, policy="closed") as node:
        async with asking(node) as client:
            assert code_of(await client.post("/secrets", json=attested())) == (403, "not-authorised")
            sign_it = await client.post("/app/sign", json={"AppID": "my-app"})
            assert code_of(sign_it) == (403, "development-only")
            assert (await client.get("/pubkey")).status_code == 200


async def test_signing_for_whoever_asks_is_off_unless_told(
    network: FakeNetwork, node: LocalNode, tmp_path: Path
) -> None:
    """Also where the policy is open."""
    keep_version(network, 0, tmp_path / "other")
    with a_node(network, 0, tmp_path / "other") as other:
        for each in (node, other):
            async with asking(each) as client:
                answer = await client.post("/app/sign", json={"AppID": "my-app"})
                assert code_of(answer) == (403, "development-only")


async def test_stacks_are_refused(node: LocalNode) -> None:
    """The platform that vouches for them in the reference is not part of this network; an empty name is none."""
    assert code_of(await post(node, {**attested(), "stack_id": "s-1"})) == (403, "stack-not-supported")
    (await post(node, {**attested(), "stack_id": ""})).raise_for_status()


async def test_too_many_at_once_are_refused_at_once(node: LocalNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the pipeline."""
    monkeypatch.setattr(request_slots, "MAX_AT_ONCE", 0)
    answer = await post(node, attested())
    assert code_of(answer) == (503, "busy")
    assert int(answer.headers["retry-after"]) > 0


def test_every_refusal_has_a_status() -> None:
    """Those that pass are the server's fault, so that clients and proxies ask again."""
    assert set(errors.STATUS) == set(Refusal)
    for code, status in errors.STATUS.items():
        assert (status >= 500) == code.passes


async def test_a_defect_says_nothing(
    node: LocalNode, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever asked learns that it was ours; the log has the rest; the next one is served."""

    def broken(*args: object) -> None:
        raise RuntimeError("the secret is 4711")

    with monkeypatch.context() as patch:
        patch.setattr("eigenkms.node.http.responses.secrets_answer", broken)
        with caplog.at_level(logging.ERROR):
            answer = await post(node, attested())
    assert code_of(answer) == (500, "internal")
    assert "4711" not in answer.text
    assert "POST /secrets" in caplog.text
    (await post(node, attested(jti="2"))).raise_for_status()


# -- limits of a client


async def test_who_asks_too_often_is_told_to_wait(network: FakeNetwork, tmp_path: Path) -> None:
    """429 with the seconds to wait; health is not counted."""
    keep_version(network, 0, tmp_path)
    with a_node(network, 0, tmp_path, http_rate=1) as node:
        stop_rates(node)
        async with asking(node) as client:
            answers = [await client.get("/pubkey") for _ in range(3)]
            assert [a.status_code for a in answers] == [200, 200, 429]
            assert code_of(answers[-1]) == (429, "too-many-requests")
            assert answers[-1].headers["connection"] == "close"
            assert answers[-1].headers["retry-after"] == "1"
            assert [(await client.get("/health")).status_code for _ in range(5)] == [200] * 5


@pytest.mark.slow
async def test_of_a_thousand_in_parallel_each_is_answered(node: LocalNode) -> None:
    """With its signature, or with a refusal; replays among them are granted once, and the next one is served."""
    raise_file_limit()  # as a node does
    body = json.dumps(attested()).encode()
    head = f"POST /secrets HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    statuses: list[bytes] = []

    async def ask(url: str) -> None:
        statuses.append((await exchange(url, head.encode() + body))[9:12])

    stop_rates(node)
    limits = replace(PATIENT, connections_of_one=2000, connections=2000)
    async with served(node.services.key_api.app, limits) as url:
        async with trio.open_nursery() as nursery:
            for _ in range(1000):
                nursery.start_soon(ask, url)
        assert len(statuses) == 1000
        assert statuses.count(b"200") == 1
        assert set(statuses) == {b"200", b"401", b"429"}
        node.services.key_api.limits = ClientLimits.at_rate(node.backing.config.http.rate)
        async with client_at(url) as client:
            (await client.post("/secrets", json=attested(jti="next"))).raise_for_status()


# -- health, readiness, paths


async def test_health_and_readiness(network: FakeNetwork, tmp_path: Path) -> None:
    """A node that does not run is alive, and says why it is not ready."""
    with a_node(network, 0, tmp_path) as node:
        async with asking(node) as client:
            assert (await client.get("/health")).json() == {"status": "ok"}
            answer = await client.get("/ready")
    assert answer.status_code == 503
    assert answer.json() == {
        "ready": False,
        "reasons": ["no share of the master key is held", "the chain has not been read yet"],
    }


@pytest.mark.parametrize("path", ["/pubkey", "/health", "/ready", "/openapi.json"])
async def test_head_is_get_without_a_body(open_node: LocalNode, path: str) -> None:
    """With the length of what GET would have."""
    async with asking(open_node) as client:
        got, head = await client.get(path), await client.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["content-length"] == got.headers["content-length"]
    assert int(got.headers["content-length"]) == len(got.content)


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "allowed"),
    [
        ("POST", "/pubkey", 405, "method-not-allowed", {"GET", "HEAD"}),
        ("GET", "/secrets", 405, "method-not-allowed", {"POST"}),
        ("HEAD", "/app/sign", 405, None, {"POST"}),
        ("DELETE", "/app/sign", 405, "method-not-allowed", {"POST"}),
        ("GET", "/secrets/", 404, "not-found", set()),
        ("GET", "/", 404, "not-found", set()),
        ("POST", "/dkg/share", 404, "not-found", set()),
        ("GET", "/..%2Fpubkey", 404, "not-found", set()),
    ],
)
async def test_other_paths_and_methods(
    open_node: LocalNode, method: str, path: str, status: int, code: str | None, allowed: set[str]
) -> None:
    """Refused in the same form, with the methods that the path knows."""
    async with asking(open_node) as client:
        answer = await client.request(method, path)
    assert answer.status_code == status
    if code is not None:
        assert code_of(answer) == (status, code)
    assert {each for each in answer.headers.get("allow", "").split(", ") if each} == allowed


async def test_answers_are_json_on_one_line(open_node: LocalNode) -> None:
    """Also for programs that read lines."""
    async with asking(open_node) as client:
        for path in ("/pubkey", "/health", "/nowhere"):
            answer = await client.get(path)
            assert json.loads(answer.text) == answer.json()
            assert "\n" not in answer.text
