"""Encryption keys of recipients, and the proof that their owner has the secret.

``y = sk·G1``. A proof of possession is Schnorr's, in G1 and bound to cluster, operator and number: ``T ‖ z``
with T = k·G1 (48 bytes) and z = k + c·sk mod R (32 bytes), where c is drawn from tag, owner, y and T. It holds
when ``z·G1 − c·y = T``. Without it an operator could register ``y' = y + a·G1`` from another's y: both rows
of a dealing share their randomness, so their difference would show the difference of two shares.

``sk·G2`` must never be published, nor r_k·G2 of a dealing: with one of them the pairing decides the
Diffie-Hellman problem that hides a chunk of 16 bits. An encryption key must therefore never serve as a BLS
share or signing key.
"""

from dataclasses import dataclass, field

from eigenkms.crypto import backends
from eigenkms.crypto.backends.interface import BLS_G1_INFINITY, BLS_G1_SIZE, InvalidPoint
from eigenkms.crypto.hashing import Rng, be64
from eigenkms.crypto.pvss.errors import InvalidEncryptionKey
from eigenkms.crypto.pvss.fiat_shamir import ProofTranscript
from eigenkms.crypto.pvss.hedging import hedged, nonce
from eigenkms.crypto.pvss.parameters import SCALAR_SIZE
from eigenkms.crypto.scalars import R, SecretScalar, random_scalar
from eigenkms.types import ClusterId, OperatorAddress

POSSESSION_SIZE = BLS_G1_SIZE + SCALAR_SIZE

_TAG = b"eigenkms/pvss/possession/1"
_NONCE_TAG = b"eigenkms/pvss/possession/nonce/1"


@dataclass(frozen=True, slots=True)
class KeySlot:
    """Whose key, and which of its keys.

    An operator's keys are numbered upwards. ValueError for wrong sizes.
    """

    cluster: ClusterId
    operator: OperatorAddress
    number: int

    def __post_init__(self) -> None:
        if (len(self.cluster), len(self.operator)) != (32, 20) or not 0 <= self.number < 2**64:
            raise ValueError(
                "a key slot has a cluster of 32 bytes, an operator of 20 and a number of 64 bits"
            )


@dataclass(frozen=True, slots=True)
class EncryptionKey:
    """A key pair: ``public = secret·G1``, 48 bytes compressed."""

    public: bytes
    secret: SecretScalar = field(repr=False)

    @classmethod
    def generate(cls, rng: Rng) -> "EncryptionKey":
        """Return a fresh pair.

        The public key by the backend's constant-time multiplication.
        """
        return cls.of(random_scalar(rng))

    @classmethod
    def of(cls, secret: SecretScalar) -> "EncryptionKey":
        """Return the pair of this secret. ValueError for zero."""
        if secret.value == 0:
            raise ValueError("the secret of an encryption key is zero")
        return cls(_times_g1(secret.value), secret)


def prove_possession(key: EncryptionKey, slot: KeySlot, rng: Rng) -> bytes:
    """80 bytes that show knowledge of the key's secret, for this slot only."""
    statement = _statement(key.public, slot)
    k = nonce(hedged(rng, _NONCE_TAG, key.secret.to_bytes(), statement.challenge(b"statement", 32)))
    commitment = _times_g1(k)
    response = (k + _challenge(statement, commitment) * key.secret.value) % R
    return commitment + response.to_bytes(SCALAR_SIZE, "big")


def check_possession(public: bytes, slot: KeySlot, proof: bytes) -> None:
    """Check that the owner of ``public`` knows its secret.

    Raises InvalidEncryptionKey otherwise.

    ``public`` must be a point of G1, canonical and not infinity, and the proof must be for it in this slot.
    """
    if len(proof) != POSSESSION_SIZE:
        raise InvalidEncryptionKey(
            f"check encryption key: its proof has {len(proof)} bytes, not {POSSESSION_SIZE}"
        )
    commitment, response = proof[:BLS_G1_SIZE], int.from_bytes(proof[BLS_G1_SIZE:], "big")
    if response >= R:
        raise InvalidEncryptionKey("check encryption key: the response of its proof is not below R")
    curve = backends.bls12381()
    try:
        point, announced = curve.decode_g1(public), curve.decode_g1(commitment)
    except InvalidPoint as error:
        raise InvalidEncryptionKey(f"check encryption key: {error}") from None
    challenge = _challenge(_statement(public, slot), commitment)
    difference = curve.msm_g1([curve.g1, point, announced], [response, -challenge, -1])
    if curve.encode_g1(difference) != BLS_G1_INFINITY:
        raise InvalidEncryptionKey("check encryption key: its proof of possession does not hold")


def _times_g1(scalar: int) -> bytes:
    curve = backends.bls12381()
    return curve.encode_g1(curve.secret_mul_g1(curve.g1, scalar))


def _statement(public: bytes, slot: KeySlot) -> ProofTranscript:
    owner = (slot.cluster, slot.operator, be64(slot.number))
    return ProofTranscript(_TAG).absorb(b"slot", *owner).absorb(b"key", public)


def _challenge(statement: ProofTranscript, commitment: bytes) -> int:
    return int.from_bytes(statement.absorb(b"commitment", commitment).challenge(b"c", 64), "big") % R
