"""The dealing exchange: hashes, dealings, shares, reports, answers, openings (docs/protocol.md, Dealing).

Theory of operation. Time is measured in windows p from the moment this node saw the boundary.

* Every dealer journals its polynomial and announces the *hash* of its dealing. Once all n hashes are in (with a lowered
  genesis quorum: enough of them, and p/2 has passed) it reveals the dealing and sends each recipient its share: nobody chooses
  a dealing after having seen another's. The set of hashes held at that moment is journaled; only those dealers may count.
* A recipient checks dealings (shape, announced hash, proof of knowledge) and shares (all at once, bisecting on failure) and
  *reports* once: when it holds everything, else one window after the reveal, with a one-time key for each dealer it lacks.
* A dealer reported lacking *answers* in public, sealed to that key. If the answer does not open to a fitting share, the
  recipient publishes the key, and everybody can see who lied.
* ``candidates`` are the dealers a fresh proposal may count; ``supports`` says whether this operator may prepare one. Evidence
  bars a dealer from fresh proposals and never undoes what is prepared.
"""

from collections.abc import Iterable, Sequence

from eigenkms.crypto import sealing
from eigenkms.crypto.feldman import verify_shares
from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.crypto.shamir import Polynomial, combine_shares
from eigenkms.protocols.codec import MalformedError
from eigenkms.protocols.dealing import (
    PROOF_BYTES,
    BadDealingError,
    Dealing,
    check_dealing,
    combine,
    deal,
    dealing_hash,
    decode_dealing,
)
from eigenkms.protocols.effects import Accuse, Direct, Effect, JournalRecord, Note, Persist
from eigenkms.protocols.evidence import Evidence, Fault, proves
from eigenkms.protocols.frames import Frame, Kind
from eigenkms.protocols.messages import (
    GENESIS_SOURCE,
    Report,
    answer_body,
    open_answer,
    opening_body,
    read_answer,
    read_dealing_frame,
    read_hash,
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

HASH_SLOT = (Kind.HASH, GENESIS_SOURCE)
DEALING_SLOT = (Kind.DEALING, GENESIS_SOURCE)
REPORT_SLOT = (Kind.REPORT, GENESIS_SOURCE)


class Exchange:
    """One operator's side of the dealing exchange of a genesis session."""

    def __init__(self, voice: Voice, rng: Rng, opened_at: float) -> None:
        self._voice = voice
        self.session = voice.session
        self.me = voice.me
        self._rng = rng
        self._opened_at = opened_at
        self._polynomial: Polynomial | None = None
        self._own: Dealing | None = None
        self._announced: dict[OperatorAddress, Frame] = {}
        self._revealed: frozenset[OperatorAddress] | None = None
        self._revealed_at: float | None = None
        self._dealing_frames: dict[OperatorAddress, Frame] = {}
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

    # -- what the journal holds ------------------------------------------------------------------------------

    def restore(self, records: Iterable[JournalRecord], now: float) -> None:
        """Take back what an earlier life journaled; own frames arrive through ``receive``.

        What others dealt is gone and pulled again, so the window before I report begins anew.
        """
        for record in records:
            if record.kind == "polynomial":
                coefficients, proof = record.body[:-PROOF_BYTES], record.body[-PROOF_BYTES:]
                self._polynomial = Polynomial.from_bytes(coefficients)
                commitments = self._polynomial.commitments()
                self._own = Dealing(self.session.id, self.me, GENESIS_SOURCE, ZERO32, commitments, proof)
            elif record.kind == "revealed":
                members = self.session.recipients.addresses
                self._revealed = frozenset(a for a in members if a in _split(record.body, 20))
                self._revealed_at = now
            elif record.kind == "one-time-key":
                self._one_time_keys[OperatorAddress(record.body[:20])] = record.body[20:]

    # -- frames ----------------------------------------------------------------------------------------------

    def receive(self, frame: Frame, now: float) -> None:
        """Take note of a verified frame; ``advance`` draws the conclusions."""
        sender = frame.sender
        match frame.kind:
            case Kind.HASH:
                self._announced[sender] = frame
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
                if dealer in self.session.x:
                    self._counted_lacks[dealer, frame.sender] = key

    def equivocated(self, second: Frame) -> None:
        """A second frame for one slot: two dealings bar their dealer, two reports make the lacks in them worth nothing."""
        if second.kind in (Kind.HASH, Kind.DEALING):
            self._barred.add(second.sender)
        elif second.kind is Kind.REPORT:
            self._discredited.add(second.sender)

    def share_for(self, recipient: OperatorAddress) -> Frame | None:
        """My share for ``recipient`` as a signed frame, once my dealing is revealed."""
        if self._revealed is None or self._polynomial is None or self._own is None or recipient == self.me:
            return None
        share = self._polynomial.evaluate(self.session.x[recipient])
        return self._voice.build(Kind.SHARE, share_body(self._own.hash, share), recipient)

    # -- progress --------------------------------------------------------------------------------------------

    def advance(self, now: float) -> list[Effect]:
        """Do everything that the frames so far and the time allow."""
        return [
            *self._announce(),
            *self._reveal(now),
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
        times = [self._opened_at + 4 * self.session.window]
        if self._revealed is None:
            times.append(self._opened_at + self.session.window / 2)
        elif self._voice.said(REPORT_SLOT) is None:
            times.append(self._report_time())
        return min((t for t in times if t > now), default=None)

    def _announce(self) -> list[Effect]:
        """Journal a polynomial, announce the hash of its dealing."""
        if self._own is None:
            polynomial = Polynomial.random(self.session.threshold, self._rng)
            own = deal(self.session, self.me, polynomial, self._rng)
            self._polynomial, self._own = polynomial, own
            journal = JournalRecord("polynomial", polynomial.to_bytes() + (own.proof or b""), secret=True)
            return [Persist(journal), *self._voice.say(Kind.HASH, HASH_SLOT, lambda: [own.hash])]
        own = self._own
        return self._voice.say(Kind.HASH, HASH_SLOT, lambda: [own.hash])

    def _reveal(self, now: float) -> list[Effect]:
        """Once enough hashes are in: fix who counts, publish the dealing, send every recipient its share."""
        if self._own is None or (self._revealed is None and not self._may_reveal(now)):
            return []
        own, effects = self._own, []
        if self._revealed is None:
            self._revealed, self._revealed_at = frozenset(self._announced), now
            effects.append(Persist(JournalRecord("revealed", b"".join(sorted(self._revealed)))))
        said = self._voice.say(Kind.DEALING, DEALING_SLOT, lambda: [own.encoded])
        if said:
            frames = ((r, self.share_for(r)) for r in self.session.recipients.addresses)
            said += [Direct(r, frame) for r, frame in frames if frame is not None]
            said.append(Note("dealing revealed", {"hashes": len(self._revealed)}))
        return effects + said

    def _may_reveal(self, now: float) -> bool:
        hashes = len(self._announced)
        late = now >= self._opened_at + self.session.window / 2
        return hashes == self.session.n or (late and hashes >= self.session.genesis_quorum)

    def _check_dealings(self) -> list[Effect]:
        """Accept each dealing that has the announced hash and is well formed; accuse its dealer otherwise."""
        effects: list[Effect] = []
        for dealer in sorted(self._dealing_frames.keys() & self._announced.keys()):
            frame = self._dealing_frames[dealer]
            if dealer in self._dealings or dealer in self._barred:
                continue
            dealing = self._valid_dealing(dealer, read_dealing_frame(frame))
            if dealing is None:
                effects += self._accuse(Fault.BAD_DEALING, dealer, frame, self._announced[dealer])
            else:
                self._dealings[dealer], self._carriers[dealer] = dealing, frame
        return effects

    def _valid_dealing(self, dealer: OperatorAddress, encoded: bytes) -> Dealing | None:
        """The encoded dealing if it is what ``dealer`` announced and well formed."""
        if dealing_hash(encoded) != read_hash(self._announced[dealer]):
            return None
        try:
            dealing = decode_dealing(encoded)
            check_dealing(dealing, self.session, dealer)
        except (BadDealingError, MalformedError):
            return None
        return dealing

    def _accuse(self, fault: Fault, dealer: OperatorAddress, *frames: Frame) -> list[Effect]:
        self._barred.add(dealer)
        return [Accuse(Evidence(fault, dealer, self.session.id, frames))]

    def _check_shares(self) -> list[Effect]:
        """Verify all shares whose dealing is known, in one random linear combination."""
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
        revealed_at = self._opened_at if self._revealed_at is None else self._revealed_at
        return max(self._opened_at, revealed_at) + self.session.window

    def _report(self, now: float) -> list[Effect]:
        """Report once: when every share is held, else a window after the reveal."""
        if self._revealed is None or self._voice.said(REPORT_SLOT) is not None:
            return []
        lacking = sorted(self._revealed - self._shares.keys())
        if lacking and now < self._report_time():
            return []
        keys = {dealer: sealing.x25519_keypair(self._rng) for dealer in lacking}
        self._one_time_keys = {dealer: private for dealer, (private, _) in keys.items()}
        held = {
            dealer: self._dealings[dealer].hash for dealer in sorted(self._revealed & self._shares.keys())
        }
        public = {dealer: public for dealer, (_, public) in keys.items()}
        journal: list[Effect] = [
            Persist(JournalRecord("one-time-key", dealer + private, secret=True))
            for dealer, private in self._one_time_keys.items()
        ]
        said = self._voice.say(Kind.REPORT, REPORT_SLOT, lambda: report_body(held, public))
        return [*journal, *said, Note("reported", {"held": len(held), "lacking": _names(lacking)})]

    def _answer(self) -> list[Effect]:
        """Answer in public everybody who reports lacking my share."""
        own, polynomial = self._own, self._polynomial
        if self._revealed is None or own is None or polynomial is None:
            return []
        effects: list[Effect] = []
        for recipient in sorted(self._reports):
            key = self._reports[recipient].lacking.get(self.me)
            slot = (Kind.ANSWER, GENESIS_SOURCE, recipient)
            if key is None or self._voice.said(slot) is not None:
                continue
            share = polynomial.evaluate(self.session.x[recipient])
            body = answer_body(self.session.id, own, recipient, key, share, self._rng)
            effects += self._voice.say(Kind.ANSWER, slot, lambda body=body: body)  # type: ignore[misc]
        return effects

    def _check_answers(self) -> list[Effect]:
        """An answer carries the dealing too: the announced one, for whoever lacks it, or evidence against the dealer."""
        effects: list[Effect] = []
        for pair, frame in sorted(self._answers.items(), key=lambda item: item[0]):
            dealer = pair[0]
            if dealer not in self._announced or pair in self._checked_answers:
                continue
            self._checked_answers.add(pair)
            dealing = self._valid_dealing(dealer, read_answer(frame).dealing)
            if dealing is None:
                effects += self._accuse(Fault.BAD_DEALING, dealer, frame, self._announced[dealer])
            elif dealer not in self._dealings:
                self._dealings[dealer], self._carriers[dealer] = dealing, frame
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
            slot = (Kind.OPENING, GENESIS_SOURCE, dealer)
            effects += self._voice.say(
                Kind.OPENING,
                slot,
                lambda d=dealer, k=private_key: opening_body(d, k),  # type: ignore[misc]
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
            evidence = Evidence(Fault.BAD_ANSWER, dealer, self.session.id, (answer, frame))
            if proves(evidence, self.session):
                effects += self._accuse(Fault.BAD_ANSWER, dealer, answer, frame)
        return effects

    # -- what agreement asks ---------------------------------------------------------------------------------

    @property
    def missing(self) -> tuple[OperatorAddress, ...]:
        """Operators from whom no dealing hash has come: why a session stays void."""
        return tuple(a for a in self.session.recipients.addresses if a not in self._announced)

    @property
    def lacking(self) -> tuple[OperatorAddress, ...]:
        """Dealers that count and whose share has not come: whom to ask first."""
        return tuple(sorted((self._revealed or frozenset()) - self._shares.keys()))

    def ready(self, now: float) -> bool:
        """Whether the first proposal is due: every recipient reported every dealer held, or 4p is over."""
        if not self._viable:
            return False
        return now >= self._opened_at + 4 * self.session.window or self._all_held

    @property
    def _viable(self) -> bool:
        return len(self.candidates()) >= self.session.genesis_quorum

    @property
    def _all_held(self) -> bool:
        if self._revealed is None or len(self._reports) < self.session.n:
            return False
        hashes = {dealer: self._dealings[dealer].hash for dealer in self._dealings}
        return all(
            all(report.held.get(dealer) == hashes.get(dealer, b"") for dealer in self._revealed)
            for report in self._reports.values()
        )

    def candidates(self) -> tuple[OperatorAddress, ...]:
        """Dealers a fresh proposal may count: revealed in time, valid, not accused, every counted lack answered."""
        if self._revealed is None:
            return ()
        unanswered = {
            pair[0] for pair, key in self._counted_lacks.items() if not self._is_answered(pair, key)
        }
        return tuple(sorted((self._revealed & self._dealings.keys()) - self._barred - unanswered))

    def _is_answered(self, pair: tuple[OperatorAddress, OperatorAddress], key: bytes) -> bool:
        answer = self._answers.get(pair)
        return pair[1] in self._discredited or (answer is not None and read_answer(answer).key == key)

    def transcript(self) -> Transcript | None:
        """The transcript of a fresh proposal now, once one is due (``ready``), or ``None`` if it has no valid key."""
        return self._transcript_of([self._dealings[d] for d in self.candidates()])

    def _transcript_of(self, dealings: Sequence[Dealing]) -> Transcript | None:
        session = self.session
        try:
            commitments = combine(dealings)
        except ValueError:
            return None  # the dealings cancel out: a master key at infinity is nobody's key
        return Transcript(
            session.cluster,
            session.id,
            session.boundary,
            session.recipients,
            session.threshold,
            GENESIS_SOURCE,
            ZERO32,
            tuple((d.dealer, d.hash) for d in dealings),
            commitments[0],
            commitments,
        )

    def supports(self, transcript: Transcript) -> bool:
        """Whether I may prepare this fresh transcript now: I can count each dealer, hold each share, and A recomputes."""
        dealers = [dealer for dealer, _ in transcript.dealers]
        if len(dealers) < self.session.genesis_quorum or not set(dealers) <= set(self.candidates()):
            return False
        if not set(dealers) <= self._shares.keys():
            return False
        return self._transcript_of([self._dealings[d] for d in dealers]) == transcript

    def combined_share(self, transcript: Transcript) -> SecretScalar | None:
        """My share of the transcript's key, or ``None`` if I lack a dealer's share of the dealing that counts in it."""
        for dealer, digest in transcript.dealers:
            if dealer not in self._shares or self._dealings[dealer].hash != digest:
                return None
        return combine_shares([1] * len(transcript.dealers), [self._shares[d] for d, _ in transcript.dealers])


def _split(data: bytes, width: int) -> frozenset[bytes]:
    return frozenset(data[i : i + width] for i in range(0, len(data), width))


def _names(addresses: Iterable[OperatorAddress]) -> list[str]:
    return ["0x" + a.hex() for a in addresses]
