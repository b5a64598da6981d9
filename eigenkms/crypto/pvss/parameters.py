"""Sizes of a dealing's encrypted part, and the bounds of its range proof.

A share is cut into ``CHUNKS`` signed digits to the base 2^16, so that a recipient finds each one as a small
discrete logarithm. The range proof shows sums of random halves of all n·CHUNKS digits, each hidden by a
mask. ``Bounds`` holds what follows from n: how large an honest sum is, how wide the masks are, which sums a
verifier accepts, and how large a digit can then be.
"""

from dataclasses import dataclass
from functools import cache
from math import isqrt
from typing import Final

from eigenkms.crypto.backends.interface import BLS_G1_SIZE, BLS_G2_SIZE

CHUNK_BITS: Final = 16
"""A digit is one look-up in a table of 2^16 points. With 20 bits the table would take seconds and 150 MB to make."""
CHUNKS: Final = 16
BASE: Final = 1 << CHUNK_BITS

REPETITIONS: Final = 128
"""Masked sums of the range proof. A digit that is too large passes each one with probability 1/2 at most."""
BITS_SIZE: Final = REPETITIONS // 8

WEIGHT_SIZE: Final = 16
"""Bytes of the weights and of the challenge of the linear proof: 2^-128 for each."""

MASK_BITS: Final = 9
"""Masks are 2^9 times as wide as honest sums, so 128 of them fit together with probability (1 − 2^-9)^128 = 0.78.
One bit less halves the work that a lying dealer can cause, and raises the average of tries from 1.3 to 1.7.
"""
MAX_TRIES: Final = 64
"""Tries at the masks. All of them fail with probability 0.22^64 < 2^-139."""

RESPONSE_SIZE: Final = 5
"""Bytes of a masked sum, signed: enough for 10^6 recipients."""
SCALAR_SIZE: Final = 32

MAX_RECIPIENTS: Final = 4096
"""Far above any operator set. It bounds what a length can make a reader allocate."""

SHARE_SIZE: Final = 2 * CHUNKS * BLS_G1_SIZE
"""1,536 bytes: what one recipient needs to decrypt, the shared randomness and its own row."""


def encoded_size(recipients: int) -> int:
    """Bytes of a dealing's encrypted part for so many recipients."""
    points = CHUNKS * (recipients + 1) + 1 + REPETITIONS + CHUNKS + 3
    scalars = CHUNKS + 2
    return points * BLS_G1_SIZE + BLS_G2_SIZE + REPETITIONS * RESPONSE_SIZE + scalars * SCALAR_SIZE


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of a range proof, each the largest absolute value."""

    honest: int
    """Of a sum of digits; the dealer draws new masks if one is larger."""
    mask: int
    """Of a mask: masks are uniform up to it."""
    response: int
    """Of a masked sum that a verifier accepts."""
    digit: int
    """Of a digit in an accepted dealing."""


@cache
def bounds_for(recipients: int) -> Bounds:
    """Return the bounds for so many recipients. ValueError outside 1..MAX_RECIPIENTS.

    Each digit is near uniform in ±BASE/2 and counts in half of the sums, so a sum's variance is n·CHUNKS·BASE²/24.
    ``honest`` is 6.5 standard deviations: one of 128 sums exceeds it with probability 2^-26.
    """
    if not 1 <= recipients <= MAX_RECIPIENTS:
        raise ValueError(f"a dealing has 1..{MAX_RECIPIENTS} recipients, not {recipients}")
    deviation = isqrt(recipients * CHUNKS * BASE**2 // 24) + 1
    honest = 13 * deviation // 2
    mask = honest << MASK_BITS
    return Bounds(honest, mask, mask - honest, 2 * (mask - honest))
