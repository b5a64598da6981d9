"""One application's key, while versions change under the request (docs/protocol.md, Clients).

A version gives the key once t of its recipients answer. Which version that is nobody can know beforehand: the newest may be held
by few yet, an older one be erased meanwhile. So versions are *attempts* that run side by side, each with its own recipients,
request and collector, and the first that succeeds wins; partial signatures of two versions never meet.

The driver begins with the newest version. When nothing under way can succeed any more, or answers are slow, it surveys the
operators for their newest versions and attempts what it did not know; who refused because it did not
have a version or its share yet is asked for it again, and so is who was unreachable and is known to be elsewhere now. It ends
when a round brought nothing new and nobody is left to be asked again; or after IDLE_ROUNDS such rounds where somebody is, since a
change of versions takes operators moments. Only for operators that are busy, or do not reach the chain or an issuer at the moment,
it goes on to its deadline, if they could complete a version. Requests that are still out are then waited for, as they tell who did
not answer.

*Hedging.* Where nothing is to be shown for the right to the key, all recipients are asked at once. Evidence costs time at whoever
attests, and is kept by each operator that saw it. So with an attester only t recipients and MARGIN more are asked at first, chosen
by lot; one more for each that fails or lies; and all of them once answers are slow.
"""

import logging
import os
import random
from dataclasses import dataclass, field, replace
from typing import Protocol

import trio

from eigenkms.client.address_book import Place
from eigenkms.client.attesters import Attester
from eigenkms.client.errors import AttesterError, QuorumError
from eigenkms.client.partial_signatures import Outcome, SignatureCollector
from eigenkms.client.version_discovery import (
    ClientTransport,
    Failures,
    Progress,
    VersionListener,
    describe_failures,
)
from eigenkms.crypto import sealing
from eigenkms.errors import EigenKmsError, NetworkError, RefusedError
from eigenkms.p2p.errors import CallRefusedError
from eigenkms.protocols.wire import rpc_methods
from eigenkms.protocols.wire.authorisation import FINAL_REFUSALS, Authorisation, Refusal, Scope
from eigenkms.protocols.wire.certified_transcript import CertifiedTranscript
from eigenkms.protocols.wire.client_rpc import PartialRequest, open_partial
from eigenkms.types import AppId, OperatorAddress

log = logging.getLogger(__name__)

IDLE_ROUNDS = 5
"""Rounds without anything new after which operators that lack a version are asked no more."""
BACK_OFF = 0.2
"""Seconds after the first such round; then twice as long each time."""
MARGIN = 1
"""Recipients beyond the threshold that are asked at once with evidence."""
_UNREADY = frozenset({"unknown-version", "no-share"})
_BUSY = frozenset(str(refusal) for refusal in Refusal if refusal.passes)


class VersionFinder(ClientTransport, Protocol):
    """What a pursuit asks of a client."""

    def peer_of(self, operator: OperatorAddress) -> Place | None:
        """Where the operator is thought to be."""
        ...

    async def refresh(self) -> None:
        """Read today's operator set from the chain."""
        ...

    async def survey(
        self,
        verified: dict[bytes, CertifiedTranscript],
        lost: Failures,
        within: float,
        listener: VersionListener,
    ) -> None:
        """Ask today's operators for their versions; see ``Gathering.survey``."""
        ...


