"""The dealing exchange: dealings, shares, reports, answers, openings (docs/protocol.md, Dealing).

Theory of operation, of what genesis (protocols/genesis) and rotation (protocols/resharing) share. Time is measured in windows p
from the moment this node saw the boundary.

* Every dealer journals its polynomial, publishes its dealing and sends each recipient its share. Who deals, when, and what a
  dealing must fulfil is where the two differ.
* A recipient checks dealings and shares (all at once, bisecting on failure) and *reports* once: when it holds everything, else
  after a window, with a one-time key for each dealer it lacks.
* A dealer reported lacking *answers* in public, sealed to that key. If the answer does not open to a fitting share, the
  recipient publishes the key, and everybody can see who lied.
* ``candidates`` are the dealers a fresh proposal may count; ``supports`` says whether this operator may prepare one. Evidence
  bars a dealer from fresh proposals and never undoes what is prepared.

An operator that only deals (it holds a share of the source and has left the set) deals and answers, and reports nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

from eigenkms.crypto import sealing
from eigenkms.crypto.feldman import verify_shares
from eigenkms.crypto.hashing import Rng, be64
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.crypto.shamir import Polynomial, combine_shares
from eigenkms.protocols.codec import MalformedError
from eigenkms.protocols.dealing import (
    BadDealingError,
    Dealing,
    combine,
    weights,
)
from eigenkms.protocols.effects import Accuse, Direct, Effect, JournalRecord, Note, Persist
from eigenkms.protocols.evidence import Evidence, Fault, proves
from eigenkms.protocols.frames import Frame, Kind, Slot
from eigenkms.protocols.messages import (
    GENESIS_SOURCE,
    Report,
    answer_body,
    dealing_body,
    open_answer,
    opening_body,
    read_answer,
    read_dealing_frame,
    read_opening,
    read_report,
    read_share,
    report_body,
    share_body,
)
from eigenkms.protocols.session import ZERO32
from eigenkms.protocols.transcript import Transcript
from eigenkms.protocols.voice import Voice
from eigenkms.types import OperatorAddress


class Exchange(ABC):
    """One operator's side of the dealing exchange from one ``source`` (``None`` at genesis) in one session."""

    def __init__(self, voice: Voice, rng: Rng, opened_at: float, source: Transcript | None) -> None:
        self._voice = voice
        self.source = source
        self.source_version = GENESIS_SOURCE if source is None else int(source.version)
        self.session = voice.session
        self.me = voice.me
        self._rng = rng
        self._opened_at = opened_at
        self._dealt_at = opened_at
        """The moment from which shares may be expected within a window."""
        self._polynomial: Polynomial | None = None
        self._own: Dealing | None = None
        self._dealing_frames: dict[OperatorAddress, Frame] = {}
        self._checked_dealings: set[OperatorAddress] = set()
        self._dealings: dict[OperatorAddress, Dealing] = {}
        self._carriers: dict[OperatorAddress, Frame] = {}
        self._share_frames: dict[OperatorAddress, Frame] = {}
        self._shares: dict[OperatorAddress, SecretScalar] = {}
        self._one_time_keys: dict[OperatorAddress, bytes] = {}
        self._reports: dict[OperatorAddress, Report] = {}
        self._counted_lacks: dict[tuple[OperatorAddress, OperatorAddress], bytes] = {}
        self._discredited: set[OperatorAddress] = set()
        self._answers: dict[tuple[OperatorAddress, OperatorAddress], Frame] = {}
        self._checked_answers: set[tuple[OperatorAddress, OperatorAddress]] = set()
        self._openings: dict[tuple[OperatorAddress, OperatorAddress], Frame] = {}
        self._judged: set[tuple[OperatorAddress, OperatorAddress]] = set()
        self._barred: set[OperatorAddress] = set()

    # -- where genesis and rotation differ -------------------------------------------------------------------

    @abstractmethod
    def _deal(self, now: float) -> list[Effect]:
        """Journal a polynomial and publish its dealing, when it is time to."""

    @property
    @abstractmethod
    def dealers(self) -> frozenset[OperatorAddress] | None:
        """Whose dealings are expected, once that is known."""

    @property
    @abstractmethod
    def dealers_needed(self) -> int:
        """Dealers without whom there is nothing to propose."""

    @property
    @abstractmethod
    def missing(self) -> tuple[OperatorAddress, ...]:
        """Operators that should have dealt and did not: why a session stays without a key."""

    @abstractmethod
    def _may_deal(self, operator: OperatorAddress) -> bool:
        """Whether ``operator`` has a right to deal here."""

    @abstractmethod
    def _may_check(self, dealer: OperatorAddress) -> bool:
        """Whether all is known that a dealing of ``dealer`` is held against."""

    @abstractmethod
    def _accuse_of_dealing(self, dealer: OperatorAddress, carrier: Frame, error: Exception) -> list[Effect]:
        """``carrier`` carries an invalid dealing that ``dealer`` signed."""

    @abstractmethod
    def _check(self, dealer: OperatorAddress, encoded: bytes) -> Dealing:
        """The encoded dealing. Raises ``BadDealingError`` or ``MalformedError`` unless it is a valid one of ``dealer``."""

    # -- what the journal holds ------------------------------------------------------------------------------

    def restore(self, records: Iterable[JournalRecord], now: float) -> None:
        """Take back what an earlier life journaled for this source; own frames arrive through ``receive``.

        What others dealt is gone and pulled again, so the window before I report begins anew.
        """
        self._dealt_at = now
        mine = be64(self.source_version)
        for record in records:
            if record.body[:8] != mine:
                continue
            if record.kind == "polynomial":
                self._restore_polynomial(record.body[8:])
            elif record.kind == "one-time-key":
                self._one_time_keys[OperatorAddress(record.body[8:28])] = record.body[28:]

    def _restore_polynomial(self, body: bytes) -> None:
        size = 2 + 32 * int.from_bytes(body[:2], "big")
        self._polynomial = Polynomial.from_bytes(body[:size])
        source_hash = ZERO32 if self.source is None else self.source.hash
        self._own = Dealing(
            self.session.id,
            self.me,
            self.source_version,
            source_hash,
            self._polynomial.commitments(),
            body[size:] or None,
        )

    def _keep(self, polynomial: Polynomial, own: Dealing) -> Effect:
        """The polynomial durable, before anything that follows from it is said."""
        self._polynomial, self._own = polynomial, own
        body = be64(self.source_version) + polynomial.to_bytes() + (own.proof or b"")
        return Persist(JournalRecord("polynomial", body, secret=True))

    def forget_secrets(self) -> None:
        """Nothing is dealt from here any more: drop what determines shares of the source and of others."""
        self._polynomial = None
        self._one_time_keys = {}

    # -- frames ----------------------------------------------------------------------------------------------

    def receive(self, frame: Frame, now: float) -> None:
        """Take note of a verified frame; ``advance`` draws the conclusions."""
        sender = frame.sender
        match frame.kind:
            case Kind.DEALING:
                self._dealing_frames[sender] = frame
            case Kind.SHARE:
                self._share_frames[sender] = frame
            case Kind.REPORT:
                self._receive_report(frame, now)
            case Kind.ANSWER:
                self._answers[sender, read_answer(frame).recipient] = frame
            case Kind.OPENING:
                self._openings[read_opening(frame).dealer, sender] = frame
            case _:
                raise ValueError(f"{frame.kind.name} frames are not the exchange's")

    def _receive_report(self, frame: Frame, now: float) -> None:
        report = self._reports[frame.sender] = read_report(frame)
        if now <= self._opened_at + 2 * self.session.window:
            for dealer, key in report.lacking.items():
                if self._may_deal(dealer):
                    self._counted_lacks[dealer, frame.sender] = key

    def equivocated(self, second: Frame) -> None:
        """A second frame for one slot: two dealings bar their dealer, two reports make the lacks in them worth nothing."""
        if second.kind is Kind.DEALING:
            self._barred.add(second.sender)
        elif second.kind is Kind.REPORT:
            self._discredited.add(second.sender)

    @property
    def has_dealt(self) -> bool:
        """Whether my dealing was published."""
        return self._voice.said(self._slot(Kind.DEALING)) is not None

    @property
    def _receives(self) -> bool:
        """Whether I am a recipient; else I only deal."""
        return self.me in self.session.x

    def _slot(self, kind: Kind) -> Slot:
        return (kind, self.source_version)

    def share_for(self, recipient: OperatorAddress) -> Frame | None:
        """My share for ``recipient`` as a signed frame, once my dealing is published."""
        if (
            not self.has_dealt
            or self._polynomial is None
            or self._own is None
            or recipient == self.me
            or recipient not in self.session.x
        ):
            return None
        share = self._polynomial.evaluate(self.session.x[recipient])
        body = share_body(self._own.hash, share, self.source_version)
        return self._voice.build(Kind.SHARE, body, recipient)

    def _publish(self) -> list[Effect]:
        """My dealing to all, and to every recipient its share, once."""
        own = self._own
        assert own is not None
        said = self._voice.say(Kind.DEALING, self._slot(Kind.DEALING), lambda: dealing_body(own))
        if not said:
            return []
        frames = ((r, self.share_for(r)) for r in self.session.recipients.addresses)
        return [*said, *(Direct(r, frame) for r, frame in frames if frame is not None)]

    # -- progress --------------------------------------------------------------------------------------------

    def advance(self, now: float) -> list[Effect]:
        """Do everything that the frames so far and the time allow."""
        return [
            *self._deal(now),
            *self._check_dealings(),
            *self._check_shares(),
            *self._report(now),
            *self._answer(),
            *self._check_answers(),
            *self._read_answers(),
            *self._judge_openings(),
        ]

    def collect(self) -> list[Effect]:
        """Only take in dealings and shares, without saying anything: the session is decided, a share of it is still missing."""
        return [*self._check_dealings(), *self._check_answers(), *self._check_shares()]

    def deadline(self, now: float) -> float | None:
        """When ``advance`` would do something without any further frame."""
        times = [self._opened_at + 4 * self.session.window, *self._deadlines()]
        return min((t for t in times if t > now), default=None)

    def _deadlines(self) -> list[float]:
        reports = self.dealers is not None and self._receives
        return [self._report_time()] if reports and self._voice.said(self._slot(Kind.REPORT)) is None else []

    def _check_dealings(self) -> list[Effect]:
        """Accept each dealing that is valid; accuse its dealer otherwise."""
        effects: list[Effect] = []
        for dealer in sorted(self._dealing_frames.keys() - self._checked_dealings):
            if self._may_check(dealer):
                self._checked_dealings.add(dealer)
                frame = self._dealing_frames[dealer]
                effects += self._take_dealing(dealer, read_dealing_frame(frame).encoded, frame)
        return effects

    def _take_dealing(self, dealer: OperatorAddress, encoded: bytes, carrier: Frame) -> list[Effect]:
        """The first valid dealing of a dealer counts; another one, wherever it stands, is its second."""
        known = self._dealings.get(dealer)
        if known is not None and encoded == known.encoded:
            return []
        try:
            dealing = self._check(dealer, encoded)
        except (BadDealingError, MalformedError) as error:
            return self._accuse_of_dealing(dealer, carrier, error)
        if known is not None:
            return self._accuse(Fault.EQUIVOCATION, dealer, self._carriers[dealer], carrier)
        self._dealings[dealer], self._carriers[dealer] = dealing, carrier
        return []

    def _accuse(self, fault: Fault, dealer: OperatorAddress, *frames: Frame) -> list[Effect]:
        """Count the dealer no more; and where the frames prove its fault to others too, accuse it."""
        self._barred.add(dealer)
        evidence = Evidence(fault, dealer, self.session.id, frames, self.source)
        return [Accuse(evidence)] if proves(evidence, self.session) else []

    def _check_shares(self) -> list[Effect]:
        """Verify all shares whose dealing is known, in one random linear combination."""
        if not self._receives:
            return []
        if self.me in self._dealings and self.me not in self._shares and self._polynomial is not None:
            self._shares[self.me] = self._polynomial.evaluate(self.session.x[self.me])
        waiting = [d for d in sorted(self._share_frames) if d in self._dealings and d not in self._shares]
        messages = {d: read_share(self._share_frames[d]) for d in waiting}
        fitting = [d for d in waiting if messages[d].dealing_hash == self._dealings[d].hash]
        for dealer in set(waiting) - set(fitting):
            del self._share_frames[dealer]  # it names a dealing that is not the dealer's counted one
        if not fitting:
            return []
        items = [(messages[d].scalar, self._dealings[d].commitments) for d in fitting]
        failing = set(verify_shares(items, self.session.x[self.me], self._rng))
        effects: list[Effect] = []
        for index, dealer in enumerate(fitting):
            frame = self._share_frames.pop(dealer)
            if index in failing:
                effects += self._accuse(Fault.BAD_SHARE, dealer, self._carriers[dealer], frame)
            else:
                self._shares[dealer] = messages[dealer].scalar
        return effects

    def _report_time(self) -> float:
        return self._dealt_at + self.session.window

    def _report(self, now: float) -> list[Effect]:
        """Report once: when every share is held, else a window after the dealing."""
        dealers, slot = self.dealers, self._slot(Kind.REPORT)
        if dealers is None or not self._receives or self._voice.said(slot) is not None:
            return []
        lacking = sorted(dealers - self._shares.keys())
        if lacking and now < self._report_time():
            return []
        keys = {dealer: sealing.x25519_keypair(self._rng) for dealer in lacking}
        self._one_time_keys = {dealer: private for dealer, (private, _) in keys.items()}
        held = {dealer: self._dealings[dealer].hash for dealer in sorted(dealers & self._shares.keys())}
        public = {dealer: public for dealer, (_, public) in keys.items()}
        source = be64(self.source_version)
        journal: list[Effect] = [
            Persist(JournalRecord("one-time-key", source + dealer + private, secret=True))
            for dealer, private in self._one_time_keys.items()
        ]
        said = self._voice.say(Kind.REPORT, slot, lambda: report_body(held, public, self.source_version))
        return [*journal, *said, Note("reported", {"held": len(held), "lacking": _names(lacking)})]

    def _answer(self) -> list[Effect]:
        """Answer in public everybody who reports lacking my share."""
        own, polynomial = self._own, self._polynomial
        if not self.has_dealt or own is None or polynomial is None:
            return []
        effects: list[Effect] = []
        for recipient in sorted(self._reports):
            key = self._reports[recipient].lacking.get(self.me)
            slot = (Kind.ANSWER, self.source_version, recipient)
            if key is None or self._voice.said(slot) is not None:
                continue
            share = polynomial.evaluate(self.session.x[recipient])
            body = answer_body(self.session.id, own, recipient, key, share, self._rng)
            effects += self._voice.say(Kind.ANSWER, slot, lambda body=body: body)  # type: ignore[misc]
        return effects

    def _check_answers(self) -> list[Effect]:
        """An answer carries the dealing too: a valid one, for whoever lacks it, or evidence against the dealer."""
        effects: list[Effect] = []
        for pair, frame in sorted(self._answers.items(), key=lambda item: item[0]):
            dealer = pair[0]
            if pair not in self._checked_answers and self._may_check(dealer):
                self._checked_answers.add(pair)
                effects += self._take_dealing(dealer, read_answer(frame).dealing, frame)
        return effects

    def _read_answers(self) -> list[Effect]:
        """Take the share out of an answer to me; publish the one-time key if there is none inside.

        Only an answer to the key that I reported, with the dealing that was announced, may cost me the secrecy of that key.
        """
        effects: list[Effect] = []
        for dealer, private_key in sorted(self._one_time_keys.items()):
            frame, dealing = self._answers.get((dealer, self.me)), self._dealings.get(dealer)
            if frame is None or dealing is None or dealer in self._shares:
                continue
            answer = read_answer(frame)
            if answer.key != sealing.x25519_public(private_key) or answer.dealing != dealing.encoded:
                continue
            opened = open_answer(answer, private_key, self.session, dealer)
            if opened is not None:
                self._shares[dealer] = opened[1]
                continue
            slot = (Kind.OPENING, self.source_version, dealer)
            effects += self._voice.say(
                Kind.OPENING,
                slot,
                lambda d=dealer, k=private_key: opening_body(d, k, self.source_version),  # type: ignore[misc]
            )
        return effects

    def _judge_openings(self) -> list[Effect]:
        """An opened answer shows everybody whether the dealer or the recipient lied."""
        effects: list[Effect] = []
        for pair, frame in sorted(self._openings.items(), key=lambda item: item[0]):
            dealer, answer = pair[0], self._answers.get(pair)
            if answer is None or pair in self._judged:
                continue
            self._judged.add(pair)
            evidence = Evidence(Fault.BAD_ANSWER, dealer, self.session.id, (answer, frame), self.source)
            if proves(evidence, self.session):
                effects += self._accuse(Fault.BAD_ANSWER, dealer, answer, frame)
        return effects

    # -- what agreement asks ---------------------------------------------------------------------------------

    @property
    def lacking(self) -> tuple[OperatorAddress, ...]:
        """Dealers that count and whose share has not come: whom to ask first."""
        if not self._receives:
            return ()
        return tuple(sorted((self.dealers or frozenset()) - self._shares.keys()))

    def ready(self, now: float) -> bool:
        """Whether the first proposal is due: every recipient reported, and of each dealer holds a share or was answered; or 4p
        are over.
        """
        if not self._viable:
            return False
        return now >= self._opened_at + 4 * self.session.window or self._all_served

    @property
    def _viable(self) -> bool:
        return len(self.candidates()) >= self.dealers_needed

    @property
    def _all_served(self) -> bool:
        if self.dealers is None or len(self._reports) < self.session.n:
            return False
        return all(
            self._is_served(recipient, report, dealer)
            for recipient, report in self._reports.items()
            for dealer in self.dealers
        )

    def _is_served(self, recipient: OperatorAddress, report: Report, dealer: OperatorAddress) -> bool:
        """Whether the recipient holds the dealer's share, by its own report, or was answered."""
        dealing, key = self._dealings.get(dealer), report.lacking.get(dealer)
        if dealing is not None and report.held.get(dealer) == dealing.hash:
            return True
        return key is not None and self._is_answered((dealer, recipient), key)

    def candidates(self) -> tuple[OperatorAddress, ...]:
        """Dealers a fresh proposal may count: expected, valid, not accused, every counted lack answered."""
        if self.dealers is None:
            return ()
        unanswered = {
            pair[0] for pair, key in self._counted_lacks.items() if not self._is_answered(pair, key)
        }
        return tuple(sorted((self.dealers & self._dealings.keys()) - self._barred - unanswered))

    def _is_answered(self, pair: tuple[OperatorAddress, OperatorAddress], key: bytes) -> bool:
        answer = self._answers.get(pair)
        return pair[1] in self._discredited or (answer is not None and read_answer(answer).key == key)

    def transcript(self) -> Transcript | None:
        """The transcript of a fresh proposal now, once one is due (``ready``), or ``None`` if it has no valid key.

        Of dealers whose share I hold if they suffice, so that I can prepare it too.
        """
        candidates = self.candidates()
        held = [dealer for dealer in candidates if dealer in self._shares]
        return self._transcript_of(
            [self._dealings[d] for d in (held if len(held) >= self.dealers_needed else candidates)]
        )

    def _transcript_of(self, dealings: Sequence[Dealing]) -> Transcript | None:
        session = self.session
        try:
            commitments = combine(dealings, self.source)
        except ValueError:
            return None  # no dealings, or they cancel out: a master key at infinity is nobody's key
        return Transcript(
            session.cluster,
            session.id,
            session.boundary,
            session.recipients,
            session.threshold,
            self.source_version,
            ZERO32 if self.source is None else self.source.hash,
            tuple((d.dealer, d.hash) for d in dealings),
            commitments[0],
            commitments,
        )

    def supports(self, transcript: Transcript, *, strictly: bool) -> bool:
        """Whether I may prepare this fresh transcript now: each dealer was expected, I hold each share, and A recomputes;
        ``strictly``, I would count each dealer myself.
        """
        dealers = {dealer for dealer, _ in transcript.dealers}
        counted = set(self.candidates()) if strictly else self.dealers or frozenset()
        if len(dealers) < self.dealers_needed or not dealers <= counted & self._shares.keys():
            return False
        return self._transcript_of([self._dealings[d] for d, _ in transcript.dealers]) == transcript

    def combined_share(self, transcript: Transcript) -> SecretScalar | None:
        """My share of the transcript's key, or ``None`` if I lack a dealer's share of the dealing that counts in it."""
        for dealer, digest in transcript.dealers:
            if dealer not in self._shares or self._dealings[dealer].hash != digest:
                return None
        dealers = [dealer for dealer, _ in transcript.dealers]
        return combine_shares(weights(dealers, self.source), [self._shares[d] for d in dealers])


def _names(addresses: Iterable[OperatorAddress]) -> list[str]:
    return ["0x" + a.hex() for a in addresses]
