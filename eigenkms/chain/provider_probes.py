"""Probe the RPC endpoints of one chain, so that calls find a good one first.

Each endpoint is probed every PROBE_PAUSE seconds, one that fails at growing distances up to MAX_PROBE_PAUSE. Between
boundaries the block a little below the slowest head is compared too, so endpoints that are on different forks are
reported before a boundary needs them.
"""

import logging
from typing import Final

import trio

from eigenkms.chain.provider import RANK, Provider, ProviderState
from eigenkms.chain.provider_health import ProviderHealth
from eigenkms.chain.rpc import Request, RpcUnavailableError
from eigenkms.chain.rpc_values import parse_block
from eigenkms.errors import ChainError
from eigenkms.types import to_hex

PROBE_SECONDS: Final = 2.0
"""How long a probe may take."""
PROBE_PAUSE: Final = 5.0
"""Seconds between probes of an endpoint that is well."""
MAX_PROBE_PAUSE: Final = 60.0
COMPARE_PAUSE: Final = 15.0
COMPARE_DEPTH: Final = 8
"""Blocks below the lowest head at which they are compared: blocks above may still change, or not be everywhere yet."""

log = logging.getLogger("eigenkms.chain.rpc_pool")


class ProviderProbes:
    """Probes of all endpoints.

    ``split`` states what each has of one block, while they are on different forks.
    """

    def __init__(self, health: ProviderHealth) -> None:
        self.split: str | None = None
        self._health = health
        self._probed = trio.Event()

    async def watch(self) -> None:
        """Probe each endpoint again and again, until cancelled."""
        async with trio.open_nursery() as nursery:
            for provider in self._health.providers:
                nursery.start_soon(self._watch_one, provider)
            if len(self._health.providers) > 1:
                nursery.start_soon(self._watch_forks)

    async def _watch_one(self, provider: Provider) -> None:
        while True:
            await self.probe(provider)
            is_bad = provider.state in (ProviderState.FAILING, ProviderState.WRONG_CHAIN)
            pause = min(2.0 ** (provider.failures - 1), MAX_PROBE_PAUSE) if is_bad else PROBE_PAUSE
            await trio.sleep(max(pause, provider.not_before - trio.current_time()))

    async def probe(self, provider: Provider) -> None:
        """Request the chain id and the newest block of one endpoint, and set its state by them."""
        begun = trio.current_time()
        requests: list[Request] = [("eth_chainId", ()), ("eth_getBlockByNumber", ("latest", False))]
        try:
            with trio.fail_after(PROBE_SECONDS):
                chain_id, newest = await provider.rpc.batch(requests)
            self._health.check_chain(provider, chain_id)
            provider.head = parse_block(newest, f"the latest block at {provider.rpc.endpoint}")
        except trio.TooSlowError:
            late = f"probe {provider.rpc.endpoint}: no answer within {PROBE_SECONDS:g} s"
            self._health.record_failure(provider, RpcUnavailableError(late))
        except ChainError as error:
            self._health.record_failure(provider, error)
        else:
            self._health.record_probe(provider, trio.current_time() - begun)
        self._probed.set()
        self._probed = trio.Event()

    async def _watch_forks(self) -> None:
        before: str | None = None
        while True:
            await trio.sleep(COMPARE_PAUSE)
            now = await self._compare()
            # a reorganisation between two answers is no fork, so compare twice
            found = now if before is not None else None
            before = now
            if found is not None and self.split is None:
                log.warning("RPCs are on different forks: %s", found)
            elif found is None and self.split is not None:
                log.info("RPCs are on one chain again")
            self.split = found

    async def _compare(self) -> str | None:
        """Return what the working endpoints have of a block that all should have, or None if it is the same."""
        heads = {p: p.head.number for p in self._health.providers if p.state in RANK and p.head is not None}
        number = min(heads.values(), default=0) - COMPARE_DEPTH
        if number < 0:
            return None
        hashes: dict[Provider, bytes] = {}
        async with trio.open_nursery() as nursery:
            for provider in heads:
                nursery.start_soon(self._read_hash, provider, number, hashes)
        if len(set(hashes.values())) < 2:
            return None
        each = (f"{p.rpc.endpoint} has {to_hex(hashes[p])}" for p in self._health.providers if p in hashes)
        return f"of block {number} {', '.join(each)}"

    async def _read_hash(self, provider: Provider, number: int, hashes: dict[Provider, bytes]) -> None:
        """Read the hash of a block.

        An endpoint that fails is left out; probes find out why.
        """
        try:
            with trio.move_on_after(PROBE_SECONDS):
                answer = await provider.rpc.call("eth_getBlockByNumber", hex(number), False)
                hashes[provider] = parse_block(answer, f"block {number} at {provider.rpc.endpoint}").hash
        except ChainError as error:
            log.debug("compare RPCs: %s", error)

    async def wait_for_first(self) -> None:
        """Wait, while ``watch`` runs, until the endpoint to begin with is known: a good one, all before it probed."""
        while True:
            for provider in self._health.providers:
                if provider.state is ProviderState.UNTRIED:
                    break
                if provider.state is ProviderState.OK:
                    return
            else:
                return
            await self._probed.wait()
