"""The dealings of one session from one source, as far as they are here.

A dealing passes through the stages of ``DealingStage``; nothing but INVALID is final, and nothing goes back. Its header comes by
gossip and is checked against the terms. Its body comes from anybody and is bound by the header. Its proof is verified beside the
machine (``CheckJob``), all that wait together.

A dealer is *barred* if its dealing is wrong or if it signed two: this operator counts it in no draft. A prepared transcript stays.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from eigenkms.crypto import pvss
from eigenkms.crypto.feldman import combine_commitments
from eigenkms.crypto.scalars import coordinates, lagrange_at_zero
from eigenkms.errors import RemoteProtocolError
from eigenkms.protocols.ceremony.effects import (
    Effect,
    JournalRecord,
    LogEvent,
    Persist,
    ReportFault,
    RunJob,
)
from eigenkms.protocols.ceremony.jobs import CheckJob, CheckResult, UncheckedDealing
from eigenkms.protocols.records.evidence import Evidence, Fault
from eigenkms.protocols.records.fault_proofs import has_bad_commitment
from eigenkms.types import OperatorAddress, to_hex
from eigenkms.wire.dealing import BadDealingError, read_body
from eigenkms.wire.dealing_header import DealingHeader, decode_header
from eigenkms.wire.dealing_terms import DealingTerms
from eigenkms.wire.frames import Frame, decode_frame
from eigenkms.wire.key_directory import KeyDirectory
from eigenkms.wire.messages import read_dealing, source_of
from eigenkms.wire.transcript import Transcript


class DealingStage(Enum):
    """How far a dealing is here.

    ANNOUNCED → HELD → VALID or INVALID; a header that is wrong is INVALID from the start.
    """

    ANNOUNCED = auto()
    """Its header is here and fits the session; its body is not."""
    HELD = auto()
    """Its body is here, and not verified."""
    VALID = auto()
    INVALID = auto()


@dataclass
class KnownDealing:
    """One dealer's dealing."""

    frame: Frame
    header: DealingHeader
    recipients: tuple[pvss.ShareRecipient, ...]
    """The recipients that it serves, in order, with the keys it is encrypted to."""
    stage: DealingStage = DealingStage.ANNOUNCED
    body: bytes = b""
    encrypted: pvss.EncryptedShares | None = None

    @property
    def serves(self) -> frozenset[OperatorAddress]:
        return frozenset(recipient.address for recipient in self.recipients)

    def attach(self, body: bytes) -> None:
        """Take the body.

        Raises ``BadDealingError`` for one that does not decode, or that the header does not bind.
        """
        self.encrypted = read_body(self.header, body)
        self.body, self.stage = body, DealingStage.HELD


