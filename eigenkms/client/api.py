"""What a program imports: find a cluster from the chain, verify its key, encrypt, decrypt (docs/protocol.md, Clients).

A client trusts only the chain. It asks operators for the newest version and believes none of them: the certificate is checked
against the operator set that the chain had at its block, and the first time also vouched for by n−t+1 of today's operators, of
whom at least one is honest. Decryption asks the version's recipients for partial signatures, sealed to a key made for this one
request; the first t that combine to a key which verifies against the master public key win. If they do not combine, each is
checked against its operator's public share, and whoever lied is named. Which version that is may change under the request.

>>> async with open_client(settings) as client:
...     plaintext = await client.decrypt(AppId("my-app"), ciphertext)

What needs no network stands in ``client.ciphertexts``.
"""

import io
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import trio

from eigenkms.applications import Applications, AppRelease, UnusableReleaseError
from eigenkms.chain.anchor import AnchorConfig
from eigenkms.chain.applications import applications_of
from eigenkms.chain.certificate_check import verify_epoch
from eigenkms.chain.config import ChainConfig
from eigenkms.chain.operator_set import RawOperatorSet
from eigenkms.chain.operator_set_source import OperatorSetSource, open_chain
from eigenkms.client import ciphertexts
from eigenkms.client.address_book import AddressBook, Place
from eigenkms.client.attesters import Attester
from eigenkms.client.ciphertexts import NEWEST, Readable, Writable, open_ciphertext
from eigenkms.client.evidence import EvidenceGathering, EvidenceReport
from eigenkms.client.key_recovery import KeyRecovery
from eigenkms.client.known_clusters import KnownClusters
from eigenkms.client.release_environment import MAX_SEALED_BYTES, Secrets, parse_environment
from eigenkms.client.version_discovery import Failures, Progress, VersionDiscovery, VersionListener, silent
from eigenkms.crypto.app_ids import canonical
from eigenkms.crypto.ibe_v2 import ApplicationKey, Recipient
from eigenkms.errors import InputError, NetworkError, VerificationError
from eigenkms.p2p.host import Host, open_host
from eigenkms.p2p.identity import PeerKey
from eigenkms.protocols.wire import rpc_methods
from eigenkms.protocols.wire.certified_transcript import CertifiedTranscript
from eigenkms.protocols.wire.session import cluster_id
from eigenkms.types import AppId, ClusterId, OperatorAddress, Version

log = logging.getLogger(__name__)

Witness = Callable[[CertifiedTranscript], Awaitable[None]]
"""Looks at a version that is verified; raises for one that must not be used."""

CHUNKS_AT_ONCE = 32
"""How many of a stream are decrypted before a cancellation is noticed; with the usual ones, 2 MiB."""


@dataclass(frozen=True, kw_only=True)
class ClientSettings(ChainConfig):
    """The chain's settings, and those of a client. ``timeout``: seconds for all that one call asks of the network.

    ``app_controller`` is needed by ``fetch_secrets`` alone, ``anchor`` by ``anchor_check`` alone.
    """

    known_clusters_path: Path
    timeout: float = 20.0
    anchor: AnchorConfig | None = None


@dataclass(frozen=True)
class ClusterInfo:
    """A cluster as verified: the version whose certificate proves its master public key."""

    cluster_id: ClusterId
    epoch: CertifiedTranscript = field(repr=False)

    @property
    def mpk(self) -> bytes:
        """Master public key, G2, 96 bytes."""
        return self.epoch.transcript.mpk

    @property
    def version(self) -> Version:
        return self.epoch.transcript.version

    @property
    def threshold(self) -> int:
        """Partial signatures that a decryption needs."""
        return self.epoch.transcript.threshold

    @property
    def operators(self) -> tuple[OperatorAddress, ...]:
        """Who holds shares of this version, ascending."""
        return self.epoch.transcript.recipients.addresses

    def recipient(self, app_id: AppId) -> Recipient:
        """An application of this cluster, to encrypt to. Raises ``InputError`` for an address with a wrong checksum."""
        return Recipient(canonical(app_id), self.cluster_id, self.mpk)


