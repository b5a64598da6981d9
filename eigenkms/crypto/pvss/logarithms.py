"""Small discrete logarithms in G1, by baby steps and giant steps (Shanks 1971).

The baby steps are a table that is made once. It holds v·G1 for the BASE values of a digit, by their whole
encodings: a hit is exact, so no dealer can place a point that is mistaken for another. An honest digit is found
by one look-up. A wider one is looked for outwards from zero in both directions, so the cost grows with its
size, and ends at the bound that the caller gives.

Look-ups and steps take a time that depends on the value, so the value must not be secret: ``decrypter`` adds
a random multiple of G1 first.
"""

from eigenkms.crypto import backends
from eigenkms.crypto.backends.interface import Point
from eigenkms.crypto.pvss.parameters import BASE


class LogarithmTable:
    """The table of baby steps, for the backend that was in use when it was made.

    CPU: 0.5 to 0.8 s, once; 12 MB. ``width`` values around zero are in it. A smaller width than a digit's BASE
    serves only to test the search.
    """

    __slots__ = ("_down", "_entries", "_up", "_width")

    def __init__(self, width: int = BASE) -> None:
        curve = backends.bls12381()
        first = -(width // 2)
        point = curve.msm_g1([curve.g1], [first])
        self._width = width
        self._entries: dict[bytes, int] = {}
        for value in range(first, first + width):
            self._entries[curve.encode_g1(point)] = value
            point = curve.add_g1(point, curve.g1)
        self._down = curve.msm_g1([curve.g1], [-width])
        self._up = curve.msm_g1([curve.g1], [width])

    def steps(self, bound: int) -> int:
        """Return how many additions a search within ±bound makes at most."""
        return 2 * -(-max(0, bound - self._width // 2 + 1) // self._width)

    def find(self, point: Point, bound: int) -> int | None:
        """Return v with ``v·G1 = point``, or None if there is none in ±bound.

        A value less than a width beyond the bound may be found, too.
        """
        curve = backends.bls12381()
        value = self._entries.get(curve.encode_g1(point))
        if value is not None:
            return value
        below = above = point
        for k in range(1, self.steps(bound) // 2 + 1):
            below, above = curve.add_g1(below, self._down), curve.add_g1(above, self._up)
            for moved, distance in ((below, k * self._width), (above, -k * self._width)):
                value = self._entries.get(curve.encode_g1(moved))
                if value is not None:
                    return value + distance
        return None
