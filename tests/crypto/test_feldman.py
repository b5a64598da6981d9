"""Commitments, shares checked against them, public shares, and dealers named when shares do not fit."""

import pytest

from eigenkms.crypto import backends, feldman
from eigenkms.crypto.backends.interface import BLS_G2_INFINITY, InvalidPoint
from eigenkms.crypto.scalars import R, SecretScalar, lagrange_at_zero
from eigenkms.crypto.shamir import Polynomial, combine_shares
from tests.crypto.support import scalar
from tests.support.randomness import counter_rng

X = 0x1234567890ABCDEF


def deal(
    threshold: int, seed: str, constant: SecretScalar | None = None
) -> tuple[Polynomial, tuple[bytes, ...]]:
    polynomial = Polynomial.random(threshold, counter_rng(seed), constant)
    return polynomial, polynomial.commitments()


@pytest.mark.usefixtures("fast_backend")
def test_a_share_fits_its_dealing_only() -> None:
    """The right share at the right coordinate verifies; another share, coordinate or vector does not."""
    polynomial, commitments = deal(2, "a")
    share = polynomial.evaluate(X)
    assert feldman.verify_share(share, X, commitments)
    assert not feldman.verify_share(SecretScalar((share.value + 1) % R), X, commitments)
    assert not feldman.verify_share(share, X + 1, commitments)
    assert not feldman.verify_share(share, X, commitments[::-1])
    assert not feldman.verify_share(share, X, commitments[:1])


@pytest.mark.usefixtures("fast_backend")
def test_public_share_is_the_shares_public_point() -> None:
    """What anyone computes from commitments is what the holder computes from its share."""
    polynomial, commitments = deal(2, "a")
    assert feldman.public_share_of(polynomial.evaluate(X)) == feldman.public_share(X, commitments)


@pytest.mark.usefixtures("fast_backend")
def test_malformed_vectors_never_verify() -> None:
    """What is not a point makes verification false and computation an error; it never escapes as something
    else.
    """
    _, commitments = deal(3, "a")
    for wrong in ((), (b"",) * 3, (BLS_G2_INFINITY, *commitments[1:]), (*commitments[:2], b"\xff" * 96)):
        assert not feldman.verify_share(scalar("s"), X, wrong)
        with pytest.raises(InvalidPoint):
            feldman.public_share(X, wrong)


@pytest.mark.usefixtures("fast_backend")
def test_a_dealing_has_exactly_its_number_of_points() -> None:
    """Shorter and longer vectors are refused: a longer one would hide a polynomial of higher degree."""
    _, commitments = deal(3, "a")
    feldman.check_commitments(commitments, 3)
    for count in (2, 4):
        with pytest.raises(feldman.InvalidCommitments, match=f"3 points, not {count}"):
            feldman.check_commitments(commitments, count)


@pytest.mark.usefixtures("fast_backend")
@pytest.mark.parametrize("position", [0, 2])
@pytest.mark.parametrize("wrong", [BLS_G2_INFINITY, b"\xff" * 96, b"", bytes(97)])
def test_a_dealing_has_only_good_points(position: int, wrong: bytes) -> None:
    """Infinity and malformed points are refused anywhere in the vector, and their place is named."""
    commitments = list(deal(3, "a")[1])
    commitments[position] = wrong
    with pytest.raises(InvalidPoint, match=f"C_{position}"):
        feldman.check_commitments(commitments, 3)


@pytest.mark.usefixtures("fast_backend")
def test_rotation_keeps_the_master_key() -> None:
    """Shares of shares, combined with Lagrange coefficients, lie on the combined vector and keep its first
    term.
    """
    source, source_commitments = deal(3, "source")
    dealers, recipients = [11, 12, 13], [11, 12, 13, 14, 15]
    dealt = [deal(4, f"d{x}", source.evaluate(x)) for x in dealers]
    lambdas = lagrange_at_zero(dealers)
    combined = feldman.combine_commitments(lambdas, [commitments for _, commitments in dealt])
    assert source_commitments[0] == combined[0]
    for x, (_, commitments) in zip(dealers, dealt, strict=True):
        assert feldman.public_share(x, source_commitments) == commitments[0]
    for x in recipients:
        share = combine_shares(lambdas, [polynomial.evaluate(x) for polynomial, _ in dealt])
        assert feldman.verify_share(share, x, combined)


@pytest.mark.usefixtures("fast_backend")
def test_terms_that_cancel_are_written_as_infinity() -> None:
    """Above the first term a combined vector may hold canonical infinity, which its readers accept; the
    first may not.
    """
    curve = backends.bls12381()
    first, second = deal(2, "a")[1], deal(2, "b")[1]
    negated = curve.encode_g2(curve.msm_g2([curve.decode_g2(first[1])], [-1]))
    combined = feldman.combine_commitments([1, 1], [first, (second[0], negated)])
    assert combined[1] == BLS_G2_INFINITY
    assert combined[0] == feldman.public_share(X, combined)
    with pytest.raises(feldman.InvalidCommitments, match="A_0 is infinity"):
        feldman.combine_commitments([1, -1], [first, first])


@pytest.mark.usefixtures("fast_backend")
def test_vectors_that_do_not_belong_together_are_refused() -> None:
    """Unequal lengths, no vector, a missing coefficient: errors, not a shorter sum."""
    short, long = deal(2, "a")[1], deal(3, "b")[1]
    with pytest.raises(feldman.InvalidCommitments, match="not of one length"):
        feldman.combine_commitments([1, 1], [short, long])
    with pytest.raises(feldman.InvalidCommitments, match="or there is none"):
        feldman.combine_commitments([], [])
    with pytest.raises(ValueError, match="1 coefficients, but 2 commitment vectors"):
        feldman.combine_commitments([1], [short, short])
