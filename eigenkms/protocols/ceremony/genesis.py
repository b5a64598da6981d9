"""The dealings that make a master key: announced first, then dealt by all.

Every member journals its polynomial and announces the *digest* of its commitments. Once those of all n, and their encryption
keys, are in (with a lowered genesis quorum: of enough of them, and a window has passed) it fixes whose dealings may count
and deals: nobody chooses a dealing after having seen another's. The proof in a dealing is also one of knowledge of the
polynomial, bound to the dealer, so nobody deals with commitments that it copied.

The polynomial is destroyed once the dealing that is made from it is durable: all of them together are the master key.
"""

from collections.abc import Collection, Iterable

from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.shamir import Polynomial
from eigenkms.protocols.ceremony.drafter import PATIENCE_WINDOWS
from eigenkms.protocols.ceremony.effects import Effect, EraseJournalSecrets, JournalRecord, LogEvent, Persist
from eigenkms.protocols.ceremony.sharing import SharingPhase
from eigenkms.protocols.ceremony.signer import SlotSigner
from eigenkms.protocols.records.fault_proofs import is_not_announced
from eigenkms.types import OperatorAddress
from eigenkms.wire.frames import Frame, FrameKind
from eigenkms.wire.key_directory import KeyDirectory
from eigenkms.wire.messages import commitments_digest

_SLOT = (FrameKind.HASH, 0)


class GenesisSharingPhase(SharingPhase):
    """The sharing phase of a genesis session."""

    def __init__(
        self, signer: SlotSigner, keys: KeyDirectory, rng: Rng, opened_at: float, grace: float
    ) -> None:
        super().__init__(signer, keys, rng, opened_at, grace, None)
        self._own: Polynomial | None = None
        self._announced: dict[OperatorAddress, Frame] = {}
        self._early: dict[OperatorAddress, Frame] = {}
        """Dealings that came before their announcement."""
        self._revealed: frozenset[OperatorAddress] | None = None

    def restore(self, records: Iterable[JournalRecord]) -> None:
        records = tuple(records)
        for record in records:
            if record.kind == "polynomial":
                self._own = Polynomial.from_bytes(record.body)
            elif record.kind == "revealed":
                members = self.session.recipients.addresses
                named = {record.body[i : i + 20] for i in range(0, len(record.body), 20)}
                self._fix_dealers(frozenset(a for a in members if a in named))
        super().restore(records)

    def announce(self, frame: Frame) -> list[Effect]:
        """Take a verified HASH frame."""
        self._announced.setdefault(frame.sender, frame)
        early = self._early.pop(frame.sender, None)
        return [] if early is None else self.receive(early)

    def receive(self, frame: Frame) -> list[Effect]:
        announced = self._announced.get(frame.sender)
        if announced is None:
            self._early.setdefault(frame.sender, frame)
            return []
        if frame.sender not in self._pool.barred and is_not_announced(frame, announced):
            return self._pool.bar("its commitments are not the announced ones", frame, announced)
        return super().receive(frame)

    @property
    def missing(self) -> tuple[OperatorAddress, ...]:
        if self._revealed is None:
            return tuple(a for a in self.session.recipients.addresses if a not in self._ready_to_deal)
        return tuple(sorted(self._revealed - self._pool.valid))

    @property
    def announced(self) -> Collection[OperatorAddress]:
        """Operators whose digest is here."""
        return self._announced.keys()

    def advance(self, now: float) -> list[Effect]:
        shredded = self.forget_secrets() if self._has_dealt else []
        return [*shredded, *self._announce(), *self._reveal(now), *super().advance(now)]

    def forget_secrets(self) -> list[Effect]:
        if self._own is None:
            return []
        self._own = None
        return [*super().forget_secrets(), EraseJournalSecrets(self.session.id)]

    # -- inside ------------------------------------------------------------------------------------------------

    @property
    def _ready_to_deal(self) -> frozenset[OperatorAddress]:
        """Operators whose digest and key are here."""
        return frozenset(a for a in tuple(self._announced) if a in self._keys)

    def _announce(self) -> list[Effect]:
        if self.me not in self.session.x:
            return []
        journal: list[Effect] = []
        if self._own is None:
            if self._signer.previous(_SLOT) is not None:
                return []
            self._own = Polynomial.random(self.session.threshold, self._rng)
            journal = [Persist(JournalRecord("polynomial", self._own.to_bytes(), secret=True))]
        polynomial = self._own
        said = self._signer.sign_once(
            FrameKind.HASH, _SLOT, lambda: [commitments_digest(polynomial.commitments())]
        )
        frame = self._signer.previous(_SLOT)
        assert frame is not None
        self._announced.setdefault(self.me, frame)
        return [*journal, *said]

    def _reveal(self, now: float) -> list[Effect]:
        """Fix the dealers that count, once enough have announced."""
        if self._revealed is not None or not self._may_reveal(now):
            return []
        fixed = self._ready_to_deal
        self._fix_dealers(fixed)
        record = JournalRecord("revealed", b"".join(sorted(fixed)))
        return [Persist(record), LogEvent("announced", {"dealers": len(fixed)})]

    def _fix_dealers(self, dealers: frozenset[OperatorAddress]) -> None:
        """Count only these from now on: they had announced before this operator dealt."""
        self._revealed = dealers
        self._pool.limit_to(dealers)

    def _may_reveal(self, now: float) -> bool:
        ready = len(self._ready_to_deal)
        late = now >= self._opened_at + PATIENCE_WINDOWS * self.session.window
        enough = ready >= max(self.session.genesis_quorum, self.served_needed)
        return ready == self.session.n or (late and enough)

    def _polynomial(self, now: float) -> Polynomial | None:
        """Return this operator's own once the dealers are fixed.

        After a restart, once their keys are here again.
        """
        del now
        if self._revealed is None or any(dealer not in self._keys for dealer in self._revealed):
            return None
        return self._own
