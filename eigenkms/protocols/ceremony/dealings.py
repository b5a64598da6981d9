"""The dealings of one session from one source: made, collected, verified, chosen from.

Theory of operation. A holder of the source deals once, when it has its share and everybody's encryption key; keys of recipients
that the source does not list (*newcomers*) are waited for half a window, and a newcomer whose key did not come is not dealt to.
The header of a dealing is gossiped; its body, fetched from anybody, is bound by the header. A body is verified beside the
machine (jobs.Check).

A dealing passes through the stages of ``DealingStage``; nothing but INVALID is final, and nothing goes back.

* ``draft`` is what a leader proposes: t(source) valid dealings (at genesis those of all that announced) that serve the newcomers
  whose keys came first, and no others serve one more. It is due when all expected dealings and keys are in, or else a grace after
  there were enough.
* ``supports`` says whether a fresh transcript of others may be prepared. All that counts in it convinces by itself; what does not
  is whether it leaves a newcomer out without need. A transcript that does is supported only after a longer grace, and never if
  enough dealings are here that serve the newcomer as well. Correct dealers are enough, so no liar keeps a newcomer from its share.
* ``holds`` is the condition of any prepare vote: every named dealing is here, valid, and they make this transcript.

A liar among the newcomers can publish its key so late that some correct dealers miss it, and a lying dealer can serve it alone. So
t(source) dealings serve the liar, and t(source) others, but no t(source) both. *Timely* newcomers come first then: what one correct
operator had by a quarter of a window, all have when they deal, so all their dealings serve it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property

from eigenkms.crypto import pvss
from eigenkms.crypto.feldman import combine_commitments
from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.scalars import SecretScalar, coordinates, lagrange_at_zero
from eigenkms.crypto.shamir import Polynomial
from eigenkms.errors import RemoteProtocolError
from eigenkms.protocols.ceremony.agreement import Draft
from eigenkms.protocols.ceremony.blame import Duties
from eigenkms.protocols.ceremony.effects import (
    Effect,
    JournalRecord,
    LogEvent,
    Persist,
    Publish,
    ReportFault,
    RunJob,
)
from eigenkms.protocols.ceremony.jobs import CheckJob, CheckResult, DealJob, DealResult, UncheckedDealing
from eigenkms.protocols.ceremony.keys import next_keys
from eigenkms.protocols.ceremony.signer import SlotSigner
from eigenkms.protocols.records.evidence import Evidence, Fault, has_bad_commitment
from eigenkms.protocols.wire.dealing import BadDealingError, build_dealing, encode_body, read_body
from eigenkms.protocols.wire.dealing_header import DealingHeader, decode_header
from eigenkms.protocols.wire.dealing_terms import DealingTerms
from eigenkms.protocols.wire.frames import Frame, FrameKind, decode_frame
from eigenkms.protocols.wire.key_directory import KeyDirectory
from eigenkms.protocols.wire.messages import SourceRef, dealing_body, read_dealing, source_of
from eigenkms.protocols.wire.transcript import ListedKey, Transcript
from eigenkms.types import OperatorAddress

NEWCOMER_WINDOWS = 0.5
"""Windows for which a newcomer's key is waited for before dealing without it: it may see the boundary later than others."""
TIMELY_WINDOWS = NEWCOMER_WINDOWS / 2
"""Windows within which a newcomer's key is timely: the other half is there for it to reach all that are about to deal."""
PATIENCE_WINDOWS = 1.0
"""Windows after which a transcript that leaves a newcomer out may be supported."""


class DealingStage(Enum):
    """How far a dealing is here. ANNOUNCED → HELD → VALID or INVALID; a header that is wrong is INVALID from the start."""

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
    """Whom it serves, in order, with the keys it is encrypted to."""
    stage: DealingStage = DealingStage.ANNOUNCED
    body: bytes = b""
    encrypted: pvss.EncryptedShares | None = None

    @property
    def serves(self) -> frozenset[OperatorAddress]:
        return frozenset(recipient.address for recipient in self.recipients)


