"""The exchange that makes a master key: all deal, hashes first (docs/protocol.md, Dealing).

Every member journals its polynomial and announces the *hash* of its dealing. Once all n hashes are in (with a lowered genesis
quorum: enough of them, and p/2 has passed) it reveals the dealing and sends each recipient its share: nobody chooses a dealing
after having seen another's. The set of hashes held at that moment is journaled; only those dealers may count.
"""

from collections.abc import Iterable

from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.shamir import Polynomial
from eigenkms.protocols.dealing import (
    BadDealingError,
    Dealing,
    check_dealing,
    deal,
    dealing_hash,
    decode_dealing,
)
from eigenkms.protocols.effects import Effect, JournalRecord, Note, Persist
from eigenkms.protocols.evidence import Fault
from eigenkms.protocols.exchange import Exchange
from eigenkms.protocols.frames import Frame, Kind
from eigenkms.protocols.messages import read_hash
from eigenkms.protocols.voice import Voice
from eigenkms.types import OperatorAddress


class Genesis(Exchange):
    """The exchange of a genesis session."""

    def __init__(self, voice: Voice, rng: Rng, opened_at: float) -> None:
        super().__init__(voice, rng, opened_at, None)
        self._announced: dict[OperatorAddress, Frame] = {}
        self._revealed: frozenset[OperatorAddress] | None = None

    def restore(self, records: Iterable[JournalRecord], now: float) -> None:
        records = tuple(records)
        super().restore(records, now)
        for record in records:
            if record.kind == "revealed":
                members = self.session.recipients.addresses
                self._revealed = frozenset(a for a in members if a in _split(record.body, 20))

    def receive(self, frame: Frame, now: float) -> None:
        if frame.kind is Kind.HASH:
            self._announced[frame.sender] = frame
        else:
            super().receive(frame, now)

    def equivocated(self, second: Frame) -> None:
        """Two hashes bar their dealer as two dealings do."""
        if second.kind is Kind.HASH:
            self._barred.add(second.sender)
        super().equivocated(second)

    @property
    def dealers(self) -> frozenset[OperatorAddress] | None:
        return self._revealed

    @property
    def dealers_needed(self) -> int:
        return self.session.genesis_quorum

    @property
    def missing(self) -> tuple[OperatorAddress, ...]:
        return tuple(a for a in self.session.recipients.addresses if a not in self._announced)

    def _deadlines(self) -> list[float]:
        if self._revealed is None:
            return [self._opened_at + self.session.window / 2]
        return super()._deadlines()

    def _deal(self, now: float) -> list[Effect]:
        return [*self._announce(), *self._reveal(now)]

    def _announce(self) -> list[Effect]:
        """Journal a polynomial, announce the hash of its dealing."""
        journal: list[Effect] = []
        if self._own is None:
            polynomial = Polynomial.random(self.session.threshold, self._rng)
            journal = [self._keep(polynomial, deal(self.session, self.me, polynomial, self._rng))]
        own = self._own
        assert own is not None
        return [*journal, *self._voice.say(Kind.HASH, self._slot(Kind.HASH), lambda: [own.hash])]

    def _reveal(self, now: float) -> list[Effect]:
        """Once enough hashes are in: fix who counts, publish the dealing, send every recipient its share."""
        if self._revealed is None and not self._may_reveal(now):
            return []
        effects: list[Effect] = []
        if self._revealed is None:
            self._revealed, self._dealt_at = frozenset(self._announced), now
            effects.append(Persist(JournalRecord("revealed", b"".join(sorted(self._revealed)))))
        said = self._publish()
        if said:
            said.append(Note("dealing revealed", {"hashes": len(self._revealed)}))
        return effects + said

    def _may_reveal(self, now: float) -> bool:
        hashes = len(self._announced)
        late = now >= self._opened_at + self.session.window / 2
        return hashes == self.session.n or (late and hashes >= self.session.genesis_quorum)

    def _may_deal(self, operator: OperatorAddress) -> bool:
        return operator in self.session.x

    def _may_check(self, dealer: OperatorAddress) -> bool:
        return dealer in self._announced

    def _check(self, dealer: OperatorAddress, encoded: bytes) -> Dealing:
        if dealing_hash(encoded) != read_hash(self._announced[dealer]):
            raise BadDealingError(f"check dealing of 0x{dealer.hex()}: it is not the announced one")
        dealing = decode_dealing(encoded)
        check_dealing(dealing, self.session, dealer)
        return dealing

    def _accuse_of_dealing(self, dealer: OperatorAddress, carrier: Frame, error: Exception) -> list[Effect]:
        del error
        return self._accuse(Fault.BAD_DEALING, dealer, carrier, self._announced[dealer])


def _split(data: bytes, width: int) -> frozenset[bytes]:
    return frozenset(data[i : i + width] for i in range(0, len(data), width))
