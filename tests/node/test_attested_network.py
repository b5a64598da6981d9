"""Bad input through real connections: each request is refused with its code, nothing leaks, and the honest are served meanwhile."""

import hmac
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trio
from cryptography.hazmat.primitives import serialization

from eigenkms.applications import AppStatus, UnusableReleaseError
from eigenkms.attestation import ecdsa, jwks
from eigenkms.authorisation.factory import open_authoriser
from eigenkms.authorisation.policy import Policy
from eigenkms.config.node import NodeConfig
from eigenkms.crypto import sealing
from eigenkms.p2p.errors import CallRefusedError
from eigenkms.p2p.host import Host
from eigenkms.p2p.identity import PeerKey
from eigenkms.types import AppId
from eigenkms.wire import rpc_methods
from eigenkms.wire.authorisation import Authorisation, Refusal, Scope
from eigenkms.wire.client_rpc import PartialRequest, open_partial
from tests.attestation.test_ecdsa import high
from tests.authorisation.test_pipeline import (
    APP_ID,
    APPLICATION,
    CREATOR_KEY,
    Clock,
    Register,
    attested,
    clock,
    config,
    register,
    signed,
)
from tests.node.test_app import running
from tests.support.fake_network import CLUSTER, FakeNetwork
from tests.support.hosts import PATIENT, patient_host
from tests.support.nodes import a_node, keep_version
from tests.support.randomness import counter_rng
from tests.support.token_issuer import (
    APP,
    DIGEST,
    GCP_ISSUER,
    PROJECT,
    Endpoint,
    b64,
    changed,
    gcp_claims,
    jwk_set,
    rsa_key,
    token,
)
from tests.support.token_issuer import NOW as ISSUED
from tests.support.waiting import PATIENCE

__all__ = ["clock", "config", "register"]
PRIVATE, PUBLIC = sealing.x25519_keypair(counter_rng("reply key"))
NOW = int(ISSUED)


@dataclass
class Served:
    """One operator's node with the policy attested, behind a real socket, and a stranger that asks it."""

    network: FakeNetwork
    index: int
    host: Host
    stranger: Host

    @property
    def scope(self) -> Scope:
        """Of a request to this operator with our reply key."""
        return Scope(CLUSTER, self.network.operators[self.index].address, APP_ID, PUBLIC)

    def request(self, evidence: Authorisation | None, **changes: Any) -> PartialRequest:
        encoded = None if evidence is None else evidence.encoded
        transcript = self.network.epoch.transcript
        bare = PartialRequest(CLUSTER, APP_ID, 2, transcript.hash, PUBLIC, bytes(32), encoded)
        return replace(bare, **changes)

    async def ask(self, evidence: Authorisation | None, *, of: Host | None = None, **changes: Any) -> str:
        """``granted``, or the code of the refusal, which says nothing of what would have been accepted."""
        request = self.request(evidence, **changes)
        caller = of or self.stranger
        caller.set_addresses(self.host.peer_id, self.host.addresses)
        try:
            sealed = await caller.call(
                self.host.peer_id,
                rpc_methods.CLIENT_PROTOCOL,
                rpc_methods.PARTIAL,
                request.encoded,
                timeout=PATIENCE,
            )
        except CallRefusedError as refused:
            said = f"{refused} {refused.hint}"
            assert not any(secret in said for secret in (PROJECT, GCP_ISSUER, DIGEST.hex(), self.scope.nonce))
            return refused.code
        open_partial(PRIVATE, request, self.network.epoch.transcript, sealed)
        return "granted"


@asynccontextmanager
async def serving(
    network: FakeNetwork, index: int, config: NodeConfig, register: Register, clock: Clock, folder: Path
) -> AsyncIterator[Served]:
    mine = replace(config, operator=network.operators[index].address, data_dir=folder)
    keep_version(network, index, folder)
    async with open_authoriser(mine, CLUSTER, register, clock=clock) as authoriser:
        with a_node(network, index, folder, deciding=Policy("attested", authoriser)) as node:
            async with running(network, node, index) as host, patient_host(PeerKey.generate()) as stranger:
                yield Served(network, index, host, stranger)


@pytest.fixture
async def served(
    network: FakeNetwork, config: NodeConfig, register: Register, clock: Clock, tmp_path: Path
) -> AsyncIterator[Served]:
    async with serving(network, 0, config, register, clock, tmp_path / "served") as found:
        yield found


