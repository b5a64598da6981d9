"""How many bytes each of a few peers is served in a while."""

from collections.abc import Callable
from typing import Final

from eigenkms.p2p.identity import PeerId

BYTES_A_SECOND: Final = 4 << 20
BURST: Final = 64 << 20
"""All dealings of the largest session that a transcript needs, which is 35 MB, and more: an honest peer meets no bound."""
LEAST: Final = 16 << 10
"""What the shortest answer counts as: its cost is not in its bytes."""


class Budget:
    """A bucket of bytes for each peer. It may be overdrawn by one answer, and then nothing is served until it is full again so far.

    ``clock`` is in seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left: dict[PeerId, tuple[float, float]] = {}

    def allows(self, peer: PeerId) -> bool:
        """Whether the peer is served now."""
        return self._now_left(peer) > 0

    def spend(self, peer: PeerId, size: int) -> None:
        """The peer got an answer of so many bytes."""
        self._left[peer] = (self._now_left(peer) - max(size, LEAST), self._clock())

    def forget(self, peers: frozenset[PeerId]) -> None:
        """Drop what is known of all but these."""
        self._left = {peer: left for peer, left in self._left.items() if peer in peers}

    def _now_left(self, peer: PeerId) -> float:
        left, since = self._left.get(peer, (float(BURST), 0.0))
        return min(BURST, left + (self._clock() - since) * BYTES_A_SECOND)
