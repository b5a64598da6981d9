"""The intake: frames and bodies on their way from the network to the machines.

Frames wait in bounded queues, one for each origin, and are taken in batches, so that their signatures are verified together. A full
queue drops frames: gossip may lose anything, and the node syncs what is missing. Each step takes the bodies that have arrived and
are wanted.
"""

import os
from collections.abc import Callable, Hashable, Sequence

from eigenkms.errors import RemoteProtocolError
from eigenkms.node.engine.dealing_bodies import DealingBodies
from eigenkms.node.engine.frame_queue import FairFrameQueue, Offer
from eigenkms.node.engine.statistics import EngineCounters
from eigenkms.protocols.ceremony.forgeries import Forgeries
from eigenkms.protocols.ceremony.participant import Participant, SessionEffect
from eigenkms.types import OperatorAddress
from eigenkms.wire.frames import Frame, decode_frame, verify_frames

KeyOf = Callable[[OperatorAddress], bytes | None]
"""Returns the BN254 G2 key of a current operator.

It verifies frames that come before their boundary.
"""


class Intake:
    """``submit`` and ``submit_body`` never block; other methods run in a step."""

    def __init__(self, participant: Participant, key_of: KeyOf, counters: EngineCounters) -> None:
        self._participant = participant
        self._key_of = key_of
        self._counters = counters
        self._forgeries = Forgeries()
        self.frames = FairFrameQueue()
        self.bodies = DealingBodies()

    def submit(self, origin: Hashable, frame: Frame | bytes) -> None:
        """Queue a frame from the network, under the origin that is accountable for it.

        Bytes are decoded beside the event loop. A frame that was decoded on its way is not decoded again.
        """
        if not self.frames.put(origin, frame):
            self._counters.add(dropped=1)

    def submit_body(self, origin: Hashable, name: bytes, body: bytes) -> None:
        """Keep the body of a dealing, which ``origin`` served or pushed."""
        self._counters.add(bodies=1, dropped=self.bodies.put(origin, name, body))

    def renew(self) -> None:
        """Pardon all forgeries, as the next boundary was seen."""
        self._forgeries.renew()

    def process(self, batch: Sequence[Offer], now: float) -> list[SessionEffect]:
        """Give the machines the frames of a batch that decode, are wanted, and verify."""
        considered = [(origin, item) for origin, item in batch if not self._forgeries.is_spent(origin)]
        wanted: list[tuple[Hashable, Frame]] = []
        for origin, item in considered:
            try:
                frame = decode_frame(item) if isinstance(item, bytes) else item
                if self._participant.should_verify(frame):
                    wanted.append((origin, frame))
            except RemoteProtocolError as error:
                self._counters.refuse(None, str(error))
        self._counters.add(frames=len(batch), dropped=len(batch) - len(considered))
        return self.verify(wanted, now)

    def verify(self, offers: Sequence[tuple[Hashable, Frame]], now: float) -> list[SessionEffect]:
        """Verify all signatures in one batch, and give the machines the good frames.

        Each bad one is charged to its origin.
        """
        known = [(o, frame, key) for o, frame in offers if (key := self._key_for(frame)) is not None]
        bad = set(verify_frames([f for _, f, _ in known], [k for _, _, k in known], os.urandom))
        for index in bad:
            origin, frame, _ = known[index]
            self._forgeries.charge(origin)
            self._counters.refuse(frame.session, f"{frame!r}: bad signature")
        good = [frame for index, (_, frame, _) in enumerate(known) if index not in bad]
        return self._participant.receive(good, now) if good else []

    def feed_bodies(self, now: float) -> list[SessionEffect]:
        """Give the machines the bodies that they want and that have arrived."""
        effects: list[SessionEffect] = []
        for name, body in self.bodies.take(self._participant.wanted_bodies):
            try:
                effects += self._participant.take_body(name, body, now)
            except RemoteProtocolError as error:
                self._counters.refuse(None, str(error))
        return effects

    def _key_for(self, frame: Frame) -> bytes | None:
        ceremony = self._participant.ceremony(frame.session)
        if ceremony is None:
            return self._key_of(frame.sender)
        return ceremony.key_of(frame.sender)