class Client:
    """Connections and the verified version are kept between calls. Made by ``open_client``."""

    def __init__(
        self,
        settings: ClientSettings,
        chain: OperatorSetSource,
        host: Host,
        applications: Applications | None = None,
    ) -> None:
        self._settings = settings
        self._chain = chain
        self._host = host
        self._applications = applications
        self.cluster = cluster_id(settings.cluster)
        self._known = KnownClusters(settings.known_clusters_path)
        self._directory: AddressBook | None = None
        self._epoch: CertifiedTranscript | None = None
        self._limiter = trio.CapacityLimiter(1)

    # -- the cluster -----------------------------------------------------------------------------------------

    async def fetch(self, progress: Progress = silent, witness: Witness | None = None) -> ClusterInfo:
        """The newest version, verified; ``witness`` is called with it before its key is pinned, and may raise.

        Raises ``NoVersionError``, ``QuorumError``, ``ChainError``, ``VerificationError``.
        """
        await self.refresh()
        deadline = trio.current_time() + self._settings.timeout
        return ClusterInfo(self.cluster, await self._find(progress, deadline, deadline, witness))

    async def refresh(self) -> None:
        """Read today's operator set. Raises ``ChainError``."""
        found = await self._chain.operators_at(await self._chain.head())
        if self._directory is None:
            self._directory = AddressBook(self.cluster, found.operators)
        else:
            self._directory.update(found.operators)
        self._host.set_home(self._directory.home)

    async def _find(
        self, progress: Progress, hurry_at: float, deadline: float, witness: Witness | None = None
    ) -> CertifiedTranscript:
        """The newest version that enough of today's operators vouch for. Pins its key, if none is pinned yet.

        If one is pinned, any verified version will do from ``hurry_at`` on.
        """
        assert self._directory is not None
        pinned = await trio.to_thread.run_sync(self._known.get, self.cluster)
        progress(f"{len(self._directory.operators)} operators on chain")
        gathering = VersionDiscovery(self, self._directory, progress, {})
        with trio.CancelScope(deadline=deadline):
            await gathering.witnesses(deadline if pinned is None else hurry_at)
        epoch = gathering.newest()
        is_pinned = await trio.to_thread.run_sync(self._known.check, self.cluster, epoch.transcript.mpk)
        if not is_pinned:
            gathering.require_witnesses(epoch.transcript.mpk)
        if witness is not None:
            await witness(epoch)
        if not is_pinned:
            await trio.to_thread.run_sync(self._known.pin, self.cluster, epoch.transcript.mpk)
        self._epoch = epoch
        return epoch

    async def survey(
        self,
        verified: dict[bytes, CertifiedTranscript],
        lost: Failures,
        within: float,
        listener: VersionListener,
    ) -> None:
        """Hear of all versions that today's operators know; see ``VersionDiscovery.survey``."""
        assert self._directory is not None
        await VersionDiscovery(self, self._directory, silent, verified).survey(lost, within, listener)

    def peer_of(self, operator: OperatorAddress) -> Place | None:
        """The peer that the operator is thought to be, and where."""
        return None if self._directory is None else self._directory.peer_of(operator)

    async def ask(self, operator: OperatorAddress, method: str, body: bytes, within: float) -> bytes:
        """One call to an operator; raises ``NetworkError`` also for one without a usable address."""
        peer = self.peer_of(operator)
        if peer is None:
            raise NetworkError(f"call operator 0x{operator.hex()}: its socket on chain cannot be dialled")
        self._host.set_addresses(*peer)
        return await self._host.call(peer[0], rpc_methods.CLIENT_PROTOCOL, method, body, timeout=within)

    @property
    def version(self) -> Version | None:
        """The key version that decryptions are asked of."""
        return None if self._epoch is None else self._epoch.transcript.version

    async def verify(self, epoch: CertifiedTranscript) -> RawOperatorSet:
        """The set at its block, by the chain. Raises ``VerificationError`` unless it certified ``epoch``, or ``ChainError``."""
        return await verify_epoch(self._chain, self.cluster, epoch)

    async def fetch_evidence(
        self, operators: Sequence[OperatorAddress] = (), progress: Progress = silent
    ) -> EvidenceReport:
        """What today's operators, or those given, hold against others; each piece verified, also against the chain.

        Works before there is a key. Raises ``ChainError``, and ``InputError`` for one who is no operator.
        """
        try:
            await self.fetch(progress)
        except (NetworkError, VerificationError) as error:
            log.debug("evidence is read without a verified version: %s", error)
        assert self._directory is not None
        for operator in operators:
            if operator not in self._directory.operators:
                raise InputError(
                    f"ask 0x{operator.hex()} for evidence: it is not an operator of this set today"
                )
        gathering = EvidenceGathering(self._chain, self.cluster, self.ask, progress)
        with trio.move_on_after(self._settings.timeout):
            await gathering.run(operators or self._directory.operators)
        return gathering.result()

    # -- secrets ---------------------------------------------------------------------------------------------

    async def application_key(
        self,
        app_id: AppId,
        ciphertext_version: int = NEWEST,
        progress: Progress = silent,
        *,
        attester: Attester | None = None,
    ) -> ApplicationKey:
        """The application's key for ciphertexts of this version, verified against the master public key: ``client.ciphertexts``
        decrypts with it.

        The version that gave the last key is asked first. While versions change, others are found and asked besides, within
        the one timeout. ``attester`` proves the right to the key to each operator; without one nothing is shown, which only a
        devnet's operators accept. Raises ``QuorumError`` naming who did not answer, ``RefusedError`` if too many refused,
        ``AttesterError`` if there was no evidence to show, ``InputError`` for an address with a wrong checksum.
        """
        app_id = canonical(app_id)
        if self._epoch is None:
            await self.refresh()
        timeout = self._settings.timeout
        deadline = trio.current_time() + timeout
        epoch = self._epoch or await self._find(progress, deadline - timeout / 2, deadline)
        pursuit = KeyRecovery(self, app_id, ciphertext_version, attester, progress, timeout)
        with trio.CancelScope(deadline=deadline):
            await pursuit.run(epoch)
        self._epoch = pursuit.epoch
        if pursuit.app_key is None or pursuit.epoch is None:
            raise pursuit.too_few()
        for liar in sorted(pursuit.liars):
            log.warning("operator 0x%s sent a false partial signature", liar.hex())
        return ApplicationKey(Recipient(app_id, self.cluster, pursuit.epoch.transcript.mpk), pursuit.app_key)

    async def decrypt(
        self,
        app_id: AppId,
        ciphertext: bytes,
        progress: Progress = silent,
        *,
        attester: Attester | None = None,
    ) -> bytes:
        """The plaintext. Raises ``VerificationError`` for a wrong application, cluster or changed ciphertext; where the ciphertext
        names another cluster, before anybody is asked. Else as ``application_key``.
        """
        plaintext = io.BytesIO()
        await self.decrypt_stream(app_id, io.BytesIO(ciphertext), plaintext, progress, attester=attester)
        return plaintext.getvalue()

    async def decrypt_stream(
        self,
        app_id: AppId,
        source: Readable,
        sink: Writable,
        progress: Progress = silent,
        *,
        attester: Attester | None = None,
    ) -> None:
        """From ``source`` to its end, in constant memory for version 2. Raises as ``decrypt``, perhaps after the beginning of the
        plaintext was written. A cancellation waits for ``source`` and ``sink``.
        """
        ciphertext = await trio.to_thread.run_sync(open_ciphertext, source)
        ciphertext.check_cluster(self.cluster)
        key = await self.application_key(app_id, ciphertext.version, progress, attester=attester)
        pieces = ciphertext.plaintext(key)
        while await trio.to_thread.run_sync(_write_some, pieces, sink):
            pass

    async def fetch_secrets(
        self, app_id: AppId, attester: Attester | None = None, progress: Progress = silent
    ) -> Secrets:
        """The environment of the application's confirmed release: the public one, and over it what was encrypted.

        Raises ``InputError`` if there is no such application or no release, ``UnusableReleaseError`` if its environment is none,
        ``ChainError``; and as ``decrypt``. Where nothing is encrypted, no operator is asked.
        """
        app_id = canonical(app_id)
        release = await self._release(app_id)
        values = parse_environment(release.public_env, "public")
        if release.encrypted_env:
            plaintext = await self._open_environment(app_id, release.encrypted_env, attester, progress)
            values |= parse_environment(plaintext, "encrypted")
        return Secrets(values)

    async def _release(self, app_id: AppId) -> AppRelease:
        if self._applications is None:
            raise InputError(
                f"look up application {app_id!r}: the contract that knows applications is not configured",
                hint="give its address as app_controller",
            )
        application = await self._applications.lookup(app_id)
        if application is None:
            raise InputError(
                f"look up application {app_id!r}: the chain knows no such application",
                hint="give its address, 0x and 40 hex digits, as it was created",
            )
        if application.release is None:
            raise InputError(
                f"look up application {app_id!r}: it has no confirmed release",
                hint="publish one, and have it confirmed",
            )
        return application.release

    async def _open_environment(
        self, app_id: AppId, sealed: bytes, attester: Attester | None, progress: Progress
    ) -> bytes:
        if len(sealed) > MAX_SEALED_BYTES:
            raise UnusableReleaseError(f"read the encrypted environment: more than {MAX_SEALED_BYTES} bytes")
        try:
            ciphertext = open_ciphertext(io.BytesIO(sealed))
        except InputError as error:
            raise UnusableReleaseError(f"read the encrypted environment: {error}", hint=error.hint) from error
        ciphertext.check_cluster(self.cluster)
        key = await self.application_key(app_id, ciphertext.version, progress, attester=attester)
        return await trio.to_thread.run_sync(ciphertexts.decrypt, key, sealed)


