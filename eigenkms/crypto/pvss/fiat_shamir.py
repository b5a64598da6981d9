"""The challenges of a non-interactive proof, drawn from all that was fixed before.

SHAKE256 over framed items. An item is ``be32(length of its label) ‖ label ‖ be32(number of parts)``, then
``be64(length) ‖ part`` for each part. A challenge is SHAKE256 of the items so far, then ``ff ff ff ff`` (no
label is so long), ``be32(length of the label) ‖ label ‖ be64(size)``, ``size`` bytes. So no two sequences of
items and no two challenges share an input. A challenge need not be absorbed again: it is a function of the
items before it, and they stay.
"""

from hashlib import shake_256
from typing import Self

from eigenkms.crypto.hashing import be32, be64

_CHALLENGE = b"\xff\xff\xff\xff"


class ProofTranscript:
    """Immutable: ``absorb`` returns a longer one, so a prover can try several continuations."""

    __slots__ = ("_state",)

    def __init__(self, tag: bytes) -> None:
        self._state = shake_256(_item(b"eigenkms/fiat-shamir/1", (tag,)))

    def absorb(self, label: bytes, *parts: bytes) -> Self:
        """Return the transcript with one more item; this one stays as it is."""
        longer = object.__new__(type(self))
        longer._state = self._state.copy()
        longer._state.update(_item(label, parts))
        return longer

    def challenge(self, label: bytes, size: int) -> bytes:
        """``size`` bytes that nobody can foresee before the last item is fixed."""
        state = self._state.copy()
        state.update(_CHALLENGE + be32(len(label)) + label + be64(size))
        return state.digest(size)

    def weights(self, label: bytes, count: int, size: int) -> list[int]:
        """``count`` integers below 2^(8·size), for a random linear combination."""
        drawn = self.challenge(label, count * size)
        return [int.from_bytes(drawn[i : i + size], "big") for i in range(0, len(drawn), size)]


def _item(label: bytes, parts: tuple[bytes, ...]) -> bytes:
    framed = b"".join(be64(len(part)) + part for part in parts)
    return be32(len(label)) + label + be32(len(parts)) + framed
