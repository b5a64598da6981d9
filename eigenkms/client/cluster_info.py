"""A cluster as a client has verified it."""

from dataclasses import dataclass, field

from eigenkms.crypto.app_ids import canonical
from eigenkms.crypto.ibe_v2 import Recipient
from eigenkms.types import AppId, ClusterId, OperatorAddress, Version
from eigenkms.wire.certified_transcript import CertifiedTranscript


@dataclass(frozen=True)
class ClusterInfo:
    """A verified cluster: the version whose certificate proves its master key."""

    cluster_id: ClusterId
    epoch: CertifiedTranscript = field(repr=False)

    @property
    def mpk(self) -> bytes:
        """Master public key, G2, 96 bytes."""
        return self.epoch.transcript.mpk

    @property
    def version(self) -> Version:
        return self.epoch.transcript.version

    @property
    def threshold(self) -> int:
        """Partial signatures that a decryption needs."""
        return self.epoch.transcript.threshold

    @property
    def operators(self) -> tuple[OperatorAddress, ...]:
        """The operators that hold shares of this version, ascending."""
        return self.epoch.transcript.recipients.addresses

    def recipient(self, app_id: AppId) -> Recipient:
        """Return an application of this cluster, to encrypt to.

        Raises ``InputError`` for an address with a wrong checksum.
        """
        return Recipient(canonical(app_id), self.cluster_id, self.mpk)
