"""How many bad signatures a source of frames may cost, over all sessions.

Good signatures are verified in batches, for a fraction of a pairing each; a bad one is found by halving its batch, which takes
many. A *source* is who handed a frame over: its sender, or an operator that serves what it has. A correct one hands on what it
verified, and all verify with the keys of the chain at the session's boundary; only a frame of a boundary to come can have a key
that is not known here yet. So after a few bad signatures nothing more of that source is verified until the next boundary.
"""

from collections import Counter
from collections.abc import Hashable

MAX_FORGERIES = 64
"""Of one source from one boundary to the next: what an operator whose key has just changed says of a boundary to come is fewer."""


class Forgeries:
    """Bad signatures since the newest boundary, by source."""

    def __init__(self) -> None:
        self._found: Counter[Hashable] = Counter()

    def is_spent(self, source: Hashable) -> bool:
        """Whether nothing more of ``source`` is verified before ``renew``."""
        return self._found[source] >= MAX_FORGERIES

    def charge(self, source: Hashable) -> None:
        """A signature that ``source`` handed over was bad."""
        self._found[source] += 1

    def renew(self) -> None:
        """The next boundary was seen: everybody may make mistakes again."""
        self._found.clear()
