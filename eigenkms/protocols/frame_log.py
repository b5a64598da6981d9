"""The frames of one session that count: the first in each slot stays, a second different one is evidence.

Bounds: a sender has at most ``MAX_PER_SENDER`` frames here; of the kinds said once a view only the newest
``MAX_VIEWS`` stay, so a flood by one operator evicts nothing but its own frames.
"""

from collections.abc import Collection, Iterator
from typing import TypeAlias

from eigenkms.protocols.codec import MalformedError
from eigenkms.protocols.evidence import Evidence, Fault
from eigenkms.protocols.frames import Frame, Kind, Slot
from eigenkms.protocols.messages import slot_of
from eigenkms.types import OperatorAddress

MAX_PER_SENDER = 1024
MAX_VIEWS = 16
_VIEW_KINDS = frozenset({Kind.PROPOSAL, Kind.VOTE, Kind.VIEW_CHANGE})

SlotKey: TypeAlias = tuple[OperatorAddress, Slot]


class FrameLog:
    """Frames by key and by (sender, slot), in the order they came."""

    def __init__(self) -> None:
        self._by_key: dict[bytes, Frame] = {}
        self._by_slot: dict[SlotKey, Frame] = {}
        self._equivocated: set[SlotKey] = set()
        self._count: dict[OperatorAddress, int] = {}
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._by_key.values())

    def wants(self, frame: Frame) -> bool:
        """Whether ``frame`` is worth a signature check: neither known, nor a third in its slot, nor a flood.

        Raises ``MalformedError`` for a body that is not its kind's.
        """
        if frame.key in self._by_key:
            return False
        slot = slot_of(frame)
        if slot is not None and (frame.sender, slot) in self._equivocated:
            return False
        if self._count.get(frame.sender, 0) >= MAX_PER_SENDER:
            self.dropped += 1
            return False
        return True

    def add(self, frame: Frame) -> Evidence | None:
        """Keep a verified frame if its slot is free; return evidence if another one stands there already."""
        if not self.wants(frame):
            return None
        slot = slot_of(frame)
        if slot is not None:
            key = (frame.sender, slot)
            first = self._by_slot.get(key)
            if first is not None:
                self._equivocated.add(key)
                return Evidence(Fault.EQUIVOCATION, frame.sender, frame.session, (first, frame))
            self._by_slot[key] = frame
        self._by_key[frame.key] = frame
        self._count[frame.sender] = self._count.get(frame.sender, 0) + 1
        if frame.kind in _VIEW_KINDS:
            self._evict_old_views(frame)
        return None

    def has(self, frame: Frame) -> bool:
        return frame.key in self._by_key

    def get(self, sender: OperatorAddress, slot: Slot) -> Frame | None:
        return self._by_slot.get((sender, slot))

    def keys(self) -> tuple[bytes, ...]:
        return tuple(self._by_key)

    def missing(self, have: Collection[bytes], limit_bytes: int) -> list[Frame]:
        """Broadcast frames that ``have`` lacks, oldest first, as many as fit ``limit_bytes``."""
        found: list[Frame] = []
        for key, frame in self._by_key.items():
            if key in have or frame.recipient is not None:
                continue
            limit_bytes -= len(frame.encoded) + 8
            if limit_bytes < 0:
                break
            found.append(frame)
        return found

    def _evict_old_views(self, newest: Frame) -> None:
        """Keep the ``MAX_VIEWS`` highest views a sender has spoken in, for the kind of ``newest``."""
        slots = sorted(
            slot for sender, slot in self._by_slot if sender == newest.sender and slot[0] is newest.kind
        )
        views = sorted({slot[1] for slot in slots})
        for slot in slots:
            if len(views) > MAX_VIEWS and slot[1] == views[0]:
                frame = self._by_slot.pop((newest.sender, slot))
                del self._by_key[frame.key]
                self._count[newest.sender] -= 1


def readable(frame: Frame) -> bool:
    """Whether the body can be read as its kind says."""
    try:
        slot_of(frame)
    except MalformedError:
        return False
    return True
