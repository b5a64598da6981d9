"""Verify dealings, many at once, and find the invalid ones.

All equations of all dealings are checked as one random linear combination. Every point is decoded strictly:
canonical, on the curve, in the subgroup, not infinity. Multi-scalar multiplication then costs a quarter of
decoding. A variant that checks less of each point, with an argument that the equations still suffice, would
replace ``_decoded`` and ``_hold`` and change nothing else.

Each equation gets a random weight of 128 bits, so a combination with a false equation is zero with
probability 2^-128. The weights come from the verifier: a dealer that could foresee them could make errors
cancel. Bases that all dealings share (encryption keys, mask keys, the generator) enter the sum once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from eigenkms.crypto import backends, feldman
from eigenkms.crypto.backends.interface import BLS_G1_INFINITY, BLS_G2_INFINITY, InvalidPoint, Point
from eigenkms.crypto.batch_verify import coefficients, find_failing
from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.pvss.challenges import (
    WeightedTranscript,
    after_masks,
    after_responses,
    linear_challenge,
    mask_keys,
    statement,
)
from eigenkms.crypto.pvss.dealing import DealingContext, EncryptedShares
from eigenkms.crypto.pvss.digits import weighted
from eigenkms.crypto.pvss.errors import InvalidDealing
from eigenkms.crypto.pvss.parameters import BASE, CHUNKS, REPETITIONS
from eigenkms.crypto.pvss.recipients import Recipients
from eigenkms.crypto.scalars import R


@dataclass(frozen=True, slots=True)
class DealingClaim:
    """A dealing as its dealer published it.

    ``constant`` is what its first commitment must be: in a rotation the dealer's public share of the source
    (96 bytes), at genesis None.
    """

    context: DealingContext
    commitments: tuple[bytes, ...]
    encrypted: EncryptedShares
    constant: bytes | None


def check_dealing(claim: DealingClaim, recipients: Recipients, threshold: int, rng: Rng) -> None:
    """Check one dealing; InvalidDealing if it is not valid.

    Valid: the encrypted shares are f(x_i) for the polynomial f of degree below ``threshold`` that the commitments
    fix, and every digit is in ±recipients.bounds.digit.

    CPU: some 65 µs for each point, 16·n + 180 of them.
    """
    equations = _equations(claim, recipients, threshold, rng)
    if not _hold([equations], recipients):
        raise _refuted()


def find_invalid(
    claims: Sequence[DealingClaim], recipients: Recipients, threshold: int, rng: Rng
) -> dict[int, InvalidDealing]:
    """Return the faults of the claims that are not valid, by position.

    One combination over all claims; only if it fails are halves of them checked.
    """
    faults: dict[int, InvalidDealing] = {}
    equations: dict[int, _Equations] = {}
    for i, claim in enumerate(claims):
        try:
            equations[i] = _equations(claim, recipients, threshold, rng)
        except InvalidDealing as error:
            faults[i] = error
    refuted = find_failing(list(equations), lambda group: _hold([equations[i] for i in group], recipients))
    return faults | {i: _refuted() for i in refuted}


def _refuted() -> InvalidDealing:
    return InvalidDealing(
        "verify dealing: its proof does not hold for these commitments, recipients and context"
    )


@dataclass(frozen=True, slots=True)
class _Equations:
    """One dealing's equations as a sum in each group that is zero if they hold.

    ``Σ scalar·point`` over points of its own and over bases that it shares with other dealings.
    """

    g1_points: list[Point]
    g1_scalars: list[int]
    keys: list[int]
    mask_keys: list[int]
    g1: int
    g2_points: list[Point]
    g2_scalars: list[int]
    g2: int


def _hold(group: Sequence[_Equations], recipients: Recipients) -> bool:
    """Return whether the sums of all dealings of the group are zero."""
    curve = backends.bls12381()
    points = [p for one in group for p in one.g1_points] + recipients.points + mask_keys() + [curve.g1]
    scalars = [k for one in group for k in one.g1_scalars]
    scalars += [sum(column) for column in zip(*(one.keys for one in group), strict=True)]
    scalars += [sum(column) for column in zip(*(one.mask_keys for one in group), strict=True)]
    scalars.append(sum(one.g1 for one in group))
    if curve.encode_g1(curve.msm_g1(points, scalars)) != BLS_G1_INFINITY:
        return False
    points = [p for one in group for p in one.g2_points] + [curve.g2]
    scalars = [k for one in group for k in one.g2_scalars] + [sum(one.g2 for one in group)]
    return curve.encode_g2(curve.msm_g2(points, scalars)) == BLS_G2_INFINITY


@dataclass(frozen=True, slots=True)
class _Points:
    """A claim's points, decoded strictly."""

    commitments: list[Point]
    randomness: list[Point]
    chunks: list[Point]
    """Recipient by recipient."""
    base: Point
    masks: list[Point]
    announced_randomness: list[Point]
    announced_base: Point
    announced_chunks: Point
    announced_sharing: Point
    announced_public: Point


