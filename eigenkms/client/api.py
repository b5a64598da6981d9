"""What a program imports: find a cluster from the chain, verify its key, encrypt, decrypt (docs/protocol.md, Clients).

A client trusts only the chain. It asks operators for the newest version and believes none of them: the certificate is checked
against the operator set that the chain had at its block, and the first time also vouched for by n−t+1 of today's operators, of
whom at least one is honest. Decryption asks the version's recipients for partial signatures, sealed to a key made for this one
request; the first t that combine to a key which verifies against the master public key win. If they do not combine, each is
checked against its operator's public share, and whoever lied is named.

>>> async with open_client(settings) as client:
...     plaintext = await client.decrypt(AppId("my-app"), ciphertext)
"""

import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from eigenkms.chain.config import ChainConfig, Finality
from eigenkms.chain.epochs import verify_epoch
from eigenkms.chain.reader import EigenLayerChain, open_chain
from eigenkms.client.directory import Directory
from eigenkms.client.errors import NoVersionError, QuorumError
from eigenkms.client.evidence import EvidenceGathering, Findings
from eigenkms.client.known import KnownClusters
from eigenkms.client.partials import Collector, Outcome
from eigenkms.crypto import bn254, ibe, sealing
from eigenkms.crypto.scalars import threshold
from eigenkms.errors import EigenKmsError, InputError, NetworkError, RefusedError, VerificationError
from eigenkms.p2p.errors import RpcRefused
from eigenkms.p2p.host import Host, open_host
from eigenkms.p2p.identity import PeerKey
from eigenkms.protocols import wire
from eigenkms.protocols.requests import (
    MAX_APP_ID_BYTES,
    Epoch,
    Info,
    PartialRequest,
    decode_info,
    encode_info_request,
    open_partial,
    read_statement,
)
from eigenkms.protocols.session import cluster_id
from eigenkms.types import AppId, ClusterId, OperatorAddress, Version

log = logging.getLogger(__name__)

Progress = Callable[[str], None]


@dataclass(frozen=True)
class ClientSettings:
    """``timeout`` in seconds, for all that one call asks of the network."""

    rpc_url: str = field(repr=False)
    chain_id: int
    avs: bytes
    operator_set_id: int
    allocation_manager: bytes
    key_registrar: bytes
    finality: Finality
    known_clusters_path: Path
    timeout: float = 20.0

    @property
    def chain(self) -> ChainConfig:
        return ChainConfig(
            rpc_url=self.rpc_url,
            chain_id=self.chain_id,
            avs=self.avs,
            operator_set_id=self.operator_set_id,
            allocation_manager=self.allocation_manager,
            key_registrar=self.key_registrar,
            finality=self.finality,
        )


@dataclass(frozen=True)
class ClusterInfo:
    """A cluster as verified: the version whose certificate proves its master public key."""

    cluster_id: ClusterId
    epoch: Epoch = field(repr=False)

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


def _silent(_message: str) -> None:
    return None


