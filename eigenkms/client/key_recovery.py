"""Recovery of one application's key, while versions change under the request.

A version gives the key once t of its recipients answer (docs/protocol.md, Clients). No client can know beforehand which version
that is. Few operators may hold the newest one so far, and an older one may be erased in the meantime. So versions are *attempts*
that run side by side, each with its own recipients, request and collector. The first attempt that succeeds gives the key; partial
signatures of two versions never meet.

The recovery begins with the newest version that the client knows. If no attempt can succeed any more, or if answers are slow, it
runs a *round*. It queries the operators for their newest versions and attempts each that is new. A round also retries each operator
that lacked a version or its share of it, was busy, or was unreachable and has another address now.

The recovery ends when a round brought nothing new and no operator is left to retry. If some are left, it ends after IDLE_ROUNDS
such rounds, since a change of versions takes operators moments. It goes on to its deadline only if some operators are busy, or do
not reach the chain or an issuer now, and could complete a version. Requests that are still under way are awaited at the end, since
they show which operators do not answer.

*Hedging.* Without an attester, all recipients are asked together. Evidence costs time at its issuer, and each operator that sees it
keeps it. So with an attester, t recipients and MARGIN more are asked first, in random order. One more is asked for each that fails
or sends an invalid signature. All of them are asked once answers are slow.
"""

import logging
from dataclasses import dataclass
from typing import Final

import trio

from eigenkms.client.address_book import PeerLocation
from eigenkms.client.attesters import Attester
from eigenkms.client.errors import AttesterError
from eigenkms.client.progress import ProgressCallback
from eigenkms.client.quorum_report import invalid_signers, quorum_error
from eigenkms.client.transport import ClientTransport
from eigenkms.client.version_attempt import VersionAttempt
from eigenkms.client.version_discovery import Failures, VersionDiscovery
from eigenkms.errors import EigenKmsError, NetworkError
from eigenkms.types import AppId, OperatorAddress, to_hex
from eigenkms.wire.authorisation import Authorisation, Scope
from eigenkms.wire.certified_transcript import CertifiedTranscript
from eigenkms.wire.client_rpc import open_partial
from eigenkms.wire.rpc_methods import PARTIAL

log = logging.getLogger(__name__)

IDLE_ROUNDS: Final = 5
"""Rounds without anything new after which operators that lack a version are not retried any more."""
BACK_OFF = 0.2
"""Seconds after the first such round; then twice as long each time."""
MARGIN: Final = 1
"""Recipients beyond the threshold that are asked first with evidence."""


@dataclass(frozen=True)
class KeyQuery:
    """The key that is wanted, and the right to it.

    The key is that for ciphertexts of ``ciphertext_version``. ``attester`` makes the evidence of each request. Without one,
    requests have none. ``timeout``: seconds that an operator has for its answer. After a quarter of it the recovery looks for other
    versions; after an eighth, hedged recipients are asked too.
    """

    app_id: AppId
    ciphertext_version: int
    attester: Attester | None
    timeout: float

    @property
    def patience(self) -> float:
        """Seconds after which answers are slow."""
        return self.timeout / 4

    async def attest(self, scope: Scope) -> Authorisation | None:
        """Return the evidence for one request. Raises ``AttesterError`` on any failure."""
        if self.attester is None:
            return None
        try:
            return await self.attester.attest(scope)
        except EigenKmsError as error:  # a network error of the issuer's says nothing of the operator
            raise AttesterError(str(error), hint=error.hint) from error


@dataclass(frozen=True)
class RecoveredKey:
    """An application's verified key, and the version that gave it."""

    app_key: bytes
    epoch: CertifiedTranscript


