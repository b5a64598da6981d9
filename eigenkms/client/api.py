"""The client: find a cluster, verify its key, encrypt and decrypt.

A client trusts only the chain (docs/protocol.md, Clients). It asks operators for the newest version and trusts none of them. It
checks the certificate against the operator set that the chain had at its block. The first time, n−t+1 of today's operators must
have signed for it too, of whom at least one is honest.

For a decryption the recipients of the version give partial signatures, sealed to a key made for this request. The first t that
combine to a key which verifies against the master public key win. If they do not combine, each is checked against its operator's
public share, and the operators that sent invalid ones are named. The version may change under the request.

The layers go down: this façade, ``key_recovery``, ``version_discovery``, ``transport``. ``one_shot`` opens a client for each call,
and ``ciphertexts`` needs no network.

>>> async with open_client(settings) as client:
...     plaintext = await client.decrypt(AppId("my-app"), ciphertext)
"""

import io
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Final

import trio

from eigenkms.applications import Applications
from eigenkms.chain.applications import applications_of
from eigenkms.client import ciphertexts
from eigenkms.client.attesters import Attester
from eigenkms.client.ciphertexts import NEWEST, Readable, Writable, open_ciphertext
from eigenkms.client.cluster_info import ClusterInfo
from eigenkms.client.evidence import EvidenceReport, EvidenceSurvey
from eigenkms.client.key_recovery import KeyQuery, KeyRecovery
from eigenkms.client.known_clusters import KnownClusters
from eigenkms.client.progress import ProgressCallback, ignore_progress
from eigenkms.client.release_environment import (
    Secrets,
    confirmed_release,
    open_sealed_environment,
    parse_environment,
)
from eigenkms.client.settings import ClientSettings
from eigenkms.client.transport import ClientTransport, open_transport
from eigenkms.client.version_discovery import VersionDiscovery
from eigenkms.crypto.app_ids import canonical
from eigenkms.crypto.ibe_v2 import ApplicationKey, Recipient
from eigenkms.errors import InputError, NetworkError, VerificationError
from eigenkms.types import AppId, OperatorAddress, Version, to_hex
from eigenkms.wire.certified_transcript import CertifiedTranscript

log = logging.getLogger(__name__)

VersionCheck = Callable[[CertifiedTranscript], Awaitable[None]]
"""Called with a verified version before its key is pinned; raises if the version must not be used."""

CHUNKS_AT_ONCE: Final = 32
"""Chunks of a stream that are decrypted before a cancellation takes effect; with those of the usual size, 2 MiB."""


