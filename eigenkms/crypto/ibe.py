"""Identity-based encryption, version 1, and the parts that all versions share.

The holder of an application's key can read; to write takes no key. Version 2 is in ``ibe_v2``. Version 1 is Boneh and
Franklin's scheme used as a key encapsulation, then HKDF-SHA256 and AES-256-GCM (there is no Fujisaki-Okamoto transform):

    r random, C1 = r·G2, g = e(H(id), MPK)^r    which the holder of sk = s·H(id) finds as e(sk, C1)
    key  = HKDF-SHA256(ikm = g, salt = "eigenx-kms-go-ibe-encryption", info = "IBE-encryption|v1|" ‖ app_id)
    body = AES-256-GCM(key, nonce, plaintext, aad = app_id ‖ 0x01 ‖ C1), 16-byte tag at its end

    offset  0  3 bytes   "IBE"
    offset  3  1 byte    version, 1
    offset  4  96 bytes  C1, compressed
    offset 100 12 bytes  nonce
    offset 112           body, 16 bytes longer than the plaintext

g is written in 576 bytes as ``Bls12381.pairing_bytes`` says. Nothing in a ciphertext names the application,
the cluster or a key version: an application's key is the same under every version of the shares. g = 1
cannot occur: no factor of it is ever infinity.
"""

from collections.abc import Collection
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from eigenkms.crypto import backends
from eigenkms.crypto.app_ids import other_spelling
from eigenkms.crypto.backends.interface import BLS_G2_SIZE, InvalidPoint
from eigenkms.crypto.bls import hashed
from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.ibe_identities import Identity, app_id_bytes, identity_v1
from eigenkms.crypto.scalars import random_scalar
from eigenkms.errors import InputError, VerificationError

MAGIC = b"IBE"
VERSION = 1
MIN_APP_ID_BYTES = 5
NONCE_SIZE = 12
TAG_SIZE = 16
HEADER_SIZE = len(MAGIC) + 1 + BLS_G2_SIZE + NONCE_SIZE
OVERHEAD = HEADER_SIZE + TAG_SIZE
"""Bytes by which a ciphertext is longer than its plaintext: 128."""
MAX_PLAINTEXT = 2**31 - 1 - TAG_SIZE
"""One AES-GCM call takes all of it, and the library's lengths are 31 bits wide."""

_SALT = b"eigenx-kms-go-ibe-encryption"
_INFO = b"IBE-encryption|v1|"


@dataclass(frozen=True, slots=True)
class CiphertextHeader:
    """The fields of a ciphertext that are readable without a key.

    ``c1`` is 96 bytes as they stand there: whether it is a point is not checked.
    """

    version: int
    c1: bytes
    nonce: bytes
    plaintext_size: int


def encrypt(app_id: str, mpk: bytes, plaintext: bytes, rng: Rng) -> bytes:
    """Return a version 1 ciphertext, 128 bytes longer than the plaintext.

    The plaintext may be empty. Raises InputError for an application id below 5 bytes or a plaintext above 2 GiB, InvalidPoint
    for a malformed master public key.
    """
    name = checked_app_id(app_id)
    if len(plaintext) > MAX_PLAINTEXT:
        raise InputError(f"encrypt: plaintext has {len(plaintext)} bytes, more than {MAX_PLAINTEXT}")
    c1, shared = encapsulate(identity_v1(app_id), mpk, rng)
    nonce = rng(NONCE_SIZE)
    cipher = _cipher(name, shared)
    return MAGIC + bytes([VERSION]) + c1 + nonce + cipher.encrypt(nonce, plaintext, _aad(name, c1))


