"""Comparison of a verified version with the anchor.

The certificate proves a version. The anchor also shows that its recipients state the same in a place that all clients see. Suppose
that an attacker controls so many keys that a second transcript is certified for the same version. A client that gets the second one
finds the first in the registry. So one recipient that wrote another transcript is enough to stop. Only entries of recipients count,
and a missing entry proves nothing, since a version is anchored after it is certified.
"""

from dataclasses import dataclass

from eigenkms.chain.anchor import Anchor, Commitment, commitment_to, open_anchor
from eigenkms.client.api import open_client
from eigenkms.client.cluster_info import ClusterInfo
from eigenkms.client.progress import ProgressCallback, ignore_progress
from eigenkms.client.settings import ClientSettings
from eigenkms.errors import InputError, NetworkError, VerificationError
from eigenkms.types import OperatorAddress, to_hex
from eigenkms.wire.certified_transcript import CertifiedTranscript


@dataclass(frozen=True)
class AnchorWitnesses:
    """The recipients that anchored this transcript, and those without an entry.

    Both are ascending.
    """

    agreeing: tuple[OperatorAddress, ...]
    silent: tuple[OperatorAddress, ...]
    threshold: int

    @property
    def enough(self) -> bool:
        """Whether at least a threshold of recipients agrees.

        Any two such groups share a correct recipient if fewer than n/3 are dishonest.
        """
        return len(self.agreeing) >= self.threshold


async def check_anchor(anchor: Anchor, epoch: CertifiedTranscript) -> AnchorWitnesses:
    """Return the recipients that anchored this version, and the others.

    Raises ``VerificationError`` naming the recipients that wrote another transcript for it; ``ChainError``.
    """
    transcript = epoch.transcript
    mine, recipients = commitment_to(transcript), transcript.recipients
    written = await anchor.commitments(transcript.version, recipients.addresses)
    others = {operator: entry for operator, entry in written.items() if entry != mine}
    if others:
        signers = set(epoch.certificate.signers(recipients))
        told = ", ".join(
            f"{to_hex(operator)} anchored {_difference(entry, mine)}"
            + (", and signed the certificate" if operator in signers else "")
            for operator, entry in others.items()
        )
        raise VerificationError(
            f"compare version {transcript.version} with the anchor: its transcript is {transcript.hash.hex()[:16]}, and {told}",
            hint="do not use this key before the operators have explained it; --no-anchor leaves the anchor out",
        )
    return AnchorWitnesses(
        tuple(operator for operator in recipients.addresses if operator in written),
        tuple(operator for operator in recipients.addresses if operator not in written),
        transcript.threshold,
    )


def _difference(entry: Commitment, mine: Commitment) -> str:
    if entry.transcript_hash == mine.transcript_hash:
        return "it with another root"
    return entry.transcript_hash.hex()[:16]


def require_enough(witnesses: AnchorWitnesses) -> None:
    """Raise ``NetworkError`` unless a threshold of the recipients agrees."""
    if not witnesses.enough:
        raise NetworkError(
            f"compare the key with the anchor: {len(witnesses.agreeing)} operators have anchored this version, "
            f"and {witnesses.threshold} are needed",
            hint="a version is anchored after it is certified: try again a little later; see anchored in status --json",
        )


async def fetch_witnessed(
    settings: ClientSettings, progress: ProgressCallback = ignore_progress
) -> tuple[ClusterInfo, AnchorWitnesses]:
    """Call ``Client.fetch`` with a check against the anchor before the key is pinned.

    Raises as ``Client.fetch`` and ``check_anchor``; ``InputError`` if no anchor is configured.
    """
    if settings.anchor is None:
        raise InputError(
            "ask the anchor: none is configured",
            hint="set anchor_rpc_url, anchor_chain_id and anchor_registry",
        )
    async with (
        open_client(settings) as client,
        open_anchor(settings.anchor, client.transport.cluster) as anchor,
    ):
        witnesses: list[AnchorWitnesses] = []

        async def check(epoch: CertifiedTranscript) -> None:
            progress("asking the anchor")
            witnesses.append(await check_anchor(anchor, epoch))

        info = await client.fetch(progress, check)
    return info, witnesses[-1]
