"""Settling: an operator promises to keep its share of a certified version, and collects the others' promises.

The settlement proof and why it is what erases older versions: protocols/settlement. A confirm names the version, so one for
another version is not counted; a frame around a confirm that does not verify is evidence against its sender.
"""

from eigenkms.crypto import schnorr
from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.protocols.effects import Accuse, Effect
from eigenkms.protocols.evidence import Evidence, Fault, proves
from eigenkms.protocols.frames import Frame, Kind
from eigenkms.protocols.messages import confirm_body, read_confirm
from eigenkms.protocols.settlement import (
    SettlementProof,
    aggregate_confirms,
    confirm_digest,
    possession_context,
    settlement_quorum,
)
from eigenkms.protocols.transcript import Transcript
from eigenkms.protocols.voice import Voice
from eigenkms.types import OperatorAddress

CONFIRM_SLOT = (Kind.CONFIRM, 0)


class Settling:
    """One operator's side of settling the version that a session made."""

    def __init__(self, voice: Voice, rng: Rng) -> None:
        self._voice = voice
        self._rng = rng
        self._frames: dict[OperatorAddress, Frame] = {}
        self._good: dict[OperatorAddress, bytes] = {}
        self.proof: SettlementProof | None = None

    def receive(self, frame: Frame) -> None:
        """Take note of a verified CONFIRM frame of a recipient; ``advance`` draws the conclusions."""
        self._frames[frame.sender] = frame

    @property
    def unconfirmed(self) -> tuple[OperatorAddress, ...]:
        """Recipients whose confirm has not come: they keep older versions from being erased."""
        return tuple(a for a in self._voice.session.recipients.addresses if a not in self._good)

    def advance(self, transcript: Transcript, share: SecretScalar | None) -> list[Effect]:
        """Confirm once I hold my share, check what came, and add up the proof. Its share is durable by the same step's effects."""
        effects: list[Effect] = []
        if share is not None:
            effects += self._confirm(transcript, share)
        effects += self._check(transcript)
        if self.proof is None and len(self._good) >= settlement_quorum(len(transcript.recipients)):
            self.proof = aggregate_confirms(transcript, self._good)
        return effects

    def _confirm(self, transcript: Transcript, share: SecretScalar) -> list[Effect]:
        me, session = self._voice.me, transcript.session

        def body() -> list[object]:
            context = possession_context(session, transcript.hash, me)
            possession = schnorr.prove(share, transcript.public_share(me), context, self._rng)
            signature = self._voice.sign(confirm_digest(session, transcript.hash))
            return confirm_body(transcript.hash, signature, possession)

        said = self._voice.say(Kind.CONFIRM, CONFIRM_SLOT, body)
        own = self._voice.said(CONFIRM_SLOT)
        assert own is not None
        self._frames[me] = own
        return [*said]

    def _check(self, transcript: Transcript) -> list[Effect]:
        """Count the confirms of this version that hold; accuse whoever signed a frame around one that does not."""
        effects: list[Effect] = []
        for sender, frame in sorted(self._frames.items()):
            del self._frames[sender]
            if read_confirm(frame).hash != transcript.hash or sender in self._good:
                continue
            if transcript.recipients.get(sender) is None:
                continue  # it keeps nothing
            evidence = Evidence(Fault.BAD_CONFIRM, sender, transcript.session, (frame,), source=transcript)
            if sender != self._voice.me and proves(evidence, self._voice.session):
                effects.append(Accuse(evidence))
            else:
                self._good[sender] = read_confirm(frame).signature
        return effects
