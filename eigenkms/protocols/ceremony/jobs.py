"""Jobs: work that takes longer than a step of a machine may.

A job is asked for as an effect, done elsewhere, and answered as an event.

Each job holds all that it needs, so a worker thread or process can do it. None changes anything: a result that comes twice, late or
never does no harm, and after a crash the machine asks again.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

from eigenkms.crypto import pvss
from eigenkms.crypto.feldman import public_share_of
from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.scalars import SecretScalar, coordinates, lagrange_at_zero
from eigenkms.crypto.shamir import Polynomial, combine_shares
from eigenkms.types import OperatorAddress
from eigenkms.wire.messages import SourceRef


@dataclass(frozen=True)
class DealJob:
    """Encrypt the shares of ``polynomial``, in a dealing from ``source``.

    CPU: 0.1 s for 7 recipients, 0.3 s for 50.
    """

    source: SourceRef
    context: pvss.DealingContext
    recipients: tuple[pvss.ShareRecipient, ...]
    newcomers: tuple[bytes, ...]
    """Encoded KEY frames, which become part of the dealing's header."""
    polynomial: Polynomial = field(repr=False)


@dataclass(frozen=True)
class DealResult:
    """``job`` done."""

    job: DealJob
    encrypted: pvss.EncryptedShares


@dataclass(frozen=True)
class UncheckedDealing:
    """A dealing, by its name, whose proof has to be verified."""

    name: bytes
    claim: pvss.DealingClaim
    recipients: tuple[pvss.ShareRecipient, ...]
    threshold: int


@dataclass(frozen=True)
class CheckJob:
    """Verify dealings; those to the same recipients together.

    CPU: 65 µs for each point, 16·recipients + 180 a dealing.
    """

    dealings: tuple[UncheckedDealing, ...]


@dataclass(frozen=True)
class CheckResult:
    """Names of the dealings that are valid, and of those that are not."""

    valid: frozenset[bytes]
    invalid: frozenset[bytes]


@dataclass(frozen=True)
class OpenJob:
    """Decrypt this operator's shares of the dealings of a version, and combine them.

    ``dealings`` in the order of the transcript, each with the number of its recipients. CPU: 20 ms a dealing.
    """

    version: bytes
    """Hash of the transcript."""
    public_share: bytes
    """The public share that the combined share must fit, 96 bytes."""
    dealings: tuple[tuple[OperatorAddress, pvss.EncryptedShare, int], ...]
    is_genesis: bool
    key: pvss.EncryptionKey = field(repr=False)


@dataclass(frozen=True)
class OpenResult:
    """A combined share; ``None`` if a dealing does not decrypt, as verified ones do."""

    version: bytes
    share: SecretScalar | None = field(repr=False)


Job: TypeAlias = DealJob | CheckJob | OpenJob
Result: TypeAlias = DealResult | CheckResult | OpenResult


def run_job(job: Job, rng: Rng, table: pvss.LogarithmTable | None) -> Result:
    """Do the work of ``job``; blocks.

    ``rng`` yields secret randomness; only ``OpenJob`` needs the ``table``.
    """
    match job:
        case DealJob():
            recipients = pvss.Recipients(job.recipients)
            return DealResult(job, pvss.deal(job.context, job.polynomial, recipients, rng))
        case CheckJob():
            return _check(job, rng)
        case OpenJob():
            assert table is not None
            return _open(job, rng, table)


def _check(job: CheckJob, rng: Rng) -> CheckResult:
    groups: dict[tuple[tuple[pvss.ShareRecipient, ...], int], list[UncheckedDealing]] = {}
    for dealing in job.dealings:
        groups.setdefault((dealing.recipients, dealing.threshold), []).append(dealing)
    invalid: set[bytes] = set()
    for (members, threshold), group in groups.items():
        claims = [dealing.claim for dealing in group]
        faults = pvss.find_invalid(claims, pvss.Recipients(members), threshold, rng)
        invalid |= {group[i].name for i in faults}
    return CheckResult(frozenset(d.name for d in job.dealings) - invalid, frozenset(invalid))


def _open(job: OpenJob, rng: Rng, table: pvss.LogarithmTable) -> OpenResult:
    dealers = [dealer for dealer, _, _ in job.dealings]
    try:
        shares = [pvss.decrypt(share, job.key, n, table, rng) for _, share, n in job.dealings]
    except (pvss.InvalidDealing, pvss.UndecryptableShare):
        return OpenResult(job.version, None)
    factors = [1] * len(dealers) if job.is_genesis else lagrange_at_zero(coordinates(dealers))
    combined = combine_shares(factors, shares)
    return OpenResult(job.version, combined if public_share_of(combined) == job.public_share else None)
