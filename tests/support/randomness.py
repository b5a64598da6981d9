"""Sources of randomness that repeat."""

from eigenkms.crypto.hashing import Rng, be64, keccak256


def counter_rng(seed: str) -> Rng:
    """Return a reproducible stream: Keccak-256 of the seed and a counter."""
    count = 0

    def rng(n: int) -> bytes:
        nonlocal count
        out = b""
        while len(out) < n:
            out += keccak256(seed.encode(), be64(count))
            count += 1
        return out[:n]

    return rng


def fixed_rng(size: int) -> bytes:
    """Return the same bytes each time."""
    return bytes(range(1, size + 1))