def fresh(scope: Scope, number: int) -> Authorisation:
    """A good token, of its own id."""
    return attested(scope, gcp_claims(scope.nonce, jti=f"fresh-{number}")).authorisation


def hmac_token(claims: dict[str, Any], alg: str) -> bytes:
    """Made with the issuer's public key as the shared secret."""
    pem = rsa_key("k1").public_key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    unsigned = b64(json.dumps({"alg": alg, "kid": "k1"}).encode()) + b"." + b64(json.dumps(claims).encode())
    return unsigned + b"." + b64(hmac.new(pem, unsigned, "sha256").digest())


def bad_tokens(claims: dict[str, Any], now: int = NOW) -> Iterator[tuple[str, bytes, Refusal]]:
    """(what is wrong, evidence, code), of ``claims`` that are good at ``now``."""
    for path, value, code in (
        ("exp", now, Refusal.EVIDENCE_EXPIRED),
        ("iat", now + 31, Refusal.EVIDENCE_FROM_FUTURE),
        ("aud", "https://example.org", Refusal.WRONG_AUDIENCE),
        ("iss", "https://accounts.google.com", Refusal.WRONG_ISSUER),
        ("submods.gce.project_id", "their-project", Refusal.WRONG_PROJECT),
        ("eat_nonce", "00" * 32, Refusal.NOT_BOUND),
        ("dbgstat", "enabled", Refusal.DEBUG_ENABLED),
        ("submods.confidential_space.support_attributes", ["USABLE"], Refusal.DEBUG_ENABLED),
        ("hwmodel", "GCP_AMD_SEV", Refusal.WRONG_PLATFORM),
        ("swversion", ["240000"], Refusal.PLATFORM_OUTDATED),
        ("submods.gce.instance_name", "tee-0x" + "ac" * 20, Refusal.WRONG_APPLICATION),
        ("jti", 7, Refusal.BAD_EVIDENCE),
    ):
        yield f"{path} = {value}", token(changed(claims, path, value)), code
    head, payload, signature = token(claims).split(b".")
    none = b64(b'{"alg":"none","kid":"k1"}')
    yield "alg none", none + b"." + payload + b".", Refusal.BAD_EVIDENCE
    yield "alg none, signed", b".".join((none, payload, signature)), Refusal.BAD_EVIDENCE
    yield "HS256 with the public key", hmac_token(claims, "HS256"), Refusal.BAD_EVIDENCE
    yield "HMAC called RS256", hmac_token(claims, "RS256"), Refusal.BAD_SIGNATURE
    yield "another key", token(claims, key="k2", header={"kid": "k1"}), Refusal.BAD_SIGNATURE
    yield "a key that the issuer has not", token(claims, key="k2"), Refusal.UNKNOWN_KEY
    yield (
        "other claims",
        b".".join((head, b64(json.dumps(gcp_claims("x")).encode()), signature)),
        Refusal.BAD_SIGNATURE,
    )
    yield "no token", b"no token", Refusal.BAD_EVIDENCE


def bad_signatures(
    scope: Scope, key: bytes = CREATOR_KEY, now: int = NOW
) -> Iterator[tuple[str, bytes, Refusal]]:
    """(what is wrong, evidence, code); ``key`` is the creator's."""

    def evidence(**how: Any) -> bytes:
        return signed(scope, **{"key": key, "at": now, **how}).authorisation.evidence

    yield "by another address", evidence(key=b"\x12" * 32), Refusal.NOT_CREATOR
    yield "from the future", evidence(at=now + 31), Refusal.EVIDENCE_FROM_FUTURE
    yield "too old", evidence(at=now - 301), Refusal.EVIDENCE_EXPIRED
    good = evidence()
    yield "high s", ecdsa.encode_evidence(b"\x05" * 32, now, high(good[-65:])), Refusal.BAD_SIGNATURE
    yield "another nonce", ecdsa.encode_evidence(b"\x06" * 32, now, good[-65:]), Refusal.NOT_CREATOR
    yield "another time", ecdsa.encode_evidence(b"\x05" * 32, now - 1, good[-65:]), Refusal.NOT_CREATOR
    yield "cut", good[:-1], Refusal.BAD_EVIDENCE
    yield (
        "the reference's text",
        ecdsa.encode_reference_evidence("x", bytes(65), bytes(65)),
        Refusal.METHOD_NOT_ENABLED,
    )


