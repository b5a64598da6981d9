"""Multiplicative blinding for libraries whose scalar multiplication is not constant time.

``k·P = (k/ρ)·(ρ·P)`` with ρ derived from k and P: both multiplications use scalars that look random and
tell nothing of k that an observer could gather over many messages. It is a mitigation, not constant time:
what one message tells of ρ and of k/ρ stays told.
"""

from collections.abc import Callable

from eigenkms.crypto.backends.interface import Point
from eigenkms.crypto.hashing import hash_to_int

_TAG = b"eigenkms/blind/1"


def blinded_mul(
    mul: Callable[[Point, int], Point], point: Point, encoding: bytes, scalar: int, order: int
) -> Point:
    """``scalar·point`` by two multiplications with scalars in 1..order-1.

    ``encoding`` is the point's, ``mul`` the library's.
    """
    secret = (scalar % order).to_bytes(32, "big")
    rho = 1 + hash_to_int(order - 1, _TAG, secret, encoding)
    return mul(mul(point, rho), scalar * pow(rho, -1, order) % order)
