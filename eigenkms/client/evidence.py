"""Evidence that operators hold against others, verified piece by piece.

Operators are asked page by page (docs/protocol.md, Evidence and Clients). Each piece must prove its fault by itself. The operators
and keys that it names must be those that the chain had at its block. Then it does not matter which operator showed it. The same
proof from several operators is one piece, with all of them as its holders. A piece that does not verify is reported with the
operator that showed it, which lies or is broken.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import trio

from eigenkms.client.evidence_confirmation import verify_on_chain
from eigenkms.client.evidence_verdict import read_and_check, sort_key
from eigenkms.client.progress import ProgressCallback
from eigenkms.client.transport import ClientTransport
from eigenkms.errors import ChainError, EigenKmsError, NetworkError, RemoteProtocolError, VerificationError
from eigenkms.protocols.records.evidence import Fault
from eigenkms.protocols.records.evidence_bundle import Bundle, BundleName
from eigenkms.storage.evidence_table import EVIDENCE_LIMIT
from eigenkms.types import OperatorAddress
from eigenkms.wire.client_rpc import decode_evidence_page, encode_evidence_request
from eigenkms.wire.rpc_methods import EVIDENCE

MAX_REJECTED = 8
"""Pieces of one operator that do not verify; with one more, the rest of its pages is not read."""
PAGE_SECONDS = 10.0
"""Timeout for one page of one operator."""


@dataclass(frozen=True)
class VerifiedEvidence:
    """One piece that verifies. ``holders``: the operators that showed it, ascending.

    ``noticed``: the unix seconds at which a node noticed it, if it is out of that node's data folder.
    """

    bundle: Bundle
    holders: tuple[OperatorAddress, ...] = ()
    noticed: int | None = None


@dataclass(frozen=True)
class EvidenceReport:
    """The evidence that ``asked`` operators showed, or that a data folder has.

    ``pieces`` are in the order of ``sort_key``. ``rejected``: (operator, reason) for each piece that does not verify; the operator
    is None for a piece out of a data folder. ``failures``: why the evidence of an operator is missing, or incomplete.
    """

    asked: int
    pieces: tuple[VerifiedEvidence, ...]
    rejected: tuple[tuple[OperatorAddress | None, str], ...] = ()
    failures: Mapping[OperatorAddress, EigenKmsError] = field(default_factory=dict)


class EvidenceSurvey:
    """Reads and verifies all evidence of operators.

    ``result`` may be called after a ``run`` that was cancelled.
    """

    def __init__(self, transport: ClientTransport, progress: ProgressCallback) -> None:
        self._transport = transport
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
        """Ask ``operators`` for all their evidence.

        Raises ``ChainError`` if the chain cannot name the operators of a block.
        """
        self._waiting = set(operators)
        self._asked = len(self._waiting)
        async with trio.open_nursery() as nursery:
            for operator in sorted(self._waiting):
                nursery.start_soon(self._read_operator, operator, nursery)
        if self._chain_error is not None:
            raise self._chain_error

    def result(self) -> EvidenceReport:
        """Return what was found so far; operators without an answer are failures."""
        late = {operator: NetworkError("no answer in time") for operator in self._waiting}
        pieces = [
            VerifiedEvidence(bundle, tuple(sorted(holders))) for bundle, holders in self._shown.values()
        ]
        return EvidenceReport(
            self._asked,
            tuple(sorted(pieces, key=lambda piece: sort_key(piece.bundle))),
            tuple(sorted(self._rejected)),
            {**late, **self._failures},
        )

    async def _read_operator(self, operator: OperatorAddress, nursery: trio.Nursery) -> None:
        try:
            await self._read_pages(operator)
        except ChainError as error:
            self._chain_error = error
            nursery.cancel_scope.cancel()
        except EigenKmsError as error:
            self._failures[operator] = error
        self._waiting.discard(operator)
        self._progress(
            f"{self._asked - len(self._waiting)} of {self._asked} operators asked, {len(self._shown)} pieces"
        )

    async def _read_pages(self, operator: OperatorAddress) -> None:
        quota, after, more = _Quota(), 0, True
        while more:
            request = encode_evidence_request(self._transport.cluster, after)
            answer = await self._transport.call(operator, EVIDENCE, request, PAGE_SECONDS)
            page = await trio.to_thread.run_sync(decode_evidence_page, answer, after)
            for number, encoded in page.bundles:
                quota.charge(await self._verify_piece(operator, encoded))
                after = number
            more = page.more

    async def _verify_piece(self, operator: OperatorAddress, encoded: bytes) -> Bundle | None:
        """Record one piece; return it if it verifies.

        Each distinct piece is verified once.
        """
        async with self._verifying:
            if encoded not in self._verdicts:
                self._verdicts[encoded] = await self._check(encoded)
        verdict = self._verdicts[encoded]
        if isinstance(verdict, VerificationError):
            self._rejected.append((operator, str(verdict)))
            return None
        self._shown.setdefault(verdict.name, (verdict, set()))[1].add(operator)
        return verdict

    async def _check(self, encoded: bytes) -> Bundle | VerificationError:
        try:
            bundle = await trio.to_thread.run_sync(read_and_check, encoded, limiter=self._limiter)
            await verify_on_chain(self._transport.chain, self._transport.cluster, bundle)
        except VerificationError as error:
            return error
        return bundle


class _Quota:
    """Limit of what one operator may show: no more than an honest one keeps.

    So no operator can delay the others.
    """

    def __init__(self) -> None:
        self._rejected = 0
        self._kinds: Counter[tuple[OperatorAddress, Fault]] = Counter()

    def charge(self, bundle: Bundle | None) -> None:
        """Count a piece, or None for one that does not verify.

        Raises ``RemoteProtocolError`` beyond the limit.
        """
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
