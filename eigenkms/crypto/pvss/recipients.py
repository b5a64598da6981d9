"""The recipients of a session's dealings, in the order that all dealers use.

Two of them may have one key: both have proved that they hold its secret, so they work together. What their rows show then, the
difference of their two shares, they could publish anyhow. To refuse such keys would let two of them stop every dealing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from eigenkms.crypto import backends
from eigenkms.crypto.backends.interface import InvalidPoint, Point
from eigenkms.crypto.pvss.errors import InvalidEncryptionKey
from eigenkms.crypto.pvss.parameters import MAX_RECIPIENTS, Bounds, bounds_for
from eigenkms.crypto.scalars import R, coordinates
from eigenkms.types import OperatorAddress


@dataclass(frozen=True, slots=True)
class ShareRecipient:
    """An operator's address (20 bytes) and its encryption key (48 bytes).

    The key's proof of possession must have been checked.
    """

    address: OperatorAddress
    key: bytes


class Recipients:
    """Recipients with their keys decoded once, for the backend that was in use then.

    InvalidEncryptionKey, which names the position, if a key is not a point. ValueError if there are none or too
    many, or if their coordinates are not distinct.
    """

    __slots__ = ("_members", "_points", "_xs")

    def __init__(self, members: Sequence[ShareRecipient]) -> None:
        if not 1 <= len(members) <= MAX_RECIPIENTS:
            raise ValueError(f"a dealing has 1..{MAX_RECIPIENTS} recipients, not {len(members)}")
        self._members = tuple(members)
        self._xs = coordinates([member.address for member in members])
        self._points = _decoded([member.key for member in members])

    def __len__(self) -> int:
        return len(self._members)

    @property
    def members(self) -> tuple[ShareRecipient, ...]:
        return self._members

    @property
    def xs(self) -> tuple[int, ...]:
        """Where their shares lie on the dealer's polynomial."""
        return self._xs

    @property
    def points(self) -> list[Point]:
        """Their encryption keys, in the form of the backend."""
        return self._points

    @property
    def bounds(self) -> Bounds:
        """Return the bounds of the range proof for so many recipients."""
        return bounds_for(len(self))

    @property
    def addresses_and_keys(self) -> tuple[bytes, ...]:
        """What a proof is bound to: addresses and keys in order."""
        return tuple(part for member in self._members for part in (member.address, member.key))

    def weighted_powers(self, weights: Sequence[int], count: int) -> list[int]:
        """``Σ_i weights[i]·x_i^j mod R`` for j below ``count``."""
        terms = list(weights)
        sums = []
        for _ in range(count):
            sums.append(sum(terms) % R)
            terms = [term * x % R for term, x in zip(terms, self._xs, strict=True)]
        return sums


def _decoded(keys: Sequence[bytes]) -> list[Point]:
    decode = backends.bls12381().decode_g1
    points = []
    for i, key in enumerate(keys):
        try:
            points.append(decode(key))
        except InvalidPoint as error:
            raise InvalidEncryptionKey(f"read recipients: key {i}: {error}") from None
    return points
