"""Several RPC endpoints of one chain, as one.

The first that works is used, in the order of the configuration. One that cannot be reached, asks to come back later, answers
HTML or other rubbish, or takes too long is passed over within the same call, and left alone until a probe finds it well; then
it is used again, if it stands before the others. Probes of a bad one come at growing distances up to ``MAX_PROBE_PAUSE``.

Nobody is believed before it has said that it serves the right chain: whoever does not is left out and named loudly. An endpoint
whose newest block is old by this machine's clock is stale: the others are asked first. So is one that contradicted the majority
about a boundary (``witnesses``). Between boundaries the block a little below the slowest head is compared too: endpoints that
are on different forks are told before it matters.

A call has one deadline whatever the number of endpoints, and all but the last that is tried get half of what is left of it.
Calls follow one another on different endpoints when one fails in between; that mixes no forks because reads are pinned to a
block hash. What is asked by number and must hang together goes through ``at_one``: to one endpoint, or all of it to another.

A refusal (a JSON-RPC error) is an answer. If the contract reverted it is believed; else another endpoint may know better, for
example because it keeps older state, and the first refusal is told if none does. Requests that change something
(``retry=False``) go to one endpoint only.
"""

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, TypeVar

import trio

from eigenkms.chain import transport
from eigenkms.chain.endpoints import check_distinct
from eigenkms.chain.provider import RANK, Provider, ProviderState, ProviderStatus, WrongChainError
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
from eigenkms.chain.values import Json, block_ref, hexed, quantity
from eigenkms.errors import ChainError, InputError
from eigenkms.types import BlockRef

T = TypeVar("T")
DEADLINE_SECONDS: Final = 5.0
MAX_PROVIDERS: Final = 8
PROBE_SECONDS: Final = 2.0
"""How long a probe may take."""
PROBE_PAUSE: Final = 5.0
"""Between probes of one that is well."""
MAX_PROBE_PAUSE: Final = 60.0
MAX_RETRY_AFTER: Final = 60.0
"""As long as this one that asks for patience is left alone, whatever it asks for."""
COMPARE_PAUSE: Final = 15.0
COMPARE_DEPTH: Final = 8
"""How many blocks below the lowest head they are compared: what lies above may still change, or not be everywhere yet."""
STALE_SECONDS: Final = 300.0

log = logging.getLogger("eigenkms.chain.providers")