class DealingPool:
    """The dealings that keep ``terms``.

    ``eligible`` are the dealers that may count in a fresh transcript, ``None`` for all.
    """

    def __init__(
        self, terms: DealingTerms, keys: KeyDirectory, eligible: frozenset[OperatorAddress] | None
    ) -> None:
        self.terms = terms
        self._eligible = eligible
        self._session = terms.session
        self._keys = keys
        self._is_checking = False
        self._by_dealer: dict[OperatorAddress, KnownDealing] = {}
        self._barred: set[OperatorAddress] = set()
        self._valid: list[OperatorAddress] = []
        """In the order in which they were found valid."""
        self._durable: set[bytes] = set()
        self._combined: dict[tuple[bytes, ...], tuple[bytes, ...]] = {}

    # -- what is here ------------------------------------------------------------------------------------------

    def get(self, dealer: OperatorAddress) -> KnownDealing | None:
        return self._by_dealer.get(dealer)

    @property
    def valid(self) -> frozenset[OperatorAddress]:
        """Dealers of whom a valid dealing is here."""
        return frozenset(self._valid)

    @property
    def barred(self) -> frozenset[OperatorAddress]:
        """Dealers that are counted no more."""
        return frozenset(self._barred)

    @property
    def countable(self) -> list[OperatorAddress]:
        """Dealers that a draft may count, in the order in which they were found valid."""
        free = [dealer for dealer in self._valid if dealer not in self._barred]
        return free if self._eligible is None else [dealer for dealer in free if dealer in self._eligible]

    @property
    def needed(self) -> int:
        """Dealings that a transcript needs."""
        source = self.terms.source
        return self._session.genesis_quorum if source is None else source.threshold

    @property
    def wanted(self) -> tuple[bytes, ...]:
        """Names of the dealings whose bodies are to be fetched."""
        return tuple(k.header.name for k in self._by_dealer.values() if k.stage is DealingStage.ANNOUNCED)

    def limit_to(self, dealers: frozenset[OperatorAddress]) -> None:
        """Count only these dealers from now on."""
        self._eligible = dealers

    # -- transcripts -------------------------------------------------------------------------------------------

    def may_count(self, transcript: Transcript) -> bool:
        """Return whether all dealers of a transcript are eligible."""
        return self._eligible is None or {dealer for dealer, _ in transcript.dealers} <= self._eligible

    def holds(self, transcript: Transcript) -> bool:
        """Return whether all named dealings are here, valid, and make this transcript."""
        named = [self._valid_dealing(dealer, name) for dealer, name in transcript.dealers]
        if None in named or len(named) < self.needed or source_of(transcript) != self.terms.ref:
            return False
        if len(self.served_by(transcript)) < self.terms.served_needed:
            return False
        return transcript.commitments == self.combine(tuple(dealer for dealer, _ in transcript.dealers))

    def _valid_dealing(self, dealer: OperatorAddress, name: bytes) -> KnownDealing | None:
        known = self._by_dealer.get(dealer)
        valid = known is not None and known.stage is DealingStage.VALID and known.header.name == name
        return known if valid else None

    def served_by(self, transcript: Transcript) -> frozenset[OperatorAddress]:
        """Return the recipients that every named dealing serves."""
        served = frozenset(self._session.recipients.addresses)
        for dealer, _ in transcript.dealers:
            served &= self._by_dealer[dealer].serves
        return served

    def serving(self, wanted: frozenset[OperatorAddress]) -> list[OperatorAddress]:
        """Return enough countable dealers whose dealings serve all of ``wanted``, or none."""
        found = [dealer for dealer in self.countable if wanted <= self._by_dealer[dealer].serves]
        return found[: self.needed] if len(found) >= self.needed else []

    def names(self, dealers: Iterable[OperatorAddress]) -> tuple[bytes, ...]:
        """Return the names of these dealers' dealings."""
        return tuple(self._by_dealer[dealer].header.name for dealer in dealers)

    def combine(self, dealers: tuple[OperatorAddress, ...]) -> tuple[bytes, ...]:
        """Combine the commitments of these dealers' dealings.

        CPU: a millisecond for each pair of dealer and commitment, once.
        """
        names = self.names(dealers)
        if names not in self._combined:
            is_genesis = self.terms.source is None
            factors = (1,) * len(dealers) if is_genesis else lagrange_at_zero(coordinates(dealers))
            vectors = [self._by_dealer[dealer].header.commitments for dealer in dealers]
            self._combined[names] = combine_commitments(factors, vectors)
        return self._combined[names]

    def journal(self, transcript: Transcript) -> list[Effect]:
        """Make the named dealings durable, as far as they are not."""
        effects: list[Effect] = []
        for dealer, name in transcript.dealers:
            known = self._by_dealer[dealer]
            if name not in self._durable:
                self._durable.add(name)
                effects.append(Persist(JournalRecord("dealing", known.frame.encoded)))
                effects.append(Persist(JournalRecord("body", name + known.body)))
        return effects

    # -- taking in ---------------------------------------------------------------------------------------------

    def restore(self, records: Iterable[JournalRecord], own: Frame | None, me: OperatorAddress) -> None:
        """Take back dealings that were verified in an earlier run.

        Of ``me`` only the one that was signed (``own``).
        """
        bodies: dict[bytes, bytes] = {}
        frames: list[Frame] = []
        for record in records:
            if record.kind == "body":
                bodies[record.body[:32]] = record.body[32:]
            elif record.kind == "dealing":
                frames.append(decode_frame(record.body))
        for frame in frames:
            if read_dealing(frame).source != self.terms.ref:
                continue
            if frame.sender == me and own is None:
                continue  # the machine stopped between the dealing's record and the frame's: another one is made
            self._read(frame)
            known = self._by_dealer.get(frame.sender)
            if known is not None and (body := bodies.get(known.header.name)) is not None:
                known.attach(body)
                self._approve(frame.sender)
                self._durable.add(known.header.name)

    def receive(self, frame: Frame) -> list[Effect]:
        """Take a verified DEALING frame that names this source, from one of its holders."""
        if frame.sender in self._by_dealer or frame.sender in self._barred:
            return []
        try:
            self._read(frame)
        except RemoteProtocolError as error:
            return self.bar(str(error), frame)
        return []

    def add_own(self, known: KnownDealing, body: bytes) -> list[Effect]:
        """Take this operator's dealing, and make it durable."""
        name = known.header.name
        self._by_dealer[known.frame.sender] = known
        known.attach(body)
        self._approve(known.frame.sender)
        self._durable.add(name)
        return [
            Persist(JournalRecord("dealing", known.frame.encoded)),
            Persist(JournalRecord("body", name + body)),
        ]

    def note_equivocation(self, dealer: OperatorAddress) -> None:
        """Count a dealer of two dealings in no draft. A prepared transcript stays."""
        self._barred.add(dealer)

    def take_body(self, name: bytes, body: bytes) -> list[Effect]:
        """Take the body of a dealing, from anybody.

        Raises ``RemoteProtocolError`` if it is not.
        """
        found = next((k for k in self._by_dealer.values() if k.header.name == name), None)
        if found is None or found.stage is not DealingStage.ANNOUNCED:
            return []
        try:
            found.attach(body)
        except BadDealingError as error:
            return self.bar(str(error), found.frame, body=body)
        return []

    def check(self) -> list[Effect]:
        """Verify what has come, all that waits together."""
        waiting = [k for k in self._by_dealer.values() if k.stage is DealingStage.HELD]
        if self._is_checking or not waiting:
            return []
        self._is_checking = True
        return [RunJob(CheckJob(tuple(self._unchecked(known) for known in waiting)))]

    def take_check_result(self, result: CheckResult) -> list[Effect]:
        """Take the result of a ``CheckJob``, of this session or another one."""
        waited_for = {k.header.name for k in self._by_dealer.values() if k.stage is DealingStage.HELD}
        if not waited_for & (result.valid | result.invalid):
            return []
        self._is_checking = False
        effects: list[Effect] = []
        for dealer, known in self._by_dealer.items():
            if known.stage is not DealingStage.HELD:
                continue
            if known.header.name in result.valid:
                self._approve(dealer)
            elif known.header.name in result.invalid:
                lone = has_bad_commitment(known.header)
                effects += self.bar("its proof does not hold", known.frame, body=None if lone else known.body)
        return effects

    def bar(self, reason: str, *frames: Frame, body: bytes | None = None) -> list[Effect]:
        """Count a dealer no more.

        The frames, the first of which is its dealing, convict it, with the body if they need one.
        """
        dealer = frames[0].sender
        self._barred.add(dealer)
        if dealer in self._by_dealer:
            self._by_dealer[dealer].stage = DealingStage.INVALID
        evidence = Evidence(Fault.BAD_DEALING, dealer, self._session.id, frames, self.terms.source, body)
        return [
            ReportFault(evidence),
            LogEvent("bad dealing", {"dealer": to_hex(dealer), "reason": reason}),
        ]

    def _read(self, frame: Frame) -> None:
        """Read a header and check all of it that needs no body.

        Raises ``RemoteProtocolError``.
        """
        header = decode_header(read_dealing(frame).header)
        recipients = self.terms.check(header, frame.sender, self._keys.read)
        self._by_dealer[frame.sender] = KnownDealing(frame, header, recipients)

    def _approve(self, dealer: OperatorAddress) -> None:
        self._by_dealer[dealer].stage = DealingStage.VALID
        self._valid.append(dealer)

    def _unchecked(self, known: KnownDealing) -> UncheckedDealing:
        assert known.encrypted is not None
        claim = self.terms.claim(known.header, known.encrypted)
        return UncheckedDealing(known.header.name, claim, known.recipients, self._session.threshold)
