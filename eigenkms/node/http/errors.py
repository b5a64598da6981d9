"""Refusals of the HTTP API (docs/http.md).

The statuses are those of the reference, for clients that look at nothing else.
"""

from collections.abc import Mapping
from typing import Final

from eigenkms.attestation.interface import AttestationRefusedError
from eigenkms.node.http.limits import TooManyError
from eigenkms.wire.authorisation import Refusal


class ApiError(Exception):
    """An answer that is a refusal.

    ``retry_after`` is in whole seconds, None if a retry does not help.
    """

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
"""Seconds after which a client should retry if the operator is not ready."""


def refused(error: AttestationRefusedError) -> ApiError:
    """Return the answer to a refusal of the pipeline."""
    return ApiError(
        STATUS[error.code],
        error.code,
        str(error),
        hint=error.hint or "",
        retry_after=RETRY_SECONDS if error.code.passes else None,
    )


def too_many(error: TooManyError) -> ApiError:
    """Return the refusal of a client beyond its limit, or of everybody."""
    if error.everybody:
        return busy()
    return ApiError(
        429,
        "too-many-requests",
        "too many requests came from this address, or too large ones at once",
        hint="ask less often",
        retry_after=error.retry_after,
    )


def busy() -> ApiError:
    """Return the refusal of an operator without capacity."""
    hint = "try again in a minute"
    return ApiError(503, "busy", "this operator is busy", hint=hint, retry_after=RETRY_SECONDS)


def too_large(limit: int) -> ApiError:
    """Return the refusal of a body of more than ``limit`` bytes."""
    return ApiError(413, "body-too-large", f"the body is larger than {limit} bytes")


def no_version(why: str) -> ApiError:
    """Return the refusal of an operator that cannot serve a key version."""
    hint = "ask another operator, or later"
    return ApiError(503, "no-version", why, hint=hint, retry_after=RETRY_SECONDS)


def stack_not_supported() -> ApiError:
    """Return the refusal of a stack, whose platform is not part of this network."""
    return ApiError(
        403,
        "stack-not-supported",
        "this network gives no keys to stacks: the platform that would vouch for them is not part of it",
        hint="ask for an application, without stack_id",
    )