class RpcPool:
    """The endpoints as one ``Rpc``. Made by ``open_pool``; safe for many tasks at once."""

    def __init__(
        self, clients: Sequence[JsonRpc], chain_id: int, *, deadline: float, stale_seconds: float
    ) -> None:
        self.providers: Final = tuple(Provider(index, rpc) for index, rpc in enumerate(clients))
        self.chain_id: Final = chain_id
        self.stale_seconds: Final = stale_seconds
        self.disagreements = 0
        """Boundaries about which they disagreed, since the pool was opened."""
        self.split: str | None = None
        """What each says of one block, while they are on different forks."""
        self._deadline = deadline
        self._used = self.providers[0]
        self._probed = trio.Event()
        self._disputed: int | None = None

    def __repr__(self) -> str:
        return f"<RpcPool {', '.join(provider.rpc.endpoint for provider in self.providers)}>"

    @property
    def endpoint(self) -> str:
        """The one in use, for messages."""
        return self._used.rpc.endpoint

    def statistics(self) -> RpcStatistics:
        """Of all endpoints together, probes included."""
        each = [provider.rpc.statistics() for provider in self.providers]
        return RpcStatistics(
            sum(s.requests for s in each), sum(s.retries for s in each), sum(s.failures for s in each)
        )

    def status(self) -> tuple[ProviderStatus, ...]:
        """In the order of the configuration."""
        return tuple(
            ProviderStatus(p.rpc.endpoint, p.state, p is self._used, p.last_error, p.latency, p.head)
            for p in self.providers
        )

    @property
    def stale(self) -> bool:
        """Whether nobody whom ``call`` would ask first has a new block."""
        states = {provider.state for provider in self.providers}
        return ProviderState.STALE in states and not states & {ProviderState.OK, ProviderState.UNTRIED}

    def witnesses(self) -> tuple[Provider, ...]:
        """Those that may be asked what another one said: all that work, or else whom ``call`` would ask."""
        return tuple(sorted(self._candidates(), key=lambda provider: provider.index))

    def count_block(self, block: BlockRef, *, disagree: bool) -> None:
        """Count a block about which they disagree, once."""
        if disagree and block.number != self._disputed:
            self.disagreements += 1
            self._disputed = block.number

    # ------------------------------------------------------------------------------------------------ asking

    async def call(self, method: str, *params: Json, retry: bool = True) -> Json:
        """As ``JsonRpc.call``, at the first endpoint that can answer."""

        async def ask(provider: Provider) -> Json:
            await self._verify(provider)
            return await provider.rpc.call(method, *params, retry=False)

        return await self._first(method, ask, retry=retry)

    async def batch(self, requests: Sequence[Request]) -> tuple[Json, ...]:
        """As ``JsonRpc.batch``, each round trip at the first endpoint that can answer."""
        outcomes = await self.batch_outcomes(requests)
        for outcome in outcomes:
            if isinstance(outcome, RpcRefusedError):
                raise outcome
        return tuple(outcome for outcome in outcomes if not isinstance(outcome, RpcRefusedError))

    async def batch_outcomes(self, requests: Sequence[Request]) -> tuple[Json | RpcRefusedError, ...]:
        """As ``JsonRpc.batch_outcomes``, each round trip at the first endpoint that can answer."""
        outcomes: list[Json | RpcRefusedError] = []
        for start in range(0, len(requests), MAX_BATCH):
            outcomes += await self._one_batch(requests[start : start + MAX_BATCH])
        return tuple(outcomes)

    async def at_one(self, read: Callable[[JsonRpc], Awaitable[T]]) -> T:
        """What ``read`` returns, all of whose calls go to one endpoint; if that raises ChainError, it begins again at the next.

        Each call has the deadline of ``JsonRpc``; how many there are is ``read``'s own affair, and bounded.
        """
        first: ChainError | None = None
        for provider in self._candidates():
            try:
                await self._verify(provider)
                answer = await read(provider.rpc)
            except ChainError as error:
                self.note(provider, error)
                first = first or error
            else:
                self._answered(provider)
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
                    self._check_chain(provider, outcome)
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
            self._check_chain(provider, await provider.rpc.call("eth_chainId", retry=False))

    def _check_chain(self, provider: Provider, answer: Json) -> None:
        chain_id = quantity(answer, f"chain id at {provider.rpc.endpoint}", bits=256)
        if chain_id != self.chain_id:
            provider.verified = False
            raise WrongChainError(
                f"use chain {self.chain_id}: the RPC at {provider.rpc.endpoint} serves chain {chain_id}"
            )
        provider.verified = True

    async def _first(self, name: str, ask: Callable[[Provider], Awaitable[T]], *, retry: bool) -> T:
        """The first answer; raises what went wrong if there is none."""
        deadline = trio.current_time() + self._deadline
        failures: dict[Provider, ChainError] = {}
        spent: set[Provider] = set()
        for attempt in range(ATTEMPTS if retry else 1):
            candidates = self._candidates(without=spent)
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
        """Wait before everybody is asked, once more or as long as they asked for patience; False if the deadline would pass."""
        now = trio.current_time()
        pause = transport.FIRST_PAUSE_SECONDS * 2.0 ** (attempt - 1) if attempt else 0.0
        resume = max(now + pause, min(provider.not_before for provider in candidates))
        if now < resume < deadline:
            await trio.sleep_until(resume)
        return resume < deadline

    @staticmethod
    def _is_final(error: ChainError) -> bool:
        """Whether another endpoint need not be asked."""
        return isinstance(error, RpcTooLargeError) or (isinstance(error, RpcRefusedError) and error.is_revert)

    def _candidates(self, without: Collection[Provider] = ()) -> list[Provider]:
        """Whom to ask, in this order. Those that fail, or serve another chain, only where there are no others."""
        ranked = sorted((p for p in self.providers if p not in without), key=lambda provider: provider.rank)
        good = [provider for provider in ranked if provider.state in RANK]
        failing = [provider for provider in ranked if provider.state is ProviderState.FAILING]
        return good or failing or ranked

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
            self.failed(provider, unavailable)
            raise unavailable from None
        except ChainError as error:
            self.note(provider, error)
            raise
        self._answered(provider)
        provider.latency = trio.current_time() - begun
        return answer

    # ------------------------------------------------------------------------------------------------- state

    def note(self, provider: Provider, error: ChainError) -> None:
        """``failed``, if it is an error of the endpoint and not an answer."""
        is_answer = isinstance(error, RpcTooLargeError)
        if not is_answer and isinstance(error, (RpcUnavailableError, RpcAnswerError, WrongChainError)):
            self.failed(provider, error)

    def failed(self, provider: Provider, error: ChainError) -> None:
        """Remember that an endpoint could not be used."""
        provider.failures = min(provider.failures + 1, 16)
        provider.last_error = str(error)
        if isinstance(error, RpcUnavailableError) and error.retry_after is not None:
            provider.not_before = trio.current_time() + min(error.retry_after, MAX_RETRY_AFTER)
        wrong = isinstance(error, WrongChainError)
        if not wrong and provider.state is ProviderState.WRONG_CHAIN:
            return
        self._set_state(provider, ProviderState.WRONG_CHAIN if wrong else ProviderState.FAILING)

    def _answered(self, provider: Provider) -> None:
        provider.failures = 0
        if provider.state not in RANK or provider.state is ProviderState.UNTRIED:
            self._set_state(provider, self._state_of(provider))
        if provider is not self._used and provider is self._candidates()[0]:
            level = logging.WARNING if provider.index > self._used.index else logging.INFO
            log.log(level, "using %s instead of %s", provider.rpc.endpoint, self._used.rpc.endpoint)
            self._used = provider

    def _state_of(self, provider: Provider) -> ProviderState:
        """Of one that answers, by what is known of it."""
        if provider.dissent is not None:
            return ProviderState.DISAGREES
        head = provider.head
        is_old = head is not None and time.time() - head.timestamp > self.stale_seconds
        return ProviderState.STALE if is_old else ProviderState.OK

    def record_disagreement(self, provider: Provider, number: int, dissent: str) -> None:
        """Record that an endpoint contradicts the majority about a block, and how."""
        provider.dissented_at = max(number, provider.dissented_at)
        provider.dissent = dissent
        if provider.state in RANK:
            provider.last_error = dissent
            self._set_state(provider, self._state_of(provider))

    def record_agreement(self, provider: Provider, number: int) -> None:
        """Record that an endpoint agrees with the majority about a block.

        A block older than the one it was overruled about proves nothing.
        """
        if number < provider.dissented_at:
            return
        provider.dissent = None
        if provider.state in RANK:
            self._set_state(provider, self._state_of(provider))

    def _set_state(self, provider: Provider, state: ProviderState) -> None:
        before, provider.state = provider.state, state
        if state is before:
            return
        level = self._log_level(state, before)
        if state is ProviderState.OK:
            log.log(level, "%s is well", provider.rpc.endpoint)
        elif state is ProviderState.STALE:
            assert provider.head is not None
            age = time.time() - provider.head.timestamp
            log.log(
                level,
                "%s is stale: its newest block %d is %.0f s old by this machine's clock",
                provider.rpc.endpoint,
                provider.head.number,
                age,
            )
        else:
            log.log(level, "%s is not used (%s): %s", provider.rpc.endpoint, state.value, provider.last_error)

    def _log_level(self, state: ProviderState, before: ProviderState) -> int:
        """How loud a change is told. The failure of the only endpoint is told by whoever asked."""
        if state is ProviderState.WRONG_CHAIN:
            return logging.ERROR
        if state is ProviderState.OK:
            return (
                logging.DEBUG if before is ProviderState.UNTRIED or len(self.providers) == 1 else logging.INFO
            )
        if state is ProviderState.FAILING and len(self.providers) == 1:
            return logging.DEBUG
        return logging.WARNING

    # ------------------------------------------------------------------------------------------------ probes

    async def watch(self) -> None:
        """Probe each endpoint again and again; never ends."""
        async with trio.open_nursery() as nursery:
            for provider in self.providers:
                nursery.start_soon(self._watch_one, provider)
            if len(self.providers) > 1:
                nursery.start_soon(self._watch_forks)

    async def _watch_one(self, provider: Provider) -> None:
        while True:
            await self.probe(provider)
            is_bad = provider.state in (ProviderState.FAILING, ProviderState.WRONG_CHAIN)
            pause = min(2.0 ** (provider.failures - 1), MAX_PROBE_PAUSE) if is_bad else PROBE_PAUSE
            await trio.sleep(max(pause, provider.not_before - trio.current_time()))

    async def probe(self, provider: Provider) -> None:
        """Ask one endpoint for its chain and its newest block, and judge it by them."""
        begun = trio.current_time()
        requests: list[Request] = [("eth_chainId", ()), ("eth_getBlockByNumber", ("latest", False))]
        try:
            with trio.fail_after(PROBE_SECONDS):
                chain_id, newest = await provider.rpc.batch(requests)
            self._check_chain(provider, chain_id)
            provider.head = block_ref(newest, f"the latest block at {provider.rpc.endpoint}")
        except trio.TooSlowError:
            late = f"probe {provider.rpc.endpoint}: no answer within {PROBE_SECONDS:g} s"
            self.failed(provider, RpcUnavailableError(late))
        except ChainError as error:
            self.failed(provider, error)
        else:
            provider.latency = trio.current_time() - begun
            self._set_state(provider, self._state_of(provider))
        self._probed.set()
        self._probed = trio.Event()

    async def _watch_forks(self) -> None:
        before: str | None = None
        while True:
            await trio.sleep(COMPARE_PAUSE)
            now = await self._compare()
            found = (
                now if before is not None else None
            )  # a reorganisation between two answers is no fork: look twice
            before = now
            if found is not None and self.split is None:
                log.warning("RPCs are on different forks: %s", found)
            elif found is None and self.split is not None:
                log.info("RPCs are on one chain again")
            self.split = found

    async def _compare(self) -> str | None:
        """What those that work say of a block that all should have, if it is not the same."""
        heads = {p: p.head.number for p in self.providers if p.state in RANK and p.head is not None}
        number = min(heads.values(), default=0) - COMPARE_DEPTH
        if number < 0:
            return None
        hashes: dict[Provider, bytes] = {}
        async with trio.open_nursery() as nursery:
            for provider in heads:
                nursery.start_soon(self._read_hash, provider, number, hashes)
        if len(set(hashes.values())) < 2:
            return None
        each = (f"{p.rpc.endpoint} has {hexed(hashes[p])}" for p in self.providers if p in hashes)
        return f"of block {number} {', '.join(each)}"

    async def _read_hash(self, provider: Provider, number: int, hashes: dict[Provider, bytes]) -> None:
        """One that cannot say is no party; probes find out why."""
        try:
            with trio.move_on_after(PROBE_SECONDS):
                answer = await provider.rpc.call("eth_getBlockByNumber", hex(number), False)
                hashes[provider] = block_ref(answer, f"block {number} at {provider.rpc.endpoint}").hash
        except ChainError as error:
            log.debug("compare RPCs: %s", error)

    async def first_look(self) -> None:
        """Wait, while ``watch`` runs, until it is known which endpoint to begin with: a good one, all before which are judged."""
        while True:
            for provider in self.providers:
                if provider.state is ProviderState.UNTRIED:
                    break
                if provider.state is ProviderState.OK:
                    return
            else:
                return
            await self._probed.wait()


def _summary(name: str, failures: Sequence[ChainError]) -> ChainError:
    """What to tell of a call that nobody answered."""
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
    """Connections to all endpoints, the preferred one first, watched as long as the context lasts.

    ``watch`` False leaves a single endpoint unwatched. Nothing is raised for endpoints that are down or wrong: calls do that, when
    none is left. Raises ``InputError`` for what are no URLs, and for more than ``MAX_PROVIDERS``.
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
        pool = RpcPool(clients, chain_id, deadline=DEADLINE_SECONDS, stale_seconds=stale_seconds)
        if not several and not watch:
            yield pool
            return
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.watch)
            if several:
                await pool.first_look()
            try:
                yield pool
            except Exception as error:  # noqa: BLE001 - raised again below, outside of the nursery
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
