"""A dealing made: shares encrypted to all recipients, and the proof.

All products with secret scalars are the backend's constant-time multiplication, and the sums of such products
stay in its library. Multi-scalar multiplication sees public scalars only. The digits, their masked sums and
the scalars of the linear proof are Python integers, which are not constant time; the steps are the same for
every share. All randomness is hedged: a hash of fresh randomness, the polynomial and the statement.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from eigenkms.crypto import backends
from eigenkms.crypto.backends.interface import Point
from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.pvss.challenges import (
    MaskedTranscript,
    WeightedTranscript,
    after_masks,
    after_responses,
    linear_challenge,
    mask_keys,
    statement,
)
from eigenkms.crypto.pvss.dealing import (
    Announcements,
    Answers,
    DealingContext,
    EncryptedShares,
    RangeProof,
)
from eigenkms.crypto.pvss.digits import split, weighted
from eigenkms.crypto.pvss.fiat_shamir import ProofTranscript
from eigenkms.crypto.pvss.hedging import hedged, nonce, symmetric
from eigenkms.crypto.pvss.parameters import CHUNKS, MAX_TRIES, REPETITIONS
from eigenkms.crypto.pvss.recipients import Recipients
from eigenkms.crypto.scalars import R
from eigenkms.crypto.shamir import Polynomial

_TAG = b"eigenkms/pvss/dealer randomness/1"


def deal(
    context: DealingContext, polynomial: Polynomial, recipients: Recipients, rng: Rng
) -> EncryptedShares:
    """Return the encrypted part of the dealing of ``polynomial``.

    The commitments that belong to it are ``polynomial.commitments()``.

    CPU: 2·CHUNKS multiplications for each recipient and 330 more. ValueError for a polynomial whose shares are
    so far from random that no masks fit them; chance alone does that less than once in 2^139 dealings.
    """
    commitments = polynomial.commitments()
    source = hedged(rng, _TAG, polynomial.to_bytes(), _statement_id(context, recipients, commitments))
    shares = [polynomial.evaluate(x) for x in recipients.xs]
    digits = [split(share) for share in shares]
    r = [nonce(source) for _ in range(CHUNKS)]
    randomness = _encoded([_times_g1(k) for k in r])
    rows = tuple(_row(own, r, key) for own, key in zip(digits, recipients.points, strict=True))
    stated = statement(context, recipients, commitments, randomness, rows)
    beta, masked, range_proof = _range_proof(stated, digits, recipients, source)
    weighed = after_responses(masked, range_proof.responses, len(recipients))
    combined = sum(w * share.value for w, share in zip(weighed.recipients, shares, strict=True)) % R
    announcements, answers = _linear_proof(_Witness(r, beta, combined), weighed, recipients, source)
    return EncryptedShares(randomness, rows, range_proof, announcements, answers)


def _statement_id(context: DealingContext, recipients: Recipients, commitments: Sequence[bytes]) -> bytes:
    return statement(context, recipients, commitments, (), ()).challenge(b"statement", 32)


def _row(digits: Sequence[int], r: Sequence[int], key: Point) -> tuple[bytes, ...]:
    """``C_k = digit_k·G1 + r_k·key``."""
    curve = backends.bls12381()
    products = [curve.secret_mul_g1(key, k) for k in r]
    return _encoded(
        [curve.secret_add_g1(_times_g1(d), product) for d, product in zip(digits, products, strict=True)]
    )


def _range_proof(
    stated: ProofTranscript, digits: Sequence[Sequence[int]], recipients: Recipients, source: Rng
) -> tuple[int, MaskedTranscript, RangeProof]:
    """Make masks and masked sums, again until no sum says anything of the digits.

    A masked sum is uniform in ±bounds.response if the sum itself is within ±bounds.honest, whatever it is; so
    both are checked, and what is published is independent of the digits (rejection sampling, Lyubashevsky 2009).
    """
    bounds = recipients.bounds
    flat = [digit for row in digits for digit in row]
    keys = mask_keys()
    for _ in range(MAX_TRIES):
        beta = nonce(source)
        sigma = [symmetric(source, bounds.mask) for _ in range(REPETITIONS)]
        base, masks = _encoded([_times_g1(beta)])[0], _masks(beta, sigma, keys)
        masked = after_masks(stated, base, masks, len(flat))
        sums = _sums(flat, masked.bits)
        responses = tuple(v + mask for v, mask in zip(sums, sigma, strict=True))
        honest = all(-bounds.honest <= v <= bounds.honest for v in sums)
        if honest and all(-bounds.response <= z <= bounds.response for z in responses):
            return beta, masked, RangeProof(base, masks, responses)
    raise ValueError(f"deal: no masks fit in {MAX_TRIES} tries, as the shares are not random")


def _masks(beta: int, sigma: Sequence[int], keys: Sequence[Point]) -> tuple[bytes, ...]:
    """``Q_j = σ_j·G1 + β·Y_j``."""
    curve = backends.bls12381()
    products = [curve.secret_mul_g1(key, beta) for key in keys]
    return _encoded([curve.secret_add_g1(_times_g1(s), p) for s, p in zip(sigma, products, strict=True)])


def _sums(digits: Sequence[int], bits: Sequence[bytes]) -> list[int]:
    """``v_j = Σ e_ikj·digit_ik``: every digit is multiplied by every bit."""
    sums = [0] * REPETITIONS
    for digit, row in zip(digits, bits, strict=True):
        sums = [total + digit * bit for total, bit in zip(sums, row, strict=True)]
    return sums


@dataclass(frozen=True, slots=True, repr=False)
class _Witness:
    """What the linear proof shows knowledge of: r_k, β and a = Σ γ_i·share_i."""

    r: Sequence[int]
    beta: int
    combined: int


def _linear_proof(
    witness: _Witness, weighed: WeightedTranscript, recipients: Recipients, source: Rng
) -> tuple[Announcements, Answers]:
    """Schnorr's proof for all equations at once: the same nonce wherever the same secret stands."""
    nonces = _Witness([nonce(source) for _ in range(CHUNKS)], nonce(source), nonce(source))
    announcements = _announcements(nonces, weighed, recipients)
    chi = linear_challenge(weighed, announcements)

    def answer(nonce_: int, secret: int) -> int:
        return (nonce_ + chi * secret) % R

    return announcements, Answers(
        tuple(answer(k, r) for k, r in zip(nonces.r, witness.r, strict=True)),
        answer(nonces.beta, witness.beta),
        answer(nonces.combined, witness.combined),
    )


