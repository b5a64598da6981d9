"""One attempt to recover an application's key from one version.

It has the version's recipients, a request and the signatures so far. Several attempts run side by side while versions change
(``client.key_recovery``). Each has a reply key of its own, so partial signatures of two versions never meet.
"""

import os
import random
from dataclasses import dataclass, field, replace
from typing import Final

from eigenkms.client.address_book import PeerLocation
from eigenkms.client.partial_signatures import Outcome, SignatureCollector
from eigenkms.crypto import sealing
from eigenkms.errors import EigenKmsError, NetworkError
from eigenkms.p2p.errors import CallRefusedError
from eigenkms.types import AppId, OperatorAddress
from eigenkms.wire.authorisation import Authorisation, Refusal, Scope
from eigenkms.wire.certified_transcript import CertifiedTranscript
from eigenkms.wire.client_rpc import PartialRequest

_LACKING: Final = frozenset({"unknown-version", "no-share"})
_BUSY: Final = frozenset(str(refusal) for refusal in Refusal if refusal.passes)


@dataclass(eq=False)
class VersionAttempt:
    """Requests for partial signatures of one version, and their results.

    ``reserve``: recipients without a request so far. ``wanted``: signatures that should be there or under way.
    ``places``: where an operator was dialled when its request failed.
    """

    epoch: CertifiedTranscript
    collector: SignatureCollector
    private: bytes = field(repr=False)
    template: PartialRequest
    reserve: list[OperatorAddress]
    wanted: int
    asking: set[OperatorAddress] = field(default_factory=set)
    places: dict[OperatorAddress, PeerLocation | None] = field(default_factory=dict)

    @classmethod
    def begin(cls, epoch: CertifiedTranscript, app_id: AppId, ciphertext_version: int) -> "VersionAttempt":
        """Return an attempt without any request, and with the recipients in random order."""
        transcript = epoch.transcript
        private, public = sealing.x25519_keypair(os.urandom)
        template = PartialRequest(
            transcript.cluster, app_id, ciphertext_version, transcript.hash, public, bytes(32)
        )
        recipients = list(transcript.recipients.addresses)
        random.SystemRandom().shuffle(recipients)
        collector = SignatureCollector(template.identity, transcript)
        return cls(epoch, collector, private, template, recipients, len(recipients))

    def scope(self, operator: OperatorAddress) -> Scope:
        """Return what evidence for this operator must be bound to."""
        return Scope(self.template.cluster, operator, self.template.app_id, self.template.reply_key)

    def request(self, authorisation: Authorisation | None) -> PartialRequest:
        """Return a request with a fresh nonce."""
        shown = None if authorisation is None else authorisation.encoded
        return replace(self.template, nonce=os.urandom(32), authorisation=shown)

    @property
    def threshold(self) -> int:
        """Partial signatures that give the key."""
        return self.epoch.transcript.threshold

    @property
    def good(self) -> int:
        """Partial signatures that are not known to be invalid."""
        return self.collector.count(Outcome.GOOD)

    @property
    def reachable_signatures(self) -> int:
        """Signatures that there are, and those that requests may still bring."""
        return self.good + len(self.asking) + len(self.reserve)

    @property
    def can_complete(self) -> bool:
        """Whether the reachable signatures are enough for the key."""
        return self.reachable_signatures >= self.threshold

    @property
    def could_complete_if_idle(self) -> bool:
        """Whether they were enough if the operators that are busy answered."""
        busy = sum(1 for operator in self.collector.failures if self.was_busy(operator))
        return bool(busy) and self.reachable_signatures + busy >= self.threshold

    def lacked_version(self, operator: OperatorAddress) -> bool:
        """Return whether the operator had no share of the version at its last request."""
        error = self._last_failure(operator)
        return isinstance(error, CallRefusedError) and error.code in _LACKING

    def was_busy(self, operator: OperatorAddress) -> bool:
        """Return whether the operator could not decide at its last request, and may later."""
        error = self._last_failure(operator)
        return isinstance(error, CallRefusedError) and error.code in _BUSY

    def was_unreachable(self, operator: OperatorAddress) -> bool:
        """Return whether the last request did not reach the operator."""
        return isinstance(self._last_failure(operator), NetworkError)

    def _last_failure(self, operator: OperatorAddress) -> EigenKmsError | None:
        return None if operator in self.asking else self.collector.failures.get(operator)
