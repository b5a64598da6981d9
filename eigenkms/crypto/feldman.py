"""Feldman's verifiable secret sharing.

Commitments ``C_k = a_k·G2`` let a recipient check its share, and any reader compute public shares. A share s of the operator
at x fits when ``s·G2 = Σ x^k·C_k``. Vectors add: the shares combined with coefficients λ_i lie on the polynomial committed to
by ``A_k = Σ λ_i·C_ik``. A *dealing's* commitments are never infinity (``check_commitments``); in a *combined* vector a term
above the first can be, if terms cancel. It is then written as the canonical ``c0 00…00`` and accepted as such by
``verify_share``, ``public_share`` and their like; ``A_0``, the master public key, never can.
"""

from collections.abc import Sequence

from eigenkms.crypto import backends
from eigenkms.crypto.backends.interface import BLS_G2_INFINITY, InvalidPoint, Point
from eigenkms.crypto.scalars import R, SecretScalar

__all__ = [
    "InvalidCommitments",
    "InvalidPoint",
    "check_commitments",
    "combine_commitments",
    "public_share",
    "public_share_of",
    "verify_share",
]


class InvalidCommitments(InvalidPoint):
    """A commitment vector has the wrong number of points, or sums to a master key at infinity."""


def check_commitments(commitments: Sequence[bytes], expected_count: int) -> None:
    """Raise InvalidPoint unless a dealing's vector has ``expected_count`` points of G2.

    They must be canonical, in the subgroup, and none infinity.
    """
    if len(commitments) != expected_count:
        raise InvalidCommitments(f"check commitments: {len(commitments)} points, not {expected_count}")
    decode = backends.bls12381().decode_g2
    for k, commitment in enumerate(commitments):
        try:
            decode(commitment)
        except InvalidPoint as error:
            raise InvalidPoint(f"check commitments: C_{k}: {error}") from None


def verify_share(share: SecretScalar, x: int, commitments: Sequence[bytes]) -> bool:
    """Return whether ``share·G2 = Σ x^k·C_k``.

    False as well when a commitment is not a point.
    """
    try:
        return public_share_of(share) == public_share(x, commitments)
    except InvalidPoint:
        return False


def public_share(x: int, commitments: Sequence[bytes]) -> bytes:
    """Return the public share ``Y = Σ x^k·C_k``, 96 bytes, of the operator at x.

    It verifies the operator's partial signatures and its next dealing. Raises InvalidPoint for a vector that is empty or
    holds what is not a point.
    """
    return _combine(_decode(commitments), _powers(x, len(commitments)))


def public_share_of(share: SecretScalar) -> bytes:
    """Return ``share·G2``, 96 bytes, by the backend's constant-time multiplication."""
    curve = backends.bls12381()
    return curve.encode_g2(curve.secret_mul_g2(curve.g2, share.value))


def combine_commitments(lambdas: Sequence[int], vectors: Sequence[Sequence[bytes]]) -> tuple[bytes, ...]:
    """Return ``A_k = Σ λ_i·C_ik`` for all k.

    Raises ValueError unless there is a λ for each vector; InvalidPoint for vectors that are malformed, of unequal length or none,
    and when A_0 is infinity.
    """
    if len(lambdas) != len(vectors):
        raise ValueError(f"{len(lambdas)} coefficients, but {len(vectors)} commitment vectors")
    if len({len(vector) for vector in vectors}) != 1:
        raise InvalidCommitments("combine commitments: the vectors are not of one length, or there is none")
    columns = zip(*(_decode(vector) for vector in vectors), strict=True)
    combined = tuple(_combine(column, lambdas) for column in columns)
    if combined[0] == BLS_G2_INFINITY:
        raise InvalidCommitments("combine commitments: A_0 is infinity")
    return combined


def _decode(commitments: Sequence[bytes]) -> list[Point]:
    if not commitments:
        raise InvalidCommitments("decode commitments: the vector is empty")
    decode = backends.bls12381().decode_g2
    return [decode(commitments[0]), *(decode(c, infinity=True) for c in commitments[1:])]


def _powers(x: int, count: int) -> list[int]:
    powers = [1]
    while len(powers) < count:
        powers.append(powers[-1] * x % R)
    return powers


def _combine(points: Sequence[Point], scalars: Sequence[int]) -> bytes:
    curve = backends.bls12381()
    return curve.encode_g2(curve.msm_g2(points, scalars))
