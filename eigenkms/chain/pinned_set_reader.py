"""Read the operator set at a block whose state the RPC still has.

State is the authority. Every read is pinned to a block hash by EIP-1898, so an answer is either about exactly the
requested block or an error. Nothing is read "at latest" and attributed to a boundary. A read is two batches: the
members, then each member's key and socket.
"""

from eigenkms.chain import abi
from eigenkms.chain.block_reader import BlockReader, call_request, decode_address
from eigenkms.chain.config import ChainConfig
from eigenkms.chain.operator_keys import CURVES
from eigenkms.chain.operator_set import MAX_MEMBERS, MAX_SOCKET_CHARACTERS, OperatorSetAt
from eigenkms.chain.rpc import BlockPin, Rpc, RpcRefusedError, pin
from eigenkms.chain.rpc_values import Json, parse_bytes
from eigenkms.errors import ChainError
from eigenkms.types import BlockRef, OperatorAddress, to_hex


class PinnedSetReader(BlockReader):
    """Reads unverified operator sets. ``curve`` is that of the keys of the set."""

    def __init__(self, config: ChainConfig, rpc: Rpc, curve: int = abi.CURVE_BN254) -> None:
        super().__init__(config, rpc)
        self.curve = curve

    @property
    def set_id(self) -> tuple[bytes, int]:
        """Return the operator set as the ABI has it: (avs, id)."""
        return self.config.avs, self.config.operator_set_id

    def is_ours(self, event_data: bytes) -> bool:
        """Return whether an event's data starts with this operator set (avs, id: two words)."""
        return event_data[:64] == self.config.avs.rjust(32, b"\0") + self.set_id[1].to_bytes(32, "big")

    async def set_now(self) -> tuple[BlockRef, OperatorSetAt]:
        """Return the newest block, whatever the configured finality, and the set at it.

        Raises ChainError.
        """
        newest = await self._block_by("latest", "the latest block")
        if newest is None:
            raise ChainError(f"read the latest block at {self.rpc.endpoint}: the node has none")
        return newest, await self.set_pinned(newest)

    async def set_pinned(self, block: BlockRef) -> OperatorSetAt:
        """Return the set at exactly this block.

        Raises RpcRefusedError if the RPC has its state no more.
        """
        at, config = pin(block.hash), self.config
        members_call = call_request(config.allocation_manager, abi.GET_MEMBERS.encode(self.set_id), at)
        registrar_call = call_request(config.allocation_manager, abi.GET_AVS_REGISTRAR.encode(config.avs), at)
        answers = await self.batch([members_call, registrar_call])
        members = _parse_members(answers[0], block)
        registrar = decode_address(abi.GET_AVS_REGISTRAR, answers[1])
        keys, sockets = await self.details(members, registrar, at)
        return OperatorSetAt(members, registrar, keys, sockets)

    async def details(
        self, members: tuple[OperatorAddress, ...], registrar: bytes, at: BlockPin
    ) -> tuple[dict[OperatorAddress, bytes | str], dict[OperatorAddress, str]]:
        """Return for each member its key, or the reason why there is none, and its socket.

        A key is as registered: 192 bytes of BN254 or the address of ECDSA. Raises ChainError.
        """
        get_key = abi.GET_ECDSA_KEY if self.curve == abi.CURVE_ECDSA else abi.GET_BN254_KEY
        key_calls = [
            call_request(self.config.key_registrar, get_key.encode(self.set_id, member), at)
            for member in members
        ]
        socket_calls = [call_request(registrar, abi.GET_SOCKET.encode(member), at) for member in members]
        outcomes = await self.rpc.batch_outcomes([("eth_chainId", ()), *key_calls, *socket_calls])
        refusals = [outcome for outcome in outcomes if isinstance(outcome, RpcRefusedError)]
        for refusal in refusals:
            if not refusal.is_revert:
                raise refusal
        chain_id, *answers = outcomes
        assert not isinstance(chain_id, RpcRefusedError)
        self.check_chain_id(chain_id)
        n = len(members)
        keys = {member: self._parse_key(member, answers[i]) for i, member in enumerate(members)}
        sockets = {member: _parse_socket(member, answers[n + i]) for i, member in enumerate(members)}
        return keys, sockets

    def _parse_key(self, member: OperatorAddress, outcome: Json | RpcRefusedError) -> bytes | str:
        if isinstance(outcome, RpcRefusedError):
            return "the key registrar refuses to tell its key"
        what = f"key of operator {to_hex(member)}"
        key: bytes
        if self.curve == abi.CURVE_ECDSA:
            (key,) = abi.GET_ECDSA_KEY.decode(parse_bytes(outcome, what))
            if len(key) not in (0, 20):
                raise ChainError(f"read {what} at {self.rpc.endpoint}: {len(key)} bytes are no address")
        else:
            key = parse_bytes(outcome, what, size=192)
        return key if any(key) else f"no {CURVES[self.curve]} key is registered"


def _parse_members(answer: Json, block: BlockRef) -> tuple[OperatorAddress, ...]:
    where = f"operator set at block {block.number}"
    (listed,) = abi.GET_MEMBERS.decode(parse_bytes(answer, where))
    members = sorted(OperatorAddress(bytes.fromhex(text[2:])) for text in listed)
    if len(members) > MAX_MEMBERS or len(set(members)) != len(members):
        raise ChainError(f"read {where}: {len(members)} members, too many or one twice")
    return tuple(members)


def _parse_socket(member: OperatorAddress, outcome: Json | RpcRefusedError) -> str:
    if isinstance(outcome, RpcRefusedError):
        return ""
    (raw,) = abi.GET_SOCKET.decode(parse_bytes(outcome, f"socket of operator {to_hex(member)}"))
    text: str = raw[: 4 * MAX_SOCKET_CHARACTERS].decode("utf-8", "replace")
    return text[:MAX_SOCKET_CHARACTERS]
