"""What operators say of their versions, verified against the chain (docs/protocol.md, Clients).

Two ways to ask. *Witnesses*: everybody for the newest version, until n−t+1 of today's operators have vouched for one over our
nonce, which is what a first pin needs. *Survey*: everybody for the newest version, to hear of all that may give a key while
versions change; who does not answer is waited for no longer than told.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

import trio

from eigenkms.chain.operator_set import RawOperatorSet
from eigenkms.client.address_book import AddressBook
from eigenkms.client.errors import NoVersionError, QuorumError
from eigenkms.crypto import bn254
from eigenkms.crypto.scalars import threshold
from eigenkms.errors import EigenKmsError, VerificationError
from eigenkms.p2p.errors import CallRefusedError
from eigenkms.protocols.wire import rpc_methods
from eigenkms.protocols.wire.certified_transcript import CertifiedTranscript
from eigenkms.protocols.wire.client_rpc import Info, decode_info, encode_info_request, read_statement
from eigenkms.types import ClusterId, OperatorAddress

Progress = Callable[[str], None]
Failures = Mapping[OperatorAddress, EigenKmsError]

ANSWER_SECONDS = 10.0


def silent(_message: str) -> None:
    """Progress that nobody watches."""


class ClientTransport(Protocol):
    """What gathering asks of a client."""

    cluster: ClusterId

    async def ask(self, operator: OperatorAddress, method: str, body: bytes, within: float) -> bytes:
        """One call to an operator, at most ``within`` seconds."""
        ...

    async def verify(self, epoch: CertifiedTranscript) -> RawOperatorSet:
        """The operator set at the epoch's block, by the chain. Raises unless it certified the epoch."""
        ...


class VersionListener(Protocol):
    """Who wants to hear of each thing as it comes."""

    def heard(self, operator: OperatorAddress, epoch: CertifiedTranscript) -> None:
        """The operator showed this version, which is verified."""
        ...

    def moved(self, operators: set[OperatorAddress]) -> None:
        """These are elsewhere than was thought."""
        ...


class VersionDiscovery:
    """One round of asking. ``verified`` are versions that need no verification any more; new ones are added to it."""

    def __init__(
        self,
        network: ClientTransport,
        directory: AddressBook,
        progress: Progress,
        verified: dict[bytes, CertifiedTranscript],
    ) -> None:
        self._network = network
        self._directory = directory
        self._progress = progress
        self._verified = verified
        self._nonce = os.urandom(32)
        self._witnesses: dict[OperatorAddress, bytes] = {}
        self._failures: dict[OperatorAddress, EigenKmsError] = {}
        self._within = ANSWER_SECONDS
        self._enough: int | None = None
        self._listener: VersionListener | None = None
        self._restarted: set[OperatorAddress] = set()
        self._verifying: dict[bytes, trio.Lock] = {}
        self._learning = trio.CapacityLimiter(1)
        n = len(directory.operators)
        self.needed = n - threshold(n) + 1 if n else 1

    # -- asking ----------------------------------------------------------------------------------------------

    async def witnesses(self, hurry_at: float) -> None:
        """Return once enough operators vouched for their newest version, or all answered.

        From ``hurry_at`` (trio's time) on one is enough.
        """
        self._enough = self.needed
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hurry, hurry_at)
            await self._ask_all(self._directory.operators)
            nursery.cancel_scope.cancel()

    async def _hurry(self, at: float) -> None:
        await trio.sleep_until(at)
        self._enough = 1
        self._stop_if_enough()

    def _stop_if_enough(self) -> None:
        if self._enough is not None and len(self._witnesses) >= self._enough:
            self._nursery.cancel_scope.cancel()

    async def survey(self, lost: Failures, within: float, listener: VersionListener) -> None:
        """Ask everybody, at most ``within`` seconds.

        ``lost`` operators cannot be reached: they are asked only if somebody tells of another address.
        """
        self._failures.update(lost)
        self._within, self._listener = within, listener
        await self._ask_all([o for o in self._directory.operators if o not in lost])

    async def _ask_all(self, operators: Sequence[OperatorAddress]) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for operator in operators:
                self._start(operator)

    def _start(self, operator: OperatorAddress) -> None:
        self._nursery.start_soon(self._ask, operator)

    async def _ask(self, operator: OperatorAddress) -> None:
        request = encode_info_request(self._network.cluster, self._nonce)
        try:
            answer = await self._network.ask(operator, rpc_methods.INFO, request, self._within)
            info = await trio.to_thread.run_sync(decode_info, answer)
            await self._take(operator, info)
            await self._learn(partial(self._directory.learn, info.records))
        except EigenKmsError as error:
            self._failures[operator] = error
        self._progress(f"{len(self._witnesses)} of {len(self._directory.operators)} operators answered")
        self._stop_if_enough()

    async def _learn(self, news: Callable[[], set[OperatorAddress]]) -> None:
        """Let the directory learn; an operator that failed where it was before is asked again, once."""
        changed = await trio.to_thread.run_sync(news, limiter=self._learning)
        if changed and self._listener is not None:
            self._listener.moved(changed)
        for moved in (changed & self._failures.keys()) - self._restarted:
            self._restarted.add(moved)
            del self._failures[moved]
            if moved in self._directory.operators:
                self._start(moved)

    # -- believing -------------------------------------------------------------------------------------------

    async def _take(self, operator: OperatorAddress, info: Info) -> None:
        """Count an operator as a witness once its statement and the certificate it shows are verified."""
        statement, transcript = read_statement(info.statement), info.epoch.transcript
        key = self._directory.key_of(operator)
        assert key is not None
        if (info.statement.sender, info.statement.cluster) != (operator, self._network.cluster) or (
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
        async with self._verifying.setdefault(transcript.hash, trio.Lock()):
            if transcript.hash not in self._verified:
                found = await self._network.verify(info.epoch)
                await self._learn(partial(self._directory.admit, found.operators))
                self._verified[transcript.hash] = info.epoch
        self._witnesses[operator] = transcript.mpk
        if self._listener is not None:
            self._listener.heard(operator, self._verified[transcript.hash])

    def newest(self) -> CertifiedTranscript:
        """The newest verified version; all must have one master public key."""
        if not self._verified:
            raise self._nothing()
        if len({e.transcript.mpk for e in self._verified.values()}) > 1:
            raise VerificationError("verify master public key: operators prove two different ones")
        return max(self._verified.values(), key=lambda e: e.transcript.version)

    def _nothing(self) -> EigenKmsError:
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

    def require_witnesses(self, mpk: bytes) -> None:
        """Raise ``QuorumError`` unless n−t+1 of today's operators vouched for ``mpk``."""
        witnesses = sum(1 for m in self._witnesses.values() if m == mpk)
        if witnesses < self.needed:
            raise QuorumError(
                f"verify master public key for the first time: {witnesses} of {len(self._directory.operators)} operators "
                f"vouch for it, {self.needed} needed; {describe_failures(self._failures)}"
            )


def describe_failures(failures: Failures) -> str:
    """``0x…: reason; …`` for people."""
    return "; ".join(f"0x{operator.hex()}: {error}" for operator, error in sorted(failures.items()))
