"""The last step of every answer with a partial signature in it: make it, write it into the release log, and only then let it go.

Whoever asked waits until its entry is durable. What waits is written together (group_commit), with one signature. An entry whose
answer never left (the client went away, the node was killed) stays: the log may name more than was released, never less.

If the disk refuses, nothing leaves any more, and ``run`` ends the node.
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
from eigenkms.crypto import bn254
from eigenkms.node.authorisation.pipeline import Grant
from eigenkms.node.authorisation.request_slots import busy
from eigenkms.node.fair_thread import FairThread, NoPlaceError
from eigenkms.node.group_commit import GroupCommit
from eigenkms.protocols.records.audit_log import (
    OPEN_METHOD,
    IssuedSignature,
    LogHead,
    LogHeader,
    SignedHead,
    check_release,
    sign_head,
)
from eigenkms.protocols.wire.transcript import Transcript
from eigenkms.storage.audit_log import AuditLog
from eigenkms.types import AppId, ClusterId, OperatorAddress

UNDER_WAY_OF_ONE: Final = 128
"""Answers to one client that wait to be made."""
MAX_UNDER_WAY: Final = 1024
"""Answers that are made or wait for their entry; more requests are refused as busy."""


class AuditLogWriter(Protocol):
    """Where entries go (storage/audit_log)."""

    @property
    def head(self) -> LogHead: ...

    def append(self, releases: list[IssuedSignature], sign: Callable[[LogHead], SignedHead]) -> None: ...


@dataclass(frozen=True, slots=True)
class IssueRequest:
    """What an answer gives away: the application's key for ``ciphertext_version``, by the share of ``transcript``.

    ``reply_key`` is what the answer is sealed to, as in ``Scope``.
    """

    app_id: AppId
    ciphertext_version: int
    transcript: Transcript
    reply_key: bytes


class PartialSignatureIssuer:
    """The way out for all answers of one node, whatever they came through."""

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
        """The newest head that is durable."""
        return self._log.head

    async def run(self) -> None:
        """Wait until the log cannot be written, and raise why: ``StorageError``."""
        await self._commits.run()

    async def release(
        self, released: IssueRequest, grant: Grant | None, make: Callable[[], bytes], *, client: str = ""
    ) -> bytes:
        """The answer that ``make`` returns, once the log says that it leaves. ``make`` runs in a thread; what it raises is raised,
        and nothing is written. Clients take turns; a request without one is a client of its own.

        Raises ``AttestationRefused`` (busy) if too many wait, ``StorageError`` if the log cannot be written.
        """
        if self._under_way >= MAX_UNDER_WAY:
            raise busy("too many answers wait to be logged")
        self._under_way += 1
        try:
            answer = await self._making.take(client or object(), make)
            release = self._describe(released, None if grant is None else grant.claims)
            check_release(release)  # here, where it costs nobody else an entry
            await self._commits.submit(release)
        except NoPlaceError:
            raise busy("too many answers to this client wait") from None
        finally:
            self._under_way -= 1
        return answer

    def _describe(self, released: IssueRequest, claims: Claims | None) -> IssuedSignature:
        subject = None
        if claims is not None:
            subject = claims.signer if claims.image is None else claims.image.digest
        return IssuedSignature(
            time_ms=int(self._clock() * 1000),
            app_id=released.app_id,
            ciphertext_version=released.ciphertext_version,
            version=released.transcript.version,
            transcript_hash=released.transcript.hash,
            method=OPEN_METHOD if claims is None else claims.method,
            evidence_digest=None if claims is None else claims.evidence_digest,
            subject=subject,
            reply_key_digest=hashlib.sha256(released.reply_key).digest(),
        )

    def _append(self, releases: list[IssuedSignature]) -> Sequence[None]:
        self._log.append(releases, self._sign)
        return [None] * len(releases)

    def _sign(self, head: LogHead) -> SignedHead:
        return sign_head(self._key, head)


@asynccontextmanager
async def open_releaser(
    folder: Path, cluster: ClusterId, operator: OperatorAddress, key: bn254.KeyPair
) -> AsyncIterator[PartialSignatureIssuer]:
    """With the log in the data folder, whose lock the caller holds. Raises ``StorageError``."""
    header = LogHeader(cluster, operator, key.g2, time.time_ns() // 1_000_000)
    log = await trio.to_thread.run_sync(AuditLog.open, folder, header, lambda head: sign_head(key, head))
    try:
        yield PartialSignatureIssuer(log, key)
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(log.close)
