"""What a requester shows for its right to an application's key, and why it may be refused (docs/attestation.md).

The field ``authorisation`` of a request is ``[method, evidence]`` in canonical msgpack. Whatever the method, evidence commits to a
*nonce*, which names cluster, operator, application and reply key: it is worth nothing at another operator, and an answer to it can
be read by the holder of that reply key alone.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from eigenkms.types import AppId, ClusterId, OperatorAddress
from eigenkms.wire.codec import Fields, MalformedError, decode, encode

MAX_METHOD_CHARACTERS = 32
MAX_EVIDENCE_BYTES = 60 * 1024
"""Fits the authorisation of a request, with room for the method's name."""
_TAG = "eigenkms/attestation/1"


class Refusal(StrEnum):
    """Why a request for a key was refused. Stable: programs act on them."""

    NOT_AUTHORISED = "not-authorised"
    NO_AUTHORISATION = "no-authorisation"
    BAD_AUTHORISATION = "bad-authorisation"
    UNKNOWN_APPLICATION = "unknown-application"
    APPLICATION_NOT_RUNNING = "application-not-running"
    METHOD_NOT_ENABLED = "method-not-enabled"
    BAD_EVIDENCE = "bad-evidence"
    KEYS_UNAVAILABLE = "keys-unavailable"
    UNKNOWN_KEY = "unknown-key"
    BAD_SIGNATURE = "bad-signature"
    EVIDENCE_EXPIRED = "evidence-expired"
    EVIDENCE_FROM_FUTURE = "evidence-from-future"
    WRONG_ISSUER = "wrong-issuer"
    WRONG_AUDIENCE = "wrong-audience"
    WRONG_PLATFORM = "wrong-platform"
    PLATFORM_OUTDATED = "platform-outdated"
    DEBUG_ENABLED = "debug-enabled"
    WRONG_PROJECT = "wrong-project"
    WRONG_APPLICATION = "wrong-application"
    NOT_BOUND = "not-bound"
    ALREADY_USED = "already-used"
    BUSY = "busy"
    NOT_CREATOR = "not-creator"
    NO_RELEASE = "no-release"
    BAD_RELEASE = "bad-release"
    WRONG_IMAGE = "wrong-image"
    WRONG_CONTAINER = "wrong-container"
    CHAIN_UNAVAILABLE = "chain-unavailable"

    @property
    def passes(self) -> bool:
        """Whether the same right, shown again later, may be accepted: it is the operator that is not ready."""
        return self in (Refusal.KEYS_UNAVAILABLE, Refusal.BUSY, Refusal.CHAIN_UNAVAILABLE)


FINAL_REFUSALS = frozenset(str(refusal) for refusal in Refusal if not refusal.passes)


@dataclass(frozen=True, slots=True)
class Authorisation:
    """``method`` names how ``evidence`` is to be verified."""

    method: str
    evidence: bytes

    @property
    def encoded(self) -> bytes:
        return encode([self.method, self.evidence])


def decode_authorisation(data: bytes) -> Authorisation:
    """Decode an authorisation. Raises ``MalformedError``."""
    what = "authorisation"
    fields = Fields(decode(data, what=what, limit=MAX_EVIDENCE_BYTES + 256), 2, what)
    method, evidence = fields.text(MAX_METHOD_CHARACTERS), fields.binary(MAX_EVIDENCE_BYTES)
    if not method or not evidence:
        raise MalformedError(f"decode {what}: no method or no evidence")
    return Authorisation(method, evidence)


@dataclass(frozen=True, slots=True)
class Scope:
    """What evidence must be for: this application's key, from this operator of this cluster, sealed to this key.

    ``reply_key`` is the 32-byte X25519 key of a request, or the text of an RSA key as it was sent over HTTP.
    """

    cluster: ClusterId
    operator: OperatorAddress
    app_id: AppId
    reply_key: bytes

    @property
    def nonce(self) -> str:
        """64 lower-case hex digits: ``SHA-256(msgpack ["eigenkms/attestation/1", cluster, operator, app id, reply key])``."""
        return hashlib.sha256(
            encode([_TAG, self.cluster, self.operator, self.app_id, self.reply_key])
        ).hexdigest()
