"""The frames of one session: the first in each slot counts, a second is evidence.

Bounds, so that a flood by one operator costs nobody but itself: of the kinds said once a view only those of a sender's
``MAX_VIEWS`` highest views stay; of the kinds without a slot ``MAX_REPEATS`` are kept; after ``MAX_EQUIVOCATIONS`` doubly used
slots no more of them are told. After ``MAX_TAKEN`` verified frames, also those that fell out, no more of its sender are wanted:
views without end would cost signature checks without end.
"""

from collections.abc import Collection, Iterator

from eigenkms.crypto.hashing import keccak256
from eigenkms.types import OperatorAddress
from eigenkms.wire.frames import Frame, FrameKind, Slot
from eigenkms.wire.messages import slot_of

MAX_PER_SENDER = 1024
MAX_VIEWS = 8
MAX_REPEATS = 4
MAX_EQUIVOCATIONS = 16
MAX_TAKEN = 4096
"""A correct operator says at most four frames a view: this is for a thousand views of one session."""
VIEW_KINDS = frozenset({FrameKind.PROPOSAL, FrameKind.VOTE, FrameKind.VIEW_CHANGE})
"""Kinds whose slot names a view."""


class _Sender:
    """The frames of one operator."""

    def __init__(self) -> None:
        self.slots: dict[Slot, Frame] = {}
        self.equivocated: set[Slot] = set()
        self.repeats = 0
        self.taken = 0
        """Frames of it that were verified."""

    def has_room(self, slot: Slot | None) -> bool:
        if slot is None:
            return self.repeats < MAX_REPEATS
        if slot in self.slots:
            return slot not in self.equivocated and len(self.equivocated) < MAX_EQUIVOCATIONS
        if slot[0] in VIEW_KINDS:
            views = self.views(slot[0])
            return len(views) < MAX_VIEWS or _view(slot) >= views[0]
        return len(self.slots) < MAX_PER_SENDER

    def views(self, kind: FrameKind) -> list[int]:
        """Return the views of the frames of ``kind``, ascending."""
        return sorted({_view(slot) for slot in self.slots if slot[0] is kind})


def _view(slot: Slot) -> int:
    assert isinstance(slot[1], int)
    return slot[1]


def _size(frame: Frame) -> int:
    """Return the bytes of a frame in an answer."""
    return len(frame.encoded) + 8


class FrameLog:
    """Frames by key and by (sender, slot), in the order they came."""

    def __init__(self) -> None:
        self._by_key: dict[bytes, Frame] = {}
        self._senders: dict[OperatorAddress, _Sender] = {}
        self._evicted: list[Frame] = []
        self._asked = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._by_key.values())

    def accepts(self, frame: Frame) -> bool:
        """Return whether ``frame`` is worth a signature check.

        It is not if it is known, a third in its slot, or one of a flood.

        Raises ``MalformedError`` for a body that is not its kind's.
        """
        sender = self._senders.get(frame.sender)
        if sender is not None and sender.taken >= MAX_TAKEN:
            self.dropped += 1
            return False
        return self._has_room(frame)

    def _has_room(self, frame: Frame) -> bool:
        if frame.key in self._by_key:
            return False
        slot = slot_of(frame)
        sender = self._senders.get(frame.sender)
        if sender is not None and not sender.has_room(slot):
            self.dropped += 1
            return False
        return True

    def add(self, frame: Frame) -> tuple[Frame, Frame] | None:
        """Keep a verified frame if its slot is free.

        Return both if another one stands there already: its sender equivocated.

        One's own frames are kept however many they are: what was said must not be said again differently.
        """
        sender = self._senders.setdefault(frame.sender, _Sender())
        sender.taken += 1
        if not self._has_room(frame):
            return None
        slot = slot_of(frame)
        if slot is None:
            sender.repeats += 1
        elif (first := sender.slots.get(slot)) is not None:
            sender.equivocated.add(slot)
            return first, frame
        else:
            sender.slots[slot] = frame
        self._by_key[frame.key] = frame
        if frame.kind in VIEW_KINDS:
            self._evict_old_views(sender, frame.kind)
        return None

    def has(self, frame: Frame) -> bool:
        return frame.key in self._by_key

    def get(self, sender: OperatorAddress, slot: Slot) -> Frame | None:
        known = self._senders.get(sender)
        return None if known is None else known.slots.get(slot)

    def keys(self) -> tuple[bytes, ...]:
        return tuple(self._by_key)

    def drain_evicted(self) -> list[Frame]:
        """Return and forget the frames that fell out since the last call.

        A machine that drew conclusions from them may forget those, too.
        """
        evicted, self._evicted = self._evicted, []
        return evicted

    def frames_missing_from(self, have: Collection[bytes], limit_bytes: int) -> list[Frame]:
        """Broadcast frames that ``have`` lacks, as many as fit ``limit_bytes``.

        If not all do, others each time.

        So what an asker does not want, and cannot say that it does not, fills no more than its part of the answers.
        """
        lacking = [f for key, f in self._by_key.items() if key not in have and f.recipient is None]
        if sum(map(_size, lacking)) > limit_bytes:
            self._asked += 1
            turn = self._asked.to_bytes(8, "big")
            lacking.sort(key=lambda frame: keccak256(turn + frame.key))
        found: list[Frame] = []
        for frame in lacking:
            if _size(frame) <= limit_bytes:
                limit_bytes -= _size(frame)
                found.append(frame)
        return found

    def _evict_old_views(self, sender: _Sender, kind: FrameKind) -> None:
        views = sender.views(kind)
        if len(views) <= MAX_VIEWS:
            return
        for slot in [s for s in sender.slots if s[0] is kind and s[1] == views[0]]:
            frame = sender.slots.pop(slot)
            del self._by_key[frame.key]
            self._evicted.append(frame)
