"""Ciphertext version 2 is frozen: the ciphertexts in ``ciphertext_v2.json`` stay readable, and are made again to the byte.

They are read here a second time by a reader written from docs/formats.md, which shares nothing with the package but the pairing. To
change the format on purpose, give it another version byte; ``python -m tests.crypto.test_ciphertext_v2_vectors`` writes the file.
"""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from eigenkms.crypto import backends, bls, feldman, ibe_v2
from eigenkms.crypto.ibe_identities import identity_v2
from eigenkms.crypto.ibe_v2 import ApplicationKey, Recipient
from eigenkms.types import AppId, ClusterId
from tests.crypto.support import counter_rng, scalar

PATH = Path(__file__).with_name("ciphertext_v2.json")
MASTER = scalar("ciphertext v2: master secret")
CLUSTER = ClusterId(hashlib.sha256(b"ciphertext v2: cluster").digest())
CASES = (
    ("empty", "test-app", 16, b""),
    ("short", "test-app", 16, b"hello threshold world"),
    ("name in UTF-8", "höchst-geheim", 16, b"attack at dawn\n"),
    ("one full chunk", "test-app", 6, bytes(range(64))),
    ("three chunks", "test-app", 6, bytes(range(150))),
)


def made(name: str, app_id: str, chunk_bits: int, plaintext: bytes) -> dict[str, Any]:
    recipient = Recipient(AppId(app_id), CLUSTER, feldman.public_share_of(MASTER))
    ciphertext = ibe_v2.encrypt(recipient, plaintext, counter_rng(name), chunk_bits)
    return {
        "name": name,
        "app_id": app_id,
        "cluster": CLUSTER.hex(),
        "mpk": recipient.mpk.hex(),
        "app_key": bls.partial_sign(MASTER, identity_v2(CLUSTER, app_id)).hex(),
        "chunk_bits": chunk_bits,
        "plaintext": plaintext.hex(),
        "ciphertext": ciphertext.hex(),
    }


VECTORS = json.loads(PATH.read_text()) if PATH.exists() else []
each_vector = pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])


def test_every_case_is_frozen() -> None:
    """One vector for each case, in order."""
    assert [v["name"] for v in VECTORS] == [name for name, *_ in CASES]


@pytest.mark.usefixtures("backend")
@each_vector
def test_vector_is_read(vector: dict[str, Any]) -> None:
    """On every backend of the curve."""
    recipient = Recipient(
        AppId(vector["app_id"]), ClusterId(bytes.fromhex(vector["cluster"])), bytes.fromhex(vector["mpk"])
    )
    key = ApplicationKey(recipient, bytes.fromhex(vector["app_key"]))
    assert ibe_v2.decrypt(key, bytes.fromhex(vector["ciphertext"])).hex() == vector["plaintext"]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c[0])
def test_vector_is_made_again(case: tuple[str, str, int, bytes]) -> None:
    """With the same randomness."""
    assert made(*case) in VECTORS


@each_vector
def test_vector_is_read_by_the_book(vector: dict[str, Any]) -> None:
    """By docs/formats.md alone: header fields, HKDF from HMAC, nonces, chunks."""
    data = bytes.fromhex(vector["ciphertext"])
    assert data[:6] == b"IBE" + bytes([2, 1, vector["chunk_bits"]])
    assert data[6:38].hex() == vector["cluster"]
    curve = backends.bls12381()
    g = curve.pairing_bytes(curve.decode_g1(bytes.fromhex(vector["app_key"])), curve.decode_g2(data[38:134]))
    context = bytes.fromhex(vector["mpk"]) + data[:134] + vector["app_id"].encode()
    prk = hmac.digest(b"eigenkms/ciphertext/2", g, "sha256")
    key = hmac.digest(prk, context + b"\x01", "sha256")
    assert hmac.digest(prk, key + context + b"\x02", "sha256") == data[134:166]
    size, plaintext, at, number = 2 ** vector["chunk_bits"] + 16, b"", 166, 0
    while at < len(data) or number == 0:
        chunk, at = data[at : at + size], at + size
        nonce = number.to_bytes(11, "big") + (b"\x01" if at >= len(data) else b"\x00")
        plaintext, number = plaintext + AESGCM(key).decrypt(nonce, chunk, context), number + 1
    assert plaintext.hex() == vector["plaintext"]


if __name__ == "__main__":
    PATH.write_text(json.dumps([made(*case) for case in CASES], indent=1) + "\n")
