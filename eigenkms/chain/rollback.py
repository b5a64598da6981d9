"""Compute the operator set at an old block from the set of today and the events since.

Each membership event after the block is undone, newest first: an operator that was added since was not a member, and one
that was removed since was. A key can only change by leaving, waiting and registering another one. So only an operator
with a key event after the block needs more: its key was in the newest KeyRegistered event at or below the block.

Both ends are checked against reorganisations. The events are read by block number, so the block and the newest block
must both be canonical after the events were read.
"""

from typing import Final

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from eigenkms.chain import abi
from eigenkms.chain.logs import EventLog, LogQuery, last_before
from eigenkms.chain.operator_set import OperatorSetAt
from eigenkms.chain.pinned_set_reader import PinnedSetReader
from eigenkms.chain.rpc import pin
from eigenkms.errors import ChainError
from eigenkms.types import BlockRef, OperatorAddress, to_hex

_NO_KEY: Final = "no BN254 key was registered"


async def roll_back(chain: PinnedSetReader, block: BlockRef) -> OperatorSetAt:
    """Return the set at ``block``, with the sockets of today. Raises ChainError."""
    newest, now = await chain.set_now()
    manager, registrar = chain.config.allocation_manager, chain.config.key_registrar
    since = (block.number + 1, newest.number)
    moves = await LogQuery(manager, (abi.ADDED, abi.REMOVED)).read(chain.rpc, *since)
    members = members_before(now.members, [move for move in moves if chain.is_ours(move.data)])
    changes = await LogQuery(registrar, (abi.KEY_REGISTERED, abi.KEY_DEREGISTERED)).read(chain.rpc, *since)
    changed = {_operator(change) for change in changes if chain.is_ours(change.data)}
    keys, sockets = await chain.details(members, now.registrar, pin(newest.hash))
    for member in changed & set(members):
        keys[member] = await _key_at(chain, member, block)
    for end in (block, newest):
        if not await chain.is_canonical(end):
            raise ChainError(
                f"read operator set at block {block.number}: the chain was reorganised meanwhile"
            )
    return OperatorSetAt(members, now.registrar, keys, sockets)


def members_before(now: tuple[OperatorAddress, ...], moves: list[EventLog]) -> tuple[OperatorAddress, ...]:
    """Return the members before ``moves``, which lead in chain order to ``now``.

    Raises ChainError if they cannot.
    """
    members = set(now)
    for move in reversed(moves):
        operator, was_added = _operator(move), move.topics[0] == abi.ADDED
        if was_added != (operator in members):
            raise ChainError(
                f"undo membership events: those of operator {to_hex(operator)} contradict the set"
            )
        members.symmetric_difference_update({operator})
    return tuple(sorted(members))


def _operator(log: EventLog) -> OperatorAddress:
    if len(log.topics) < 2 or any(log.topics[1][:12]):
        raise ChainError("read event: its operator is not an address")
    return OperatorAddress(log.topics[1][12:])


async def _key_at(chain: PinnedSetReader, member: OperatorAddress, block: BlockRef) -> bytes | str:
    query = LogQuery(
        chain.config.key_registrar, (abi.KEY_REGISTERED, abi.KEY_DEREGISTERED), member.rjust(32, b"\0")
    )
    history = await query.read(chain.rpc, 0, block.number)
    newest = last_before([event for event in history if chain.is_ours(event.data)], block.number)
    if newest is None or newest.topics[0] != abi.KEY_REGISTERED:
        return _NO_KEY
    try:
        _, _, key = decode((abi.SET, "uint8", "bytes"), newest.data)
    except (DecodingError, OverflowError) as exc:
        raise ChainError(f"read registered key of operator {to_hex(member)}: the event does not fit") from exc
    return bytes(key) if len(key) == 192 else _NO_KEY
