"""Check the operators of a certificate or a session against the chain (docs/protocol.md, Clients).

A transcript names its own recipients, so its certificate alone proves only that *some* operators agreed. The same holds for the
header of a session, under which frames are shown. It counts if the chain states that the boundary block is canonical, at the
configured finality, and that these were the operator set at that block.
"""

from eigenkms.chain.operator_set import RawOperatorSet
from eigenkms.chain.operator_set_source import OperatorSetSource
from eigenkms.errors import VerificationError
from eigenkms.types import BlockRef, ClusterId, OperatorSet
from eigenkms.wire.certified_transcript import CertifiedTranscript, check_certified_transcript


async def verify_epoch(
    chain: OperatorSetSource, cluster: ClusterId, epoch: CertifiedTranscript
) -> RawOperatorSet:
    """Return the operators at the block of ``epoch``.

    Raises ``VerificationError`` unless they certified it and the block is canonical, ``ChainError`` if the chain cannot answer.
    """
    check_certified_transcript(epoch, cluster)
    transcript = epoch.transcript
    return await verify_operators(
        chain, transcript.boundary, transcript.recipients, "verify epoch certificate"
    )


async def verify_operators(
    chain: OperatorSetSource, boundary: BlockRef, operators: OperatorSet, action: str
) -> RawOperatorSet:
    """Return the operators at ``boundary``.

    Raises ``VerificationError``, which begins with ``action``, unless that block is canonical and its operators are these;
    ``ChainError`` if the chain cannot answer.
    """
    if await _block_at(chain, boundary.number, action) != boundary:
        raise VerificationError(
            f"{action}: block {boundary.number} of its session is not on this chain",
            hint="check the RPC URL; after a reorganisation wait for the next version",
        )
    return await _read_same(chain, boundary, operators, action)


async def verify_holders(
    chain: OperatorSetSource, boundary: BlockRef, holders: OperatorSet, action: str
) -> RawOperatorSet:
    """Return the operators at the block with the number of ``boundary``.

    Raises ``VerificationError``, which begins with ``action``, unless they are these; ``ChainError`` if the chain cannot answer.

    This suffices for a version to deal from, even if a reorganisation replaced its block: a threshold of these operators signed
    it, some of them deal from it alone, and the next version has a canonical block. The chain does not confirm the time then. So
    a time ahead of the head is refused: the next version would be older.
    """
    block = await _block_at(chain, boundary.number, action)
    if block is None:
        raise VerificationError(
            f"{action}: the chain has no block {boundary.number}", hint="check the RPC URL"
        )
    if boundary.timestamp > max(block.timestamp, (await chain.head()).timestamp):
        raise VerificationError(
            f"{action}: the time of its block {boundary.number} lies ahead of the chain's head",
            hint="try again in a while; if it stays so, whoever signed it lies",
        )
    return await _read_same(chain, block, holders, action)


async def _block_at(chain: OperatorSetSource, number: int, action: str) -> BlockRef | None:
    if number > (await chain.head()).number:
        raise VerificationError(
            f"{action}: block {number} of its session is not final yet",
            hint="try again in a while, or ask for less finality than the operators do",
        )
    return await chain.block(number)


async def _read_same(
    chain: OperatorSetSource, block: BlockRef, operators: OperatorSet, action: str
) -> RawOperatorSet:
    found = await chain.agreed_operators_at(block)
    if found.operator_set != operators:
        raise VerificationError(
            f"{action}: its {len(operators)} operators are not the {len(found.operators)} that the chain had "
            f"at block {block.number}"
        )
    return found