def decrypt(app_id: str, app_key: bytes, ciphertext: bytes) -> bytes:
    """Return the plaintext.

    Raises InputError if it is not a ciphertext or the application id is below 5 bytes; VerificationError if the key is not the
    right one, is not a point, or the ciphertext was changed.
    """
    name = checked_app_id(app_id)
    header = parse(ciphertext)
    try:
        shared = decapsulate(app_key, header.c1)
        body, aad = ciphertext[HEADER_SIZE:], _aad(name, header.c1)
        return _cipher(name, shared).decrypt(header.nonce, body, aad)
    except (InvalidTag, InvalidPoint):
        raise does_not_open(app_id) from None


def parse(ciphertext: bytes) -> CiphertextHeader:
    """Read the header; InputError for what is not a version 1 ciphertext.

    Nothing of it is authenticated before ``decrypt``.
    """
    read_version(ciphertext, (VERSION,))
    if len(ciphertext) < OVERHEAD:
        raise too_short(len(ciphertext), OVERHEAD)
    c1_end = HEADER_SIZE - NONCE_SIZE
    return CiphertextHeader(
        version=ciphertext[3],
        c1=ciphertext[4:c1_end],
        nonce=ciphertext[c1_end:HEADER_SIZE],
        plaintext_size=len(ciphertext) - OVERHEAD,
    )


def checked_app_id(app_id: str) -> bytes:
    """Return the application id in UTF-8; InputError below 5 bytes."""
    name = app_id_bytes(app_id)
    if len(name) < MIN_APP_ID_BYTES:
        raise InputError(f"application id {app_id!r} has {len(name)} bytes, fewer than {MIN_APP_ID_BYTES}")
    return name


def encapsulate(identity: Identity, mpk: bytes, rng: Rng) -> tuple[bytes, bytes]:
    """Return C1 (96 bytes) and g (576 bytes) with a fresh r.

    Raises InvalidPoint for a malformed master public key.
    """
    curve = backends.bls12381()
    key_point = curve.decode_g2(mpk)
    r = random_scalar(rng)
    c1 = curve.encode_g2(curve.secret_mul_g2(curve.g2, r.value))
    masked = curve.secret_mul_g1(hashed(curve, identity), r.value)
    return c1, curve.pairing_bytes(masked, key_point)


def decapsulate(app_key: bytes, c1: bytes) -> bytes:
    """Return the same g, for the holder of the application's key.

    Raises InvalidPoint if one of the two is no point.
    """
    curve = backends.bls12381()
    return curve.pairing_bytes(curve.decode_g1(app_key), curve.decode_g2(c1))


def read_version(ciphertext: bytes, known: Collection[int]) -> int:
    """Return the version byte.

    Raises InputError for what is no ciphertext or of a version that is not ``known``.
    """
    if not ciphertext.startswith(MAGIC):
        raise InputError(
            "read ciphertext: it does not begin with IBE", hint="give a file made by eigenkms encrypt"
        )
    version = ciphertext[len(MAGIC) : len(MAGIC) + 1]
    if not version:
        raise too_short(len(ciphertext), OVERHEAD)
    if version[0] not in known:
        raise InputError(
            f"read ciphertext: version {version[0]} is not known",
            hint="use the version of eigenkms that made it",
        )
    return version[0]


def too_short(size: int, shortest: int) -> InputError:
    return InputError(f"read ciphertext: {size} bytes, but the shortest has {shortest}; it was cut")


def does_not_open(app_id: str) -> VerificationError:
    hint = "check that the application id and the cluster are those it was encrypted for"
    if (other := other_spelling(app_id)) is not None:
        hint += (
            f"; what was encrypted for the spelling {other} is opened with --app-id {other} --exact-app-id"
        )
    return VerificationError(
        f"decrypt for application {app_id!r}: the key does not open this ciphertext, or it was changed",
        hint=hint,
    )


def _cipher(name: bytes, shared: bytes) -> AESGCM:
    hkdf = HKDF(algorithm=SHA256(), length=32, salt=_SALT, info=_INFO + name)
    return AESGCM(hkdf.derive(shared))


def _aad(name: bytes, c1: bytes) -> bytes:
    return name + bytes([VERSION]) + c1
