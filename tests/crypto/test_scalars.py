"""Coordinates, Lagrange coefficients, thresholds, secret scalars."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eigenkms.crypto import scalars as scalars_module
from eigenkms.crypto.hashing import be32, be64, hash_to_int, keccak256
from eigenkms.crypto.scalars import (
    R,
    SecretScalar,
    coordinate,
    coordinates,
    lagrange_at_zero,
    random_scalar,
    threshold,
)
from eigenkms.types import OperatorAddress
from tests.support.randomness import counter_rng

PROPERTY = settings(max_examples=100, derandomize=True)
field = st.integers(min_value=1, max_value=R - 1)


def test_keccak_is_ethereums() -> None:
    """The empty string's digest is Ethereum's, not SHA-3's; parts are concatenated."""
    assert keccak256().hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert keccak256(b"ab", b"", b"c") == keccak256(b"abc")


def test_integers_in_hashes_are_big_endian_and_bounded() -> None:
    """Fixed width, and no silent truncation."""
    assert (be32(258), be64(258)) == (b"\x00\x00\x01\x02", b"\x00" * 6 + b"\x01\x02")
    for too_large in (lambda: be32(2**32), lambda: be64(-1)):
        with pytest.raises(OverflowError):
            too_large()


def test_hash_to_int_uses_512_bits() -> None:
    """Both halves enter the reduction, as documented."""
    wide = int.from_bytes(keccak256(b"\x00m") + keccak256(b"\x01m"), "big")
    assert wide % R == hash_to_int(R, b"m")
    assert wide == hash_to_int(2**512, b"m")


@PROPERTY
@given(coefficients=st.lists(field, min_size=1, max_size=8), xs=st.sets(field, min_size=8, max_size=8))
def test_lagrange_interpolates_at_zero(coefficients: list[int], xs: set[int]) -> None:
    """Σ λ_i f(x_i) = f(0) for every polynomial of degree below the number of points."""
    points = sorted(xs)
    values = [sum(c * pow(x, k, R) for k, c in enumerate(coefficients)) % R for x in points]
    total = sum(factor * value for factor, value in zip(lagrange_at_zero(points), values, strict=True))
    assert coefficients[0] == total % R


@pytest.mark.parametrize("xs", [[1, 2, 1], [1, R + 1]])
def test_equal_coordinates_are_refused(xs: list[int]) -> None:
    """Two operators at one point, also modulo R, would divide by zero."""
    with pytest.raises(ValueError, match="two coordinates are equal"):
        lagrange_at_zero(xs)


@pytest.mark.parametrize("x", [0, R])
def test_zero_coordinate_is_refused(x: int) -> None:
    """A share at zero would be the master secret."""
    with pytest.raises(ValueError, match="coordinate is zero"):
        lagrange_at_zero([1, x])


def test_address_that_hashes_to_zero_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can find such an address; if one appears, it gets no share."""
    monkeypatch.setattr(scalars_module, "keccak256", lambda _: R.to_bytes(32, "big"))
    with pytest.raises(ValueError, match="coordinate is zero"):
        coordinate(OperatorAddress(bytes(20)))


def test_duplicate_address_is_refused() -> None:
    """An operator stands in a set once."""
    address = OperatorAddress(b"a" * 20)
    with pytest.raises(ValueError, match="two coordinates are equal"):
        coordinates([address, OperatorAddress(b"b" * 20), address])


def test_address_has_20_bytes() -> None:
    """A hex string or a padded word is not an address."""
    with pytest.raises(ValueError, match="operator address has 32 bytes"):
        coordinate(OperatorAddress(bytes(32)))


def test_threshold_is_two_thirds_rounded_up() -> None:
    """⌈2n/3⌉ for every n; an empty set has none."""
    assert all(3 * threshold(n) >= 2 * n > 3 * (threshold(n) - 1) for n in range(1, 200))
    with pytest.raises(ValueError, match="at least one member"):
        threshold(0)


def test_secret_scalar_encoding_is_strict() -> None:
    """32 bytes big-endian below R; zero only where it is allowed."""
    assert SecretScalar(7).to_bytes() == b"\x00" * 31 + b"\x07"
    assert SecretScalar.from_bytes(SecretScalar(7).to_bytes()).value == 7
    assert SecretScalar.from_bytes(bytes(32), allow_zero=True).value == 0
    for wrong in (bytes(32), R.to_bytes(32, "big"), b"\xff" * 32, b"\x01", b"\x01" * 33, b""):
        with pytest.raises(ValueError, match="secret scalar"):
            SecretScalar.from_bytes(wrong)
    for out_of_range in (-1, R):
        with pytest.raises(ValueError, match=r"not in 0\.\.R-1"):
            SecretScalar(out_of_range)


def test_secret_scalars_compare_by_value() -> None:
    """Equal values are equal, other types are not, and there is no hash to leak into sets and dictionaries."""
    assert SecretScalar(5) == SecretScalar(5)
    assert SecretScalar(5) != SecretScalar(6)
    assert SecretScalar(5) != 5
    with pytest.raises(TypeError, match="unhashable"):
        hash(SecretScalar(5))


def test_random_scalar_rejects_instead_of_reducing() -> None:
    """Draws at or above R, and zero, are drawn again, so every scalar in 1..R-1 is equally likely."""
    draws = [b"\xff" * 32, (2 * R).to_bytes(32, "big"), bytes(32), (2 * 9).to_bytes(32, "big")]
    assert random_scalar(lambda _: draws.pop(0)).value == 9
    assert draws == []


def test_random_scalars_fill_the_range() -> None:
    """A thousand draws lie below R and reach its upper half."""
    rng = counter_rng("range")
    values = [random_scalar(rng).value for _ in range(1000)]
    assert min(values) > 0
    assert R // 2 < max(values) < R
    assert len(set(values)) == 1000
