"""Schnorr's proof that the maker of a public value S = s·G2 knows s, made non-interactive (Fiat-Shamir) and
bound to a context.

A proof is ``T ‖ z``: T = k·G2 (96 bytes compressed) and z = k + c·s mod R (32 bytes big-endian), with the
challenge ``c = hash_to_int(R, "eigenkms/schnorr/1" ‖ be32(len(context)) ‖ context ‖ S ‖ T)`` from 512 bits
of Keccak. It verifies when ``z·G2 − c·S = T``. The nonce k is hedged: a hash of fresh randomness, the
secret and the statement, so that neither a repeated random output nor a repeated statement alone repeats it
for two challenges.
"""

from eigenkms.crypto import backends
from eigenkms.crypto.backends.interface import BLS_G2_INFINITY, BLS_G2_SIZE, InvalidPoint
from eigenkms.crypto.hashing import Rng, be32, hash_to_int
from eigenkms.crypto.scalars import R, SecretScalar

PROOF_SIZE = BLS_G2_SIZE + 32

_TAG = b"eigenkms/schnorr/1"
_NONCE_TAG = b"eigenkms/schnorr/nonce/1"


def prove(secret: SecretScalar, public: bytes, context: bytes, rng: Rng) -> bytes:
    """128 bytes that show knowledge of ``secret`` for ``public`` = secret·G2 in this context."""
    curve = backends.bls12381()
    nonce = 1 + hash_to_int(R - 1, _NONCE_TAG, secret.to_bytes(), rng(32), _statement(public, context))
    commitment = curve.encode_g2(curve.secret_mul_g2(curve.g2, nonce))
    response = (nonce + _challenge(public, context, commitment) * secret.value) % R
    return commitment + response.to_bytes(32, "big")


def verify(public: bytes, context: bytes, proof: bytes) -> bool:
    """Whether the proof holds. False as well for a malformed proof or public value."""
    if len(proof) != PROOF_SIZE:
        return False
    commitment, response = proof[:BLS_G2_SIZE], int.from_bytes(proof[BLS_G2_SIZE:], "big")
    if response >= R or commitment == BLS_G2_INFINITY:
        return False
    curve = backends.bls12381()
    try:
        point = curve.decode_g2(public)
    except InvalidPoint:
        return False
    challenge = _challenge(public, context, commitment)
    return curve.encode_g2(curve.msm_g2([curve.g2, point], [response, -challenge])) == commitment


def _statement(public: bytes, context: bytes) -> bytes:
    return be32(len(context)) + context + public


def _challenge(public: bytes, context: bytes, commitment: bytes) -> int:
    return hash_to_int(R, _TAG, _statement(public, context), commitment)
