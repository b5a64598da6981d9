"""Sign and send transactions whose outcome is known whatever fails on the way.

A transaction is signed, with its nonce and so its hash fixed, before anything is sent. If a failed send leaves open whether it
arrived, the hash is still queried until the deadline. One action has one nonce. A transaction that is not included is replaced,
under the same nonce, by one that pays at least an eighth more. The one that gets into a block counts. If the account has foreign
transactions under way, the sender waits for them first.

The gas limit is explicit, since estimating a BN254 registration on a chain in Python costs more than making it. With
``Terms.estimate``, the explicit limit bounds the estimate. ``Terms.max_fee_wei`` bounds the fee. A revert is replayed as a call
against the parent block to find its error, which is explained in words.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import trio

from eigenkms.chain.revert_reasons import explain_revert
from eigenkms.chain.rpc import Rpc, RpcAnswerError, RpcRefusedError, RpcUnavailableError
from eigenkms.chain.rpc_values import Json, format_gwei, parse_bytes, parse_object, parse_quantity
from eigenkms.chain.signing import LocalSigner, Signer
from eigenkms.crypto.hashing import keccak256
from eigenkms.errors import ChainError, EigenKmsError
from eigenkms.types import to_hex

RECEIPT_DEADLINE_SECONDS: Final = 60.0
RECEIPT_POLL_SECONDS: Final = 0.05
MAX_RECEIPT_POLL_SECONDS: Final = 2.0
DEFAULT_TIP_WEI: Final = 10**9
MAX_RAISES: Final = 40
"""Times that a fee is raised by an eighth in a row, to replace a transaction whose fee is not known."""
_KNOWN: Final = ("already known", "already imported", "known transaction")
_UNDERPRICED: Final = ("underpriced", "replacement", "could not replace")
_ELSEWHERE: Final = 3
"""Looks in a row at which the nonce is used and no transaction of ours is in a block, until another one has it."""

log = logging.getLogger("eigenkms.chain.transactions")
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Receipt:
    """A transaction that is in a block and was not reverted.

    ``contract`` is the address that it made, if any.
    """

    transaction_hash: bytes
    block_number: int
    gas_used: int
    contract: bytes | None


@dataclass(frozen=True, slots=True)
class Terms:
    """The fees of a sender, and how long it waits.

    ``max_fee_wei``: most for a unit of gas, None for no bound. ``estimate``: ask the node for the gas limit, up to the one given.
    ``replace_after``: seconds in no block after which a transaction is replaced, None for never. ``replace_pending``: take
    the nonce of a transaction of the account that is under way, instead of waiting for it. ``confirmations``: blocks, its
    own included, that a transaction must be deep. ``deadline``: seconds that all of it may take. ``tell`` gets a line for
    each wait and each replacement.
    """

    max_fee_wei: int | None = None
    estimate: bool = False
    replace_after: float | None = None
    replace_pending: bool = False
    confirmations: int = 1
    deadline: float = RECEIPT_DEADLINE_SECONDS
    tip_wei: int = DEFAULT_TIP_WEI
    tell: Tell = log.info

    def fee(self, base_fee: int) -> int:
        """Return the most that a unit of gas may cost now.

        It is twice the base fee and the tip, within the bound.
        """
        fee = 2 * base_fee + self.tip_wei
        return fee if self.max_fee_wei is None else min(fee, self.max_fee_wei)

    def check(self, what: str, base_fee: int) -> None:
        """Raise ChainError, which begins with ``what``, if the network's fee is over the bound."""
        asked = base_fee + self.tip_wei
        if self.max_fee_wei is not None and asked > self.max_fee_wei:
            raise ChainError(
                f"{what}: the network asks {format_gwei(asked)} gwei for a unit of gas, "
                f"and the ceiling is {format_gwei(self.max_fee_wei)} gwei",
                hint="wait until it asks less, or raise max_gas_price_gwei; nothing was sent",
            )


@dataclass(frozen=True, slots=True)
class _SignedTransaction:
    """One signed transaction, under the nonce of its action."""

    hash: bytes
    raw: bytes
    fields: dict[str, Any]


