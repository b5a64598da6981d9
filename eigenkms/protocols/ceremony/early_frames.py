"""Frames of boundaries that this operator has not seen yet, kept for them.

Each sender has its own room, and no more.
"""

from collections.abc import ItemsView, Sequence

from eigenkms.types import OperatorAddress
from eigenkms.wire.frames import Frame
from eigenkms.wire.session import Session

MAX_EARLY_FRAMES = 64
MAX_EARLY_BYTES = 512 * 1024
"""The room of each sender; beyond, its frames are dropped, and pulled again once the boundary was seen."""


class EarlyFrames:
    """Verified frames by sender, in the order in which they came."""

    def __init__(self) -> None:
        self._by_sender: dict[OperatorAddress, list[Frame]] = {}

    def items(self) -> ItemsView[OperatorAddress, list[Frame]]:
        return self._by_sender.items()

    def has_room(self, frame: Frame) -> bool:
        """Return whether a frame is new and fits its sender's room."""
        kept = self._by_sender.get(frame.sender, [])
        size = sum(len(f.encoded) for f in kept) + len(frame.encoded)
        known = any(f.key == frame.key for f in kept)
        return len(kept) < MAX_EARLY_FRAMES and size <= MAX_EARLY_BYTES and not known

    def keep(self, frames: Sequence[Frame]) -> None:
        """Keep the frames that there is room for."""
        for frame in frames:
            if self.has_room(frame):
                self._by_sender.setdefault(frame.sender, []).append(frame)

    def pop(self, session: Session) -> list[Frame]:
        """Take out the frames of a session; others stay."""
        taken = [f for frames in self._by_sender.values() for f in frames if f.session == session.id]
        self._filter(session, of_session=False)
        return taken

    def drop_others(self, session: Session) -> None:
        """Drop frames that are not of this session."""
        self._filter(session, of_session=True)

    def _filter(self, session: Session, *, of_session: bool) -> None:
        self._by_sender = {
            sender: kept
            for sender, frames in self._by_sender.items()
            if (kept := [f for f in frames if (f.session == session.id) is of_session])
        }
