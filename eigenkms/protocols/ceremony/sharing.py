"""The sharing phase of one session from one source: dealings made, collected, verified, chosen from.

Theory of operation. A holder of the source deals once, when it has its share and everybody's encryption key; keys of recipients
that the source does not list (*newcomers*) are waited for half a window, and a newcomer whose key did not come is not dealt to.
The header of a dealing is gossiped; its body, fetched from anybody, is bound by the header. A body is verified beside the
machine (jobs.CheckJob). The dealings that are here are in ``dealing_pool``, the choice among them in ``drafter``.

* A draft is due when all expected dealings and keys are in, or else a grace after there were enough.
* ``holds`` is the condition of any prepare vote: every named dealing is here, valid, and they make this transcript.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property

from eigenkms.crypto import pvss
from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.crypto.shamir import Polynomial
from eigenkms.protocols.ceremony.blame import Duties
from eigenkms.protocols.ceremony.dealing_pool import DealingPool, KnownDealing
from eigenkms.protocols.ceremony.drafter import NEWCOMER_WINDOWS, PATIENCE_WINDOWS, TranscriptDrafter
from eigenkms.protocols.ceremony.effects import Effect, JournalRecord, LogEvent, Publish, RunJob
from eigenkms.protocols.ceremony.jobs import CheckResult, DealJob, DealResult
from eigenkms.protocols.ceremony.proposals import Draft
from eigenkms.protocols.ceremony.signer import SlotSigner
from eigenkms.types import OperatorAddress
from eigenkms.wire.dealing import build_dealing, encode_body
from eigenkms.wire.dealing_terms import DealingTerms
from eigenkms.wire.frames import Frame, FrameKind
from eigenkms.wire.key_directory import KeyDirectory
from eigenkms.wire.messages import SourceRef, dealing_body
from eigenkms.wire.transcript import Transcript


class SharingPhase:
    """Dealings from one ``source`` (``None`` at genesis) in one session.

    ``share`` is this operator's of it, if it holds one.

    ``opened_at`` is the moment from which newcomers' keys are waited for; ``grace`` is how long, in seconds, a leader waits for
    more when it has enough: some round trips.
    """

    def __init__(
        self,
        signer: SlotSigner,
        keys: KeyDirectory,
        rng: Rng,
        opened_at: float,
        grace: float,
        source: Transcript | None,
        share: SecretScalar | None = None,
    ) -> None:
        self._signer = signer
        self._keys = keys
        self._rng = rng
        self.session = signer.session
        self.me = signer.me
        self.source = source
        self._terms = DealingTerms(signer.session, source)
        self._pool = DealingPool(self._terms, keys, frozenset() if source is None else None)
        self._drafter = TranscriptDrafter(self._pool, keys, opened_at)
        self._share = share
        self._opened_at = opened_at
        self._grace = grace
        self._is_dealing = False
        self._enough_at: float | None = None

    @property
    def ref(self) -> SourceRef:
        return self._terms.ref

    # -- who ---------------------------------------------------------------------------------------------------

    @property
    def dealers(self) -> frozenset[OperatorAddress]:
        """Operators that may deal."""
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
        return self._pool.needed

    @property
    def served_needed(self) -> int:
        """Recipients that a transcript must serve, as each dealing must."""
        return self._terms.served_needed

    @property
    def missing(self) -> tuple[OperatorAddress, ...]:
        """Dealers of whom no valid dealing is here."""
        return tuple(sorted(self.dealers - self._pool.valid))

    @property
    def counted(self) -> frozenset[OperatorAddress]:
        """Dealers whose valid dealing a draft of this operator may count."""
        return frozenset(self._pool.countable)

    @property
    def duties(self) -> Duties:
        """The part of each operator here, and which ones have done it."""
        keyed = frozenset(self._terms.newcomers)
        listed = self.session.n - len(keyed)
        return Duties(
            source=self.ref,
            is_genesis=self.source is None,
            keyed=keyed,
            keys_needed=max(self.served_needed - listed, self._announced_needed),
            dealers=self.dealers,
            dealings_needed=self.needed,
            counted=self.counted,
            barred=self._pool.barred,
        )

    @property
    def _announced_needed(self) -> int:
        """Members that must have announced a dealing before any is made."""
        return 0 if self.source is not None else self.session.genesis_quorum

    # -- events ------------------------------------------------------------------------------------------------

    def restore(self, records: Iterable[JournalRecord]) -> None:
        """Take back dealings that were verified in an earlier run, this operator's among them."""
        self._pool.restore(records, self._own_frame, self.me)

    def receive(self, frame: Frame) -> list[Effect]:
        """Take a verified DEALING frame that names this source, from one of its holders."""
        return self._pool.receive(frame)

    def note_equivocation(self, dealer: OperatorAddress) -> None:
        """Count a dealer of two dealings in no draft. A prepared transcript stays."""
        self._pool.note_equivocation(dealer)

    def add_share(self, share: SecretScalar) -> None:
        """Take this operator's share of the source, which it lacked."""
        self._share = share

    def forget_secrets(self) -> list[Effect]:
        """Deal no more, and destroy what this operator's dealing is made from."""
        self._share = None
        return []

    @property
    def wanted(self) -> tuple[bytes, ...]:
        """Names of the dealings whose bodies are to be fetched."""
        return self._pool.wanted

    def take_body(self, name: bytes, body: bytes) -> list[Effect]:
        """Take the body of a dealing, from anybody.

        Raises ``RemoteProtocolError`` if it is not.
        """
        return self._pool.take_body(name, body)

    def take_check_result(self, result: CheckResult) -> list[Effect]:
        """Take the result of a ``CheckJob``, of this session or another one."""
        return self._pool.take_check_result(result)

    # -- progress ----------------------------------------------------------------------------------------------

    def advance(self, now: float) -> list[Effect]:
        """Deal if it is time, verify what has come."""
        self._drafter.note_keys(now)
        return [*self._deal(now), *self.check(now)]

    def check(self, now: float) -> list[Effect]:
        """Verify what has come, all that waits together."""
        if self._enough_at is None and self._has_enough:
            self._enough_at = now
        return self._pool.check()

    @property
    def _has_enough(self) -> bool:
        return len(self._pool.countable) >= self.needed

    def deadline(self, since: float) -> float | None:
        """Return when, after ``since``, an answer changes without any frame.

        The answers are those of ``advance``, ``ready`` and ``supports``.
        """
        window = self.session.window
        moments = [self._opened_at + windows * window for windows in (NEWCOMER_WINDOWS, PATIENCE_WINDOWS)]
        if self._enough_at is not None:
            moments.append(self._enough_at + self._grace)
        return min((moment for moment in moments if moment > since), default=None)

    def ready(self, now: float) -> bool:
        """Return whether all expected dealings and keys are in, or a grace has passed since there were enough."""
        if not self._has_enough:
            return False
        complete = not self.missing and self._keys.has_all(self.session.recipients)
        return complete or (self._enough_at is not None and now >= self._enough_at + self._grace)

    # -- transcripts -------------------------------------------------------------------------------------------

    def get(self, dealer: OperatorAddress) -> KnownDealing | None:
        return self._pool.get(dealer)

    def draft(self) -> Draft | None:
        """Return what to propose afresh: see ``TranscriptDrafter.draft``."""
        return self._drafter.draft()

    def supports(self, transcript: Transcript, keys: Sequence[bytes], now: float) -> bool:
        """Return whether to prepare a fresh transcript: see ``TranscriptDrafter.supports``."""
        return self._drafter.supports(transcript, keys, now)

    def holds(self, transcript: Transcript) -> bool:
        """Return whether the dealings make the transcript: see ``DealingPool.holds``."""
        return self._pool.holds(transcript)

    def served_by(self, transcript: Transcript) -> frozenset[OperatorAddress]:
        """Return the recipients that every named dealing serves."""
        return self._pool.served_by(transcript)

    def journal(self, transcript: Transcript) -> list[Effect]:
        """Make the named dealings durable, as far as they are not."""
        return self._pool.journal(transcript)

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
        """Return what this operator deals, if it may deal now."""
        if self._share is None or not self._may_deal(now):
            return None
        return Polynomial.random(self.session.threshold, self._rng, self._share)

    def _may_deal(self, now: float) -> bool:
        """Return whether all newcomers' keys are here, or enough of them and the grace is over."""
        lacking = [a for a in self._terms.newcomers if a not in self._keys]
        if not lacking:
            return True
        late = now >= self._opened_at + NEWCOMER_WINDOWS * self.session.window
        return late and self.session.n - len(lacking) >= self.served_needed

    def take_deal_result(self, result: DealResult) -> list[Effect]:
        """Keep this operator's dealing, then announce and publish it.

        A job of the session before, from the same source, may be done only now: its dealing is none of this session.
        """
        job, encrypted = result.job, result.encrypted
        if not self._is_dealing or self._has_dealt or job.context != self._context(self.me):
            return []
        commitments = job.polynomial.commitments()
        numbers = self._terms.numbers(job.recipients)
        header = build_dealing(job.context, self.ref.version, commitments, encrypted, numbers, job.newcomers)
        body = encode_body(encrypted)
        signed = self._signer.sign_once(
            FrameKind.DEALING, self._slot, lambda: dealing_body(self.ref, header.encoded)
        )
        frame = self._own_frame
        assert frame is not None
        journal = self._pool.add_own(KnownDealing(frame, header, job.recipients), body)
        self._share = None
        return [
            *journal,
            *signed,
            Publish(header.name, body),
            LogEvent("dealt", {"source": self.ref.version}),
        ]

    def _recipients(self) -> tuple[pvss.ShareRecipient, ...]:
        """Return the recipients whose key is known, in the session's order."""
        found = ((a, self._terms.listed(a) or self._keys.get(a)) for a in self.session.recipients.addresses)
        return tuple(pvss.ShareRecipient(a, key.public) for a, key in found if key is not None)

    def _key_frames(self) -> tuple[bytes, ...]:
        return self._keys.frames(self._terms.newcomers)

    def _context(self, dealer: OperatorAddress) -> pvss.DealingContext:
        source = b"" if self.source is None else self.source.hash
        return pvss.DealingContext(self.session.cluster, self.session.id, dealer, source)
