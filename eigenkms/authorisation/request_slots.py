"""Slots for the requests that are checked side by side.

They are shared out so that few clients cannot take all of them. A client may take as many slots as it leaves free. One client thus
has at most half of them, and the second of two greedy clients a quarter. A client without a slot gets one as long as one is free.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from eigenkms.attestation.interface import AttestationRefusedError
from eigenkms.wire.authorisation import Refusal

MAX_AT_ONCE: Final = 64
"""Requests that are checked side by side. Beyond it a request is refused as busy."""


class RequestSlots:
    """``MAX_AT_ONCE`` slots, shared out among clients.

    The client "" stands for requests that nobody else can make, and has no share.
    """

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()

    @property
    def held(self) -> int:
        """The slots that all clients hold."""
        return self._held.total()

    @contextmanager
    def hold(self, client: str) -> Iterator[None]:
        """Hold one slot for the block.

        Raises ``AttestationRefusedError`` (busy) if the client may have no more.
        """
        free = MAX_AT_ONCE - self.held
        if free <= 0 or (client and self._held[client] >= free):
            raise busy("too many requests at once")
        self._held[client] += 1
        try:
            yield
        finally:
            self._held[client] -= 1
            if not self._held[client]:
                del self._held[client]


def busy(why: str) -> AttestationRefusedError:
    """Return the refusal of a request that may be accepted later."""
    return AttestationRefusedError(
        Refusal.BUSY, f"this operator is busy: {why}", hint="try again in a minute"
    )
