"""A recipient's share taken out of a dealing.

For each digit ``digit_k·G1 = C_k − sk·R_k``. sk is multiplied, and the product added, by the constant-time
library. ρ·G1 is added there as well, with ρ uniform in ±BLIND, before the point is converted, encoded or
looked up: so square root, look-up and number of steps depend on digit + ρ. That tells something of an honest
digit only if it lies within BASE/2 of an end of the range, with probability 2^-7, and then only on which side
of a value the digit is. Of a share's 255 bits that is less than one on average.
"""

from typing import Final

from eigenkms.crypto import backends
from eigenkms.crypto.backends.interface import InvalidPoint, Point
from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.pvss.dealing import EncryptedShare
from eigenkms.crypto.pvss.digits import join
from eigenkms.crypto.pvss.encryption_key import EncryptionKey
from eigenkms.crypto.pvss.errors import InvalidDealing, UndecryptableShare
from eigenkms.crypto.pvss.hedging import symmetric
from eigenkms.crypto.pvss.logarithms import LogarithmTable
from eigenkms.crypto.pvss.parameters import BASE, CHUNKS, bounds_for
from eigenkms.crypto.scalars import SecretScalar

BLIND: Final = 64 * BASE
"""Half the width of ρ: 64 more additions for each digit on average, and at most 128."""


def decrypt(
    share: EncryptedShare, key: EncryptionKey, recipients: int, table: LogarithmTable, rng: Rng
) -> SecretScalar:
    """Return the share f(x) in a dealing for so many recipients.

    InvalidDealing for what is not CHUNKS points twice; UndecryptableShare if a digit is not within the bounds of
    the range proof. Neither happens if the dealing was verified and the key is the one it was made to.

    CPU: about 20 ms for an honest share. For any share at most ``most_additions(recipients, table)`` additions and
    look-ups, 7 µs each.
    """
    if (len(share.randomness), len(share.row)) != (CHUNKS, CHUNKS):
        raise InvalidDealing(f"decrypt share: it has not {CHUNKS} chunks")
    bound = bounds_for(recipients).digit
    pairs = zip(share.randomness, share.row, strict=True)
    return join([_digit(k, *pair, key, bound, table, rng) for k, pair in enumerate(pairs)])


def most_additions(recipients: int, table: LogarithmTable) -> int:
    """Return how many additions the search in one share makes at most, whatever the dealer did."""
    return CHUNKS * table.steps(bounds_for(recipients).digit + BLIND)


def _digit(
    k: int, shared: bytes, chunk: bytes, key: EncryptionKey, bound: int, table: LogarithmTable, rng: Rng
) -> int:
    rho = symmetric(rng, BLIND)
    try:
        blinded = _blinded(shared, chunk, key, rho)
    except InvalidPoint as error:
        raise InvalidDealing(f"decrypt share: chunk {k}: {error}") from None
    value = table.find(blinded, bound + BLIND)
    # what is found beyond the bound depends on ρ: refused, so that every attempt ends alike
    if value is None or not -bound <= value - rho <= bound:
        raise UndecryptableShare(f"decrypt share: chunk {k} has no logarithm in ±{bound}")
    return value - rho


def _blinded(shared: bytes, chunk: bytes, key: EncryptionKey, rho: int) -> Point:
    """``C − sk·R + ρ·G1``, never converted on the way."""
    curve = backends.bls12381()
    product = curve.secret_mul_g1(curve.decode_g1(shared), -key.secret.value)
    added = curve.secret_add_g1(product, curve.secret_mul_g1(curve.g1, rho))
    return curve.secret_add_g1(curve.decode_g1(chunk), added)
