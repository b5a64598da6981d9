"""What the tests of this folder share: the vectors, a deterministic source of randomness, and wrong
encodings.
"""

import json
from pathlib import Path
from typing import Any

from eigenkms.crypto.backends import bn254_field
from eigenkms.crypto.hashing import keccak256
from eigenkms.crypto.scalars import R, SecretScalar

FOLDER = Path(__file__).parent
VECTORS: dict[str, Any] = json.loads((FOLDER / "vectors.json").read_text())
BLS_P = 0x1A0111EA397FE69A4B1BA7B6434BACD764774B84F38512BF6730D2A0F6B0F6241EABFFFEB153FFFFB9FEFFFFFFFFAAAB


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def scalar(seed: str) -> SecretScalar:
    return SecretScalar(int.from_bytes(keccak256(seed.encode()), "big") % R)


def bls_g1_x(x: int) -> bytes:
    """Compressed form with this x and the smaller y, whether or not there is such a point."""
    return (x | 1 << 383).to_bytes(48, "big")


def bls_g2_x(x0: int, x1: int = 0) -> bytes:
    return (x1 | 1 << 383).to_bytes(48, "big") + x0.to_bytes(48, "big")


def bls_g1_small_x(*, on_curve: bool) -> int:
    """The smallest x > 0 with, or without, a point of the curve over it. No point with so small an x is in
    the subgroup.
    """
    return next(x for x in range(1, 100) if (pow(x**3 + 4, (BLS_P - 1) // 2, BLS_P) == 1) is on_curve)


def bn_g1_small_x(*, on_curve: bool) -> int:
    p = bn254_field.P
    return next(x for x in range(2, 100) if (pow(x**3 + 3, (p - 1) // 2, p) == 1) is on_curve)