class KeyRecovery:
    """One recovery; ``result`` is set if ``run`` succeeds.

    It listens to the version discoveries that it starts.
    """

    def __init__(self, transport: ClientTransport, query: KeyQuery, progress: ProgressCallback) -> None:
        self.result: RecoveredKey | None = None
        self._transport = transport
        self._query = query
        self._progress = progress
        self._verified: dict[bytes, CertifiedTranscript] = {}
        self._attempts: dict[bytes, VersionAttempt] = {}
        self._retried: set[tuple[bytes, OperatorAddress]] = set()
        self._unreachable: dict[OperatorAddress, tuple[PeerLocation | None, EigenKmsError]] = {}
        self._discovery_error: EigenKmsError | None = None
        self._changed = trio.Event()
        self._collecting = trio.CapacityLimiter(1)

    async def run(self, epoch: CertifiedTranscript) -> None:
        """Begin with ``epoch``; return with the key, or once none can be recovered.

        May be cancelled at any moment.
        """
        self._verified[epoch.transcript.hash] = epoch
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._begin_attempt(epoch)
            await self._run_rounds()

    @property
    def invalid_signers(self) -> set[OperatorAddress]:
        """Operators that sent an invalid partial signature, of whatever version."""
        return invalid_signers(self._attempts.values())

    def quorum_error(self) -> EigenKmsError:
        """Return why there is no key, after a ``run`` without a result."""
        return quorum_error(self._attempts.values(), self._discovery_error)

    # -- rounds ----------------------------------------------------------------------------------------------

    async def _run_rounds(self) -> None:
        idle = 0
        await self._wait_for_result()
        while True:
            before = self._progress_key()
            await self._discover()
            self._retry_all()
            await self._wait_for_result()
            idle = 0 if self._progress_key() > before else idle + 1
            if idle and not self._retryable():
                return
            if idle >= IDLE_ROUNDS and not any(a.could_complete_if_idle for a in self._attempts.values()):
                return
            if idle:
                await trio.sleep(min(BACK_OFF * 2 ** (idle - 1), self._query.patience))

    async def _wait_for_result(self) -> None:
        """Wait until no attempt can succeed with the present requests, or they are slow."""
        with trio.move_on_after(self._query.patience):
            while any(attempt.can_complete for attempt in self._attempts.values()):
                await self._changed.wait()

    def _progress_key(self) -> tuple[int, int]:
        """Return a value that grows with each new version or reachable signature."""
        return len(self._attempts), sum(attempt.reachable_signatures for attempt in self._attempts.values())

    async def _discover(self) -> None:
        self._retried.clear()
        try:
            await self._transport.refresh()
            discovery = VersionDiscovery(self._transport, self._verified, listener=self)
            await discovery.discover(self._unreachable_operators(), self._query.patience)
        except EigenKmsError as error:
            self._discovery_error = error

    def _begin_attempt(self, epoch: CertifiedTranscript) -> None:
        query = self._query
        attempt = VersionAttempt.begin(epoch, query.app_id, query.ciphertext_version)
        self._attempts[epoch.transcript.hash] = attempt
        if query.attester is not None:
            attempt.wanted = attempt.threshold + MARGIN
            self._nursery.start_soon(self._hedge, attempt)
        self._fill_requests(attempt)

    async def _hedge(self, attempt: VersionAttempt) -> None:
        """Ask all recipients once answers are slow, if any were not asked before."""
        with trio.move_on_after(self._query.patience / 2):
            while attempt.reserve:
                await self._changed.wait()
        attempt.wanted = len(attempt.epoch.transcript.recipients)
        self._fill_requests(attempt)

    def _fill_requests(self, attempt: VersionAttempt) -> None:
        """Ask recipients of the reserve until enough signatures are under way."""
        while attempt.reserve and attempt.good + len(attempt.asking) < attempt.wanted:
            self._start_request(attempt, attempt.reserve.pop())

    # -- findings of a discovery -----------------------------------------------------------------------------

    def on_version(self, operator: OperatorAddress, epoch: CertifiedTranscript) -> None:
        """Attempt a version that is new; retry an operator that lacked a known one."""
        attempt = self._attempts.get(epoch.transcript.hash)
        if attempt is not None:
            if attempt.lacked_version(operator):
                self._retry(attempt, operator)
        elif any(epoch.transcript.mpk != a.epoch.transcript.mpk for a in self._attempts.values()):
            log.warning(
                "operator %s shows version %d, certified with another master public key",
                to_hex(operator),
                epoch.transcript.version,
            )
        else:
            self._begin_attempt(epoch)

    def on_address_change(self, operators: set[OperatorAddress]) -> None:
        """Retry those of the operators that were unreachable."""
        for attempt in self._attempts.values():
            for operator in operators:
                if attempt.was_unreachable(operator):
                    self._retry(attempt, operator)

    # -- retries ---------------------------------------------------------------------------------------------

    def _retry_all(self) -> None:
        for attempt, operator in self._retryable():
            self._retry(attempt, operator)

    def _retry(self, attempt: VersionAttempt, operator: OperatorAddress) -> None:
        """Ask once more, at most once in each round."""
        key = attempt.epoch.transcript.hash, operator
        if key not in self._retried:
            self._retried.add(key)
            self._start_request(attempt, operator)

    def _retryable(self) -> list[tuple[VersionAttempt, OperatorAddress]]:
        """Return the operators that may answer where their last request failed."""
        return [
            (attempt, operator)
            for attempt in self._attempts.values()
            for operator in attempt.collector.failures
            if attempt.lacked_version(operator)
            or attempt.was_busy(operator)
            or (attempt.was_unreachable(operator) and self._has_moved(attempt, operator))
        ]

    def _has_moved(self, attempt: VersionAttempt, operator: OperatorAddress) -> bool:
        """Return whether the operator is dialled elsewhere now than at its last request."""
        return attempt.places[operator] != self._transport.peer_of(operator)

    def _unreachable_operators(self) -> Failures:
        """Return the operators that were unreachable at the address they still have."""
        return {
            operator: error
            for operator, (place, error) in self._unreachable.items()
            if place == self._transport.peer_of(operator)
        }

    # -- requests --------------------------------------------------------------------------------------------

    def _start_request(self, attempt: VersionAttempt, operator: OperatorAddress) -> None:
        attempt.asking.add(operator)
        self._nursery.start_soon(self._request, attempt, operator)

    async def _request(self, attempt: VersionAttempt, operator: OperatorAddress) -> None:
        place = self._transport.peer_of(operator)
        self._unreachable.pop(operator, None)
        try:
            await self._collect(attempt, operator)
        except EigenKmsError as error:
            attempt.collector.record_failure(operator, error)
            attempt.places[operator] = place
            if isinstance(error, NetworkError):
                self._unreachable[operator] = place, error
        self._progress(attempt.collector.summary)
        attempt.asking.discard(operator)
        if attempt.collector.app_key is not None:
            self.result = RecoveredKey(attempt.collector.app_key, attempt.epoch)
            self._nursery.cancel_scope.cancel()
        else:
            self._fill_requests(attempt)
        self._signal_change()

    async def _collect(self, attempt: VersionAttempt, operator: OperatorAddress) -> None:
        request = attempt.request(await self._query.attest(attempt.scope(operator)))
        sealed = await self._transport.call(operator, PARTIAL, request.encoded, self._query.timeout)
        frame, signature = open_partial(attempt.private, request, attempt.epoch.transcript, sealed)
        await trio.to_thread.run_sync(
            attempt.collector.add, operator, frame, signature, limiter=self._collecting
        )

    def _signal_change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
