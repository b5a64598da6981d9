"""Whether the RPCs agree about a boundary.

Who invents an operator set at a boundary gets the shares of the next version, if a quorum of operators believes it. So where there
are several RPCs, each that works reads the block of that number and the operator set at it, and what is not said by *more than
half* of those that answer is not believed: no session is opened at it, and older shares serve on. Two that differ decide nothing;
one of three is overruled, named and asked last from then on, until it agrees again.

Who cannot say does not count: unreachable, of another chain, without the state of that block, or without the block because its own
newest block is old by this machine's clock. Who should have the block and has not says that it is not there. A moment's lag is
waited for.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from eigenkms.chain.provider import Provider, ProviderState
from eigenkms.chain.providers import RpcPool
from eigenkms.chain.rpc import RpcUnavailableError
from eigenkms.chain.values import hexed
from eigenkms.errors import ChainError
from eigenkms.types import BlockRef, OperatorAddress

if TYPE_CHECKING:
    from eigenkms.chain.reader import OperatorSetReader, RawOperatorSet

WITNESS_SECONDS: Final = 10.0
"""How long anybody may take to say all."""
LAG_LOOKS: Final = 8
LAG_PAUSE: Final = 0.4
"""How often and how long, in seconds, a block is waited for that others have."""


class DisagreementError(ChainError):
    """The RPCs tell different things of a block, and not more than half of them what it was told by."""

    default_hint = (
        "compare with a block explorer and take the RPC that is wrong out of rpc_url; until they agree, keys are served "
        "and not rotated"
    )


class _RpcAnswer(NamedTuple):
    """What counts as the same: the block's hash (None: there is no such block) and the set, without sockets."""

    block_hash: bytes | None
    operators: tuple[tuple[OperatorAddress, bytes], ...] = ()
    rejected: tuple[OperatorAddress, ...] = ()

    def __str__(self) -> str:
        if self.block_hash is None:
            return "no such block"
        members = f"{len(self.operators)} operators" if self.operators or self.rejected else "no operators"
        return f"{hexed(self.block_hash)} with {members}"


@dataclass(slots=True)
class _Poll:
    """What the witnesses say of one block. ``believers`` have it, and what they say of the set, if anything, is in ``said``."""

    block: BlockRef
    said: dict[Provider, _RpcAnswer] = field(default_factory=dict)
    believers: list[Provider] = field(default_factory=list)
    reads: dict[Provider, "RawOperatorSet"] = field(default_factory=dict)
    failures: list[ChainError] = field(default_factory=list)

    def majority(self) -> _RpcAnswer | None:
        count: dict[_RpcAnswer, int] = defaultdict(int)
        for each in self.said.values():
            count[each] += 1
        return next((each for each, votes in count.items() if 2 * votes > len(self.said)), None)

    def __str__(self) -> str:
        ordered = sorted(self.said.items(), key=lambda item: item[0].index)
        return ", ".join(f"{provider.rpc.endpoint} has {said}" for provider, said in ordered)


async def agreed_operators(chain: "OperatorSetReader", pool: RpcPool, block: BlockRef) -> "RawOperatorSet":
    """The operator set at exactly this block, as more than half of the RPCs that answer tell it.

    Raises ``DisagreementError``, or another ``ChainError`` if nobody can say.
    """
    hearing = _Poll(block)
    async with trio.open_nursery() as nursery:
        for provider in pool.witnesses():
            nursery.start_soon(_hear, chain, pool, provider, hearing)
    if not hearing.said:
        raise hearing.failures[0]
    decided = hearing.majority()
    if decided is not None and decided.block_hash != block.hash:
        # they have the block that most have not, whether or not they can say more of it
        hearing.said |= {
            provider: _RpcAnswer(block.hash) for provider in hearing.believers if provider not in hearing.said
        }
    pool.heard(block, disagree=len(set(hearing.said.values())) > 1)
    if decided is not None:
        for provider, said in hearing.said.items():
            pool.dissents(
                provider,
                block.number,
                None if said == decided else f"of block {block.number} it has {said}, most have {decided}",
            )
    if decided is None or decided.block_hash != block.hash:
        raise DisagreementError(f"agree on block {block.number}: {hearing}")
    return next(read for provider, read in hearing.reads.items() if hearing.said[provider] == decided)


async def _hear(chain: "OperatorSetReader", pool: RpcPool, provider: Provider, hearing: _Poll) -> None:
    """Let one witness speak, if it can."""
    try:
        with trio.fail_after(WITNESS_SECONDS):
            await _testify(chain.through(provider.rpc), pool, provider, hearing)
    except trio.TooSlowError:
        late = f"read block {hearing.block.number} at {provider.rpc.endpoint}: no answer within {WITNESS_SECONDS:g} s"
        pool.failed(provider, RpcUnavailableError(late))
        hearing.failures.append(RpcUnavailableError(late))
    except ChainError as error:
        pool.note(provider, error)
        hearing.failures.append(error)


async def _testify(chain: "OperatorSetReader", pool: RpcPool, provider: Provider, hearing: _Poll) -> None:
    block = hearing.block
    there = await _awaited(chain, block.number)
    if there is None:
        await pool.probe(provider)
        if provider.state in (ProviderState.OK, ProviderState.DISAGREES):
            hearing.said[provider] = _RpcAnswer(None)
        else:
            missing = f"read block {block.number} at {provider.rpc.endpoint}: it has not got that far"
            hearing.failures.append(ChainError(missing))
        return
    if there.hash != block.hash:
        hearing.said[provider] = _RpcAnswer(there.hash)
        return
    hearing.believers.append(provider)
    read = hearing.reads[provider] = await chain.operators_at(block)
    keys = tuple((operator.address, operator.key) for operator in read.operators)
    hearing.said[provider] = _RpcAnswer(block.hash, keys, tuple(address for address, _ in read.rejected))


async def _awaited(chain: "OperatorSetReader", number: int) -> BlockRef | None:
    """The block, for which a node may be a moment late."""
    for _ in range(LAG_LOOKS):
        block = await chain.block(number)
        if block is not None:
            return block
        await trio.sleep(LAG_PAUSE)
    return None
