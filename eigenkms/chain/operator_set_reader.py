"""Read and verify the operator set at one block, through one RPC.

An RPC may lie. Beyond the checks of ``block_reader`` these are made: that keys are points of the right group, that the
two halves of a key belong together, and that no key appears twice. An RPC that invents a consistent set of keys passes
them all, so an operator should use its own node, or several RPCs (``rpc_majority``).

One operator with an unusable key must not stop the discovery of the others. It is set aside in ``rejected`` with the
reason. Chain state alone decides that, so every reader sets the same operators aside.

Ordinary full nodes keep the state of about 128 blocks. If the state of a canonical block is gone, the set is read at
the newest block and rolled back along the membership and key events (``rollback``).
"""

import logging
from collections import OrderedDict
from typing import Final

import trio

from eigenkms.chain import abi
from eigenkms.chain.config import ChainConfig
from eigenkms.chain.logs import LogQuery
from eigenkms.chain.operator_set import ChainOperator, OperatorSetAt, RawOperatorSet
from eigenkms.chain.pinned_set_reader import PinnedSetReader
from eigenkms.chain.rollback import roll_back
from eigenkms.chain.rpc import Rpc, RpcRefusedError
from eigenkms.crypto import bn254
from eigenkms.errors import EigenKmsError
from eigenkms.types import BlockRef, OperatorAddress

CHECKED_KEYS: Final = 4096

log = logging.getLogger("eigenkms.chain.operator_set_reader")


class KeyChecker:
    """Checks registered BN254 keys in a worker thread, and remembers the last CHECKED_KEYS results."""

    def __init__(self) -> None:
        self._results: OrderedDict[bytes, str | None] = OrderedDict()
        self._limiter = trio.CapacityLimiter(1)

    async def find_fault(self, key: bytes) -> str | None:
        """Return why a registered key (G1 ‖ G2, 192 bytes) cannot be used, or None."""
        if key not in self._results:
            self._results[key] = await trio.to_thread.run_sync(_check_key, key, limiter=self._limiter)
            while len(self._results) > CHECKED_KEYS:
                self._results.popitem(last=False)
        return self._results[key]


class OperatorSetReader(PinnedSetReader):
    """Reads verified operator sets through one RPC.

    Readers of one deployment share the checker of keys.
    """

    def __init__(
        self,
        config: ChainConfig,
        rpc: Rpc,
        curve: int = abi.CURVE_BN254,
        key_checker: KeyChecker | None = None,
    ) -> None:
        super().__init__(config, rpc, curve)
        self.key_checker = key_checker or KeyChecker()

    async def operators_at(self, block: BlockRef) -> RawOperatorSet:
        """Return the operator set at exactly this block, which may be empty.

        The sockets of a set that had to be rolled back are those of today. Raises ChainError: the block is not
        canonical any more, or the RPC cannot answer.
        """
        try:
            found = await self.set_pinned(block)
        except RpcRefusedError as refusal:
            if refusal.is_revert:
                raise
            await self.require_canonical(block)
            log.info(
                "state of block %d is gone from the RPC, rolling back from the newest block", block.number
            )
            found = await roll_back(self, block)
        return await self._verify(block, found)

    async def members_ever_left(self, block: BlockRef) -> bool:
        """Return whether any operator was removed from this set in a block up to this one.

        Raises ChainError.
        """
        query = LogQuery(self.config.allocation_manager, (abi.REMOVED,))
        removals = await query.read(self.rpc, 0, block.number)
        await self.require_canonical(block)
        return any(self.is_ours(removal.data) for removal in removals)

    async def _verify(self, block: BlockRef, found: OperatorSetAt) -> RawOperatorSet:
        operators: list[ChainOperator] = []
        rejected: list[tuple[OperatorAddress, str]] = []
        for member in found.members:
            key = found.keys[member]
            reason = key if isinstance(key, str) else await self._find_fault(key, found)
            if isinstance(key, bytes) and reason is None:
                operators.append(ChainOperator(member, key[:64], key[64:], found.sockets[member]))
            else:
                rejected.append((member, str(reason)))
        return RawOperatorSet(block, tuple(operators), tuple(rejected))

    async def _find_fault(self, key: bytes, found: OperatorSetAt) -> str | None:
        """Return why this key cannot be used, or None."""
        if sum(other == key for other in found.keys.values()) > 1:
            return "another operator has the same key"
        return await self.key_checker.find_fault(key)


def _check_key(key: bytes) -> str | None:
    """Return why a registered key (G1 ‖ G2, 192 bytes) cannot be used, or None.

    Milliseconds of pairing.
    """
    try:
        bn254.check_key(key[64:])
        matching = bn254.keys_match(key[:64], key[64:])
    except (EigenKmsError, ValueError):
        return "its key is not a point of the BN254 groups"
    return None if matching else "its keys in G1 and G2 are different keys"
