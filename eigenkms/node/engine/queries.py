"""Queries of the machines: answers for other operators, and sync requests.

All answers are read between two steps, so nothing is served that is not durable.
"""

from eigenkms.node.engine.effect_store import EffectStore
from eigenkms.node.engine.step_runner import StepRunner
from eigenkms.node.key_versions import Versions
from eigenkms.protocols.ceremony.participant import Participant
from eigenkms.types import OperatorAddress
from eigenkms.wire.client_rpc import EvidencePage
from eigenkms.wire.dealing import DealingRow
from eigenkms.wire.frames import Frame
from eigenkms.wire.rpc_methods import VersionHead


class EngineQueries:
    """Reads the machines of one engine."""

    def __init__(
        self, steps: StepRunner, participant: Participant, versions: Versions, effects: EffectStore
    ) -> None:
        self._steps = steps
        self._participant = participant
        self._versions = versions
        self._effects = effects

    async def sync_requests(self) -> list[Frame]:
        """Return a request for frames of each session in which others may have more."""

        def read() -> list[Frame]:
            return [ceremony.sync_request() for ceremony in self._participant.syncable]

        return await self._steps.run(read)

    async def sync_reply(self, request: Frame) -> list[Frame]:
        """Return the frames that the sender of a verified request lacks."""

        def read() -> list[Frame]:
            ceremony = self._participant.ceremony(request.session)
            return [] if ceremony is None else ceremony.sync_reply(request)

        return await self._steps.read(read, [])

    async def body(self, name: bytes) -> bytes | None:
        """Return the body of a dealing, if it is here."""
        return await self._steps.read(lambda: self._participant.body(name), None)

    async def row(self, name: bytes, recipient: OperatorAddress) -> DealingRow | None:
        """Return one recipient's row of a dealing, if it is here."""
        return await self._steps.read(lambda: self._participant.row(name, recipient), None)

    async def head(self) -> VersionHead | None:
        """Return the highest version that is certified or prepared.

        A genesis that is only prepared is none.
        """

        def read() -> VersionHead | None:
            head = self._participant.head
            if head is None:
                return None
            held = self._versions.get(head.transcript.hash)
            return VersionHead(head.transcript, head.certificate, None if held is None else held.proof)

        return await self._steps.read(read, None)

    async def evidence_page(self, after: int) -> EvidencePage:
        """Return evidence against others, with ids above ``after``."""
        return await self._effects.evidence_page(after)
