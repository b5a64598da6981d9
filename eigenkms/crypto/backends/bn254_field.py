"""BN254 facts that do not depend on a library: the field, strict reading of coordinates, EigenLayer's hash
to G1.

Libraries reduce coordinates that are too large or abort the process's thread on a point off the curve; so
both are checked here, in Python integers, before any library sees a point.
"""

from eigenkms.crypto.backends.interface import BN_G1_SIZE, BN_G2_SIZE, InvalidPoint

P = 0x30644E72E131A029B85045B68181585D97816A916871CA8D3C208C16D87CFD47
"""Field prime."""
N = 0x30644E72E131A029B85045B68181585D2833E84879B9709143E1F593F0000001
"""Order of G1, G2 and GT."""

Fp2 = tuple[int, int]
"""``c0 + c1·i`` with i² = −1."""

_NINE_PLUS_I_INVERSE = pow(82, -1, P)  # 3/(9+i) = 3(9−i)/82
_B2: Fp2 = (27 * _NINE_PLUS_I_INVERSE % P, -3 * _NINE_PLUS_I_INVERSE % P)


def read_g1(encoding: bytes) -> tuple[int, int]:
    """(x, y) of a point on ``y² = x³ + 3``; InvalidPoint otherwise.

    The curve is the group: its cofactor is 1.
    """
    if len(encoding) != BN_G1_SIZE:
        raise InvalidPoint(f"decode point: {len(encoding)} bytes, not {BN_G1_SIZE}")
    x, y = _coordinates(encoding)
    if (y * y - x * x * x - 3) % P:
        raise InvalidPoint("decode point: not on the curve")
    return x, y


def read_g2(encoding: bytes) -> tuple[Fp2, Fp2]:
    """(x, y) of a point on the twist ``y² = x³ + 3/(9+i)``; InvalidPoint otherwise.

    The subgroup is not checked.
    """
    if len(encoding) != BN_G2_SIZE:
        raise InvalidPoint(f"decode point: {len(encoding)} bytes, not {BN_G2_SIZE}")
    x1, x0, y1, y0 = _coordinates(encoding)
    x, y = (x0, x1), (y0, y1)
    cube = _mul(_mul(x, x), x)
    if _mul(y, y) != ((cube[0] + _B2[0]) % P, (cube[1] + _B2[1]) % P):
        raise InvalidPoint("decode point: not on the curve")
    return x, y


def write_g1(x: int, y: int) -> bytes:
    return x.to_bytes(32, "big") + y.to_bytes(32, "big")


def write_g2(x: Fp2, y: Fp2) -> bytes:
    return b"".join(c.to_bytes(32, "big") for c in (x[1], x[0], y[1], y[0]))


def _coordinates(encoding: bytes) -> list[int]:
    values = [int.from_bytes(encoding[i : i + 32], "big") for i in range(0, len(encoding), 32)]
    if any(value >= P for value in values):
        raise InvalidPoint("decode point: a coordinate is not below the field prime")
    if not any(values):
        raise InvalidPoint("decode point: infinity where a point is expected")
    return values


def _mul(a: Fp2, b: Fp2) -> Fp2:
    return (a[0] * b[0] - a[1] * b[1]) % P, (a[0] * b[1] + a[1] * b[0]) % P


def hash_to_xy(digest: bytes) -> tuple[int, int]:
    """EigenLayer's hash to G1 (``BN254.hashToG1``): from ``x = digest mod P`` on, the first x for which
    ``x³ + 3`` is a square, and ``y = (x³ + 3)^((P+1)/4)``. The time tells how many x were tried, so digests
    must be public.
    """
    if len(digest) != 32:
        raise ValueError(f"digest has {len(digest)} bytes, not 32")
    x = int.from_bytes(digest, "big") % P
    while True:
        square = (x * x * x + 3) % P
        y = pow(square, (P + 1) // 4, P)
        if y * y % P == square:
            return x, y
        x = (x + 1) % P
