"""The reference's clients against real node processes: an application on chain gets its environment through HTTP alone."""

import json
import secrets
import socket
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import pytest

from eigenkms.crypto import bls, ibe
from eigenkms.crypto.ibe_identities import identity_of
from eigenkms.crypto.scalars import coordinate, threshold
from eigenkms.devnet.app_publishing import change_status, confirm_release, create_app, publish_release
from eigenkms.node.http.errors import STATUS
from eigenkms.types import AppId, ClusterId, OperatorAddress
from eigenkms.wire.authorisation import Refusal, Scope
from tests.authorisation.test_pipeline import RELEASE
from tests.e2e.attested import Attested
from tests.node.http.support import ReferenceClient, b64
from tests.node.test_attested_network import bad_tokens
from tests.support.live_network import LiveNetwork
from tests.support.token_issuer import gcp_claims, intel_claims, token
from tests.support.waiting import PATIENCE, wait_until

pytestmark = [pytest.mark.e2e]
SECRET = b'{"PASSWORD":"correct horse"}'
NO_CLUSTER = ClusterId(bytes(32))
"""The identity for version 1 names none."""


@dataclass
class Api:
    """The four operators over HTTP, by TLS."""

    urls: dict[OperatorAddress, str]
    trust: ssl.SSLContext

    def ask(self, operator: OperatorAddress, path: str, body: object = None) -> tuple[int, Any]:
        """(status, JSON)."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.urls[operator] + path, data)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE, context=self.trust) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, json.load(refusal)

    def refusal(self, operator: OperatorAddress, body: object) -> tuple[int, str]:
        status, answer = self.ask(operator, "/secrets", body)
        return status, answer["error"]["code"]


@pytest.fixture
def api(attested: Attested) -> Api:
    """All operators, as they run."""
    urls = {
        member.address: attested.net.wait_event(member.index, "http")["url"]
        for member in attested.net.members
    }
    return Api(urls, ssl.create_default_context(cafile=attested.authority.ca))


@dataclass
class Application:
    app_id: AppId
    creator_key: bytes


def deploy(net: LiveNetwork, mpk: bytes) -> Application:
    """An application on chain whose release has SECRET as its environment."""
    creator, owner = net.network.accounts[0], net.network.owner
    controller = net.network.contracts.app_controller
    app = net.loop.run(create_app, creator, controller, None)
    app_id = AppId("0x" + app.hex())
    encrypted = ibe.encrypt(app_id, mpk, SECRET, secrets.token_bytes)
    release = replace(RELEASE, encrypted_env=encrypted, public_env=b'{"MODE":"prod"}')
    net.loop.run(publish_release, creator, controller, app, release)
    net.loop.run(confirm_release, owner, controller, app)
    net.loop.run(change_status, creator, controller, app, "start")
    return Application(app_id, net.network.engine.accounts[2])  # after the deployer and the owner


def fresh_token(app_id: str, nonce: str, method: str = "gcp") -> bytes:
    """Of a workload that runs now."""
    now = int(time.time())
    make = gcp_claims if method == "gcp" else intel_claims
    claims = make(nonce, iat=now - 1, nbf=now - 1, exp=now + 600, jti=secrets.token_hex(16))
    claims["submods"]["gce"]["instance_name"] = f"tee-{app_id}"
    return token(claims)


def environment(api: Api, client: ReferenceClient, request: dict[str, Any], mpk: bytes) -> bytes | None:
    """The decrypted environment, as the reference's client gets it; None if no t answers fit together."""
    answers = {operator: api.ask(operator, "/secrets", request) for operator in api.urls}
    assert [status for status, _ in answers.values()] == [200] * len(answers), answers
    partials = {operator: client.open(answer) for operator, (_, answer) in answers.items()}
    (encrypted,) = {answer["encrypted_env"] for _, answer in answers.values()}
    for chosen in combinations(sorted(partials), threshold(len(partials))):
        key = bls.recover([coordinate(a) for a in chosen], [partials[a] for a in chosen])
        if bls.verify_app_key(identity_of(1, NO_CLUSTER, client.app_id), key, mpk):
            return ibe.decrypt(client.app_id, key, bytes.fromhex(encrypted))
    return None


def test_an_application_gets_its_environment_through_http_and_no_thief_does(
    attested: Attested, api: Api
) -> None:
    """By a token and by its creator's signature; replays, captured and unbound requests are refused by every operator."""
    net = attested.net
    first, second, *_ = api.urls
    mpk = net.status(0)["mpk"]
    status, pubkey = api.ask(first, "/pubkey")
    assert (status, pubkey["masterPublicKey"]["CompressedBytes"]) == (200, b64(bytes.fromhex(mpk)))
    app = deploy(net, bytes.fromhex(mpk))
    client = ReferenceClient(app.app_id)

    def request(how: str) -> dict[str, Any]:
        now = int(time.time())
        if how == "ecdsa":
            return client.signed(app.creator_key, now, nonce=secrets.token_hex(32))
        return client.with_token(fresh_token(app.app_id, client.nonce, how), method=how, at=now)

    for how in ("gcp", "intel", "ecdsa"):
        used: dict[str, Any] = {}

        def got(how: str = how, used: dict[str, Any] = used) -> bytes | None:
            used.update(request(how))
            return environment(api, client, used, bytes.fromhex(mpk))

        assert wait_until(got, "the answers fit together") == SECRET
        for operator in api.urls:
            assert api.refusal(operator, used) == (401, "already-used")

    now = int(time.time())
    claims = gcp_claims(client.nonce, iat=now - 1, nbf=now - 1, exp=now + 600, jti="bad")
    claims["submods"]["gce"]["instance_name"] = f"tee-{app.app_id}"
    bad = [case for case in bad_tokens(claims, now + 500) if not case[0].startswith("exp ")]
    bad.append(("expired", token({**claims, "exp": now - 1}), Refusal.EVIDENCE_EXPIRED))
    refused = {what: api.refusal(first, client.with_token(proof)) for what, proof, _ in bad}
    assert refused == {what: (STATUS[code], str(code)) for what, _, code in bad}

    fresh = request("gcp")
    assert api.refusal(second, {**fresh, "extra_data": b64(b"x")}) == (401, "not-bound")
    cluster = ClusterId(bytes.fromhex(net.status(0)["cluster"]))
    scope = Scope(cluster, first, app.app_id, client.pem)
    captured = client.with_token(fresh_token(app.app_id, scope.nonce))
    assert api.refusal(second, captured) == (401, "not-bound")
    assert api.ask(first, "/secrets", captured)[0] == 200
    unknown = ReferenceClient("0x" + "ab" * 20)
    unknown_request = unknown.with_token(fresh_token(unknown.app_id, unknown.nonce))
    assert api.refusal(first, unknown_request) == (404, "unknown-application")
    assert api.ask(first, "/app/sign", {"AppID": app.app_id})[0] == 403
    assert api.ask(first, "/ready") == (200, {"ready": True, "reasons": []})
    with socket.create_connection(("127.0.0.1", int(api.urls[net.members[2].address].rpartition(":")[2]))):
        assert net.stop(2) == [0], "a client that is connected keeps no node from stopping"
    net.mend()
