"""Operators' identity keys: signatures, batches, aggregates, registration."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eigenkms.crypto import backends, bn254
from eigenkms.crypto.backends.interface import BN_G1_INFINITY, BN_G2_INFINITY, InvalidPoint
from eigenkms.crypto.bn254 import KeyPair, N
from eigenkms.crypto.hashing import keccak256
from tests.support.randomness import counter_rng
from tests.support.toy_backend import toy_crypto

DIGEST = keccak256(b"message")
OTHER = keccak256(b"other message")


def keys(count: int) -> list[KeyPair]:
    rng = counter_rng("keys")
    return [KeyPair.generate(rng) for _ in range(count)]


@pytest.mark.slow
@pytest.mark.usefixtures("any_backend")
def test_signature_verifies_for_its_digest_and_key() -> None:
    """It verifies for the digest and key it was made with, and for no other."""
    first, second = keys(2)
    signature = bn254.sign(first, DIGEST)
    assert bn254.verify(DIGEST, signature, first.g2)
    assert not bn254.verify(OTHER, signature, first.g2)
    assert not bn254.verify(DIGEST, signature, second.g2)


@pytest.mark.usefixtures("fast_backend")
def test_infinity_and_junk_never_verify() -> None:
    """Infinity satisfies the equation with infinity; it and malformed bytes are refused all the same."""
    key = keys(1)[0]
    signature = bn254.sign(key, DIGEST)
    for wrong in (BN_G1_INFINITY, b"\xff" * 64, b"", signature + b"\x00"):
        assert not bn254.verify(DIGEST, wrong, key.g2)
        assert not bn254.verify(DIGEST, wrong, BN_G2_INFINITY)
    for wrong in (BN_G2_INFINITY, b"", key.g2[:-1]):
        assert not bn254.verify(DIGEST, signature, wrong)
        with pytest.raises(InvalidPoint):
            bn254.check_key(wrong)
    bn254.check_key(key.g2)
    with pytest.raises(ValueError, match="digest has 5 bytes"):
        bn254.verify(b"short", signature, key.g2)


@settings(max_examples=80, derandomize=True)
@given(count=st.integers(0, 12), data=st.data())
def test_exactly_the_bad_frames_are_named(count: int, data: st.DataObject) -> None:
    """Different digests by three keys, some signatures false or malformed: just those indexes come back."""
    bad = data.draw(st.sets(st.integers(0, count - 1))) if count else set()
    with toy_crypto():
        pairs = [keys(3)[i % 3] for i in range(count)]
        items = [(keccak256(bytes([i])), key) for i, key in enumerate(pairs)]
        signed = [(digest, bn254.sign(key, digest), key.g2) for digest, key in items]
        for i in bad:
            false = b"junk" if i % 3 == 2 else bn254.sign(pairs[i], OTHER)
            signed[i] = (signed[i][0], false, signed[i][2])
        assert tuple(sorted(bad)) == bn254.batch_verify(signed, counter_rng("rlc"))


@pytest.mark.slow
@pytest.mark.usefixtures("backend")
def test_bad_frames_are_named_on_real_curves() -> None:
    """A batch of two keys, one of them twice; two swapped signatures, whose sum is unchanged, are both
    named.
    """
    first, second = keys(2)
    items = [(DIGEST, bn254.sign(first, DIGEST), first.g2), (OTHER, bn254.sign(second, OTHER), second.g2)]
    items.append((OTHER, bn254.sign(first, OTHER), first.g2))
    assert bn254.batch_verify(items, counter_rng("rlc")) == ()
    swapped = [(DIGEST, items[1][1], first.g2), (OTHER, items[0][1], second.g2), items[2]]
    assert bn254.batch_verify(swapped, counter_rng("rlc")) == (0, 1)


@pytest.mark.usefixtures("fast_backend")
def test_aggregate_verifies_under_all_its_signers() -> None:
    """The sum verifies under exactly the signers' keys, in any order."""
    signers = keys(2)
    aggregate = bn254.aggregate_signatures([bn254.sign(key, DIGEST) for key in signers])
    both = [key.g2 for key in signers]
    assert bn254.verify_aggregate(DIGEST, aggregate, both[::-1])
    assert not bn254.verify_aggregate(DIGEST, aggregate, both[:1])
    assert not bn254.verify_aggregate(OTHER, aggregate, both)


@pytest.mark.usefixtures("fast_backend")
def test_degenerate_aggregates_are_refused() -> None:
    """No signer, keys that cancel, malformed keys; signatures that cancel; no signature."""
    key = keys(1)[0]
    opposite = KeyPair.from_secret(N - key.secret)
    signature = bn254.sign(key, DIGEST)
    assert not bn254.verify_aggregate(DIGEST, signature, [])
    assert not bn254.verify_aggregate(DIGEST, BN_G1_INFINITY, [key.g2, opposite.g2])
    assert not bn254.verify_aggregate(DIGEST, signature, [b"junk"])
    with pytest.raises(InvalidPoint, match="cancel to infinity"):
        bn254.aggregate_signatures([signature, bn254.sign(opposite, DIGEST)])
    with pytest.raises(InvalidPoint):
        bn254.aggregate_signatures([signature, BN_G1_INFINITY])
    with pytest.raises(ValueError, match="no signature"):
        bn254.aggregate_signatures([])


@pytest.mark.usefixtures("fast_backend")
def test_the_two_public_points_of_a_key_match() -> None:
    """A key's own G1 and G2 points match; others, and malformed ones, do not."""
    first, second = keys(2)
    assert bn254.keys_match(first.g1, first.g2)
    assert not bn254.keys_match(first.g1, second.g2)
    assert not bn254.keys_match(b"", first.g2)
    assert not bn254.keys_match(first.g1, BN_G2_INFINITY)


def test_registration_passes_the_contracts_equation(backend: backends.Backends) -> None:
    """EigenLayer's registrar checks signature and both points at once, with a challenge over all of them."""
    key = keys(1)[0]
    data, signature = bn254.registration_key_data(key), bn254.sign_registration(key, DIGEST)
    assert key.g1 + key.g2 == data
    curve = backend.bn254
    gamma = int.from_bytes(keccak256(DIGEST, data, signature), "big") % N
    left = curve.msm_g1([curve.decode_g1(signature), curve.decode_g1(key.g1)], [-1, -gamma])
    right = curve.msm_g1([curve.hash_to_g1(DIGEST), curve.g1], [1, gamma])
    assert curve.pairing_check([(left, curve.g2), (right, curve.decode_g2(data[64:]))])


def test_secret_key_is_strict() -> None:
    """1..N-1, as an integer or 32 bytes; everything else is refused without being echoed."""
    assert KeyPair.from_secret(7).g2 == KeyPair.from_secret((7).to_bytes(32, "big")).g2
    assert (7).to_bytes(32, "big") == KeyPair.from_secret(7).secret_bytes()
    for wrong in (0, N, -1, bytes(32), N.to_bytes(32, "big"), b"\x07"):
        with pytest.raises(ValueError, match="BN254 secret key"):
            KeyPair.from_secret(wrong)


def test_generation_rejects_instead_of_reducing() -> None:
    """Draws of zero or at least N are drawn again."""
    draws = [bytes(32), b"\xff" * 32, (4 * 9).to_bytes(32, "big")]
    assert KeyPair.generate(lambda _: draws.pop(0)).secret == 9
    assert draws == []
