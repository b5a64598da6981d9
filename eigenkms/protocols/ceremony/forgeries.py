"""How many bad signatures an origin of frames may cost, over all sessions.

Good signatures are verified in batches, for a fraction of a pairing each; a bad one is found by halving its batch, which takes
many. An *origin* is what handed a frame over: its sender, or an operator that serves what it has. A correct one hands on what it
verified, and all verify with the keys of the chain at the session's boundary; only a frame of a boundary to come can have a key
that is not known here yet. So after a few bad signatures nothing more of that origin is verified until the next boundary.
"""

from collections import Counter
from collections.abc import Hashable

MAX_FORGERIES = 64
"""Of one origin from one boundary to the next: what an operator whose key has just changed says of a boundary to come is fewer."""


class Forgeries:
    """Bad signatures since the newest boundary, by origin."""

    def __init__(self) -> None:
        self._found: Counter[Hashable] = Counter()

    def is_spent(self, origin: Hashable) -> bool:
        """Return whether nothing more of ``origin`` is verified before ``renew``."""
        return self._found[origin] >= MAX_FORGERIES

    def charge(self, origin: Hashable) -> None:
        """Count a bad signature in what ``origin`` handed over."""
        self._found[origin] += 1

    def renew(self) -> None:
        """Forget all at the next boundary: everybody may make mistakes again."""
        self._found.clear()
