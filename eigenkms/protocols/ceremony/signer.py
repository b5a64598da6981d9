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
from eigenkms.protocols.wire.frames import Frame, FrameKind, Slot, build_frame
from eigenkms.protocols.wire.session import Session
from eigenkms.types import OperatorAddress


class SlotSigner:
    """Builds this operator's frames for one session and remembers them in the session's frame log."""

    def __init__(self, session: Session, me: OperatorAddress, key: bn254.KeyPair, log: FrameLog) -> None:
        self.session = session
        self.me = me
        self._key = key
        self._log = log

    def previous(self, slot: Slot) -> Frame | None:
        """What I said in ``slot``, in this life or an earlier one."""
        return self._log.get(self.me, slot)

    def build(self, kind: FrameKind, body: list[Any], recipient: OperatorAddress | None = None) -> Frame:
        """Sign a frame that commits to nothing (a request, or a share that the journaled polynomial determines)."""
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
        """Say ``body()`` in ``slot`` unless something stands there already: journal first, then broadcast."""
        if self.previous(slot) is not None:
            return []
        frame = self.build(kind, body())
        self._log.add(frame)
        return [Persist(JournalRecord("frame", frame.encoded)), Broadcast(frame)]

    def sign(self, digest: bytes) -> bytes:
        """A BN254 signature that will stand inside a frame (a vote)."""
        return bn254.sign(self._key, digest)
