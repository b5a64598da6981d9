"""Bodies of dealings on their way to the machines, separate for each origin.

A body may come before the header that names it, or before its boundary is seen here. It is kept then, until a machine wants it or
its origin sends newer ones. A body displaces only bodies of its own origin, so no origin floods another one's away.
"""

import threading
from collections import OrderedDict
from collections.abc import Collection, Hashable
from typing import Final

import trio

MAX_OF_ONE: Final = 8
MAX_BYTES: Final = 2 << 20
"""Kept bytes of one origin. A dealing for 256 recipients has 206 kB; an operator deals once a session and base."""


class DealingBodies:
    """Bodies of few origins, as the caller lets only operators put something here.

    Call ``put`` on the loop, and ``take`` on any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[Hashable, OrderedDict[bytes, bytes]] = {}
        self._arrived = trio.Event()

    def __len__(self) -> int:
        return sum(len(kept) for kept in tuple(self._kept.values()))

    def put(self, origin: Hashable, name: bytes, body: bytes) -> int:
        """Keep a body; return how many older ones of its origin it displaced."""
        with self._lock:
            kept = self._kept.setdefault(origin, OrderedDict())
            kept.pop(name, None)
            kept[name] = body
            displaced = 0
            while len(kept) > MAX_OF_ONE or sum(map(len, kept.values())) > MAX_BYTES:
                kept.popitem(last=False)
                displaced += 1
        self._arrived.set()
        return displaced

    async def arrival(self) -> None:
        """Wait until a body was put here since the last call."""
        await self._arrived.wait()
        self._arrived = trio.Event()

    def take(self, wanted: Collection[bytes]) -> list[tuple[bytes, bytes]]:
        """Remove and return the bodies of these names.

        There may be several of a name, as an origin may have lied.
        """
        found: list[tuple[bytes, bytes]] = []
        with self._lock:
            for origin in tuple(self._kept):
                kept = self._kept[origin]
                found += [(name, kept.pop(name)) for name in wanted if name in kept]
                if not kept:
                    del self._kept[origin]
        return found