class Sender:
    """One account that sends transactions, one at a time.

    ``key`` is its private key (32 bytes) or what signs for it.

    ``deadline`` is how long, in seconds, a transaction may take to get into a block; ``terms`` say the rest, and win.
    """

    def __init__(
        self,
        rpc: Rpc,
        key: bytes | Signer,
        chain_id: int,
        *,
        deadline: float = RECEIPT_DEADLINE_SECONDS,
        terms: Terms | None = None,
    ) -> None:
        self._signer: Signer = LocalSigner(key) if isinstance(key, bytes) else key
        self.address: Final = self._signer.address
        self.rpc: Final = rpc
        self.chain_id: Final = chain_id
        self.terms: Final = terms or Terms(deadline=deadline)
        self._lock = trio.Lock()
        self._unused = 0
        """The lowest nonce that this sender has not used; a node that lags behind may tell a lower one."""

    def __repr__(self) -> str:
        return f"<Sender {to_hex(self.address)} key redacted>"

    async def send(self, what: str, to: bytes | None, data: bytes, *, gas: int, value: int = 0) -> Receipt:
        """Send and wait until it is in a block.

        ``to`` None makes a contract; ``what`` names the action in messages.

        ``gas`` is the limit, or with ``Terms.estimate`` the most it may be. Raises ChainError: refused, reverted (with the
        contract's reason), too dear, or in no block within the deadline.
        """
        async with self._lock:
            fields = await self._fields(what, to, data, gas, value)
            sent = [await self._submit_first(what, fields)]
            receipt = await self._wait(what, sent)
            self._unused = fields["nonce"] + 1
        return await self._accepted(what, receipt, sent)

    async def pending(self) -> int:
        """Return how many transactions of the account are under way. Raises ChainError."""
        return await pending_of(self.rpc, self.address)

    async def wait_for_pending(self, what: str) -> None:
        """Wait until no transaction of the account is under way.

        With ``Terms.replace_pending`` it returns without a wait. Raises ChainError, which begins with ``what``, if it takes
        longer than a transaction may.
        """
        waiting = await self.pending()
        if not waiting or self.terms.replace_pending:
            return
        self.terms.tell(f"waiting for {waiting} pending transactions of {to_hex(self.address)}")
        patience = self.terms.replace_after or self.terms.deadline
        pause = RECEIPT_POLL_SECONDS
        with trio.move_on_after(patience):
            while await self.pending():
                await trio.sleep(pause)
                pause = min(pause * 1.5, MAX_RECEIPT_POLL_SECONDS)
            return
        raise ChainError(
            f"{what}: a transaction of {to_hex(self.address)} is pending since more than {patience:g} s",
            hint="wait until it is in a block and try again, or replace it with --replace-pending",
        )

    # ----------------------------------------------------------------------------------------------- preparing

    async def _fields(self, what: str, to: bytes | None, data: bytes, gas: int, value: int) -> dict[str, Any]:
        await self.wait_for_pending(what)
        chain_id, latest, pending, block = await self.rpc.batch(
            [
                ("eth_chainId", ()),
                ("eth_getTransactionCount", (to_hex(self.address), "latest")),
                ("eth_getTransactionCount", (to_hex(self.address), "pending")),
                ("eth_getBlockByNumber", ("latest", False)),
            ]
        )
        if parse_quantity(chain_id, "chain id", bits=256) != self.chain_id:
            raise ChainError(
                f"send a transaction: the RPC at {self.rpc.endpoint} is not chain {self.chain_id}"
            )
        base = base_fee_of(block)
        self.terms.check(what, base)
        nonce = parse_quantity(latest if self.terms.replace_pending else pending, "nonce")
        fee = self.terms.fee(base)
        fields: dict[str, Any] = {
            "type": 2,
            "chainId": self.chain_id,
            "nonce": max(nonce, self._unused),
            "gas": gas,
            "maxFeePerGas": fee,
            "maxPriorityFeePerGas": min(self.terms.tip_wei, fee),
            "value": value,
            "data": to_hex(data),
        }
        if to is not None:
            fields["to"] = to
        return fields | {"gas": await self._estimated(what, fields)} if self.terms.estimate else fields

    async def _estimated(self, what: str, fields: dict[str, Any]) -> int:
        """Return a quarter above what the node says it takes, and no more than the limit given."""
        try:
            answer = await self.rpc.call("eth_estimateGas", self._as_call(fields), "latest")
            needed = parse_quantity(answer, "estimated gas")
        except RpcRefusedError as refusal:
            if not refusal.is_revert:
                raise self._refused(what, refusal) from refusal
            reason, hint = explain_revert(refusal.data, refusal.text)
            raise ChainError(f"{what}: {reason}", hint=hint) from refusal
        if needed > fields["gas"]:
            raise ChainError(
                f"{what}: it would take {needed} gas, more than the {fields['gas']} that are allowed for it",
                hint="check that the contract at this address is the one meant; nothing was sent",
            )
        limit: int = min(fields["gas"], needed * 5 // 4)
        return limit

    def _as_call(self, fields: dict[str, Any]) -> dict[str, Json]:
        call: dict[str, Json] = {
            "from": to_hex(self.address),
            "data": fields["data"],
            "value": hex(fields["value"]),
        }
        return call | {"to": to_hex(fields["to"])} if "to" in fields else call

    # ------------------------------------------------------------------------------------------------- sending

    async def _submit_first(self, what: str, fields: dict[str, Any]) -> _SignedTransaction:
        """Sign and send.

        A pending transaction under this nonce is outbid, an eighth at a time.
        """
        for _ in range(MAX_RAISES):
            sent = await self._signed(fields)
            refusal = await self._submit(sent)
            if refusal is None:
                return sent
            if not self.terms.replace_pending or not _has_reason(refusal, _UNDERPRICED):
                raise self._refused(what, refusal)
            fields = self._raised(fields)
            if self.terms.max_fee_wei is not None and fields["maxFeePerGas"] > self.terms.max_fee_wei:
                break
        raise ChainError(
            f"{what}: replacing the pending transaction would cost more than "
            f"{format_gwei(fields['maxFeePerGas'])} gwei for a unit of gas",
            hint="raise max_gas_price_gwei, or wait for it",
        )

    async def _signed(self, fields: dict[str, Any]) -> _SignedTransaction:
        raw = await self._signer.sign(fields)
        return _SignedTransaction(keccak256(raw), raw, fields)

    async def _submit(self, sent: _SignedTransaction) -> RpcRefusedError | None:
        """Return the node's refusal, None if it took the transaction, or may have: then the receipt tells."""
        try:
            await self.rpc.call("eth_sendRawTransaction", to_hex(sent.raw), retry=False)
        except (RpcUnavailableError, RpcAnswerError):
            return None
        except RpcRefusedError as refusal:
            return None if _has_reason(refusal, _KNOWN) else refusal
        return None

    def _refused(self, what: str, refusal: RpcRefusedError) -> ChainError:
        hint = None
        if "insufficient funds" in refusal.text.lower() or "balance" in refusal.text.lower():
            hint = f"send ether to {to_hex(self.address)}"
        return ChainError(f"{what}: the node refused the transaction: {refusal.text[:120]}", hint=hint)

    @staticmethod
    def _raised(fields: dict[str, Any]) -> dict[str, Any]:
        """Return the same action at fees that are higher by an eighth, the least that nodes let replace one (go-ethereum,
        PriceBump).
        """
        names = ("maxFeePerGas", "maxPriorityFeePerGas")
        return fields | {name: fields[name] + fields[name] // 8 + 1 for name in names}

    # ------------------------------------------------------------------------------------------------- waiting

    async def _wait(self, what: str, sent: list[_SignedTransaction]) -> dict[str, Json]:
        """Return the receipt of one of ``sent``, deep enough.

        Replacements are added to the list.
        """
        with trio.move_on_after(self.terms.deadline):
            return await self._included(what, sent)
        raise ChainError(
            f"{what}: transaction {', '.join(to_hex(each.hash) for each in sent)} is in no block after {self.terms.deadline:g} s",
            hint="look it up by its hash before trying again; it may still be included",
        )

    async def _included(self, what: str, sent: list[_SignedTransaction]) -> dict[str, Json]:
        pause, patience = RECEIPT_POLL_SECONDS, self.terms.replace_after or self.terms.deadline
        due = trio.current_time() + patience
        elsewhere = 0
        while elsewhere < _ELSEWHERE:
            receipt = await self._receipt(sent)
            if receipt is not None and await self._is_deep(receipt):
                return receipt
            if receipt is None and trio.current_time() >= due:
                elsewhere = elsewhere + 1 if await self._is_used(sent[0].fields["nonce"]) else 0
                if not elsewhere:
                    await self._outbid(what, sent)
                    due = trio.current_time() + patience
            await trio.sleep(pause)
            pause = min(pause * 1.5, MAX_RECEIPT_POLL_SECONDS)
        raise ChainError(
            f"{what}: another transaction of {to_hex(self.address)} took nonce {sent[0].fields['nonce']}",
            hint="let no other program use the account meanwhile, and try again: what is done already is skipped",
        )

    async def _receipt(self, sent: list[_SignedTransaction]) -> dict[str, Json] | None:
        """Return the receipt of the newest transaction that has one.

        Whatever the RPC says else, once something was sent, is no answer yet.
        """
        for each in reversed(sent):
            try:
                answer = await self.rpc.call("eth_getTransactionReceipt", to_hex(each.hash))
            except ChainError:
                return None
            if answer is not None:
                receipt = parse_object(answer, "transaction receipt")
                if (
                    parse_bytes(receipt.get("transactionHash"), "receipt's transaction hash", size=32)
                    != each.hash
                ):
                    raise ChainError("read a receipt: it is that of another transaction")
                return receipt
        return None

    async def _is_deep(self, receipt: dict[str, Json]) -> bool:
        if self.terms.confirmations <= 1:
            return True
        try:
            head = parse_quantity(await self.rpc.call("eth_blockNumber"), "block number", bits=63)
        except ChainError:
            return False
        depth = head + 1 - parse_quantity(receipt.get("blockNumber"), "receipt's block number", bits=63)
        return depth >= self.terms.confirmations

    async def _is_used(self, nonce: int) -> bool:
        try:
            latest, _ = await nonces(self.rpc, self.address)
        except ChainError:
            return False
        return latest > nonce

    async def _outbid(self, what: str, sent: list[_SignedTransaction]) -> None:
        """Replace the newest by a dearer one, within the bound, else send it again: a reorganisation may have dropped it.

        A refusal is not the end: that of before may be under way still, and the receipts tell.
        """
        raised = self._raised(sent[-1].fields)
        bound = self.terms.max_fee_wei
        if bound is not None and raised["maxFeePerGas"] > bound:
            await self._submit(sent[-1])
            return
        self.terms.tell(
            f"{what}: in no block yet, replaced at {format_gwei(raised['maxFeePerGas'])} gwei for a unit of gas"
        )
        try:
            replacement = await self._signed(raised)
        except EigenKmsError as error:
            self.terms.tell(
                f"{what}: not replaced, as nothing signs it; still waiting for the one before ({error})"
            )
            return
        sent.append(replacement)
        await self._submit(replacement)

    # --------------------------------------------------------------------------------------------- the outcome

    async def _accepted(self, what: str, receipt: dict[str, Json], sent: list[_SignedTransaction]) -> Receipt:
        transaction_hash = parse_bytes(receipt.get("transactionHash"), "receipt's transaction hash", size=32)
        (fields,) = (each.fields for each in sent if each.hash == transaction_hash)
        number = parse_quantity(receipt.get("blockNumber"), "receipt's block number", bits=63)
        used = parse_quantity(receipt.get("gasUsed"), "receipt's gas")
        if parse_quantity(receipt.get("status"), "receipt's status") != 1:
            raise await self._reverted(what, number, used, fields)
        made = receipt.get("contractAddress")
        contract = None if made is None else parse_bytes(made, "receipt's contract address", size=20)
        return Receipt(transaction_hash, number, used, contract)

    async def _reverted(self, what: str, number: int, used: int, fields: dict[str, Any]) -> ChainError:
        if used >= fields["gas"]:
            return ChainError(f"{what}: the transaction used all its gas ({used})", hint=None)
        try:
            await self.rpc.call(
                "eth_call", self._as_call(fields) | {"gas": hex(fields["gas"])}, hex(max(0, number - 1))
            )
        except RpcRefusedError as refusal:
            reason, hint = explain_revert(refusal.data, refusal.text)
            return ChainError(f"{what}: {reason}", hint=hint)
        return ChainError(f"{what}: the transaction was reverted for a reason that does not show in a replay")


async def nonces(rpc: Rpc, account: bytes) -> tuple[int, int]:
    """Return the account's next nonce in the newest block, and after all that is under way. Raises ChainError."""
    latest, pending = await rpc.batch(
        [("eth_getTransactionCount", (to_hex(account), tag)) for tag in ("latest", "pending")]
    )
    return parse_quantity(latest, "nonce"), parse_quantity(pending, "pending nonce")


async def pending_of(rpc: Rpc, account: bytes) -> int:
    """Return how many transactions of ``account`` are under way, as far as the node knows. Raises ChainError."""
    latest, pending = await nonces(rpc, account)
    return max(0, pending - latest)


def base_fee_of(block: Json) -> int:
    """In wei, of a block as ``eth_getBlockByNumber`` has it. Raises ChainError."""
    return parse_quantity(parse_object(block, "latest block").get("baseFeePerGas"), "base fee", bits=96)


def _has_reason(refusal: RpcRefusedError, words: tuple[str, ...]) -> bool:
    return any(word in refusal.text.lower() for word in words)