@dataclass(eq=False)
class _VersionAttempt:
    """One version: whom we asked for it and what came. ``places`` are where those that failed were asked.

    ``reserve`` are recipients that were not asked yet, and ``wanted`` is how many signatures there should be or be under way.
    """

    epoch: CertifiedTranscript
    collector: SignatureCollector
    private: bytes = field(repr=False)
    template: PartialRequest
    reserve: list[OperatorAddress]
    wanted: int
    asking: set[OperatorAddress] = field(default_factory=set)
    places: dict[OperatorAddress, Place | None] = field(default_factory=dict)

    @classmethod
    def begin(cls, epoch: CertifiedTranscript, app_id: AppId, ciphertext_version: int) -> "_VersionAttempt":
        transcript = epoch.transcript
        private, public = sealing.x25519_keypair(os.urandom)
        template = PartialRequest(
            transcript.cluster, app_id, ciphertext_version, transcript.hash, public, bytes(32)
        )
        recipients = list(transcript.recipients.addresses)
        random.SystemRandom().shuffle(recipients)
        collector = SignatureCollector(template.identity, transcript)
        return cls(epoch, collector, private, template, recipients, len(recipients))

    def scope(self, operator: OperatorAddress) -> Scope:
        """What evidence for this operator must be for."""
        return Scope(self.template.cluster, operator, self.template.app_id, self.template.reply_key)

    def request(self, authorisation: Authorisation | None) -> PartialRequest:
        """A request that was never made before."""
        shown = None if authorisation is None else authorisation.encoded
        return replace(self.template, nonce=os.urandom(32), authorisation=shown)

    @property
    def good(self) -> int:
        return self.collector.count(Outcome.GOOD)

    @property
    def prospects(self) -> int:
        """Partial signatures that there are, and that may still come of requests that are out or were not made yet."""
        return self.good + len(self.asking) + len(self.reserve)

    @property
    def possible(self) -> bool:
        """Whether these could complete it."""
        return self.prospects >= self.epoch.transcript.threshold

    def is_waiting_for(self, operator: OperatorAddress) -> bool:
        """Whether the operator lacked the version, or its share of it, when it was last asked."""
        error = self._last_failure(operator)
        return isinstance(error, CallRefusedError) and error.code in _UNREADY

    def is_busy(self, operator: OperatorAddress) -> bool:
        """Whether the operator would not decide when it was last asked, and may later."""
        error = self._last_failure(operator)
        return isinstance(error, CallRefusedError) and error.code in _BUSY

    @property
    def may_pass(self) -> bool:
        """Whether operators that are busy could complete it."""
        busy = sum(1 for operator in self.collector.failures if self.is_busy(operator))
        return bool(busy) and self.prospects + busy >= self.epoch.transcript.threshold

    def missed(self, operator: OperatorAddress) -> bool:
        """Whether the operator could not be reached when it was last asked."""
        return isinstance(self._last_failure(operator), NetworkError)

    def _last_failure(self, operator: OperatorAddress) -> EigenKmsError | None:
        return None if operator in self.asking else self.collector.failures.get(operator)