@asynccontextmanager
async def open_client(settings: ClientSettings) -> AsyncIterator[Client]:
    """A client with its own ephemeral peer id, connected on demand.

    Raises ``ChainError`` if the chain is not what was configured.
    """
    async with open_chain(settings) as chain, open_host(PeerKey.generate()) as host:
        yield Client(settings, chain, host, applications_of(chain))


async def fetch_cluster(settings: ClientSettings, progress: Progress = silent) -> ClusterInfo:
    """One-shot ``Client.fetch``."""
    async with open_client(settings) as client:
        return await client.fetch(progress)


async def fetch_application_key(
    settings: ClientSettings,
    app_id: AppId,
    ciphertext_version: int = NEWEST,
    progress: Progress = silent,
    *,
    attester: Attester | None = None,
) -> ApplicationKey:
    """One-shot ``Client.application_key``."""
    async with open_client(settings) as client:
        return await client.application_key(app_id, ciphertext_version, progress, attester=attester)


async def decrypt(
    settings: ClientSettings,
    app_id: AppId,
    ciphertext: bytes,
    progress: Progress = silent,
    *,
    attester: Attester | None = None,
) -> bytes:
    """One-shot ``Client.decrypt``."""
    async with open_client(settings) as client:
        return await client.decrypt(app_id, ciphertext, progress, attester=attester)


