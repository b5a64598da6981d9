"""The subjects of agreement: drafts, their source, and the decision."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from eigenkms.protocols.ceremony.effects import Effect
from eigenkms.types import OperatorAddress
from eigenkms.wire.messages import SourceRef
from eigenkms.wire.transcript import Transcript
from eigenkms.wire.votes import Certificate


@dataclass(frozen=True)
class Draft:
    """A fresh transcript, and the KEY frames that its new keys are from."""

    transcript: Transcript
    keys: tuple[bytes, ...]


@dataclass(frozen=True)
class Decision:
    """The epoch certificate and what it certifies; ``transcript`` is ``None`` for ∅."""

    certificate: Certificate
    transcript: Transcript | None


class ProposalSource(Protocol):
    """The dealings of a session, as agreement asks of them."""

    def leader(self, view: int, source: SourceRef) -> OperatorAddress | None:
        """Return the leader of a view with transcripts from this source, if it is known."""

    @property
    def source(self) -> SourceRef:
        """The version that a fresh transcript of this operator deals from."""

    def ready(self, now: float) -> bool:
        """Return whether the first proposal is due."""

    def draft(self) -> Draft | None:
        """Return what to propose afresh, or ``None`` if there is nothing to propose."""

    def supports(self, transcript: Transcript, keys: Sequence[bytes], now: float) -> bool:
        """Return whether this operator may prepare this fresh transcript now."""

    def holds(self, transcript: Transcript) -> bool:
        """Return whether all named dealings are here, valid, and make this transcript."""

    def journal(self, transcript: Transcript) -> list[Effect]:
        """Make the dealings that the transcript names durable, as far as they are not."""