class KeyRecovery:
    """``app_key`` and ``epoch``, the version that gave it, are set if ``run`` succeeds.

    The key is that for ciphertexts of ``ciphertext_version``. ``attester`` makes the evidence of each request; without one there
    is none. ``timeout``: seconds that an operator has for its answer; after a quarter of it other versions are looked for besides,
    and after an eighth all are asked who were held back.
    """

    def __init__(
        self,
        finder: VersionFinder,
        app_id: AppId,
        ciphertext_version: int,
        attester: Attester | None,
        progress: Progress,
        timeout: float,
    ) -> None:
        self.app_key: bytes | None = None
        self.epoch: CertifiedTranscript | None = None
        self._finder = finder
        self._app_id = app_id
        self._ciphertext_version = ciphertext_version
        self._attester = attester
        self._progress = progress
        self._timeout = timeout
        self._patience = timeout / 4
        self._verified: dict[bytes, CertifiedTranscript] = {}
        self._attempts: dict[bytes, _VersionAttempt] = {}
        self._restarted: set[tuple[bytes, OperatorAddress]] = set()
        self._unreachable: dict[OperatorAddress, tuple[Place | None, EigenKmsError]] = {}
        self._trouble: EigenKmsError | None = None
        self._news = trio.Event()
        self._collecting = trio.CapacityLimiter(1)

    async def run(self, epoch: CertifiedTranscript) -> None:
        """Begin with ``epoch``; return with the key, or once nobody can give it any more. May be cancelled at any moment."""
        self._verified[epoch.transcript.hash] = epoch
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._begin(epoch)
            await self._rounds()

    # -- rounds ----------------------------------------------------------------------------------------------

    async def _rounds(self) -> None:
        idle = 0
        await self._outcome()
        while True:
            before = self._prospects()
            await self._look_again()
            self._ask_again()
            await self._outcome()
            idle = 0 if self._prospects() > before else idle + 1
            if idle and not self._askable():
                return
            if idle >= IDLE_ROUNDS and not any(attempt.may_pass for attempt in self._attempts.values()):
                return
            if idle:
                await trio.sleep(min(BACK_OFF * 2 ** (idle - 1), self._patience))

    async def _outcome(self) -> None:
        """Until no attempt can succeed with those who are asked now, or patience is over."""
        with trio.move_on_after(self._patience):
            while any(attempt.possible for attempt in self._attempts.values()):
                await self._news.wait()

    def _prospects(self) -> tuple[int, int]:
        """Greater than before if a version came up, or somebody can give what it could not."""
        return len(self._attempts), sum(attempt.prospects for attempt in self._attempts.values())

    async def _look_again(self) -> None:
        self._restarted.clear()
        try:
            await self._finder.refresh()
            await self._finder.survey(self._verified, self._lost(), self._patience, self)
        except EigenKmsError as error:
            self._trouble = error

    def _begin(self, epoch: CertifiedTranscript) -> None:
        attempt = self._attempts[epoch.transcript.hash] = _VersionAttempt.begin(
            epoch, self._app_id, self._ciphertext_version
        )
        if self._attester is not None:
            attempt.wanted = epoch.transcript.threshold + MARGIN
            self._nursery.start_soon(self._hedge, attempt)
        self._ask_more(attempt)

    async def _hedge(self, attempt: _VersionAttempt) -> None:
        """Until all were asked for other reasons, or answers are slow: then ask all."""
        with trio.move_on_after(self._patience / 2):
            while attempt.reserve:
                await self._news.wait()
        attempt.wanted = len(attempt.epoch.transcript.recipients)
        self._ask_more(attempt)

    def _ask_more(self, attempt: _VersionAttempt) -> None:
        while attempt.reserve and attempt.good + len(attempt.asking) < attempt.wanted:
            self._start(attempt, attempt.reserve.pop())

    # -- what a survey brings --------------------------------------------------------------------------------

    def heard(self, operator: OperatorAddress, epoch: CertifiedTranscript) -> None:
        """Attempt a version that is new; ask an operator for one that it lacked when it was asked."""
        attempt = self._attempts.get(epoch.transcript.hash)
        if attempt is not None:
            if attempt.is_waiting_for(operator):
                self._restart(attempt, operator)
        elif any(epoch.transcript.mpk != a.epoch.transcript.mpk for a in self._attempts.values()):
            log.warning(
                "operator 0x%s shows version %d, certified with another master public key",
                operator.hex(),
                epoch.transcript.version,
            )
        else:
            self._begin(epoch)

    def moved(self, operators: set[OperatorAddress]) -> None:
        """Ask those again that could not be reached."""
        for attempt in self._attempts.values():
            for operator in operators:
                if attempt.missed(operator):
                    self._restart(attempt, operator)

    # -- who is asked again ----------------------------------------------------------------------------------

    def _ask_again(self) -> None:
        for attempt, operator in self._askable():
            self._restart(attempt, operator)

    def _restart(self, attempt: _VersionAttempt, operator: OperatorAddress) -> None:
        """Ask once more, once a round."""
        if (attempt.epoch.transcript.hash, operator) not in self._restarted:
            self._restarted.add((attempt.epoch.transcript.hash, operator))
            self._start(attempt, operator)

    def _askable(self) -> list[tuple[_VersionAttempt, OperatorAddress]]:
        """Those who lacked a version or were busy, and those who are not any more where they could not be reached."""
        return [
            (attempt, operator)
            for attempt in self._attempts.values()
            for operator in attempt.collector.failures
            if attempt.is_waiting_for(operator)
            or attempt.is_busy(operator)
            or (attempt.missed(operator) and attempt.places[operator] != self._finder.peer_of(operator))
        ]

    def _lost(self) -> Failures:
        """Operators that could not be reached where they still are thought to be."""
        return {
            operator: error
            for operator, (place, error) in self._unreachable.items()
            if place == self._finder.peer_of(operator)
        }

    # -- asking ----------------------------------------------------------------------------------------------

    def _start(self, attempt: _VersionAttempt, operator: OperatorAddress) -> None:
        attempt.asking.add(operator)
        self._nursery.start_soon(self._ask, attempt, operator)

    async def _ask(self, attempt: _VersionAttempt, operator: OperatorAddress) -> None:
        collector, place = attempt.collector, self._finder.peer_of(operator)
        self._unreachable.pop(operator, None)
        try:
            request = attempt.request(await self._attest(attempt.scope(operator)))
            sealed = await self._finder.ask(operator, rpc_methods.PARTIAL, request.encoded, self._timeout)
            frame, signature = open_partial(attempt.private, request, attempt.epoch.transcript, sealed)
            await trio.to_thread.run_sync(collector.add, operator, frame, signature, limiter=self._collecting)
        except EigenKmsError as error:
            collector.failed(operator, error)
            attempt.places[operator] = place
            if isinstance(error, NetworkError):
                self._unreachable[operator] = place, error
        self._progress(collector.summary)
        attempt.asking.discard(operator)
        if collector.app_key is not None:
            self.app_key, self.epoch = collector.app_key, attempt.epoch
            self._nursery.cancel_scope.cancel()
        else:
            self._ask_more(attempt)
        self._news.set()
        self._news = trio.Event()

    async def _attest(self, scope: Scope) -> Authorisation | None:
        if self._attester is None:
            return None
        try:
            return await self._attester.attest(scope)
        except EigenKmsError as error:  # whatever it is: not the operator could not be reached
            raise AttesterError(str(error), hint=error.hint) from error

    # -- what is said of it ----------------------------------------------------------------------------------

    @property
    def liars(self) -> set[OperatorAddress]:
        """Who sent a false partial signature, of whatever version."""
        return {liar for attempt in self._attempts.values() for liar in attempt.collector.liars}

    def too_few(self) -> EigenKmsError:
        """Of the version that came closest, newest first, everybody who gave nothing; of the others the numbers."""
        attempts = sorted(
            self._attempts.values(),
            key=lambda a: (a.good - a.epoch.transcript.threshold, a.epoch.transcript.version),
            reverse=True,
        )
        parts = [_shortage(attempts[0].collector)]
        parts += [
            f"of version {a.epoch.transcript.version}: {a.good} of {len(a.epoch.transcript.recipients)}, "
            f"{a.epoch.transcript.threshold} needed"
            for a in attempts[1:]
        ]
        parts += [
            f"0x{liar.hex()}: its partial signature is false"
            for liar in sorted(self.liars - set(attempts[0].collector.liars))
        ]
        if self._trouble is not None:
            parts.append(f"look for other versions: {self._trouble}")
        message = "; ".join(parts)
        if (own := _unattested(attempts[0].collector)) is not None:
            return own
        if any(_is_refused(attempt.collector) for attempt in attempts):
            return RefusedError(
                message, hint="prove the right to this application's key, or ask the operators why"
            )
        return QuorumError(message)


