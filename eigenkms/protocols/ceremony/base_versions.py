"""The versions that one session deals from, with their dealings.

There is one source, as a rule. A better one that turns up during the session is added; the one that was added last is the one to
propose from. A transcript from another source may be prepared as well, unless it is forbidden by the *floor*: what this operator
committed to last, or knows to be certified. A fresh transcript must deal from that very version or from a later one, which was
prepared by a quorum after it.

An operator that deals from an unknown source is remembered: it may be a better one.
"""

from collections.abc import Iterator, Sequence

from eigenkms.protocols.ceremony.effects import Effect
from eigenkms.protocols.ceremony.proposals import Draft
from eigenkms.protocols.ceremony.sharing import SharingPhase
from eigenkms.types import OperatorAddress, OperatorSet
from eigenkms.wire.messages import GENESIS, SourceRef, source_of
from eigenkms.wire.transcript import Transcript

MAX_UNKNOWN = 64
"""Senders that are no members and are remembered. Their signatures are not verified yet: whoever they are made up by, members are
remembered beside them.
"""


class BaseVersions:
    """Of a session with these ``members``."""

    def __init__(self, members: OperatorSet, floor: SourceRef) -> None:
        self._members = frozenset(members.addresses)
        self.floor = floor
        self._by_ref: dict[SourceRef, SharingPhase] = {}
        self._unknown: dict[OperatorAddress, SourceRef] = {}

    def __iter__(self) -> Iterator[SharingPhase]:
        return iter(tuple(self._by_ref.values()))

    def add(self, dealings: SharingPhase) -> None:
        self._by_ref[dealings.ref] = dealings

    def get(self, ref: SourceRef) -> SharingPhase | None:
        return self._by_ref.get(ref)

    @property
    def current(self) -> SharingPhase:
        """Those from the source that was added last."""
        return tuple(self._by_ref.values())[-1]

    # -- what agreement asks -----------------------------------------------------------------------------------

    @property
    def source(self) -> SourceRef:
        return self.current.ref

    def leader(self, view: int, source: SourceRef) -> OperatorAddress | None:
        dealings = self.get(source)
        return None if dealings is None else dealings.leaders[view % len(dealings.leaders)]

    def ready(self, now: float) -> bool:
        return self.current.ready(now)

    def draft(self) -> Draft | None:
        return self.current.draft() if self._is_allowed(self.source) else None

    def supports(self, transcript: Transcript, keys: Sequence[bytes], now: float) -> bool:
        dealings = self.get(source_of(transcript))
        allowed = dealings is not None and self._is_allowed(dealings.ref)
        return dealings is not None and allowed and dealings.supports(transcript, keys, now)

    def holds(self, transcript: Transcript) -> bool:
        dealings = self.get(source_of(transcript))
        return dealings is not None and dealings.holds(transcript)

    def journal(self, transcript: Transcript) -> list[Effect]:
        dealings = self.get(source_of(transcript))
        return [] if dealings is None else dealings.journal(transcript)

    # -- the floor ---------------------------------------------------------------------------------------------

    def raise_floor(self, floor: SourceRef) -> None:
        """Support fresh transcripts from this version or later ones alone."""
        if floor.version >= self.floor.version:
            self.floor = floor

    def _is_allowed(self, ref: SourceRef) -> bool:
        return ref == self.floor or ref.version > self.floor.version

    # -- sources that are not known here -----------------------------------------------------------------------

    def note_unknown(self, sender: OperatorAddress, ref: SourceRef) -> None:
        """Remember an operator that deals from an unknown, maybe better source."""
        strangers = sum(1 for known in self._unknown if known not in self._members)
        has_room = sender in self._members or sender in self._unknown or strangers < MAX_UNKNOWN
        if self._may_be_better(ref) and has_room:
            self._unknown[sender] = ref

    @property
    def unknown(self) -> dict[OperatorAddress, SourceRef]:
        """The unknown sources that may be better ones, by operator that deals from them."""
        remembered = tuple(self._unknown.items())
        return {
            sender: ref for sender, ref in remembered if ref not in self._by_ref and self._may_be_better(ref)
        }

    @property
    def dealt(self) -> dict[OperatorAddress, SourceRef]:
        """The sources that are known here, by operator whose dealing from one came."""
        return {
            dealer: dealings.ref
            for dealings in self
            for dealer in dealings.dealers
            if dealings.get(dealer) is not None
        }

    def _may_be_better(self, ref: SourceRef) -> bool:
        return ref.version >= max((known.version for known in tuple(self._by_ref)), default=GENESIS.version)
