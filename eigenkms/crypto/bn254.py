"""BN254 signatures as EigenLayer has them.

The operator's identity key, registered on chain, signs frames and votes. Signature in G1 (64 bytes ``X ‖ Y``), key in G2 (128
bytes ``X.c1 ‖ X.c0 ‖ Y.c1 ‖ Y.c0``), message a 32-byte digest hashed to G1 by try and increment. ``e(σ, G2) = e(H(digest),
key)``. Signatures of one digest add up, and verify under the sum of the keys; that is safe only for keys whose owners proved
possession, which registration on chain does. Infinity, coordinates not below the field prime and points off the curve or
subgroup never verify.
"""

from collections.abc import Sequence
from typing import Self

from eigenkms.crypto import backends
from eigenkms.crypto.backends.bn254_field import N
from eigenkms.crypto.backends.interface import BN_G1_INFINITY, InvalidPoint, Point
from eigenkms.crypto.batch_verify import coefficients, find_failing
from eigenkms.crypto.hashing import Rng

__all__ = [
    "InvalidPoint",
    "KeyPair",
    "N",
    "aggregate_signatures",
    "batch_verify",
    "check_key",
    "keys_match",
    "registration_key_data",
    "sign",
    "sign_registration",
    "verify",
    "verify_aggregate",
]


class KeyPair:
    """A BN254 key: the secret, and its public points ``g1`` (64 bytes) and ``g2`` (128).

    Its repr is redacted.
    """

    __slots__ = ("_secret", "g1", "g2")

    def __init__(self, secret: int) -> None:
        if not 0 < secret < N:
            raise ValueError("BN254 secret key is not in 1..N-1")
        curve = backends.bn254()
        self._secret = secret
        self.g1 = curve.encode_g1(curve.secret_mul_g1(curve.g1, secret))
        self.g2 = curve.encode_g2(curve.secret_mul_g2(curve.g2, secret))

    @classmethod
    def generate(cls, rng: Rng) -> Self:
        """Return a key uniform in 1..N-1."""
        while True:
            candidate = int.from_bytes(rng(32), "big") >> 2
            if 0 < candidate < N:
                return cls(candidate)

    @classmethod
    def from_secret(cls, secret: int | bytes) -> Self:
        """Make the pair of an integer in 1..N-1 or its 32 bytes big-endian.

        Raises ValueError for other values.
        """
        if isinstance(secret, int):
            return cls(secret)
        if len(secret) != 32:
            raise ValueError(f"BN254 secret key has {len(secret)} bytes, not 32")
        return cls(int.from_bytes(secret, "big"))

    @property
    def secret(self) -> int:
        return self._secret

    def secret_bytes(self) -> bytes:
        """Return the secret as 32 bytes, big-endian, for a key file."""
        return self._secret.to_bytes(32, "big")

    def __repr__(self) -> str:
        return f"<KeyPair {self.g1.hex()[:16]}… redacted>"


def sign(key: KeyPair, digest: bytes) -> bytes:
    """Return the signature ``secret·H(digest)``, 64 bytes.

    It is deterministic, the multiplication is blinded. Raises ValueError unless the digest has 32 bytes.
    """
    curve = backends.bn254()
    return curve.encode_g1(curve.secret_mul_g1(curve.hash_to_g1(digest), key.secret))


def verify(digest: bytes, signature: bytes, g2_key: bytes) -> bool:
    """Return whether the signature of the digest verifies under the key.

    False as well for malformed points; ValueError if the digest is not 32 bytes, which is the caller's to ensure.
    """
    curve = backends.bn254()
    hashed = curve.hash_to_g1(digest)
    try:
        sigma, key = curve.decode_g1(signature), curve.decode_g2(g2_key)
    except InvalidPoint:
        return False
    return curve.pairing_check([(sigma, curve.minus_g2), (hashed, key)])