def _unattested(collector: SignatureCollector) -> AttesterError | None:
    """Our own trouble, if for more operators than may be missing there was no evidence."""
    own = [e for e in collector.failures.values() if isinstance(e, AttesterError)]
    return own[0] if len(own) > _spare(collector) else None


def _spare(collector: SignatureCollector) -> int:
    """How many recipients may be missing."""
    return len(collector.transcript.recipients) - collector.transcript.threshold


def _is_refused(collector: SignatureCollector) -> bool:
    """Whether more operators refused to answer than may be missing."""
    refused = [
        e for e in collector.failures.values() if isinstance(e, CallRefusedError) and e.code in FINAL_REFUSALS
    ]
    return len(refused) > _spare(collector)


def _shortage(collector: SignatureCollector) -> str:
    reasons = describe_failures(collector.failures)
    quiet = [f"0x{operator.hex()}: no answer in time" for operator in collector.unanswered()]
    false = [f"0x{operator.hex()}: its partial signature is false" for operator in collector.liars]
    return (
        f"collect partial signatures: {collector.count(Outcome.GOOD)} of {len(collector.transcript.recipients)} "
        f"operators gave one, {collector.transcript.threshold} needed; "
        f"{'; '.join([*filter(None, [reasons]), *quiet, *false])}"
    )
