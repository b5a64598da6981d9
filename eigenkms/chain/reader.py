"""The operator set as the chain has it at one block.

State is the authority. Every read is pinned to a block hash by EIP-1898, so an answer is either about exactly the
block that was asked for or an error; nothing is ever read "at latest" and hoped to belong to a boundary. A read is two
batches: the members, then each member's BN254 key and socket. The chain id stands in each batch, because behind one
URL there may be many nodes. Where an RPC takes no batches (``rpc``) it is asked beside the calls, and what ties them together is
the block hash alone.

An RPC may lie. What can be checked without executing the chain is: shapes and sizes, the chain id, that a block
has the number or the hash that was asked for, that keys are points of the right group, that the two halves of a key
belong together and that no key appears twice. The hash of a header is *not* recomputed from its fields (which fields
enter it depends on the fork), and no state proof is asked for: an RPC that invents a consistent set of keys is
believed, so an operator should ask its own node.

One operator with an unusable key must not stop the discovery of the others: it is set aside in ``rejected`` with the
reason, and since that is decided by chain state alone, everyone sets the same ones aside.

Ordinary full nodes keep the state of about 128 blocks. Where the state of a canonical block is gone, the set is read at
the newest block and rolled back along the membership and key events (see ``rollback``).
"""

import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import trio

from eigenkms.chain import abi
from eigenkms.chain.config import ChainConfig, Deployment, Finality, explain_refusal, finality_hint
from eigenkms.chain.logs import LogQuery
from eigenkms.chain.operator_keys import CURVES
from eigenkms.chain.provider import WrongChainError
from eigenkms.chain.providers import RpcPool, open_pool
from eigenkms.chain.rollback import OperatorSetAt, roll_back
from eigenkms.chain.rpc import BlockPin, Request, Rpc, RpcRefusedError, pin
from eigenkms.chain.values import Json, block_ref, hexed, octets, quantity
from eigenkms.chain.witnesses import agreed_operators
from eigenkms.crypto import bn254
from eigenkms.errors import ChainError, EigenKmsError
from eigenkms.types import BlockRef, Member, OperatorAddress, OperatorSet

__all__ = [
    "ChainConfig",
    "ChainOperator",
    "Deployment",
    "Finality",
    "OperatorSetReader",
    "RawOperatorSet",
    "open_chain",
]

T = TypeVar("T")
MAX_MEMBERS: Final = 512
MAX_SOCKET_CHARACTERS: Final = 1024
CHECKED_KEYS: Final = 4096

log = logging.getLogger("eigenkms.chain.reader")


@dataclass(frozen=True, slots=True)
class ChainOperator:
    """A member with a usable key.

    ``key_g1`` is X ‖ Y (64 bytes), ``key`` the same key in G2 (128 bytes, imaginary parts first); ``socket`` is the text
    that the operator published, unparsed, at most MAX_SOCKET_CHARACTERS of it.
    """

    address: OperatorAddress
    key_g1: bytes
    key: bytes
    socket: str


@dataclass(frozen=True, slots=True)
class RawOperatorSet:
    """The set at ``block``: usable operators sorted by address, and the others with the reason."""

    block: BlockRef
    operators: tuple[ChainOperator, ...]
    rejected: tuple[tuple[OperatorAddress, str], ...]

    @property
    def operator_set(self) -> OperatorSet:
        return OperatorSet(tuple(Member(operator.address, operator.key) for operator in self.operators))


