"""What operators hold against others, gathered from them and believed of none (docs/protocol.md, Evidence and Clients).

Operators are asked page by page. Each piece must prove its fault by itself, and the operators and keys that it names must be those
that the chain had at its block: then it does not matter who showed it. The same proof from several operators is one piece, with all
of them as its holders. What does not verify is told with the name of the operator that showed it, which lies or is broken.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import trio

from eigenkms.chain.certificate_check import verify_operators
from eigenkms.chain.config import ChainConfig
from eigenkms.chain.operator_set_source import OperatorSetSource, open_chain
from eigenkms.errors import ChainError, EigenKmsError, NetworkError, RemoteProtocolError, VerificationError
from eigenkms.protocols.records.evidence import Fault
from eigenkms.protocols.records.evidence_bundle import Bundle, BundleName, check_bundle, decode_bundle
from eigenkms.protocols.wire import rpc_methods
from eigenkms.protocols.wire.client_rpc import decode_evidence_page, encode_evidence_request
from eigenkms.protocols.wire.session import cluster_id
from eigenkms.storage.evidence_table import EVIDENCE_LIMIT
from eigenkms.types import ClusterId, OperatorAddress

MAX_REJECTED = 8
"""Pieces of one operator that do not verify; then nothing more is taken of it."""
PAGE_SECONDS = 10.0

Ask = Callable[[OperatorAddress, str, bytes, float], Awaitable[bytes]]


@dataclass(frozen=True)
class VerifiedEvidence:
    """One verified piece of evidence and the operators that showed it, ascending."""

    bundle: Bundle
    holders: tuple[OperatorAddress, ...]


@dataclass(frozen=True)
class EvidenceReport:
    """What ``asked`` operators showed: ``pieces`` in the order of ``in_order``; ``rejected`` are (operator, what is wrong with a
    piece that it showed); ``failures`` say why an operator's evidence is not here, or not all of it.
    """

    asked: int

    pieces: tuple[VerifiedEvidence, ...]
    rejected: tuple[tuple[OperatorAddress, str], ...]
    failures: Mapping[OperatorAddress, EigenKmsError]


def in_order(bundle: Bundle) -> tuple[int, BundleName]:
    """Sorts bundles by block, and those of one session by whom they accuse of what."""
    return bundle.session.boundary.number, bundle.name


class EvidenceGathering:
    """Asks operators for all their evidence and verifies it; ``result`` also gives what there is when time ran out."""

    def __init__(
        self, chain: OperatorSetSource, cluster: ClusterId, ask: Ask, progress: Callable[[str], None]
    ) -> None:
        self._chain = chain
        self._cluster = cluster
        self._ask = ask
        self._progress = progress
        self._limiter = trio.CapacityLimiter(1)
        self._verifying = trio.Lock()
        self._verdicts: dict[bytes, Bundle | VerificationError] = {}
        self._shown: dict[BundleName, tuple[Bundle, set[OperatorAddress]]] = {}
        self._rejected: list[tuple[OperatorAddress, str]] = []
        self._failures: dict[OperatorAddress, EigenKmsError] = {}
        self._chain_error: ChainError | None = None
        self._asked = 0
        self._waiting: set[OperatorAddress] = set()

    async def run(self, operators: Iterable[OperatorAddress]) -> None:
        """Raises ``ChainError`` if the chain cannot say who the operators were."""
        self._waiting = set(operators)
        self._asked = len(self._waiting)
        async with trio.open_nursery() as nursery:
            for operator in sorted(self._waiting):
                nursery.start_soon(self._ask_all, operator, nursery)
        if self._chain_error is not None:
            raise self._chain_error

    def result(self) -> EvidenceReport:
        late = {operator: NetworkError("no answer in time") for operator in self._waiting}
        pieces = [
            VerifiedEvidence(bundle, tuple(sorted(holders))) for bundle, holders in self._shown.values()
        ]
        return EvidenceReport(
            self._asked,
            tuple(sorted(pieces, key=lambda piece: in_order(piece.bundle))),
            tuple(sorted(self._rejected)),
            {**late, **self._failures},
        )

    async def _ask_all(self, operator: OperatorAddress, nursery: trio.Nursery) -> None:
        try:
            await self._ask_pages(operator)
        except ChainError as error:
            self._chain_error = error
            nursery.cancel_scope.cancel()
        except EigenKmsError as error:
            self._failures[operator] = error
        self._waiting.discard(operator)
        self._progress(
            f"{self._asked - len(self._waiting)} of {self._asked} operators asked, {len(self._shown)} pieces"
        )

    async def _ask_pages(self, operator: OperatorAddress) -> None:
        budget, after, more = _Quota(), 0, True
        while more:
            request = encode_evidence_request(self._cluster, after)
            answer = await self._ask(operator, rpc_methods.EVIDENCE, request, PAGE_SECONDS)
            page = await trio.to_thread.run_sync(decode_evidence_page, answer, after)
            for number, encoded in page.bundles:
                budget.spend(await self._take(operator, encoded))
                after = number
            more = page.more

    async def _take(self, operator: OperatorAddress, encoded: bytes) -> Bundle | None:
        """The piece, if it is one."""
        async with self._verifying:
            if encoded not in self._verdicts:
                self._verdicts[encoded] = await self._judge(encoded)
        verdict = self._verdicts[encoded]
        if isinstance(verdict, VerificationError):
            self._rejected.append((operator, str(verdict)))
            return None
        self._shown.setdefault(verdict.name, (verdict, set()))[1].add(operator)
        return verdict

    async def _judge(self, encoded: bytes) -> Bundle | VerificationError:
        try:
            bundle = await trio.to_thread.run_sync(read_and_check, encoded, limiter=self._limiter)
            await verify_on_chain(self._chain, self._cluster, bundle)
        except VerificationError as error:
            return error
        return bundle


class _Quota:
    """What one operator may show: no more than an honest one keeps, so that nobody can keep us busy while others wait."""

    def __init__(self) -> None:
        self._rejected = 0
        self._kinds: Counter[tuple[OperatorAddress, Fault]] = Counter()

    def spend(self, bundle: Bundle | None) -> None:
        """Count a piece, or one that is none. Raises ``RemoteProtocolError`` where it is one too many."""
        if bundle is None:
            self._rejected += 1
        else:
            self._kinds[bundle.evidence.accused, bundle.evidence.fault] += 1
        if self._rejected > MAX_REJECTED:
            raise RemoteProtocolError(f"read evidence: more than {MAX_REJECTED} pieces do not verify")
        if max(self._kinds.values(), default=0) > EVIDENCE_LIMIT:
            raise RemoteProtocolError(
                f"read evidence: more than {EVIDENCE_LIMIT} pieces of one kind against one operator"
            )


def read_and_check(encoded: bytes) -> Bundle:
    """A bundle that proves its fault by the keys which it names. Raises ``VerificationError``. CPU-bound: a pairing a frame."""
    try:
        bundle = decode_bundle(encoded)
    except RemoteProtocolError as error:
        raise VerificationError(str(error)) from error
    check_bundle(bundle)
    return bundle


async def verify_on_chain(chain: OperatorSetSource, cluster: ClusterId, bundle: Bundle) -> None:
    """Raise ``VerificationError`` unless the operators that ``bundle`` names, and those of its source, are the chain's.

    Raises ``ChainError`` if the chain cannot say.
    """
    session = bundle.session
    if session.cluster != cluster:
        raise VerificationError("verify evidence: it is of another cluster")
    await verify_operators(chain, session.boundary, session.recipients, "verify evidence")
    source = bundle.evidence.source
    if source is not None:
        await verify_operators(chain, source.boundary, source.recipients, "verify source of evidence")


async def compare_with_chain(
    config: ChainConfig, bundles: Sequence[Bundle]
) -> tuple[VerificationError | None, ...]:
    """For each bundle what the chain has against it. Raises ``ChainError`` if the chain cannot say."""
    verdicts: list[VerificationError | None] = []
    async with open_chain(config) as chain:
        for bundle in bundles:
            try:
                await verify_on_chain(chain, cluster_id(config.cluster), bundle)
            except VerificationError as error:
                verdicts.append(error)
            else:
                verdicts.append(None)
    return tuple(verdicts)
