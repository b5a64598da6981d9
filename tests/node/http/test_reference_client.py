"""The reference's own client, step by step as its specification has it, against four operators."""

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import httpx
import pytest

from eigenkms.authorisation.factory import open_authoriser
from eigenkms.authorisation.policy import Policy
from eigenkms.crypto import bls, ibe
from eigenkms.crypto.ibe_identities import identity_of
from eigenkms.crypto.scalars import coordinate
from eigenkms.types import OperatorAddress
from tests.authorisation.test_pipeline import APPLICATION, CREATOR_KEY, RELEASE, Clock, Register
from tests.node.http.conftest import METHODS
from tests.node.http.support import ReferenceClient, asking, golden, shape_of
from tests.support.fake_network import CLUSTER, FakeNetwork
from tests.support.nodes import a_node, keep_version, make_config
from tests.support.randomness import counter_rng
from tests.support.token_issuer import APP, Authority, Endpoint, gcp_claims, token
from tests.support.token_issuer import NOW as ISSUED

SECRET = b'{"PASSWORD": "correct horse"}'
Partials = dict[OperatorAddress, bytes]


@pytest.fixture
async def operators(
    network: FakeNetwork,
    tmp_path: Path,
    authority: Authority,
    issuer: Endpoint,
    register: Register,
    clock: Clock,
) -> AsyncIterator[dict[OperatorAddress, httpx.AsyncClient]]:
    """All four, by address, with the environment in the application's release."""
    encrypted = ibe.encrypt(APP, network.epoch.transcript.mpk, SECRET, counter_rng("environment"))
    release = replace(RELEASE, public_env=b'{"MODE":"prod"}', encrypted_env=encrypted)
    register.known[APP] = replace(APPLICATION, release=release)
    async with AsyncExitStack() as stack:
        found = {}
        for index, operator in enumerate(network.operators):
            folder = tmp_path / str(index)
            config = make_config(
                network,
                index,
                folder,
                **METHODS,
                attestation_gcp_keys=issuer.url,
                attestation_ca=authority.ca,
            )
            keep_version(network, index, folder)
            authoriser = await stack.enter_async_context(
                open_authoriser(config, CLUSTER, register, clock=clock)
            )
            node = stack.enter_context(
                a_node(network, index, folder, deciding=Policy("attested", authoriser))
            )
            found[operator.address] = await stack.enter_async_context(asking(node))
        yield found


def recovered(partials: Partials, mpk: bytes, t: int) -> bytes:
    """The first t-subset of the signers, sorted by address, whose key passes the pairing check."""
    for chosen in combinations(sorted(partials), t):
        key = bls.recover([coordinate(a) for a in chosen], [partials[a] for a in chosen])
        if bls.verify_app_key(identity_of(1, CLUSTER, APP), key, mpk):
            return key
    raise AssertionError("no subset passes")


async def voted_key(operators: dict[OperatorAddress, httpx.AsyncClient], t: int) -> bytes:
    """GET /pubkey at all; t of them must say the same."""
    votes: list[bytes] = []
    for client in operators.values():
        answer = (await client.get("/pubkey")).raise_for_status().json()
        assert answer["isActive"]
        assert answer["commitments"]
        votes.append(base64.b64decode(answer["masterPublicKey"]["CompressedBytes"]))
    (key,) = {vote for vote in votes if votes.count(vote) >= t}
    return key


async def secrets_of(
    operators: dict[OperatorAddress, httpx.AsyncClient], client: ReferenceClient, request: dict[str, Any]
) -> tuple[Partials, set[str], set[str]]:
    """(partial signatures, encrypted and public environments) of the same request to all."""
    partials, encrypted, public = {}, set(), set()
    for address, operator in operators.items():
        answer = (await operator.post("/secrets", json=request)).raise_for_status().json()
        partials[address] = client.open(answer)
        encrypted.add(answer["encrypted_env"])
        public.add(answer["public_env"])
    return partials, encrypted, public


@pytest.mark.slow
@pytest.mark.parametrize("how", ["token", "signed text"])
async def test_it_gets_its_environment(
    network: FakeNetwork, operators: dict[OperatorAddress, httpx.AsyncClient], how: str
) -> None:
    """One RSA key and one piece of evidence for all operators; t of the answers make the key that opens the environment."""
    client = ReferenceClient()
    request = client.signed(CREATOR_KEY, int(ISSUED))
    if how == "token":
        request = client.with_token(token(gcp_claims(client.nonce)), at=int(ISSUED))
    t = network.epoch.transcript.threshold
    mpk = await voted_key(operators, t)
    partials, encrypted, public = await secrets_of(operators, client, request)
    key = recovered(dict(list(partials.items())[1 : 1 + t]), mpk, t)
    assert ibe.decrypt(APP, key, bytes.fromhex(encrypted.pop())) == SECRET
    assert (public, encrypted) == ({'{"MODE":"prod"}'}, set())


async def test_the_answers_have_its_shapes(
    network: FakeNetwork, operators: dict[OperatorAddress, httpx.AsyncClient]
) -> None:
    """Field by field, as recorded from the specification; extra data comes back only if there was any."""
    client = ReferenceClient(extra_data=b"more")
    me = network.operators[0].address
    pubkey = (await operators[me].get("/pubkey")).json()
    assert shape_of(pubkey) == golden("pubkey.json")
    transcript = network.epoch.transcript
    assert pubkey["operatorAddress"] == "0x" + me.hex()
    assert pubkey["version"] == transcript.version
    shown = [base64.b64decode(c["CompressedBytes"]) for c in pubkey["commitments"]]
    assert shown == [b"\xc0" + bytes(95), *transcript.commitments[1:]]
    request = client.with_token(token(gcp_claims(client.nonce.upper())))
    answer = (await operators[me].post("/secrets", json=request)).raise_for_status().json()
    assert shape_of(answer) == golden("secrets.json")
    assert base64.b64decode(answer["extra_data"]) == b"more"
    bare = ReferenceClient()
    request = bare.with_token(token(gcp_claims(bare.nonce, jti="2")))
    answer = (await operators[me].post("/secrets", json=request)).raise_for_status().json()
    assert list(answer) == ["encrypted_env", "public_env", "encrypted_partial_sig"]
