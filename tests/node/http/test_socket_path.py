"""The API under the path of a socket on chain, and what the reference's client makes of ``/pubkey`` below t answers."""

import base64
import json
from itertools import combinations
from pathlib import Path

import pytest
from py_arkworks_bls12381 import G1Point

from tests.node.http.support import asking, code_of
from tests.support.fake_network import FakeNetwork
from tests.support.go_client import (
    GoClientError,
    interpolate,
    open_or_none,
    sum_of_commitments,
)
from tests.support.local_node import LocalNode

VECTORS = json.loads((Path(__file__).parents[2] / "crypto" / "vectors.json").read_text())
PEER = "16Uiu2HAmPLe7Mzm8TsYUubgCAW1aJoeFScxrLj8ppHFivPo97bUZ"
PATHS = ("/pubkey", "/health", "/ready", "/openapi.json")


@pytest.mark.parametrize(
    "address", ["/ip4/192.0.2.7/tcp/9400", "/ip6/2001:db8::7/tcp/1", "/dns4/kms.example.org/tcp/65535"]
)
async def test_every_path_is_served_under_a_socket_too(open_node: LocalNode, address: str) -> None:
    """Whatever address and peer the chain names: it may be newer than the node's start, or in a client's memory."""
    async with asking(open_node) as client:
        for path in PATHS:
            here, there = await client.get(path), await client.get(f"{address}/p2p/{PEER}{path}")
            assert (there.status_code, there.content) == (here.status_code, here.content)
        body = {"AppID": "my-app"}
        signed = [
            (await client.post(f"{prefix}/app/sign", json=body)).json()
            for prefix in ("", f"{address}/p2p/{PEER}")
        ]
        assert signed[0] == signed[1]
        assert code_of(await client.post(f"{address}/p2p/{PEER}/secrets", json={}))[0] == 400


@pytest.mark.parametrize(
    "path",
    [
        f"/ip4/192.0.2.7/tcp/x/p2p/{PEER}/pubkey",
        f"/ip4/192.0.2.7/udp/9400/p2p/{PEER}/pubkey",
        "/ip4/192.0.2.7/tcp/9400/p2p/pubkey",
        f"/ip4/192.0.2.7/tcp/9400/p2p/{PEER}",
        f"/ip4/192.0.2.7/tcp/9400/p2p/{PEER}/pubkey/",
        f"/x/ip4/192.0.2.7/tcp/9400/p2p/{PEER}/pubkey",
        f"//ip4/192.0.2.7/tcp/9400/p2p/{PEER}/pubkey",
    ],
)
async def test_another_path_is_not_found(open_node: LocalNode, path: str) -> None:
    """And not redirected."""
    async with asking(open_node) as client:
        assert code_of(await client.get(path)) == (404, "not-found")


async def test_first_commitments_sum_to_no_key(network: FakeNetwork, open_node: LocalNode) -> None:
    """Of however few answers: the reference would encrypt to the sum, and nobody could decrypt."""
    async with asking(open_node) as client:
        said = (await client.get("/pubkey")).json()
    mpk = base64.b64decode(said["masterPublicKey"]["CompressedBytes"])
    assert mpk == network.epoch.transcript.mpk
    for answers in (1, 2, 3):
        with pytest.raises(GoClientError, match="computed master public key is zero"):
            sum_of_commitments([said] * answers)
    once = {**said, "commitments": [said["masterPublicKey"]]}
    twice = sum_of_commitments([once, once])
    assert twice.to_compressed_bytes() != mpk, "a key that nobody has, which is what it took before"


def test_the_client_of_these_tests_computes_as_the_reference() -> None:
    """Recovery and decryption, by the frozen vectors."""
    found, ibe = VECTORS["partial_sigs_app_test-app"], VECTORS["ibe"]
    key = bytes.fromhex(VECTORS["app_private_key_test-app"])
    partials = {
        bytes.fromhex(operator["address"][2:]): G1Point.from_compressed_bytes(bytes.fromhex(each))
        for operator, each in zip(VECTORS["operators"], found, strict=False)
    }
    for chosen in combinations(partials, 3):
        assert interpolate({a: partials[a] for a in chosen}).to_compressed_bytes() == key
    opened = open_or_none(
        "test-app", G1Point.from_compressed_bytes(key), bytes.fromhex(ibe["ciphertext_hex"])
    )
    assert opened == ibe["plaintext"].encode()
