"""Proofs of knowledge of a secret scalar."""

import pytest

from eigenkms.crypto import backends, feldman, schnorr
from eigenkms.crypto.backends.interface import BLS_G2_INFINITY
from eigenkms.crypto.hashing import keccak256
from eigenkms.crypto.scalars import R
from tests.crypto.support import counter_rng, scalar

SECRET = scalar("secret")


@pytest.mark.usefixtures("any_backend")
def test_a_proof_holds_for_its_statement_only() -> None:
    """The proof verifies for its public value and context, and for no other."""
    public = feldman.public_share_of(SECRET)
    proof = schnorr.prove(SECRET, public, b"session", counter_rng("k"))
    assert len(proof) == schnorr.PROOF_SIZE
    assert schnorr.verify(public, b"session", proof)
    assert not schnorr.verify(public, b"another session", proof)
    assert not schnorr.verify(feldman.public_share_of(scalar("other")), b"session", proof)


@pytest.mark.usefixtures("fast_backend")
def test_malformed_proofs_do_not_verify() -> None:
    """Every changed byte, wrong length, unreduced response, infinity or malformed public value: false, no
    exception.
    """
    public = feldman.public_share_of(SECRET)
    proof = schnorr.prove(SECRET, public, b"c", counter_rng("k"))
    for i in range(0, len(proof), 7):
        assert not schnorr.verify(public, b"c", proof[:i] + bytes([proof[i] ^ 1]) + proof[i + 1 :])
    response = int.from_bytes(proof[96:], "big")
    unreduced = proof[:96] + (response + R).to_bytes(32, "big") if response + R < 2**256 else b""
    for wrong in (
        b"",
        proof[:-1],
        proof + b"\x00",
        unreduced,
        BLS_G2_INFINITY + proof[96:],
        proof[:96] + b"\xff" * 32,
    ):
        assert not schnorr.verify(public, b"c", wrong)
    assert not schnorr.verify(BLS_G2_INFINITY, b"c", proof)
    assert not schnorr.verify(b"junk", b"c", proof)


@pytest.mark.usefixtures("fast_backend")
def test_a_secret_of_another_public_value_proves_nothing() -> None:
    """Who does not know the secret cannot prove: the proof made with another scalar fails."""
    public = feldman.public_share_of(SECRET)
    assert not schnorr.verify(public, b"c", schnorr.prove(scalar("other"), public, b"c", counter_rng("k")))


@pytest.mark.usefixtures("fast_backend")
def test_nonces_are_hedged() -> None:
    """With a broken random source two statements still use two nonces; with a good one, the same statement
    does too.
    """
    public = feldman.public_share_of(SECRET)

    def nonce_point(context: bytes, byte: int) -> bytes:
        return schnorr.prove(SECRET, public, context, lambda n: bytes([byte]) * n)[:96]

    assert nonce_point(b"one", 0) != nonce_point(b"two", 0)
    assert nonce_point(b"one", 0) != nonce_point(b"one", 1)


def test_proof_is_what_the_format_says(backend: backends.Backends) -> None:
    """T ‖ z with z·G2 − c·S = T, the challenge spelled out from the format's description."""
    curve = backend.bls12381
    public = feldman.public_share_of(SECRET)
    proof = schnorr.prove(SECRET, public, b"context", counter_rng("k"))
    hashed = b"eigenkms/schnorr/1" + b"\x00\x00\x00\x07" + b"context" + public + proof[:96]
    c = int.from_bytes(keccak256(b"\x00" + hashed) + keccak256(b"\x01" + hashed), "big") % R
    z = int.from_bytes(proof[96:], "big")
    expected = curve.encode_g2(curve.msm_g2([curve.g2, curve.decode_g2(public)], [z, -c]))
    assert expected == proof[:96]


@pytest.mark.usefixtures("fast_backend")
def test_commitment_at_infinity_is_refused() -> None:
    """Such a proof satisfies the equation, but gives the secret away; nobody honest makes it."""
    public = feldman.public_share_of(SECRET)
    response = schnorr._challenge(public, b"c", BLS_G2_INFINITY) * SECRET.value % R
    assert not schnorr.verify(public, b"c", BLS_G2_INFINITY + response.to_bytes(32, "big"))
