"""Confirmation of evidence by the chain.

The operators and keys that a piece names must be those that the chain had at its block.
"""

from collections.abc import Sequence
from dataclasses import replace

from eigenkms.chain.certificate_check import verify_operators
from eigenkms.chain.config import ChainConfig
from eigenkms.chain.operator_set_source import OperatorSetSource, open_chain
from eigenkms.client.evidence_verdict import EvidenceVerdict
from eigenkms.errors import VerificationError
from eigenkms.protocols.records.evidence_bundle import Bundle
from eigenkms.types import ClusterId
from eigenkms.wire.session import cluster_id


async def verify_on_chain(chain: OperatorSetSource, cluster: ClusterId, bundle: Bundle) -> None:
    """Raise ``VerificationError`` unless the chain had the operators of ``bundle``.

    That includes the operators of its source. Raises ``ChainError`` if the chain cannot be read.
    """
    session = bundle.session
    if session.cluster != cluster:
        raise VerificationError("verify evidence: it is of another cluster")
    await verify_operators(chain, session.boundary, session.recipients, "verify evidence")
    source = bundle.evidence.source
    if source is not None:
        await verify_operators(chain, source.boundary, source.recipients, "verify source of evidence")


async def confirm_on_chain(
    config: ChainConfig, verdicts: Sequence[EvidenceVerdict]
) -> tuple[EvidenceVerdict, ...]:
    """Check the pieces that hold against the chain too.

    Raises ``ChainError`` if the chain cannot be read.
    """
    async with open_chain(config) as chain:
        return tuple([await _confirm(chain, cluster_id(config.cluster), verdict) for verdict in verdicts])


async def _confirm(chain: OperatorSetSource, cluster: ClusterId, verdict: EvidenceVerdict) -> EvidenceVerdict:
    if verdict.bundle is None or verdict.reason is not None:
        return verdict
    try:
        await verify_on_chain(chain, cluster, verdict.bundle)
    except VerificationError as error:
        return replace(verdict, reason=str(error))
    return verdict
