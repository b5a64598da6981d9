"""Frames on their way to the machines, in one queue for each origin.

A flood fills only the queue of its own origin.
"""

from collections import deque
from collections.abc import Hashable
from typing import TypeAlias

import trio

from eigenkms.wire.frames import Frame

MAX_FRAMES, MAX_BYTES = 1024, 4 << 20
"""Frames and bytes of one origin that may wait: more than an operator sends in the largest session."""
MAX_BATCH = 128
MAX_OF_ONE = 16
"""Frames of one origin in a batch. A bad signature costs many times as much as a good one."""


Offer: TypeAlias = tuple[Hashable, Frame | bytes]
"""A frame, decoded or not, and the origin that it is from."""


class FairFrameQueue:
    """Queues of few origins, as the caller lets only operators put something here."""

    def __init__(self) -> None:
        self._queues: dict[Hashable, deque[Frame | bytes]] = {}
        self._sizes: dict[Hashable, int] = {}
        self._filled = trio.Event()

    def put(self, origin: Hashable, frame: Frame | bytes) -> bool:
        """Add a frame, decoded or encoded; return False if there is no room."""
        queue = self._queues.setdefault(origin, deque())
        size = self._sizes.get(origin, 0) + _size(frame)
        if len(queue) >= MAX_FRAMES or size > MAX_BYTES:
            return False
        queue.append(frame)
        self._sizes[origin] = size
        self._filled.set()
        return True

    async def take(self) -> list[Offer]:
        """Return the next batch once there is one, up to ``MAX_OF_ONE`` of each origin.

        An origin that was served goes to the end.
        """
        await self._filled.wait()
        batch: list[Offer] = []
        for origin in tuple(self._queues):
            if len(batch) + MAX_OF_ONE > MAX_BATCH:
                break
            queue, size = self._queues.pop(origin), self._sizes.pop(origin)
            taken = [queue.popleft() for _ in range(min(MAX_OF_ONE, len(queue)))]
            batch += [(origin, frame) for frame in taken]
            if queue:
                self._queues[origin], self._sizes[origin] = queue, size - sum(map(_size, taken))
        if not self._queues:
            self._filled = trio.Event()
        return batch


def _size(frame: Frame | bytes) -> int:
    return len(frame if isinstance(frame, bytes) else frame.encoded)