def _announcements(nonces: _Witness, weighed: WeightedTranscript, recipients: Recipients) -> Announcements:
    """Return the equations' left sides, with nonces in the place of the secrets."""
    curve = backends.bls12381()
    mul, add = curve.secret_mul_g1, curve.secret_add_g1
    chunks = mul(curve.msm_g1(mask_keys(), weighed.sums), nonces.beta)
    for key, weights in zip(recipients.points, weighed.digits, strict=True):
        chunks = add(chunks, mul(key, sum(c * k for c, k in zip(weights, nonces.r, strict=True))))
    combined_key = curve.msm_g1(recipients.points, weighed.recipients)
    sharing = add(_times_g1(nonces.combined), mul(combined_key, weighted(nonces.r)))
    base, encoded_chunks, encoded_sharing = _encoded([_times_g1(nonces.beta), chunks, sharing])
    return Announcements(
        _encoded([_times_g1(k) for k in nonces.r]),
        base,
        encoded_chunks,
        encoded_sharing,
        curve.encode_g2(curve.secret_mul_g2(curve.g2, nonces.combined)),
    )


def _times_g1(scalar: int) -> Point:
    curve = backends.bls12381()
    return curve.secret_mul_g1(curve.g1, scalar)


def _encoded(points: Sequence[Point]) -> tuple[bytes, ...]:
    return tuple(map(backends.bls12381().encode_g1, points))
