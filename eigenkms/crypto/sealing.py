"""Seal bytes: in storage under a key, and in a message for one reader.

Storage: AES-256-GCM with a random 96-bit nonce in front; a key seals at most 2^32 times (NIST SP 800-38D,
8.3). Keys come from HKDF-SHA256.

Answers to a recipient that lacks a share (docs/protocol.md, Dealing) are sealed to a one-time X25519 key
that the recipient may later publish, so anyone can then open the answer and judge it; hence the simple
construction

    E ‖ AES-256-GCM(key, nonce = 0¹², plaintext, aad)
    key = HKDF-SHA256(X25519(e, recipient), info = "eigenkms/answer/1" ‖ E ‖ recipient)

with a fresh ephemeral e, so that a key seals once. Replies to a client are sealed by HPKE base mode (RFC
9180) with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and AES-256-GCM: ``enc (32 bytes) ‖ ciphertext``.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from eigenkms.crypto.hashing import Rng, be32
from eigenkms.errors import VerificationError

KEY_SIZE = 32
NONCE_SIZE = 12
X25519_SIZE = 32

_ANSWER_INFO = b"eigenkms/answer/1"


def derive_key(secret: bytes, info: bytes, salt: bytes) -> bytes:
    """Return 32 bytes by HKDF-SHA256 (RFC 5869).

    ``secret`` must have entropy of its own: a password goes through scrypt first.
    """
    return HKDF(algorithm=SHA256(), length=KEY_SIZE, salt=salt, info=info).derive(secret)


def seal(key: bytes, plaintext: bytes, aad: bytes, rng: Rng) -> bytes:
    """Return ``nonce (12) ‖ AES-256-GCM``, 28 bytes longer than the plaintext.

    Raises ValueError unless the key has 32 bytes.
    """
    nonce = rng(NONCE_SIZE)
    return nonce + _aes(key).encrypt(nonce, plaintext, aad)


def unseal(key: bytes, sealed: bytes, aad: bytes) -> bytes:
    """Return the plaintext that ``seal`` sealed.

    Raises VerificationError for another key, other aad or changed bytes.
    """
    try:
        return _aes(key).decrypt(sealed[:NONCE_SIZE], sealed[NONCE_SIZE:], aad)
    except (InvalidTag, ValueError):
        raise VerificationError("unseal: the key is another, or the sealed bytes were changed") from None


def x25519_keypair(rng: Rng) -> tuple[bytes, bytes]:
    """Return (private, public), 32 bytes each (RFC 7748)."""
    private = rng(X25519_SIZE)
    return private, x25519_public(private)


def x25519_public(private: bytes) -> bytes:
    """Return the public key of a private one, 32 bytes each.

    Raises ValueError for another length.
    """
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def answer_seal(recipient: bytes, plaintext: bytes, aad: bytes, rng: Rng) -> bytes:
    """Seal to a recipient's X25519 public key, 48 bytes longer than the plaintext.

    The result is ``ephemeral key (32) ‖ AES-256-GCM``. Raises VerificationError for a public key of low order or of another
    length than 32 bytes.
    """
    private, public = x25519_keypair(rng)
    return public + _answer_cipher(private, recipient, public, recipient).encrypt(
        bytes(NONCE_SIZE), plaintext, aad
    )


def answer_open(private: bytes, sealed: bytes, aad: bytes) -> bytes:
    """Return the plaintext that ``answer_seal`` sealed, by the recipient's private key.

    Raises VerificationError when it does not open, also for keys of low order or of another length: both keys may come from a
    stranger.
    """
    if len(private) != X25519_SIZE:
        raise VerificationError(f"open answer: private key has {len(private)} bytes, not {X25519_SIZE}")
    ephemeral, body = sealed[:X25519_SIZE], sealed[X25519_SIZE:]
    cipher = _answer_cipher(private, ephemeral, ephemeral, x25519_public(private))
    try:
        return cipher.decrypt(bytes(NONCE_SIZE), body, aad)
    except InvalidTag:
        raise VerificationError("open answer: it is sealed to another key, or was changed") from None


def hpke_seal(recipient: bytes, info: bytes, aad: bytes, plaintext: bytes) -> bytes:
    """Seal by HPKE to a recipient's X25519 public key, 48 bytes longer.

    The ephemeral key comes from the operating system.

    The library's public interface takes no aad, so it is bound through the key schedule: HPKE's info is
    ``be32(len(info)) ‖ info ‖ aad`` and its aad is empty. VerificationError for a public key of low order
    or of another length than 32 bytes.
    """
    try:
        public = X25519PublicKey.from_public_bytes(recipient)
        return _suite().encrypt(plaintext, public, _hpke_info(info, aad))
    except ValueError:
        raise VerificationError("seal to X25519 key: it is not 32 bytes or has low order") from None


def hpke_open(private: bytes, info: bytes, aad: bytes, sealed: bytes) -> bytes:
    """Return the plaintext that ``hpke_seal`` sealed.

    Raises VerificationError when it does not open; ValueError for a private key that is not 32 bytes.
    """
    key = X25519PrivateKey.from_private_bytes(private)
    try:
        return _suite().decrypt(sealed, key, _hpke_info(info, aad))
    except (InvalidTag, ValueError):
        raise VerificationError(
            "open sealed reply: it is sealed to another key or context, or was changed"
        ) from None


def _aes(key: bytes) -> AESGCM:
    if len(key) != KEY_SIZE:
        raise ValueError(f"sealing key has {len(key)} bytes, not {KEY_SIZE}")
    return AESGCM(key)


def _answer_cipher(private: bytes, peer: bytes, ephemeral: bytes, recipient: bytes) -> AESGCM:
    try:
        shared = X25519PrivateKey.from_private_bytes(private).exchange(
            X25519PublicKey.from_public_bytes(peer)
        )
    except ValueError:
        raise VerificationError("agree on answer key: X25519 key is not 32 bytes or has low order") from None
    return AESGCM(derive_key(shared, _ANSWER_INFO + ephemeral + recipient, b""))


def _suite() -> hpke.Suite:
    return hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def _hpke_info(info: bytes, aad: bytes) -> bytes:
    return be32(len(info)) + info + aad
