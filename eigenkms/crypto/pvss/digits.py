"""A share as signed digits to the base 2^16, and back.

The share is taken in −(R−1)/2..(R−1)/2 so that the last digit, too, is as often negative as positive: the
sums that the range proof shows stay near zero. Adding half a base to every digit makes the digits those of
an ordinary integer, so the same steps run for every share, without a branch. Python integers are
nevertheless not constant time.
"""

from collections.abc import Sequence

from eigenkms.crypto.pvss.parameters import BASE, CHUNK_BITS, CHUNKS
from eigenkms.crypto.scalars import R, SecretScalar

_DIGIT_SIZE = CHUNK_BITS // 8
_HALVES = sum(BASE // 2 << CHUNK_BITS * k for k in range(CHUNKS))
"""Half a base at every digit. A centred share plus this is in 0..2^256-1."""


def split(share: SecretScalar) -> tuple[int, ...]:
    """CHUNKS digits in −BASE/2..BASE/2−1, lowest first, with ``share = Σ digit_k·BASE^k mod R``."""
    centred = (share.value + R // 2) % R - R // 2
    encoded = (centred + _HALVES).to_bytes(CHUNKS * _DIGIT_SIZE, "little")
    starts = range(0, len(encoded), _DIGIT_SIZE)
    return tuple(int.from_bytes(encoded[i : i + _DIGIT_SIZE], "little") - BASE // 2 for i in starts)


def join(digits: Sequence[int]) -> SecretScalar:
    """``Σ digit_k·BASE^k mod R``, for digits of any size."""
    return SecretScalar(weighted(digits) % R)


def weighted(values: Sequence[int]) -> int:
    """``Σ values[k]·BASE^k``, not reduced."""
    return sum(value << CHUNK_BITS * k for k, value in enumerate(values))
