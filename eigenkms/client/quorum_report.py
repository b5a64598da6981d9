"""The error of a request that too few operators answered with a signature.

It names the operators that gave none, with their reasons.
"""

from collections.abc import Collection, Sequence

from eigenkms.client.errors import AttesterError, QuorumError
from eigenkms.client.partial_signatures import Outcome, SignatureCollector
from eigenkms.client.version_attempt import VersionAttempt
from eigenkms.client.version_discovery import describe_failures
from eigenkms.errors import EigenKmsError, RefusedError
from eigenkms.p2p.errors import CallRefusedError
from eigenkms.types import OperatorAddress, to_hex
from eigenkms.wire.authorisation import FINAL_REFUSALS


def invalid_signers(attempts: Collection[VersionAttempt]) -> set[OperatorAddress]:
    """Return the operators that sent an invalid signature, of whatever version."""
    return {operator for attempt in attempts for operator in attempt.collector.invalid_signers}


def quorum_error(
    attempts: Collection[VersionAttempt], discovery_error: EigenKmsError | None
) -> EigenKmsError:
    """Return the error, with the reason of each operator that gave nothing.

    The reasons are those of the version that came closest; of the others it has the numbers. ``discovery_error``: why no other
    versions could be looked for.
    """
    closest, *others = sorted(attempts, key=_closeness, reverse=True)
    message = "; ".join(_parts(closest, others, discovery_error))
    if (own := _own_failure(closest.collector)) is not None:
        return own
    if any(_is_refused(attempt.collector) for attempt in attempts):
        return RefusedError(
            message, hint="prove the right to this application's key, or ask the operators why"
        )
    return QuorumError(message)


def _closeness(attempt: VersionAttempt) -> tuple[int, int]:
    """Return the signatures beyond the threshold, then the version."""
    return attempt.good - attempt.threshold, attempt.epoch.transcript.version


def _parts(
    closest: VersionAttempt, others: Sequence[VersionAttempt], discovery_error: EigenKmsError | None
) -> list[str]:
    parts = [_describe_shortage(closest.collector)]
    parts += [
        f"of version {a.epoch.transcript.version}: {a.good} of {len(a.epoch.transcript.recipients)}, "
        f"{a.threshold} needed"
        for a in others
    ]
    elsewhere = invalid_signers(others) - set(closest.collector.invalid_signers)
    parts += [f"{to_hex(signer)}: its partial signature is false" for signer in sorted(elsewhere)]
    if discovery_error is not None:
        parts.append(f"look for other versions: {discovery_error}")
    return parts


def _describe_shortage(collector: SignatureCollector) -> str:
    reasons = describe_failures(collector.failures)
    quiet = [f"{to_hex(operator)}: no answer in time" for operator in collector.unanswered()]
    invalid = [f"{to_hex(signer)}: its partial signature is false" for signer in collector.invalid_signers]
    return (
        f"collect partial signatures: {collector.count(Outcome.GOOD)} of {len(collector.transcript.recipients)} "
        f"operators gave one, {collector.transcript.threshold} needed; "
        f"{'; '.join([*filter(None, [reasons]), *quiet, *invalid])}"
    )


def _own_failure(collector: SignatureCollector) -> AttesterError | None:
    """Return the failure of this machine, if it explains the missing signatures.

    It does if evidence was missing for more operators than a quorum can do without.
    """
    own = [e for e in collector.failures.values() if isinstance(e, AttesterError)]
    return own[0] if len(own) > _dispensable(collector) else None


def _is_refused(collector: SignatureCollector) -> bool:
    """Return whether more operators refused for good than a quorum can do without."""
    refused = [
        e for e in collector.failures.values() if isinstance(e, CallRefusedError) and e.code in FINAL_REFUSALS
    ]
    return len(refused) > _dispensable(collector)


def _dispensable(collector: SignatureCollector) -> int:
    """Return how many recipients a quorum can do without."""
    return len(collector.transcript.recipients) - collector.transcript.threshold
