"""Keccak-256 as Ethereum uses it, and the integers in hashed strings.

Its padding is that before FIPS 202.
"""

from collections.abc import Callable

from Crypto.Hash import keccak

Rng = Callable[[int], bytes]
"""A source of randomness: ``rng(n)`` returns n uniformly random bytes."""


def keccak256(*parts: bytes) -> bytes:
    """Return the Keccak-256 digest of the concatenated parts, 32 bytes.

    Parts are not delimited: the caller's format must be.
    """
    return keccak.new(digest_bits=256, data=b"".join(parts)).digest()


def be32(i: int) -> bytes:
    """Return 4 bytes big-endian. Raises OverflowError outside 0..2^32-1."""
    return i.to_bytes(4, "big")


def be64(i: int) -> bytes:
    """Return 8 bytes big-endian. Raises OverflowError outside 0..2^64-1."""
    return i.to_bytes(8, "big")


def hash_to_int(modulus: int, *parts: bytes) -> int:
    """Return an integer in 0..modulus-1 from 512 bits of Keccak-256.

    It is ``keccak256(0x00 ‖ parts) ‖ keccak256(0x01 ‖ parts)`` big-endian, reduced. Twice the width of a 256-bit modulus
    leaves a bias below 2^-250 (the reasoning of RFC 9380, section 5).
    """
    wide = keccak256(b"\x00", *parts) + keccak256(b"\x01", *parts)
    return int.from_bytes(wide, "big") % modulus
