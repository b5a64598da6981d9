"""Dealers' polynomials and the shares made from them."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eigenkms.crypto.scalars import R, SecretScalar, lagrange_at_zero
from eigenkms.crypto.shamir import Polynomial, combine_shares
from tests.crypto.support import scalar
from tests.support.randomness import counter_rng


@settings(max_examples=60, derandomize=True)
@given(threshold=st.integers(1, 7), seed=st.text(max_size=5))
def test_any_threshold_of_shares_recovers(threshold: int, seed: str) -> None:
    """Every subset of t shares gives f(0); t−1 of them interpolate to something else."""
    polynomial = Polynomial.random(threshold, counter_rng(seed))
    xs = range(1, threshold + 3)
    shares = {x: polynomial.evaluate(x) for x in xs}
    for subset in combinations(xs, threshold):
        assert polynomial.constant == combine_shares(lagrange_at_zero(subset), [shares[x] for x in subset])
    if threshold > 1:
        few = xs[: threshold - 1]
        assert polynomial.constant != combine_shares(lagrange_at_zero(few), [shares[x] for x in few])


def test_constant_term_is_kept() -> None:
    """A rotation's dealer hides its own share."""
    polynomial = Polynomial.random(4, counter_rng("rotation"), constant=scalar("share"))
    assert scalar("share") == polynomial.constant
    assert polynomial.threshold == 4


def test_one_coefficient_makes_every_share_the_secret() -> None:
    """With t = 1 a share is the secret: stated, not hidden."""
    polynomial = Polynomial.random(1, counter_rng("one"))
    assert polynomial.constant == polynomial.evaluate(3)


@pytest.mark.parametrize("x", [0, R])
def test_evaluating_at_zero_is_refused(x: int) -> None:
    """No caller's mistake hands out f(0) as a share."""
    with pytest.raises(ValueError, match="not evaluated at zero"):
        Polynomial.random(2, counter_rng("zero")).evaluate(x)


@pytest.mark.parametrize("threshold", [0, -1, 65536])
def test_number_of_coefficients_is_bounded(threshold: int) -> None:
    """At least one, and no more than the count in its encoding can say."""
    with pytest.raises(ValueError, match=r"1\.\.65535 coefficients"):
        Polynomial.random(threshold, counter_rng("bound"))


def test_zero_coefficient_is_refused() -> None:
    """Its commitment would be infinity, which no recipient accepts."""
    with pytest.raises(ValueError, match="coefficient of the polynomial is zero"):
        Polynomial([SecretScalar(1), SecretScalar(0)])
    with pytest.raises(ValueError, match=r"1\.\.65535 coefficients"):
        Polynomial([])


def test_polynomial_round_trip() -> None:
    """What is persisted comes back as the same polynomial."""
    polynomial = Polynomial.random(3, counter_rng("trip"))
    encoding = polynomial.to_bytes()
    assert len(encoding) == 2 + 3 * 32
    assert encoding == Polynomial.from_bytes(encoding).to_bytes()
    assert polynomial.evaluate(5) == Polynomial.from_bytes(encoding).evaluate(5)


def test_polynomial_decoding_is_strict() -> None:
    """Cut, longer, empty, or holding a coefficient that is zero or not reduced: refused."""
    good = Polynomial.random(2, counter_rng("strict")).to_bytes()
    wrong = [
        b"",
        b"\x00",
        b"\x00\x00",
        good[:-1],
        good + b"\x00",
        b"\x00\x03" + good[2:],
        good[:34] + bytes(32),
    ]
    for encoding in [*wrong, good[:34] + R.to_bytes(32, "big")]:
        with pytest.raises(ValueError, match=r"polynomial|secret scalar"):
            Polynomial.from_bytes(encoding)


def test_combining_needs_a_coefficient_for_each_share() -> None:
    """A missing share is an error, not a wrong sum."""
    with pytest.raises(ValueError, match="2 coefficients, but 1 shares"):
        combine_shares([1, 1], [scalar("a")])