class Client:
    """A check of a verified version before its key is pinned; raises to refuse it."""

    def __init__(
        self,
        settings: ClientSettings,
        transport: ClientTransport,
        applications: Applications | None = None,
    ) -> None:
        self.transport = transport
        self._settings = settings
        self._applications = applications
        self._known = KnownClusters(settings.known_clusters_path)
        self._epoch: CertifiedTranscript | None = None

    # -- the cluster -----------------------------------------------------------------------------------------

    async def fetch(
        self, progress: ProgressCallback = ignore_progress, check: VersionCheck | None = None
    ) -> ClusterInfo:
        """Return the newest version, verified.

        ``check`` is called with it before its key is pinned, and may raise. Raises ``NoVersionError``, ``QuorumError``,
        ``ChainError``, ``VerificationError``.
        """
        await self.refresh()
        deadline = trio.current_time() + self._settings.timeout
        epoch = await self._discover_version(progress, deadline, deadline, check)
        return ClusterInfo(self.transport.cluster, epoch)

    async def refresh(self) -> None:
        """Read today's operator set. Raises ``ChainError``."""
        await self.transport.refresh()

    async def _discover_version(
        self,
        progress: ProgressCallback,
        relax_at: float,
        deadline: float,
        check: VersionCheck | None = None,
    ) -> CertifiedTranscript:
        """Return the newest version that enough operators signed for, and pin its key.

        If a key is pinned already, any verified version will do from ``relax_at`` on.
        """
        cluster = self.transport.cluster
        pinned = await trio.to_thread.run_sync(self._known.get, cluster)
        progress(f"{len(self.transport.operators)} operators on chain")
        discovery = VersionDiscovery(self.transport, {}, progress)
        with trio.CancelScope(deadline=deadline):
            await discovery.collect_statements(deadline if pinned is None else relax_at)
        epoch = discovery.newest()
        is_pinned = await trio.to_thread.run_sync(self._known.check, cluster, epoch.transcript.mpk)
        if not is_pinned:
            discovery.require_statements(epoch.transcript.mpk)
        if check is not None:
            await check(epoch)
        if not is_pinned:
            await trio.to_thread.run_sync(self._known.pin, cluster, epoch.transcript.mpk)
        self._epoch = epoch
        return epoch

    @property
    def version(self) -> Version | None:
        """The key version that the next decryption asks for first; None at the start."""
        return None if self._epoch is None else self._epoch.transcript.version

    async def fetch_evidence(
        self, operators: Sequence[OperatorAddress] = (), progress: ProgressCallback = ignore_progress
    ) -> EvidenceReport:
        """Return verified evidence that ``operators``, or all of today, hold.

        Works before there is a key. Raises ``ChainError``, and ``InputError`` for an address that is no operator of today.
        """
        try:
            await self.fetch(progress)
        except (NetworkError, VerificationError) as error:
            log.debug("evidence is read without a verified version: %s", error)
        for operator in operators:
            if operator not in self.transport.operators:
                raise InputError(
                    f"ask {to_hex(operator)} for evidence: it is not an operator of this set today"
                )
        survey = EvidenceSurvey(self.transport, progress)
        with trio.move_on_after(self._settings.timeout):
            await survey.run(operators or self.transport.operators)
        return survey.result()

    # -- secrets ---------------------------------------------------------------------------------------------

    async def application_key(
        self,
        app_id: AppId,
        ciphertext_version: int = NEWEST,
        progress: ProgressCallback = ignore_progress,
        *,
        attester: Attester | None = None,
    ) -> ApplicationKey:
        """Return the application's key for ciphertexts of this version, verified.

        ``client.ciphertexts`` decrypts with it. The version that gave the last key is asked first. While versions change, others
        are looked for and asked too, within the one timeout. ``attester`` proves the right to the key to each operator. Without one
        no evidence is shown, which only operators of a devnet accept.

        Raises ``QuorumError``, which names the operators that did not answer, and ``RefusedError`` if too many refused. Raises
        ``AttesterError`` if there was no evidence to show, and ``InputError`` for an address with a wrong checksum.
        """
        app_id = canonical(app_id)
        if self._epoch is None:
            await self.refresh()
        timeout = self._settings.timeout
        deadline = trio.current_time() + timeout
        epoch = self._epoch or await self._discover_version(progress, deadline - timeout / 2, deadline)
        query = KeyQuery(app_id, ciphertext_version, attester, timeout)
        recovery = KeyRecovery(self.transport, query, progress)
        with trio.CancelScope(deadline=deadline):
            await recovery.run(epoch)
        found = recovery.result
        self._epoch = None if found is None else found.epoch
        if found is None:
            raise recovery.quorum_error()
        for operator in sorted(recovery.invalid_signers):
            log.warning("operator %s sent a false partial signature", to_hex(operator))
        recipient = Recipient(app_id, self.transport.cluster, found.epoch.transcript.mpk)
        return ApplicationKey(recipient, found.app_key)

    async def decrypt(
        self,
        app_id: AppId,
        ciphertext: bytes,
        progress: ProgressCallback = ignore_progress,
        *,
        attester: Attester | None = None,
    ) -> bytes:
        """Return the plaintext.

        Raises ``VerificationError`` for a wrong application, cluster or changed ciphertext: before any operator is asked, if the
        ciphertext names another cluster. Else as ``application_key``.
        """
        plaintext = io.BytesIO()
        await self.decrypt_stream(app_id, io.BytesIO(ciphertext), plaintext, progress, attester=attester)
        return plaintext.getvalue()

    async def decrypt_stream(
        self,
        app_id: AppId,
        source: Readable,
        sink: Writable,
        progress: ProgressCallback = ignore_progress,
        *,
        attester: Attester | None = None,
    ) -> None:
        """Decrypt ``source`` to its end into ``sink``, in constant memory for version 2.

        Raises as ``decrypt``, perhaps after the beginning of the plaintext was written. A cancellation waits for ``source`` and
        ``sink``.
        """
        ciphertext = await trio.to_thread.run_sync(open_ciphertext, source)
        ciphertext.check_cluster(self.transport.cluster)
        key = await self.application_key(app_id, ciphertext.version, progress, attester=attester)
        pieces = ciphertext.plaintext(key)
        while await trio.to_thread.run_sync(_write_some, pieces, sink):
            pass

    async def fetch_secrets(
        self,
        app_id: AppId,
        attester: Attester | None = None,
        progress: ProgressCallback = ignore_progress,
    ) -> Secrets:
        """Return the environment of the application's confirmed release.

        Encrypted values replace public ones. Raises ``InputError`` if there is no such application or no release,
        ``UnusableReleaseError`` if its environment is none, ``ChainError``; and as ``decrypt``. If nothing is encrypted, no
        operator is asked.
        """
        app_id = canonical(app_id)
        release = await confirmed_release(self._applications, app_id)
        values = parse_environment(release.public_env, "public")
        if release.encrypted_env:
            plaintext = await self._decrypt_environment(app_id, release.encrypted_env, attester, progress)
            values |= parse_environment(plaintext, "encrypted")
        return Secrets(values)

    async def _decrypt_environment(
        self, app_id: AppId, sealed: bytes, attester: Attester | None, progress: ProgressCallback
    ) -> bytes:
        ciphertext = open_sealed_environment(sealed)
        ciphertext.check_cluster(self.transport.cluster)
        key = await self.application_key(app_id, ciphertext.version, progress, attester=attester)
        return await trio.to_thread.run_sync(ciphertexts.decrypt, key, sealed)


@asynccontextmanager
async def open_client(settings: ClientSettings) -> AsyncIterator[Client]:
    """Open a client with an ephemeral peer id of its own, connected on demand.

    Raises ``ChainError`` if the chain is not what was configured.
    """
    async with open_transport(settings) as transport:
        yield Client(settings, transport, applications_of(transport.chain))


def encrypt(info: ClusterInfo, app_id: AppId, plaintext: bytes, version: int = NEWEST) -> bytes:
    """Encrypt to an application; needs no network once the cluster is known.

    Raises ``InputError`` for an application id longer than operators accept: nobody could decrypt.
    """
    return ciphertexts.encrypt(info.recipient(app_id), plaintext, version)


def encrypt_stream(info: ClusterInfo, app_id: AppId, source: Readable, sink: Writable) -> int:
    """Encrypt ``source`` to its end in version 2; return the bytes of plaintext.

    Needs constant memory. Errors as ``encrypt``.
    """
    return ciphertexts.encrypt_stream(info.recipient(app_id), source, sink)


def _write_some(pieces: Iterator[bytes], sink: Writable) -> bool:
    """Write up to CHUNKS_AT_ONCE pieces; return whether there may be more."""
    written = 0
    for written, piece in enumerate(islice(pieces, CHUNKS_AT_ONCE), 1):  # noqa: B007 - counts
        sink.write(piece)
    return written == CHUNKS_AT_ONCE