@pytest.mark.slow
async def test_each_bad_proof_is_refused_with_its_code_and_uses_nothing_up(served: Served) -> None:
    """Through a real connection, one after another; then the honest ones are granted, once."""
    scope = served.scope
    cases = [("gcp", *case) for case in bad_tokens(gcp_claims(scope.nonce))] + [
        ("ecdsa", *case) for case in bad_signatures(scope)
    ]
    found = {what: await served.ask(Authorisation(method, bad)) for method, what, bad, _ in cases}
    assert found == {what: str(code) for _, what, _, code in cases}
    assert len(found) == len(cases)
    for good in (attested(scope), signed(scope)):
        assert await served.ask(good.authorisation) == "granted"
        assert await served.ask(good.authorisation) == Refusal.ALREADY_USED


@pytest.mark.slow
async def test_requests_that_are_none(served: Served) -> None:
    """Without a proof, with rubbish for one, of a method that nobody knows, larger than a request may be, for another cluster."""
    good = fresh(served.scope, 1)
    assert await served.ask(None) == Refusal.NO_AUTHORISATION
    assert await served.ask(None, authorisation=b"\xc1") == Refusal.BAD_AUTHORISATION
    assert await served.ask(Authorisation("tpm", b"x")) == Refusal.METHOD_NOT_ENABLED
    assert await served.ask(Authorisation("gcp", bytes(61_000))) == Refusal.BAD_EVIDENCE
    assert await served.ask(Authorisation("gcp", bytes(61_441))) == Refusal.BAD_AUTHORISATION
    assert await served.ask(good, app_id=AppId("four")) == "bad-request"
    assert await served.ask(good, cluster=b"\x09" * 32) == "wrong-cluster"
    assert await served.ask(good, transcript_hash=bytes(32)) == "unknown-version"
    assert await served.ask(good) == "granted"


@pytest.mark.slow
async def test_what_the_chain_says_decides(served: Served, register: Register) -> None:
    """Unknown, stopped and terminated applications, a release with two artefacts, another digest: whoever proves what."""
    found = {}
    for number, (what, known, trouble) in enumerate(
        (
            ("unknown", {}, None),
            ("stopped", {APP: replace(APPLICATION, status=AppStatus.STOPPED)}, None),
            ("terminated", {APP: replace(APPLICATION, status=AppStatus.TERMINATED)}, None),
            ("two artefacts", {}, UnusableReleaseError("read release: two artefacts")),
            ("no release", {APP: replace(APPLICATION, release=None)}, None),
            (
                "another digest",
                {APP: replace(APPLICATION, release=replace(APPLICATION.release, image_digest=bytes(32)))},
                None,
            ),
            ("good", {APP: APPLICATION}, None),
        )
    ):
        register.known, register.trouble = known, trouble
        found[what] = await served.ask(fresh(served.scope, number))
    assert found == {
        "unknown": Refusal.UNKNOWN_APPLICATION,
        "stopped": Refusal.APPLICATION_NOT_RUNNING,
        "terminated": Refusal.APPLICATION_NOT_RUNNING,
        "two artefacts": Refusal.BAD_RELEASE,
        "no release": Refusal.NO_RELEASE,
        "another digest": Refusal.WRONG_IMAGE,
        "good": "granted",
    }


@pytest.mark.slow
async def test_what_one_operator_captured_is_useless_at_every_other(
    network: FakeNetwork, config: NodeConfig, register: Register, clock: Clock, tmp_path: Path
) -> None:
    """Token and signature, with the honest reply key or the thief's; at the operator itself it was used."""
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(
                serving(network, index, config, register, clock, tmp_path / f"node-{index}")
            )
            for index in range(4)
        ]
        for ask, elsewhere in ((attested, Refusal.NOT_BOUND), (signed, Refusal.NOT_CREATOR)):
            captured = ask(nodes[0].scope).authorisation
            assert await nodes[0].ask(captured) == "granted"
            _, thiefs = sealing.x25519_keypair(counter_rng("thief"))
            for other in nodes[1:]:
                assert await other.ask(captured) == elsewhere
                assert await other.ask(captured, reply_key=thiefs) == elsewhere
            assert await nodes[0].ask(captured) == Refusal.ALREADY_USED
            assert await nodes[0].ask(captured, reply_key=thiefs) == elsewhere
        for node in nodes[1:]:
            assert await node.ask(attested(node.scope).authorisation) == "granted"


