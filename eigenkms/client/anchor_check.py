"""What the anchor says of a verified version: a second opinion of the same operators, given to everybody alike.

The certificate proves a version. The anchor shows besides that its recipients say the same in a place that everybody sees: if
so many had been bought, or so many keys stolen, that a second transcript was certified for the same version, whoever was shown
that one finds the first in the registry. So one recipient that wrote something else is enough to stop; entries of nobody else
count, and silence proves nothing, as a version is anchored after it is certified.
"""

from dataclasses import dataclass

from eigenkms.chain.anchor import Anchor, Commitment, commitment_to, open_anchor
from eigenkms.client.api import ClientSettings, ClusterInfo, open_client
from eigenkms.client.version_discovery import Progress, silent
from eigenkms.errors import InputError, NetworkError, VerificationError
from eigenkms.protocols.wire.certified_transcript import CertifiedTranscript
from eigenkms.types import OperatorAddress


@dataclass(frozen=True)
class AnchorWitnesses:
    """Recipients of a version that anchored exactly this transcript, ascending; and the others, who wrote nothing."""

    agreeing: tuple[OperatorAddress, ...]
    silent: tuple[OperatorAddress, ...]
    threshold: int

    @property
    def enough(self) -> bool:
        """Whether at least a threshold of recipients agrees: any two such groups share a correct one if fewer than n/3 lie."""
        return len(self.agreeing) >= self.threshold


async def ask_anchor(anchor: Anchor, epoch: CertifiedTranscript) -> AnchorWitnesses:
    """Who anchored this version.

    Raises ``VerificationError``, naming them, if recipients wrote something else for it; ``ChainError``.
    """
    transcript = epoch.transcript
    mine, recipients = commitment_to(transcript), transcript.recipients
    written = await anchor.commitments(transcript.version, recipients.addresses)
    others = {operator: entry for operator, entry in written.items() if entry != mine}
    if others:
        signers = set(epoch.certificate.signers(recipients))
        told = ", ".join(
            f"0x{operator.hex()} anchored {_difference(entry, mine)}"
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
    settings: ClientSettings, progress: Progress = silent
) -> tuple[ClusterInfo, AnchorWitnesses]:
    """``Client.fetch``, and what the anchor says of the version: asked before its key is pinned.

    Raises as both; ``InputError`` where no anchor is configured.
    """
    if settings.anchor is None:
        raise InputError(
            "ask the anchor: none is configured",
            hint="set anchor_rpc_url, anchor_chain_id and anchor_registry",
        )
    async with open_client(settings) as client, open_anchor(settings.anchor, client.cluster) as anchor:
        witnesses: list[AnchorWitnesses] = []

        async def look(epoch: CertifiedTranscript) -> None:
            progress("asking the anchor")
            witnesses.append(await ask_anchor(anchor, epoch))

        info = await client.fetch(progress, look)
    return info, witnesses[-1]
