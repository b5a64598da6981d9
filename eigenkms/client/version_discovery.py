"""Discovery of key versions: operators show them, the chain verifies them.

There are two ways to ask all operators for their newest version (docs/protocol.md, Clients). ``collect_statements`` waits until
n−t+1 of today's operators have signed for one master public key over a fresh nonce: a first pin needs that. ``discover`` finds
every version that may give a key while versions change, and waits for no operator longer than a given time.

Invariant: a version counts only once the operator set that the chain had at its block is found to have certified it. An operator
can hide a version, and cannot make one up.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

import trio

from eigenkms.client.errors import NoVersionError, QuorumError
from eigenkms.client.progress import ProgressCallback, ignore_progress
from eigenkms.client.transport import ClientTransport
from eigenkms.crypto import bn254
from eigenkms.crypto.scalars import threshold
from eigenkms.errors import EigenKmsError, VerificationError
from eigenkms.p2p.errors import CallRefusedError
from eigenkms.types import OperatorAddress, to_hex
from eigenkms.wire.certified_transcript import CertifiedTranscript
from eigenkms.wire.client_rpc import Info, decode_info, encode_info_request, read_statement
from eigenkms.wire.rpc_methods import INFO

Failures = Mapping[OperatorAddress, EigenKmsError]

ANSWER_SECONDS = 10.0
"""Timeout of one call in ``collect_statements``."""


class VersionListener(Protocol):
    """Receives each finding of a discovery while the others are still awaited."""

    def on_version(self, operator: OperatorAddress, epoch: CertifiedTranscript) -> None:
        """Take a version that the operator showed and the chain verified."""
        ...

    def on_address_change(self, operators: set[OperatorAddress]) -> None:
        """Take operators whose peer or addresses changed."""
        ...


class VersionDiscovery:
    """One round of questions to all operators of today.

    ``verified`` has the versions that need no further verification, by transcript hash; new ones are added to it.
    """

    def __init__(
        self,
        transport: ClientTransport,
        verified: dict[bytes, CertifiedTranscript],
        progress: ProgressCallback = ignore_progress,
        listener: VersionListener | None = None,
    ) -> None:
        self._transport = transport
        self._verified = verified
        self._progress = progress
        self._listener = listener
        self._nonce = os.urandom(32)
        self._statements: dict[OperatorAddress, bytes] = {}
        self._failures: dict[OperatorAddress, EigenKmsError] = {}
        self._timeout = ANSWER_SECONDS
        self._quorum: int | None = None
        self._asked_again: set[OperatorAddress] = set()
        self._verifying: dict[bytes, trio.Lock] = {}
        self._book_updates = trio.CapacityLimiter(1)
        self.needed = statements_needed(len(transport.operators))

    # -- questions -------------------------------------------------------------------------------------------

    async def collect_statements(self, relax_at: float) -> None:
        """Return once enough operators signed for their newest version, or all answered.

        From ``relax_at`` (trio's clock) on, one statement is enough.
        """
        self._quorum = self.needed
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._relax_quorum, relax_at)
            await self._query_all(self._transport.operators)
            nursery.cancel_scope.cancel()

    async def _relax_quorum(self, at: float) -> None:
        await trio.sleep_until(at)
        self._quorum = 1
        self._stop_at_quorum()

    def _stop_at_quorum(self) -> None:
        if self._quorum is not None and len(self._statements) >= self._quorum:
            self._nursery.cancel_scope.cancel()

    async def discover(
        self,
        unreachable: Failures,
        timeout: float,  # noqa: ASYNC109 - of each call, not of the whole
    ) -> None:
        """Query all operators; each has ``timeout`` seconds to answer.

        ``unreachable`` operators are queried only if another operator shows a new address of theirs.
        """
        self._failures.update(unreachable)
        self._timeout = timeout
        await self._query_all([o for o in self._transport.operators if o not in unreachable])

    async def _query_all(self, operators: Sequence[OperatorAddress]) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for operator in operators:
                self._start_query(operator)

    def _start_query(self, operator: OperatorAddress) -> None:
        self._nursery.start_soon(self._query, operator)

    async def _query(self, operator: OperatorAddress) -> None:
        request = encode_info_request(self._transport.cluster, self._nonce)
        try:
            answer = await self._transport.call(operator, INFO, request, self._timeout)
            info = await trio.to_thread.run_sync(decode_info, answer)
            await self._record_statement(operator, info)
            await self._update_addresses(partial(self._transport.address_book.add_records, info.records))
        except EigenKmsError as error:
            self._failures[operator] = error
        self._progress(f"{len(self._statements)} of {len(self._transport.operators)} operators answered")
        self._stop_at_quorum()

    async def _update_addresses(self, update: Callable[[], set[OperatorAddress]]) -> None:
        """Apply an update of the address book.

        Operators that failed at their former address are queried again, once.
        """
        changed = await trio.to_thread.run_sync(update, limiter=self._book_updates)
        if changed and self._listener is not None:
            self._listener.on_address_change(changed)
        for operator in (changed & self._failures.keys()) - self._asked_again:
            self._asked_again.add(operator)
            del self._failures[operator]
            if operator in self._transport.operators:
                self._start_query(operator)

    # -- verification ----------------------------------------------------------------------------------------

    async def _record_statement(self, operator: OperatorAddress, info: Info) -> None:
        """Count a statement once its signature and its certificate are verified."""
        await self._check_statement(operator, info)
        epoch = await self._verify_version(info.epoch)
        self._statements[operator] = epoch.transcript.mpk
        if self._listener is not None:
            self._listener.on_version(operator, epoch)

    async def _check_statement(self, operator: OperatorAddress, info: Info) -> None:
        """Raise ``VerificationError`` unless the operator signed for exactly this version.

        The signature must be over this round's nonce.
        """
        frame, statement, transcript = info.statement, read_statement(info.statement), info.epoch.transcript
        key = self._transport.address_book.key_of(operator)
        assert key is not None
        if (frame.sender, frame.cluster) != (operator, self._transport.cluster) or (
            statement.nonce,
            statement.transcript_hash,
            statement.mpk,
        ) != (self._nonce, transcript.hash, transcript.mpk):
            raise VerificationError(
                f"verify statement of {to_hex(operator)}: it says something else than asked"
            )
        if not await trio.to_thread.run_sync(bn254.verify, frame.digest, frame.signature, key):
            raise VerificationError(f"verify statement of {to_hex(operator)}: bad signature")

    async def _verify_version(self, epoch: CertifiedTranscript) -> CertifiedTranscript:
        """Return the verified version with the same transcript.

        The chain is read once for each transcript.
        """
        transcript = epoch.transcript
        async with self._verifying.setdefault(transcript.hash, trio.Lock()):
            if transcript.hash not in self._verified:
                found = await self._transport.verify(epoch)
                await self._update_addresses(
                    partial(self._transport.address_book.add_recipients, found.operators)
                )
                self._verified[transcript.hash] = epoch
        return self._verified[transcript.hash]

    # -- findings --------------------------------------------------------------------------------------------

    def newest(self) -> CertifiedTranscript:
        """Return the newest verified version.

        Raises ``VerificationError`` if versions have different master keys.
        """
        if not self._verified:
            raise self._no_version_error()
        if len({e.transcript.mpk for e in self._verified.values()}) > 1:
            raise VerificationError("verify master public key: operators prove two different ones")
        return max(self._verified.values(), key=lambda e: e.transcript.version)

    def _no_version_error(self) -> EigenKmsError:
        codes = [e.code for e in self._failures.values() if isinstance(e, CallRefusedError)]
        if codes and all(code == "no-version" for code in codes):
            return NoVersionError(
                f"read master public key: none of the {len(codes)} operators that answered has one yet"
            )
        wrong = next((e for e in self._failures.values() if isinstance(e, VerificationError)), None)
        if wrong is not None:
            return wrong
        return QuorumError(
            f"read master public key: no operator answered; {describe_failures(self._failures)}"
        )

    def require_statements(self, mpk: bytes) -> None:
        """Raise ``QuorumError`` unless n−t+1 of today's operators signed for ``mpk``."""
        count = sum(1 for signed in self._statements.values() if signed == mpk)
        if count < self.needed:
            raise QuorumError(
                f"verify master public key for the first time: {count} of {len(self._transport.operators)} operators "
                f"vouch for it, {self.needed} needed; {describe_failures(self._failures)}"
            )


def statements_needed(n: int) -> int:
    """Return how many of ``n`` operators must agree so that one of them is honest.

    They are n−t+1.
    """
    return n - threshold(n) + 1 if n else 1


def describe_failures(failures: Failures) -> str:
    """Return ``0x…: reason; …`` for a message."""
    return "; ".join(f"{to_hex(operator)}: {error}" for operator, error in sorted(failures.items()))