class SharingPhase:
    """Those from one ``source`` (``None`` at genesis) in one session; ``share`` is mine of the source, if I hold one.

    ``opened_at`` is the moment from which newcomers' keys are waited for; ``grace`` is how long, in seconds, a leader waits for
    more when it has enough: some round trips.
    """

    def __init__(
        self,
        voice: SlotSigner,
        keys: KeyDirectory,
        rng: Rng,
        opened_at: float,
        grace: float,
        source: Transcript | None,
        share: SecretScalar | None = None,
    ) -> None:
        self._signer = voice
        self._keys = keys
        self._rng = rng
        self.session = voice.session
        self.me = voice.me
        self.source = source
        self._terms = DealingTerms(voice.session, source)
        self._share = share
        self._opened_at = opened_at
        self._grace = grace
        self._is_dealing = False
        self._is_checking = False
        self._by_dealer: dict[OperatorAddress, KnownDealing] = {}
        self._barred: set[OperatorAddress] = set()
        self._valid: list[OperatorAddress] = []
        """In the order in which they were found valid."""
        self._enough_at: float | None = None
        self._keyed_at: dict[OperatorAddress, float] = {}
        """When each newcomer's key was first here, in that order."""
        self._durable: set[bytes] = set()
        self._combined: dict[tuple[bytes, ...], tuple[bytes, ...]] = {}

    @property
    def ref(self) -> SourceRef:
        return self._terms.ref

    # -- who ---------------------------------------------------------------------------------------------------

    @property
    def dealers(self) -> frozenset[OperatorAddress]:
        """Who may deal."""
        return self._terms.dealers

    @cached_property
    def leaders(self) -> tuple[OperatorAddress, ...]:
        """Members in the order in which they lead views: first those that were there when the source was made.

        The source lists a key that was published in its own session for each of them, so all operators agree on the order.
        """
        source = self.source
        present = {
            a
            for a in self.session.recipients.addresses
            if source is not None
            and (key := source.key_of(a)) is not None
            and key.number == source.boundary.number
        }
        return tuple(sorted(self.session.coordinators, key=lambda member: member not in present))

    @property
    def needed(self) -> int:
        """Dealings that a transcript needs."""
        return self.session.genesis_quorum if self.source is None else self.source.threshold

    @property
    def served_needed(self) -> int:
        """Recipients that a transcript must serve, as each dealing must."""
        return self._terms.served_needed

    @property
    def missing(self) -> tuple[OperatorAddress, ...]:
        """Dealers of whom no valid dealing is here."""
        return tuple(sorted(self.dealers - set(self._valid)))

    @property
    def counted(self) -> frozenset[OperatorAddress]:
        """Dealers whose valid dealing a draft of mine may count."""
        return frozenset(self._countable)

    @property
    def duties(self) -> Duties:
        """Who owes what here, and who has done it."""
        keyed = frozenset(self._newcomers)
        listed = self.session.n - len(keyed)
        return Duties(
            source=self.ref,
            is_genesis=self.source is None,
            keyed=keyed,
            keys_needed=max(self.served_needed - listed, self._announced_needed),
            dealers=self.dealers,
            dealings_needed=self.needed,
            counted=self.counted,
            barred=frozenset(self._barred),
        )

    @property
    def _announced_needed(self) -> int:
        """Members that must have announced a dealing before any is made."""
        return 0 if self.source is not None else self.session.genesis_quorum

    def get(self, dealer: OperatorAddress) -> KnownDealing | None:
        return self._by_dealer.get(dealer)

    def _listed(self, recipient: OperatorAddress) -> ListedKey | None:
        return self._terms.listed(recipient)

    @property
    def _newcomers(self) -> tuple[OperatorAddress, ...]:
        """Recipients whose key the source does not list."""
        return self._terms.newcomers

    # -- events ------------------------------------------------------------------------------------------------

    def restore(self, records: Iterable[JournalRecord]) -> None:
        """Take back dealings that were verified in an earlier life, mine among them."""
        bodies: dict[bytes, bytes] = {}
        frames: list[Frame] = []
        for record in records:
            if record.kind == "body":
                bodies[record.body[:32]] = record.body[32:]
            elif record.kind == "dealing":
                frames.append(decode_frame(record.body))
        for frame in frames:
            if read_dealing(frame).source != self.ref:
                continue
            if frame.sender == self.me and not self._has_dealt:
                continue  # it was kept, and the machine stopped before it was said: another one is made
            self._note(frame)
            known = self._by_dealer.get(frame.sender)
            if known is not None and (body := bodies.get(known.header.name)) is not None:
                self._attach(known, body)
                self._approve(frame.sender)
                self._durable.add(known.header.name)

    def receive(self, frame: Frame) -> list[Effect]:
        """A verified DEALING frame that names this source, from one of its holders."""
        if frame.sender in self._by_dealer or frame.sender in self._barred:
            return []
        try:
            self._note(frame)
        except RemoteProtocolError as error:
            return self._bar(str(error), frame)
        return []

    def note_equivocation(self, dealer: OperatorAddress) -> None:
        """Whoever signed two dealings is not counted in a draft of mine. What is prepared stays."""
        self._barred.add(dealer)

    def add_share(self, share: SecretScalar) -> None:
        """My share of the source, which I lacked."""
        self._share = share

    def forget_secrets(self) -> list[Effect]:
        """Deal no more, and destroy what a dealing of mine is made from."""
        self._share = None
        return []

    @property
    def wanted(self) -> tuple[bytes, ...]:
        """Names of the dealings whose bodies are to be fetched."""
        known = self._by_dealer.values()
        return tuple(k.header.name for k in known if k.stage is DealingStage.ANNOUNCED)

    def take_body(self, name: bytes, body: bytes) -> list[Effect]:
        """The body of a dealing, from anybody. Raises ``RemoteProtocolError`` if it is not."""
        found = next((k for k in self._by_dealer.values() if k.header.name == name), None)
        if found is None or found.stage is not DealingStage.ANNOUNCED:
            return []
        try:
            self._attach(found, body)
        except BadDealingError as error:
            return self._bar(str(error), found.frame, body=body)
        return []

    def take_check_result(self, result: CheckResult) -> list[Effect]:
        """What became of a Check, of this session or another one."""
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
                effects += self._bar(
                    "its proof does not hold", known.frame, body=None if lone else known.body
                )
        return effects

    def take_deal_result(self, result: DealResult) -> list[Effect]:
        """My dealing is made: keep it, then announce and publish it.

        A job of the session before, from the same source, may be done only now: it is none of mine.
        """
        job, encrypted = result.job, result.encrypted
        if not self._is_dealing or self._has_dealt or job.context != self._context(self.me):
            return []
        commitments = job.polynomial.commitments()
        numbers = self._terms.numbers(job.recipients)
        header = build_dealing(job.context, self.ref.version, commitments, encrypted, numbers, job.newcomers)
        body = encode_body(encrypted)
        said = self._signer.sign_once(
            FrameKind.DEALING, self._slot, lambda: dealing_body(self.ref, header.encoded)
        )
        frame = self._own_frame
        assert frame is not None
        known = self._by_dealer[self.me] = KnownDealing(frame, header, job.recipients)
        self._attach(known, body)
        self._approve(self.me)
        self._share = None
        self._durable.add(header.name)
        journal = [
            Persist(JournalRecord("dealing", frame.encoded)),
            Persist(JournalRecord("body", header.name + body)),
        ]
        return [*journal, *said, Publish(header.name, body), LogEvent("dealt", {"source": self.ref.version})]

    # -- progress ----------------------------------------------------------------------------------------------

    def advance(self, now: float) -> list[Effect]:
        """Deal if it is time, verify what has come."""
        for newcomer in self._newcomers:
            if newcomer in self._keys:
                self._keyed_at.setdefault(newcomer, now)
        return [*self._deal(now), *self.check(now)]

    def check(self, now: float) -> list[Effect]:
        """Verify what has come, all that waits together."""
        if self._enough_at is None and self._has_enough:
            self._enough_at = now
        waiting = [k for k in self._by_dealer.values() if k.stage is DealingStage.HELD]
        if self._is_checking or not waiting:
            return []
        self._is_checking = True
        return [RunJob(CheckJob(tuple(self._unchecked(known) for known in waiting)))]

    def deadline(self, since: float) -> float | None:
        """When, after ``since``, ``advance``, ``ready`` or ``supports`` would answer differently without anything being heard."""
        window = self.session.window
        moments = [self._opened_at + windows * window for windows in (NEWCOMER_WINDOWS, PATIENCE_WINDOWS)]
        if self._enough_at is not None:
            moments.append(self._enough_at + self._grace)
        return min((moment for moment in moments if moment > since), default=None)

    def ready(self, now: float) -> bool:
        """Whether all expected dealings and keys are in, or a grace has passed since there were enough."""
        if not self._has_enough:
            return False
        complete = not self.missing and self._keys.has_all(self.session.recipients)
        return complete or (self._enough_at is not None and now >= self._enough_at + self._grace)

    def draft(self) -> Draft | None:
        chosen = self._choose()
        if chosen is None:
            return None
        members = self.session.recipients.addresses
        fresh = {a: key for a in members if (key := self._keys.get(a)) is not None}
        transcript = self._transcript(chosen, next_keys(self.session, self.source, fresh))
        return Draft(transcript, self._keys.frames(members))

    def supports(self, transcript: Transcript, keys: Sequence[bytes], now: float) -> bool:
        """Whether a fresh transcript from this source may be prepared, as far as ``holds`` does not say it."""
        if source_of(transcript) != self.ref or not self._may_count(transcript):
            return False
        if not self.holds(transcript) or not self._keys_are_right(transcript, keys):
            return False
        served = self.served_by(transcript)
        left_out = [a for a in self._newcomers if a in self._keys and a not in served]
        if left_out and now < self._opened_at + PATIENCE_WINDOWS * self.session.window:
            return False
        if not self._timely <= served and self._serving(self._with_keys | self._timely):
            return False
        return not any(self._serving(served | {newcomer}) for newcomer in left_out)

    def holds(self, transcript: Transcript) -> bool:
        named = [self._valid_dealing(dealer, name) for dealer, name in transcript.dealers]
        if None in named or len(named) < self.needed or source_of(transcript) != self.ref:
            return False
        if len(self.served_by(transcript)) < self.served_needed:
            return False
        return transcript.commitments == self._combine(tuple(dealer for dealer, _ in transcript.dealers))

    def served_by(self, transcript: Transcript) -> frozenset[OperatorAddress]:
        """Recipients that every named dealing serves."""
        served = frozenset(self.session.recipients.addresses)
        for dealer, _ in transcript.dealers:
            served &= self._by_dealer[dealer].serves
        return served

    def journal(self, transcript: Transcript) -> list[Effect]:
        """The named dealings durable, as far as they are not."""
        effects: list[Effect] = []
        for dealer, name in transcript.dealers:
            known = self._by_dealer[dealer]
            if name not in self._durable:
                self._durable.add(name)
                effects.append(Persist(JournalRecord("dealing", known.frame.encoded)))
                effects.append(Persist(JournalRecord("body", name + known.body)))
        return effects

    # -- dealing -----------------------------------------------------------------------------------------------

    @property
    def _slot(self) -> tuple[FrameKind, bytes]:
        return (FrameKind.DEALING, self.ref.hash)

    @property
    def _own_frame(self) -> Frame | None:
        return self._signer.previous(self._slot)

    @property
    def _has_dealt(self) -> bool:
        return self._own_frame is not None

    def _deal(self, now: float) -> list[Effect]:
        if self._is_dealing or self._has_dealt or self.me not in self.dealers:
            return []
        polynomial = self._polynomial(now)
        if polynomial is None:
            return []
        self._is_dealing = True
        job = DealJob(self.ref, self._context(self.me), self._recipients(), self._key_frames(), polynomial)
        return [RunJob(job)]

    def _polynomial(self, now: float) -> Polynomial | None:
        """What I deal, if I may deal now."""
        if self._share is None or not self._may_deal(now):
            return None
        return Polynomial.random(self.session.threshold, self._rng, self._share)

    def _may_deal(self, now: float) -> bool:
        """Whether all newcomers' keys are here, or enough of them and the grace is over."""
        lacking = [a for a in self._newcomers if a not in self._keys]
        if not lacking:
            return True
        late = now >= self._opened_at + NEWCOMER_WINDOWS * self.session.window
        return late and self.session.n - len(lacking) >= self.served_needed

    def _recipients(self) -> tuple[pvss.ShareRecipient, ...]:
        """Those whose key is known, in the session's order."""
        found = ((a, self._listed(a) or self._keys.get(a)) for a in self.session.recipients.addresses)
        return tuple(pvss.ShareRecipient(a, key.public) for a, key in found if key is not None)

    def _key_frames(self) -> tuple[bytes, ...]:
        return self._keys.frames(self._newcomers)

    def _context(self, dealer: OperatorAddress) -> pvss.DealingContext:
        source = b"" if self.source is None else self.source.hash
        return pvss.DealingContext(self.session.cluster, self.session.id, dealer, source)

    # -- taking in ---------------------------------------------------------------------------------------------

    def _note(self, frame: Frame) -> None:
        """Read a header and check all of it that needs no body. Raises ``RemoteProtocolError``."""
        header = decode_header(read_dealing(frame).header)
        recipients = self._terms.check(header, frame.sender, self._keys.read)
        self._by_dealer[frame.sender] = KnownDealing(frame, header, recipients)

    def _attach(self, known: KnownDealing, body: bytes) -> None:
        known.encrypted = read_body(known.header, body)
        known.body, known.stage = body, DealingStage.HELD

    def _approve(self, dealer: OperatorAddress) -> None:
        self._by_dealer[dealer].stage = DealingStage.VALID
        self._valid.append(dealer)

    def _bar(self, reason: str, *frames: Frame, body: bytes | None = None) -> list[Effect]:
        """Count a dealer no more. The frames, the first of which is its dealing, convict it, with the body if they need one."""
        dealer = frames[0].sender
        self._barred.add(dealer)
        if dealer in self._by_dealer:
            self._by_dealer[dealer].stage = DealingStage.INVALID
        evidence = Evidence(Fault.BAD_DEALING, dealer, self.session.id, frames, self.source, body)
        return [
            ReportFault(evidence),
            LogEvent("bad dealing", {"dealer": "0x" + dealer.hex(), "reason": reason}),
        ]

    def _unchecked(self, known: KnownDealing) -> UncheckedDealing:
        assert known.encrypted is not None
        claim = self._terms.claim(known.header, known.encrypted)
        return UncheckedDealing(known.header.name, claim, known.recipients, self.session.threshold)

    # -- choosing ----------------------------------------------------------------------------------------------

    @property
    def _countable(self) -> list[OperatorAddress]:
        """Whom a draft of mine may count."""
        return [dealer for dealer in self._valid if dealer not in self._barred]

    @property
    def _has_enough(self) -> bool:
        return len(self._countable) >= self.needed

    def _may_count(self, transcript: Transcript) -> bool:
        del transcript
        return True

    def _serving(self, wanted: frozenset[OperatorAddress]) -> list[OperatorAddress]:
        """Enough countable dealers whose dealings serve all of ``wanted``, or none."""
        found = [dealer for dealer in self._countable if wanted <= self._by_dealer[dealer].serves]
        return found[: self.needed] if len(found) >= self.needed else []

    @property
    def _with_keys(self) -> frozenset[OperatorAddress]:
        """Recipients whose key the source lists: every dealing serves them."""
        return frozenset(self.session.recipients.addresses) - frozenset(self._newcomers)

    @property
    def _timely(self) -> frozenset[OperatorAddress]:
        """Newcomers whose key was here early enough to be in every correct dealing."""
        latest = self._opened_at + TIMELY_WINDOWS * self.session.window
        return frozenset(a for a, moment in self._keyed_at.items() if moment <= latest)

    def _choose(self) -> tuple[OperatorAddress, ...] | None:
        """Dealers that serve a set of newcomers that no others serve with one more, those whose key came first before all."""
        wanted = self._with_keys
        chosen = self._serving(wanted)
        in_turn = dict.fromkeys((*self._keyed_at, *self._newcomers))
        for newcomer in in_turn:
            better = self._serving(wanted | {newcomer})
            if better:
                wanted, chosen = wanted | {newcomer}, better
        return tuple(sorted(chosen)) or None

    def _valid_dealing(self, dealer: OperatorAddress, name: bytes) -> KnownDealing | None:
        known = self._by_dealer.get(dealer)
        valid = known is not None and known.stage is DealingStage.VALID and known.header.name == name
        return known if valid else None

    def _combine(self, dealers: tuple[OperatorAddress, ...]) -> tuple[bytes, ...]:
        """The combined commitments of these dealers' dealings. CPU: a millisecond for each pair of dealer and commitment, once."""
        names = tuple(self._by_dealer[dealer].header.name for dealer in dealers)
        if names not in self._combined:
            factors = (1,) * len(dealers) if self.source is None else lagrange_at_zero(coordinates(dealers))
            vectors = [self._by_dealer[dealer].header.commitments for dealer in dealers]
            self._combined[names] = combine_commitments(factors, vectors)
        return self._combined[names]

    def _transcript(
        self, dealers: tuple[OperatorAddress, ...], keys: tuple[ListedKey | None, ...]
    ) -> Transcript:
        session, combined = self.session, self._combine(dealers)
        return Transcript(
            session.cluster,
            session.id,
            session.boundary,
            session.recipients,
            session.threshold,
            self.ref.version,
            self.ref.hash,
            tuple((dealer, self._by_dealer[dealer].header.name) for dealer in dealers),
            combined[0],
            combined,
            keys,
        )

    def _keys_are_right(self, transcript: Transcript, frames: Sequence[bytes]) -> bool:
        """Whether each listed key is the source's, or published in this session by one of ``frames`` or a frame of its owner.

        Whom the source lists, or a dealing serves, has a key: to leave it out would make it a newcomer to later sessions, which
        serve it only if it is there.
        """
        if len(transcript.keys) != self.session.n or len(frames) > self.session.n:
            return False
        try:
            shown = {self._keys.read(frame) for frame in frames}
        except RemoteProtocolError:
            return False
        served = self.served_by(transcript)
        for address, key in zip(self.session.recipients.addresses, transcript.keys, strict=True):
            if key is None:
                if address in served or self._listed(address) is not None:
                    return False
                continue
            own = key in (self._listed(address), self._keys.get(address))
            if not own and (address, key) not in shown:
                return False
        return True