class Client:
    """Connections and the verified version are kept between calls. Made by ``open_client``."""

    def __init__(self, settings: ClientSettings, chain: EigenLayerChain, host: Host) -> None:
        self._settings = settings
        self._chain = chain
        self._host = host
        self.cluster = cluster_id(settings.chain.cluster)
        self._known = KnownClusters(settings.known_clusters_path)
        self._directory: Directory | None = None
        self._epoch: Epoch | None = None
        self._limiter = trio.CapacityLimiter(1)

    # -- the cluster -----------------------------------------------------------------------------------------

    async def fetch(self, progress: Progress = _silent) -> ClusterInfo:
        """The newest version, verified. Raises ``NoVersionError``, ``QuorumError``, ``ChainError``, ``VerificationError``."""
        found = await self._chain.operators_at(await self._chain.head())
        directory = self._directory = Directory(self.cluster, found.operators)
        progress(f"{len(directory.operators)} operators on chain")
        gathering = _Gathering(self, directory, progress)
        with trio.move_on_after(self._settings.timeout):
            await gathering.run()
        epoch = gathering.newest()
        pinned = await trio.to_thread.run_sync(self._known.check, self.cluster, epoch.transcript.mpk)
        if not pinned:
            gathering.require_witnesses(epoch.transcript.mpk)
            await trio.to_thread.run_sync(self._known.pin, self.cluster, epoch.transcript.mpk)
        self._epoch = epoch
        return ClusterInfo(self.cluster, epoch)

    async def ask(self, operator: OperatorAddress, method: str, body: bytes, within: float) -> bytes:
        """One call to an operator; raises ``NetworkError`` also for one without a usable address."""
        peer = None if self._directory is None else self._directory.peer_of(operator)
        if peer is None:
            raise NetworkError(f"call operator 0x{operator.hex()}: its socket on chain cannot be dialled")
        self._host.set_addresses(*peer)
        return await self._host.call(peer[0], wire.CLIENT_PROTOCOL, method, body, timeout=within)

    @property
    def version(self) -> Version | None:
        """The key version that decryptions are asked of."""
        return None if self._epoch is None else self._epoch.transcript.version

    async def verify(self, epoch: Epoch) -> None:
        """Against the chain. Raises ``VerificationError`` or ``ChainError``."""
        await verify_epoch(self._chain, self.cluster, epoch)

    async def fetch_evidence(
        self, operators: Sequence[OperatorAddress] = (), progress: Progress = _silent
    ) -> Findings:
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

    async def app_key(self, app_id: AppId, progress: Progress = _silent) -> bytes:
        """The application's private key (G1, 48 bytes), verified against the master public key.

        Raises ``QuorumError`` naming who did not answer, ``RefusedError`` if too many refused.
        """
        if self._epoch is None or self._directory is None:
            await self.fetch(progress)
        assert self._epoch is not None
        collector = Collector(app_id, self._epoch.transcript)
        with trio.move_on_after(self._settings.timeout):
            await self._collect(collector, progress)
        if collector.app_key is None:
            self._epoch = None
            raise _too_few(collector)
        for liar in collector.liars:
            log.warning("operator 0x%s sent a false partial signature", liar.hex())
        return collector.app_key

    async def _collect(self, collector: Collector, progress: Progress) -> None:
        private, public = sealing.x25519_keypair(os.urandom)
        transcript = collector.transcript
        request = PartialRequest(
            transcript.cluster, collector.app_id, transcript.hash, public, os.urandom(32)
        )
        async with trio.open_nursery() as nursery:

            async def ask(operator: OperatorAddress) -> None:
                try:
                    sealed = await self.ask(operator, wire.PARTIAL, request.encoded, self._settings.timeout)
                    frame, signature = open_partial(private, request, transcript, sealed)
                    await trio.to_thread.run_sync(
                        collector.add, operator, frame, signature, limiter=self._limiter
                    )
                except EigenKmsError as error:
                    collector.failed(operator, error)
                progress(collector.summary)
                if collector.app_key is not None:
                    nursery.cancel_scope.cancel()

            for operator in transcript.recipients.addresses:
                nursery.start_soon(ask, operator)

    async def decrypt(self, app_id: AppId, ciphertext: bytes, progress: Progress = _silent) -> bytes:
        """The plaintext. Raises ``VerificationError`` for a wrong application, cluster or changed ciphertext."""
        ibe.parse(ciphertext)
        key = await self.app_key(app_id, progress)
        return await trio.to_thread.run_sync(ibe.decrypt, app_id, key, ciphertext)


class _Gathering:
    """Answers to *info* until n−t+1 operators have said, over our nonce, what their newest version is."""

    def __init__(self, client: Client, directory: Directory, progress: Progress) -> None:
        self._client = client
        self._directory = directory
        self._progress = progress
        self._nonce = os.urandom(32)
        self._verified: dict[bytes, Epoch] = {}
        self._witnesses: dict[OperatorAddress, bytes] = {}
        self._failures: dict[OperatorAddress, EigenKmsError] = {}
        self._asking: set[OperatorAddress] = set()
        n = len(directory.operators)
        self.needed = n - threshold(n) + 1 if n else 1

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for operator in self._directory.operators:
                self._asking.add(operator)
                nursery.start_soon(self._ask, operator, nursery)

    async def _ask(self, operator: OperatorAddress, nursery: trio.Nursery) -> None:
        request = encode_info_request(self._client.cluster, self._nonce)
        try:
            answer = await self._client.ask(operator, wire.INFO, request, 10.0)
            info = await trio.to_thread.run_sync(decode_info, answer)
            await self._take(operator, info)
            changed = await trio.to_thread.run_sync(self._directory.learn, info.records)
            for moved in changed & self._failures.keys():
                del self._failures[moved]
                nursery.start_soon(self._ask, moved, nursery)
        except EigenKmsError as error:
            self._failures[operator] = error
        self._progress(f"{len(self._witnesses)} of {len(self._directory.operators)} operators answered")
        if len(self._witnesses) >= self.needed:
            nursery.cancel_scope.cancel()

    async def _take(self, operator: OperatorAddress, info: Info) -> None:
        """Count an operator as a witness once its statement and the certificate it shows are verified."""
        statement, transcript = read_statement(info.statement), info.epoch.transcript
        key = self._directory.key_of(operator)
        assert key is not None
        if (info.statement.sender, info.statement.cluster) != (operator, self._client.cluster) or (
            statement.nonce,
            statement.transcript_hash,
            statement.mpk,
        ) != (self._nonce, transcript.hash, transcript.mpk):
            raise VerificationError(
                f"verify statement of 0x{operator.hex()}: it says something else than asked"
            )
        good = await trio.to_thread.run_sync(
            bn254.verify, info.statement.digest, info.statement.signature, key
        )
        if not good:
            raise VerificationError(f"verify statement of 0x{operator.hex()}: bad signature")
        if transcript.hash not in self._verified:
            await self._client.verify(info.epoch)
            self._verified[transcript.hash] = info.epoch
        self._witnesses[operator] = transcript.mpk

    def newest(self) -> Epoch:
        """The newest verified version; all must have one master public key."""
        if not self._verified:
            raise self._nothing()
        if len({e.transcript.mpk for e in self._verified.values()}) > 1:
            raise VerificationError("verify master public key: operators prove two different ones")
        return max(self._verified.values(), key=lambda e: e.transcript.version)

    def _nothing(self) -> EigenKmsError:
        codes = [e.code for e in self._failures.values() if isinstance(e, RpcRefused)]
        if codes and all(code == "no-version" for code in codes):
            return NoVersionError(
                f"read master public key: none of the {len(codes)} operators that answered has one yet"
            )
        wrong = next((e for e in self._failures.values() if isinstance(e, VerificationError)), None)
        if wrong is not None:
            return wrong
        return QuorumError(f"read master public key: no operator answered; {self._complaints()}")

    def require_witnesses(self, mpk: bytes) -> None:
        """Raise ``QuorumError`` unless n−t+1 of today's operators vouched for ``mpk``."""
        witnesses = sum(1 for m in self._witnesses.values() if m == mpk)
        if witnesses < self.needed:
            raise QuorumError(
                f"verify master public key for the first time: {witnesses} of {len(self._directory.operators)} operators "
                f"vouch for it, {self.needed} needed; {self._complaints()}"
            )

    def _complaints(self) -> str:
        return describe_failures(self._failures)


