"""Read the operator set of a boundary as the majority of the RPCs state it.

An RPC that invents an operator set at a boundary gets the shares of the next version if a quorum of operators accepts
that set. So if there are several RPCs, each working one reads the block of that number and the operator set at it. A set
is accepted only if *more than half* of the RPCs that answer state it. Otherwise no session is opened at the boundary,
and older shares stay in service. Two RPCs that differ decide nothing. One of three is overruled, named, and requested
last until it agrees again.

An RPC is not counted if it is unreachable, serves another chain, has no state for the block, or lacks the block because
its own newest block is old by this machine's clock. An RPC that should have the block and has not counts for "no such
block". A node retries for LAG_LOOKS × LAG_PAUSE seconds.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import trio

from eigenkms.chain.operator_set import RawOperatorSet
from eigenkms.chain.operator_set_reader import OperatorSetReader
from eigenkms.chain.provider import Provider, ProviderState
from eigenkms.chain.rpc import Rpc, RpcUnavailableError
from eigenkms.chain.rpc_pool import RpcPool
from eigenkms.errors import ChainError
from eigenkms.types import BlockRef, OperatorAddress, to_hex

WITNESS_SECONDS: Final = 10.0
"""How long one RPC may take for all its answers."""
LAG_LOOKS: Final = 8
LAG_PAUSE: Final = 0.4
"""How often, and after how many seconds, a block is requested again from an RPC that lacks it."""


class DisagreementError(ChainError):
    """The RPCs state different things about a block, and no statement has more than half of them."""

    default_hint = (
        "compare with a block explorer and take the RPC that is wrong out of rpc_url; until they agree, keys are served "
        "and not rotated"
    )


class _RpcAnswer(NamedTuple):
    """One RPC's statement about a block number: the hash (None: no such block) and the set, without sockets."""

    block_hash: bytes | None
    operators: tuple[tuple[OperatorAddress, bytes], ...] = ()
    rejected: tuple[OperatorAddress, ...] = ()

    def __str__(self) -> str:
        if self.block_hash is None:
            return "no such block"
        members = f"{len(self.operators)} operators" if self.operators or self.rejected else "no operators"
        return f"{to_hex(self.block_hash)} with {members}"


@dataclass(slots=True)
class _Poll:
    """The answers of all RPCs about one block.

    ``holders`` are those that have the block. ``answers`` has what they state about the set, if they can.
    """

    block: BlockRef
    answers: dict[Provider, _RpcAnswer] = field(default_factory=dict)
    holders: list[Provider] = field(default_factory=list)
    reads: dict[Provider, RawOperatorSet] = field(default_factory=dict)
    failures: list[ChainError] = field(default_factory=list)

    def majority(self) -> _RpcAnswer | None:
        """Return the answer that more than half of those that answer give, or None."""
        count: dict[_RpcAnswer, int] = defaultdict(int)
        for each in self.answers.values():
            count[each] += 1
        return next((each for each, votes in count.items() if 2 * votes > len(self.answers)), None)

    def count_bare_holders(self) -> None:
        """Count those that have the block and cannot state its set: the majority has another block or none."""
        bare = (provider for provider in self.holders if provider not in self.answers)
        self.answers |= {provider: _RpcAnswer(self.block.hash) for provider in bare}

    def __str__(self) -> str:
        ordered = sorted(self.answers.items(), key=lambda item: item[0].index)
        return ", ".join(f"{provider.rpc.endpoint} has {answer}" for provider, answer in ordered)


async def read_by_majority(
    pool: RpcPool, with_rpc: Callable[[Rpc], OperatorSetReader], block: BlockRef
) -> RawOperatorSet:
    """Return the operator set at exactly this block, as more than half of the RPCs that answer state it.

    ``with_rpc`` returns a reader through one RPC. Raises ``DisagreementError``, or another ``ChainError`` if no RPC can
    answer.
    """
    poll = _Poll(block)
    async with trio.open_nursery() as nursery:
        for provider in pool.witnesses():
            nursery.start_soon(_poll_one, with_rpc(provider.rpc), pool, provider, poll)
    if not poll.answers:
        raise poll.failures[0]
    decided = poll.majority()
    if decided is not None and decided.block_hash != block.hash:
        poll.count_bare_holders()
    _record_outcome(pool, poll, decided)
    if decided is None or decided.block_hash != block.hash:
        raise DisagreementError(f"agree on block {block.number}: {poll}")
    return next(read for provider, read in poll.reads.items() if poll.answers[provider] == decided)


def _record_outcome(pool: RpcPool, poll: _Poll, decided: _RpcAnswer | None) -> None:
    block = poll.block
    pool.health.count_block(block, disagree=len(set(poll.answers.values())) > 1)
    if decided is None:
        return
    for provider, answer in poll.answers.items():
        if answer == decided:
            pool.health.record_agreement(provider, block.number)
        else:
            dissent = f"of block {block.number} it has {answer}, most have {decided}"
            pool.health.record_disagreement(provider, block.number, dissent)


async def _poll_one(reader: OperatorSetReader, pool: RpcPool, provider: Provider, poll: _Poll) -> None:
    """Record the answer of one RPC, or its failure."""
    try:
        with trio.fail_after(WITNESS_SECONDS):
            await _query(reader, pool, provider, poll)
    except trio.TooSlowError:
        late = f"read block {poll.block.number} at {provider.rpc.endpoint}: no answer within {WITNESS_SECONDS:g} s"
        pool.health.record_failure(provider, RpcUnavailableError(late))
        poll.failures.append(RpcUnavailableError(late))
    except ChainError as error:
        pool.health.record_error(provider, error)
        poll.failures.append(error)


async def _query(reader: OperatorSetReader, pool: RpcPool, provider: Provider, poll: _Poll) -> None:
    block = poll.block
    there = await _block_with_retry(reader, block.number)
    if there is None:
        await pool.probes.probe(provider)
        if provider.state in (ProviderState.OK, ProviderState.DISAGREES):
            poll.answers[provider] = _RpcAnswer(None)
        else:
            missing = f"read block {block.number} at {provider.rpc.endpoint}: it has not got that far"
            poll.failures.append(ChainError(missing))
        return
    if there.hash != block.hash:
        poll.answers[provider] = _RpcAnswer(there.hash)
        return
    poll.holders.append(provider)
    read = poll.reads[provider] = await reader.operators_at(block)
    keys = tuple((operator.address, operator.key) for operator in read.operators)
    poll.answers[provider] = _RpcAnswer(block.hash, keys, tuple(address for address, _ in read.rejected))


async def _block_with_retry(reader: OperatorSetReader, number: int) -> BlockRef | None:
    """Return the block, which a node may have a moment later than others, or None."""
    for _ in range(LAG_LOOKS):
        block = await reader.block(number)
        if block is not None:
            return block
        await trio.sleep(LAG_PAUSE)
    return None
