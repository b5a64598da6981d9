"""Use several RPC endpoints of one chain as one.

The first one that works is used, in the order of the configuration (``provider_health``). An endpoint is passed over
within the same call if it cannot be reached, asks for a pause, answers no JSON-RPC, or takes too long. It is left alone
until a probe finds it well (``provider_probes``). Then it is used again, if it stands before the others.

A call has one deadline whatever the number of endpoints. Each but the last gets half of the remaining time. If an
endpoint fails in between, the next call goes to another one. That mixes no forks because reads are pinned to a block
hash. Reads by number that must be consistent go through ``at_one``: all to one endpoint, or all again to another.

A refusal (a JSON-RPC error) is an answer. If the contract reverted, it is final. Otherwise another endpoint may answer,
for example because it keeps older state, and the first refusal is raised if none does. Requests that change something
(``retry=False``) go to one endpoint only.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, TypeVar

import trio

from eigenkms.chain import transport
from eigenkms.chain.endpoints import check_distinct
from eigenkms.chain.provider import Provider, ProviderStatus, WrongChainError
from eigenkms.chain.provider_health import STALE_SECONDS, ProviderHealth
from eigenkms.chain.provider_probes import ProviderProbes
from eigenkms.chain.rpc import (
    ATTEMPTS,
    MAX_BATCH,
    JsonRpc,
    Request,
    RpcAnswerError,
    RpcRefusedError,
    RpcStatistics,
    RpcTooLargeError,
    RpcUnavailableError,
)
from eigenkms.chain.rpc_values import Json
from eigenkms.errors import ChainError, InputError

T = TypeVar("T")
DEADLINE_SECONDS: Final = 5.0
MAX_PROVIDERS: Final = 8


class RpcPool:
    """The endpoints as one ``Rpc``.

    Made by ``open_pool``; safe for many tasks at once.
    """

    def __init__(self, health: ProviderHealth, probes: ProviderProbes, *, deadline: float) -> None:
        self.health: Final = health
        self.probes: Final = probes
        self._deadline = deadline

    @property
    def providers(self) -> tuple[Provider, ...]:
        """Return the endpoints, in the order of the configuration."""
        return self.health.providers

    def __repr__(self) -> str:
        return f"<RpcPool {', '.join(provider.rpc.endpoint for provider in self.providers)}>"

    @property
    def endpoint(self) -> str:
        """Return the endpoint in use, for messages."""
        return self.health.in_use.rpc.endpoint

    def statistics(self) -> RpcStatistics:
        """Return the statistics of all endpoints together, probes included."""
        each = [provider.rpc.statistics() for provider in self.providers]
        return RpcStatistics(
            sum(s.requests for s in each), sum(s.retries for s in each), sum(s.failures for s in each)
        )

    def status(self) -> tuple[ProviderStatus, ...]:
        """Return the status of each endpoint, in the order of the configuration."""
        return self.health.status()

    @property
    def stale(self) -> bool:
        """Return whether no endpoint that ``call`` would use first has a new block."""
        return self.health.stale

    @property
    def disagreements(self) -> int:
        """Return the number of boundaries about which the endpoints disagreed."""
        return self.health.disagreements

    @property
    def split(self) -> str | None:
        """Return what each endpoint has of one block, while they are on different forks."""
        return self.probes.split

    def witnesses(self) -> tuple[Provider, ...]:
        """Return the endpoints to compare: all that work, or those that ``call`` would use."""
        return tuple(sorted(self.health.candidates(), key=lambda provider: provider.index))

    # ------------------------------------------------------------------------------------------------ asking

    async def call(self, method: str, *params: Json, retry: bool = True) -> Json:
        """Call as ``JsonRpc.call``, at the first endpoint that can answer."""

        async def ask(provider: Provider) -> Json:
            await self._verify(provider)
            return await provider.rpc.call(method, *params, retry=False)

        return await self._first(method, ask, retry=retry)

    async def batch(self, requests: Sequence[Request]) -> tuple[Json, ...]:
        """Call as ``JsonRpc.batch``, each round trip at the first endpoint that can answer."""
        outcomes = await self.batch_outcomes(requests)
        for outcome in outcomes:
            if isinstance(outcome, RpcRefusedError):
                raise outcome
        return tuple(outcome for outcome in outcomes if not isinstance(outcome, RpcRefusedError))

    async def batch_outcomes(self, requests: Sequence[Request]) -> tuple[Json | RpcRefusedError, ...]:
        """Call as ``JsonRpc.batch_outcomes``, at the first endpoint that can answer."""
        outcomes: list[Json | RpcRefusedError] = []
        for start in range(0, len(requests), MAX_BATCH):
            outcomes += await self._one_batch(requests[start : start + MAX_BATCH])
        return tuple(outcomes)

    async def at_one(self, read: Callable[[JsonRpc], Awaitable[T]]) -> T:
        """Return the result of ``read``, all of whose calls go to one endpoint.

        On ChainError it begins again at the next.

        Each call has the deadline of ``JsonRpc``. ``read`` bounds the number of its calls.
        """
        first: ChainError | None = None
        for provider in self.health.candidates():
            try:
                await self._verify(provider)
                answer = await read(provider.rpc)
            except ChainError as error:
                self.health.record_error(provider, error)
                first = first or error
            else:
                self.health.record_answer(provider)
                return answer
        assert first is not None
        raise first

    async def _one_batch(self, requests: Sequence[Request]) -> tuple[Json | RpcRefusedError, ...]:
        refused: list[tuple[Json | RpcRefusedError, ...]] = []

        async def ask(provider: Provider) -> tuple[Json | RpcRefusedError, ...]:
            if not any(method == "eth_chainId" for method, _ in requests):
                await self._verify(provider)
            outcomes = await provider.rpc.batch_outcomes(requests, retry=False)
            for (method, _), outcome in zip(requests, outcomes, strict=True):
                if method == "eth_chainId" and not isinstance(outcome, RpcRefusedError):
                    self.health.check_chain(provider, outcome)
            for outcome in outcomes:
                if isinstance(outcome, RpcRefusedError) and not outcome.is_revert:
                    refused.append(outcomes)
                    raise outcome
            return outcomes

        try:
            return await self._first(f"batch of {requests[0][0]}", ask, retry=True)
        except RpcRefusedError:
            if not refused:
                raise
            return refused[0]

    async def _verify(self, provider: Provider) -> None:
        if not provider.verified:
            self.health.check_chain(provider, await provider.rpc.call("eth_chainId", retry=False))

    async def _first(self, name: str, ask: Callable[[Provider], Awaitable[T]], *, retry: bool) -> T:
        """Return the first answer, or raise the failure if there is none."""
        deadline = trio.current_time() + self._deadline
        failures: dict[Provider, ChainError] = {}
        spent: set[Provider] = set()
        for attempt in range(ATTEMPTS if retry else 1):
            candidates = self.health.candidates(without=spent)
            if not candidates or not await self._pause(attempt, candidates, deadline):
                break
            for place, provider in enumerate(candidates if retry else candidates[:1]):
                is_last = not retry or place == len(candidates) - 1
                try:
                    return await self._ask_one(name, provider, ask, deadline, is_last=is_last)
                except ChainError as error:
                    if self._is_final(error):
                        raise
                    failures[provider] = error
                    if not isinstance(error, RpcUnavailableError):
                        spent.add(provider)
            refusal = next((e for e in failures.values() if isinstance(e, RpcRefusedError)), None)
            if refusal is not None:
                raise refusal
        if not failures:
            raise RpcUnavailableError(
                f"call {name} at {candidates[0].rpc.endpoint}: it asked to be left alone for a while"
            )
        raise _summary(name, list(failures.values()))

    @staticmethod
    async def _pause(attempt: int, candidates: Sequence[Provider], deadline: float) -> bool:
        """Wait before the next round, as long as the endpoints demand.

        Return False if the deadline would pass.
        """
        now = trio.current_time()
        pause = transport.FIRST_PAUSE_SECONDS * 2.0 ** (attempt - 1) if attempt else 0.0
        resume = max(now + pause, min(provider.not_before for provider in candidates))
        if now < resume < deadline:
            await trio.sleep_until(resume)
        return resume < deadline

    @staticmethod
    def _is_final(error: ChainError) -> bool:
        """Return whether no other endpoint need be tried."""
        return isinstance(error, RpcTooLargeError) or (isinstance(error, RpcRefusedError) and error.is_revert)

    async def _ask_one(
        self,
        name: str,
        provider: Provider,
        ask: Callable[[Provider], Awaitable[T]],
        deadline: float,
        *,
        is_last: bool,
    ) -> T:
        begun = trio.current_time()
        seconds = max(0.0, deadline - begun)
        if not is_last:
            seconds /= 2
        try:
            with trio.fail_after(seconds):
                answer = await ask(provider)
        except trio.TooSlowError:
            late = f"call {name} at {provider.rpc.endpoint}: no answer within {seconds:.2g} s"
            unavailable = RpcUnavailableError(late)
            self.health.record_failure(provider, unavailable)
            raise unavailable from None
        except ChainError as error:
            self.health.record_error(provider, error)
            raise
        self.health.record_answer(provider)
        provider.latency = trio.current_time() - begun
        return answer


def _summary(name: str, failures: Sequence[ChainError]) -> ChainError:
    """Return the error of a call that no endpoint answered."""
    if len(failures) == 1:
        return failures[0]
    each = "; ".join(str(failure).partition(" at ")[2] or str(failure) for failure in failures)
    if all(isinstance(failure, WrongChainError) for failure in failures):
        return WrongChainError(f"call {name}: none of {len(failures)} RPCs serves the chain: {each}")
    if all(isinstance(failure, RpcAnswerError) for failure in failures):
        return RpcAnswerError(f"call {name}: none of {len(failures)} RPCs answers the question: {each}")
    return RpcUnavailableError(f"call {name}: none of {len(failures)} RPCs answers: {each}")


@asynccontextmanager
async def open_pool(
    urls: Sequence[str], chain_id: int, *, stale_seconds: float = STALE_SECONDS, watch: bool = True
) -> AsyncIterator[RpcPool]:
    """Connect to all endpoints, the preferred one first, and watch them.

    ``watch`` False leaves a single endpoint unwatched. Endpoints that are down or wrong raise nothing here: calls raise when none
    is left. Raises ``InputError`` for text that is no URL, and for more than ``MAX_PROVIDERS``.
    """
    if not 1 <= len(urls) <= MAX_PROVIDERS:
        raise InputError(f"open the chain RPC: {len(urls)} URLs instead of 1 to {MAX_PROVIDERS}")
    check_distinct(urls)
    several = len(urls) > 1
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(JsonRpc(url, label=f"rpc {number}" if several else ""))
            for number, url in enumerate(urls, 1)
        ]
        health = ProviderHealth(clients, chain_id, stale_seconds)
        probes = ProviderProbes(health)
        pool = RpcPool(health, probes, deadline=DEADLINE_SECONDS)
        if not several and not watch:
            yield pool
            return
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(probes.watch)
            if several:
                await probes.wait_for_first()
            try:
                yield pool
            except Exception as error:  # noqa: BLE001 - raised again below, outside of the nursery
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