def describe_failures(failures: dict[OperatorAddress, EigenKmsError]) -> str:
    """``0x…: reason; …`` for people."""
    return "; ".join(f"0x{operator.hex()}: {error}" for operator, error in sorted(failures.items()))


def _too_few(collector: Collector) -> EigenKmsError:
    counted = collector.count(Outcome.GOOD)
    needed = collector.transcript.threshold
    silent = collector.unanswered()
    reasons = describe_failures(dict(collector.failures))
    quiet = [f"0x{operator.hex()}: no answer in time" for operator in silent]
    false = [f"0x{operator.hex()}: its partial signature is false" for operator in collector.liars]
    message = (
        f"collect partial signatures: {counted} of {len(collector.transcript.recipients)} operators gave one, "
        f"{needed} needed; {'; '.join([*filter(None, [reasons]), *quiet, *false])}"
    )
    refused = [
        e for e in collector.failures.values() if isinstance(e, RpcRefused) and e.code == "not-authorised"
    ]
    if len(refused) > len(collector.transcript.recipients) - needed:
        return RefusedError(
            message, hint="prove the right to this application's key, or ask the operators why"
        )
    return QuorumError(message)


@asynccontextmanager
async def open_client(settings: ClientSettings) -> AsyncIterator[Client]:
    """A client with its own ephemeral peer id, connected on demand.

    Raises ``ChainError`` if the chain is not what was configured.
    """
    async with open_chain(settings.chain) as chain, open_host(PeerKey.generate()) as host:
        yield Client(settings, chain, host)


async def fetch_cluster(settings: ClientSettings, progress: Progress = _silent) -> ClusterInfo:
    """One-shot ``Client.fetch``."""
    async with open_client(settings) as client:
        return await client.fetch(progress)


async def decrypt(
    settings: ClientSettings, app_id: AppId, ciphertext: bytes, progress: Progress = _silent
) -> bytes:
    """One-shot ``Client.decrypt``."""
    async with open_client(settings) as client:
        return await client.decrypt(app_id, ciphertext, progress)


async def fetch_evidence(
    settings: ClientSettings, operators: Sequence[OperatorAddress] = (), progress: Progress = _silent
) -> Findings:
    """One-shot ``Client.fetch_evidence``."""
    async with open_client(settings) as client:
        return await client.fetch_evidence(operators, progress)


def encrypt(info: ClusterInfo, app_id: AppId, plaintext: bytes) -> bytes:
    """Encrypt to an application; needs no network once the cluster is known.

    Raises ``InputError`` for an application id longer than operators accept: nobody could decrypt.
    """
    if len(app_id.encode()) > MAX_APP_ID_BYTES:
        raise InputError(f"encrypt: the application id is longer than {MAX_APP_ID_BYTES} bytes")
    return ibe.encrypt(app_id, info.mpk, plaintext, os.urandom)
