"""The challenges of a dealing's proof, in the order in which prover and verifier draw them.

    statement       tag ‖ sizes ‖ cluster, session, dealer, source ‖ recipients ‖ commitments ‖ R_k ‖ C_ik
    after B, Q_j    bits e_ikj
    after z_j       weights ω_j (128 bits each), γ_i (128 bits each)
    after A         challenge χ (128 bits)

Each stage absorbs all that was fixed before. The sizes are those of ``parameters``: a proof made with others
is a proof of something else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import compress

from eigenkms.crypto import backends
from eigenkms.crypto.backends.interface import Point
from eigenkms.crypto.hashing import be32
from eigenkms.crypto.pvss.dealing import Announcements, DealingContext, encode_response, flat
from eigenkms.crypto.pvss.fiat_shamir import ProofTranscript
from eigenkms.crypto.pvss.parameters import (
    BITS_SIZE,
    CHUNK_BITS,
    CHUNKS,
    MASK_BITS,
    REPETITIONS,
    WEIGHT_SIZE,
)
from eigenkms.crypto.pvss.recipients import Recipients

_TAG = b"eigenkms/pvss/dealing/1"
_MASK_KEY_DST = b"EIGENKMS-V01-PVSS-MASK-with-BLS12381G1_XMD:SHA-256_SSWU_RO_"

_BITS_OF = [bytes(byte >> i & 1 for i in range(8)) for byte in range(256)]
"""The bits of a byte, lowest first, one a byte: what ``itertools.compress`` selects by."""


def statement(
    context: DealingContext,
    recipients: Recipients,
    commitments: Sequence[bytes],
    randomness: Sequence[bytes],
    rows: Sequence[Sequence[bytes]],
) -> ProofTranscript:
    """Everything that the proof is about."""
    sizes = (CHUNK_BITS, CHUNKS, REPETITIONS, MASK_BITS, len(recipients), len(commitments))
    return (
        ProofTranscript(_TAG)
        .absorb(b"sizes", *map(be32, sizes))
        .absorb(b"context", context.cluster, context.session, context.dealer, context.source)
        .absorb(b"recipients", *recipients.addresses_and_keys)
        .absorb(b"commitments", *commitments)
        .absorb(b"randomness", *randomness)
        .absorb(b"chunks", flat(rows))
    )


@dataclass(frozen=True, slots=True)
class MaskedTranscript:
    """The transcript once the masks are fixed, and the bits drawn then."""

    transcript: ProofTranscript
    bits: tuple[bytes, ...]
    """For each digit, recipient by recipient, REPETITIONS bytes that are 0 or 1."""


def after_masks(
    stated: ProofTranscript, base: bytes, masks: Sequence[bytes], digits: int
) -> MaskedTranscript:
    """Return the bits e_ikj of so many digits."""
    transcript = stated.absorb(b"masks", base, *masks)
    drawn = transcript.challenge(b"bits", digits * BITS_SIZE)
    expanded = b"".join(map(_BITS_OF.__getitem__, drawn))
    return MaskedTranscript(
        transcript,
        tuple(expanded[i : i + REPETITIONS] for i in range(0, len(expanded), REPETITIONS)),
    )


@dataclass(frozen=True, slots=True)
class WeightedTranscript:
    """The transcript once the masked sums are fixed, and the weights drawn then."""

    transcript: ProofTranscript
    sums: list[int]
    """ω_j, of the masked sums."""
    recipients: list[int]
    """γ_i, of the recipients' shares."""
    digits: list[list[int]]
    """c_ik = Σ_j ω_j·e_ikj, of the digits, recipient by recipient."""


def after_responses(
    masked: MaskedTranscript, responses: Sequence[int], recipients: int
) -> WeightedTranscript:
    """Return the weights of the linear proof.

    Raises OverflowError for a response of more than 5 bytes.
    """
    transcript = masked.transcript.absorb(b"responses", *map(encode_response, responses))
    omega = transcript.weights(b"omega", REPETITIONS, WEIGHT_SIZE)
    gamma = transcript.weights(b"gamma", recipients, WEIGHT_SIZE)
    combined = [sum(compress(omega, bits)) for bits in masked.bits]
    rows = [combined[i : i + CHUNKS] for i in range(0, len(combined), CHUNKS)]
    return WeightedTranscript(transcript, omega, gamma, rows)


def linear_challenge(weighed: WeightedTranscript, announcements: Announcements) -> int:
    """χ, the challenge of the linear proof."""
    transcript = weighed.transcript.absorb(b"announcements", announcements.encode())
    return int.from_bytes(transcript.challenge(b"chi", WEIGHT_SIZE), "big")


def mask_keys() -> list[Point]:
    """Return the points Y_j of G1, whose logarithms nobody knows.

    They are hashed by RFC 9380 under a tag of their own. The backend remembers them.
    """
    hash_to_g1 = backends.bls12381().hash_to_g1
    return [hash_to_g1(message, _MASK_KEY_DST) for message in _mask_key_messages()]


@cache
def _mask_key_messages() -> tuple[bytes, ...]:
    return tuple(b"mask key" + be32(j) for j in range(REPETITIONS))
