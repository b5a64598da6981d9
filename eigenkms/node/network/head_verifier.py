"""Verification of a head: a peer's highest version, with its certificate.

A version is adopted if a certificate proves it, and if the chain confirms its operators. It is certified, or in a rotation at least
prepared. The order of the checks goes by their cost: what is known, the size, signatures, the chain.
"""

from dataclasses import dataclass

import trio

from eigenkms.chain.certificate_check import verify_holders
from eigenkms.chain.operator_set import ChainOperator
from eigenkms.chain.operator_set_source import OperatorSetSource
from eigenkms.errors import VerificationError
from eigenkms.node.key_versions import Versions
from eigenkms.types import ClusterId
from eigenkms.wire.rpc_methods import VersionHead, check_head
from eigenkms.wire.transcript import Transcript


@dataclass(frozen=True)
class HeadVerifier:
    """Compares heads with the chain and with the versions that are known here.

    ``min_operators`` is the size of the smallest set that may hold a key.
    """

    chain: OperatorSetSource
    cluster: ClusterId
    versions: Versions
    min_operators: int

    def is_new(self, head: VersionHead) -> bool:
        """Return whether a head is higher than what is known, or certifies it."""
        known = self.versions.known()
        if any(held.is_certified and self._is_as_high(held.epoch.transcript, head) for held in known):
            return False
        certificates = {held.epoch.certificate.encoded for held in known}
        return head.certificate.encoded not in certificates

    async def verify(self, head: VersionHead) -> tuple[ChainOperator, ...]:
        """Return the holders of a version, as the chain has them at its block.

        Raises ``VerificationError`` unless certificate and chain prove it, and ``ChainError``. Takes a pairing in a thread.
        """
        transcript = head.transcript
        self._check_size(transcript)
        await trio.to_thread.run_sync(check_head, head, self.cluster)
        found = await verify_holders(self.chain, transcript.boundary, transcript.recipients, "verify head")
        return found.operators

    def has_known_key(self, head: VersionHead) -> bool:
        """Return whether a head is of the master key that is known, if one is."""
        known = self.versions.newest
        return known is None or known.epoch.transcript.mpk == head.transcript.mpk

    def _check_size(self, transcript: Transcript) -> None:
        """Raise ``VerificationError`` if the version has too few recipients.

        Before a cluster is complete, the chain confirms a set of one operator too.
        """
        count = len(transcript.recipients)
        if count < self.min_operators:
            raise VerificationError(
                f"verify head: it has {count} recipients, fewer than the {self.min_operators} of min_operators"
            )

    @staticmethod
    def _is_as_high(known: Transcript, head: VersionHead) -> bool:
        """Compare by time or by block number.

        The signers choose a version's time; the chain confirms its number alone.
        """
        made = head.transcript
        return known.version >= made.version or known.boundary.number >= made.boundary.number
