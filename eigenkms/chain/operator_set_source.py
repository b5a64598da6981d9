"""The façade over the chain: blocks and operator sets, through one RPC or several.

``open_chain`` connects and checks the deployment. All other packages read the operator set through its result.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import TypeVar

import trio

from eigenkms.chain import abi
from eigenkms.chain.block_reader import BlockReader
from eigenkms.chain.config import ChainConfig
from eigenkms.chain.deployment_check import check_deployment
from eigenkms.chain.operator_set import RawOperatorSet
from eigenkms.chain.operator_set_reader import OperatorSetReader
from eigenkms.chain.rpc import Rpc
from eigenkms.chain.rpc_majority import read_by_majority
from eigenkms.chain.rpc_pool import RpcPool, open_pool
from eigenkms.errors import ChainError
from eigenkms.types import BlockRef

T = TypeVar("T")


class OperatorSetSource(OperatorSetReader):
    """Reads one operator set through an RPC or a pool of them. Made by ``open_chain``."""

    def with_rpc(self, rpc: Rpc) -> OperatorSetReader:
        """Return a reader of the same operator set through another RPC, with the same checker of keys."""
        return OperatorSetReader(self.config, rpc, self.curve, self.key_checker)

    async def agreed_operators_at(self, block: BlockRef) -> RawOperatorSet:
        """Return the set at exactly this block, on which more than half of the RPCs that answer agree.

        Raises ChainError as ``operators_at``, and ``DisagreementError``.
        """
        if isinstance(self.rpc, RpcPool) and len(self.rpc.providers) > 1:
            return await read_by_majority(self.rpc, self.with_rpc, block)
        return await self.operators_at(block)

    async def operators_at(self, block: BlockRef) -> RawOperatorSet:
        """Return the operator set at exactly this block, all of it read through one RPC.

        Raises ChainError.
        """
        return await self._read_at_one(lambda reader: reader.operators_at(block))

    async def members_ever_left(self, block: BlockRef) -> bool:
        """Return whether any operator was removed from this set in a block up to this one.

        Raises ChainError.
        """
        return await self._read_at_one(lambda reader: reader.members_ever_left(block))

    async def _read_at_one(self, read: Callable[[OperatorSetReader], Awaitable[T]]) -> T:
        """Return the result of ``read``, all of whose requests go to one RPC."""
        if isinstance(self.rpc, RpcPool):
            return await self.rpc.at_one(lambda rpc: read(self.with_rpc(rpc)))
        return await read(self.with_rpc(self.rpc))

    async def newest_number(self) -> int:
        """Return the number of the newest block, whatever the finality: the upper median over the RPCs.

        So a single RPC cannot make it too low, nor, of three or more, too high. Raises ChainError if no RPC answers.
        """
        rpcs = [each.rpc for each in self.rpc.witnesses()] if isinstance(self.rpc, RpcPool) else [self.rpc]
        numbers: list[int] = []
        failures: list[ChainError] = []

        async def query(rpc: Rpc) -> None:
            try:
                block = await self.with_rpc(rpc).newest_block()
            except ChainError as error:
                failures.append(error)
            else:
                numbers.extend([] if block is None else [block.number])

        async with trio.open_nursery() as nursery:
            for rpc in rpcs:
                nursery.start_soon(query, rpc)
        if not numbers:
            raise failures[0] if failures else ChainError("read the newest block: there is none")
        return sorted(numbers)[len(numbers) // 2]

    def require_fresh(self, action: str) -> None:
        """Raise ChainError, which begins with ``action``, if the newest block of every RPC is known to be old."""
        if isinstance(self.rpc, RpcPool) and self.rpc.stale:
            raise ChainError(
                f"{action}: the newest block of every RPC is more than {self.config.stale_seconds:g} s old",
                hint="check that the RPC is synchronised and that this machine's clock is right",
            )


@asynccontextmanager
async def open_chain(
    config: ChainConfig, *, watch: bool = False, curves: Collection[int] = (abi.CURVE_BN254,)
) -> AsyncIterator[OperatorSetSource]:
    """Connect and check the deployment; the connections live as long as the context.

    With ``watch`` the age of the newest block is checked even if there is one RPC only. A set whose keys are of another
    curve than ``curves`` is refused. Raises ChainError: chain id, missing contracts, operator set, registrar or curve;
    RPC down.
    """
    pool = open_pool(config.rpc_urls, config.chain_id, stale_seconds=config.stale_seconds, watch=watch)
    async with pool as rpc:
        curve = await check_deployment(BlockReader(config, rpc), curves)
        yield OperatorSetSource(config, rpc, curve)