def batch_verify(items: Sequence[tuple[bytes, bytes, bytes]], rng: Rng) -> tuple[int, ...]:
    """Return the indexes of the (digest, signature, key) that do not verify, ascending.

    One random linear combination: a pairing for each *different* key and one more, instead of two for each
    item.
    """
    curve = backends.bn254()
    decoded = [_decode_or_none(*item) for item in items]
    factors = coefficients(len(items), rng)

    def holds(group: Sequence[int]) -> bool:
        hashes_by_key: dict[bytes, list[int]] = {}
        for i in group:
            hashes_by_key.setdefault(items[i][2], []).append(i)
        parts = {i: part for i in group if (part := decoded[i])}
        sigma = curve.msm_g1([parts[i][1] for i in group], [factors[i] for i in group])
        pairs = [(sigma, curve.minus_g2)]
        for same_key in hashes_by_key.values():
            hashed = curve.msm_g1([parts[i][0] for i in same_key], [factors[i] for i in same_key])
            pairs.append((hashed, parts[same_key[0]][2]))
        return curve.pairing_check(pairs)

    malformed = [i for i, part in enumerate(decoded) if part is None]
    wellformed = [i for i, part in enumerate(decoded) if part is not None]
    return tuple(sorted([*malformed, *find_failing(wellformed, holds)]))


def aggregate_signatures(signatures: Sequence[bytes]) -> bytes:
    """Return the sum, 64 bytes.

    Raises ValueError for none; InvalidPoint for a malformed one, or if they cancel to infinity.
    """
    if not signatures:
        raise ValueError("no signature to aggregate")
    curve = backends.bn254()
    points = [curve.decode_g1(signature) for signature in signatures]
    total = curve.encode_g1(curve.msm_g1(points, [1] * len(points)))
    if total == BN_G1_INFINITY:
        raise InvalidPoint("aggregate signatures: they cancel to infinity")
    return total


def verify_aggregate(digest: bytes, signature: bytes, g2_keys: Sequence[bytes]) -> bool:
    """Return whether the aggregate of one digest verifies under the sum of the keys.

    False as well when there is no key, one is malformed, or their sum is infinity. The keys must be registered ones (proof
    of possession), each signer's once.
    """
    curve = backends.bn254()
    try:
        keys = [curve.decode_g2(key) for key in g2_keys]
    except InvalidPoint:
        return False
    total = curve.encode_g2(curve.msm_g2(keys, [1] * len(keys)))
    return verify(digest, signature, total)


def registration_key_data(key: KeyPair) -> bytes:
    """Return the key data for EigenLayer's key registrar, 192 bytes.

    They are ``G1.X ‖ G1.Y ‖ G2.X.c1 ‖ G2.X.c0 ‖ G2.Y.c1 ‖ G2.Y.c0``.
    """
    return key.g1 + key.g2


def sign_registration(key: KeyPair, digest: bytes) -> bytes:
    """Return the proof of possession for the key registrar, 64 bytes.

    It is the signature of its EIP-712 registration digest.
    """
    return sign(key, digest)


def check_key(g2: bytes) -> None:
    """Raise InvalidPoint unless the 128 bytes are a point of G2's subgroup.

    It must be canonical and not infinity.
    """
    backends.bn254().decode_g2(g2)


def keys_match(g1: bytes, g2: bytes) -> bool:
    """Return whether the two points have one secret: ``e(g1, G2) = e(G1, g2)``.

    False as well for malformed points.
    """
    curve = backends.bn254()
    try:
        first, second = curve.decode_g1(g1), curve.decode_g2(g2)
    except InvalidPoint:
        return False
    return curve.pairing_check([(first, curve.minus_g2), (curve.g1, second)])


def _decode_or_none(digest: bytes, signature: bytes, g2_key: bytes) -> tuple[Point, Point, Point] | None:
    curve = backends.bn254()
    hashed = curve.hash_to_g1(digest)
    try:
        return hashed, curve.decode_g1(signature), curve.decode_g2(g2_key)
    except InvalidPoint:
        return None
