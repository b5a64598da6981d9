"""The issuer: the last step of every answer with a partial signature.

It makes the answer, logs it, and only then returns it.

A request waits until its entry in the audit log is durable. Entries that wait at the same time are written together
(``group_commit``), with one signature. An entry stays if its answer never left, as when the client went away. So the log
may name more than was issued, never less.

If the disk refuses, the issuer returns no answer any more, and ``run`` ends the node.
"""

import hashlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import trio

from eigenkms.attestation.interface import Claims
from eigenkms.authorisation.pipeline import Grant
from eigenkms.authorisation.request_slots import busy
from eigenkms.crypto import bn254
from eigenkms.fair_thread import FairThread, NoPlaceError
from eigenkms.protocols.records.audit_log import (
    OPEN_METHOD,
    IssuedSignature,
    LogHead,
    LogHeader,
    SignedHead,
    check_release,
    sign_head,
)
from eigenkms.storage.audit_log_store import AuditLog
from eigenkms.storage.group_commit import GroupCommit
from eigenkms.types import AppId, ClusterId, OperatorAddress
from eigenkms.wire.transcript import Transcript

UNDER_WAY_OF_ONE: Final = 128
"""Answers to one client that wait to be made."""
MAX_UNDER_WAY: Final = 1024
"""Answers that are made or wait for their entry. Beyond it requests are refused as busy."""


class AuditLogWriter(Protocol):
    """The audit log that entries are appended to (``storage.audit_log_store``)."""

    @property
    def head(self) -> LogHead: ...

    def append(self, entries: list[IssuedSignature], sign: Callable[[LogHead], SignedHead]) -> None: ...


@dataclass(frozen=True, slots=True)
class IssueRequest:
    """A request for an application's key, by the share of ``transcript``.

    The key is for ``ciphertext_version``. The answer is sealed to ``reply_key``, as in ``Scope``.
    """

    app_id: AppId
    ciphertext_version: int
    transcript: Transcript
    reply_key: bytes


@dataclass(frozen=True, slots=True)
class IssuerStatistics:
    """Answers that are under way, those that wait, and whether the log is written."""

    under_way: int
    waiting: int
    is_writing: bool


class PartialSignatureIssuer:
    """Issues the answers of one node, for requests of every transport."""

    def __init__(
        self, log: AuditLogWriter, key: bn254.KeyPair, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._log = log
        self._key = key
        self._clock = clock
        self._making = FairThread(owners=MAX_UNDER_WAY, each=UNDER_WAY_OF_ONE)
        self._commits = GroupCommit(self._append)
        self._under_way = 0

    @property
    def head(self) -> LogHead:
        """The newest durable head of the log."""
        return self._log.head

    async def run(self) -> None:
        """Wait until the log cannot be written, then raise the reason, a ``StorageError``."""
        await self._commits.run()

    async def issue(
        self, request: IssueRequest, grant: Grant | None, make: Callable[[], bytes], *, client: str = ""
    ) -> bytes:
        """Return the answer that ``make`` makes, once its log entry is durable.

        ``make`` runs in a thread; if it raises, nothing is written. Clients take turns, and a request without one has its own.
        Raises ``AttestationRefusedError`` (busy) if too many wait, and ``StorageError`` if the log cannot be written.
        """
        if self._under_way >= MAX_UNDER_WAY:
            raise busy("too many answers wait to be logged")
        self._under_way += 1
        try:
            answer = await self._making.take(client or object(), make)
            entry = self._describe(request, None if grant is None else grant.claims)
            check_release(entry)  # here, where it costs nobody else an entry
            await self._commits.submit(entry)
        except NoPlaceError:
            raise busy("too many answers to this client wait") from None
        finally:
            self._under_way -= 1
        return answer

    def statistics(self) -> IssuerStatistics:
        """Return what is under way at this moment."""
        return IssuerStatistics(self._under_way, self._commits.waiting, self._commits.is_writing)

    def _describe(self, request: IssueRequest, claims: Claims | None) -> IssuedSignature:
        subject = None
        if claims is not None:
            subject = claims.signer if claims.image is None else claims.image.digest
        return IssuedSignature(
            time_ms=int(self._clock() * 1000),
            app_id=request.app_id,
            ciphertext_version=request.ciphertext_version,
            version=request.transcript.version,
            transcript_hash=request.transcript.hash,
            method=OPEN_METHOD if claims is None else claims.method,
            evidence_digest=None if claims is None else claims.evidence_digest,
            subject=subject,
            reply_key_digest=hashlib.sha256(request.reply_key).digest(),
        )

    def _append(self, entries: list[IssuedSignature]) -> Sequence[None]:
        self._log.append(entries, self._sign)
        return [None] * len(entries)

    def _sign(self, head: LogHead) -> SignedHead:
        return sign_head(self._key, head)


@asynccontextmanager
async def open_issuer(
    folder: Path, cluster: ClusterId, operator: OperatorAddress, key: bn254.KeyPair
) -> AsyncIterator[PartialSignatureIssuer]:
    """Open the issuer with the log in the data folder, whose lock the caller holds.

    Raises ``StorageError``.
    """
    header = LogHeader(cluster, operator, key.g2, time.time_ns() // 1_000_000)
    log = await trio.to_thread.run_sync(AuditLog.open, folder, header, lambda head: sign_head(key, head))
    try:
        yield PartialSignatureIssuer(log, key)
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(log.close)
