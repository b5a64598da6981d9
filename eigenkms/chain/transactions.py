"""Signing and sending transactions whose fate is known whatever happens on the way.

A transaction is signed, with its nonce and so its hash fixed, before anything is sent. If sending fails in a way that
leaves open whether it arrived, the hash is still asked for until the deadline: no transaction is ever sent twice under
two nonces. Gas is always explicit, since estimating a BN254 registration costs more than making it. A revert is
replayed as a call against the parent block to learn its error, which is told as a sentence.
"""

from dataclasses import dataclass
from typing import Any, Final

import trio
from eth_account import Account

from eigenkms.chain.reverts import sentence
from eigenkms.chain.rpc import Rpc, RpcAnswerError, RpcRefusedError, RpcUnavailableError
from eigenkms.chain.values import Json, hexed, mapping, octets, quantity
from eigenkms.errors import ChainError, InputError

RECEIPT_DEADLINE_SECONDS: Final = 60.0
RECEIPT_POLL_SECONDS: Final = 0.05
MAX_RECEIPT_POLL_SECONDS: Final = 2.0
DEFAULT_TIP_WEI: Final = 10**9
_KNOWN: Final = ("already known", "already imported", "known transaction")


@dataclass(frozen=True, slots=True)
class Receipt:
    """A transaction that is in a block and was not reverted. ``contract`` is the address that it made, if any."""

    transaction_hash: bytes
    block_number: int
    gas_used: int
    contract: bytes | None


class Sender:
    """One account that sends transactions, one at a time. Holds the account's private key; its repr does not.

    ``deadline`` is how long, in seconds, a transaction may take to get into a block.
    """

    def __init__(
        self,
        rpc: Rpc,
        private_key: bytes,
        chain_id: int,
        *,
        deadline: float = RECEIPT_DEADLINE_SECONDS,
        tip_wei: int = DEFAULT_TIP_WEI,
    ) -> None:
        try:
            self._account = Account.from_key(private_key)
        except ValueError:
            raise InputError("load the account: its private key is not a 32-byte scalar") from None
        self.address: Final = bytes.fromhex(self._account.address[2:])
        self.rpc: Final = rpc
        self.chain_id: Final = chain_id
        self._deadline = deadline
        self._tip_wei = tip_wei
        self._lock = trio.Lock()

    def __repr__(self) -> str:
        return f"<Sender {hexed(self.address)} key redacted>"

    async def send(self, what: str, to: bytes | None, data: bytes, *, gas: int, value: int = 0) -> Receipt:
        """Send and wait until it is in a block. ``to`` None makes a contract; ``what`` names the action in messages.

        Raises ChainError: refused, reverted (with the contract's reason), or in no block within the deadline.
        """
        async with self._lock:
            fields = await self._fields(to, data, gas, value)
            signed = await trio.to_thread.run_sync(self._account.sign_transaction, fields)
            await self._submit(what, bytes(signed.raw_transaction))
            receipt = await self._wait(what, bytes(signed.hash))
        return await self._accepted(what, receipt, bytes(signed.hash), fields)

    async def _fields(self, to: bytes | None, data: bytes, gas: int, value: int) -> dict[str, Any]:
        chain_id, nonce, block = await self.rpc.batch(
            [
                ("eth_chainId", ()),
                ("eth_getTransactionCount", (hexed(self.address), "pending")),
                ("eth_getBlockByNumber", ("latest", False)),
            ]
        )
        if quantity(chain_id, "chain id", bits=256) != self.chain_id:
            raise ChainError(
                f"send a transaction: the RPC at {self.rpc.endpoint} is not chain {self.chain_id}"
            )
        base = quantity(mapping(block, "latest block").get("baseFeePerGas"), "base fee", bits=96)
        fields: dict[str, Any] = {
            "type": 2,
            "chainId": self.chain_id,
            "nonce": quantity(nonce, "nonce"),
            "gas": gas,
            "maxFeePerGas": 2 * base + self._tip_wei,
            "maxPriorityFeePerGas": self._tip_wei,
            "value": value,
            "data": hexed(data),
        }
        return fields if to is None else fields | {"to": to}

    async def _submit(self, what: str, raw: bytes) -> None:
        try:
            await self.rpc.call("eth_sendRawTransaction", hexed(raw), retry=False)
        except (RpcUnavailableError, RpcAnswerError):
            return  # it may have arrived: the receipt tells
        except RpcRefusedError as refusal:
            if not any(known in refusal.text.lower() for known in _KNOWN):
                raise ChainError(
                    f"{what}: the node refused the transaction: {refusal.text[:120]}"
                ) from refusal

    async def _wait(self, what: str, transaction_hash: bytes) -> dict[str, Json]:
        pause = RECEIPT_POLL_SECONDS
        with trio.move_on_after(self._deadline):
            while True:
                try:
                    answer = await self.rpc.call("eth_getTransactionReceipt", hexed(transaction_hash))
                except RpcUnavailableError:
                    answer = None
                if answer is not None:
                    return mapping(answer, "transaction receipt")
                await trio.sleep(pause)
                pause = min(pause * 1.5, MAX_RECEIPT_POLL_SECONDS)
        raise ChainError(
            f"{what}: transaction {hexed(transaction_hash)} is in no block after {self._deadline:g} s",
            hint="look it up by its hash before trying again; it may still be included",
        )

    async def _accepted(
        self, what: str, receipt: dict[str, Json], transaction_hash: bytes, fields: dict[str, Any]
    ) -> Receipt:
        if octets(receipt.get("transactionHash"), "receipt's transaction hash", size=32) != transaction_hash:
            raise ChainError(f"{what}: the receipt is that of another transaction")
        number = quantity(receipt.get("blockNumber"), "receipt's block number", bits=63)
        used = quantity(receipt.get("gasUsed"), "receipt's gas")
        if quantity(receipt.get("status"), "receipt's status") != 1:
            raise await self._reverted(what, number, used, fields)
        made = receipt.get("contractAddress")
        contract = None if made is None else octets(made, "receipt's contract address", size=20)
        return Receipt(transaction_hash, number, used, contract)

    async def _reverted(self, what: str, number: int, used: int, fields: dict[str, Any]) -> ChainError:
        if used >= fields["gas"]:
            return ChainError(f"{what}: the transaction used all its gas ({used})", hint=None)
        call: dict[str, Json] = {
            "from": hexed(self.address),
            "data": fields["data"],
            "gas": hex(fields["gas"]),
        }
        if "to" in fields:
            call["to"] = hexed(fields["to"])
        try:
            await self.rpc.call("eth_call", call, hex(max(0, number - 1)))
        except RpcRefusedError as refusal:
            reason, hint = sentence(refusal.data, refusal.text)
            return ChainError(f"{what}: {reason}", hint=hint)
        return ChainError(f"{what}: the transaction was reverted for a reason that does not show in a replay")
