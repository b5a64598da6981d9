"""Frames as they cross the simulated network: bytes, read and verified once for all who receive them.

Whether bytes decode, and whether a signature verifies under a key, depends on nothing but the bytes and the key. So the world
computes each once and every receiver of the same bytes shares the answer, which is what makes thousands of stories affordable.
"""

from eigenkms.errors import RemoteProtocolError
from eigenkms.wire.frames import Frame, decode_frame, verify_frame


class Wire:
    """``read`` decodes, ``is_signed`` verifies; ``name`` says what a frame is, for people."""

    def __init__(self) -> None:
        self._frames: dict[bytes, Frame] = {}
        self._signed: dict[tuple[bytes, bytes], bool] = {}
        self._names: dict[bytes, str] = {}

    def read(self, data: bytes) -> Frame:
        """Raises what ``decode_frame`` raises."""
        found = self._frames.get(data)
        if found is None:
            found = self._frames[data] = decode_frame(data)
        return found

    def is_signed(self, frame: Frame, key: bytes) -> bool:
        place = (frame.encoded, key)
        if place not in self._signed:
            self._signed[place] = _verifies(frame, key)
        return self._signed[place]

    def name(self, frame: Frame) -> str:
        """Kind, what stands first in the body of frames that are sorted by it, and the key that tells frames apart."""
        name = self._names.get(frame.key)
        if name is None:
            numbers = " ".join(str(int(item)) for item in frame.body[:2] if isinstance(item, int))
            session, key = frame.session.hex()[:6], frame.key.hex()[:8]
            name = f"{frame.kind.name} {numbers} of {session} ({key})".replace("  ", " ")
            self._names[frame.key] = name
        return name


def _verifies(frame: Frame, key: bytes) -> bool:
    try:
        verify_frame(frame, key)
    except RemoteProtocolError:
        return False
    return True
