"""The health of the RPC endpoints of one chain: which may be used, in which order.

An endpoint is trusted with nothing before it has stated the right chain id. One that states another id is left out and
logged as an error. An endpoint that fails is passed over until a probe finds it well. An endpoint is *stale* if its
newest block is old by this machine's clock, and it *disagrees* if it contradicted the majority about a boundary
(``rpc_majority``). Both are used after the others. The state of a provider is a ``ProviderState``; RANK gives the order.
"""

import logging
import time
from collections.abc import Collection, Sequence
from typing import Final

import trio

from eigenkms.chain.provider import RANK, Provider, ProviderState, ProviderStatus, WrongChainError
from eigenkms.chain.rpc import JsonRpc, RpcAnswerError, RpcTooLargeError, RpcUnavailableError
from eigenkms.chain.rpc_values import Json, parse_quantity
from eigenkms.errors import ChainError
from eigenkms.types import BlockRef

MAX_RETRY_AFTER: Final = 60.0
"""Seconds. An endpoint that asks for a longer pause is used again after this one."""
STALE_SECONDS: Final = 300.0

log = logging.getLogger("eigenkms.chain.rpc_pool")


class ProviderHealth:
    """The state of all endpoints of a pool, changed by what calls and probes find."""

    def __init__(self, clients: Sequence[JsonRpc], chain_id: int, stale_seconds: float) -> None:
        self.providers: Final = tuple(Provider(index, rpc) for index, rpc in enumerate(clients))
        self.chain_id: Final = chain_id
        self.stale_seconds: Final = stale_seconds
        self.disagreements = 0
        """Boundaries about which they disagreed, since the pool was opened."""
        self.in_use = self.providers[0]
        self._disputed: int | None = None

    def status(self) -> tuple[ProviderStatus, ...]:
        """Return the status of each endpoint, in the order of the configuration."""
        return tuple(
            ProviderStatus(p.rpc.endpoint, p.state, p is self.in_use, p.last_error, p.latency, p.head)
            for p in self.providers
        )

    @property
    def stale(self) -> bool:
        """Return whether no endpoint that would be used first has a new block."""
        states = {provider.state for provider in self.providers}
        return ProviderState.STALE in states and not states & {ProviderState.OK, ProviderState.UNTRIED}

    def candidates(self, without: Collection[Provider] = ()) -> list[Provider]:
        """Return the endpoints to use, in order.

        Those that fail, or serve another chain, only if there are no others.
        """
        ranked = sorted((p for p in self.providers if p not in without), key=lambda provider: provider.rank)
        good = [provider for provider in ranked if provider.state in RANK]
        failing = [provider for provider in ranked if provider.state is ProviderState.FAILING]
        return good or failing or ranked

    def check_chain(self, provider: Provider, answer: Json) -> None:
        """Mark an endpoint as verified by its answer to eth_chainId.

        Raises WrongChainError.
        """
        chain_id = parse_quantity(answer, f"chain id at {provider.rpc.endpoint}", bits=256)
        if chain_id != self.chain_id:
            provider.verified = False
            raise WrongChainError(
                f"use chain {self.chain_id}: the RPC at {provider.rpc.endpoint} serves chain {chain_id}"
            )
        provider.verified = True

    def count_block(self, block: BlockRef, *, disagree: bool) -> None:
        """Count a block about which the endpoints disagree, once."""
        if disagree and block.number != self._disputed:
            self.disagreements += 1
            self._disputed = block.number

    def record_error(self, provider: Provider, error: ChainError) -> None:
        """Record a failure if it is an error of the endpoint and not an answer."""
        is_answer = isinstance(error, RpcTooLargeError)
        if not is_answer and isinstance(error, (RpcUnavailableError, RpcAnswerError, WrongChainError)):
            self.record_failure(provider, error)

    def record_failure(self, provider: Provider, error: ChainError) -> None:
        """Record that an endpoint could not be used."""
        provider.failures = min(provider.failures + 1, 16)
        provider.last_error = str(error)
        if isinstance(error, RpcUnavailableError) and error.retry_after is not None:
            provider.not_before = trio.current_time() + min(error.retry_after, MAX_RETRY_AFTER)
        wrong = isinstance(error, WrongChainError)
        if not wrong and provider.state is ProviderState.WRONG_CHAIN:
            return
        self._set_state(provider, ProviderState.WRONG_CHAIN if wrong else ProviderState.FAILING)

    def record_answer(self, provider: Provider) -> None:
        """Record that an endpoint answered.

        It becomes the one in use if it is the first to use.
        """
        provider.failures = 0
        if provider.state not in RANK or provider.state is ProviderState.UNTRIED:
            self._set_state(provider, self._state_of(provider))
        if provider is not self.in_use and provider is self.candidates()[0]:
            level = logging.WARNING if provider.index > self.in_use.index else logging.INFO
            log.log(level, "using %s instead of %s", provider.rpc.endpoint, self.in_use.rpc.endpoint)
            self.in_use = provider

    def record_probe(self, provider: Provider, latency: float) -> None:
        """Record that an endpoint answered a probe after ``latency`` seconds."""
        provider.latency = latency
        self._set_state(provider, self._state_of(provider))

    def _state_of(self, provider: Provider) -> ProviderState:
        """Return the state of an endpoint that answers."""
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
        """Return the level at which a change is logged.

        The caller reports the failure of the only endpoint.
        """
        if state is ProviderState.WRONG_CHAIN:
            return logging.ERROR
        if state is ProviderState.OK:
            return (
                logging.DEBUG if before is ProviderState.UNTRIED or len(self.providers) == 1 else logging.INFO
            )
        if state is ProviderState.FAILING and len(self.providers) == 1:
            return logging.DEBUG
        return logging.WARNING