async def fetch_secrets(
    settings: ClientSettings, app_id: AppId, attester: Attester | None = None, progress: Progress = silent
) -> Secrets:
    """One-shot ``Client.fetch_secrets``."""
    async with open_client(settings) as client:
        return await client.fetch_secrets(app_id, attester, progress)


async def fetch_evidence(
    settings: ClientSettings, operators: Sequence[OperatorAddress] = (), progress: Progress = silent
) -> EvidenceReport:
    """One-shot ``Client.fetch_evidence``."""
    async with open_client(settings) as client:
        return await client.fetch_evidence(operators, progress)


def encrypt(info: ClusterInfo, app_id: AppId, plaintext: bytes, version: int = NEWEST) -> bytes:
    """Encrypt to an application; needs no network once the cluster is known.

    Raises ``InputError`` for an application id longer than operators accept: nobody could decrypt.
    """
    return ciphertexts.encrypt(info.recipient(app_id), plaintext, version)


def encrypt_stream(info: ClusterInfo, app_id: AppId, source: Readable, sink: Writable) -> int:
    """Version 2 in constant memory, from ``source`` to its end; the bytes of plaintext. Errors as ``encrypt``."""
    return ciphertexts.encrypt_stream(info.recipient(app_id), source, sink)


def _write_some(pieces: Iterator[bytes], sink: Writable) -> bool:
    """Whether there may be more."""
    written = 0
    for written, piece in enumerate(islice(pieces, CHUNKS_AT_ONCE), 1):  # noqa: B007 - counts
        sink.write(piece)
    return written == CHUNKS_AT_ONCE
