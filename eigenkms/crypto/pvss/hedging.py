"""Randomness for proofs that survives a broken source.

One nonce that serves for two challenges gives the secret away.
"""

from hashlib import shake_256

from eigenkms.crypto.hashing import Rng, be64
from eigenkms.crypto.scalars import R

_SEED_SIZE = 64


def hedged(rng: Rng, tag: bytes, *inputs: bytes) -> Rng:
    """Return a source seeded from ``rng``, the secrets and the statement, given as ``inputs``.

    If ``rng`` is good, so is the result. If ``rng`` repeats itself, the result repeats only when all inputs do,
    and then the prover only makes the same proof again. Its output is SHAKE256 of the seed and a counter.
    """
    framed = [be64(len(part)) + part for part in (tag, rng(_SEED_SIZE), *inputs)]
    seed = shake_256(b"".join(framed)).digest(_SEED_SIZE)
    count = 0

    def draw(size: int) -> bytes:
        nonlocal count
        count += 1
        return shake_256(seed + be64(count)).digest(size)

    return draw


def nonce(rng: Rng) -> int:
    """Return a scalar in 1..R-1, from 512 bits: its bias is below 2^-250."""
    return 1 + int.from_bytes(rng(64), "big") % (R - 1)


def symmetric(rng: Rng, bound: int) -> int:
    """Return an integer in ±bound, from 128 bits more than the bound has: its bias is below 2^-128."""
    size = (bound.bit_length() + 7) // 8 + 17
    return int.from_bytes(rng(size), "big") % (2 * bound + 1) - bound
