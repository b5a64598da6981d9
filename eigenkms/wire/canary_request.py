"""Would a decrypt work now? What one operator asks another to try it out (docs/protocol.md, Canary).

The request is ``[1, cluster, transcript hash32, nonce32]``, the answer the 48 bytes of a partial signature of the canary identity
of that nonce. It is no application's identity, whatever the nonce: operators answer each other under every policy.
"""

from dataclasses import dataclass

from eigenkms.crypto.ibe_identities import Identity, canary_identity
from eigenkms.types import ClusterId
from eigenkms.wire.codec import Fields, MalformedError, decode, encode

VERSION = 1


@dataclass(frozen=True, slots=True)
class CanaryRequest:
    """``transcript_hash`` names the version whose share is to sign.

    ``nonce`` is fresh.
    """

    cluster: ClusterId
    transcript_hash: bytes
    nonce: bytes

    @property
    def encoded(self) -> bytes:
        return encode([VERSION, self.cluster, self.transcript_hash, self.nonce])

    @property
    def identity(self) -> Identity:
        """What is to be signed."""
        return canary_identity(self.cluster, self.nonce)


def decode_canary_request(data: bytes) -> CanaryRequest:
    """Decode a canary request. Raises ``MalformedError``."""
    what = "canary request"
    fields = Fields(decode(data, what=what, limit=256), 4, what)
    if (version := fields.uint(16)) != VERSION:
        raise MalformedError(f"decode {what}: version {version}")
    return CanaryRequest(ClusterId(fields.fixed(32)), fields.fixed(32), fields.fixed(32))
