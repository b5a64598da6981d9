"""How much one client, and all together, may ask for at once. Clients are told apart by address, IPv6 ones by their /64."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

IN_PROGRESS_OF_ONE: Final = 16
"""Requests of one client that are read or answered."""
BODY_BYTES: Final = 128 * 1024 * 1024
"""Bodies that are held at once, of all clients."""


class TooManyError(Exception):
    """``whose`` limit it is, the client's or everybody's; ``retry_after`` is in whole seconds."""

    def __init__(self, *, everybody: bool, retry_after: int) -> None:
        super().__init__("too many requests")
        self.everybody = everybody
        self.retry_after = retry_after


def client_of(address: str) -> str:
    """What an address counts as: an IPv6 client usually has a whole /64."""
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Network((parsed, 64), strict=False))
    return str(parsed)


class InProgress:
    """Requests that are read or answered, by client."""

    def __init__(self) -> None:
        self._of: Counter[str] = Counter()

    @contextmanager
    def one(self, client: str) -> Iterator[None]:
        """Raises ``TooManyError``."""
        if self._of[client] >= IN_PROGRESS_OF_ONE:
            raise TooManyError(everybody=False, retry_after=1)
        self._of[client] += 1
        try:
            yield
        finally:
            self._of[client] -= 1
            if not self._of[client]:
                del self._of[client]


class BodyBudget:
    """Bytes of bodies that are in memory."""

    def __init__(self, limit: int = BODY_BYTES) -> None:
        self._left = limit

    @contextmanager
    def hold(self) -> Iterator[Callable[[int], None]]:
        """Gives a function that takes bytes until the block ends; it raises ``TooManyError``."""
        held = 0

        def take(count: int) -> None:
            nonlocal held
            if count > self._left:
                raise TooManyError(everybody=True, retry_after=1)
            self._left -= count
            held += count

        try:
            yield take
        finally:
            self._left += held
