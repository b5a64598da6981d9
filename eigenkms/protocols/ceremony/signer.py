"""How an operator speaks in a session: once a slot, durably, signed.

Everything that an operator says to all is built here. ``say`` looks the slot up first, so a machine that asks twice, or asks
again after a crash, repeats the journaled frame to the byte instead of making a second one: that no operator equivocates is
a property of this file and not of the machines that call it.
"""

from collections.abc import Callable
from typing import Any

from eigenkms.crypto import bn254
from eigenkms.protocols.ceremony.effects import Broadcast, JournalRecord, Persist
from eigenkms.protocols.ceremony.frame_log import FrameLog
from eigenkms.types import OperatorAddress
from eigenkms.wire.frames import Frame, FrameKind, Slot, build_frame
from eigenkms.wire.session import Session


class SlotSigner:
    """The signer of this operator's frames in one session, which remembers them in its frame log."""

    def __init__(self, session: Session, me: OperatorAddress, key: bn254.KeyPair, log: FrameLog) -> None:
        self.session = session
        self.me = me
        self._key = key
        self._log = log

    def previous(self, slot: Slot) -> Frame | None:
        """Return the frame that this operator signed in ``slot``, in this run or an earlier one."""
        return self._log.get(self.me, slot)

    def build(self, kind: FrameKind, body: list[Any], recipient: OperatorAddress | None = None) -> Frame:
        """Sign a frame that commits to nothing, as a request does."""
        return build_frame(
            self._key,
            kind=kind,
            cluster=self.session.cluster,
            sender=self.me,
            session=self.session.id,
            body=body,
            recipient=recipient,
        )

    def sign_once(
        self, kind: FrameKind, slot: Slot, body: Callable[[], list[Any]]
    ) -> list[Persist | Broadcast]:
        """Sign ``body()`` in ``slot``, unless a frame stands there already.

        The frame is journaled first, then broadcast.
        """
        if self.previous(slot) is not None:
            return []
        frame = self.build(kind, body())
        self._log.add(frame)
        return [Persist(JournalRecord("frame", frame.encoded)), Broadcast(frame)]

    def sign(self, digest: bytes) -> bytes:
        """Sign a vote, to stand inside a frame."""
        return bn254.sign(self._key, digest)
