"""The interface of attestation methods: evidence in, claims or a refusal out.

A method states what the evidence proves. One pipeline for all methods decides whether the application is known, the evidence
is new, and the release on chain fits (authorisation/pipeline).
"""

from dataclasses import dataclass, field
from typing import Protocol

from eigenkms.errors import RefusedError
from eigenkms.types import AppId
from eigenkms.wire.authorisation import Refusal, Scope

CLOCK_SKEW_SECONDS = 30
"""Seconds that the clock of evidence's maker may be ahead of this operator's."""


class AttestationRefusedError(RefusedError):
    """An operator refuses the evidence, or it proves too little.

    ``code`` is the reason.
    """

    def __init__(self, code: Refusal, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


@dataclass(frozen=True, slots=True)
class Context:
    """The request that evidence came with.

    ``reference_nonce`` is what the reference's clients put into evidence in the place of ``scope.nonce``: it names the reply key
    alone. It is None unless the request came in the reference's form and the operator accepts that form.
    """

    scope: Scope
    reference_nonce: str | None = None

    @property
    def nonces(self) -> frozenset[str]:
        """Any of them binds evidence to this request."""
        return frozenset(filter(None, (self.scope.nonce, self.reference_nonce)))


@dataclass(frozen=True, slots=True)
class Container:
    """How a container was started, as the platform measured it."""

    args: tuple[str, ...]
    cmd_override: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = field(repr=False)
    env_override: tuple[tuple[str, str], ...] = field(repr=False)
    restart_policy: str


@dataclass(frozen=True, slots=True)
class Image:
    """The container image that runs.

    ``digest`` is 32 bytes, ``registry`` its name without tag and digest, maybe empty.
    """

    digest: bytes
    registry: str
    container: Container


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The claims of verified evidence.

    Exactly one of ``image`` and ``signer`` (20 bytes) is there. ``nonces`` are those that the evidence commits to; the pipeline
    compares them. ``use_id`` (32 bytes) is the same for every request that this piece of evidence could serve. From ``expires_at``
    (unix seconds) on, the method refuses it anyway.
    """

    app_id: AppId
    method: str
    image: Image | None = None
    signer: bytes | None = None
    nonces: frozenset[str]
    use_id: bytes
    expires_at: int
    evidence_digest: bytes

    def __post_init__(self) -> None:
        if (self.image is None) == (self.signer is None):
            raise ValueError("claims name an image or a signer, not both or neither")


class Method(Protocol):
    """One way to prove the right to a key."""

    @property
    def name(self) -> str:
        """Return the method's name in requests."""
        ...

    async def run(self) -> None:
        """Run the method's background work, until cancelled.

        Returns if there is none.
        """
        ...

    async def verify(self, evidence: bytes, context: Context, now: float) -> Claims:
        """Return the claims that ``evidence`` proves at ``now`` (unix seconds).

        Raises ``AttestationRefusedError``.

        Within seconds, whatever the evidence. The claims' nonces are not compared here.
        """
        ...
