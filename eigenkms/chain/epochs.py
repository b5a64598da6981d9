"""Whether a certificate was signed by the operators that the chain knew (docs/protocol.md, Clients).

A transcript names its own recipients, so its certificate alone proves only that *somebody* agreed. It counts once the chain
says that its boundary block is canonical, at the configured finality, and that its recipients were the operator set at that block.
"""

from eigenkms.chain.reader import EigenLayerChain, OperatorRead
from eigenkms.errors import VerificationError
from eigenkms.protocols.requests import Epoch, check_epoch
from eigenkms.types import ClusterId


async def verify_epoch(chain: EigenLayerChain, cluster: ClusterId, epoch: Epoch) -> OperatorRead:
    """The operators at the block of ``epoch``; raise ``VerificationError`` unless they certified it and the block is canonical.

    Raises ``ChainError`` if the chain cannot say.
    """
    check_epoch(epoch, cluster)
    boundary = epoch.transcript.boundary
    if boundary.number > (await chain.head()).number:
        raise VerificationError(
            f"verify epoch certificate: block {boundary.number} of its session is not final yet",
            hint="try again in a while, or ask for less finality than the operators do",
        )
    if await chain.block(boundary.number) != boundary:
        raise VerificationError(
            f"verify epoch certificate: block {boundary.number} of its session is not on this chain",
            hint="check the RPC URL; after a reorganisation wait for the next version",
        )
    found = await chain.operators_at(boundary)
    if found.operator_set != epoch.transcript.recipients:
        raise VerificationError(
            f"verify epoch certificate: its {len(epoch.transcript.recipients)} signing operators are not the "
            f"{len(found.operators)} that the chain had at block {boundary.number}"
        )
    return found