def _equations(claim: DealingClaim, recipients: Recipients, threshold: int, rng: Rng) -> _Equations:
    """Weight the claim's equations; InvalidDealing for what needs no equation."""
    _check_shape(claim, recipients)
    points = _decoded(claim, threshold)
    encrypted, ranges = claim.encrypted, claim.encrypted.range_proof
    stated = statement(claim.context, recipients, claim.commitments, encrypted.randomness, encrypted.rows)
    masked = after_masks(stated, ranges.base, ranges.masks, len(points.chunks))
    weighed = after_responses(masked, ranges.responses, len(recipients))
    chi = linear_challenge(weighed, encrypted.announcements)
    return _combined(points, encrypted, weighed, chi, recipients, rng)


def _check_shape(claim: DealingClaim, recipients: Recipients) -> None:
    encrypted, ranges = claim.encrypted, claim.encrypted.range_proof
    if len(encrypted.rows) != len(recipients):
        raise InvalidDealing(f"verify dealing: {len(encrypted.rows)} rows for {len(recipients)} recipients")
    announced, answered = encrypted.announcements.randomness, encrypted.answers.randomness
    of_chunks = (encrypted.randomness, *encrypted.rows, announced, answered)
    of_masks = (ranges.masks, ranges.responses)
    if any(len(part) != CHUNKS for part in of_chunks) or any(len(part) != REPETITIONS for part in of_masks):
        raise InvalidDealing("verify dealing: a part has another number of elements than the parameters say")
    limit = recipients.bounds.response
    if not all(-limit <= z <= limit for z in ranges.responses):
        raise InvalidDealing(f"verify dealing: a masked sum is not in ±{limit}")
    if claim.constant is not None and claim.commitments[:1] != (claim.constant,):
        raise InvalidDealing("verify dealing: it does not deal on the dealer's share of the source")


def _decoded(claim: DealingClaim, threshold: int) -> _Points:
    encrypted, ranges, announced = (
        claim.encrypted,
        claim.encrypted.range_proof,
        claim.encrypted.announcements,
    )
    curve = backends.bls12381()

    def read(encodings: Sequence[bytes]) -> list[Point]:
        return [curve.decode_g1(encoding) for encoding in encodings]

    try:
        feldman.check_commitments(claim.commitments, threshold)
        return _Points(
            [curve.decode_g2(commitment) for commitment in claim.commitments],
            read(encrypted.randomness),
            read([chunk for row in encrypted.rows for chunk in row]),
            curve.decode_g1(ranges.base),
            read(ranges.masks),
            read(announced.randomness),
            curve.decode_g1(announced.base),
            curve.decode_g1(announced.chunks),
            curve.decode_g1(announced.sharing),
            curve.decode_g2(announced.public),
        )
    except InvalidPoint as error:
        raise InvalidDealing(f"verify dealing: {error}") from None


def _combined(
    points: _Points,
    encrypted: EncryptedShares,
    weighed: WeightedTranscript,
    chi: int,
    recipients: Recipients,
    rng: Rng,
) -> _Equations:
    """Return the equations of ``eigenkms.crypto.pvss``, moved to one side and weighted: (1) to (5) by τ."""
    u, ranges = encrypted.answers, encrypted.range_proof
    *tau_1, tau_2, tau_3, tau_4, tau_5 = coefficients(CHUNKS + 4, rng)
    chunk_scalars = [
        chi * (tau_3 * c + tau_4 * gamma * power)
        for gamma, row in zip(weighed.recipients, weighed.digits, strict=True)
        for c, power in zip(row, _POWERS, strict=True)
    ]
    own_points = [
        *(points.announced_randomness + points.randomness),
        *(points.announced_base, points.base),
        *(points.announced_chunks, *points.masks),
        points.announced_sharing,
        *points.chunks,
    ]
    own_scalars = [
        *(tau_1 + [tau * chi for tau in tau_1]),
        *(tau_2, tau_2 * chi),
        *(tau_3, *(tau_3 * chi * omega for omega in weighed.sums)),
        tau_4,
        *chunk_scalars,
    ]
    u_weighted = weighted(u.randomness) % R
    dots = [sum(c * k for c, k in zip(row, u.randomness, strict=True)) for row in weighed.digits]
    masked_sum = sum(omega * z for omega, z in zip(weighed.sums, ranges.responses, strict=True))
    of_g1 = sum(tau * k for tau, k in zip(tau_1, u.randomness, strict=True)) + tau_2 * u.base
    powers = recipients.weighted_powers(weighed.recipients, len(points.commitments))
    return _Equations(
        own_points,
        own_scalars,
        [-(tau_3 * dot + tau_4 * u_weighted * g) for dot, g in zip(dots, weighed.recipients, strict=True)],
        [-tau_3 * u.base * omega for omega in weighed.sums],
        -(of_g1 + tau_3 * chi * masked_sum + tau_4 * u.combined_share),
        [*points.commitments, points.announced_public],
        [*(tau_5 * chi * power for power in powers), tau_5],
        -tau_5 * u.combined_share,
    )


_POWERS = [pow(BASE, k, R) for k in range(CHUNKS)]
