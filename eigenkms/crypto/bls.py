"""Threshold BLS signatures on BLS12-381.

An application's key is the signature of its identity under the master secret. H hashes an identity to G1
(``ibe_identities``). A partial signature is ``share·H(id)``, 48 bytes; t of them give the application key by Lagrange
interpolation; both verify by ``e(σ, G2) = e(H(id), Y)`` with Y the operator's public share or the master public key. Infinity
and encodings that are not canonical never verify. The identity is not checked here for its length: that is a rule of
encryption.
"""

from collections.abc import Sequence

from eigenkms.crypto import backends
from eigenkms.crypto.backends.interface import BLS_G1_INFINITY, Bls12381, InvalidPoint, Point
from eigenkms.crypto.batch_verify import coefficients, find_failing
from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.ibe_identities import Identity
from eigenkms.crypto.scalars import SecretScalar, lagrange_at_zero


def hash_to_g1(identity: Identity) -> bytes:
    """Return the identity as a point of G1, 48 bytes."""
    curve = backends.bls12381()
    return curve.encode_g1(hashed(curve, identity))


def partial_sign(share: SecretScalar, identity: Identity) -> bytes:
    """Return ``share·H(identity)``, 48 bytes.

    The backend's multiplication takes constant time. Raises ValueError for a share of zero.
    """
    if share.value == 0:
        raise ValueError("a share of zero signs nothing")
    curve = backends.bls12381()
    return curve.encode_g1(curve.secret_mul_g1(hashed(curve, identity), share.value))


def verify_partial(identity: Identity, signature: bytes, public_share: bytes) -> bool:
    """Return whether ``e(signature, G2) = e(H(identity), public_share)``.

    False as well for malformed input and for infinity.
    """
    curve = backends.bls12381()
    try:
        sigma, key = curve.decode_g1(signature), curve.decode_g2(public_share)
    except InvalidPoint:
        return False
    return _holds(curve, identity, sigma, key)


def verify_partials(identity: Identity, items: Sequence[tuple[bytes, bytes]], rng: Rng) -> tuple[int, ...]:
    """Return the indexes of the (signature, public share) that do not verify, ascending.

    CPU: two pairings if all verify.
    """
    curve = backends.bls12381()
    decoded = [_decode_or_none(curve, *item) for item in items]
    factors = coefficients(len(items), rng)

    def holds(group: Sequence[int]) -> bool:
        pairs = [pair for i in group if (pair := decoded[i])]
        scalars = [factors[i] for i in group]
        sigma = curve.msm_g1([pair[0] for pair in pairs], scalars)
        return _holds(curve, identity, sigma, curve.msm_g2([pair[1] for pair in pairs], scalars))

    malformed = [i for i, pair in enumerate(decoded) if pair is None]
    wellformed = [i for i, pair in enumerate(decoded) if pair is not None]
    return tuple(sorted([*malformed, *find_failing(wellformed, holds)]))


def recover(xs: Sequence[int], signatures: Sequence[bytes]) -> bytes:
    """Return the application key ``Σ λ_i·σ_i``, 48 bytes, from partial signatures.

    It is right only if there are at least t of them and all are valid: verify the result against the master public key. Raises
    ValueError for coordinates that are zero, equal or not one for each signature, and InvalidPoint for a malformed signature or
    a result at infinity.
    """
    curve = backends.bls12381()
    points = [curve.decode_g1(signature) for signature in signatures]
    key = curve.encode_g1(curve.msm_g1(points, lagrange_at_zero(xs)))
    if key == BLS_G1_INFINITY:
        raise InvalidPoint("recover application key: the partial signatures combine to infinity")
    return key


def verify_app_key(identity: Identity, key: bytes, mpk: bytes) -> bool:
    """Return whether ``key`` is the key of ``identity`` under the master public key.

    The equation is that of a partial signature.
    """
    return verify_partial(identity, key, mpk)


def hashed(curve: Bls12381, identity: Identity) -> Point:
    """H(identity), as a point of ``curve``."""
    return curve.hash_to_g1(identity.message, identity.dst)


def _decode_or_none(curve: Bls12381, signature: bytes, public_share: bytes) -> tuple[Point, Point] | None:
    try:
        return curve.decode_g1(signature), curve.decode_g2(public_share)
    except InvalidPoint:
        return None


def _holds(curve: Bls12381, identity: Identity, sigma: Point, key: Point) -> bool:
    return curve.pairing_check([(sigma, curve.minus_g2), (hashed(curve, identity), key)])