FAULTS: dict[str, dict[str, Any]] = {
    "huge": {"endless": True},
    "rubbish": {"body": b"{"},
    "down": {"status": 503},
    "no keys": {"body": jwk_set()},
}


@pytest.mark.slow
async def test_an_issuer_that_fails_stops_only_its_own_tokens(
    served: Served, issuer: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a token with an unknown key waits for the issuer, known keys and signatures are served."""
    assert await served.ask(fresh(served.scope, 0)) == "granted"  # so it has the keys
    monkeypatch.setattr(jwks, "RETRY_SECONDS", 0.0)
    unknown = Authorisation("gcp", token(gcp_claims(served.scope.nonce), key="k2"))
    for number, (name, fault) in enumerate(FAULTS.items(), 1):
        asked, are_served, found = trio.Event(), trio.Event(), []
        with monkeypatch.context() as patch:
            for field, value in fault.items():
                patch.setattr(issuer, field, value)

            async def wait(asked: trio.Event = asked, are_served: trio.Event = are_served) -> None:
                asked.set()
                await are_served.wait()

            async def ask_unknown(found: list[str] = found) -> None:
                found.append(await served.ask(unknown))

            patch.setattr(issuer, "on_request", wait)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask_unknown)
                with trio.fail_after(PATIENCE):
                    await asked.wait()
                async with patient_host(PeerKey.generate()) as other:
                    good = (
                        fresh(served.scope, number),
                        signed(served.scope, nonce=bytes([number] * 32)).authorisation,
                    )
                    assert [await served.ask(each, of=other) for each in good] == ["granted"] * 2
                assert found == []
                are_served.set()
        assert found == [Refusal.KEYS_UNAVAILABLE], f"{name}: it may be a new one"


async def test_a_node_without_the_issuers_keys_serves_the_creator(
    network: FakeNetwork,
    config: NodeConfig,
    register: Register,
    clock: Clock,
    issuer: Endpoint,
    tmp_path: Path,
) -> None:
    """It starts offline, and says what it has not."""
    issuer.status = 503
    async with serving(network, 0, config, register, clock, tmp_path / "served") as served:
        assert await served.ask(fresh(served.scope, 0)) == Refusal.KEYS_UNAVAILABLE
        assert await served.ask(signed(served.scope).authorisation) == "granted"


@pytest.mark.slow
async def test_a_thousand_parallel_requests(served: Served) -> None:
    """From four strangers, of every bad kind: each gets its code, or the refusal that the node is busy. An honest client is served
    while they go on.
    """
    scope = served.scope
    cases = [("gcp", *case) for case in bad_tokens(gcp_claims(scope.nonce))] + [
        ("ecdsa", *case) for case in bad_signatures(scope)
    ]
    odd: list[tuple[str, str]] = []
    numbers, answered = count(), 0
    is_served = False

    async def flood(caller: Host) -> None:
        nonlocal answered
        while (number := next(numbers)) < 1000 or not is_served:
            method, what, bad, code = cases[number % len(cases)]
            found = await served.ask(Authorisation(method, bad), of=caller)
            answered += 1
            if found not in (code, Refusal.BUSY):
                odd.append((what, found))

    async def honest() -> str:
        async with patient_host(PeerKey.generate()) as client:
            for number in count():
                if (found := await served.ask(fresh(scope, number), of=client)) != Refusal.BUSY:
                    return found
        raise AssertionError("unreachable")

    async with AsyncExitStack() as stack:
        callers = [
            await stack.enter_async_context(
                patient_host(
                    PeerKey.generate(), limits=replace(PATIENT, rpc=replace(PATIENT.rpc, in_flight=250))
                )
            )
            for _ in range(4)
        ]
        async with trio.open_nursery() as nursery:
            for number in range(1000):
                nursery.start_soon(flood, callers[number % 4])
            with trio.fail_after(PATIENCE):
                assert await honest() == "granted"
            is_served = True
    assert odd == []
    assert answered >= 1000
    assert await served.ask(fresh(scope, -1)) == "granted"
