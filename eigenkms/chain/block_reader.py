"""Read blocks, and contract values at a block, through one ``Rpc`` of one chain.

The chain id stands in each batch, because several nodes may serve one URL. If an RPC takes no batches (``rpc``), the
chain id is requested beside the calls, and only the block hash ties the answers together.

An RPC may lie. These properties are checked: shapes and sizes, the chain id, and that a block has the number or the
hash that was requested. The hash of a header is *not* recomputed from its fields, because the fork decides which fields
enter it, and no state proof is requested.
"""

from collections.abc import Sequence
from typing import Any

from eigenkms.chain import abi
from eigenkms.chain.config import ChainConfig, explain_refusal, finality_hint
from eigenkms.chain.provider import WrongChainError
from eigenkms.chain.rpc import BlockPin, Request, Rpc, RpcRefusedError, pin
from eigenkms.chain.rpc_values import Json, parse_block, parse_bytes, parse_quantity
from eigenkms.errors import ChainError
from eigenkms.types import BlockRef, to_hex


class BlockReader:
    """Reads blocks, and contract values at a block.

    Each method raises ChainError if the RPC cannot answer.
    """

    def __init__(self, config: ChainConfig, rpc: Rpc) -> None:
        self.config = config
        self.rpc = rpc

    # ------------------------------------------------------------------------------------------------- blocks

    async def head(self) -> BlockRef:
        """Return the newest block at the configured finality."""
        finality = self.config.finality
        try:
            head = await self._block_by(finality.tag, f"the {finality.tag} block")
        except RpcRefusedError as refusal:
            explain_refusal(refusal, finality.tag, "--finality")
            raise
        if head is None:
            raise ChainError(
                f"read the {finality.tag} block at {self.rpc.endpoint}: the node has none",
                hint=finality_hint(finality.tag, "--finality"),
            )
        if finality.confirmations == 0:
            return head
        number = max(0, head.number - finality.confirmations)
        block = await self.block(number)
        if block is None:
            raise ChainError(f"read block {number} at {self.rpc.endpoint}: missing below block {head.number}")
        return block

    async def block(self, number_or_hash: int | bytes) -> BlockRef | None:
        """Return the canonical block of that number, or the block of that hash.

        Returns None if the node has none.

        Raises ChainError if the node answers with another block.
        """
        if isinstance(number_or_hash, bytes):
            return await self._block_by_hash(number_or_hash)
        block = await self._block_by(hex(number_or_hash), f"block {number_or_hash}")
        if block is not None and block.number != number_or_hash:
            raise ChainError(f"read block {number_or_hash} at {self.rpc.endpoint}: got block {block.number}")
        return block

    async def newest_block(self) -> BlockRef | None:
        """Return the newest block that the RPC has, whatever the finality."""
        return await self._block_by("latest", "the newest block")

    async def is_canonical(self, block: BlockRef) -> bool:
        """Return whether the chain still has exactly this block at its number."""
        current = await self.block(block.number)
        return current is not None and current.hash == block.hash

    async def require_canonical(self, block: BlockRef) -> None:
        """Raise ChainError unless the block is canonical."""
        if not await self.is_canonical(block):
            raise ChainError(
                f"read operator set at block {block.number}: block {to_hex(block.hash)} is not canonical",
                hint="the chain was reorganised, or the RPC lags behind; a later boundary will be read instead",
            )

    async def _block_by(self, selector: str, what: str) -> BlockRef | None:
        request: Request = ("eth_getBlockByNumber", (selector, False))
        (answer,) = await self.batch([request])
        return None if answer is None else self._parse_block(answer, what)

    async def _block_by_hash(self, block_hash: bytes) -> BlockRef | None:
        (answer,) = await self.batch([("eth_getBlockByHash", (to_hex(block_hash), False))])
        if answer is None:
            return None
        block = self._parse_block(answer, f"block {to_hex(block_hash)}")
        if block.hash != block_hash:
            raise ChainError(
                f"read block {to_hex(block_hash)} at {self.rpc.endpoint}: got {to_hex(block.hash)}"
            )
        return block

    def _parse_block(self, answer: Json, what: str) -> BlockRef:
        return parse_block(answer, f"{what} at {self.rpc.endpoint}")

    # ------------------------------------------------------------------------------------------------- calls

    async def batch(self, requests: list[Request]) -> tuple[Json, ...]:
        """Return the answers to ``requests``, from a node of the right chain."""
        chain_id, *answers = await self.rpc.batch([("eth_chainId", ()), *requests])
        self.check_chain_id(chain_id)
        return tuple(answers)

    def check_chain_id(self, answer: Json) -> None:
        """Raise WrongChainError if an answer to eth_chainId is not the configured chain id."""
        chain_id = parse_quantity(answer, f"chain id at {self.rpc.endpoint}", bits=256)
        if chain_id != self.config.chain_id:
            raise WrongChainError(
                f"use chain {self.config.chain_id}: the RPC at {self.rpc.endpoint} serves chain {chain_id}"
            )

    async def read_at(
        self, block: BlockRef, contract: bytes, calls: Sequence[tuple[abi.Function, tuple[object, ...]]]
    ) -> list[Any]:
        """Return the first value that each function returns at exactly this block, in one round trip."""
        at = pin(block.hash)
        answers = await self.batch(
            [call_request(contract, function.encode(*values), at) for function, values in calls]
        )
        return [
            function.decode(parse_bytes(answer, f"answer of {function.name}"))[0]
            for (function, _), answer in zip(calls, answers, strict=True)
        ]

    async def require_contract(self, name: str, address: bytes) -> None:
        """Raise ChainError, which calls it ``name``, unless there is a contract at the address."""
        (code,) = await self.batch([code_request(address)])
        self.require_code(name, address, code)

    def require_code(self, name: str, address: bytes, answer: Json) -> None:
        """Raise ChainError if an answer to eth_getCode is empty."""
        if not parse_bytes(answer, f"code of the {name}"):
            raise ChainError(
                f"check {name} {to_hex(address)} on chain {self.config.chain_id}: there is no contract at this address",
                hint=f"correct the {name} address, or the chain id",
            )


def call_request(to: bytes, data: bytes, at: BlockPin | str) -> Request:
    """Return the request that calls a contract at a block."""
    return "eth_call", ({"to": to_hex(to), "data": to_hex(data)}, at)


def code_request(address: bytes) -> Request:
    """Return the request for the newest code at an address."""
    return "eth_getCode", (to_hex(address), "latest")


def decode_address(function: abi.Function, answer: Json) -> bytes:
    """Return the one address, 20 bytes, that a function returned."""
    (text,) = function.decode(parse_bytes(answer, f"answer of {function.name}"))
    return bytes.fromhex(text[2:])
