"""Partial signatures, their batches, recovery of application keys."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eigenkms.crypto import bls, feldman
from eigenkms.crypto.backends.interface import BLS_G1_INFINITY, BLS_G2_INFINITY, InvalidPoint
from eigenkms.crypto.ibe_identities import identity_v1
from eigenkms.crypto.scalars import R, SecretScalar
from eigenkms.crypto.shamir import Polynomial
from eigenkms.errors import InputError
from tests.crypto.support import counter_rng, scalar
from tests.support.toy_backend import toy_crypto

APP = "an application"
ID = identity_v1(APP)


def operators(count: int, threshold: int) -> tuple[bytes, dict[int, tuple[bytes, bytes]]]:
    """Master public key; by coordinate, a partial signature and the public share that checks it."""
    polynomial = Polynomial.random(threshold, counter_rng("operators"))
    shares = {x: polynomial.evaluate(x) for x in range(1, count + 1)}
    signed = {x: (bls.partial_sign(s, ID), feldman.public_share_of(s)) for x, s in shares.items()}
    return polynomial.commitments()[0], signed


@pytest.mark.slow
@pytest.mark.usefixtures("any_backend")
def test_partial_signature_verifies_for_its_application_and_operator() -> None:
    """It verifies under the signer's public share, and for nothing else."""
    _, signed = operators(2, 2)
    (first, y1), (_, y2) = signed.values()
    assert bls.verify_partial(ID, first, y1)
    assert not bls.verify_partial(ID, first, y2)
    assert not bls.verify_partial(identity_v1(APP + "x"), first, y1)


@pytest.mark.usefixtures("fast_backend")
def test_any_threshold_recovers_the_same_key() -> None:
    """Different sets of t operators give one key, which verifies; t−1 give one that does not."""
    mpk, signed = operators(5, 4)
    keys = {
        bls.recover(xs, [signed[x][0] for x in xs])
        for xs in ([1, 2, 3, 4], [2, 3, 4, 5], [5, 3, 1, 2], [1, 2, 3, 4, 5])
    }
    assert len(keys) == 1
    assert bls.verify_app_key(ID, keys.pop(), mpk)
    few = bls.recover([1, 2, 3], [signed[x][0] for x in (1, 2, 3)])
    assert not bls.verify_app_key(ID, few, mpk)


@pytest.mark.usefixtures("fast_backend")
def test_infinity_and_junk_never_verify() -> None:
    """A signature or key at infinity satisfies the equation with infinity; it is refused all the same."""
    _, signed = operators(1, 1)
    signature, public = signed[1]
    for wrong in (BLS_G1_INFINITY, b"\xff" * 48, b"", signature + b"\x00"):
        assert not bls.verify_partial(ID, wrong, public)
        assert not bls.verify_partial(ID, wrong, BLS_G2_INFINITY)
        assert bls.verify_partials(ID, [(wrong, public)], counter_rng("r")) == (0,)
    for wrong in (BLS_G2_INFINITY, b"", public[:-1]):
        assert not bls.verify_partial(ID, signature, wrong)


@settings(max_examples=80, derandomize=True)
@given(count=st.integers(0, 10), data=st.data())
def test_exactly_the_liars_are_named(count: int, data: st.DataObject) -> None:
    """Whatever the number and places of false and malformed signatures, just those indexes come back."""
    liars = data.draw(st.sets(st.integers(0, count - 1))) if count else set()
    with toy_crypto():
        items = [(s, y) for _, (s, y) in operators(count, 3)[1].items()]
        for i in liars:
            false = b"junk" if i % 3 == 2 else bls.partial_sign(scalar(f"liar {i}"), ID)
            items[i] = (false, items[i][1])
        assert tuple(sorted(liars)) == bls.verify_partials(ID, items, counter_rng("rlc"))


@pytest.mark.usefixtures("fast_backend")
def test_liars_whose_errors_cancel_are_named() -> None:
    """Two false signatures whose plain sum is right are found on real curves too."""
    shares = [scalar(str(i)) for i in range(3)]
    shifted = [SecretScalar((s.value + d) % R) for s, d in zip(shares, (1, 0, -1), strict=True)]
    items = [
        (bls.partial_sign(f, ID), feldman.public_share_of(s)) for f, s in zip(shifted, shares, strict=True)
    ]
    assert bls.verify_partials(ID, items, counter_rng("rlc")) == (0, 2)


@pytest.mark.usefixtures("fast_backend")
def test_recovery_refuses_what_it_cannot_combine() -> None:
    """Equal or missing coordinates, malformed signatures, and a result at infinity."""
    _, signed = operators(2, 2)
    signatures = [signature for signature, _ in signed.values()]
    with pytest.raises(ValueError, match="two coordinates are equal"):
        bls.recover([1, 1], signatures)
    with pytest.raises(ValueError, match="2 points, but 1 scalars"):
        bls.recover([1], signatures)
    with pytest.raises(InvalidPoint):
        bls.recover([1, 2], [signatures[0], BLS_G1_INFINITY])
    with pytest.raises(InvalidPoint, match="combine to infinity"):
        bls.recover([1, 2], [bls.partial_sign(SecretScalar(1), ID), bls.partial_sign(SecretScalar(2), ID)])
    with pytest.raises(InvalidPoint, match="combine to infinity"):
        bls.recover([], [])


def test_a_share_of_zero_does_not_sign() -> None:
    """Its signature would be infinity."""
    with pytest.raises(ValueError, match="share of zero"):
        bls.partial_sign(SecretScalar(0), ID)


def test_application_id_is_taken_as_it_is() -> None:
    """No normalisation: two spellings of one letter are two applications; text without a UTF-8 form is
    refused.
    """
    assert bls.hash_to_g1(identity_v1("café")) != bls.hash_to_g1(identity_v1("cafe\u0301"))
    with pytest.raises(InputError, match="no UTF-8 form"):
        bls.hash_to_g1(identity_v1("broken \ud800 text"))