class OperatorSetReader:
    """Reads one operator set. Made by ``open_chain``, which checks that the configuration fits the chain."""

    def __init__(self, config: ChainConfig, rpc: Rpc) -> None:
        self.config = config
        self.rpc = rpc
        self.curve = abi.CURVE_BN254
        """Of the keys of the operator set."""
        self._checked: OrderedDict[bytes, str | None] = OrderedDict()
        self._verifiers = trio.CapacityLimiter(1)

    # ------------------------------------------------------------------------------------------------- blocks

    async def head(self) -> BlockRef:
        """The newest block at the configured finality. Raises ChainError."""
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
        """The canonical block of that number, or the block of that hash; None if the node has none.

        Raises ChainError, also if the node answers with another block.
        """
        if isinstance(number_or_hash, bytes):
            return await self._block_by_hash(number_or_hash)
        block = await self._block_by(hex(number_or_hash), f"block {number_or_hash}")
        if block is not None and block.number != number_or_hash:
            raise ChainError(f"read block {number_or_hash} at {self.rpc.endpoint}: got block {block.number}")
        return block

    async def newest_block(self) -> BlockRef | None:
        """The newest block that the RPC has, whatever the finality. Raises ChainError."""
        return await self._block_by("latest", "the newest block")

    async def newest_number(self) -> int:
        """The number of the newest block there is, whatever the finality: of several RPCs, what the upper half of them has reached.

        So none alone can make it too low, by lagging behind, nor, of three or more, too high. Raises ChainError if nobody tells.
        """
        rpcs = [each.rpc for each in self.rpc.witnesses()] if isinstance(self.rpc, RpcPool) else [self.rpc]
        numbers: list[int] = []
        failures: list[ChainError] = []

        async def ask(rpc: Rpc) -> None:
            try:
                block = await self.through(rpc).newest_block()
            except ChainError as error:
                failures.append(error)
            else:
                numbers.extend([] if block is None else [block.number])

        async with trio.open_nursery() as nursery:
            for rpc in rpcs:
                nursery.start_soon(ask, rpc)
        if not numbers:
            raise failures[0] if failures else ChainError("read the newest block: there is none")
        return sorted(numbers)[len(numbers) // 2]

    def require_fresh(self, action: str) -> None:
        """Raise ChainError, which begins with ``action``, if it is known that no RPC has a new block: what was read may be long
        over.
        """
        if isinstance(self.rpc, RpcPool) and self.rpc.stale:
            raise ChainError(
                f"{action}: the newest block of every RPC is more than {self.config.stale_seconds:g} s old",
                hint="check that the RPC is synchronised and that this machine's clock is right",
            )

    async def is_canonical(self, block: BlockRef) -> bool:
        """Whether the chain still has exactly this block at its number. Raises ChainError."""
        current = await self.block(block.number)
        return current is not None and current.hash == block.hash

    async def _block_by(self, selector: str, what: str) -> BlockRef | None:
        request: Request = ("eth_getBlockByNumber", (selector, False))
        (answer,) = await self._batch_of_chain([request])
        return None if answer is None else self._parse_block(answer, what)

    async def _block_by_hash(self, block_hash: bytes) -> BlockRef | None:
        (answer,) = await self._batch_of_chain([("eth_getBlockByHash", (hexed(block_hash), False))])
        if answer is None:
            return None
        block = self._parse_block(answer, f"block {hexed(block_hash)}")
        if block.hash != block_hash:
            raise ChainError(
                f"read block {hexed(block_hash)} at {self.rpc.endpoint}: got {hexed(block.hash)}"
            )
        return block

    def _parse_block(self, answer: Json, what: str) -> BlockRef:
        return block_ref(answer, f"{what} at {self.rpc.endpoint}")

    async def _batch_of_chain(self, requests: list[Request]) -> tuple[Json, ...]:
        """The answers to ``requests``, from a node of the right chain."""
        chain_id, *answers = await self.rpc.batch([("eth_chainId", ()), *requests])
        self._check_chain_id(chain_id)
        return tuple(answers)

    def _check_chain_id(self, answer: Json) -> None:
        chain_id = quantity(answer, f"chain id at {self.rpc.endpoint}", bits=256)
        if chain_id != self.config.chain_id:
            raise WrongChainError(
                f"use chain {self.config.chain_id}: the RPC at {self.rpc.endpoint} serves chain {chain_id}"
            )

    # ------------------------------------------------------------------------------------------------- the set

    async def agreed_operators_at(self, block: BlockRef) -> RawOperatorSet:
        """As ``operators_at``, told alike by more than half of the RPCs that answer. Raises ``DisagreementError`` besides."""
        if isinstance(self.rpc, RpcPool) and len(self.rpc.providers) > 1:
            return await agreed_operators(self, self.rpc, block)
        return await self.operators_at(block)

    async def operators_at(self, block: BlockRef) -> RawOperatorSet:
        """The operator set at exactly this block.

        Raises ChainError: the block is not canonical any more, or the RPC cannot or will not answer. An empty set is not
        an error here. Sockets of a set that had to be rolled back are those of today.
        """
        return await self._at_one(lambda chain: chain._read_operators(block))  # noqa: SLF001 - the same class

    async def _at_one(self, read: Callable[["OperatorSetReader"], Awaitable[T]]) -> T:
        """What ``read`` returns when all it asks is asked of one RPC."""
        if not isinstance(self.rpc, RpcPool):
            return await read(self)
        return await self.rpc.at_one(lambda rpc: read(self.through(rpc)))

    def through(self, rpc: Rpc) -> "OperatorSetReader":
        """The same operator set, read through another RPC. What is known of keys is shared."""
        chain = OperatorSetReader(self.config, rpc)
        chain.curve, chain._checked, chain._verifiers = self.curve, self._checked, self._verifiers
        return chain

    async def _read_operators(self, block: BlockRef) -> RawOperatorSet:
        try:
            found = await self._set_pinned(block)
        except RpcRefusedError as refusal:
            if refusal.is_revert:
                raise
            await self._require_canonical(block)
            log.info(
                "state of block %d is gone from the RPC, rolling back from the newest block", block.number
            )
            found = await roll_back(self, block)
        return await self._verified(block, found)

    async def _require_canonical(self, block: BlockRef) -> None:
        if not await self.is_canonical(block):
            raise ChainError(
                f"read operator set at block {block.number}: block {hexed(block.hash)} is not canonical",
                hint="the chain was reorganised, or the RPC lags behind; a later boundary will be read instead",
            )

    async def set_now(self) -> tuple[BlockRef, OperatorSetAt]:
        """The unverified set at the newest block, whatever the configured finality. Raises ChainError."""
        newest = await self._block_by("latest", "the latest block")
        if newest is None:
            raise ChainError(f"read the latest block at {self.rpc.endpoint}: the node has none")
        return newest, await self._set_pinned(newest)

    async def _set_pinned(self, block: BlockRef) -> OperatorSetAt:
        at, config = pin(block.hash), self.config
        members_call = self._call(config.allocation_manager, abi.GET_MEMBERS.encode(self.set_id), at)
        registrar_call = self._call(config.allocation_manager, self._registrar_data, at)
        answers = await self._batch_of_chain([members_call, registrar_call])
        members = self._members(answers[0], block)
        registrar = self._address(abi.GET_AVS_REGISTRAR, answers[1])
        keys, sockets = await self.details(members, registrar, at)
        return OperatorSetAt(members, registrar, keys, sockets)

    def _members(self, answer: Json, block: BlockRef) -> tuple[OperatorAddress, ...]:
        where = f"operator set at block {block.number}"
        (listed,) = abi.GET_MEMBERS.decode(octets(answer, where))
        members = sorted(OperatorAddress(bytes.fromhex(text[2:])) for text in listed)
        if len(members) > MAX_MEMBERS or len(set(members)) != len(members):
            raise ChainError(f"read {where}: {len(members)} members, too many or one twice")
        return tuple(members)

    async def details(
        self, members: tuple[OperatorAddress, ...], registrar: bytes, at: BlockPin
    ) -> tuple[dict[OperatorAddress, bytes | str], dict[OperatorAddress, str]]:
        """For each member its key (as registered: 192 bytes of BN254 or the address of ECDSA; or why there is none) and its socket.

        Raises ChainError.
        """
        get_key = abi.GET_ECDSA_KEY if self.curve == abi.CURVE_ECDSA else abi.GET_BN254_KEY
        key_calls = [
            self._call(self.config.key_registrar, get_key.encode(self.set_id, member), at)
            for member in members
        ]
        socket_calls = [self._call(registrar, abi.GET_SOCKET.encode(member), at) for member in members]
        outcomes = await self.rpc.batch_outcomes([("eth_chainId", ()), *key_calls, *socket_calls])
        refusals = [outcome for outcome in outcomes if isinstance(outcome, RpcRefusedError)]
        for refusal in refusals:
            if not refusal.is_revert:
                raise refusal
        chain_id, *answers = outcomes
        assert not isinstance(chain_id, RpcRefusedError)
        self._check_chain_id(chain_id)
        n = len(members)
        keys = {member: self._key(member, answers[i]) for i, member in enumerate(members)}
        sockets = {member: self._socket(member, answers[n + i]) for i, member in enumerate(members)}
        return keys, sockets

    def _key(self, member: OperatorAddress, outcome: Json | RpcRefusedError) -> bytes | str:
        if isinstance(outcome, RpcRefusedError):
            return "the key registrar refuses to tell its key"
        what = f"key of operator {hexed(member)}"
        key: bytes
        if self.curve == abi.CURVE_ECDSA:
            (key,) = abi.GET_ECDSA_KEY.decode(octets(outcome, what))
            if len(key) not in (0, 20):
                raise ChainError(f"read {what} at {self.rpc.endpoint}: {len(key)} bytes are no address")
        else:
            key = octets(outcome, what, size=192)
        return key if any(key) else f"no {CURVES[self.curve]} key is registered"

    def _socket(self, member: OperatorAddress, outcome: Json | RpcRefusedError) -> str:
        if isinstance(outcome, RpcRefusedError):
            return ""
        (raw,) = abi.GET_SOCKET.decode(octets(outcome, f"socket of operator {hexed(member)}"))
        text: str = raw[: 4 * MAX_SOCKET_CHARACTERS].decode("utf-8", "replace")
        return text[:MAX_SOCKET_CHARACTERS]

    async def _verified(self, block: BlockRef, found: OperatorSetAt) -> RawOperatorSet:
        operators: list[ChainOperator] = []
        rejected: list[tuple[OperatorAddress, str]] = []
        for member in found.members:
            key = found.keys[member]
            reason = key if isinstance(key, str) else await self._complaint(key, found)
            if isinstance(key, bytes) and reason is None:
                operators.append(ChainOperator(member, key[:64], key[64:], found.sockets[member]))
            else:
                rejected.append((member, str(reason)))
        return RawOperatorSet(block, tuple(operators), tuple(rejected))

    async def _complaint(self, key: bytes, found: OperatorSetAt) -> str | None:
        """Why this key cannot be used, or None."""
        if sum(other == key for other in found.keys.values()) > 1:
            return "another operator has the same key"
        if key not in self._checked:
            self._checked[key] = await trio.to_thread.run_sync(_check_key, key, limiter=self._verifiers)
            while len(self._checked) > CHECKED_KEYS:
                self._checked.popitem(last=False)
        return self._checked[key]

    async def members_ever_left(self, block: BlockRef) -> bool:
        """Whether any operator was removed from this set in a block up to this one. Raises ChainError."""
        return await self._at_one(lambda chain: chain._removals_up_to(block))  # noqa: SLF001 - the same class

    async def _removals_up_to(self, block: BlockRef) -> bool:
        query = LogQuery(self.config.allocation_manager, (abi.REMOVED,))
        removals = await query.read(self.rpc, 0, block.number)
        await self._require_canonical(block)
        return any(self.is_ours(removal.data) for removal in removals)

    def is_ours(self, event_data: bytes) -> bool:
        """Whether an event's data starts with this operator set (avs, id: two words)."""
        return event_data[:64] == self.config.avs.rjust(32, b"\0") + self.set_id[1].to_bytes(32, "big")

    # ------------------------------------------------------------------------------------------------- calls

    @property
    def set_id(self) -> tuple[bytes, int]:
        """The operator set as the ABI has it: (avs, id)."""
        return self.config.avs, self.config.operator_set_id

    @property
    def _registrar_data(self) -> bytes:
        return abi.GET_AVS_REGISTRAR.encode(self.config.avs)

    async def read_at(
        self, block: BlockRef, contract: bytes, calls: Sequence[tuple[abi.Function, tuple[object, ...]]]
    ) -> list[Any]:
        """The first value that each function returns at exactly this block, in one round trip. Raises ChainError."""
        at = pin(block.hash)
        answers = await self._batch_of_chain(
            [self._call(contract, function.encode(*values), at) for function, values in calls]
        )
        return [
            function.decode(octets(answer, f"answer of {function.name}"))[0]
            for (function, _), answer in zip(calls, answers, strict=True)
        ]

    @staticmethod
    def _call(to: bytes, data: bytes, at: BlockPin | str) -> Request:
        return "eth_call", ({"to": hexed(to), "data": hexed(data)}, at)

    def _address(self, function: abi.Function, answer: Json) -> bytes:
        (text,) = function.decode(octets(answer, f"answer of {function.name}"))
        return bytes.fromhex(text[2:])

    # ------------------------------------------------------------------------------------------------- start

    async def check_deployment(self, curves: Collection[int] = (abi.CURVE_BN254,)) -> None:
        """That the configuration fits the chain: chain id, contracts, operator set, registrar, one of these curves.

        Raises ChainError.
        """
        config = self.config
        named = {"allocation manager": config.allocation_manager, "key registrar": config.key_registrar}
        codes = await self._batch_of_chain([self._code(address) for address in named.values()])
        for (name, address), code in zip(named.items(), codes, strict=True):
            self._require_code(name, address, code)
        manager, keys = config.allocation_manager, config.key_registrar
        answers = await self._batch_of_chain(
            [
                self._call(manager, abi.IS_OPERATOR_SET.encode(self.set_id), "latest"),
                self._call(manager, self._registrar_data, "latest"),
                self._call(keys, abi.GET_CURVE_TYPE.encode(self.set_id), "latest"),
            ]
        )
        self._require_set(answers[0])
        self.curve = self._curve_among(curves, answers[2])
        await self._require_registrar(self._address(abi.GET_AVS_REGISTRAR, answers[1]))

    async def require_contract(self, name: str, address: bytes) -> None:
        """Raise ChainError, which calls it ``name``, unless there is a contract at the address."""
        (code,) = await self._batch_of_chain([self._code(address)])
        self._require_code(name, address, code)

    @staticmethod
    def _code(address: bytes) -> Request:
        return "eth_getCode", (hexed(address), "latest")

    def _require_code(self, name: str, address: bytes, answer: Json) -> None:
        if not octets(answer, f"code of the {name}"):
            raise ChainError(
                f"check {name} {hexed(address)} on chain {self.config.chain_id}: there is no contract at this address",
                hint=f"correct the {name} address, or the chain id",
            )

    def _require_set(self, answer: Json) -> None:
        (exists,) = abi.IS_OPERATOR_SET.decode(octets(answer, "answer of isOperatorSet"))
        if not exists:
            raise ChainError(
                f"check operator set {self._named_set}: it does not exist",
                hint="correct the AVS address or the operator set id, or let the AVS create the set",
            )

    def _curve_among(self, curves: Collection[int], answer: Json) -> int:
        (curve,) = abi.GET_CURVE_TYPE.decode(octets(answer, "answer of getOperatorSetCurveType"))
        if curve not in curves:
            wanted = " or ".join(CURVES[each] for each in curves)
            raise ChainError(
                f"check operator set {self._named_set}: its key curve is {CURVES.get(curve, f'unknown type {curve}')}, "
                f"not {wanted}",
                hint=f"use an operator set that the AVS configured for {wanted} keys in the key registrar",
            )
        found: int = curve
        return found

    async def _require_registrar(self, registrar: bytes) -> None:
        named = f"check AVS registrar {hexed(registrar)} of {hexed(self.config.avs)}"
        hint = "let the AVS set its registrar, or correct the AVS address"
        (code,) = await self._batch_of_chain([self._code(registrar)])
        if not any(registrar) or not octets(code, "code of the AVS registrar"):
            raise ChainError(f"{named}: the AVS has set no registrar contract", hint=hint)
        try:
            (answer,) = await self._batch_of_chain(
                [self._call(registrar, abi.SUPPORTS_AVS.encode(self.config.avs), "latest")]
            )
            (supported,) = abi.SUPPORTS_AVS.decode(octets(answer, "answer of supportsAVS"))
        except RpcRefusedError:
            supported = False
        if not supported:
            raise ChainError(f"{named}: it does not support this AVS", hint=hint)

    @property
    def _named_set(self) -> str:
        return f"{self.config.operator_set_id} of AVS {hexed(self.config.avs)}"


def _check_key(key: bytes) -> str | None:
    """Why a registered key (G1 ‖ G2, 192 bytes) cannot be used, or None. Milliseconds of pairing."""
    try:
        bn254.check_key(key[64:])
        matching = bn254.keys_match(key[:64], key[64:])
    except (EigenKmsError, ValueError):
        return "its key is not a point of the BN254 groups"
    return None if matching else "its keys in G1 and G2 are different keys"


@asynccontextmanager
async def open_chain(
    config: ChainConfig, *, watch: bool = False, curves: Collection[int] = (abi.CURVE_BN254,)
) -> AsyncIterator[OperatorSetReader]:
    """Connect and check the deployment; the connections live as long as the context. With ``watch`` the age of the newest block
    is looked at also where there is one RPC only. A set whose keys are of another curve than these is refused.

    Raises ChainError: chain id, missing contracts, operator set, registrar or curve; RPC down.
    """
    pool = open_pool(config.rpc_urls, config.chain_id, stale_seconds=config.stale_seconds, watch=watch)
    async with pool as rpc:
        chain = OperatorSetReader(config, rpc)
        await chain.check_deployment(curves)
        yield chain
