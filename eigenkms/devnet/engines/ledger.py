"""The embedded chain: alysis (py-evm) with what public nodes have and it lacks.

Added here: finality tags, EIP-1898 block parameters, one transaction a block with strictly increasing
timestamps, reorganisation (``anvil_rollback``) and snapshots, logs that skip blocks by their bloom filter, and a cache
of calls, whose answers cannot change once they are pinned to a block hash.

Blocks that were rolled back are forgotten: asked by hash, they are unknown, as on anvil. Not for use by several
threads at once.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from copy import deepcopy
from typing import Any, Final, cast

from alysis import Node, RPCNode
from eth.abc import BlockHeaderAPI
from eth.db.schema import SchemaV1
from eth.exceptions import HeaderNotFound
from eth_keys.datatypes import PrivateKey
from ethereum_rpc import ErrorCode, RPCError, RPCErrorCode

from eigenkms.devnet.engines.accounts import BALANCE_WEI, PRIVATE_KEYS, address_of

_BLOCK_PARAMETER: Final = {
    "eth_getBlockByNumber": 0,
    "eth_getBalance": 1,
    "eth_getCode": 1,
    "eth_getTransactionCount": 1,
    "eth_call": 1,
    "eth_estimateGas": 1,
    "eth_getStorageAt": 2,
}
_DEPTH: Final = {"latest": 0, "safe": 1, "finalized": 2}
FUNDING_GAS_PRICE_WEI: Final = 10**10
CACHED_CALLS: Final = 4096
MAX_SNAPSHOTS: Final = 64
MAX_MINED_AT_ONCE: Final = 1000
BLOCK_NOT_FOUND: Final = ErrorCode(-32001)
"""The code that EIP-1898 asks for."""


class Ledger:
    """One chain in memory. ``rpc`` answers a method call or raises ``RPCError``."""

    def __init__(self, chain_id: int, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._automine = True
        self._cache: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self._snapshots: dict[str, Node] = {}
        node = Node(root_balance_wei=2**120, chain_id=chain_id, auto_mine_transactions=False)
        self._adopt(node)
        self._fund()
        self._own: dict[str, Callable[..., Any]] = {
            "anvil_mine": self._mine_many,
            "anvil_rollback": self._rollback,
            "evm_mine": self._mine_one,
            "evm_revert": self._revert,
            "evm_setAutomine": self._set_automine,
            "evm_snapshot": self._snapshot,
            "eth_blockNumber": lambda: hex(self._head.block_number),
            "eth_call": self._call,
            "eth_getBlockByHash": self._block_by_hash,
            "eth_getLogs": self._logs,
            "eth_maxPriorityFeePerGas": lambda: hex(10**9),
            "eth_sendRawTransaction": self._send,
        }

    def rpc(self, method: str, params: list[Any]) -> Any:
        """Return the result of one JSON-RPC call, as JSON data. Raises RPCError."""
        try:
            params = self._with_plain_block(method, params)
            own = self._own.get(method)
            return self._alysis.rpc(method, *params) if own is None else own(*params)
        except HeaderNotFound as exc:
            raise RPCError(BLOCK_NOT_FOUND, "block not found") from exc
        except (TypeError, ValueError) as exc:
            raise RPCError.with_code(RPCErrorCode.INVALID_PARAMETER, f"bad parameters of {method}") from exc

    def mine(self) -> None:
        """Mine a block of the pending transactions, at least a second after its parent."""
        timestamp = max(self._head.timestamp + 1, int(self._now()))
        self._node.mine_block(timestamp=timestamp + 1)  # alysis stores one less than it is told

    # --------------------------------------------------------------------------------------------- the chain below

    def _adopt(self, node: Node) -> None:
        self._node = node
        self._alysis = RPCNode(node)

    @property
    def _chain(self) -> Any:
        return self._node._backend.chain  # noqa: SLF001 - alysis has no public way to reorganise

    @property
    def _head(self) -> BlockHeaderAPI:
        header: BlockHeaderAPI = self._chain.get_canonical_head()
        return header

    def _fund(self) -> None:
        root = PrivateKey(self._node.root_private_key)
        for nonce, key in enumerate(PRIVATE_KEYS):
            payment = self._chain.create_unsigned_transaction(
                nonce=nonce,
                gas_price=FUNDING_GAS_PRICE_WEI,
                gas=21_000,
                to=address_of(key),
                value=BALANCE_WEI,
                data=b"",
            )
            signed = payment.as_signed_transaction(root, chain_id=self._node.eth_chain_id())
            self._node.eth_send_raw_transaction(signed.encode())
        self.mine()

    # ---------------------------------------------------------------------------------------- block parameters

    def _with_plain_block(self, method: str, params: list[Any]) -> list[Any]:
        """Return the parameters with tags and EIP-1898 objects replaced by a block number."""
        place = _BLOCK_PARAMETER.get(method)
        if place is None or len(params) <= place:
            return params
        return [*params[:place], self._plain(params[place]), *params[place + 1 :]]

    def _plain(self, block: Any) -> Any:
        if isinstance(block, dict):
            return self._pinned(block)
        if block in _DEPTH if isinstance(block, str) else False:
            return hex(max(0, self._head.block_number - _DEPTH[block]))
        return block

    def _pinned(self, block: dict[str, Any]) -> str:
        if "blockHash" not in block:
            return str(block.get("blockNumber"))
        header = self._canonical(str(block["blockHash"]))
        if header is None:
            raise RPCError(BLOCK_NOT_FOUND, "block not found")
        return hex(header.block_number)

    def _canonical(self, block_hash: str) -> BlockHeaderAPI | None:
        """Return the header of that hash, if the block is on the chain now."""
        try:
            header: BlockHeaderAPI = self._chain.get_block_header_by_hash(bytes.fromhex(block_hash[2:]))
            return header if self._by_number(header.block_number).hash == header.hash else None
        except HeaderNotFound:
            return None

    def _by_number(self, number: int) -> BlockHeaderAPI:
        """Return a header of the chain, or raise HeaderNotFound.

        The database keeps the numbers of blocks that were rolled back until others take them.
        """
        if number > self._head.block_number:
            raise HeaderNotFound(f"block {number} is above the head")
        header: BlockHeaderAPI = self._chain.get_canonical_block_header_by_number(number)
        return header

    # ------------------------------------------------------------------------------------------------- methods

    def _call(self, call: dict[str, Any], block: str) -> Any:
        header = self._by_number(int(block, 16))
        key = (header.hash.hex(), repr(sorted(call.items())))
        if key not in self._cache:
            self._cache[key] = self._alysis.rpc("eth_call", call, block)
            while len(self._cache) > CACHED_CALLS:
                self._cache.popitem(last=False)
        return self._cache[key]

    def _block_by_hash(self, block_hash: str, full: bool) -> Any:
        if self._canonical(block_hash) is None:
            return None
        return self._alysis.rpc("eth_getBlockByHash", block_hash, full)

    def _send(self, raw: str) -> Any:
        transaction_hash = self._alysis.rpc("eth_sendRawTransaction", raw)
        if self._automine:
            self.mine()
        return transaction_hash

    def _logs(self, query: dict[str, Any]) -> list[Any]:
        """Return logs block by block, without blocks whose bloom filter is empty."""
        if "blockHash" in query:
            start = end = int(self._pinned(query), 16)
        else:
            start = int(self._plain(query.get("fromBlock", "latest")), 16)
            end = min(int(self._plain(query.get("toBlock", "latest")), 16), self._head.block_number)
        wanted: dict[str, Any] = {key: query[key] for key in query.keys() & {"address", "topics"}}
        found: list[Any] = []
        for number in range(start, end + 1):
            if self._by_number(number).bloom:
                query = {**wanted, "fromBlock": hex(number), "toBlock": hex(number)}
                found += cast("list[Any]", self._alysis.rpc("eth_getLogs", query))
        return found

    # ------------------------------------------------------------------------------------- what only tests may do

    def _mine_one(self) -> str:
        self.mine()
        return "0x0"

    def _mine_many(self, count: str = "0x1") -> None:
        for _ in range(min(int(count, 16), MAX_MINED_AT_ONCE)):
            self.mine()

    def _set_automine(self, automine: bool) -> None:
        self._automine = bool(automine)

    def _snapshot(self) -> str:
        name = hex(len(self._snapshots))
        if len(self._snapshots) == MAX_SNAPSHOTS:
            raise RPCError.with_code(RPCErrorCode.SERVER_ERROR, "too many snapshots")
        self._snapshots[name] = deepcopy(self._node)
        return name

    def _revert(self, name: str) -> bool:
        """Back to a snapshot, which is thereby used up, with all that were made after it."""
        if name not in self._snapshots:
            return False
        self._adopt(self._snapshots[name])
        self._snapshots = {
            kept: node for kept, node in self._snapshots.items() if int(kept, 16) < int(name, 16)
        }
        return True

    def _rollback(self, depth: int = 1) -> None:
        """Forget the newest ``depth`` blocks and what is pending."""
        head = self._head
        if not 0 < depth <= head.block_number:
            raise ValueError(depth)
        chain = self._chain
        target = self._by_number(head.block_number - depth)
        chain.chaindb.db[SchemaV1.make_canonical_head_hash_lookup_key()] = target.hash
        chain.header = chain.create_header_from_parent(target)
