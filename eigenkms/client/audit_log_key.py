"""Comparison of a release log's key with the chain's key for its operator."""

from eigenkms.chain.config import ChainConfig
from eigenkms.chain.operator_set_source import open_chain
from eigenkms.errors import VerificationError
from eigenkms.protocols.records.audit_log import LogHeader
from eigenkms.types import to_hex
from eigenkms.wire.session import cluster_id


async def check_key_on_chain(config: ChainConfig, header: LogHeader) -> None:
    """Raise ``VerificationError`` unless today's operator set has operator and key.

    Raises ``ChainError`` if the chain cannot be read.
    """
    if header.cluster != cluster_id(config.cluster):
        raise VerificationError(
            "verify release log: it is of another cluster than the configured one",
            hint="check the AVS address, the operator set id and the chain id",
        )
    async with open_chain(config) as chain:
        found = await chain.operators_at(await chain.head())
    member = found.operator_set.get(header.operator)
    if member is None:
        raise VerificationError(
            f"verify release log: {to_hex(header.operator)} is no operator of the cluster today",
            hint="if it was one, give the key that it had with --operator-key",
        )
    if member.key != header.key:
        raise VerificationError(
            f"verify release log: the chain has another key for operator {to_hex(header.operator)}",
            hint="it is not that operator's log, or of a key that it had before: --operator-key",
        )
