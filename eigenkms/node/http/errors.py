"""What the API refuses, as HTTP says it: the statuses are the reference's, for clients that look at nothing else (docs/http.md)."""

from collections.abc import Mapping
from typing import Final

from eigenkms.attestation.interface import AttestationRefusedError
from eigenkms.protocols.wire.authorisation import Refusal


class ApiError(Exception):
    """An answer that is a refusal. ``retry_after`` is in whole seconds, None if asking again does not help."""

    def __init__(
        self, status: int, code: str, message: str, *, hint: str = "", retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.hint = hint
        self.retry_after = retry_after


STATUS: Final[Mapping[Refusal, int]] = {
    Refusal.NOT_AUTHORISED: 403,
    Refusal.NO_AUTHORISATION: 401,
    Refusal.BAD_AUTHORISATION: 400,
    Refusal.UNKNOWN_APPLICATION: 404,
    Refusal.APPLICATION_NOT_RUNNING: 403,
    Refusal.METHOD_NOT_ENABLED: 400,
    Refusal.BAD_EVIDENCE: 401,
    Refusal.KEYS_UNAVAILABLE: 503,
    Refusal.UNKNOWN_KEY: 401,
    Refusal.BAD_SIGNATURE: 401,
    Refusal.EVIDENCE_EXPIRED: 401,
    Refusal.EVIDENCE_FROM_FUTURE: 401,
    Refusal.WRONG_ISSUER: 401,
    Refusal.WRONG_AUDIENCE: 401,
    Refusal.WRONG_PLATFORM: 401,
    Refusal.PLATFORM_OUTDATED: 401,
    Refusal.DEBUG_ENABLED: 401,
    Refusal.WRONG_PROJECT: 401,
    Refusal.WRONG_APPLICATION: 403,
    Refusal.NOT_BOUND: 401,
    Refusal.ALREADY_USED: 401,
    Refusal.BUSY: 503,
    Refusal.NOT_CREATOR: 403,
    Refusal.NO_RELEASE: 404,
    Refusal.BAD_RELEASE: 404,
    Refusal.WRONG_IMAGE: 403,
    Refusal.WRONG_CONTAINER: 403,
    Refusal.CHAIN_UNAVAILABLE: 502,
}
RETRY_SECONDS: Final = 10
"""What a client is told to wait when it is the operator that is not ready."""


def refused(error: AttestationRefusedError) -> ApiError:
    """A refusal of the pipeline."""
    return ApiError(
        STATUS[error.code],
        error.code,
        str(error),
        hint=error.hint or "",
        retry_after=RETRY_SECONDS if error.code.passes else None,
    )
